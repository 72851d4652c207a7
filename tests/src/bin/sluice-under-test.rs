//! The program, built with the tests that run it as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    sluice_runtime_tokio::cli::main()
}
