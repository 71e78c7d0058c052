//! Reads the file with all mistakes at once.
//!
//! The reader of TOML values stops at the first mistake. So what it stumbles over is noted and taken out, and the rest is
//! read again, until all of it can be read. What is only wrong because something was taken out is not said.

use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable};

use super::check::{self, Mark};
use super::render::{ConfigErrors, Mistake};
use super::secrets::Secrets;
use super::tree::{put_in_table, take_from_table};
use super::words::{in_our_words, is_no_choice};
use super::{Config, Given, Step, Way};
use crate::by_name::ByName;

/// Reads a file's text. `given` stands in the place of what it says, `env` looks up environment variables.
pub(super) fn parse(
    text: &str,
    file: &Path,
    given: &Given,
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
    given.apply(&mut config);
    let mut findings: Vec<_> = check::findings(&config, given, env)
        .into_iter()
        .filter(|finding| !finding.relies_on.iter().any(|way| reading.is_damaged(way)))
        .map(|finding| (reading.place(&finding.way, finding.mark), finding))
        .collect();
    findings.sort_by_key(|(span, _)| span.start);
    for (span, finding) in findings.into_iter().take(MAX_MISTAKES) {
        if let Some(flag) = given.flag(&finding.way) {
            mistakes.push((0..0, Mistake::without_file(flag.to_owned(), finding)));
            continue;
        }
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
        let is_one_of_tables = pointed.starts_with("[[") && self.is_line_start(span.start);
        if is_one_of_tables && message.starts_with("invalid type: sequence") {
            let name = pointed.trim_start_matches('[').trim_end_matches(']');
            hints.push(format!("there is only one, so write `[{name}]`"));
        }
        if pointed == "fault" && message.starts_with("unknown field") {
            hints.insert(
                0,
                "a fault stands below its route, as `[[route.fault]]`".to_owned(),
            );
        }
        Mistake::in_file(self.file, self.text, span, &what, &hints, secrets)
    }

    fn is_line_start(&self, at: usize) -> bool {
        let before = self.text.get(..at).unwrap_or_default();
        let before = before.trim_end_matches([' ', '\t']);
        before.is_empty() || before.ends_with('\n')
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
            let error = match Self::config(self.table.clone()) {
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

    fn config(table: Spanned<DeTable<'_>>) -> Result<Config, toml::de::Error> {
        Config::deserialize(ByName(toml::Deserializer::from(table)))
    }

    /// What the reader says of a value in whose place only a choice can stand, with the list of the choices. It gives
    /// that list only for a text that is none of them, so such a text is read in the place of the value.
    fn choices_at(&self, span: &Range<usize>) -> Option<String> {
        let mut table = self.table.clone();
        put_in_table(table.get_mut(), span);
        let error = Self::config(table).err()?;
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

/// More is not read by anyone, and each costs a pass over the file.
const MAX_MISTAKES: usize = 100;
const MAX_SYNTAX_MISTAKES: usize = 3;
