//! Keeps secrets that stand in the file out of messages about the file.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::origin::has_password;

/// Which parts of a file are not shown.
pub(super) struct Secrets {
    /// In bytes of the file, in its order; none reaches into another.
    spans: Vec<Range<usize>>,
    /// What stands there.
    texts: Vec<String>,
}

impl Secrets {
    /// Of a file that is TOML: values under a key, or in a shape, that lets one expect a secret.
    pub(super) fn of(text: &str, table: &DeTable<'_>) -> Self {
        let mut secrets = Self {
            spans: Vec::new(),
            texts: Vec::new(),
        };
        secrets.gather_table(text, table, false);
        secrets.spans.sort_unstable_by_key(|span| span.start);
        secrets
    }

    /// Of a file that is not TOML, so that nobody knows where a value begins and ends: from the first sign of a secret
    /// to the next section all that may be a value.
    pub(super) fn of_broken(text: &str) -> Self {
        let mut spans = Vec::new();
        let mut start = 0;
        let mut is_expected = false;
        let mut in_long_text = false;
        for line in text.split_inclusive('\n') {
            let is_section = line.starts_with('[') && line.trim_end().ends_with(']');
            if is_section && !in_long_text {
                is_expected = false;
            }
            is_expected |= has_secret_word(line) || looks_secret(line);
            if is_expected || in_long_text {
                let value = match line.find(['=', '"', '\'']) {
                    Some(at) if line[at..].starts_with('=') && !in_long_text => at + 1,
                    Some(_) | None => 0,
                };
                spans.push(start + value..start + line.trim_end_matches(['\r', '\n']).len());
            }
            let marks = line.matches("\"\"\"").count() + line.matches("'''").count();
            in_long_text ^= marks % 2 == 1;
            start += line.len();
        }
        Self {
            spans,
            texts: Vec::new(),
        }
    }

    /// The part of the file that must not be shown and holds this byte.
    pub(super) fn at(&self, byte: usize) -> Option<&Range<usize>> {
        let after = self.spans.partition_point(|span| span.start <= byte);
        let last = self.spans.get(after.checked_sub(1)?)?;
        last.contains(&byte).then_some(last)
    }

    /// A message without what must not be shown.
    pub(super) fn blot_message(&self, message: &str) -> String {
        let mut message = message.to_owned();
        for text in &self.texts {
            // Some messages show a text with its quotes and escapes.
            for shown in [text.clone(), text.escape_debug().to_string()] {
                message = message.replace(&shown, "…");
            }
        }
        message
    }

    fn gather_table(&mut self, text: &str, table: &DeTable<'_>, is_expected: bool) {
        for (key, value) in table {
            let key = key.get_ref();
            // `{ env = … }` and `{ file = … }` say where the secret is; to see them helps.
            let is_pointer = matches!(&**key, "env" | "file");
            let is_expected = !is_pointer && (is_expected || has_secret_word(key));
            self.gather(text, value, is_expected);
        }
    }

    fn gather(&mut self, text: &str, value: &Spanned<DeValue<'_>>, is_expected: bool) {
        match value.get_ref() {
            DeValue::Table(table) => self.gather_table(text, table, is_expected),
            DeValue::Array(array) => {
                for element in array {
                    self.gather(text, element, is_expected);
                }
            }
            DeValue::String(content) => {
                // A short text says nothing, and blotting it out of messages would tear words apart.
                if (is_expected || looks_secret(content)) && content.len() >= 4 {
                    self.spans.push(value.span());
                    self.texts.push(content.clone().into_owned());
                }
            }
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {
                if is_expected {
                    self.spans.push(value.span());
                    self.texts.extend(
                        text.get(value.span())
                            .filter(|shown| shown.len() >= 4)
                            .map(str::to_owned),
                    );
                }
            }
        }
    }
}

/// Whether a key, or a line, is about something that usually is secret.
fn has_secret_word(text: &str) -> bool {
    let text = text.to_ascii_lowercase().replace('_', "-");
    SECRET_WORDS.iter().any(|word| text.contains(word))
}

/// Whether a text has the shape of a well-known kind of key, or a URL's with a password.
fn looks_secret(text: &str) -> bool {
    if has_password(text) {
        return true;
    }
    let text = text.to_ascii_lowercase();
    ["sk-", "bearer ", "basic ", "aiza", "ghp_", "xoxb-"]
        .iter()
        .any(|start| text.contains(start))
}

const SECRET_WORDS: [&str; 9] = [
    "set-header",
    "authorization",
    "api-key",
    "apikey",
    "cookie",
    "password",
    "secret",
    "-token",
    "value",
];
