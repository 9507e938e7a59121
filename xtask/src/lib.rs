//! What builds observer's kernel side, for `observer/build.rs` and for `cargo xtask`.
//!
//! This half is a build-dependency of `observer`: it stays small and needs nothing but `anyhow`.
//! It looks and builds, and never installs: that is `cargo xtask setup`.

pub mod ebpf;
pub mod place;
pub mod toolchain;
