//! Who is asked, and for what.

use super::*;
use crate::dialect::asked::max_tokens;

const ASKED: &str = "\
openai /v1/chat/completions authorization
openai /v1/chat/completions x-api-key
openai /openai/v1/chat/completions authorization
openai /chat/completions authorization
openai /v1/responses/resp_1?stream=true authorization
openai /v1/embeddings
openai /v1/threads/thread_1/messages authorization
openai /v1beta/openai/chat/completions authorization
openai /v1/models/ft:gpt-4o:org::predict1 authorization
anthropic /v1/messages authorization anthropic-version
anthropic /v1/messages x-api-key
anthropic /claude/v1/messages/count_tokens
anthropic /v1/projects/p/locations/l/publishers/anthropic/models/claude:streamRawPredict authorization
anthropic /anthropic/v1/messages?api-version=1 api-key
anthropic /v1/models authorization anthropic-version
gemini /v1/models x-goog-api-key
gemini /v1/models x-goog-api-client
gemini /v1/models?key=k
openai /v1/models authorization
openai /v1/models x-api-key
openai /v1/models
gemini /v1/models/gemini-x:generateContent
gemini /v1beta/models/gemini-x:streamGenerateContent?alt=sse x-goog-api-key
gemini /v1beta/models/gemini-x%3AcountTokens
gemini /v1beta/models
gemini /v1/projects/p/locations/l/publishers/google/models/gemini-x:generateContent authorization
azure-openai /openai/deployments/gpt/chat/completions?api-version=2024-10-21 api-key
azure-openai /openai/deployments/gpt/chat/completions authorization
azure-openai /openai/responses?api-version=2025-03-01-preview authorization
azure-openai /openai/v1/responses api-key
azure-openai /models/chat/completions?api-version=1 api-key
plain /v1/users x-api-key
plain /
plain *
plain //v1//
plain /messages x-api-key
plain /model/anthropic.claude/invoke";

#[test]
fn who_is_asked_is_known_from_path_and_headers() {
    for case in ASKED.lines() {
        let mut words = case.split(' ');
        let (expected, target) = (words.next().unwrap(), words.next().unwrap());
        let headers: Vec<_> = words.map(|name| (name, "k")).collect();
        let dialect = Dialect::of(&head("POST", target, &headers));
        assert_eq!(dialect.as_str(), expected, "{case}");
    }
}

#[test]
fn what_is_asked_is_read_from_body_and_path() {
    let read =
        |target: &str, body: &str| Asked::read(None, &head("POST", target, &[]), body.as_bytes());
    let asked = read(
        "/v1/chat/completions",
        r#"{"messages":[{"model":"no","stream":false}],"stream":true,"model":"gpt-4o","max_tokens":12}"#,
    );
    assert_eq!(asked.model.as_deref(), Some("gpt-4o"));
    assert_eq!(asked.surface, Surface::Chat);
    assert!(asked.is_stream);
    assert_eq!(asked.max_tokens, Some(12));

    let asked = read(
        "/v1beta/models/gemini-x:streamGenerateContent",
        r#"{"generationConfig":{"maxOutputTokens":5}}"#,
    );
    assert_eq!(asked.model.as_deref(), Some("gemini-x"));
    assert!(asked.is_stream);
    assert_eq!(asked.max_tokens, Some(5));
    assert_eq!(
        asked.surface,
        Surface::Generate {
            is_vertex: false,
            is_array: true
        }
    );

    let asked = read(
        "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21",
        r#"{"messages":[]}"#,
    );
    assert_eq!(asked.model.as_deref(), Some("my-gpt"));
    assert_eq!(asked.api_version.as_deref(), Some("2024-10-21"));
    assert!(!asked.is_stream);

    assert_eq!(
        read("/v1/models/ft:gpt-4o:org::a", "").model.as_deref(),
        Some("ft:gpt-4o:org::a")
    );
    assert_eq!(read("/v1/models", "").model, None);
    assert_eq!(read("/v1/messages", "\u{0}{").model, None);
    assert_eq!(max_tokens(Dialect::OpenAi, br#"{"max_tokens":-1}"#), None);
    assert!(!read("/v1/messages", r#"{"stream":"true"}"#).is_stream);
    let plain = Asked::read(
        Some(Dialect::Plain),
        &head("POST", "/v1/messages", &[]),
        b"",
    );
    assert_eq!(plain.dialect, Dialect::Plain);
}
