//! The command line: one file per family of commands. Data to stdout, messages to stderr.
//!
//! Exit codes: 0, 1 (it ran and something fell short), 2 (wrong use, or it could not start).

#![expect(clippy::print_stderr, reason = "a command line prints")]

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Parser, Subcommand};

use tracing_subscriber::EnvFilter;

use crate::config::Given;

mod ask;
mod cassette;
mod check;
mod fault;
mod fit;
mod run;
mod succession;
mod timing;
mod words;

/// Record, replay, fake and break HTTP and LLM streaming APIs, byte for byte and in time.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 100)]
#[command(after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve what a config file says; without one, replay ./cassettes/default and record misses from a built-in fake
    /// backend.
    Serve(run::Serve),
    /// Stand in front of an API, pass everything on, and record it.
    Record(run::Record),
    /// Answer from recordings alone; no upstream is ever contacted.
    Replay(run::Replay),
    /// Be a fake API of chat completions: answers made up, at the pace of a model.
    Fake(run::Fake),
    /// Check a config file, and show every mistake in it with its line.
    Check(check::Check),
    /// Print the JSON Schema of the config file, for editors and validators.
    Schema,
    /// Look into a cassette.
    #[command(subcommand)]
    Cassette(cassette::Cassette),
    /// See and switch the faults of a proxy that runs, over its admin listener.
    Fault(fault::Fault),
}

/// Flags that all serving commands share.
#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "the fields are the flags")]
struct Listen {
    /// Host and port to listen on; port 0 takes a free one. The first line on stdout says which. Default: as the config says,
    /// else 127.0.0.1:8080.
    #[arg(long, value_name = "ADDR", env = "REHEARSAL_LISTEN")]
    listen: Option<crate::config::Address>,
    /// Take the place of the process that listens there now: no request is lost, and it ends when its open exchanges have, or
    /// its grace time is over. An error where none does.
    #[arg(long)]
    take_over: bool,
    /// Host and port of the admin listener, on this machine only unless the config allows more; port 0 takes a free one.
    /// Default: as the config says, else none.
    #[arg(long, value_name = "ADDR", env = "REHEARSAL_ADMIN", value_parser = ask::parse_admin)]
    admin: Option<crate::config::Address>,
}

impl Listen {
    /// What stands in the place of what the config says.
    fn given(&self) -> Given {
        Given {
            http: self.listen.clone(),
            admin: self.admin.clone(),
            ..Given::default()
        }
    }
}

/// Why a command ended without success.
enum Failure {
    /// It ran, and something fell short. Exit code 1.
    FellShort(anyhow::Error),
    /// It was used wrongly, or could not start. Exit code 2.
    Unusable(anyhow::Error),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli: Cli = match words::parse() {
        Ok(cli) => cli,
        Err(error) => return words::explain(&error),
    };
    start_log();
    let result = match cli.command {
        Command::Serve(serve) => run::serve(&serve),
        Command::Record(record) => run::record(&record),
        Command::Replay(replay) => run::replay(&replay),
        Command::Fake(fake) => run::fake(&fake),
        Command::Check(check) => check::check(&check),
        Command::Schema => check::schema(),
        Command::Cassette(cassette) => cassette::run(&cassette),
        Command::Fault(fault) => fault::run(&fault),
    };
    match result {
        Ok(code) => code,
        Err(Failure::FellShort(error)) => {
            complain(&error);
            ExitCode::from(1)
        }
        Err(Failure::Unusable(error)) => {
            complain(&error);
            ExitCode::from(2)
        }
    }
}

fn complain(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}

/// Prints data. A reader that has seen enough and closes the pipe is no error.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::FellShort(error.into()))
        }
        _ => Ok(()),
    }
}

/// Our own lines only: what lies below us logs raw heads, which may hold secrets.
fn start_log() {
    let wanted = std::env::var(LOG).unwrap_or_default();
    let (filter, mistake) = match EnvFilter::try_new(&wanted) {
        Ok(filter) if !wanted.is_empty() => (filter, None),
        Ok(_) => (EnvFilter::new("info"), None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let has_color = std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(has_color)
        .with_target(false)
        .finish();
    // Another subscriber can only be there in a test.
    drop(tracing::subscriber::set_global_default(log));
    if let Some(error) = mistake {
        tracing::warn!("{LOG} is passed over: {error}; expected a level such as `warn`");
    }
}

/// That a cassette is a directory, if it is there.
fn no_file(cassette: &Path) -> anyhow::Result<()> {
    if cassette.exists() && !cassette.is_dir() {
        bail!(
            "the cassette {} is a file, expected a directory with recordings",
            cassette.display()
        );
    }
    Ok(())
}

/// How much is logged.
const LOG: &str = "REHEARSAL_LOG";

/// What holds for all commands.
const AFTER_HELP: &str = "\
Begin with `rehearsal serve`: it needs no config and no API, and prints what to try.

Times are written as 250us, 200ms, 1.5s, 2m or 1h. Data goes to stdout, messages and the log to stderr; REHEARSAL_LOG says \
how much of the log: error, warn, info (the default) or debug.

Exit codes: 0; 1, it ran and something fell short; 2, it was used wrongly or could not start; 130, a second signal ended it.";

/// A config file that is looked for where none is named.
const CONFIG_FILE: &str = "rehearsal.toml";

/// The config file to use: the one named, or `./rehearsal.toml` if it is there.
fn config_file(named: Option<&PathBuf>) -> Option<PathBuf> {
    named
        .cloned()
        .or_else(|| Some(PathBuf::from(CONFIG_FILE)).filter(|path| path.exists()))
}
