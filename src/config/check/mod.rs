//! What is wrong although each value by itself is right: mistakes across keys, routes and the world outside the file.

use std::collections::HashMap;

use super::{Address, Config, Way};
use crate::certificate::Certificate;
use crate::route::CompiledMatch;
use crate::units::{ByteSize, Span};

mod fault;
mod route;

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

/// All that is wrong. `env` looks up environment variables.
pub(in crate::config) fn findings(
    config: &Config,
    env: &dyn Fn(&str) -> Option<String>,
) -> Vec<Finding> {
    let mut found = Vec::new();
    check_sections(config, &mut found);
    check_tls(config, &mut found);
    check_places(config, &mut found);
    check_admin(config, &mut found);
    for (index, route) in config.routes.iter().enumerate() {
        route::check(route, &Way::route(index), &config.folder, env, &mut found);
    }
    fault::check(config, &mut found);
    check_names(config, &mut found);
    check_matches(config, &mut found);
    found
}

fn check_sections(config: &Config, found: &mut Vec<Finding>) {
    if config.cassette.path.as_os_str().is_empty() {
        found.push(Finding::at(
            Way::to(&["cassette", "path"]),
            "the path of the cassette is empty",
        ));
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

fn check_tls(config: &Config, found: &mut Vec<Finding>) {
    let way = |keys: &[&str]| Way::to(&["listen"]).then(keys);
    match (&config.listen.https, &config.listen.tls) {
        (None, None) => {}
        (Some(_), None) => found.push(
            Finding::at_key(way(&["https"]), "`https` has no certificate to show")
                .hint("add `tls = { cert = \"server.pem\", key = \"server.key\" }`")
                .relying_on([way(&[])]),
        ),
        (None, Some(_)) => found.push(
            Finding::at_key(way(&["tls"]), "no listener shows this certificate")
                .hint("add `https = \"127.0.0.1:8443\"`")
                .relying_on([way(&[])]),
        ),
        (Some(_), Some(tls)) => {
            if let Err(error) = Certificate::load(tls, &config.folder) {
                let key = if error.is_about_key() { "key" } else { "cert" };
                found.push(Finding::at(way(&["tls", key]), error.to_string()));
            }
        }
    }
}

/// That no two listeners want the same place.
fn check_places(config: &Config, found: &mut Vec<Finding>) {
    let listen = &config.listen;
    let mut before = vec![("http", &listen.http)];
    let others = [("https", &listen.https), ("admin", &listen.admin)];
    for (key, address) in others {
        let Some(address) = address else { continue };
        let taken = before.iter().find(|(_, other)| address.is_taken_by(other));
        if let Some((other, place)) = taken {
            let what = format!("`{key}` can't listen at {address}: `{other}` listens at {place}");
            found.push(
                Finding::at(Way::to(&["listen", key]), what)
                    .hint("expected another port, or 0 for any that is free")
                    .relying_on([Way::to(&["listen"])]),
            );
        }
        before.push((key, address));
    }
}

fn check_admin(config: &Config, found: &mut Vec<Finding>) {
    for (index, host) in config.listen.admin_hosts.iter().enumerate() {
        // The port may be missing; with one more behind it, a second is no address.
        let is_host = [host.clone(), format!("{host}:0")]
            .iter()
            .any(|text| text.parse::<Address>().is_ok());
        if !is_host {
            let what = format!("`{host}` is not a host");
            found.push(
                Finding::at(Way::to(&["listen", "admin_hosts"]).at(index), what).hint(
                    "expected a name or an address, such as `admin.test` or `admin.test:9000`",
                ),
            );
        }
    }
    let Some(address) = &config.listen.admin else {
        return;
    };
    if !(config.listen.admin_remote || address.is_loopback()) {
        let what = format!("`{address}` may be reached from other machines");
        found.push(
            Finding::at(Way::to(&["listen", "admin"]), what)
                .hint("expected this machine's own, such as `127.0.0.1:8081`")
                .hint("if others are meant to reach it, set `admin_remote = true` in `[listen]`")
                .relying_on([Way::to(&["listen"])]),
        );
    }
}

fn check_names(config: &Config, found: &mut Vec<Finding>) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for index in 0..config.routes.len() {
        let name = config.route_name(index);
        let way = Way::route(index).then(&["name"]);
        if name.is_empty() || name.chars().any(char::is_control) {
            found.push(Finding::at(
                way.clone(),
                "the name of a route is empty or holds a control character",
            ));
        }
        if let Some(&first) = seen.get(&name) {
            found.push(
                Finding::at(
                    way,
                    format!(
                        "two routes have the name `{name}`, this one and number {}",
                        first + 1
                    ),
                )
                .relying_on([Way::route(first), Way::route(index)]),
            );
        } else {
            seen.insert(name, index);
        }
    }
}

fn check_matches(config: &Config, found: &mut Vec<Finding>) {
    let mut before: Vec<(usize, CompiledMatch)> = Vec::new();
    for (index, route) in config.routes.iter().enumerate() {
        let compiled = match CompiledMatch::compile(&route.matches) {
            Ok(compiled) => compiled,
            Err(error) => {
                let field: Vec<_> = error.field.iter().map(String::as_str).collect();
                let way = Way::route(index).then(&["match"]).then(&field);
                found.push(Finding::at(way, error.what));
                continue;
            }
        };
        let covering = before.iter().find(|(_, earlier)| earlier.covers(&compiled));
        if let Some(&(first, _)) = covering {
            let parts = |index| {
                let way = Way::route(index);
                [
                    way.clone().then(&["match", "headers"]),
                    way.clone().then(&["match", "query"]),
                    way.clone().then(&["match"]),
                    way,
                ]
            };
            found.push(
                Finding::at(
                    Way::route(index).then(&["match"]),
                    format!(
                        "route `{}` is never reached: route `{}` comes before it and takes every request that it matches",
                        config.route_name(index),
                        config.route_name(first)
                    ),
                )
                .hint("put the narrower route first")
                .relying_on(parts(first).into_iter().chain(parts(index))),
            );
        } else {
            before.push((index, compiled));
        }
    }
}
