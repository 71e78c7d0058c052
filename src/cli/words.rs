//! The words of the command line: read together with the variables that stand for flags, and told where they are wrong.

#![expect(clippy::print_stderr, reason = "a command line prints")]

use std::ffi::OsStr;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Parser};

use crate::origin::has_password;

/// Reads the command line of this process.
pub(super) fn parse<T: Parser>() -> Result<T, clap::Error> {
    let matches = without_empty_variables(T::command()).try_get_matches()?;
    T::from_arg_matches(&matches)
}

/// A variable that is set to nothing is none: so scripts and containers say that something is not wanted.
fn without_empty_variables(command: Command) -> Command {
    command
        .mut_args(|arg| {
            let value = arg.get_env().and_then(std::env::var_os);
            if value.is_some_and(|value| value.is_empty()) {
                arg.env(Resettable::Reset)
            } else {
                arg
            }
        })
        .mut_subcommands(without_empty_variables)
}

/// Says what is wrong, or what was asked for.
pub(super) fn explain(error: &clap::Error) -> ExitCode {
    if error.kind() != ErrorKind::ValueValidation {
        // Help and version go to stdout with exit code 0; clap knows.
        let code = u8::try_from(error.exit_code()).unwrap_or(2);
        return ExitCode::from(if error.print().is_ok() { code } else { 2 });
    }
    // Without the invitation to read the help: the value is what is wrong, and the message says so.
    let text = error.render().to_string();
    let mut line = text.lines().next().unwrap_or_default().to_owned();
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue) {
        if let Some(variable) = variable_of(value) {
            line = format!("{line} (in the variable {variable})");
        }
        if has_password(value) {
            line = line.replace(value, "…");
        }
    }
    eprintln!("{line}");
    ExitCode::from(2)
}

/// The variable that a value comes from, if no word of the command line holds it.
fn variable_of(value: &str) -> Option<String> {
    let is_word = |word: &OsStr| word.to_string_lossy().contains(value);
    if std::env::args_os().any(|word| is_word(&word)) {
        return None;
    }
    std::env::vars_os()
        .filter_map(|(name, content)| Some((name.into_string().ok()?, content)))
        .find(|(name, content)| name.starts_with("REHEARSAL_") && content == value)
        .map(|(name, _)| name)
}
