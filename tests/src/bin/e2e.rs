//! Runs the cases.
fn main() {}
