//! Cgroups of the cases' own, and what observer may leave behind in the system.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::{PATIENCE, until};

/// Where observer pins what outlives it.
const PINS: &str = "/sys/fs/bpf/observer";

/// A cgroup below the root, removed when this is dropped.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// A new one.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn new(name: &str) -> Result<Self> {
        let name = format!("observer-e2e-{}-{name}", std::process::id());
        let path = crate::cgroup_mount()?.join(name);
        fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path })
    }

    /// Its path, as text.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub fn path(&self) -> Result<&str> {
        self.path.to_str().context("the cgroup's path is not UTF-8")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Busy, if something still runs there: then the next line of the report says so.
        if let Err(error) = until("an empty cgroup", PATIENCE, || Ok(empty(&self.path)))
            .and_then(|()| Ok(fs::remove_dir(&self.path)?))
        {
            eprintln!("{}: {error:#}", self.path.display());
        }
    }
}

fn empty(cgroup: &Path) -> Option<()> {
    let procs = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    procs.is_empty().then_some(())
}

/// What observer left behind: run cgroups and pins.
///
/// # Errors
/// When there is no cgroup v2 mount.
pub fn leftovers() -> Result<Vec<PathBuf>> {
    let mut found = children(&crate::cgroup_mount()?.join("observer"));
    found.extend(pins());
    Ok(found)
}

/// Removes what a killed run of the cases left behind, for the next one to begin on clean ground;
/// tells what that was.
///
/// # Errors
/// When observer is in use: a run's cgroup has processes, or a process is an `observer`.
pub fn clear_abandoned() -> Result<Vec<String>> {
    let found: Vec<String> = leftovers()?.iter().map(|place| state_of(place)).collect();
    if found.is_empty() {
        return Ok(found);
    }
    if let Some(run) = found.iter().find(|state| state.contains("populated 1")) {
        bail!("observer is in use here: {run}");
    }
    let observer = children(Path::new("/proc")).into_iter().find(|process| {
        fs::read_to_string(process.join("comm")).is_ok_and(|comm| comm.trim_end() == "observer")
    });
    if let Some(process) = observer {
        bail!("observer is in use here: {} is one, with {}", process.display(), found.join("; "));
    }
    clear_leftovers();
    Ok(found)
}

/// A place that was left behind, and what says why: of a cgroup its events and processes.
pub fn state_of(place: &Path) -> String {
    let of = |file: &str| fs::read_to_string(place.join(file)).unwrap_or_default();
    let (events, procs) = (of("cgroup.events"), of("cgroup.procs"));
    format!("{} {:?} {:?}", place.display(), events.trim(), procs.trim())
}

/// The runs that have pins: `<bpffs>/observer/v<ABI>/<run>`.
pub fn pins() -> Vec<PathBuf> {
    children(Path::new(PINS)).iter().flat_map(|version| children(version)).collect()
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let entries = entries.filter_map(|e| Some(e.ok()?.path()));
    entries.filter(|path| path.is_dir()).collect()
}

/// Removes what is left behind, as far as that goes: the innermost first.
pub fn clear_leftovers() {
    for place in leftovers().unwrap_or_default() {
        clear(&place);
    }
}

fn clear(dir: &Path) {
    children(dir).iter().for_each(|child| clear(child));
    if dir.starts_with(PINS) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        entries.flatten().for_each(|pin| drop(fs::remove_file(pin.path())));
    } else {
        // Ends whatever still runs there (Linux 5.14), and waits for it.
        drop(fs::write(dir.join("cgroup.kill"), "1"));
        drop(until("an empty cgroup", PATIENCE, || Ok(empty(dir))));
    }
    drop(fs::remove_dir(dir));
}
