//! What the reader of TOML values says, in words for people who write the file.

use super::suggest;

/// Whether the reader wanted a choice and met what can't name one.
pub(super) fn is_no_choice(message: &str) -> bool {
    message.starts_with("wanted string or table") || message.starts_with("wanted exactly 1 element")
}

/// What serde says, in words for people who write the file and not the reader of it; what was expected becomes a hint.
pub(super) fn in_our_words(message: &str) -> (String, Vec<String>) {
    let mut hints = Vec::new();
    let (what, expected) = match message.split_once(", expected ") {
        Some((what, expected)) => (what, Some(expected)),
        None => (message, None),
    };
    let (what, asked) = match what.split_once("; did you mean ") {
        Some((what, asked)) => (what, Some(asked)),
        None => (what, None),
    };
    if let Some(asked) = asked {
        hints.push(format!("did you mean {asked}"));
    }
    let unknown = ["unknown field `", "unknown variant `"]
        .iter()
        .find_map(|start| what.strip_prefix(start)?.strip_suffix('`'));
    if let (Some(word), Some(expected)) = (unknown, expected) {
        // The names stand between backticks: every second part.
        let known = expected.split('`').skip(1).step_by(2);
        if let Some(near) = suggest::nearest(word, known) {
            hints.push(format!("did you mean `{near}`?"));
        }
    }
    // Who made a slip does not want to read a long list.
    let has_near = !hints.is_empty();
    if let Some(expected) = expected.filter(|list| !has_near || list.len() < MAX_LIST) {
        hints.push(format!("expected {}", people_say(expected)));
    }
    let what = match what.strip_prefix("unknown variant ") {
        Some(word) => format!("{word} is not one of the choices"),
        None if is_no_choice(what) => "this is not one of the choices".to_owned(),
        None if what == "invalid type: unit variant" => "this choice takes a value".to_owned(),
        None => what
            .replace(" as i128", ", which is too large")
            .replace(" as u128", ", which is too large")
            .replace("invalid type: sequence", "invalid type: a list")
            .replace("invalid type: map", "invalid type: a table")
            .replace("unknown field", "unknown key")
            .replace("missing field", "missing key"),
    };
    (what, hints)
}

fn people_say(expected: &str) -> String {
    match expected {
        "a string" | "path string" => "a text in quotes".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "a map" => "a table".to_owned(),
        "a sequence" => "a list in brackets".to_owned(),
        "u32" | "u64" | "usize" => "a whole number, not negative".to_owned(),
        "f64" => "a number".to_owned(),
        "newtype variant" | "struct variant" => {
            "a table with the choice as its key, such as `{ h2-reset = 8 }`".to_owned()
        }
        "unit variant" => "the choice alone, as a text in quotes".to_owned(),
        _ if expected.starts_with("struct ") => "a table".to_owned(),
        _ => expected.to_owned(),
    }
}

/// In bytes.
const MAX_LIST: usize = 100;
