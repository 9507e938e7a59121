//! `cargo xtask <command>`: set up, build, demonstrate and test observer.
//!
//! Exit codes: 0 fine, 1 the answer is no (a test failed, something isn't set up), 2 usage or
//! environment.

mod bench;
mod demo;
mod fuzz;
mod run;
mod setup;
mod test;
mod vm;

use std::process::ExitCode;

use anyhow::Result;

const USAGE: &str = "\
usage: cargo xtask <command>

  setup [--check] [build|test|kernels]…   install what building and testing need; --check only looks
  build-ebpf                              build the eBPF object alone and say where it is
  test [--fast] [--vm-only] [--kernel 6.1|6.12] [FILTER…]
                                          everything that CI runs; --fast leaves out the VMs,
                                          FILTER goes to the end-to-end tests
  evasions [--vm-only] [--kernel 6.1|6.12]
                                          each row of docs/EVASIONS.md, here and in the VMs:
                                          a quarter of an hour a kernel
  bench kernel [--rounds N] [--scale N] [--json] [--peers] [--peer 'COMMAND, SIGNAL']… [WORKLOAD]…
                                          what observation costs on this kernel, as ratios
  bench policy                            what 100,000 rules cost over 10, and how long they take to be in force
  bench latency [--rounds N] [--json]     how long a record takes from the kernel to the disk, and what idling costs
  bench pipeline                          what a record costs in user space, stage by stage
  bench verify                            how many records a second are verified
  bench masking [DIR…]                    what masking misses, takes without need, and costs
  fuzz [TARGET] [--seconds N]             fuzz what reads bytes it did not write: a minute each,
                                          or one target, as long as said
  demo                                    record an agent, show its ledger, and break it
  vm 6.1|6.12 [--file PATH]… [-- CMD…]   run one command on a kernel in a virtual machine
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<ExitCode> {
    let Some((command, rest)) = arguments.split_first() else {
        eprint!("{USAGE}");
        return Ok(ExitCode::from(2));
    };
    match command.as_str() {
        "setup" => setup::command(rest),
        "build-ebpf" => build_ebpf(),
        "test" => test::command(rest),
        "evasions" => test::evasions(rest),
        "bench" => bench::command(rest),
        "fuzz" => fuzz::command(rest),
        "demo" => demo::command(),
        "vm" => vm::command(rest),
        "help" | "-h" | "--help" => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        other => {
            eprint!("xtask: no command {other:?}\n{USAGE}");
            Ok(ExitCode::from(2))
        }
    }
}

fn build_ebpf() -> Result<ExitCode> {
    let object = xtask::ebpf::build(&xtask::place::target())?;
    println!("{}", object.display());
    Ok(ExitCode::SUCCESS)
}
