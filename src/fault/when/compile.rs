//! From conditions as they are written to conditions that can be asked.

use serde_json_path::JsonPath;

use super::{Attempt, Counted, Ramp, Wanted, When, WhenSettings, Window, Wish};
use crate::fault::problem::Problem;
use crate::route::glob::Glob;
use crate::route::{CompiledMatch, RouteMatch, is_token};

impl When {
    /// Makes the conditions of the rule of this name ready.
    ///
    /// # Errors
    /// Everything that is wrong, with the way to it from the rule on.
    pub fn compile(settings: &WhenSettings, rule: &str) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        check_counts(settings, &mut problems);
        check_times(settings, &mut problems);
        let glob = |key: &str, pattern: &Option<String>, problems: &mut Vec<Problem>| {
            let glob = Glob::text(pattern.as_deref()?);
            glob.map_err(|what| problems.push(Problem::at(&["when", key], what)))
                .ok()
        };
        let client = glob("client", &settings.client, &mut problems);
        let model = glob("model", &settings.model, &mut problems);
        if let Some(header) = &settings.header
            && !is_token(header)
        {
            let what = format!("`{header}` is not a header name");
            problems.push(Problem::at(&["when", "header"], what));
        }
        let body = settings
            .body
            .iter()
            .filter_map(|(path, wanted)| {
                compile_wish(path, wanted)
                    .map_err(|problem| problems.push(problem))
                    .ok()
            })
            .collect();
        let matches = compile_match(settings)
            .map_err(|problem| problems.push(problem))
            .ok();
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            matches: matches.flatten(),
            body,
            client,
            model,
            protocol: settings.protocol,
            attempt: settings.attempt,
            window: settings.window,
            ramp: settings.ramp,
            trigger: settings
                .header
                .as_ref()
                .map(|header| (header.clone(), rule.to_owned())),
            counts: Counted {
                nth: settings.nth,
                first: settings.first,
                every: settings.every,
                after: settings.after,
                per: settings.per,
            },
        })
    }
}

fn compile_match(settings: &WhenSettings) -> Result<Option<CompiledMatch>, Problem> {
    let matches = RouteMatch {
        method: settings.method.clone(),
        path: settings.path.clone(),
        host: None,
        headers: settings.headers.clone(),
        query: settings.query.clone(),
    };
    if matches == RouteMatch::default() {
        return Ok(None);
    }
    CompiledMatch::compile(&matches).map(Some).map_err(|error| {
        let way: Vec<_> = ["when"]
            .into_iter()
            .chain(error.field.iter().map(String::as_str))
            .collect();
        Problem::at(&way, error.what)
    })
}

fn compile_wish(path: &str, wanted: &Wanted) -> Result<(JsonPath, Wish), Problem> {
    let way = ["when", "body", path];
    let parsed = JsonPath::parse(path).map_err(|_| {
        Problem::at_key(&way, format!("`{path}` is not a JSON path"))
            .hint("expected a path such as `$.stream` or `$.messages[*].role`")
    })?;
    let wish = match wanted {
        Wanted::Text(pattern) => {
            Wish::Like(Glob::text(pattern).map_err(|what| Problem::at(&way, what))?)
        }
        Wanted::Number(number) => Wish::Number(*number),
        Wanted::Bool(wanted) => Wish::Is(*wanted),
    };
    Ok((parsed, wish))
}

fn check_counts(settings: &WhenSettings, problems: &mut Vec<Problem>) {
    let counts = [
        ("nth", settings.nth),
        ("first", settings.first),
        ("every", settings.every),
    ];
    for (key, count) in counts {
        if count == Some(0) {
            let what =
                format!("with `{key}` at zero it never happens, requests are counted from 1");
            problems.push(Problem::at(&["when", key], what));
        }
    }
    if let (Some(nth), Some(first)) = (settings.nth, settings.first)
        && nth > first
    {
        let what = format!("request {nth} is not among the first {first}, so it never happens");
        problems.push(Problem::at(&["when", "nth"], what));
    }
    if let (Some(nth), Some(every)) = (settings.nth, settings.every)
        && every > 0
        && !nth.is_multiple_of(every)
    {
        let what = format!("request {nth} is none of every {every}, so it never happens");
        problems.push(Problem::at(&["when", "nth"], what));
    }
    if let (Some(every), Some(first)) = (settings.every, settings.first)
        && every > first
        && first > 0
    {
        let what = format!("none of the first {first} is number {every}, so it never happens");
        problems.push(Problem::at(&["when", "every"], what));
    }
}

fn check_times(settings: &WhenSettings, problems: &mut Vec<Problem>) {
    if let Some(Attempt { from, to: Some(to) }) = settings.attempt
        && from > to
    {
        let what = format!("there is no attempt from {from} to {to}");
        problems.push(Problem::at(&["when", "attempt"], what));
    }
    if let Some(Window {
        from, to: Some(to), ..
    }) = settings.window
        && from >= to
    {
        let what = format!("the window from {from} to {to} has no time in it");
        problems.push(Problem::at(&["when", "window"], what));
    }
    if let Some(Window {
        to,
        every: Some(every),
        ..
    }) = settings.window
        && to.is_none_or(|to| to > every)
    {
        let what = match to {
            Some(to) => format!("the window is over after {to} and comes again every {every}"),
            None => format!("a window that comes again every {every} has to be over before"),
        };
        let hint = format!("expected a `to` of at most {every}");
        problems.push(Problem::at(&["when", "window"], what).hint(hint));
    }
    if let Some(Ramp { from, to, .. }) = settings.ramp {
        for (key, value) in [("from", from), ("to", to)] {
            if !(0.0..=1.0).contains(&value) {
                let what = format!("`{key}` is {value}, expected a number from 0 to 1");
                problems.push(Problem::at(&["when", "ramp", key], what));
            }
        }
    }
}
