use proptest::prelude::*;

use super::asked::Asked;
use super::tools::calls;
use super::usage::Usage;
use super::*;
use crate::message::RequestHead;

mod asked;
mod events;
mod limits;
mod tools;

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

#[test]
fn dialects_are_written_as_they_are_named() {
    for dialect in ALL {
        let value = serde_json::Value::from(dialect.as_str());
        assert_eq!(serde_json::from_value::<Dialect>(value).unwrap(), dialect);
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
