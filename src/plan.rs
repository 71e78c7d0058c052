//! The configuration, compiled. After this nothing in it can be wrong, and nothing of it is parsed again.

use std::sync::Arc;
use std::time::Duration;

use crate::cassette::Keying;
use crate::config::{Config, HeaderValue, HeaderValueError};
use crate::fault::listen::ListenRule;
use crate::fault::problem::Problem;
use crate::key::KeyError;
use crate::limits::HeadLimits;
use crate::link::{LinkError, Verify};
use crate::message::RequestHead;
use crate::mode::{Mode, OnMiss};
use crate::route::RouteError;
use crate::sanitize::redact::{RedactError, RedactRules, RedactSettings};
use crate::shape::pace::FittedError;
use crate::shape::rechunk::RechunkSettings;

pub use route::{Route, Target};

mod route;

/// What an exchange goes by, from its start to its end.
pub struct Plan {
    /// Of all chance.
    pub seed: u64,
    /// What is done to whole connections on purpose, in file order.
    pub listen_faults: Vec<ListenRule>,
    /// In file order; the first that matches is taken.
    pub routes: Vec<Route>,
    /// What is kept off the disk.
    pub redact: Arc<RedactRules>,
    /// How large a head may be.
    pub head_limits: HeadLimits,
    /// How many exchanges one HTTP/2 connection may carry at once.
    pub streams: u32,
    /// Times allowed to upstreams.
    pub call_timeouts: CallTimeouts,
    /// How long an idle connection of a client is kept.
    pub keepalive: Duration,
    /// Longest silence of a client within its request.
    pub request_timeout: Duration,
    /// Longest time for which a client takes none of what is written to it.
    pub write_timeout: Duration,
    /// How many bytes of an answer may wait for its client.
    pub ahead: usize,
    /// What of a recorded answer is still read when its client has left.
    pub drain: Drain,
}

/// How long each stage of a call may take.
#[derive(Clone, Copy, Debug)]
pub struct CallTimeouts {
    /// From the first try to connect to an established connection, TLS included.
    pub connect: Duration,
    /// From the end of the request to the head of the answer.
    pub first_byte: Duration,
    /// Longest silence while the request goes out or within the answer.
    pub idle: Duration,
}

/// What of an answer is still read when the client has left.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// For so long.
    pub time: Duration,
    /// At most so many bytes.
    pub bytes: usize,
}

/// A fault rule, as far as it is switched and counted.
#[derive(Clone, Copy, Debug)]
pub struct FaultRule<'a> {
    /// Of the route; `listen` for what comes before routing.
    pub route: &'a str,
    /// Unique there.
    pub name: &'a str,
    /// The kind of fault, in the words of the config.
    pub kind: &'static str,
    /// Whether it is on from the start.
    pub is_enabled: bool,
    /// After how long it switches itself off. `None`: never.
    pub ttl: Option<Duration>,
}

/// What can be wrong with a configuration that was not checked.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A route's match.
    #[error("route `{0}`: {1}")]
    Match(String, RouteError),
    /// A route's key.
    #[error("route `{0}`: {1}")]
    Key(String, KeyError),
    /// A header's value.
    #[error("route `{0}`: header `{1}`: {2}")]
    Header(String, String, HeaderValueError),
    /// The TLS with an upstream.
    #[error("route `{0}`: `tls.{key}`: {1}", key = .1.key)]
    Link(String, LinkError),
    /// A route's pace.
    #[error("route `{0}`: {1}")]
    Pace(String, FittedError),
    /// The rules for secrets.
    #[error("`redact`: {0}")]
    Redact(RedactError),
    /// A fault of a route.
    #[error("route `{0}`: fault {n}: {1}", n = .1.rule + 1)]
    Fault(String, Box<Problem>),
    /// A fault of connections.
    #[error("`listen`: fault {n}: {0}", n = .0.rule + 1)]
    ListenFault(Box<Problem>),
}

impl Plan {
    /// Compiles a checked configuration. Values from the environment and from files are read now.
    ///
    /// # Errors
    /// What a check should have found, or what changed since.
    pub fn compile(config: &Config) -> Result<Self, PlanError> {
        let routes = config
            .routes
            .iter()
            .enumerate()
            .map(|(index, route)| Route::compile(config, config.route_name(index), route))
            .collect::<Result<_, _>>()?;
        let (limits, timeouts) = (&config.limits, &config.timeouts);
        Ok(Self {
            seed: config.seed,
            listen_faults: ListenRule::compile(&config.listen.faults)
                .map_err(|problems| PlanError::ListenFault(Box::new(first(problems))))?,
            routes,
            redact: Arc::new(
                RedactRules::compile(&with_own_secrets(config)).map_err(PlanError::Redact)?,
            ),
            head_limits: HeadLimits {
                head: limits.head,
                url: limits.url,
                headers: limits.headers,
            },
            streams: limits.streams,
            call_timeouts: CallTimeouts {
                connect: timeouts.connect.0,
                first_byte: timeouts.first_byte.0,
                idle: timeouts.idle.0,
            },
            keepalive: timeouts.keepalive.0,
            request_timeout: timeouts.request.0,
            write_timeout: timeouts.write.0,
            ahead: limits.body_ahead.as_usize().max(AHEAD_MIN),
            drain: Drain {
                time: timeouts.drain.0,
                bytes: limits.drain.as_usize(),
            },
        })
    }

    /// The route that takes this request, and its number.
    pub fn route(&self, head: &RequestHead) -> Option<(usize, &Route)> {
        self.routes
            .iter()
            .enumerate()
            .find(|(_, route)| route.matches.matches(head))
    }

    /// How recordings are keyed: by the rules of the route that would take their request.
    pub fn keying(&self) -> impl Fn(&RequestHead) -> Option<Keying> + Send + Sync + 'static {
        let rules: Vec<_> = self
            .routes
            .iter()
            .map(|route| (route.matches.clone(), Arc::clone(&route.key)))
            .collect();
        let redact = Arc::clone(&self.redact);
        move |head| {
            let (route, (_, rules)) = rules
                .iter()
                .enumerate()
                .find(|(_, (matches, _))| matches.matches(head))?;
            Some(Keying {
                route,
                rules: Arc::clone(rules),
                redact: Some(Arc::clone(&redact)),
            })
        }
    }

    /// All fault rules.
    pub fn fault_rules(&self) -> impl Iterator<Item = FaultRule<'_>> {
        let of_routes = self.routes.iter().flat_map(|route| {
            route.faults.iter().map(|rule| FaultRule {
                route: &route.name,
                name: &rule.name,
                kind: rule.kind.word(),
                is_enabled: rule.is_enabled,
                ttl: rule.ttl,
            })
        });
        let of_listeners = self.listen_faults.iter().map(|rule| FaultRule {
            route: LISTEN,
            name: &rule.name,
            kind: rule.kind.key(),
            is_enabled: rule.is_enabled,
            ttl: rule.ttl,
        });
        of_routes.chain(of_listeners)
    }

    /// Whether any route records or replays.
    pub fn needs_cassette(&self) -> bool {
        self.routes
            .iter()
            .any(|route| matches!(route.mode, Mode::Record | Mode::Replay))
    }

    /// What is allowed, but better known to whoever runs it.
    pub fn warnings(&self) -> Vec<String> {
        let risk = |verify| match verify {
            Verify::Full => None,
            Verify::NoHostname => Some("its upstream's certificate may be for any name"),
            Verify::DangerNone => Some(
                "its upstream's certificate is not verified at all: anybody in between can read and change everything",
            ),
        };
        self.routes
            .iter()
            .filter_map(|route| {
                Some(format!(
                    "route `{}`: {} (`tls.verify`)",
                    route.name,
                    risk(route.link.verify())?
                ))
            })
            .collect()
    }

    /// Whether any route counts tokens by the tokenizer's vocabulary, which takes a moment to make.
    pub fn counts_tokens(&self) -> bool {
        self.routes
            .iter()
            .any(|route| route.rechunk == RechunkSettings::Token)
    }

    /// Whether any route may write recordings.
    pub fn records(&self) -> bool {
        self.routes.iter().any(|route| {
            route.mode == Mode::Record
                || (route.mode == Mode::Replay && route.on_miss == OnMiss::Record)
        })
    }
}

/// What is kept off the disk: what the config says, and the headers that the proxy itself puts in.
fn with_own_secrets(config: &Config) -> RedactSettings {
    let mut redact = config.redact.clone();
    for (name, value) in config.routes.iter().flat_map(|route| &route.set_headers) {
        match value {
            HeaderValue::Env(_) | HeaderValue::File(_) | HeaderValue::LiteralSecret(_) => {
                redact.headers.push(name.to_ascii_lowercase());
            }
            HeaderValue::Value(_) => {}
        }
    }
    redact
}

/// The plan is made of checked configurations, so one mistake is one too many, and the first says enough.
fn first(problems: Vec<Problem>) -> Problem {
    let first = problems.into_iter().next();
    first.expect("there is a problem where there are problems")
}

/// What stands for a route where there is none yet.
pub const LISTEN: &str = "listen";

/// One read of an upstream must have room.
const AHEAD_MIN: usize = 64 * 1024;
