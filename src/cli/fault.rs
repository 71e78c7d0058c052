//! `rehearsal fault`: sees and switches the faults of a proxy that runs.

use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::ask::{Ask, Where};
use super::{Failure, print};
use crate::config::suggest::nearest;
use crate::units::Span;

/// `rehearsal fault`
#[derive(Debug, Args)]
pub(super) struct Fault {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    at: Where,
    /// Print what the proxy answered, as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show all rules: whether they are on, for how long, and what became of their faults.
    List,
    /// Switch a rule on.
    On {
        /// ROUTE/RULE, or RULE alone where only one route has it.
        rule: String,
        /// For so long, such as 30s or 5m. Default: as long as the config says.
        #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
        ttl: Option<Span>,
    },
    /// Switch a rule off, also in streams that run.
    Off {
        /// ROUTE/RULE, or RULE alone where only one route has it.
        rule: String,
    },
    /// Let a rule that is on end after some time.
    Ttl {
        /// ROUTE/RULE, or RULE alone where only one route has it.
        rule: String,
        /// From now on, such as 30s or 5m.
        #[arg(allow_hyphen_values = true)]
        time: Span,
    },
    /// End all faults at once, also in streams that run, and have none until this is undone.
    Kill {
        /// Allow faults again.
        #[arg(long)]
        undo: bool,
    },
    /// Say where a fault came from, and draw it again.
    Explain {
        /// What stands after `draw=` in the header `x-rehearsal-fault` of an answer, or in the log.
        id: String,
    },
}

pub(super) fn run(fault: &Fault) -> Result<ExitCode, Failure> {
    let ask = fault.at.ask()?;
    let (answer, text) = match &fault.action {
        Action::List => {
            let answer = ask.get(FAULTS)?;
            let text = table(&answer);
            (answer, text)
        }
        Action::On { rule, ttl } => {
            let mut body = json!({ "on": true });
            if let Some(ttl) = ttl {
                body["ttl"] = json!(ttl.to_string());
            }
            told(ask.post(&path_of(&ask, rule)?, &body)?)
        }
        Action::Off { rule } => told(ask.post(&path_of(&ask, rule)?, &json!({ "on": false }))?),
        Action::Ttl { rule, time } => {
            let path = format!("{}/ttl", path_of(&ask, rule)?);
            told(ask.post(&path, &json!({ "ttl": time.to_string() }))?)
        }
        Action::Kill { undo } => {
            let answer = ask.post("/v1/faults/kill", &json!({ "killed": !undo }))?;
            let text = if *undo {
                "faults may happen again\n"
            } else {
                KILLED
            };
            (answer, text.to_owned())
        }
        Action::Explain { id } => {
            let id = utf8_percent_encode(id, NON_ALPHANUMERIC);
            let answer = ask.get(&format!("/v1/faults/explain/{id}"))?;
            let text = explained(&answer);
            (answer, text)
        }
    };
    if fault.json {
        print(&format!("{answer:#}\n"))?;
    } else {
        print(&text)?;
    }
    if matches!(fault.action, Action::Explain { .. }) && answer["is_same"] != true {
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::SUCCESS)
}

fn told(answer: Value) -> (Value, String) {
    let mut text = format!("{} is {}\n", name(&answer), state(&answer));
    if answer["killed"] == true {
        text.push_str(KILLED);
    }
    (answer, text)
}

/// The path of the rule that is meant.
fn path_of(ask: &Ask, rule: &str) -> Result<String, Failure> {
    let all = ask.get(FAULTS)?;
    let found = find(&all, rule).map_err(Failure::Unusable)?;
    let encode = |key: &str| utf8_percent_encode(text(&found[key]), NON_ALPHANUMERIC).to_string();
    Ok(format!("{FAULTS}/{}/{}", encode("route"), encode("rule")))
}

fn find<'a>(all: &'a Value, rule: &str) -> anyhow::Result<&'a Value> {
    let rows = rows(all);
    let by_name: Vec<_> = rows.iter().filter(|row| name(row) == rule).collect();
    let by_rule: Vec<_> = rows.iter().filter(|row| row["rule"] == *rule).collect();
    let found = if by_name.is_empty() { by_rule } else { by_name };
    match found[..] {
        [one] => Ok(one),
        [] if rows.is_empty() => Err(anyhow!(
            "there is no rule `{rule}`: the proxy has none at all"
        )),
        [] => {
            let meant = meant(rows, rule)
                .map(|name| format!("; did you mean `{name}`?"))
                .unwrap_or_default();
            Err(anyhow!(
                "there is no rule `{rule}`, expected one of {}{meant}",
                names(rows.iter())
            ))
        }
        _ => Err(anyhow!(
            "`{rule}` could be any of {}; say which",
            names(found.iter().copied())
        )),
    }
}

/// The name that was meant, where a slip of the fingers explains what was written.
fn meant(rows: &[Value], written: &str) -> Option<String> {
    let names: Vec<_> = rows.iter().map(name).collect();
    let short = rows.iter().map(|row| text(&row["rule"]));
    nearest(written, short.chain(names.iter().map(String::as_str))).map(str::to_owned)
}

fn rows(all: &Value) -> &[Value] {
    all["faults"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn names<'a>(rows: impl Iterator<Item = &'a Value>) -> String {
    let names: Vec<_> = rows.map(|row| format!("`{}`", name(row))).collect();
    names.join(", ")
}

fn name(row: &Value) -> String {
    format!("{}/{}", text(&row["route"]), text(&row["rule"]))
}

fn state(row: &Value) -> String {
    match (row["on"] == true, row["left_ms"].as_u64()) {
        // Nobody reads the milliseconds of a minute.
        (true, Some(left)) if left >= 1000 => {
            format!("on for {}", Span::secs(left.div_ceil(1000)))
        }
        (true, Some(left)) => format!("on for {}", Span::millis(left)),
        (true, None) => "on".to_owned(),
        (false, _) => "off".to_owned(),
    }
}

fn table(all: &Value) -> String {
    let heads = ["RULE", "KIND", "STATE", "ACTIVE"]
        .into_iter()
        .map(str::to_owned)
        .chain(COUNTS.map(|count| count.to_uppercase().replace('_', " ")));
    let lines: Vec<Vec<String>> = std::iter::once(heads.collect())
        .chain(rows(all).iter().map(|row| {
            let kind = text(&row["kind"]).to_owned();
            [name(row), kind, state(row), row["active"].to_string()]
                .into_iter()
                .chain(COUNTS.map(|count| row["counts"][count].to_string()))
                .collect()
        }))
        .collect();
    let mut text = String::new();
    if all["killed"] == true {
        text.push_str(KILLED);
    }
    if lines.len() == 1 {
        text.push_str("there are no fault rules\n");
        return text;
    }
    let widths: Vec<usize> = (0..lines[0].len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max())
        .map(Option::unwrap_or_default)
        .collect();
    for line in &lines {
        let cells: Vec<_> = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn explained(answer: &Value) -> String {
    let value = |key: &str| text(&answer[key]).to_owned();
    let again = if answer["is_same"] == true {
        "the same".to_owned()
    } else {
        format!("{}, which is another", text(&answer["again"]["id"]))
    };
    format!(
        "{id}: {kind}, by the rule {name}\n\
         request      {request}\n\
         drawn        {drawn}, held against {probability}\n\
         drawn from   seed {seed}, {drawn_as}, key {key}, attempt {attempt}\n\
         drawn again  {again}\n",
        id = value("id"),
        kind = value("kind"),
        name = name(answer),
        request = value("request"),
        attempt = answer["attempt"],
        drawn = value("drawn"),
        probability = value("probability"),
        seed = answer["seed"],
        drawn_as = value("drawn_as"),
        key = value("key"),
    )
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// That nothing happens, and how to have it happen.
const KILLED: &str = "all faults are ended; allow them again with `rehearsal fault kill --undo`\n";

const FAULTS: &str = "/v1/faults";

/// What is shown of what was counted.
const COUNTS: [&str; 6] = [
    "drawn",
    "injected",
    "not_applicable",
    "prevented",
    "over_cap",
    "dry_run",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_found_by_its_own_name_where_only_one_has_it() {
        let all = json!({ "faults": [
            { "route": "a", "rule": "cut" },
            { "route": "b", "rule": "cut" },
            { "route": "b", "rule": "slow" },
        ] });
        let found = |rule| {
            find(&all, rule)
                .map(name)
                .map_err(|error| error.to_string())
        };
        assert_eq!(found("slow"), Ok("b/slow".to_owned()));
        assert_eq!(found("b/cut"), Ok("b/cut".to_owned()));
        assert_eq!(
            found("cut"),
            Err("`cut` could be any of `a/cut`, `b/cut`; say which".to_owned())
        );
        assert_eq!(
            found("c"),
            Err("there is no rule `c`, expected one of `a/cut`, `b/cut`, `b/slow`".to_owned())
        );
        for (written, meant) in [("slwo", "slow"), ("b/solw", "b/slow"), ("cutt", "cut")] {
            let error = found(written).unwrap_err();
            assert!(
                error.ends_with(&format!("`b/slow`; did you mean `{meant}`?")),
                "{error}"
            );
        }
    }
}
