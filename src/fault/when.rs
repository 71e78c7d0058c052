//! Which requests a fault is addressed to. Asked with values alone: the time and the counts come from outside.
//!
//! Two steps, because counting changes something: `addresses` says whether a request counts for a rule at all, and
//! `counted` whether it is one of those that the counts choose. Only requests that are addressed are counted, so
//! `{ path = "/a", nth = 3 }` is the third request for `/a`.

use std::time::Duration;

use serde_json::Value;
use serde_json_path::JsonPath;

use crate::message::RequestHead;
use crate::route::CompiledMatch;
use crate::route::glob::Glob;

pub use settings::{Attempt, Per, Protocol, Ramp, Wanted, WhenSettings, Window};

mod compile;
mod settings;
#[cfg(test)]
mod tests;

/// A request, as far as rules look at it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// As the client sent it, its `x-rehearsal-*` headers included.
    pub head: &'a RequestHead,
    /// Who asks.
    pub client: &'a str,
    /// What it is asked over.
    pub protocol: Protocol,
    /// The body, if it is JSON and the route has it in memory. See [`When::needs_body`].
    pub body: Option<&'a Value>,
    /// Since the plan began to be served.
    pub elapsed: Duration,
}

/// The how manieth request of a rule it is, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// Of this client.
    pub of_client: u64,
    /// Of all clients.
    pub of_all: u64,
}

/// A [`WhenSettings`] made ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct When {
    matches: Option<CompiledMatch>,
    body: Vec<(JsonPath, Wish)>,
    client: Option<Glob>,
    model: Option<Glob>,
    protocol: Option<Protocol>,
    attempt: Option<Attempt>,
    window: Option<Window>,
    ramp: Option<Ramp>,
    /// The header, and the name that must stand in it.
    trigger: Option<(String, String)>,
    counts: Counted,
}

/// What a value in the body must be.
#[derive(Clone, Debug)]
enum Wish {
    Like(Glob),
    Number(f64),
    Is(bool),
}

/// Which of the counted requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    nth: Option<u64>,
    first: Option<u64>,
    every: Option<u64>,
    after: Option<u64>,
    per: Per,
}

impl When {
    /// Whether it looks into bodies, so that the route has to have them in memory.
    pub fn needs_body(&self) -> bool {
        !self.body.is_empty() || self.model.is_some()
    }

    /// Whether it counts requests.
    pub fn counts(&self) -> bool {
        let Counted {
            nth,
            first,
            every,
            after,
            per: _,
        } = self.counts;
        [nth, first, every, after].iter().any(Option::is_some)
    }

    /// Whether it is addressed to this request, the counts aside.
    pub fn addresses(&self, asked: &Asked<'_>) -> bool {
        self.protocol.is_none_or(|wanted| wanted == asked.protocol)
            && self.window.is_none_or(|window| window.holds(asked.elapsed))
            && self
                .attempt
                .is_none_or(|wanted| wanted.contains(attempt(asked.head)))
            && self
                .client
                .as_ref()
                .is_none_or(|glob| glob.matches(asked.client.as_bytes()))
            && self
                .trigger
                .as_ref()
                .is_none_or(|(header, rule)| is_named(asked.head, header, rule))
            && self
                .matches
                .as_ref()
                .is_none_or(|matches| matches.matches(asked.head))
            && self
                .model
                .as_ref()
                .is_none_or(|glob| model(asked).is_some_and(|model| glob.matches(model.as_bytes())))
            && self.body.iter().all(|(path, wish)| {
                asked
                    .body
                    .is_some_and(|body| path.query(body).iter().any(|value| wish.holds(value)))
            })
    }

    /// Whether a request that it is addressed to is one of those that the counts choose.
    pub fn counted(&self, occurrence: Occurrence) -> bool {
        let Counted {
            nth,
            first,
            every,
            after,
            per,
        } = self.counts;
        let number = match per {
            Per::Client => occurrence.of_client,
            Per::All => occurrence.of_all,
        };
        // What lies before `after` is not counted at all.
        let Some(number) = number
            .checked_sub(after.unwrap_or(0))
            .filter(|rest| *rest > 0)
        else {
            return false;
        };
        nth.is_none_or(|nth| number == nth)
            && first.is_none_or(|first| number <= first)
            && every.is_none_or(|every| number.is_multiple_of(every))
    }

    /// Whether it is addressed to this request, the counts included.
    pub fn holds(&self, asked: &Asked<'_>, occurrence: Occurrence) -> bool {
        self.addresses(asked) && self.counted(occurrence)
    }

    /// By what the chance is multiplied at this time; 1 without a ramp.
    pub fn ramp(&self, elapsed: Duration) -> f64 {
        let start = self.window.map_or(Duration::ZERO, |window| window.from.0);
        self.ramp
            .map_or(1.0, |ramp| ramp.at(elapsed.saturating_sub(start)))
    }
}

impl Wish {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Like(glob) => value
                .as_str()
                .is_some_and(|text| glob.matches(text.as_bytes())),
            // By value: a client may write 1 as 1.0.
            #[expect(clippy::float_cmp, reason = "both were written as decimal text")]
            Self::Number(wanted) => value.as_f64().is_some_and(|number| number == *wanted),
            Self::Is(wanted) => value.as_bool() == Some(*wanted),
        }
    }
}

/// How often the client says that it tried before; 0 where it does not say so. The official SDKs say it.
pub fn attempt(head: &RequestHead) -> u64 {
    head.headers
        .get_str(ATTEMPT_HEADER)
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}

/// The model that is asked for: in the body, or in the path where the provider has it there.
pub fn model<'a>(asked: &Asked<'a>) -> Option<&'a str> {
    let in_body = asked
        .body
        .and_then(|body| body.get("model"))
        .and_then(Value::as_str);
    in_body.or_else(|| {
        let (_, rest) = ["/deployments/", "/models/"]
            .iter()
            .find_map(|before| asked.head.path.split_once(before))?;
        rest.split(['/', ':'])
            .next()
            .filter(|model| !model.is_empty())
    })
}

/// Whether a rule stands in the list of a header.
fn is_named(head: &RequestHead, header: &str, rule: &str) -> bool {
    head.headers.get_all(header).any(|value| {
        value
            .split(|byte| *byte == b',')
            .any(|name| name.trim_ascii() == rule.as_bytes())
    })
}

/// In which the SDKs of `OpenAI` and Anthropic say how often they tried before.
const ATTEMPT_HEADER: &str = "x-stainless-retry-count";
