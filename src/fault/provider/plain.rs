//! Any other API: a small JSON of our own.

use serde_json::{Value, json};

use super::ErrorContext;
use crate::fault::kind::ErrorName;

pub(super) fn body(name: ErrorName, context: &ErrorContext<'_>) -> (u16, Value) {
    let (status, code, message) = shape(name);
    let mut error = json!({ "status": status, "code": code, "message": message });
    if let (Some(after), Some(object)) = (context.retry_after(name), error.as_object_mut()) {
        let millis = crate::dialect::limits::whole_millis(after);
        object.insert("retry_after_ms".to_owned(), Value::from(millis));
    }
    (status, json!({ "error": error }))
}

fn shape(name: ErrorName) -> (u16, &'static str, &'static str) {
    match name {
        ErrorName::RateLimit => (429, "rate_limit", "too many requests"),
        ErrorName::TokenLimit => (429, "token_limit", "too many tokens"),
        ErrorName::Quota => (429, "quota", "the quota is used up"),
        ErrorName::SlowDown => (429, "slow_down", "the traffic grew too fast"),
        ErrorName::Overloaded => (503, "overloaded", "overloaded"),
        ErrorName::Internal => (500, "internal", "something broke inside"),
        ErrorName::Timeout => (504, "timeout", "it took too long inside"),
        ErrorName::ContextLength => (400, "context_length", "the input is too long"),
        ErrorName::InvalidRequest => (400, "invalid_request", "the request is not valid"),
        ErrorName::Authentication => (401, "authentication", "the key is not valid"),
        ErrorName::Permission => (403, "permission", "the key may not do this"),
        ErrorName::NotFound => (404, "not_found", "there is no such thing"),
        ErrorName::TooLarge => (413, "too_large", "the body is too large"),
        ErrorName::ContentFilter => (400, "content_filter", "held back by a content filter"),
    }
}
