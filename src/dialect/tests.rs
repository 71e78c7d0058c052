use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::asked::{Asked, max_tokens};
use super::limits::{Standing, Standings, go_duration, write_retry_after};
use super::tools::{Stage, calls};
use super::usage::Usage;
use super::*;
use crate::message::{Headers, RequestHead};

const ALL: [Dialect; 5] = [
    Dialect::OpenAi,
    Dialect::AzureOpenAi,
    Dialect::Anthropic,
    Dialect::Gemini,
    Dialect::Plain,
];

fn head(method: &str, target: &str, headers: &[(&'static str, &'static str)]) -> RequestHead {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    RequestHead {
        method: method.to_owned(),
        path: path.to_owned(),
        query,
        headers: headers.iter().copied().collect(),
    }
}

/// Who is asked, by which target, with which headers. Three providers have a list of models at `/v1/models`.
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
fn dialects_are_written_as_they_are_named() {
    for dialect in ALL {
        let value = serde_json::Value::from(dialect.as_str());
        assert_eq!(serde_json::from_value::<Dialect>(value).unwrap(), dialect);
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

fn check(dialect: Dialect, frame: &str, part: Part, text: Option<&str>) {
    let event = SseEvent::parse(frame.as_bytes());
    let meaning = dialect.meaning(&event);
    assert_eq!(
        (meaning.part, meaning.text.as_deref()),
        (part, text),
        "{frame}"
    );
}

fn data(dialect: Dialect, data: &str, part: Part, text: Option<&str>) {
    check(dialect, &format!("data: {data}\n\n"), part, text);
}

#[test]
fn events_of_chat_mean_what_their_choices_say() {
    for dialect in [Dialect::OpenAi, Dialect::AzureOpenAi] {
        let chat = |delta: &str, part, text| {
            let chunk = format!(
                r#"{{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":null}}],"usage":null}}"#
            );
            data(dialect, &chunk, part, text);
        };
        chat(
            r#"{"role":"assistant","content":"","refusal":null}"#,
            Part::Start,
            None,
        );
        chat(
            r#"{"role":"assistant","content":"Hi"}"#,
            Part::Content,
            Some("Hi"),
        );
        chat(r#"{"content":"H\u00e9l\n"}"#, Part::Content, Some("Hél\n"));
        chat(
            r#"{"content":null,"reasoning_content":"hm","reasoning":"hm"}"#,
            Part::Content,
            Some("hm"),
        );
        chat(
            r#"{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#,
            Part::Content,
            Some("ab"),
        );
        chat(r#"{"refusal":"No."}"#, Part::Content, Some("No."));
        chat(
            r#"{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":""}}]}"#,
            Part::ToolCall,
            None,
        );
        chat(
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"a"}}]}"#,
            Part::ToolCall,
            Some("{\"a"),
        );
        chat(
            r#"{"function_call":{"name":"f","arguments":"{}"}}"#,
            Part::ToolCall,
            Some("{}"),
        );
        chat("{}", Part::Other, None);
    }
    let openai = |text: &str, part, said| data(Dialect::OpenAi, text, part, said);
    openai(
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
        Part::Finish,
        None,
    );
    openai(
        r#"{"choices":[{"index":0,"delta":{"content":"."},"finish_reason":"stop"}]}"#,
        Part::Finish,
        Some("."),
    );
    openai(
        r#"{"choices":[],"usage":{"total_tokens":3}}"#,
        Part::Usage,
        None,
    );
    openai(
        r#"{"choices":[{"index":0,"text":"a","finish_reason":null}]}"#,
        Part::Content,
        Some("a"),
    );
    openai(
        r#"{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}"#,
        Part::Content,
        Some("ab"),
    );
    openai(r#"{"error":{"message":"x"}}"#, Part::Error, None);
    openai(r#"{"error":null,"choices":[]}"#, Part::Other, None);
    openai("[DONE]", Part::Terminator, None);
    openai("[DONE] ", Part::Terminator, None);
    openai(r#"{"choices":[{"delta":{"content":"a"#, Part::Other, None);
    openai("", Part::Other, None);
    check(Dialect::OpenAi, ": x\n\n", Part::KeepAlive, None);
    check(Dialect::OpenAi, "id: 1\n\n", Part::Other, None);
    check(
        Dialect::OpenAi,
        "data: {\"choices\":[{\"delta\":\ndata: {\"content\":\"a\"}}]}\n\n",
        Part::Content,
        Some("a"),
    );
}

#[test]
fn events_of_responses_mean_what_their_type_says() {
    let typed = |kind: &str, rest: &str, part, text| {
        let frame =
            format!("event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":1{rest}}}\n\n");
        check(Dialect::OpenAi, &frame, part, text);
    };
    typed(
        "response.created",
        r#","response":{"error":null}"#,
        Part::Start,
        None,
    );
    typed(
        "response.output_item.added",
        r#","item":{"type":"message"}"#,
        Part::Start,
        None,
    );
    typed(
        "response.output_item.added",
        r#","item":{"type":"function_call"}"#,
        Part::ToolCall,
        None,
    );
    typed("response.content_part.added", "", Part::Start, None);
    typed(
        "response.output_text.delta",
        r#","delta":"Hi""#,
        Part::Content,
        Some("Hi"),
    );
    typed(
        "response.reasoning_summary_text.delta",
        r#","delta":"so""#,
        Part::Content,
        Some("so"),
    );
    typed(
        "response.function_call_arguments.delta",
        r#","delta":"{\"""#,
        Part::ToolCall,
        Some("{\""),
    );
    typed(
        "response.audio.delta",
        r#","delta":"AAAA""#,
        Part::Content,
        None,
    );
    typed(
        "response.output_text.done",
        r#","text":"Hi""#,
        Part::Finish,
        None,
    );
    typed("response.output_item.done", "", Part::Finish, None);
    typed(
        "response.completed",
        r#","response":{"usage":{"total_tokens":1}}"#,
        Part::Terminator,
        None,
    );
    typed("response.incomplete", "", Part::Terminator, None);
    typed("response.failed", "", Part::Error, None);
    typed("error", r#","message":"x""#, Part::Error, None);
    typed("error", r#","error":{"message":"x"}"#, Part::Error, None);
    typed("response.web_search_call.searching", "", Part::Other, None);
}

#[test]
fn events_of_anthropic_mean_what_their_type_says() {
    let typed = |kind: &str, rest: &str, part, text| {
        let frame = format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{rest}}}\n\n");
        check(Dialect::Anthropic, &frame, part, text);
    };
    typed(
        "message_start",
        r#","message":{"usage":{"input_tokens":1}}"#,
        Part::Start,
        None,
    );
    typed(
        "content_block_start",
        r#","index":0,"content_block":{"type":"text","text":""}"#,
        Part::Start,
        None,
    );
    typed(
        "content_block_start",
        r#","index":1,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}"#,
        Part::ToolCall,
        None,
    );
    let delta = |inner: &str, part, text| {
        typed(
            "content_block_delta",
            &format!(r#","index":0,"delta":{inner}"#),
            part,
            text,
        );
    };
    delta(
        r#"{"type":"text_delta","text":"Hi"}"#,
        Part::Content,
        Some("Hi"),
    );
    delta(
        r#"{"type":"thinking_delta","thinking":"hm"}"#,
        Part::Content,
        Some("hm"),
    );
    delta(
        r#"{"type":"input_json_delta","partial_json":"{\"a\":"}"#,
        Part::ToolCall,
        Some("{\"a\":"),
    );
    delta(
        r#"{"type":"input_json_delta","partial_json":""}"#,
        Part::ToolCall,
        None,
    );
    delta(
        r#"{"type":"signature_delta","signature":"x"}"#,
        Part::Other,
        None,
    );
    typed("content_block_stop", "", Part::Finish, None);
    typed(
        "message_delta",
        r#","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}"#,
        Part::Finish,
        None,
    );
    typed("message_stop", "", Part::Terminator, None);
    typed("ping", "", Part::KeepAlive, None);
    typed(
        "error",
        r#","error":{"type":"overloaded_error"}"#,
        Part::Error,
        None,
    );
    check(
        Dialect::Anthropic,
        "event: ping\ndata: {}\n\n",
        Part::KeepAlive,
        None,
    );
}

#[test]
fn events_of_gemini_mean_what_their_candidates_say() {
    let gemini = |text: &str, part, said| data(Dialect::Gemini, text, part, said);
    gemini(
        r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"Hi"}]},"index":0}],"usageMetadata":{"promptTokenCount":1}}"#,
        Part::Content,
        Some("Hi"),
    );
    gemini(
        r#"{"candidates":[{"content":{"parts":[{"text":"."}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1}}"#,
        Part::Finish,
        Some("."),
    );
    gemini(
        r#"{"candidates":[{"content":{"parts":[{"text":"so","thought":true},{"functionCall":{"name":"f","args":{"a": 1}}}]},"finishReason":"STOP"}]}"#,
        Part::ToolCall,
        Some("so{\"a\": 1}"),
    );
    gemini(
        r#"{"candidates":[{"content":{"parts":[{"text":""}],"role":"model"}}]}"#,
        Part::Start,
        None,
    );
    gemini(
        r#"{"usageMetadata":{"promptTokenCount":1}}"#,
        Part::Usage,
        None,
    );
    gemini(
        r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#,
        Part::Finish,
        None,
    );
    gemini(
        r#"{"error":{"code":503,"status":"UNAVAILABLE"}}"#,
        Part::Error,
        None,
    );
}

#[test]
fn a_plain_stream_means_nothing_but_its_end() {
    data(
        Dialect::Plain,
        r#"{"choices":[{"delta":{"content":"a"}}]}"#,
        Part::Other,
        None,
    );
    data(Dialect::Plain, "[DONE]", Part::Terminator, None);
    check(Dialect::Plain, ":\n\n", Part::KeepAlive, None);
}

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

fn lines(headers: &Headers) -> Vec<String> {
    headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", std::str::from_utf8(value).unwrap()))
        .collect()
}

#[test]
fn limits_are_written_as_each_provider_writes_them() {
    let standings = Standings {
        requests: Some(Standing {
            limit: 500,
            remaining: 499,
            reset: Duration::from_millis(120),
        }),
        tokens: Some(Standing {
            limit: 30_000,
            remaining: 0,
            reset: Duration::from_secs(360),
        }),
    };
    // 2026-11-24T08:00:00Z and a bit.
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_507_200_250);
    let write = |dialect| {
        let mut headers = Headers::new();
        standings.write(dialect, now, &mut headers);
        write_retry_after(dialect, Duration::from_millis(1500), &mut headers);
        lines(&headers)
    };
    let openai = [
        "x-ratelimit-limit-requests: 500",
        "x-ratelimit-remaining-requests: 499",
        "x-ratelimit-reset-requests: 120ms",
        "x-ratelimit-limit-tokens: 30000",
        "x-ratelimit-remaining-tokens: 0",
        "x-ratelimit-reset-tokens: 6m0s",
        "retry-after-ms: 1500",
        "retry-after: 2",
    ];
    assert_eq!(write(Dialect::OpenAi), openai);
    assert_eq!(write(Dialect::AzureOpenAi), openai);
    assert_eq!(
        write(Dialect::Anthropic),
        [
            "anthropic-ratelimit-requests-limit: 500",
            "anthropic-ratelimit-requests-remaining: 499",
            "anthropic-ratelimit-requests-reset: 2026-11-24T08:00:01Z",
            "anthropic-ratelimit-tokens-limit: 30000",
            "anthropic-ratelimit-tokens-remaining: 0",
            "anthropic-ratelimit-tokens-reset: 2026-11-24T08:06:01Z",
            "anthropic-ratelimit-input-tokens-limit: 30000",
            "anthropic-ratelimit-input-tokens-remaining: 0",
            "anthropic-ratelimit-input-tokens-reset: 2026-11-24T08:06:01Z",
            "anthropic-ratelimit-output-tokens-limit: 30000",
            "anthropic-ratelimit-output-tokens-remaining: 0",
            "anthropic-ratelimit-output-tokens-reset: 2026-11-24T08:06:01Z",
            "retry-after: 2",
        ]
    );
    assert!(write(Dialect::Gemini).is_empty());
    assert_eq!(write(Dialect::Plain)[2], "x-ratelimit-reset-requests: 1");
}

#[test]
fn durations_are_written_as_go_writes_them() {
    for (micros, text) in [
        (0, "0s"),
        (1, "1ms"),
        (12_000, "12ms"),
        (999_000, "999ms"),
        (1_000_000, "1s"),
        (8_640_000, "8.64s"),
        (60_000_000, "1m0s"),
        (86_400_000, "1m26.4s"),
        (360_000_000, "6m0s"),
        (86_400_000_000, "24h0m0s"),
    ] {
        assert_eq!(go_duration(Duration::from_micros(micros)), text);
    }
    go_duration(Duration::MAX);
    write_retry_after(Dialect::OpenAi, Duration::MAX, &mut Headers::new());
    let far = Standing {
        limit: 1,
        remaining: 0,
        reset: Duration::MAX,
    };
    Standings {
        requests: Some(far),
        tokens: None,
    }
    .write(
        Dialect::Anthropic,
        SystemTime::UNIX_EPOCH,
        &mut Headers::new(),
    );
}

#[test]
fn no_comment_is_sent_to_clients_of_gemini() {
    assert_eq!(Dialect::Gemini.comment(), None);
    assert_eq!(Dialect::Gemini.ping(), None);
    for dialect in ALL {
        for frame in [dialect.comment(), dialect.ping()].into_iter().flatten() {
            let event = SseEvent::parse(frame);
            assert_eq!(dialect.meaning(&event).part, Part::KeepAlive);
        }
    }
}

#[test]
fn a_terminator_is_known_as_one() {
    for dialect in ALL {
        for surface in [
            Surface::Chat,
            Surface::Completions,
            Surface::Responses,
            Surface::Messages,
            Surface::Other,
        ] {
            if let Some(frame) = dialect.terminator(surface) {
                assert_eq!(
                    dialect.meaning(&SseEvent::parse(frame)).part,
                    Part::Terminator
                );
            }
        }
    }
    assert!(Dialect::Anthropic.terminator(Surface::Messages).is_some());
    assert!(Dialect::OpenAi.terminator(Surface::Responses).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_event_panics(
        text in "(\\{|\\}|\\[|\\]|,|:|\"(choices|delta|content|type|error|candidates|parts|text|tool_calls|function)\"|\"\\\\u00|\"é|1| ){0,24}",
        raw in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let frame = format!("data: {text}\n\n");
        for dialect in ALL {
            dialect.meaning(&SseEvent::parse(frame.as_bytes()));
            dialect.meaning(&SseEvent::parse(&raw));
            calls(dialect, &text);
            Usage::of(dialect, &text);
        }
    }

    #[test]
    fn no_path_panics(path in "[/a-z:%]{0,30}|(/|v1|models|:|openai|deployments|%3A|messages|é){0,8}") {
        let head = head("POST", &path, &[]);
        Asked::read(None, &head, b"{");
    }

    #[test]
    fn the_text_is_what_a_parser_reads(text in any::<String>()) {
        let chunk = serde_json::json!({ "choices": [{ "index": 0, "delta": { "content": text } }] });
        let frame = format!("data: {chunk}\n\n");
        let event = SseEvent::parse(frame.as_bytes());
        let said = Dialect::OpenAi.meaning(&event).text;
        prop_assert_eq!(said.as_deref().unwrap_or_default(), text);
    }
}
