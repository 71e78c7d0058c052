//! Wrong calls of tools: what a model may get wrong, and what a stream that broke off leaves behind.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use super::frame::data_line;
use super::replaced;
use crate::dialect::Dialect;
use crate::dialect::tools::{Stage, ToolCall, calls};
use crate::fault::kind::ToolArgs;

/// Edits the calls of tools of one answer, event by event or in its body.
///
/// - cut: the first piece of the arguments ends in its middle, and no more follow. Where the arguments are an object, it is
///   empty.
/// - wrong id: where the call begins, and in the pieces that name it; said again as a whole, it keeps its own.
/// - wrong index: the pieces that follow the first name the next call.
/// - unknown tool: a name that no tool has.
/// - wrong value: letters of strings and digits of numbers are other ones; types and names of members stay, so that
///   most schemas hold (a list of allowed values may not).
#[derive(Clone, Debug)]
pub struct ToolEditor {
    dialect: Dialect,
    fault: ToolArgs,
    /// Of the calls that began; at most `MAX_CALLS`.
    calls: BTreeMap<u64, Call>,
}

/// What is known of a call.
#[derive(Clone, Debug, Default)]
struct Call {
    /// The arguments up to where they were cut.
    kept: Option<String>,
    changer: Changer,
}

/// The calls of one answer beyond which the others are left as they are.
const MAX_CALLS: usize = 64;

/// The name of the tool that nobody has.
pub const UNKNOWN_TOOL: &str = "rehearsal_unknown_tool";

impl ToolEditor {
    /// For one answer.
    pub fn new(dialect: Dialect, fault: ToolArgs) -> Self {
        Self {
            dialect,
            fault,
            calls: BTreeMap::new(),
        }
    }

    /// Edits an event. `None` where it has nothing to edit. Wants to see every event of the answer, in order.
    pub fn event(&mut self, frame: &[u8]) -> Option<Bytes> {
        let data = data_line(frame)?;
        let text = std::str::from_utf8(frame.get(data.clone())?).ok()?;
        let edits = self.edits(text);
        apply(frame, data.start, edits)
    }

    /// Edits an answer that is no stream.
    pub fn body(&mut self, body: &[u8]) -> Option<Bytes> {
        let edits = self.edits(std::str::from_utf8(body).ok()?);
        apply(body, 0, edits)
    }

    fn edits(&mut self, data: &str) -> Vec<(Range<usize>, String)> {
        let mut edits: Vec<_> = calls(self.dialect, data)
            .iter()
            .filter_map(|call| self.edit(call))
            .collect();
        edits.sort_by_key(|(range, _)| range.start);
        edits
    }

    fn edit(&mut self, call: &ToolCall<'_>) -> Option<(Range<usize>, String)> {
        let has_begun = self.calls.contains_key(&call.call);
        if !has_begun && self.calls.len() >= MAX_CALLS {
            return None;
        }
        match self.fault {
            ToolArgs::UnknownTool => {
                let name = call.name.filter(|name| name.is_string())?;
                Some((name.range(), encoded(UNKNOWN_TOOL)))
            }
            ToolArgs::WrongId => {
                if call.stage != Stage::Whole {
                    self.calls.entry(call.call).or_default();
                } else if has_begun {
                    return None;
                }
                let id = call.id?;
                Some((id.range(), format!("\"{}_wrong\"", id.inner()?)))
            }
            ToolArgs::WrongIndex => {
                let index = call.index.filter(|_| call.stage == Stage::Continue)?;
                let next = index.number()?.checked_add(1)?;
                Some((index.range(), next.to_string()))
            }
            ToolArgs::Cut => self.cut(call),
            ToolArgs::WrongValue => self.change(call),
        }
    }

    fn cut(&mut self, call: &ToolCall<'_>) -> Option<(Range<usize>, String)> {
        let arguments = call.arguments?;
        if arguments.is_object() {
            return arguments
                .is_something()
                .then(|| (arguments.range(), "{}".to_owned()));
        }
        let text = arguments.text().filter(|text| !text.is_empty())?;
        let known = self.calls.entry(call.call).or_default();
        let new = match (&known.kept, call.stage) {
            (Some(kept), Stage::Whole) => kept.clone(),
            (Some(_), Stage::Begin | Stage::Continue) => String::new(),
            (None, _) => {
                let half = half(&text).to_owned();
                known.kept = Some(half.clone());
                half
            }
        };
        (new != text).then(|| (arguments.range(), encoded(&new)))
    }

    fn change(&mut self, call: &ToolCall<'_>) -> Option<(Range<usize>, String)> {
        let arguments = call.arguments?;
        let mut whole = Changer::default();
        if arguments.is_object() {
            let new = whole.change(arguments.raw());
            return (new != arguments.raw()).then(|| (arguments.range(), new));
        }
        let text = arguments.text()?;
        let new = match call.stage {
            Stage::Whole => whole.change(&text),
            Stage::Begin | Stage::Continue => {
                let known = self.calls.entry(call.call).or_default();
                known.changer.change(&text)
            }
        };
        (new != text).then(|| (arguments.range(), encoded(&new)))
    }
}

/// The first half of a text, at a character's end, and never all of it but where it is one character.
fn half(text: &str) -> &str {
    let count = text.chars().count();
    let kept = (count / 2).max(1);
    let end = text
        .char_indices()
        .nth(kept)
        .map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or(text)
}

fn encoded(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Makes the edits, which are in order and apart, in the piece of `bytes` that begins at `start`.
fn apply(bytes: &[u8], start: usize, edits: Vec<(Range<usize>, String)>) -> Option<Bytes> {
    // From the end on, so that the places before stay where they are.
    let mut edited: Option<Bytes> = None;
    for (range, new) in edits.into_iter().rev() {
        let range = start + range.start..start + range.end;
        let made = replaced(edited.as_deref().unwrap_or(bytes), range, new.as_bytes());
        edited = Some(made);
    }
    edited
}

/// Changes values in JSON that comes in pieces, without a look ahead.
#[derive(Clone, Debug, Default)]
struct Changer {
    /// For each container that is open, whether it is an object. At most `MAX_DEPTH`.
    open: Vec<bool>,
    place: Place,
    /// Whether the string, or the next one, is the name of a member.
    is_name: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Outside strings.
    #[default]
    Between,
    /// In an exponent, which must not grow.
    Exponent,
    /// In a string.
    Text,
    /// In a string after a backslash.
    Escape,
    /// In a string, with so many digits of its escape to come.
    Digits(u8),
    /// Deeper than it can follow: the rest stays.
    Lost,
}

const MAX_DEPTH: usize = 128;

impl Changer {
    fn change(&mut self, text: &str) -> String {
        text.chars().map(|char| self.step(char)).collect()
    }

    fn step(&mut self, char: char) -> char {
        let (place, char) = match (self.place, char) {
            (Place::Lost, _) => (Place::Lost, char),
            (Place::Between | Place::Exponent, _) => self.step_between(char),
            (Place::Escape, 'u') => (Place::Digits(4), char),
            (Place::Escape | Place::Digits(0 | 1), _) => (Place::Text, char),
            (Place::Digits(left), _) => (Place::Digits(left - 1), char),
            (Place::Text, '\\') => (Place::Escape, char),
            (Place::Text, '"') => (Place::Between, char),
            (Place::Text, _) if self.is_name => (Place::Text, char),
            (Place::Text, _) => (Place::Text, other_letter(char)),
        };
        self.place = place;
        char
    }

    fn step_between(&mut self, char: char) -> (Place, char) {
        match char {
            '"' => return (Place::Text, char),
            '{' | '[' => {
                self.open.push(char == '{');
                self.is_name = char == '{';
                if self.open.len() > MAX_DEPTH {
                    return (Place::Lost, char);
                }
            }
            '}' | ']' => {
                self.open.pop();
                self.is_name = false;
            }
            ',' => self.is_name = self.open.last() == Some(&true),
            ':' => self.is_name = false,
            '1'..='9' if self.place == Place::Between => return (self.place, other_digit(char)),
            'e' | 'E' => return (Place::Exponent, char),
            '+' | '-' | '0'..='9' => return (self.place, char),
            _ => {}
        }
        (Place::Between, char)
    }
}

/// Never zero, which may not stand first in a number.
fn other_digit(digit: char) -> char {
    match digit {
        '9' => '8',
        _ => char::from_u32(u32::from(digit) + 1).unwrap_or(digit),
    }
}

fn other_letter(letter: char) -> char {
    match letter {
        'z' => 'a',
        'Z' => 'A',
        'a'..='y' | 'A'..='Y' => char::from_u32(u32::from(letter) + 1).unwrap_or(letter),
        _ => letter,
    }
}
