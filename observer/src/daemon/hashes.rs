//! Rules on hashes over a run's time: each exec is held until its file is hashed.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use observer_common::{FILES_MAX, FileKey};
use rustix::process::{Resource, getrlimit};

use crate::exec_hold::{Answer, Ask, ExecHold, Health};
use crate::hashes::{self, Hashes, Table};
use crate::kernel::Kernel;
use crate::policy::{Policy, Unhashed};
use crate::probes;

/// What holds execs for a policy, and the filesystems where it can't.
pub(super) type Held = (Option<ExecHold>, Vec<(PathBuf, io::Error)>);

/// How holding and hashing go.
#[derive(Clone, Default)]
pub(super) struct Healths {
    pub(super) hold: Health,
    pub(super) hashes: Health,
}

/// Holds each exec of the run from now on, where a policy has rules on hashes.
pub(super) fn hold(
    policy: Option<&Policy>,
    kernel: &Arc<Mutex<Kernel>>,
    healths: &Healths,
) -> Result<Held> {
    if policy.is_none_or(|policy| policy.tables().unhashed == Unhashed::Unasked) {
        return Ok((None, vec![]));
    }
    let table = Map(Arc::clone(kernel));
    let asked = Asked {
        kernel: Arc::clone(kernel),
        hashes: Hashes::new(table, room()),
        health: healths.hashes.clone(),
    };
    let started = ExecHold::start(&probes::filesystems(), &[], healths.hold.clone(), asked);
    let (hold, refused) = started.context(
        "the policy has rules by `sha256`, and no exec can be held here to hash its file",
    )?;
    Ok((Some(hold), refused))
}

/// Why programs on a filesystem have no hash.
pub(super) fn without(place: &Path, error: &io::Error) -> String {
    format!(
        "executables on the filesystem at {} can't be held and have no hash: rules by `sha256` that \
         deny stop them as unhashed-program, those that allow don't: {error}",
        place.display()
    )
}

/// How many files may be held: each is a descriptor.
fn room() -> usize {
    let most = usize::try_from(FILES_MAX).unwrap_or(usize::MAX);
    let open = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / 4;
    usize::try_from(open).unwrap_or(most).min(most)
}

struct Asked {
    kernel: Arc<Mutex<Kernel>>,
    hashes: Hashes<Map>,
    health: Health,
}

impl Ask for Asked {
    fn begin(&mut self) -> Option<OwnedFd> {
        hashes::signals()
    }

    fn ask(&mut self, file: &File, pid: u32) -> Answer {
        if self.kernel.lock().is_ok_and(|kernel| kernel.is_labelled(pid)) {
            // One that can't be hashed is judged as such in the kernel.
            match self.hashes.know(file) {
                Err(error) if hashes::is_want(&error) => self.health.failed(&error),
                _ => self.health.works(),
            }
        }
        Answer::Allow
    }

    fn woken(&mut self, watched: &OwnedFd) {
        hashes::signalled(watched);
        self.hashes.let_go();
    }
}

/// The kernel's table.
struct Map(Arc<Mutex<Kernel>>);

impl Table for Map {
    fn put(&mut self, file: &FileKey, sha256: [u8; 32]) -> bool {
        self.0.lock().is_ok_and(|mut kernel| kernel.hashed(file, sha256).is_ok())
    }

    fn remove(&mut self, file: &FileKey) {
        if let Ok(mut kernel) = self.0.lock() {
            kernel.unhashed(file);
        }
    }
}
