//! The `rehearsal` binary: runs the command line, prints what went wrong, sets the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    rehearsal::cli::main()
}
