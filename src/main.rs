//! The `rehearsal` binary: runs the command line, prints what went wrong, sets the exit code.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// A request makes and drops some hundred small pieces of memory: with glibc's allocator, forwarding one takes a tenth more CPU.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    rehearsal::cli::main()
}
