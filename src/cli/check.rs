//! `rehearsal check` and `rehearsal schema`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;

use super::{Failure, print};
use crate::config::{Config, schema as config_schema};
use crate::plan::Plan;

/// What is checked.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The config file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn check(check: &Check) -> Result<ExitCode, Failure> {
    let config =
        Config::load(&check.file).map_err(|errors| Failure::Unusable(anyhow!("{errors}")))?;
    let plan = Plan::compile(&config).map_err(|error| Failure::Unusable(error.into()))?;
    let mut text = format!("{} is right\n", check.file.display());
    for route in &plan.routes {
        text.extend(["  ", &route.summary(), "\n"]);
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn schema() -> Result<ExitCode, Failure> {
    let text = serde_json::to_string_pretty(&config_schema())
        .map_err(|error| Failure::FellShort(error.into()))?;
    print(&format!("{text}\n"))?;
    Ok(ExitCode::SUCCESS)
}
