use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use super::corrupt::{Corrupter, SPREAD, garbage, inside_characters, split_utf8};
use super::frame::{drop_event_lines, invalid_json, invalid_json_body, invalid_utf8, two_objects};
use super::head::{HUGE, edit_headers, html_page};
use super::queue::{EventEdit, EventQueue};
use super::tools::ToolEditor;
use super::*;
use crate::dialect::Dialect;
use crate::fault::kind::{HeaderEdit, ToolArgs, Unit};
use crate::fault::position::EventKind;
use crate::message::Headers;
use crate::units::ByteSize;

fn text(bytes: Option<Bytes>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[test]
fn a_selector_means_what_was_asked() {
    let numbers = |events: &Events| {
        let selector = Selector::new(events);
        (0..8)
            .filter(|number| selector.selects(*number, Part::Content))
            .collect::<Vec<_>>()
    };
    assert_eq!(numbers(&Events::At(vec![5, 2, 2])), [2, 5]);
    assert_eq!(numbers(&Events::Range { from: 3, count: 2 }), [3, 4]);
    assert_eq!(
        numbers(&Events::Range {
            from: 1,
            count: u64::MAX
        })
        .len(),
        7
    );
    assert_eq!(numbers(&Events::Kind(EventKind::Content)).len(), 8);
    assert!(numbers(&Events::Kind(EventKind::Usage)).is_empty());
    assert!(Selector::new(&Events::At(vec![3])).is_over(4));
    assert!(!Selector::new(&Events::At(vec![3])).is_over(3));
    assert!(Selector::new(&Events::Range { from: 3, count: 2 }).is_over(5));
    assert!(!Selector::new(&Events::Kind(EventKind::Role)).is_over(u64::MAX));
}

#[test]
fn json_is_broken_and_nothing_beside_it() {
    let broken = |frame: &str| text(invalid_json(frame.as_bytes()));
    assert_eq!(
        broken("event: a\r\ndata: {\"a\":1}\r\n\r\n").unwrap(),
        "event: a\r\ndata: {]\"a\":1}\r\n\r\n"
    );
    assert_eq!(broken("data: [1]\n\n").unwrap(), "data: {][1]\n\n");
    assert_eq!(broken("data: [DONE]\n\n"), None);
    assert_eq!(broken(": x\n\n"), None);
    assert_eq!(broken("data: {\ndata: }\n\n"), None);
    assert_eq!(broken("data:\n\n"), None);
    assert_eq!(
        text(invalid_json_body(b" \n{\"a\":1}")).unwrap(),
        " \n{]\"a\":1}"
    );
    assert_eq!(invalid_json_body(b" \n"), None);
}

#[test]
fn one_line_gets_two_objects() {
    let twice = |frame: &str| text(two_objects(frame.as_bytes()));
    assert_eq!(
        twice("data: {\"a\":1}\n\n").unwrap(),
        "data: {\"a\":1}{\"a\":1}\n\n"
    );
    assert_eq!(
        twice("data:{\"a\":1} \r\r").unwrap(),
        "data:{\"a\":1}{\"a\":1} \r\r"
    );
    assert_eq!(twice("data: [DONE]\n\n"), None);
    assert_eq!(twice("id: 1\n\n"), None);
}

#[test]
fn a_byte_that_is_no_utf8_goes_into_the_text() {
    let broken = |dialect, data: &str| {
        let frame = format!("data: {data}\n\n");
        let edited = invalid_utf8(dialect, frame.as_bytes()).unwrap();
        assert!(std::str::from_utf8(&edited).is_err());
        let edited = String::from_utf8_lossy(&edited).into_owned();
        assert_eq!(edited.replacen('\u{fffd}', "", 1), frame);
        edited
    };
    let chat = broken(
        Dialect::OpenAi,
        r#"{"model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}"#,
    );
    assert!(chat.contains("\"Hi\u{fffd}\""), "{chat}");
    let delta =
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}"#;
    assert!(broken(Dialect::Anthropic, delta).contains("\"Hi\u{fffd}\""));
    let json = r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"a"}}"#;
    assert!(broken(Dialect::Anthropic, json).contains("a\u{fffd}\""));
    let gemini = r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}],"role":"model"}}]}"#;
    assert!(broken(Dialect::Gemini, gemini).contains("\"Hi\u{fffd}\""));
    let delta = r#"{"type":"response.output_text.delta","delta":"Hi"}"#;
    assert!(broken(Dialect::OpenAi, delta).contains("\"Hi\u{fffd}\""));
    assert!(broken(Dialect::Plain, "hello").ends_with("hello\u{fffd}\n\n"));
    assert_eq!(invalid_utf8(Dialect::OpenAi, b"data: [DONE]\n\n"), None);
}

#[test]
fn event_lines_are_taken_out() {
    let dropped = |frame: &str| text(drop_event_lines(frame.as_bytes()));
    assert_eq!(
        dropped(": a\r\nevent: x\r\nid: 1\revent\ndata: event: y\n\n").unwrap(),
        ": a\r\nid: 1\rdata: event: y\n\n"
    );
    assert_eq!(dropped("events: x\ndata: a\n\n"), None);
}

fn frames(dialect: Dialect, fault: ToolArgs, data: &[&str]) -> Vec<String> {
    let mut editor = ToolEditor::new(dialect, fault);
    data.iter()
        .map(|data| {
            let frame = format!("event: e\ndata: {data}\n\n");
            let edited = editor.event(frame.as_bytes());
            let edited = edited.map_or(frame, |edited| String::from_utf8(edited.to_vec()).unwrap());
            let data = edited.strip_prefix("event: e\ndata: ").unwrap();
            data.strip_suffix("\n\n").unwrap().to_owned()
        })
        .collect()
}

const CHAT: [&str; 5] = [
    r#"{"choices":[{"index":0,"delta":{"role":"assistant","tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"weather","arguments":""}}]}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"ci"}}]}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"ty\": \"Par"}}]}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"is\", \"days\": 39}"}}]}}]}"#,
    r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#,
];

/// The arguments of the first call, put together.
fn arguments(chat: &[String]) -> String {
    chat.iter()
        .map(|data| {
            let value: Value = serde_json::from_str(data).unwrap();
            let call = &value["choices"][0]["delta"]["tool_calls"][0];
            call["function"]["arguments"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect()
}

#[test]
fn calls_in_a_chat_stream_go_wrong_as_asked() {
    let chat = |fault| frames(Dialect::OpenAi, fault, &CHAT);
    let cut = chat(ToolArgs::Cut);
    assert_eq!(arguments(&cut), "{\"");
    assert_eq!([&cut[0], &cut[4]], [CHAT[0], CHAT[4]]);
    let wrong = chat(ToolArgs::WrongValue);
    assert_eq!(arguments(&wrong), r#"{"city": "Qbsjt", "days": 48}"#);
    let id = chat(ToolArgs::WrongId);
    assert_eq!(id[0], CHAT[0].replace("call_1", "call_1_wrong"));
    assert_eq!(id[1..], CHAT[1..]);
    let index = chat(ToolArgs::WrongIndex);
    assert_eq!(index[0], CHAT[0]);
    assert_eq!(
        index[1],
        CHAT[1].replace(r#"[{"index":0,"function"#, r#"[{"index":1,"function"#)
    );
    let tool = chat(ToolArgs::UnknownTool);
    assert_eq!(
        tool[0],
        CHAT[0].replace("weather", "rehearsal_unknown_tool")
    );
    assert_eq!(tool[1..], CHAT[1..]);
}

#[test]
fn calls_in_a_stream_of_responses_go_wrong_everywhere() {
    let data = [
        r#"{"type":"response.output_item.added","output_index":1,"item":{"id":"fc_1","type":"function_call","call_id":"call_1","name":"f","arguments":""}}"#,
        r#"{"type":"response.function_call_arguments.delta","item_id":"fc_1","output_index":1,"delta":"{\"a\":\"b\"}"}"#,
        r#"{"type":"response.function_call_arguments.done","item_id":"fc_1","output_index":1,"arguments":"{\"a\":\"b\"}"}"#,
        r#"{"type":"response.completed","response":{"output":[{"type":"reasoning"},{"type":"function_call","call_id":"call_1","name":"f","arguments":"{\"a\":\"b\"}"}]}}"#,
    ];
    let edited = |fault| frames(Dialect::OpenAi, fault, &data);
    let wrong = edited(ToolArgs::WrongValue);
    for at in 1..4 {
        assert_eq!(wrong[at], data[at].replace(r#"\"b\""#, r#"\"c\""#));
    }
    let cut = edited(ToolArgs::Cut);
    for at in 1..4 {
        assert_eq!(cut[at], data[at].replace(r#"{\"a\":\"b\"}"#, r#"{\"a\""#));
    }
    let id = edited(ToolArgs::WrongId);
    assert_eq!(id[0], data[0].replace("call_1", "call_1_wrong"));
    assert_eq!(id[1], data[1].replace("fc_1", "fc_1_wrong"));
    assert_eq!(id[2..], data[2..]);
    let index = edited(ToolArgs::WrongIndex);
    assert_eq!(
        index[1],
        data[1].replace("\"output_index\":1", "\"output_index\":2")
    );
    let tool = edited(ToolArgs::UnknownTool);
    assert_eq!(
        tool[3],
        data[3].replace("\"name\":\"f\"", "\"name\":\"rehearsal_unknown_tool\"")
    );
}

#[test]
fn calls_in_other_dialects_go_wrong_too() {
    let anthropic = [
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":""}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"n\": 5}"}}"#,
    ];
    let cut = frames(Dialect::Anthropic, ToolArgs::Cut, &anthropic);
    assert_eq!(cut[2], anthropic[2].replace(r#"{\"n\": 5}"#, r#"{\"n\""#));
    assert_eq!(cut[..2], anthropic[..2]);
    let index = frames(Dialect::Anthropic, ToolArgs::WrongIndex, &anthropic);
    assert_eq!(index[2], anthropic[2].replace("\"index\":1", "\"index\":2"));
    let gemini = [
        r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a": ["x", 9, true]}}}]}}]}"#,
    ];
    let wrong = frames(Dialect::Gemini, ToolArgs::WrongValue, &gemini);
    assert_eq!(
        wrong[0],
        gemini[0].replace(r#"["x", 9, true]"#, r#"["y", 8, true]"#)
    );
    let cut = frames(Dialect::Gemini, ToolArgs::Cut, &gemini);
    assert_eq!(cut[0], gemini[0].replace(r#"{"a": ["x", 9, true]}"#, "{}"));
    assert_eq!(
        frames(Dialect::Gemini, ToolArgs::WrongIndex, &gemini),
        gemini
    );
    let body = br#"{"content":[{"type":"text","text":"x"},{"type":"tool_use","id":"t","name":"f","input":{"n":1}}]}"#;
    let mut editor = ToolEditor::new(Dialect::Anthropic, ToolArgs::WrongId);
    assert!(text(editor.body(body)).unwrap().contains("\"t_wrong\""));
}

/// A fixed run of numbers that look like chance.
fn chance(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) ^ (state << 31)
    }
}

#[test]
fn so_many_flips_come_however_the_body_is_divided() {
    for (unit, pieces) in [(Unit::Bits, 1), (Unit::Bytes, 7), (Unit::Bits, 4096)] {
        let count = 20;
        let body = vec![b'a'; usize::try_from(SPREAD).unwrap() * 20];
        let mut corrupter = Corrupter::new(count, unit);
        let mut draw = chance(3);
        let flipped: Vec<u8> = body
            .chunks(body.len().div_ceil(pieces))
            .flat_map(|piece| corrupter.push(Bytes::copy_from_slice(piece), &mut draw))
            .collect();
        assert_eq!(corrupter.left(), 0);
        let bits: Vec<_> = flipped
            .iter()
            .map(|byte| (byte ^ b'a').count_ones())
            .filter(|bits| *bits > 0)
            .collect();
        assert_eq!(bits.len(), 20);
        assert!(unit == Unit::Bytes || bits.iter().all(|bits| *bits == 1));
        let mut once = Corrupter::new(count, unit);
        assert_eq!(once.push(body.into(), &mut chance(3)), flipped);
    }
}

#[test]
fn garbage_is_no_http() {
    for count in [1, 7, 8, 1000] {
        let made = garbage(count, &mut chance(1));
        assert_eq!(made.len(), usize::try_from(count).unwrap());
        assert!(made[0] >= 0x80);
        assert_eq!(made, garbage(count, &mut chance(1)));
    }
    assert!(garbage(0, &mut chance(1)).is_empty());
}

#[test]
fn headers_are_edited_in_order() {
    let edit = HeaderEdit {
        set: BTreeMap::from([("X-A".to_owned(), "9".to_owned())]),
        drop: vec!["x-b".to_owned()],
        duplicate: vec!["x-a".to_owned(), "x-none".to_owned()],
        huge: Some(ByteSize(10)),
    };
    let mut headers: Headers = [("x-a", "1"), ("X-B", "2"), ("x-a", "3")]
        .into_iter()
        .collect();
    edit_headers(&edit, &mut headers);
    let lines: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name, value.as_ref()))
        .collect();
    assert_eq!(
        lines,
        [("x-a", &b"9"[..]), ("x-a", b"9"), (HUGE, b"xxxxxxxxxx")]
    );
    let (status, headers, body) = html_page();
    assert_eq!(status, 200);
    assert_eq!(
        headers.get_str("content-length"),
        Some(body.len().to_string().as_str())
    );
}

fn queued(edits: &[(EventEdit, Vec<u64>)], frames: &[&'static str]) -> Vec<String> {
    let mut queue = EventQueue::default();
    for (edit, numbers) in edits {
        queue.add(*edit, &Events::At(numbers.clone()));
    }
    let mut writes = Vec::new();
    for (number, frame) in (1..).zip(frames) {
        queue.push(
            Bytes::from_static(frame.as_bytes()),
            number,
            Part::Content,
            &mut writes,
        );
    }
    queue.finish(&mut writes);
    writes
        .iter()
        .map(|write| String::from_utf8(write.to_vec()).unwrap())
        .collect()
}

#[test]
fn events_are_dropped_doubled_and_moved() {
    let all = ["aa", "bb", "cc", "dd"];
    let one = |edit, numbers: &[u64]| queued(&[(edit, numbers.to_vec())], &all);
    assert_eq!(one(EventEdit::Drop, &[1, 3]), ["bb", "dd"]);
    assert_eq!(
        one(EventEdit::Duplicate, &[2]),
        ["aa", "bb", "bb", "cc", "dd"]
    );
    assert_eq!(one(EventEdit::Reorder, &[1]), ["bb", "aa", "cc", "dd"]);
    assert_eq!(
        one(EventEdit::Reorder, &[1, 2, 3, 4]),
        ["bb", "aa", "dd", "cc"]
    );
    assert_eq!(one(EventEdit::Reorder, &[4]), ["aa", "bb", "cc", "dd"]);
    assert_eq!(one(EventEdit::Merge, &[1]), ["aabb", "cc", "dd"]);
    assert_eq!(one(EventEdit::Merge, &[1, 2, 3, 4]), ["aabb", "ccdd"]);
    assert_eq!(one(EventEdit::Merge, &[4]), ["aa", "bb", "cc", "dd"]);
    assert_eq!(one(EventEdit::Split, &[2]), ["aa", "b", "b", "cc", "dd"]);
    let both = |edits: &[(EventEdit, Vec<u64>)]| queued(edits, &all);
    assert_eq!(
        both(&[(EventEdit::Reorder, vec![1]), (EventEdit::Drop, vec![2])]),
        ["cc", "aa", "dd"]
    );
    assert_eq!(
        both(&[
            (EventEdit::Duplicate, vec![1]),
            (EventEdit::Reorder, vec![1])
        ]),
        ["aa", "bb", "aa", "cc", "dd"]
    );
    assert_eq!(
        both(&[(EventEdit::Merge, vec![2]), (EventEdit::Reorder, vec![2])]),
        ["aa", "cc", "bbdd"]
    );
    assert!(EventQueue::default().is_idle());
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    let line = "(data: ?|event: ?|id: |: )?(\\{|\\}|\\[|\"(delta|tool_calls|choices|arguments|content|index|id|function)\"|:|,|é|\"a\"|1|\\[DONE\\]){0,12}(\r|\n|\r\n)";
    prop_oneof![
        proptest::collection::vec(line, 0..4).prop_map(|lines| lines.concat().into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..64),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_frame_panics(frame in frame()) {
        invalid_json(&frame);
        invalid_json_body(&frame);
        two_objects(&frame);
        drop_event_lines(&frame);
        inside_characters(&frame);
        for dialect in [Dialect::OpenAi, Dialect::Anthropic, Dialect::Gemini, Dialect::Plain] {
            invalid_utf8(dialect, &frame);
            for fault in [ToolArgs::Cut, ToolArgs::WrongId, ToolArgs::WrongIndex, ToolArgs::UnknownTool, ToolArgs::WrongValue] {
                ToolEditor::new(dialect, fault).event(&frame);
                ToolEditor::new(dialect, fault).body(&frame);
            }
        }
    }

    #[test]
    fn broken_json_is_read_by_no_parser(value in "[\\[\\]{}\",:0-9a ]{1,20}") {
        let frame = format!("data: {value}\n\n");
        if let Some(edited) = invalid_json(frame.as_bytes()) {
            let edited = String::from_utf8(edited.to_vec()).unwrap();
            let data = edited.strip_prefix("data: ").unwrap().trim_end();
            prop_assert!(serde_json::from_str::<Value>(data).is_err());
            prop_assert!(serde_json::Deserializer::from_str(data).into_iter::<Value>().next().unwrap().is_err());
        }
    }

    #[test]
    fn what_is_put_in_is_all_that_changes(frame in frame()) {
        if let Some(edited) = invalid_json(&frame) {
            let more = edited.len() - frame.len();
            let same = frame.iter().zip(edited.iter()).take_while(|(one, other)| one == other).count();
            // All before the place and all after it is as it was.
            prop_assert!(more <= 2);
            let rest = frame.len().saturating_sub(same);
            prop_assert_eq!(&frame[frame.len() - rest..], &edited[edited.len() - rest..]);
        }
    }

    #[test]
    fn split_characters_come_whole_again(text in "[a-zé€\u{1F600}]{0,20}") {
        let whole = Bytes::from(text.clone());
        let pieces = split_utf8(&whole);
        let together: Vec<u8> = pieces.iter().flatten().copied().collect();
        prop_assert_eq!(&together, text.as_bytes());
        let wide = text.chars().filter(|char| char.len_utf8() > 1).count();
        prop_assert_eq!(pieces.len(), wide + 1);
        for piece in pieces.iter().rev().skip(1) {
            prop_assert!(std::str::from_utf8(piece).is_err());
        }
    }

    #[test]
    fn no_event_is_lost_and_none_is_kept(
        edits in proptest::collection::vec((0_u8..4, proptest::collection::vec(1_u64..10, 0..6)), 0..4),
        count in 0_u64..10,
    ) {
        let mut queue = EventQueue::default();
        let mut doubled = std::collections::BTreeSet::new();
        for (edit, numbers) in edits {
            let edit = match edit {
                0 => EventEdit::Duplicate,
                1 => EventEdit::Reorder,
                2 => EventEdit::Merge,
                _ => EventEdit::Split,
            };
            if edit == EventEdit::Duplicate {
                doubled.extend(numbers.iter().copied().filter(|number| *number <= count));
            }
            queue.add(edit, &Events::At(numbers));
        }
        let (mut writes, mut sent) = (Vec::new(), Vec::new());
        for number in 1..=count {
            let frame = format!("{number}{number};");
            sent.push(frame.clone());
            if doubled.contains(&number) {
                sent.push(frame.clone());
            }
            queue.push(frame.into(), number, Part::Content, &mut writes);
        }
        queue.finish(&mut writes);
        let together = String::from_utf8(writes.concat()).unwrap();
        let mut came: Vec<_> = together.split_inclusive(';').map(str::to_owned).collect();
        came.sort();
        sent.sort();
        prop_assert_eq!(came, sent);
    }

    #[test]
    fn changed_arguments_keep_their_shape(value in "[a-zA-Z0-9 é\"\\\\]{0,12}", number in any::<u32>(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let arguments = serde_json::json!({ "name": value, "list": [number, { "x": value }], "no": null, "f": 1.5e3 }).to_string();
        let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(arguments.len())).filter(|at| arguments.is_char_boundary(*at)).collect();
        at.extend([0, arguments.len()]);
        at.sort_unstable();
        let mut editor = ToolEditor::new(Dialect::Anthropic, ToolArgs::WrongValue);
        let mut together = String::new();
        for pair in at.windows(2) {
            let piece = Value::from(&arguments[pair[0]..pair[1]]);
            let data = format!(r#"{{"type":"content_block_delta","index":1,"delta":{{"type":"input_json_delta","partial_json":{piece}}}}}"#);
            let frame = format!("data: {data}\n\n");
            let edited = editor.event(frame.as_bytes()).map_or(frame, |edited| String::from_utf8(edited.to_vec()).unwrap());
            let data: Value = serde_json::from_str(edited.strip_prefix("data: ").unwrap()).unwrap();
            together += data["delta"]["partial_json"].as_str().unwrap();
        }
        let changed: Value = serde_json::from_str(&together).unwrap();
        let names: Vec<_> = changed.as_object().unwrap().keys().collect();
        prop_assert_eq!(names, ["name", "list", "no", "f"]);
        prop_assert!(changed["name"].is_string() && changed["list"][0].is_number() && changed["no"].is_null());
        if value.chars().any(|char| char.is_ascii_alphabetic()) {
            prop_assert_ne!(changed["name"].as_str().unwrap(), value);
        }
        let whole = format!(r#"{{"content":[{{"type":"tool_use","input":{arguments}}}]}}"#);
        let edited = ToolEditor::new(Dialect::Anthropic, ToolArgs::WrongValue).body(whole.as_bytes()).unwrap();
        let edited: Value = serde_json::from_slice(&edited).unwrap();
        prop_assert_eq!(&edited["content"][0]["input"], &changed);
    }
}
