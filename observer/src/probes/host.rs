//! What this host has: the libraries that its programs load, and the filesystems that they are
//! executed from.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where libraries are, without a word of ld.so.conf.
const DIRECTORIES: [&str; 8] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/local/lib64",
];
/// What their names begin with.
const NAMES: [&str; 2] = ["libssl.so", "libgnutls.so"];
/// Files of configuration, and levels of inclusion.
const CONFIGURATIONS: usize = 256;

/// The TLS libraries of this host, each once.
pub fn libraries() -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = DIRECTORIES.iter().map(PathBuf::from).collect();
    let mut left = CONFIGURATIONS;
    configured(Path::new("/etc/ld.so.conf"), &mut directories, &mut left);
    let mut found = BTreeSet::new();
    for directory in directories {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let is_one = NAMES.iter().any(|start| name.to_string_lossy().starts_with(start));
            if is_one && let Ok(path) = entry.path().canonicalize() {
                found.insert(path);
            }
        }
    }
    found.into_iter().collect()
}

/// The directories of an ld.so.conf(5), with what it includes.
fn configured(file: &Path, directories: &mut Vec<PathBuf>, left: &mut usize) {
    if *left == 0 {
        return;
    }
    *left -= 1;
    for line in fs::read_to_string(file).unwrap_or_default().lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(pattern) = line.strip_prefix("include ") {
            // As distributions write it: all files of a directory with one ending.
            let pattern = Path::new(pattern.trim());
            let (Some(directory), Some(name)) = (pattern.parent(), pattern.file_name()) else {
                continue;
            };
            let name = name.to_string_lossy().into_owned();
            let ending = name.strip_prefix('*').unwrap_or(&name).to_owned();
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().ends_with(&ending) {
                    configured(&entry.path(), directories, left);
                }
            }
        } else if line.starts_with('/') {
            directories.push(PathBuf::from(line));
        }
    }
}

/// Filesystems that hold no programs.
const NOT_THESE: [&str; 16] = [
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "bpf",
    "tracefs",
    "debugfs",
    "securityfs",
    "devpts",
    "mqueue",
    "hugetlbfs",
    "pstore",
    "configfs",
    "efivarfs",
    "autofs",
    "binfmt_misc",
];

/// Where programs are executed from: a mount of each filesystem that has any.
pub fn filesystems() -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    let mut found = vec![];
    for line in fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines() {
        // proc_pid_mountinfo(5): …, device, root, place, options, …, " - ", type, …
        let Some((place, kind)) = line.split_once(" - ") else { continue };
        let mut fields = place.split(' ').skip(2);
        let (device, _root) = (fields.next(), fields.next());
        let (Some(device), Some(place), Some(options)) = (device, fields.next(), fields.next())
        else {
            continue;
        };
        let kind = kind.split(' ').next().unwrap_or_default();
        let noexec = options.split(',').any(|option| option == "noexec");
        if noexec || NOT_THESE.contains(&kind) || !seen.insert(device.to_owned()) {
            continue;
        }
        found.push(PathBuf::from(unescaped(place)));
    }
    found
}

/// `\040` and the like, as mountinfo writes what would part a line.
fn unescaped(text: &str) -> String {
    let mut out = text.to_owned();
    for (code, plain) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        out = out.replace(code, plain);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_filesystem_is_among_them() {
        assert!(filesystems().iter().any(|place| place == Path::new("/")), "{:?}", filesystems());
    }

    #[test]
    fn each_library_stands_there_once() {
        let libraries = libraries();
        let distinct: BTreeSet<_> = libraries.iter().collect();
        assert_eq!(distinct.len(), libraries.len());
        assert!(libraries.iter().all(|path| path.is_file()), "{libraries:?}");
    }
}
