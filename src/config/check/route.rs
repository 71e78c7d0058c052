//! What is wrong inside one route.

use std::collections::HashMap;
use std::path::Path;

use serde_json_path::JsonPath;

use super::Finding;
use crate::config::file::read_text;
use crate::config::{HeaderValue, RouteSettings, Upstream, Way};
use crate::link::{HttpVersion, Link, UpstreamTls};
use crate::mode::Mode;
use crate::route::{CompiledMatch, is_token};
use crate::shape::pace::FITTED_MAX;

/// Adds to `found` what is wrong in the route at `way`.
pub(super) fn check(
    route: &RouteSettings,
    way: &Way,
    folder: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    found: &mut Vec<Finding>,
) {
    check_mode(route, way, found);
    check_headers(route, way, folder, env, found);
    check_prefixes(route, way, found);
    check_key(route, way, found);
    check_link(route, way, folder, found);
    check_pace(route, way, folder, found);
}

/// A file of fitted times is read now, so that it is not missed when the first answer is to be paced.
fn check_pace(route: &RouteSettings, way: &Way, folder: &Path, found: &mut Vec<Finding>) {
    let read = |file: &Path| read_text(&folder.join(file), FITTED_MAX);
    if let Err(error) = route.pace.timing(&read) {
        found.push(
            Finding::at(way.clone().then(&["pace"]), error.to_string())
                .hint("`rehearsal cassette fit DIR --out FILE` writes one; the path starts in the config's folder"),
        );
    }
}

fn check_mode(route: &RouteSettings, way: &Way, found: &mut Vec<Finding>) {
    let way_to = |key: &str| way.clone().then(&[key]);
    if let (Some(on_miss), Mode::Forward | Mode::Record | Mode::Synthesize) =
        (route.on_miss, route.mode)
    {
        found.push(
            Finding::at(
                way_to("on_miss"),
                format!(
                    "`on_miss = \"{on_miss}\"` has no effect, because mode `{}` never looks into the cassette",
                    route.mode
                ),
            )
            .hint("take it out, or write `mode = \"replay\"`"),
        );
    }
    if route.upstream.is_some() {
        return;
    }
    let missing = if route.mode.needs_upstream() {
        Some((format!("mode `{}`", route.mode), "mode"))
    } else if route.mode == Mode::Replay && route.on_miss().needs_upstream() {
        Some((format!("`on_miss = \"{}\"`", route.on_miss()), "on_miss"))
    } else {
        None
    };
    if let Some((who, key)) = missing {
        found.push(
            Finding::at(way_to(key), format!("{who} needs an upstream, and this route has none"))
                .hint("add `upstream = \"https://HOST\"`, or `upstream = \"fake\"` for the built-in backend")
                .relying_on([way.clone()]),
        );
    }
}

fn check_headers(
    route: &RouteSettings,
    way: &Way,
    folder: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    found: &mut Vec<Finding>,
) {
    let mut seen: HashMap<String, &str> = HashMap::new();
    for (name, value) in &route.set_headers {
        let way = way.clone().then(&["set_headers", name]);
        if !is_token(name) {
            found.push(Finding::at_key(
                way.clone(),
                format!("`{name}` is not a header name"),
            ));
            continue;
        }
        let lower = name.to_ascii_lowercase();
        if FRAMING.contains(&&*lower) {
            found.push(Finding::at_key(way.clone(), belongs_to_us(name)));
        }
        if let Some(first) = seen.insert(lower, name) {
            found.push(Finding::at_key(
                way.clone(),
                format!("`{name}` and `{first}` are the same header"),
            ));
        }
        if matches!(value, HeaderValue::Value(_)) && is_secret(name) {
            found.push(
                Finding::at_key(
                    way.clone().then(&["value"]),
                    format!("`{name}` holds a secret, which does not belong in this file"),
                )
                .hint("write `{ env = \"NAME\" }` or `{ file = \"path\" }`")
                .hint("or `{ literal_secret = \"…\" }` where it has to stand here"),
            );
        }
        if let Err(error) = value.resolve(folder, env) {
            let key = match value {
                HeaderValue::Env(_) => "env",
                HeaderValue::File(_) => "file",
                HeaderValue::Value(_) => "value",
                HeaderValue::LiteralSecret(_) => "literal_secret",
            };
            found.push(Finding::at(
                way.then(&[key]),
                format!("no value for the header `{name}`: {error}"),
            ));
        }
    }
    let way = way.clone().then(&["remove_headers"]);
    check_header_names(&route.remove_headers, &way, found);
    for (index, name) in route.remove_headers.iter().enumerate() {
        if FRAMING.contains(&&*name.to_ascii_lowercase()) {
            found.push(Finding::at(way.clone().at(index), belongs_to_us(name)));
        }
    }
}

fn belongs_to_us(header: &str) -> String {
    format!("`{header}` belongs to one connection, and the proxy sets it itself")
}

fn check_header_names(names: &[String], way: &Way, found: &mut Vec<Finding>) {
    for (index, name) in names.iter().enumerate() {
        if !is_token(name) {
            found.push(Finding::at(
                way.clone().at(index),
                format!("`{name}` is not a header name"),
            ));
        }
    }
}

fn check_prefixes(route: &RouteSettings, way: &Way, found: &mut Vec<Finding>) {
    let prefixes = [
        ("strip_prefix", &route.strip_prefix),
        ("add_prefix", &route.add_prefix),
    ];
    for (key, prefix) in prefixes {
        let Some(prefix) = prefix else { continue };
        let what = if !prefix.starts_with('/') {
            format!("the prefix `{prefix}` does not begin with `/`")
        } else if prefix.contains(['?', '#']) || !prefix.bytes().all(|byte| byte.is_ascii_graphic())
        {
            format!("the prefix `{prefix}` holds what can't be in a path; percent-encode it")
        } else {
            continue;
        };
        found.push(Finding::at(way.clone().then(&[key]), what));
    }
    check_strip(route, way, found);
}

/// That there is something to strip.
fn check_strip(route: &RouteSettings, way: &Way, found: &mut Vec<Finding>) {
    let Some(prefix) = (route.strip_prefix.as_ref()).filter(|prefix| prefix.starts_with('/'))
    else {
        return;
    };
    // Another check says what is wrong with a match.
    let Ok(matches) = CompiledMatch::compile(&route.matches) else {
        return;
    };
    if let (Some(path), false) = (&route.matches.path, matches.reaches(prefix)) {
        let what = format!(
            "no path that this route takes begins with `{prefix}`, so nothing is ever stripped: its `match` has `{path}`"
        );
        let within = format!("{}{path}", prefix.trim_end_matches('/'));
        found.push(
            Finding::at(way.clone().then(&["strip_prefix"]), what)
                .hint(format!(
                    "`match` looks at the path before it is stripped: write `path = \"{within}\"` there, or take `strip_prefix` out"
                ))
                .relying_on([way.clone().then(&["match"])]),
        );
    }
}

fn check_key(route: &RouteSettings, way: &Way, found: &mut Vec<Finding>) {
    check_header_names(
        &route.key.headers,
        &way.clone().then(&["key", "headers"]),
        found,
    );
    for (index, path) in route.key.ignore.iter().enumerate() {
        let Err(error) = JsonPath::parse(path) else {
            continue;
        };
        let what = if path.starts_with('$') {
            format!(
                "`{path}` is not a JSON path from character {} on",
                error.position() + 1
            )
        } else {
            format!("`{path}` is not a JSON path, which begins with `$`")
        };
        found.push(
            Finding::at(way.clone().then(&["key", "ignore"]).at(index), what)
                .hint("expected a path such as `$.user` or `$.messages[*].id`"),
        );
    }
}

fn check_link(route: &RouteSettings, way: &Way, folder: &Path, found: &mut Vec<Finding>) {
    let Some(upstream) = &route.upstream else {
        return;
    };
    let is_tls = matches!(upstream, Upstream::Url(origin) if origin.is_tls);
    if route.tls != UpstreamTls::default() && !is_tls {
        found.push(
            Finding::at_key(
                way.clone().then(&["tls"]),
                format!("`tls` has no effect, because the upstream `{upstream}` is not `https://`"),
            )
            .hint("take it out, or write the upstream with `https://`"),
        );
        return;
    }
    if route.http != HttpVersion::Auto && *upstream == Upstream::Fake {
        found.push(Finding::at_key(
            way.clone().then(&["http"]),
            "`http` has no effect, because nothing goes over a network to the built-in backend",
        ));
    }
    if let Err(error) = Link::compile(&route.tls, route.http, folder) {
        found.push(Finding::at(
            way.clone().then(&["tls", error.key]),
            error.what,
        ));
    }
}

/// Whether a header of this name usually holds a secret.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(&*name, "authorization" | "proxy-authorization" | "cookie")
        || ["api-key", "apikey", "-token", "secret", "password"]
            .iter()
            .any(|part| name.contains(part))
}

/// Headers about one connection or about framing; set by hand they would let two servers disagree where a request ends.
const FRAMING: [&str; 8] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
