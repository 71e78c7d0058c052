//! What is wrong although each value by itself is right: mistakes across keys, routes and the world outside the file.

use super::{Config, Given, Way};
use crate::units::{ByteSize, Span};

mod fault;
mod listen;
mod route;
mod routes;

/// Something wrong at a value.
pub(in crate::config) struct Finding {
    /// The way to it.
    pub(in crate::config) way: Way,
    /// What the mark stands under.
    pub(in crate::config) mark: Mark,
    /// What is wrong.
    pub(in crate::config) what: String,
    /// What was expected, or what to do instead.
    pub(in crate::config) hints: Vec<String>,
    /// True only as long as nothing was taken out of these tables because of another mistake.
    pub(in crate::config) relies_on: Vec<Way>,
}

/// What the mark stands under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Mark {
    Key,
    Value,
}

impl Finding {
    fn at(way: Way, what: impl Into<String>) -> Self {
        Self {
            way,
            mark: Mark::Value,
            what: what.into(),
            hints: Vec::new(),
            relies_on: Vec::new(),
        }
    }

    fn at_key(way: Way, what: impl Into<String>) -> Self {
        Self {
            mark: Mark::Key,
            ..Self::at(way, what)
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    fn relying_on(mut self, ways: impl IntoIterator<Item = Way>) -> Self {
        self.relies_on.extend(ways);
        self
    }
}

/// All that is wrong. `given` says what did not come from the file, `env` looks up environment variables.
pub(in crate::config) fn findings(
    config: &Config,
    given: &Given,
    env: &dyn Fn(&str) -> Option<String>,
) -> Vec<Finding> {
    let mut found = Vec::new();
    check_sections(config, &mut found);
    listen::check(config, given, &mut found);
    for (index, route) in config.routes.iter().enumerate() {
        route::check(route, &Way::route(index), &config.folder, env, &mut found);
    }
    fault::check(config, &mut found);
    routes::check(config, &mut found);
    found
}

fn check_sections(config: &Config, found: &mut Vec<Finding>) {
    if config.cassette.path.as_os_str().is_empty() {
        found.push(Finding::at(
            Way::to(&["cassette", "path"]),
            "the path of the cassette is empty",
        ));
    }
    for (key, index, mistake) in config.redact.mistakes() {
        let way = Way::to(&["redact", key]).at(index);
        found.push(Finding::at(way, mistake.to_string()));
    }
    if config.routes.is_empty() {
        found.push(
            Finding::at(
                Way::to(&["route"]),
                "there is no route, so nothing can be answered",
            )
            .relying_on([Way::default(), Way::to(&["route"])]),
        );
    }
    let limits = &config.limits;
    let sizes = [
        ("head", limits.head),
        ("url", limits.url),
        ("body_ahead", limits.body_ahead),
    ];
    for (key, size) in sizes {
        if size == ByteSize(0) {
            found.push(Finding::at(
                Way::to(&["limits", key]),
                format!("with `{key}` at zero nothing passes"),
            ));
        }
    }
    for (key, is_zero) in [
        ("headers", limits.headers == 0),
        ("streams", limits.streams == 0),
    ] {
        if is_zero {
            found.push(Finding::at(
                Way::to(&["limits", key]),
                format!("with `{key}` at zero nothing passes"),
            ));
        }
    }
    let timeouts = &config.timeouts;
    let spans = [
        ("connect", timeouts.connect),
        ("first_byte", timeouts.first_byte),
        ("idle", timeouts.idle),
        ("keepalive", timeouts.keepalive),
        ("request", timeouts.request),
        ("write", timeouts.write),
    ];
    for (key, span) in spans {
        if span == Span::default() {
            found.push(Finding::at(
                Way::to(&["timeouts", key]),
                format!("with `{key}` at zero every exchange fails"),
            ));
        }
    }
}
