//! What is wrong with faults: each by itself, and with the route that it stands in.

use super::{Finding, Mark};
use crate::config::{Config, RouteSettings, Way};
use crate::fault::kind::Basis;
use crate::fault::listen::ListenRule;
use crate::fault::problem::Problem;
use crate::fault::rule::Rule;
use crate::mode::Mode;

/// Adds to `found` what is wrong with the faults of connections and of all routes.
pub(super) fn check(config: &Config, found: &mut Vec<Finding>) {
    let faults = Way::to(&["listen", "fault"]);
    if let Err(problems) = ListenRule::compile(&config.listen.faults) {
        found.extend(
            problems
                .into_iter()
                .map(|problem| finding(problem, &faults)),
        );
    }
    for (index, route) in config.routes.iter().enumerate() {
        let faults = Way::route(index).then(&["fault"]);
        let name = config.route_name(index);
        if let Err(problems) = Rule::compile(&name, &route.faults) {
            let said = |problem: Problem| {
                let is_about_two = problem.other.is_some();
                let mut finding = finding(problem, &faults);
                if is_about_two {
                    finding.what = format!("route `{name}`: {}", finding.what);
                }
                finding
            };
            found.extend(problems.into_iter().map(said));
        }
        check_basis(route, &faults, found);
    }
}

/// A live answer has no recorded time that another one could stand in for.
fn check_basis(route: &RouteSettings, faults: &Way, found: &mut Vec<Finding>) {
    let is_live = match route.mode {
        Mode::Forward | Mode::Record => true,
        Mode::Replay | Mode::Synthesize => false,
    };
    if !is_live {
        return;
    }
    for (index, rule) in route.faults.iter().enumerate() {
        if rule.basis == Some(Basis::Replace) {
            let way = faults.clone().at(index).then(&["basis"]);
            let what = format!(
                "`basis = \"replace\"` is for recorded answers, and those of mode `{}` come from the upstream",
                route.mode
            );
            found.push(Finding::at(way, what).hint("write `add` or `total`"));
        }
    }
}

/// A problem at its place in the file. `faults` is the way to the list of rules.
fn finding(problem: Problem, faults: &Way) -> Finding {
    let rule = |index| faults.clone().at(index);
    let field: Vec<_> = problem.field.iter().map(String::as_str).collect();
    let way = rule(problem.rule).then(&field);
    // What was taken out because of another mistake could be what is missing here. What is wrong with one value alone,
    // somewhere inside a rule, is wrong in any case.
    let mut relies_on = vec![faults.clone()];
    relies_on.extend((1..=field.len()).map(|len| rule(problem.rule).then(&field[..len])));
    if field.len() <= 1 || problem.other.is_some() {
        relies_on.push(rule(problem.rule));
    }
    if let Some(other) = problem.other {
        let whens = [problem.rule, other].map(|index| rule(index).then(&["when"]));
        relies_on.extend(whens.into_iter().chain([rule(other)]));
    }
    Finding {
        mark: if problem.is_key {
            Mark::Key
        } else {
            Mark::Value
        },
        hints: problem.hints,
        relies_on,
        ..Finding::at(way, problem.what)
    }
}

#[cfg(test)]
mod tests;
