//! `cargo xtask <command>`: set up, build, demonstrate and test observer.

fn main() {}
