//! `rehearsal cassette`: looks into a cassette without changing anything in it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Failure, fit, no_file, print};
use crate::cassette::{Access, Cassette as Recordings, Entry};
use crate::units::ByteSize;

/// What to do with a cassette.
#[derive(Debug, Subcommand)]
pub(super) enum Cassette {
    /// List the recordings, a line each; interrupted ones and files that can't be read too.
    List {
        /// The directory.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// Print one JSON object a line instead.
        #[arg(long)]
        json: bool,
    },
    /// Show recordings whole, as they stand in their files.
    Show {
        /// The directory.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// The recording's file, or the beginning of its name. Default: all.
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
    /// Take the times of tokens from recorded streams, to pace other answers by.
    Fit(fit::FitArgs),
}

pub(super) fn run(command: &Cassette) -> Result<ExitCode, Failure> {
    match command {
        Cassette::List { dir, json } => list(dir, *json),
        Cassette::Show { dir, name } => show(dir, name.as_deref()),
        Cassette::Fit(args) => {
            let cassette = open(&args.dir)?;
            fit::fit(args, &cassette)?;
            report_broken(&cassette)
        }
    }
}

fn open(dir: &Path) -> Result<Recordings, Failure> {
    no_file(dir).map_err(Failure::Unusable)?;
    if !dir.is_dir() {
        return Err(Failure::Unusable(anyhow!(
            "there is no cassette in {}",
            dir.display()
        )));
    }
    Recordings::open(dir, Access::Read)
        .with_context(|| format!("could not open the cassette {}", dir.display()))
        .map_err(Failure::Unusable)
}

fn list(dir: &Path, as_json: bool) -> Result<ExitCode, Failure> {
    let cassette = open(dir)?;
    let entries = cassette.entries();
    let mut text = String::new();
    if as_json {
        for entry in &entries {
            text += &as_object(entry).to_string();
            text.push('\n');
        }
    } else {
        text.push_str(&table(&entries));
    }
    print(&text)?;
    report_broken(&cassette)
}

fn as_object(entry: &Entry) -> serde_json::Value {
    serde_json::json!({
        "name": entry.name,
        "method": entry.method,
        "path": entry.path,
        "status": entry.status,
        "ending": entry.ending.as_str(),
        "chunks": entry.chunks,
        "bytes": entry.bytes,
        "duration_us": u64::try_from(entry.duration.as_micros()).unwrap_or(u64::MAX),
        "at": timestamp(entry),
        "replayable": entry.replayable,
    })
}

/// RFC 3339, to the second.
fn timestamp(entry: &Entry) -> String {
    let at = OffsetDateTime::from(entry.at)
        .replace_nanosecond(0)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(&Rfc3339).unwrap_or_default()
}

fn table(entries: &[Entry]) -> String {
    let rows: Vec<[String; 7]> = entries
        .iter()
        .map(|entry| {
            [
                entry.name.clone(),
                entry.status.to_string(),
                if entry.replayable {
                    entry.ending.to_string()
                } else {
                    format!("{} (not replayed)", entry.ending)
                },
                entry.chunks.to_string(),
                ByteSize(entry.bytes).to_string(),
                format!("{:.1}ms", entry.duration.as_secs_f64() * 1e3),
                timestamp(entry),
            ]
        })
        .collect();
    let head = [
        "NAME", "STATUS", "ENDING", "CHUNKS", "BYTES", "DURATION", "AT",
    ]
    .map(str::to_owned);
    let width = |column: usize| {
        rows.iter()
            .chain([&head])
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for row in [&head].into_iter().chain(&rows) {
        let line: Vec<_> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn show(dir: &Path, name: Option<&str>) -> Result<ExitCode, Failure> {
    let cassette = open(dir)?;
    let wanted: Vec<_> = cassette
        .entries()
        .into_iter()
        .filter(|entry| name.is_none_or(|name| entry.name.starts_with(name)))
        .collect();
    if let (Some(name), true) = (name, wanted.is_empty()) {
        return Err(Failure::FellShort(anyhow!(
            "there is no recording in {} whose name begins with `{name}`",
            dir.display()
        )));
    }
    for entry in wanted {
        let text = std::fs::read_to_string(dir.join(&entry.name))
            .with_context(|| format!("could not read {}", entry.name))
            .map_err(Failure::FellShort)?;
        print(&text)?;
    }
    report_broken(&cassette)
}

/// Names the files that can't be read; they make the command fall short.
fn report_broken(cassette: &Recordings) -> Result<ExitCode, Failure> {
    let broken: Vec<_> = cassette.broken().iter().map(ToString::to_string).collect();
    if broken.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::FellShort(anyhow!(
        "can't be read:\n  {}",
        broken.join("\n  ")
    )))
}
