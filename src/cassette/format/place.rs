//! Walks down a parsed file and keeps the way, so that each mistake can say where it is.

use serde_json::Value;

use crate::cassette::format::locate::Step;

/// A value in the file, and how to get there.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) value: &'a Value,
    parent: Option<&'a Self>,
    step: Way<'a>,
}

#[derive(Clone, Copy)]
enum Way<'a> {
    Root,
    Member(&'a str),
    Index(usize),
}

/// What is wrong in a file, and where.
#[derive(Clone, Debug)]
pub(super) struct Wrong {
    pub(super) path: Vec<Step>,
    pub(super) message: String,
}

impl<'a> Place<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self {
            value,
            parent: None,
            step: Way::Root,
        }
    }

    /// A mistake here.
    pub(super) fn wrong(&self, message: impl Into<String>) -> Wrong {
        let mut path = Vec::new();
        let mut place = Some(self);
        while let Some(here) = place {
            match here.step {
                Way::Root => {}
                Way::Member(name) => path.push(Step::Member(name.to_owned())),
                Way::Index(index) => path.push(Step::Index(index)),
            }
            place = here.parent;
        }
        path.reverse();
        Wrong {
            path,
            message: message.into(),
        }
    }

    /// A mistake here: something else was expected.
    pub(super) fn expected(&self, what: &str) -> Wrong {
        self.wrong(format!(
            "{} must be {what}, found {}",
            self.name(),
            shown(self.value)
        ))
    }

    /// What a person calls this place.
    pub(super) fn name(&self) -> String {
        match (self.step, self.parent) {
            (Way::Root, _) | (Way::Index(_), None) => "a recording".to_owned(),
            (Way::Member(name), _) => Value::from(cut(name)).to_string(),
            (Way::Index(index), Some(parent)) => {
                format!("item {} of {}", index + 1, parent.name())
            }
        }
    }

    /// Refuses members of other names, those that start with `x-` aside.
    pub(super) fn allow(&self, names: &[&str]) -> Result<(), Wrong> {
        let Value::Object(members) = self.value else {
            return Err(self.expected("an object"));
        };
        let unknown = members
            .keys()
            .find(|name| !name.starts_with("x-") && !names.contains(&name.as_str()));
        match unknown {
            None => Ok(()),
            Some(name) => {
                let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
                let member = Place {
                    value: self.value,
                    parent: Some(self),
                    step: Way::Member(name),
                };
                Err(member.wrong(format!(
                    "unknown member {} in {}, expected {}",
                    member.name(),
                    self.name(),
                    names.join(", ")
                )))
            }
        }
    }

    /// A member, unless it's absent.
    pub(super) fn get(&'a self, name: &'a str) -> Option<Self> {
        let value = self.value.get(name)?;
        Some(Self {
            value,
            parent: Some(self),
            step: Way::Member(name),
        })
    }

    /// A member that must be there.
    pub(super) fn need(&'a self, name: &'a str) -> Result<Self, Wrong> {
        if !self.value.is_object() {
            return Err(self.expected("an object"));
        }
        self.get(name)
            .ok_or_else(|| self.wrong(format!("{} lacks \"{name}\"", self.name())))
    }

    /// Its items.
    pub(super) fn list(&'a self, what: &str) -> Result<impl Iterator<Item = Self>, Wrong> {
        match self.value {
            Value::Array(items) => Ok(items.iter().enumerate().map(move |(index, value)| Self {
                value,
                parent: Some(self),
                step: Way::Index(index),
            })),
            _ => Err(self.expected(what)),
        }
    }

    pub(super) fn text(&self) -> Result<&'a str, Wrong> {
        self.value.as_str().ok_or_else(|| self.expected("a text"))
    }

    pub(super) fn flag(&self) -> Result<bool, Wrong> {
        self.value
            .as_bool()
            .ok_or_else(|| self.expected("true or false"))
    }

    /// A whole number in a range.
    pub(super) fn number(&self, least: u64, most: u64) -> Result<u64, Wrong> {
        self.value
            .as_u64()
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| self.expected(&format!("a whole number from {least} to {most}")))
    }
}

/// A value in a message, never much of it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => cut(number.as_str()),
        Value::String(text) => Value::from(cut(text)).to_string(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= MAX_SHOWN {
        text.to_owned()
    } else {
        text.chars().take(MAX_SHOWN).chain(['…']).collect()
    }
}

/// How many characters of a wrong value a message shows.
const MAX_SHOWN: usize = 40;
