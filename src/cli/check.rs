//! `rehearsal check` and `rehearsal schema`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;

use super::{Failure, print, timing};
use crate::config::{Config, schema as config_schema};
use crate::plan::Plan;
use crate::units::{Span, UnitError};

/// What is checked.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The config file.
    #[arg(value_name = "FILE", required_unless_present = "timing")]
    file: Option<PathBuf>,
    /// Measure for two seconds how well this machine keeps the times of faults and paces; exit code 1 if worse than `--within`.
    #[arg(long)]
    timing: bool,
    /// With `--timing`: how far off 99 of 100 times may be, such as 10ms. Default: 4ms, and 0.5ms in the middle, as promised for
    /// an idle machine.
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        requires = "timing",
        value_parser = parse_within
    )]
    within: Option<Span>,
}

fn parse_within(text: &str) -> Result<Span, String> {
    let span: Span = text.parse().map_err(|error: UnitError| error.to_string())?;
    if span == Span::default() {
        return Err("no machine is never late, expected some time such as `10ms`".to_owned());
    }
    Ok(span)
}

pub(super) fn check(check: &Check) -> Result<ExitCode, Failure> {
    if let Some(file) = &check.file {
        check_file(file)?;
    }
    if check.timing {
        return timing::run(check.within);
    }
    Ok(ExitCode::SUCCESS)
}

fn check_file(file: &Path) -> Result<(), Failure> {
    let config = Config::load(file).map_err(|errors| Failure::Unusable(anyhow!("{errors}")))?;
    let plan = Plan::compile(&config).map_err(|error| Failure::Unusable(error.into()))?;
    let mut text = format!("{} is right\n", file.display());
    for route in &plan.routes {
        text.extend(["  ", &route.summary(), "\n"]);
    }
    print(&text)
}

pub(super) fn schema() -> Result<ExitCode, Failure> {
    let text = serde_json::to_string_pretty(&config_schema())
        .map_err(|error| Failure::FellShort(error.into()))?;
    print(&format!("{text}\n"))?;
    Ok(ExitCode::SUCCESS)
}
