//! Mistakes in the configuration, each shown with its line and a caret under the place.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use super::Given;
use super::check::Finding;
use super::secrets::Secrets;

/// All mistakes of a configuration, in the order of the file.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    mistakes: Vec<Mistake>,
}

/// One mistake and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong.
    pub what: String,
    /// What was expected, or what to do instead, a line each.
    pub hints: Vec<String>,
    /// `file:line:column`, or the way to the field where there is no file.
    pub place: String,
    /// The line and what is marked in it. `None` where there is no file.
    pub excerpt: Option<Excerpt>,
}

/// A line of the file with a mark under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// From 1.
    pub line: usize,
    /// The line, with secrets blotted out.
    pub text: String,
    /// In characters, from 0.
    pub column: usize,
    /// In characters, at least 1.
    pub width: usize,
}

impl ConfigErrors {
    /// One at least.
    pub(super) fn new(mistakes: Vec<Mistake>) -> Self {
        Self { mistakes }
    }

    pub(super) fn unreadable(path: &Path, error: &dyn fmt::Display) -> Self {
        Self::new(vec![Mistake {
            what: format!("can't read the configuration: {error}"),
            hints: Vec::new(),
            place: path.display().to_string(),
            excerpt: None,
        }])
    }

    pub(super) fn without_file(findings: Vec<Finding>, given: &Given) -> Self {
        let mistake = |finding: Finding| {
            let place = match given.flag(&finding.way) {
                Some(flag) => flag.to_owned(),
                None => finding.way.to_string(),
            };
            Mistake::without_file(place, finding)
        };
        Self::new(findings.into_iter().map(mistake).collect())
    }

    /// Each one by itself.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

impl Mistake {
    pub(super) fn without_file(place: String, finding: Finding) -> Self {
        Self {
            what: finding.what,
            hints: finding.hints,
            place,
            excerpt: None,
        }
    }

    /// A mistake at these bytes of the file's text.
    pub(super) fn in_file(
        file: &Path,
        text: &str,
        span: &Range<usize>,
        what: &str,
        hints: &[String],
        secrets: &Secrets,
    ) -> Self {
        let excerpt = Excerpt::new(text, span, secrets);
        let start = span.start.min(text.len());
        let line_start = text[..start].rfind('\n').map_or(0, |end| end + 1);
        let column = text[line_start..start].chars().count() + 1;
        Self {
            what: printable(what),
            hints: hints.iter().map(|hint| printable(hint)).collect(),
            place: format!("{}:{}:{column}", file.display(), excerpt.line),
            excerpt: Some(excerpt),
        }
    }
}

impl Excerpt {
    fn new(text: &str, span: &Range<usize>, secrets: &Secrets) -> Self {
        let start = span.start.min(text.len());
        let line_start = text[..start].rfind('\n').map_or(0, |end| end + 1);
        let line = 1 + text[..line_start].matches('\n').count();
        let line_end = text[start..]
            .find('\n')
            .map_or(text.len(), |end| start + end);
        // Of a line without end only what is near is looked at.
        let line_start = line_start.max(border(text, start.saturating_sub(MAX_NEAR)));
        let line_end = line_end.min(border(text, start.saturating_add(MAX_NEAR)));
        let mut shown: Vec<char> = Vec::new();
        let (mut from, mut to) = (None, None);
        let mut blotted = None;
        for (offset, char) in text[line_start..line_end].char_indices() {
            let byte = line_start + offset;
            if byte >= start {
                from.get_or_insert(shown.len());
            }
            if byte >= span.end {
                to.get_or_insert(shown.len());
            }
            // One sign for all of a secret, so that not even its length is told.
            let secret = secrets.at(byte);
            if secret.is_some() && secret == blotted {
                continue;
            }
            blotted = secret;
            shown.push(match char {
                _ if secret.is_some() => '…',
                '\t' => ' ',
                '\r' if byte + 1 == line_end => continue,
                _ if char.is_control() => char::REPLACEMENT_CHARACTER,
                _ => char,
            });
        }
        let from = from.unwrap_or(shown.len());
        let width = to.unwrap_or(shown.len()).saturating_sub(from).max(1);
        let skipped = if shown.len() > MAX_WIDTH {
            from.saturating_sub(MAX_WIDTH / 2)
        } else {
            0
        };
        let kept: String = shown.into_iter().skip(skipped).take(MAX_WIDTH).collect();
        Self {
            line,
            column: from - skipped,
            width: width.min(MAX_WIDTH - (from - skipped).min(MAX_WIDTH - 1)),
            text: kept,
        }
    }
}

/// The last border of a character at or before this byte.
fn border(text: &str, byte: usize) -> usize {
    (0..=byte.min(text.len()))
        .rev()
        .find(|&byte| text.is_char_boundary(byte))
        .unwrap_or_default()
}

/// What a hostile file puts into a message does not reach the terminal as a command, nor fill it.
fn printable(message: &str) -> String {
    let mut shown = String::new();
    for char in message.chars().take(MAX_MESSAGE) {
        if char.is_control() {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    if message.chars().nth(MAX_MESSAGE).is_some() {
        shown.push('…');
    }
    shown
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                write!(f, "\n\n")?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What `main` prints of an error that nobody caught is for people too.
        write!(f, "{self}")
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)?;
        let gutter = match &self.excerpt {
            Some(excerpt) => {
                let gutter = excerpt.line.to_string().len();
                let mark = "^".repeat(excerpt.width);
                write!(
                    f,
                    "\n{:gutter$} |\n{} | {}\n{:gutter$} | {:column$}{mark}",
                    "",
                    excerpt.line,
                    excerpt.text,
                    "",
                    "",
                    column = excerpt.column,
                )?;
                gutter
            }
            None => 1,
        };
        for hint in &self.hints {
            write!(f, "\n{:gutter$} = {hint}", "")?;
        }
        Ok(())
    }
}

/// In characters, of a line of the file.
const MAX_WIDTH: usize = 160;

/// In bytes, before and after what is marked: more than is shown, unless a long secret stands there.
const MAX_NEAR: usize = 16 * 1024;

/// In characters. The longest list of keys that can be expected is shorter.
const MAX_MESSAGE: usize = 1000;
