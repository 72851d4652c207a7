//! The program; all it does is in [`sluice_runtime_tokio::cli`].

use std::process::ExitCode;

/// Many small pieces live as long as a request: the system's allocator took a larger share of its time
/// for them.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    sluice_runtime_tokio::cli::main()
}
