//! What is wrong between routes.

use std::collections::HashMap;

use super::Finding;
use crate::config::{Config, Way};
use crate::route::{CompiledMatch, Covers};

/// Adds to `found` what routes are to each other that they should not be.
pub(super) fn check(config: &Config, found: &mut Vec<Finding>) {
    check_names(config, found);
    check_matches(config, found);
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
    let mut before = Covers::default();
    // The numbers of the routes that are in it.
    let mut numbers = Vec::new();
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
        if let Some(&first) = before.of(&compiled).and_then(|first| numbers.get(first)) {
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
            before.push(compiled);
            numbers.push(index);
        }
    }
}
