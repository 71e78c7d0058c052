//! How many tokens an answer says it used.

use super::Dialect;
use crate::json::scan::Scanned;

/// Tokens used, as far as they were said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the request, those from a cache included where the provider counts them so.
    pub input: Option<u64>,
    /// Tokens of the answer, its reasoning included.
    pub output: Option<u64>,
}

impl Usage {
    /// What the data of an event or a body says. `None` where it says nothing.
    pub fn of(dialect: Dialect, data: &str) -> Option<Self> {
        // Most events have none, and are not looked at more closely.
        memchr::memmem::find(data.as_bytes(), b"usage")?;
        let root = Scanned::root(data)?;
        let inner = |name: &str| root.get(name).and_then(|inner| inner.get("usage"));
        let usage = match dialect {
            Dialect::OpenAi | Dialect::AzureOpenAi => {
                root.get("usage").or_else(|| inner("response"))
            }
            Dialect::Anthropic => root.get("usage").or_else(|| inner("message")),
            Dialect::Gemini => root.get("usageMetadata"),
            Dialect::Plain => root.get("usage"),
        }?;
        let count = |name: &str| usage.get(name).and_then(Scanned::number);
        let output = count("completion_tokens").or_else(|| count("output_tokens"));
        let thoughts = count("thoughtsTokenCount").unwrap_or_default();
        let candidates = count("candidatesTokenCount").map(|count| count.saturating_add(thoughts));
        let found = Self {
            input: count("prompt_tokens")
                .or_else(|| count("input_tokens"))
                .or_else(|| count("promptTokenCount")),
            output: output.or(candidates),
        };
        (found != Self::default()).then_some(found)
    }

    /// Takes what a later event says in the place of what was said before; streams count up.
    pub fn update(&mut self, later: Self) {
        self.input = later.input.or(self.input);
        self.output = later.output.or(self.output);
    }

    /// All of it, as far as it was said.
    pub fn total(self) -> Option<u64> {
        match (self.input, self.output) {
            (None, None) => None,
            (input, output) => Some(
                input
                    .unwrap_or_default()
                    .saturating_add(output.unwrap_or_default()),
            ),
        }
    }
}
