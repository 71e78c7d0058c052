//! `rehearsal cassette fit`: takes the times of tokens from a cassette.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::Args;

use super::{Failure, print};
use crate::cassette::{Cassette, Direction, ItemBody, ItemKind, RecordedBody, Recording};
use crate::dialect::Dialect;
use crate::shape::fit::{Fit, TokenTime};
use crate::shape::meter::Meter;
use crate::units::counted;

/// `rehearsal cassette fit`
#[derive(Debug, Args)]
pub(super) struct FitArgs {
    /// The directory.
    #[arg(value_name = "DIR")]
    pub(super) dir: PathBuf,
    /// Only streams whose request asked for this model.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Write the times to this file, in fine steps, and print the line that uses it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn fit(args: &FitArgs, cassette: &Cassette) -> Result<ExitCode, Failure> {
    let mut fit = Fit::default();
    let mut models: BTreeMap<String, usize> = BTreeMap::new();
    for entry in cassette.entries().iter().filter(|entry| entry.replayable) {
        let recording = cassette
            .named(&entry.name)
            .with_context(|| format!("could not read {}", entry.name))
            .map_err(Failure::FellShort)?;
        let tokens = token_times(&recording)
            .with_context(|| format!("could not read the body of {}", entry.name))
            .map_err(Failure::FellShort)?;
        if tokens.is_empty() {
            continue;
        }
        let model = model_of(&recording);
        if args.model.as_ref().is_none_or(|wanted| *wanted == model) {
            fit.add(&tokens);
        }
        *models.entry(model).or_default() += 1;
    }
    let (streams, gaps) = fit.counts();
    let steps = if args.out.is_some() {
        STEPS_FILE
    } else {
        STEPS_LINE
    };
    let Some(fitted) = fit.quantiles(steps) else {
        let asked = args
            .model
            .as_ref()
            .map_or_else(String::new, |model| format!(" of model `{model}`"));
        return Err(Failure::FellShort(anyhow!(
            "{} has no event stream{asked} with two tokens to take times from; models with streams: {}",
            args.dir.display(),
            if models.is_empty() {
                "none".to_owned()
            } else {
                listed(&models)
            }
        )));
    };
    let from = format!(
        "{} with {}, of {}",
        counted(streams, "stream"),
        counted(gaps, "gap"),
        args.model.clone().unwrap_or_else(|| listed(&models))
    );
    match &args.out {
        None => print(&format!("# {from}\n{}\n", fitted.to_toml()))?,
        Some(file) => {
            write(file, &fitted.to_json(&from))?;
            print(&format!("# {from}\n{}\n", line(file)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn write(file: &Path, json: &serde_json::Value) -> Result<(), Failure> {
    std::fs::write(file, format!("{json:#}\n"))
        .with_context(|| format!("could not write {}", file.display()))
        .map_err(Failure::FellShort)
}

/// The line of a route that uses a file.
fn line(file: &Path) -> String {
    // Text in JSON is text in TOML, too.
    let name = serde_json::Value::from(file.display().to_string());
    format!("pace = {{ fitted = {name} }}")
}

fn listed(models: &BTreeMap<String, usize>) -> String {
    let models: Vec<_> = models
        .iter()
        .map(|(model, count)| format!("{} ({count})", shown(model)))
        .collect();
    models.join(", ")
}

/// On one line, whatever a client called its model: it is printed as a comment above a line to paste.
fn shown(model: &str) -> String {
    let (mut shown, mut chars) = (String::new(), model.chars());
    for char in chars.by_ref().take(SHOWN_MAX) {
        if char.is_control() {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

/// When each token of a recorded event stream came, from the end of the request. Of anything else: nothing.
fn token_times(recording: &Recording) -> std::io::Result<Vec<TokenTime>> {
    let is_stream = recording.head.media_type().as_deref() == Some("text/event-stream");
    if !is_stream || recording.head.status != 200 {
        return Ok(Vec::new());
    }
    let side = match &recording.side {
        Some(side) => Some((side, side.open()?)),
        None => None,
    };
    let mut meter = Meter::of_events(Dialect::of(&recording.request));
    let mut times = Vec::new();
    for item in &recording.items {
        if item.direction != Direction::Down || item.kind != ItemKind::Bytes {
            continue;
        }
        let bytes = match (&item.body, &side) {
            (ItemBody::Inline(bytes), _) => bytes.clone(),
            (ItemBody::Side { offset, len }, Some((side, file))) => {
                side.read_at(file, *offset, *len)?
            }
            (ItemBody::Side { .. }, None) => return Err(std::io::ErrorKind::NotFound.into()),
        };
        let token = TokenTime {
            at: recording.head_after + item.at,
            is_held: item.held,
        };
        let tokens = meter.facts(token.at, &bytes).tokens;
        times.extend((0..tokens).map(|_| token));
    }
    Ok(times)
}

/// The model that was asked for; `-` where none was named.
fn model_of(recording: &Recording) -> String {
    let body = match &recording.request_body {
        RecordedBody::Inline(body) => serde_json::from_slice(body).unwrap_or_default(),
        RecordedBody::Side(_) | RecordedBody::TooLarge => serde_json::Value::Null,
    };
    body["model"].as_str().unwrap_or("-").to_owned()
}

/// Of the name of a model, in characters.
const SHOWN_MAX: usize = 100;

/// As many steps as a person still pastes.
const STEPS_LINE: usize = 20;

const STEPS_FILE: usize = 200;
