//! Measures what observation costs, as root, on the kernel that is there.

use std::process::ExitCode;

fn main() -> ExitCode {
    match observer_tests::bench::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(2)
        }
    }
}
