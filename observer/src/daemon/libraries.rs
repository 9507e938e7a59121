//! TLS libraries over a run's time: those of the host while their first open is held, those of
//! executables while their exec is, those of processes that connect.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::clock;
use crate::exec_hold::{Answer, ExecHold, Health};
use crate::kernel::Kernel;
use crate::model::{LibraryCoverage, Raw, Since};
use crate::pipeline::Finds;
use crate::probes::{self, Asker, Missed, Probes, Scanner};

/// What watches for libraries while a run lasts.
pub(super) struct Libraries {
    /// Dropped first: nobody waits for what ends.
    hold: Option<ExecHold>,
    scanner: Scanner,
}

/// Why executables are not looked into before they run, where that is so: the place, the reason.
pub(super) struct Unheld(pub(super) Vec<(PathBuf, String)>);

/// Takes the libraries of this host, where nobody can be held who loads one. A run that loads none
/// pays nothing for probes otherwise, and each probe takes a tenth of a second to take away again.
fn of_host(kernel: &Mutex<Kernel>, probes: &mut Probes) -> Vec<(File, Vec<LibraryCoverage>)> {
    let mut all = vec![];
    for path in probes::libraries() {
        let Ok(file) = File::open(&path) else { continue };
        let name = Raw::from(path.as_os_str().as_bytes());
        let found = probes.take(kernel, &file, &name, Since::Start, clock::now());
        all.push((file, found));
    }
    all
}

/// Watches from now on. Gives where its finds come out, and what it can't hold.
pub(super) fn watch(
    kernel: &Arc<Mutex<Kernel>>,
    health: Health,
) -> io::Result<(Libraries, Finds, Unheld)> {
    let missed = Missed::default();
    let probes = Arc::new(Mutex::new(Probes::default()));
    let (scanner, reports) =
        Scanner::start(Arc::clone(kernel), Arc::clone(&probes), missed.clone())?;
    let found = Finds { reports, missed };
    let libraries = probes::libraries();
    let (asker, theirs, ours) = (scanner.asker(), Arc::clone(kernel), Arc::clone(&probes));
    let places = probes::filesystems();
    let known = libraries.clone();
    let asked = move |file: &File, pid: u32| {
        if !theirs.lock().is_ok_and(|kernel| kernel.is_labelled(pid)) {
            // Most of what the host executes is asked about once, and waits for none of the run's.
            let is_done = ours.try_lock().is_ok_and(|mut probes| probes.is_done(file));
            return if is_done { Answer::AllowFile } else { Answer::Allow };
        }
        let Ok(mut probes) = ours.lock() else { return Answer::Allow };
        let name = name_of(file);
        let since = if known.contains(&name) { Since::Open } else { Since::Exec };
        let name = Raw::from(name.as_os_str().as_bytes());
        let found = probes.take(&theirs, file, &name, since, clock::now());
        drop(probes);
        if !found.is_empty()
            && let Ok(file) = file.try_clone()
        {
            asker.tell(file, found);
        }
        Answer::AllowFile
    };
    let started = ExecHold::start(&places, &libraries, health, asked);
    let (hold, unheld) = match started {
        Ok((hold, refused)) => {
            let why = |(place, error): (PathBuf, io::Error)| (place, error.to_string());
            (Some(hold), refused.into_iter().map(why).collect())
        }
        Err(error) => {
            if let Ok(mut probes) = probes.lock() {
                for (file, found) in of_host(kernel, &mut probes) {
                    scanner.asker().tell(file, found);
                }
            }
            (None, vec![(PathBuf::from("/"), error.to_string())])
        }
    };
    Ok((Libraries { hold, scanner }, found, Unheld(unheld)))
}

/// A file's name, as the kernel has it now.
fn name_of(file: &File) -> PathBuf {
    use std::os::fd::AsRawFd;
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    std::fs::read_link(link).unwrap_or_default()
}

impl Libraries {
    /// A way to have a process looked at.
    pub(super) fn asker(&self) -> Asker {
        self.scanner.asker()
    }

    /// Lets go of what is held, and gives out what was found.
    pub(super) fn end(mut self) {
        self.hold = None;
    }
}
