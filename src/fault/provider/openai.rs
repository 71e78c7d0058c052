//! `OpenAI`: always message, type, param and code, of which the last two may be null.

use serde_json::{Value, json};

use super::{ErrorContext, HEX, StreamPlace, frame};
use crate::dialect::Surface;
use crate::dialect::limits::go_duration;
use crate::fault::kind::{ErrorName, EventStyle};

/// Type, param and code of an error, after its status.
type Shape = (
    u16,
    &'static str,
    Option<&'static str>,
    Option<&'static str>,
);

pub(super) fn request_id(context: &ErrorContext<'_>) -> String {
    format!("req_{}", context.id(HEX, 32))
}

pub(super) fn body(name: ErrorName, context: &ErrorContext<'_>) -> (u16, Value) {
    let (status, error) = error(name, context);
    (status, json!({ "error": error }))
}

/// Status and what stands under `error`.
pub(super) fn error(name: ErrorName, context: &ErrorContext<'_>) -> (u16, Value) {
    let (status, kind, param, code) = shape(name, context);
    let message = message(name, context);
    let error = json!({ "message": message, "type": kind, "param": param, "code": code });
    (status, error)
}

/// The same in a stream, where the server has other words for what broke inside.
pub(super) fn stream_error(name: ErrorName, context: &ErrorContext<'_>) -> Value {
    let (_, mut error) = error(name, context);
    if let (ErrorName::Internal, Some(message)) = (name, error.get_mut("message")) {
        *message = Value::from(
            "The server experienced an error while processing your request. You can retry your request, or contact \
             us through our help center at help.openai.com if the error persists.",
        );
    }
    error
}

fn shape(name: ErrorName, context: &ErrorContext<'_>) -> Shape {
    let input = match context.surface {
        Surface::Responses => "input",
        Surface::Completions => "prompt",
        Surface::Chat | Surface::Messages | Surface::Generate { .. } | Surface::Other => "messages",
    };
    let invalid = "invalid_request_error";
    match name {
        ErrorName::RateLimit => (429, "requests", None, Some("rate_limit_exceeded")),
        ErrorName::TokenLimit => (429, "tokens", None, Some("rate_limit_exceeded")),
        ErrorName::Quota => (429, "insufficient_quota", None, Some("insufficient_quota")),
        ErrorName::SlowDown => (429, "rate_limit_error", None, Some("slow_down")),
        ErrorName::Overloaded => (
            503,
            "service_unavailable_error",
            None,
            Some("server_is_overloaded"),
        ),
        ErrorName::Internal => (500, "server_error", None, None),
        ErrorName::Timeout => (504, "server_error", None, None),
        ErrorName::ContextLength => (400, invalid, Some(input), Some("context_length_exceeded")),
        ErrorName::InvalidRequest | ErrorName::TooLarge => {
            let status = if name == ErrorName::TooLarge {
                413
            } else {
                400
            };
            (status, invalid, None, None)
        }
        ErrorName::Authentication => (401, invalid, None, Some("invalid_api_key")),
        ErrorName::Permission => (403, invalid, None, None),
        ErrorName::NotFound => (404, invalid, None, Some("model_not_found")),
        ErrorName::ContentFilter => match context.surface {
            Surface::Responses => (400, invalid, None, Some("invalid_prompt")),
            Surface::Chat
            | Surface::Completions
            | Surface::Messages
            | Surface::Generate { .. }
            | Surface::Other => (400, invalid, None, Some("content_policy_violation")),
        },
    }
}

/// What `OpenAI` says in this case, and those that speak like it.
pub(super) fn message(name: ErrorName, context: &ErrorContext<'_>) -> String {
    match name {
        ErrorName::RateLimit | ErrorName::TokenLimit => limit_message(name, context),
        ErrorName::Quota => {
            "You exceeded your current quota, please check your plan and billing details. For more information on \
             this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors."
                .to_owned()
        }
        ErrorName::SlowDown => "Your request rate increased too quickly. Please slow down: reduce it to its original \
             level, keep it there for at least 15 minutes, and then increase it gradually."
            .to_owned(),
        ErrorName::Overloaded => {
            "The engine is currently overloaded, please try again later.".to_owned()
        }
        ErrorName::Internal => {
            "The server had an error while processing your request. Sorry about that!".to_owned()
        }
        ErrorName::Timeout => "The request timed out. Please try again later.".to_owned(),
        ErrorName::ContextLength => {
            "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens. \
             Please reduce the length of the messages."
                .to_owned()
        }
        ErrorName::InvalidRequest => "Invalid request.".to_owned(),
        ErrorName::Authentication => {
            "Incorrect API key provided. You can find your API key at \
             https://platform.openai.com/account/api-keys."
                .to_owned()
        }
        ErrorName::Permission => {
            "You have insufficient permissions for this operation.".to_owned()
        }
        ErrorName::NotFound => format!(
            "The model `{}` does not exist or you do not have access to it.",
            context.model()
        ),
        ErrorName::TooLarge => "The request body is too large.".to_owned(),
        ErrorName::ContentFilter => "Your request was rejected as a result of our safety system.".to_owned(),
    }
}

fn limit_message(name: ErrorName, context: &ErrorContext<'_>) -> String {
    let (what, short, asked) = if name == ErrorName::TokenLimit {
        ("tokens", "TPM", context.requested.unwrap_or(1))
    } else {
        ("requests", "RPM", 1)
    };
    let standing = context.standing(name);
    let (limit, used) = (
        standing.limit,
        standing.limit.saturating_sub(standing.remaining),
    );
    let model = context.model();
    let place = format!("in organization org-rehearsal on {what} per min ({short})");
    let more = "Visit https://platform.openai.com/account/rate-limits to learn more.";
    if context.is_too_large(name) {
        return format!(
            "Request too large for {model} {place}: Limit {limit}, Requested {asked}. The input or output tokens must \
             be reduced in order to run successfully. {more}"
        );
    }
    let again = match context.retry_after(name) {
        Some(after) => format!(" Please try again in {}.", go_duration(after)),
        None => String::new(),
    };
    format!(
        "Rate limit reached for {model} {place}: Limit {limit}, Used {used}, Requested {asked}.{again} {more}"
    )
}

/// An error in a stream of responses.
pub(super) fn response_event(
    name: ErrorName,
    context: &ErrorContext<'_>,
    place: &StreamPlace,
    style: EventStyle,
) -> Vec<u8> {
    let error = stream_error(name, context);
    let number = place.sequence;
    match style {
        EventStyle::Documented => {
            let event = json!({
                "type": "error",
                "code": error["code"],
                "message": error["message"],
                "param": error["param"],
                "sequence_number": number,
            });
            frame(Some("error"), &event)
        }
        EventStyle::Captured | EventStyle::Terminated => {
            let event = json!({
                "type": "error",
                "sequence_number": number,
                "error": {
                    "type": error["type"],
                    "code": error["code"],
                    "message": error["message"],
                    "param": error["param"],
                },
            });
            let next = StreamPlace {
                sequence: number.saturating_add(1),
                response: place.response.clone(),
            };
            let mut frames = frame(Some("error"), &event);
            frames.extend(failed(name, &error, context, &next));
            frames
        }
    }
}

/// `response.failed`, the end of a response that failed.
pub(super) fn failed(
    name: ErrorName,
    error: &Value,
    context: &ErrorContext<'_>,
    place: &StreamPlace,
) -> Vec<u8> {
    // Its codes are a closed list of their own.
    let code = match name {
        ErrorName::RateLimit | ErrorName::TokenLimit | ErrorName::Quota | ErrorName::SlowDown => {
            "rate_limit_exceeded"
        }
        ErrorName::ContextLength
        | ErrorName::InvalidRequest
        | ErrorName::TooLarge
        | ErrorName::ContentFilter => "invalid_prompt",
        ErrorName::Overloaded
        | ErrorName::Internal
        | ErrorName::Timeout
        | ErrorName::Authentication
        | ErrorName::Permission
        | ErrorName::NotFound => "server_error",
    };
    let id = match &place.response {
        Some(id) => id.clone(),
        None => format!("resp_{}", context.id(HEX, 48)),
    };
    let since = context
        .now
        .duration_since(std::time::SystemTime::UNIX_EPOCH);
    let event = json!({
        "type": "response.failed",
        "sequence_number": place.sequence,
        "response": {
            "id": id,
            "object": "response",
            "created_at": since.unwrap_or_default().as_secs(),
            "status": "failed",
            "error": { "code": code, "message": error["message"] },
            "incomplete_details": null,
            "instructions": null,
            "max_output_tokens": null,
            "metadata": {},
            "model": context.model(),
            "output": [],
            "parallel_tool_calls": true,
            "previous_response_id": null,
            "tool_choice": "auto",
            "tools": [],
            "usage": null,
        },
    });
    frame(Some("response.failed"), &event)
}
