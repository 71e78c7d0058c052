//! Gemini and Vertex: a code, a message, a status in words, and details. When to come back is said in the details.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ErrorContext, frame};
use crate::dialect::Surface;
use crate::dialect::limits::whole_millis;
use crate::fault::kind::ErrorName;

/// The body; in an array where the answer would have been one.
pub(super) fn body(name: ErrorName, context: &ErrorContext<'_>) -> (u16, Value) {
    let (status, body) = object(name, context);
    match context.surface {
        Surface::Generate { is_array: true, .. } => (status, json!([body])),
        Surface::Generate {
            is_array: false, ..
        }
        | Surface::Chat
        | Surface::Completions
        | Surface::Responses
        | Surface::Messages
        | Surface::Other => (status, body),
    }
}

/// The frame in a stream of events; in an array that grows, its last item.
pub(super) fn stream_error(
    name: ErrorName,
    context: &ErrorContext<'_>,
    surface: Surface,
) -> Vec<u8> {
    let (_, body) = object(name, context);
    if let Surface::Generate { is_array: true, .. } = surface {
        return format!(",\r\n{body}\n]").into_bytes();
    }
    frame(None, &body)
}

fn object(name: ErrorName, context: &ErrorContext<'_>) -> (u16, Value) {
    let (code, status, reason) = shape(name);
    let message = message(name, context);
    let mut error = json!({ "code": code, "message": message, "status": status });
    if let Some(object) = error.as_object_mut() {
        if let Surface::Generate {
            is_vertex: true, ..
        } = context.surface
        {
            let errors = json!([{ "message": message, "domain": "global", "reason": reason }]);
            object.insert("errors".to_owned(), errors);
        }
        let details = details(name, context);
        if !details.is_empty() {
            object.insert("details".to_owned(), Value::from(details));
        }
    }
    (code, json!({ "error": error }))
}

fn shape(name: ErrorName) -> (u16, &'static str, &'static str) {
    match name {
        ErrorName::RateLimit | ErrorName::TokenLimit | ErrorName::Quota | ErrorName::SlowDown => {
            (429, "RESOURCE_EXHAUSTED", "rateLimitExceeded")
        }
        ErrorName::Overloaded => (503, "UNAVAILABLE", "backendError"),
        ErrorName::Internal => (500, "INTERNAL", "backendError"),
        ErrorName::Timeout => (504, "DEADLINE_EXCEEDED", "backendError"),
        ErrorName::ContextLength
        | ErrorName::InvalidRequest
        | ErrorName::TooLarge
        | ErrorName::ContentFilter => (400, "INVALID_ARGUMENT", "badRequest"),
        ErrorName::Authentication => (401, "UNAUTHENTICATED", "authError"),
        ErrorName::Permission => (403, "PERMISSION_DENIED", "forbidden"),
        ErrorName::NotFound => (404, "NOT_FOUND", "notFound"),
    }
}

fn message(name: ErrorName, context: &ErrorContext<'_>) -> String {
    let text = match name {
        ErrorName::RateLimit | ErrorName::TokenLimit | ErrorName::Quota => {
            "You exceeded your current quota, please check your plan and billing details."
        }
        ErrorName::SlowDown => "Resource exhausted. Please try again later.",
        ErrorName::Overloaded => {
            "This model is currently experiencing high demand. Spikes in demand are usually temporary. Please try \
             again later."
        }
        ErrorName::Internal => "An internal error has occurred. Please retry.",
        ErrorName::Timeout => "Deadline expired before operation could complete.",
        ErrorName::ContextLength => {
            "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576)."
        }
        ErrorName::InvalidRequest => "Request contains an invalid argument.",
        ErrorName::Authentication => {
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other \
             valid authentication credential."
        }
        ErrorName::Permission => "The caller does not have permission",
        ErrorName::NotFound => {
            return format!(
                "models/{} is not found for API version v1beta, or is not supported for generateContent.",
                context.model()
            );
        }
        ErrorName::TooLarge => "Request payload size exceeds the limit: 20971520 bytes.",
        ErrorName::ContentFilter => "The request was blocked by the safety settings.",
    };
    text.to_owned()
}

fn details(name: ErrorName, context: &ErrorContext<'_>) -> Vec<Value> {
    let mut details = Vec::new();
    let quota = match name {
        ErrorName::RateLimit | ErrorName::Quota => Some((
            "generate_content_requests",
            "GenerateRequestsPerMinutePerProjectPerModel",
        )),
        ErrorName::TokenLimit => Some((
            "generate_content_input_token_count",
            "GenerateContentInputTokensPerModelPerMinute",
        )),
        ErrorName::SlowDown
        | ErrorName::Overloaded
        | ErrorName::Internal
        | ErrorName::Timeout
        | ErrorName::ContextLength
        | ErrorName::InvalidRequest
        | ErrorName::Authentication
        | ErrorName::Permission
        | ErrorName::NotFound
        | ErrorName::TooLarge
        | ErrorName::ContentFilter => None,
    };
    if let Some((metric, id)) = quota {
        let mut violation = json!({
            "quotaMetric": format!("generativelanguage.googleapis.com/{metric}"),
            "quotaId": id,
            "quotaDimensions": { "location": "global", "model": context.model() },
        });
        let limit = context.standing(name).limit;
        if let (true, Some(object)) = (limit > 0, violation.as_object_mut()) {
            object.insert("quotaValue".to_owned(), Value::from(limit.to_string()));
        }
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [violation],
        }));
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.Help",
            "links": [{
                "description": "Learn more about Gemini API quotas",
                "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
            }],
        }));
    }
    if let Some(after) = context.retry_after(name) {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": delay(after),
        }));
    }
    details
}

/// As protobuf writes it: `34s`, `1.500s`.
fn delay(time: Duration) -> String {
    let millis = whole_millis(time);
    match (millis / 1000, millis % 1000) {
        (seconds, 0) => format!("{seconds}s"),
        (seconds, millis) => format!("{seconds}.{millis:03}s"),
    }
}
