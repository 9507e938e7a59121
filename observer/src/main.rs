//! The command line: `observer <command>`.

fn main() {}
