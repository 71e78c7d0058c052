//! Anthropic: a type and a message, in an object that says that it is an error.

use serde_json::{Value, json};

use super::{BASE62, ErrorContext};
use crate::fault::kind::ErrorName;

pub(super) fn request_id(context: &ErrorContext<'_>) -> String {
    format!("req_011{}", context.id(BASE62, 21))
}

pub(super) fn body(name: ErrorName, context: &ErrorContext<'_>) -> (u16, Value) {
    let (status, kind) = shape(name);
    let mut error = json!({ "type": kind, "message": message(name, context) });
    if let (Some(details), Some(object)) = (details(name), error.as_object_mut()) {
        object.insert("details".to_owned(), details);
    }
    let body = json!({ "type": "error", "error": error, "request_id": request_id(context) });
    (status, body)
}

/// In a stream there are always details, and no id.
pub(super) fn stream_error(name: ErrorName, context: &ErrorContext<'_>) -> Value {
    json!({
        "type": "error",
        "error": {
            "details": details(name),
            "type": shape(name).1,
            "message": message(name, context),
        },
    })
}

/// What tells a limit on spending from one that passes.
fn details(name: ErrorName) -> Option<Value> {
    (name == ErrorName::Quota).then(|| json!({ "error_code": "enforced_spend_limit_reached" }))
}

/// Status and type.
fn shape(name: ErrorName) -> (u16, &'static str) {
    match name {
        ErrorName::RateLimit | ErrorName::TokenLimit | ErrorName::Quota | ErrorName::SlowDown => {
            (429, "rate_limit_error")
        }
        ErrorName::Overloaded => (529, "overloaded_error"),
        ErrorName::Internal => (500, "api_error"),
        ErrorName::Timeout => (504, "timeout_error"),
        ErrorName::ContextLength | ErrorName::InvalidRequest | ErrorName::ContentFilter => {
            (400, "invalid_request_error")
        }
        ErrorName::Authentication => (401, "authentication_error"),
        ErrorName::Permission => (403, "permission_error"),
        ErrorName::NotFound => (404, "not_found_error"),
        ErrorName::TooLarge => (413, "request_too_large"),
    }
}

fn message(name: ErrorName, context: &ErrorContext<'_>) -> String {
    match name {
        ErrorName::RateLimit => limit_message(name, context, "requests"),
        ErrorName::TokenLimit => limit_message(name, context, "tokens"),
        ErrorName::Quota => {
            "You have reached your specified API usage limits. Raise the limit to regain access."
                .to_owned()
        }
        ErrorName::SlowDown => {
            "This request would exceed your organization's acceleration limit: its usage increased \
             too quickly. Please ramp up your traffic gradually."
                .to_owned()
        }
        ErrorName::Overloaded => "Overloaded".to_owned(),
        ErrorName::Internal => "Internal server error".to_owned(),
        ErrorName::Timeout => "Request timed out".to_owned(),
        ErrorName::ContextLength => "prompt is too long: 200001 tokens > 200000 maximum".to_owned(),
        ErrorName::InvalidRequest => "Invalid request".to_owned(),
        ErrorName::Authentication => "invalid x-api-key".to_owned(),
        ErrorName::Permission => {
            "Your API key does not have permission to use the specified resource.".to_owned()
        }
        ErrorName::NotFound => format!("model: {}", context.model()),
        ErrorName::TooLarge => "Request exceeds the maximum size".to_owned(),
        ErrorName::ContentFilter => "Output blocked by content filtering policy".to_owned(),
    }
}

fn limit_message(name: ErrorName, context: &ErrorContext<'_>, what: &str) -> String {
    format!(
        "This request would exceed your organization's rate limit of {} {what} per minute. For details, refer to: \
         https://docs.anthropic.com/en/api/rate-limits. You can see the response headers for current usage.",
        context.standing(name).limit
    )
}
