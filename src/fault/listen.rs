//! Faults that come before any request is read: of a whole connection, by who connects or by its number.

use std::net::IpAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use crate::route::is_token;
use crate::units::Span;

pub use peers::{Peers, PeersError};

mod peers;

/// One fault of connections: exactly one kind, and to which connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListenFault {
    /// Its name in logs, metrics and commands. The kind's where it is not set, with a number from the second one on.
    pub name: Option<String>,
    /// The connection is reset as soon as it is there.
    pub refuse: bool,
    /// A connection that is idle for so long between two requests is closed.
    pub idle_close: Option<Span>,
    /// A connection is closed when its second request arrives.
    pub close_on_reuse: bool,
    /// The connection is accepted and read, and never answered.
    pub blackhole: bool,
    /// Who connects: an address, or a range such as `10.0.0.0/8`. All where it is not set.
    pub peer: Option<Peers>,
    /// Only the n-th of these connections, counted from 1.
    pub nth: Option<u64>,
    /// Every n-th of these connections.
    pub every: Option<u64>,
    /// Whether it is on from the start. Default true.
    pub enabled: Option<bool>,
    /// It switches itself off after so long.
    pub ttl: Option<Span>,
}

/// A fault of connections, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenRule {
    /// Unique among them.
    pub name: String,
    /// What is done.
    pub kind: ListenKind,
    /// To whom. `None`: to all.
    pub peer: Option<Peers>,
    /// Only the n-th, from 1.
    pub nth: Option<u64>,
    /// Every n-th. Above zero.
    pub every: Option<u64>,
    /// Whether it is on from the start.
    pub is_enabled: bool,
    /// It switches itself off after so long. `None`: never.
    pub ttl: Option<Duration>,
}

/// What is done to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenKind {
    /// Reset as soon as it is there.
    Refuse,
    /// Closed when it was idle for so long between two requests.
    IdleClose(Duration),
    /// Closed when its second request arrives.
    CloseOnReuse,
    /// Read and never answered.
    Blackhole,
}

impl ListenKind {
    /// As in the config.
    pub fn key(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::IdleClose(_) => "idle_close",
            Self::CloseOnReuse => "close_on_reuse",
            Self::Blackhole => "blackhole",
        }
    }
}

impl ListenRule {
    /// Makes the faults of connections ready, in their order.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub fn compile(settings: &[ListenFault]) -> Result<Vec<Self>, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut rules: Vec<Self> = Vec::with_capacity(settings.len());
        for (index, fault) in settings.iter().enumerate() {
            let mut found = Vec::new();
            check(fault, &mut found);
            let kind = the_one(fault).map_err(|problem| found.push(problem)).ok();
            let key = kind.map_or("rule", ListenKind::key);
            let is_taken = |name: &str| rules.iter().any(|rule| rule.name == name);
            let name = match &fault.name {
                Some(name) => {
                    if is_taken(name) {
                        let what = format!("two faults of connections have the name `{name}`");
                        found.push(Problem::at(&["name"], what));
                    }
                    name.clone()
                }
                None => std::iter::once(key.to_owned())
                    .chain((2..=u32::MAX).map(|number| format!("{key}-{number}")))
                    .find(|name| !is_taken(name))
                    .unwrap_or_default(),
            };
            problems.extend(found.into_iter().map(|problem| problem.of(index)));
            if let Some(kind) = kind {
                rules.push(Self {
                    name,
                    kind,
                    peer: fault.peer,
                    nth: fault.nth,
                    every: fault.every,
                    is_enabled: fault.enabled.unwrap_or(true),
                    ttl: fault.ttl.map(|ttl| ttl.0),
                });
            }
        }
        if problems.is_empty() {
            Ok(rules)
        } else {
            Err(problems)
        }
    }

    /// Whether it is addressed to who connects. Only these connections are counted.
    pub fn addresses(&self, peer: IpAddr) -> bool {
        self.peer.is_none_or(|peers| peers.contains(peer))
    }

    /// Whether it hits the connection with this number, counted from 1 among those that it is addressed to.
    pub fn counted(&self, number: u64) -> bool {
        self.nth.is_none_or(|nth| nth == number)
            && self.every.is_none_or(|every| number.is_multiple_of(every))
    }
}

fn the_one(fault: &ListenFault) -> Result<ListenKind, Problem> {
    let kinds = [
        fault.refuse.then_some(ListenKind::Refuse),
        fault.idle_close.map(|span| ListenKind::IdleClose(span.0)),
        fault.close_on_reuse.then_some(ListenKind::CloseOnReuse),
        fault.blackhole.then_some(ListenKind::Blackhole),
    ];
    let mut kinds = kinds.into_iter().flatten();
    let Some(first) = kinds.next() else {
        return Err(Problem::at(&[], "this fault of connections has no kind")
            .hint("expected `refuse`, `idle_close`, `close_on_reuse` or `blackhole`"));
    };
    match kinds.next() {
        None => Ok(first),
        Some(second) => Err(Problem::at_key(
            &[second.key()],
            format!(
                "two kinds in one fault, `{}` and `{}`",
                first.key(),
                second.key()
            ),
        )
        .hint("write one for each")),
    }
}

fn check(fault: &ListenFault, found: &mut Vec<Problem>) {
    if let Some(name) = &fault.name
        && (name.len() > 64 || !is_token(name))
    {
        let what = format!("`{name}` can't be the name of a rule");
        let hint = "expected up to 64 letters, digits, `-`, `_` or `.`";
        found.push(Problem::at(&["name"], what).hint(hint));
    }
    for (key, count) in [("nth", fault.nth), ("every", fault.every)] {
        if count == Some(0) {
            let what =
                format!("with `{key}` at zero it never happens, connections are counted from 1");
            found.push(Problem::at(&[key], what));
        }
    }
    if let (Some(nth), Some(every)) = (fault.nth, fault.every)
        && every > 0
        && !nth.is_multiple_of(every)
    {
        let what = format!("connection {nth} is none of every {every}, so it never happens");
        found.push(Problem::at(&["nth"], what));
    }
    for (key, span) in [("idle_close", fault.idle_close), ("ttl", fault.ttl)] {
        if span == Some(Span::default()) {
            found.push(Problem::at(
                &[key],
                "the time is zero, expected one above it",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(faults: &[&str]) -> Vec<ListenFault> {
        faults
            .iter()
            .map(|fault| toml::from_str(fault).unwrap())
            .collect()
    }

    #[test]
    fn each_kind_is_read_and_named() {
        let rules = ListenRule::compile(&settings(&[
            "refuse = true\npeer = '10.0.0.0/8'\nevery = 3",
            "idle_close = '5s'",
            "close_on_reuse = true\nname = 'stale'\nenabled = false",
            "blackhole = true\nnth = 2\nttl = '1m'",
            "blackhole = true",
        ]))
        .unwrap();
        let names: Vec<_> = rules.iter().map(|rule| &*rule.name).collect();
        assert_eq!(
            names,
            ["refuse", "idle_close", "stale", "blackhole", "blackhole-2"]
        );
        assert_eq!(rules[1].kind, ListenKind::IdleClose(Duration::from_secs(5)));
        assert!(rules[0].addresses("10.1.2.3".parse().unwrap()));
        assert!(!rules[0].addresses("11.1.2.3".parse().unwrap()));
        assert!(rules[0].counted(6) && !rules[0].counted(7));
        assert!(rules[3].counted(2) && !rules[3].counted(4));
        assert!(!rules[2].is_enabled);
    }

    #[test]
    fn what_can_never_happen_is_refused() {
        for (fault, expected) in [
            (
                "nth = 1",
                "this fault of connections has no kind; expected `refuse`, `idle_close`, `close_on_reuse` or `blackhole`",
            ),
            (
                "refuse = true\nblackhole = true",
                "blackhole: two kinds in one fault, `refuse` and `blackhole`; write one for each",
            ),
            (
                "refuse = true\nnth = 0",
                "nth: with `nth` at zero it never happens, connections are counted from 1",
            ),
            (
                "refuse = true\nnth = 3\nevery = 2",
                "nth: connection 3 is none of every 2, so it never happens",
            ),
            (
                "idle_close = '0s'",
                "idle_close: the time is zero, expected one above it",
            ),
            (
                "refuse = true\nname = ''",
                "name: `` can't be the name of a rule; expected up to 64 letters, digits, `-`, `_` or `.`",
            ),
        ] {
            let problems = ListenRule::compile(&settings(&[fault])).expect_err(fault);
            let said: Vec<_> = problems.iter().map(ToString::to_string).collect();
            assert_eq!(said, [expected]);
        }
    }
}
