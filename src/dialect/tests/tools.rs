//! Calls of tools, and what is said of usage.

use super::*;
use crate::dialect::tools::Stage;

#[test]
fn calls_of_tools_are_found_with_their_parts() {
    let chat = r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"call_1","function":{"name":"f","arguments":"{}"}}]}}]}"#;
    let found = calls(Dialect::OpenAi, chat);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].call, found[0].stage), (1, Stage::Begin));
    assert_eq!(found[0].id.unwrap().raw(), "\"call_1\"");
    assert_eq!(found[0].index.unwrap().raw(), "1");
    assert_eq!(found[0].name.unwrap().raw(), "\"f\"");
    assert_eq!(found[0].arguments.unwrap().raw(), "\"{}\"");
    let rest = r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":"{"}}]}}]}"#;
    assert_eq!(calls(Dialect::OpenAi, rest)[0].stage, Stage::Continue);
    let body = r#"{"choices":[{"index":0,"message":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}},{"id":"b","function":{"name":"g","arguments":"{}"}}]}}]}"#;
    let found = calls(Dialect::AzureOpenAi, body);
    assert_eq!(
        found
            .iter()
            .map(|call| (call.call, call.stage))
            .collect::<Vec<_>>(),
        [(0, Stage::Whole), (1, Stage::Whole)]
    );

    let done = r#"{"type":"response.completed","response":{"output":[{"type":"message"},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}]}}"#;
    assert_eq!(calls(Dialect::OpenAi, done)[0].call, 1);
    let piece = r#"{"type":"response.function_call_arguments.delta","item_id":"fc_1","output_index":2,"delta":"{"}"#;
    let found = calls(Dialect::OpenAi, piece);
    assert_eq!((found[0].call, found[0].id.unwrap().raw()), (2, "\"fc_1\""));

    let block = r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{"}}"#;
    assert_eq!(calls(Dialect::Anthropic, block)[0].call, 3);
    let gemini =
        r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":1}}}]}}]}"#;
    assert_eq!(
        calls(Dialect::Gemini, gemini)[0].arguments.unwrap().raw(),
        r#"{"a":1}"#
    );
    assert!(calls(Dialect::Gemini, r#"{"functionCall":1}"#).is_empty());
}

#[test]
fn usage_is_what_was_said_last() {
    let of = |dialect, text: &str| Usage::of(dialect, text);
    let usage = |input, output| Some(Usage { input, output });
    assert_eq!(
        of(
            Dialect::OpenAi,
            r#"{"usage":{"prompt_tokens":3,"completion_tokens":4}}"#
        ),
        usage(Some(3), Some(4))
    );
    assert_eq!(of(Dialect::OpenAi, r#"{"usage":null}"#), None);
    assert_eq!(
        of(
            Dialect::OpenAi,
            r#"{"response":{"usage":{"input_tokens":3,"output_tokens":4}}}"#
        ),
        usage(Some(3), Some(4))
    );
    assert_eq!(
        of(
            Dialect::Gemini,
            r#"{"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":2,"thoughtsTokenCount":3}}"#
        ),
        usage(Some(1), Some(5))
    );
    let mut sum = of(
        Dialect::Anthropic,
        r#"{"message":{"usage":{"input_tokens":9,"output_tokens":1}}}"#,
    )
    .unwrap();
    sum.update(of(Dialect::Anthropic, r#"{"usage":{"output_tokens":7}}"#).unwrap());
    assert_eq!(sum.total(), Some(16));
}
