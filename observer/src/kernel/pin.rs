//! Pins: what keeps the deny rules in force when observer is killed, and who clears them away.
//!
//! A run's links are pinned in `<bpffs>/observer/v<ABI>/<run>_<cgroup id>/`. They go when the run ends; after
//! a `kill -9` they stay, and the next start removes those whose cgroup is empty or gone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use observer_common::ABI;

use crate::model::RunId;

/// Where the bpf filesystem is mounted by convention.
const BPFFS: &str = "/sys/fs/bpf";

/// A run whose links are pinned.
#[derive(Clone, Debug)]
pub struct Guard {
    /// The run.
    pub run: RunId,
    /// Its cgroup's id: part of the place's name, since a bpf filesystem
    /// holds no notes (and no name with a dot).
    pub cgroup_id: u64,
    /// Where its pins stand.
    pub path: PathBuf,
}

impl Guard {
    /// The place of a run's pins, made and empty.
    pub(super) fn create(run: RunId, cgroup_id: u64) -> io::Result<Self> {
        mount()?;
        let path = root().join(format!("{run}_{cgroup_id}"));
        fs::create_dir_all(&path)?;
        Ok(Self { run, cgroup_id, path })
    }

    /// Removes the pins, and with them the links that nothing else holds.
    pub fn remove(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            fs::remove_file(entry?.path())?;
        }
        fs::remove_dir(&self.path)
    }
}

fn root() -> PathBuf {
    Path::new(BPFFS).join("observer").join(format!("v{ABI}"))
}

/// Mounts the bpf filesystem where it is missing.
fn mount() -> io::Result<()> {
    const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
    let found = rustix::fs::statfs(BPFFS)?;
    if found.f_type as u64 != BPF_FS_MAGIC {
        let flags = rustix::mount::MountFlags::NOSUID
            | rustix::mount::MountFlags::NODEV
            | rustix::mount::MountFlags::NOEXEC;
        rustix::mount::mount("bpf", BPFFS, "bpf", flags, Some(c"mode=0700"))?;
    }
    Ok(())
}

/// The runs whose links are pinned now.
pub fn guards() -> Vec<Guard> {
    let Ok(entries) = fs::read_dir(root()) else { return vec![] };
    entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let (run, cgroup_id) = path.file_name()?.to_str()?.split_once('_')?;
            let (run, cgroup_id) = (run.parse().ok()?, cgroup_id.parse().ok()?);
            Some(Guard { run, cgroup_id, path })
        })
        .collect()
}

/// Removes the pins of runs for which `over` holds; returns those that it removed and those whose
/// removal failed.
pub fn remove_stale(over: impl Fn(&Guard) -> bool) -> (Vec<Guard>, Vec<(Guard, io::Error)>) {
    let mut removed = vec![];
    let mut failed = vec![];
    for guard in guards().into_iter().filter(|guard| over(guard)) {
        match guard.remove() {
            Ok(()) => removed.push(guard),
            Err(error) => failed.push((guard, error)),
        }
    }
    (removed, failed)
}
