//! Programs of this host that are linked dynamically: what else a machine needs to run one.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::run::capture;

/// The dynamic linker and the libraries that it loads for a program, by the paths at which it looks
/// for them.
///
/// # Errors
/// If there is no ldd, or if it finds that one of them is missing.
pub(super) fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let listed = capture(Command::new("ldd").arg(program))
        .with_context(|| format!("what {} is linked with", program.display()))?;
    listed.lines().filter_map(|line| library(line.trim())).collect()
}

/// The path that one line of ldd names. The kernel's own (vdso) has none.
fn library(line: &str) -> Option<Result<PathBuf>> {
    let named = line.split_once(" => ").map_or(line, |(_, path)| path);
    let path = named.rsplit_once(" (").map_or(named, |(path, _)| path);
    if path.starts_with('/') {
        Some(Ok(path.into()))
    } else {
        line.contains("not found").then(|| Err(anyhow::anyhow!("ldd: {line}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_ldd_names_a_path_or_says_that_there_is_none() {
        let path = |line| library(line).map(|found| found.map_err(|error| error.to_string()));
        assert_eq!(path("linux-vdso.so.1 (0x00007f62)"), None);
        assert_eq!(path("statically linked"), None);
        assert_eq!(path("libc.so.6 => /lib/libc.so.6 (0x7f)"), Some(Ok("/lib/libc.so.6".into())));
        assert_eq!(path("/lib64/ld-linux.so.2 (0x7f)"), Some(Ok("/lib64/ld-linux.so.2".into())));
        let missing = "libx.so.1 => not found";
        assert_eq!(path(missing), Some(Err(format!("ldd: {missing}"))));
    }
}
