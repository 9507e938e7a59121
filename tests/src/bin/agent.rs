//! The acting sample: each subcommand does one thing that an agent may do.

use std::process::ExitCode;

fn main() -> ExitCode {
    observer_tests::agent::main()
}
