//! Where things stand: the workspace, its target directory, and the cache that clones share.

use std::env;
use std::path::{Path, PathBuf};

/// The workspace's root: the directory above this crate.
pub fn workspace() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

/// The workspace's own target directory, whatever an outer cargo was told to use.
pub fn target() -> PathBuf {
    workspace().join("target")
}

/// Downloads and tools that every clone can use again: `$XDG_CACHE_HOME/observer-xtask`, else
/// `~/.cache/observer-xtask`, else below the target directory.
pub fn cache() -> PathBuf {
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    match base {
        Some(base) => base.join("observer-xtask"),
        None => target().join("cache"),
    }
}

/// A program of this name in `PATH`.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(name)).find(|file| is_executable(file))
}

/// An absolute path from the environment.
pub(crate) fn absolute(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// A regular file that someone may execute, links followed.
pub(crate) fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_holds_the_kernel_side() {
        assert!(workspace().join("xtask/Cargo.toml").is_file());
        assert!(target().starts_with(workspace()));
    }

    #[test]
    fn a_program_is_found_and_a_directory_is_not_one() {
        assert!(program("sh").is_some());
        assert!(program("no-such-program-here").is_none());
        assert!(!is_executable(Path::new("/usr")));
    }
}
