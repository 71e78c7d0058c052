//! One route, compiled: which requests it takes, and all that is done with them.

use std::borrow::Cow;
use std::sync::Arc;

use super::{PlanError, first};
use crate::board::Live;
use crate::config::file::read_text;
use crate::config::{Config, RouteSettings, Secret, Upstream};
use crate::fault::rule::Rule;
use crate::key::{KeyRules, OverLimit};
use crate::link::Link;
use crate::message::RequestHead;
use crate::mode::{Exhausted, Mode, OnMiss, RecordPolicy};
use crate::origin::Origin;
use crate::route::{CompiledMatch, Rewrite};
use crate::shape::pace::FITTED_MAX;
use crate::shape::rechunk::RechunkSettings;
use crate::shape::schedule::Timing;

/// One route, compiled.
pub struct Route {
    /// As in the config, or `route-N`.
    pub name: String,
    /// Which requests it takes.
    pub matches: CompiledMatch,
    /// What is done with them.
    pub mode: Mode,
    /// What replay does without a recording.
    pub on_miss: OnMiss,
    /// Where they go.
    pub target: Option<Target>,
    /// How it is spoken with.
    pub link: Arc<Link>,
    /// How the path changes on the way up.
    pub rewrite: Rewrite,
    /// Headers set on the way up, in place of those of the client.
    pub set_headers: Vec<(String, Secret)>,
    /// Headers taken out on the way up.
    pub remove_headers: Vec<String>,
    /// What a new recording does to the ones before it.
    pub record: RecordPolicy,
    /// What replay does at the end of a sequence.
    pub exhausted: Exhausted,
    /// Whether each client has its own place in a sequence.
    pub is_per_client: bool,
    /// What identifies a request.
    pub key: Arc<KeyRules>,
    /// How much of a request's body is read to identify it.
    pub body_limit: usize,
    /// What becomes of a request with more.
    pub over_limit: OverLimit,
    /// Whether our own headers are left out of answers.
    pub is_opaque: bool,
    /// When chunks are due.
    pub timing: Timing,
    /// Where writes to the client are cut.
    pub rechunk: RechunkSettings,
    /// What is done to its exchanges on purpose, in file order.
    pub faults: Vec<Rule>,
    /// The live side of each of them, in the same order. Empty until the plan is in force.
    pub lives: Vec<Arc<Live>>,
}

/// Where a route's requests go.
#[derive(Clone, Debug)]
pub enum Target {
    /// To the built-in fake backend.
    Fake,
    /// Over the network.
    Origin(Arc<Origin>),
}

impl Route {
    /// What it does, in one line.
    pub fn summary(&self) -> String {
        let miss = match self.mode {
            Mode::Replay => format!(", on a miss {}", self.on_miss),
            Mode::Forward | Mode::Record | Mode::Synthesize => String::new(),
        };
        let target = match &self.target {
            Some(Target::Fake) => " from the built-in fake backend".to_owned(),
            Some(Target::Origin(origin)) => format!(" from {origin}"),
            None => String::new(),
        };
        format!("{}: {}{miss}{target}", self.name, self.mode)
    }

    /// Compiles the route of this name.
    pub(super) fn compile(
        config: &Config,
        name: String,
        settings: &RouteSettings,
    ) -> Result<Self, PlanError> {
        let env = |variable: &str| std::env::var(variable).ok();
        let set_headers = settings
            .set_headers
            .iter()
            .map(
                |(header, value)| match value.resolve(&config.folder, &env) {
                    Ok(secret) => Ok((header.clone(), secret)),
                    Err(error) => Err(PlanError::Header(name.clone(), header.clone(), error)),
                },
            )
            .collect::<Result<_, _>>()?;
        let target = settings.upstream.as_ref().map(|upstream| match upstream {
            Upstream::Fake => Target::Fake,
            Upstream::Url(origin) => Target::Origin(Arc::new(origin.clone())),
        });
        let link = Link::compile(&settings.tls, settings.http, &config.folder)
            .map_err(|error| PlanError::Link(name.clone(), error))?;
        Ok(Self {
            matches: CompiledMatch::compile(&settings.matches)
                .map_err(|error| PlanError::Match(name.clone(), error))?,
            mode: settings.mode,
            on_miss: settings.on_miss(),
            target,
            link: Arc::new(link),
            rewrite: settings.rewrite(),
            set_headers,
            remove_headers: settings.remove_headers.clone(),
            record: settings.record.unwrap_or(config.cassette.record),
            exhausted: settings.exhausted,
            is_per_client: settings.per_client,
            key: Arc::new(
                KeyRules::compile(&settings.key)
                    .map_err(|error| PlanError::Key(name.clone(), error))?,
            ),
            body_limit: settings.key.body_limit.as_usize(),
            over_limit: settings.key.over_limit,
            is_opaque: settings.opaque,
            timing: settings
                .pace
                .timing(&|file| read_text(&config.folder.join(file), FITTED_MAX))
                .map_err(|error| PlanError::Pace(name.clone(), error))?,
            rechunk: settings.rechunk.clone(),
            lives: Vec::new(),
            faults: Rule::compile(&name, &settings.faults)
                .map_err(|problems| PlanError::Fault(name.clone(), Box::new(first(problems))))?,
            name,
        })
    }

    /// A request's head with the headers that the proxy puts in besides its own: all secrets that an answer may echo.
    pub fn carrying_secrets(&self, head: &RequestHead) -> RequestHead {
        let mut head = head.clone();
        for (name, value) in &self.set_headers {
            head.headers.push(name.clone(), value.reveal().to_owned());
        }
        head
    }

    /// The request as the built-in backend gets it: its path rewritten as for any other upstream.
    pub fn inside<'a>(&self, head: &'a RequestHead) -> Cow<'a, RequestHead> {
        let path = self.rewrite.apply(&head.path);
        if path == head.path {
            return Cow::Borrowed(head);
        }
        Cow::Owned(RequestHead {
            path,
            ..head.clone()
        })
    }

    /// The request as it goes up.
    pub fn outgoing(&self, head: &RequestHead, origin: &Origin) -> RequestHead {
        let mut out = head.clone();
        out.path = self.rewrite.apply(&head.path);
        out.headers.set("Host", origin.authority());
        for name in &self.remove_headers {
            out.headers.remove(name);
        }
        for (name, value) in &self.set_headers {
            out.headers.set(name, value.reveal().to_owned());
        }
        out
    }
}
