//! What the pipeline's finds change in the run's world.

use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::abort::{Aborts, Connection, Standing};
use crate::cgroup::{Cgroup, Mount};
use crate::kernel::Kernel;
use crate::model::Answered;
use crate::pipeline::Hooks;

/// What the pipeline's finds change here.
pub(super) struct Reactions {
    kernel: Arc<Mutex<Kernel>>,
    mount: Mount,
    /// The run's cgroup.
    cgroup: PathBuf,
    /// Whether the agent is stopped while the ledger can't be written.
    freeze: bool,
    followed: Vec<u64>,
    aborts: Aborts,
}

impl Reactions {
    /// `cgroup`: the run's. `freeze`: whether the agent is stopped while the ledger can't be written.
    pub(super) fn new(
        kernel: Arc<Mutex<Kernel>>,
        mount: Mount,
        cgroup: PathBuf,
        freeze: bool,
    ) -> Self {
        Self { kernel, mount, cgroup, freeze, followed: vec![], aborts: Aborts::default() }
    }
}

impl Hooks for Reactions {
    fn follow(&mut self, cgroup: u64) -> bool {
        if self.followed.contains(&cgroup) {
            return true;
        }
        let Ok(dir) = self.mount.open_id(cgroup) else { return false };
        let Ok(mut kernel) = self.kernel.lock() else { return false };
        match kernel.attach_sockets(dir.as_fd(), &format!("-{cgroup}")) {
            Ok(()) => {
                self.followed.push(cgroup);
                true
            }
            Err(error) => {
                eprintln!("observer: a process escaped, and its sockets can't be held: {error}");
                false
            }
        }
    }

    fn stopped(&mut self, connection: Connection) -> io::Result<()> {
        self.aborts.stop(&connection)
    }

    fn connected(&mut self) -> (Vec<Standing>, io::Result<()>) {
        let cgroup = match Cgroup::open(&self.mount, &self.cgroup) {
            Ok(cgroup) => cgroup,
            // It is gone, and who was in it.
            Err(_) if !self.cgroup.exists() => return (vec![], Ok(())),
            Err(error) => return (vec![], Err(io::Error::other(error))),
        };
        let mut own = HashSet::from_iter(cgroup.descendants());
        own.insert(cgroup.id());
        self.aborts.connected(&cgroup.tasks(), &own)
    }

    fn end(&mut self, connection: &Standing) -> io::Result<bool> {
        self.aborts.end(connection)
    }

    fn answered(&mut self, answered: &Answered) -> Result<(), String> {
        let mut kernel = self.kernel.lock().map_err(|error| error.to_string())?;
        kernel.bind(answered).map_err(|error| error.to_string())
    }

    fn over(&mut self) -> io::Result<()> {
        self.aborts.stop_rest()
    }

    fn ledger(&mut self, works: bool) {
        if self.freeze {
            let frozen = if works { "0" } else { "1" };
            let _ = std::fs::write(self.cgroup.join("cgroup.freeze"), frozen);
        }
    }
}
