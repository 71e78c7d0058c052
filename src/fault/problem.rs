//! What is wrong with the settings of a fault, and where.

use std::fmt;

/// Something wrong with the settings of one fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// Which rule of the list, from 0.
    pub rule: usize,
    /// The way to the value inside the rule, such as `["when", "nth"]`; empty for the whole rule.
    pub field: Vec<String>,
    /// Whether it is the key that is wrong and not its value.
    pub is_key: bool,
    /// What is wrong.
    pub what: String,
    /// What was expected, or what to do instead.
    pub hints: Vec<String>,
    /// The other rule that it is wrong together with.
    pub other: Option<usize>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for key in &self.field {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.what)?;
        for hint in &self.hints {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl Problem {
    /// At a value of a rule; the rule's number is set by who knows it.
    pub(super) fn at(field: &[&str], what: impl Into<String>) -> Self {
        Self {
            rule: 0,
            field: field.iter().map(|&key| key.to_owned()).collect(),
            is_key: false,
            what: what.into(),
            hints: Vec::new(),
            other: None,
        }
    }

    /// At a key of a rule.
    pub(super) fn at_key(field: &[&str], what: impl Into<String>) -> Self {
        Self {
            is_key: true,
            ..Self::at(field, what)
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    pub(super) fn of(mut self, rule: usize) -> Self {
        self.rule = rule;
        self
    }

    pub(super) fn with(mut self, other: usize) -> Self {
        self.other = Some(other);
        self
    }
}
