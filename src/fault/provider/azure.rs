//! Azure: what its gateway says has a code, which is a text, and a message; what the model's server says has the shape of
//! `OpenAI`.

use serde_json::{Value, json};

use super::{ErrorContext, HEX, openai};
use crate::dialect::Surface;
use crate::dialect::limits::whole_seconds;
use crate::fault::kind::ErrorName;

/// A UUID of version 4.
pub(super) fn request_id(context: &ErrorContext<'_>) -> String {
    let hex = context.id(HEX, 32);
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-4{}-a{}-{}",
        part(0, 8),
        part(8, 12),
        part(13, 16),
        part(17, 20),
        part(20, 32)
    )
}

pub(super) fn body(name: ErrorName, context: &ErrorContext<'_>) -> (u16, Value) {
    let (status, error) = error(name, context);
    (status, json!({ "error": error }))
}

/// Status and what stands under `error`.
pub(super) fn error(name: ErrorName, context: &ErrorContext<'_>) -> (u16, Value) {
    let gateway = |status: u16, code: &str, message: &str| {
        (status, json!({ "code": code, "message": message }))
    };
    match name {
        ErrorName::RateLimit | ErrorName::TokenLimit => {
            gateway(429, "429", &limit_message(name, context))
        }
        ErrorName::Quota => gateway(429, "insufficient_quota", &openai::message(name, context)),
        ErrorName::SlowDown => gateway(429, "429", &openai::message(name, context)),
        ErrorName::Overloaded => gateway(
            503,
            "ServiceUnavailable",
            "The service is temporarily unable to process your request. Please try again later.",
        ),
        ErrorName::Internal => gateway(
            500,
            "InternalServerError",
            "Backend returned unexpected response. Please contact Microsoft for help.",
        ),
        ErrorName::Timeout => gateway(408, "Timeout", "The operation was timeout."),
        ErrorName::Authentication => gateway(
            401,
            "401",
            "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key \
             for an active subscription and use a correct regional API endpoint for your resource.",
        ),
        ErrorName::Permission => gateway(
            403,
            "PermissionDenied",
            "The principal lacks the required data action to perform this operation.",
        ),
        ErrorName::NotFound => gateway(
            404,
            "DeploymentNotFound",
            "The API deployment for this resource does not exist. If you created the deployment within the last 5 \
             minutes, please wait a moment and try again.",
        ),
        ErrorName::ContentFilter => {
            let error = json!({
                "message": "The response was filtered",
                "type": null,
                "param": "prompt",
                "code": "content_filter",
                "status": 400,
            });
            (400, error)
        }
        ErrorName::ContextLength | ErrorName::InvalidRequest | ErrorName::TooLarge => {
            openai::error(name, context)
        }
    }
}

fn limit_message(name: ErrorName, context: &ErrorContext<'_>) -> String {
    let operation = match context.surface {
        Surface::Completions => "Completions_Create",
        Surface::Responses => "Responses_Create",
        Surface::Chat | Surface::Messages | Surface::Generate { .. } | Surface::Other => {
            "ChatCompletions_Create"
        }
    };
    let what = if name == ErrorName::TokenLimit {
        "token"
    } else {
        "call"
    };
    let again = match context.retry_after(name) {
        Some(after) => format!(" Please retry after {} seconds.", whole_seconds(after)),
        None => String::new(),
    };
    format!(
        "Requests to the {operation} Operation under Azure OpenAI API version {} have exceeded {what} rate limit of \
         your current OpenAI S0 pricing tier.{again} Please go here: https://aka.ms/oai/quotaincrease if you would \
         like to further increase the default rate limit.",
        context.api_version.unwrap_or("v1")
    )
}
