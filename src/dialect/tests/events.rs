//! What events mean.

use super::*;

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
