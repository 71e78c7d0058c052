//! The `rehearsal` binary: runs the command line, prints what went wrong, sets the exit code.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// A request makes and drops some hundred small pieces of memory, which takes the system's allocator a tenth of its CPU more.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    rehearsal::cli::main()
}
