//! Reads the file with all mistakes at once.
//!
//! The reader of TOML values stops at the first mistake. So what it stumbles over is noted and taken out, and the rest is
//! read again, until all of it can be read. What is only wrong because something was taken out is not said.

use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::check::{self, Mark};
use super::render::{ConfigErrors, Mistake};
use super::secrets::Secrets;
use super::suggest;
use super::{Config, Step, Way};

/// Reads a file's text. `env` looks up environment variables.
pub(super) fn parse(
    text: &str,
    file: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigErrors> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let source = Source { text, file };
    if !errors.is_empty() {
        let secrets = Secrets::of_broken(text);
        let mut errors: Vec<_> = errors
            .iter()
            .map(|error| (error.span().unwrap_or_default(), error.message()))
            .collect();
        // Of those at one place the innermost comes last, and is the cause. Later ones are mostly echoes.
        errors.reverse();
        errors.sort_by_key(|(span, _)| span.start);
        errors.dedup_by_key(|(span, _)| span.start);
        let mistakes = errors
            .iter()
            .take(MAX_SYNTAX_MISTAKES)
            .map(|(span, message)| source.mistake(span, message, &secrets));
        return Err(ConfigErrors::new(mistakes.collect()));
    }
    let secrets = Secrets::of(text, table.get_ref());
    let mut reading = Reading {
        table,
        damaged: Vec::new(),
        mistakes: Vec::new(),
    };
    let config = reading.read();
    let mut mistakes: Vec<(Range<usize>, Mistake)> = Vec::new();
    for (span, message) in &reading.mistakes {
        mistakes.push((span.clone(), source.mistake(span, message, &secrets)));
    }
    let Some(mut config) = config else {
        return Err(sorted(mistakes));
    };
    file.parent()
        .unwrap_or(Path::new(""))
        .clone_into(&mut config.folder);
    for finding in check::findings(&config, env) {
        if finding.relies_on.iter().any(|way| reading.is_damaged(way)) {
            continue;
        }
        let span = reading.place(&finding.way, finding.mark);
        let mut mistake = source.mistake(&span, &finding.what, &secrets);
        mistake.hints.extend(finding.hints);
        mistakes.push((span, mistake));
    }
    if mistakes.is_empty() {
        Ok(config)
    } else {
        Err(sorted(mistakes))
    }
}

fn sorted(mut mistakes: Vec<(Range<usize>, Mistake)>) -> ConfigErrors {
    mistakes.sort_by_key(|(span, _)| span.start);
    ConfigErrors::new(mistakes.into_iter().map(|(_, mistake)| mistake).collect())
}

/// The file that is read.
struct Source<'a> {
    text: &'a str,
    file: &'a Path,
}

impl Source<'_> {
    fn mistake(&self, span: &Range<usize>, message: &str, secrets: &Secrets) -> Mistake {
        let (what, mut hints) = in_our_words(&secrets.blot_message(message));
        let pointed = self.text.get(span.clone()).unwrap_or("");
        let is_one_table = pointed.starts_with('[') && !pointed.starts_with("[[");
        if is_one_table && message == "invalid type: map, expected a sequence" {
            hints = vec![format!(
                "there may be more than one, so write `[{pointed}]`"
            )];
        }
        if pointed == "fault" && message.starts_with("unknown field") {
            hints.insert(
                0,
                "a fault stands below its route, as `[[route.fault]]`".to_owned(),
            );
        }
        Mistake::in_file(self.file, self.text, span, &what, &hints, secrets)
    }
}

/// The values of a file, from which what can't be read is taken out.
struct Reading<'i> {
    table: Spanned<DeTable<'i>>,
    /// The spans of the tables and arrays out of which something was taken.
    damaged: Vec<Range<usize>>,
    /// In the order in which they were met.
    mistakes: Vec<(Range<usize>, String)>,
}

impl Reading<'_> {
    /// `None` when what is wrong can't be taken out.
    fn read(&mut self) -> Option<Config> {
        while self.mistakes.len() < MAX_MISTAKES {
            let error = match Config::deserialize(toml::Deserializer::from(self.table.clone())) {
                Ok(config) => return Some(config),
                Err(error) => error,
            };
            let span = error.span().unwrap_or_default();
            let message = match error.message() {
                bare if is_no_choice(bare) => self.choices_at(&span).unwrap_or(bare.to_owned()),
                message => message.to_owned(),
            };
            // What is wrong with a whole table after something was taken out of it is that something is missing.
            if !self.damaged.contains(&span) {
                self.mistakes.push((span.clone(), message));
            }
            let root = self.table.span();
            let taken_from = take_from_table(self.table.get_mut(), root, &span)?;
            self.damaged.push(taken_from);
        }
        None
    }

    /// What the reader says of a value in whose place only a choice can stand, with the list of the choices. It gives
    /// that list only for a text that is none of them, so such a text is read in the place of the value.
    fn choices_at(&self, span: &Range<usize>) -> Option<String> {
        let mut table = self.table.clone();
        put_in_table(table.get_mut(), span);
        let error = Config::deserialize(toml::Deserializer::from(table)).err()?;
        let (_, expected) = error.message().split_once(", expected ")?;
        (error.span().as_ref() == Some(span))
            .then(|| format!("wanted string or table, expected {expected}"))
    }

    /// Whether something was taken out of what this way leads to.
    fn is_damaged(&self, way: &Way) -> bool {
        let root = self.table.span();
        match self.find(way) {
            // `[[fault]]` twice is a list with the span of its first table. Of such a list nothing is taken but what is
            // in its tables.
            Found { missing: true, .. }
            | Found {
                is_tables: true, ..
            } => false,
            Found { value, .. } => self.damaged.contains(&value.unwrap_or(root)),
        }
    }

    /// Where to point at for a value; at the table that should hold it where it is not there.
    fn place(&self, way: &Way, mark: Mark) -> Range<usize> {
        let found = self.find(way);
        match (mark, found.key, found.value) {
            (Mark::Key, Some(key), _) if !found.missing => key,
            (_, _, Some(value)) => value,
            (_, _, None) => 0..0,
        }
    }

    fn find(&self, way: &Way) -> Found {
        let mut found = Found {
            key: None,
            value: None,
            missing: false,
            is_tables: false,
        };
        let mut table = Some(self.table.get_ref());
        let mut array = None;
        for step in &way.0 {
            let next = match step {
                Step::Key(key) => table
                    .and_then(|table| table.get_key_value(key.as_str()))
                    .map(|(key, value)| (Some(key.span()), value)),
                Step::Index(index) => array
                    .and_then(|array: &DeArray<'_>| array.get(*index))
                    .map(|value| (None, value)),
            };
            let Some((key, value)) = next else {
                found.missing = true;
                break;
            };
            found.key = key;
            found.value = Some(value.span());
            table = value.get_ref().as_table();
            array = value.get_ref().as_array();
        }
        let first = array.and_then(|array| array.first()).map(Spanned::span);
        found.is_tables = !found.missing && first.is_some() && first == found.value;
        found
    }
}

/// How far a way leads.
struct Found {
    /// Of the last step that is there; `None` for an element of an array.
    key: Option<Range<usize>>,
    /// Of the last step that is there; `None` where not even the first one is.
    value: Option<Range<usize>>,
    /// Whether a step is not there.
    missing: bool,
    /// Whether it is a list written as one `[[table]]` after the other.
    is_tables: bool,
}

/// Takes out the innermost entry whose key or value has this span, and says out of what.
fn take_from_table(
    table: &mut DeTable<'_>,
    own: Range<usize>,
    span: &Range<usize>,
) -> Option<Range<usize>> {
    let mut taken = None;
    for (key, value) in table.iter_mut() {
        if key.span() == *span {
            taken = Some(key.get_ref().clone().into_owned());
            break;
        }
        if let Some(from) = take_from_value(value, span) {
            return Some(from);
        }
        if value.span() == *span {
            taken = Some(key.get_ref().clone().into_owned());
            break;
        }
    }
    table.remove(taken?.as_str()).map(|_| own)
}

fn take_from_value(value: &mut Spanned<DeValue<'_>>, span: &Range<usize>) -> Option<Range<usize>> {
    let own = value.span();
    match value.get_mut() {
        DeValue::Table(table) => take_from_table(table, own, span),
        DeValue::Array(array) => {
            let mut taken = None;
            for (index, element) in array.iter_mut().enumerate() {
                if let Some(from) = take_from_value(element, span) {
                    return Some(from);
                }
                if element.span() == *span {
                    taken = Some(index);
                    break;
                }
            }
            let taken = taken?;
            let mut index = 0;
            let kept = std::mem::replace(array, DeArray::new())
                .into_iter()
                .filter(|_| {
                    index += 1;
                    index - 1 != taken
                });
            *array = kept.collect();
            Some(own)
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => None,
    }
}

/// Puts a text that is no choice anywhere in the place of the value with this span.
fn put_in_table(table: &mut DeTable<'_>, span: &Range<usize>) {
    for (_, value) in table.iter_mut() {
        put_in_value(value, span);
    }
}

fn put_in_value(value: &mut Spanned<DeValue<'_>>, span: &Range<usize>) {
    if value.span() == *span {
        *value.get_mut() = DeValue::String("".into());
        return;
    }
    match value.get_mut() {
        DeValue::Table(table) => put_in_table(table, span),
        DeValue::Array(array) => {
            for element in array.iter_mut() {
                put_in_value(element, span);
            }
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => {}
    }
}

/// Whether the reader wanted a choice and met what can't name one.
fn is_no_choice(message: &str) -> bool {
    message.starts_with("wanted string or table") || message.starts_with("wanted exactly 1 element")
}

/// What serde says, in words for people who write the file and not the reader of it; what was expected becomes a hint.
fn in_our_words(message: &str) -> (String, Vec<String>) {
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
            .replace("unknown field", "unknown key")
            .replace("missing field", "missing key"),
    };
    (what, hints)
}

fn people_say(expected: &str) -> String {
    match expected {
        "a string" => "a text in quotes".to_owned(),
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

/// More is not read by anyone, and each costs a pass over the file.
const MAX_MISTAKES: usize = 100;
const MAX_SYNTAX_MISTAKES: usize = 3;

/// In bytes.
const MAX_LIST: usize = 100;
