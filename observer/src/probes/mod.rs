//! Probes in TLS libraries: which files have them, and that they stand there before a byte of
//! plaintext goes through.
//!
//! The libraries of this host are taken at the start; an executable that is new is taken while
//! its exec is held ([`crate::exec_hold`]); what a process has mapped from elsewhere (another
//! place, a container's files) is taken when it connects, which may be too late for its first
//! bytes, and is said.

mod host;
mod scan;

use std::collections::{HashMap, HashSet};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use data_encoding::HEXLOWER;
use observer_common::tls_site;
use ring::digest;
use rustix::process::{Resource, getrlimit};

use crate::kernel::{Kernel, chain};
use crate::model::{Guess, LibraryCoverage, Raw, Since, Stamp, Told};
use crate::tls::{self, FindError, Library, Looked, Site, Source};

pub use host::{filesystems, libraries};
pub use scan::{Asker, Scanner};

/// Files that are remembered; beyond that, those without a probe are forgotten, and looked into again
/// where they come again.
const FILES: usize = 16_384;
/// Probes of one run.
const PROBES: usize = 4096;
/// Descriptors that are kept for all else.
const OTHERS: u64 = 384;
/// Files of others are looked into up to this size, and so many bytes of them in all: they wait
/// meanwhile, as the run's do behind them.
const SMALL: u64 = 8 << 20;
const FOR_OTHERS: u64 = 256 << 20;
/// Bytes read of one file while it is looked into.
const BUDGET: u64 = 256 << 20;

/// A file, as long as nobody writes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FileId {
    dev: u64,
    ino: u64,
    size: u64,
    changed: (i64, i64),
}

impl FileId {
    /// Of a file with content.
    fn of(file: &File) -> Option<Self> {
        let meta = file.metadata().ok().filter(Metadata::is_file)?;
        // Not when it was written to: its owner sets that as they like.
        let changed = (meta.ctime(), meta.ctime_nsec());
        Some(Self { dev: meta.dev(), ino: meta.ino(), size: meta.size(), changed })
    }
}

/// How many files and processes were not looked into, or not told of.
#[derive(Clone, Default)]
pub struct Missed(Arc<AtomicU64>);

impl Missed {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Those since the last time.
    pub fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// The files that were looked at.
pub struct Probes {
    /// Each with whether probes stand in it: a second look would double those.
    files: HashMap<FileId, bool>,
    /// Those of others that have something to probe, or are too large to be looked into for them.
    left: HashSet<FileId>,
    /// Bytes of others' files that may still be looked into.
    for_others: u64,
    probes: usize,
    /// Files whose functions were told by more than their names.
    guesses: u8,
    /// How many there can be.
    most: usize,
}

impl Default for Probes {
    /// None yet.
    fn default() -> Self {
        // A probe holds two descriptors. Where they run out, the kernel can't hand over the files
        // that wait for an answer, and refuses their execs.
        let open = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let room = usize::try_from(open.saturating_sub(OTHERS) / 2).unwrap_or(PROBES);
        Self {
            files: HashMap::new(),
            left: HashSet::new(),
            for_others: FOR_OTHERS,
            probes: 0,
            guesses: 0,
            most: room.min(PROBES),
        }
    }
}

impl Probes {
    /// Looks into a file that was not looked into yet, and puts probes where its TLS library has
    /// its functions. One report for each library, without the file's hash, and one for a file that
    /// can't be looked into.
    pub fn take(
        &mut self,
        kernel: &Mutex<Kernel>,
        file: &File,
        path: &Raw,
        since: Since,
        at: Stamp,
    ) -> Vec<LibraryCoverage> {
        let Some(id) = FileId::of(file) else { return vec![] };
        self.make_room();
        if self.files.contains_key(&id) {
            return vec![];
        }
        self.files.insert(id, false);
        // Nobody waits for the programs while a file is read.
        let looked = match tls::look(&Bounded::new(file)) {
            Ok(looked) => looked,
            Err(FindError::Elf) => return vec![],
            Err(why @ FindError::Read) => Looked { unread: Some(why), ..Looked::default() },
        };
        let mut reports = vec![];
        if let Some(why) = looked.unread {
            reports.push(LibraryCoverage {
                at,
                path: path.clone(),
                build_id: looked.build_id.clone(),
                sha256: None,
                library: "unknown",
                since,
                held: vec![],
                probes: 0,
                told: Told::Name,
                blind: vec![why.to_string()],
            });
        }
        for found in looked.found {
            let told = self.told(&found);
            let mut report = LibraryCoverage {
                at,
                path: path.clone(),
                build_id: looked.build_id.clone(),
                sha256: None,
                library: found.library.word(),
                since,
                held: found.held,
                probes: 0,
                told,
                blind: found.blind.iter().map(|(name, why)| format!("{name}: {why}")).collect(),
            };
            for &site in &found.sites {
                let site = match told {
                    Told::Name => site,
                    Told::Guess { file: 0, .. } => {
                        report.blind.push(format!("a run has at most {} such files", u8::MAX));
                        break;
                    }
                    Told::Guess { file, .. } => {
                        let cookie = site.cookie | u64::from(file) << tls_site::FILE;
                        Site { cookie, ..site }
                    }
                };
                if self.probes >= self.most {
                    report.blind.push(format!("a run has at most {} probes", self.most));
                    break;
                }
                let Ok(mut kernel) = kernel.lock() else {
                    report.blind.push("the recorder is broken".to_owned());
                    break;
                };
                match kernel.attach_site(file, &site) {
                    Ok(()) => {
                        self.probes += 1;
                        report.probes += 1;
                    }
                    Err(error) => {
                        report.blind.push(chain(&error));
                        break;
                    }
                }
            }
            reports.push(report);
        }
        if reports.iter().any(|report| report.probes > 0) {
            self.files.insert(id, true);
        }
        reports
    }

    /// Whether a file that somebody outside of the run executes need not be held again: it has
    /// nothing to probe, or its probes stand. Nothing is probed for them.
    pub fn is_done(&mut self, file: &File) -> bool {
        let Some(id) = FileId::of(file) else { return false };
        if self.files.contains_key(&id) {
            return true;
        }
        if self.left.contains(&id) {
            return false;
        }
        let has_none = || match tls::look(&Bounded::new(file)) {
            Ok(looked) => looked.found.is_empty() && looked.unread.is_none(),
            Err(why) => matches!(why, FindError::Elf),
        };
        if id.size <= SMALL.min(self.for_others) {
            self.for_others -= id.size;
            if has_none() {
                self.make_room();
                self.files.insert(id, false);
                return true;
            }
        }
        if self.left.len() >= FILES {
            self.left.clear();
        }
        self.left.insert(id);
        false
    }

    fn make_room(&mut self) {
        if self.files.len() >= FILES {
            // Those that stay are no more than the probes of a run.
            self.files.retain(|_, probed| *probed);
        }
    }

    fn told(&mut self, found: &tls::Found) -> Told {
        let by = match found.library {
            Library::BoringSsl => Guess::Pattern,
            Library::Rustls => Guess::Layout,
            Library::OpenSsl | Library::GnuTls | Library::Go => return Told::Name,
        };
        let mut file = 0;
        if !found.sites.is_empty()
            && let Some(next) = self.guesses.checked_add(1)
        {
            (self.guesses, file) = (next, next);
        }
        Told::Guess { by, file, confirmed: false }
    }
}

/// SHA-256 of a file, hex.
///
/// # Errors
/// When it can't be read.
pub fn hash(mut file: &File) -> io::Result<String> {
    use std::io::Seek;
    file.rewind()?;
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(HEXLOWER.encode(hash.finish().as_ref())),
            Ok(n) => hash.update(buffer.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// A file that is read in pieces, and not without end. It is never mapped: whoever cuts a mapped
/// file short ends its reader.
struct Bounded<'a> {
    file: &'a File,
    left: AtomicU64,
}

impl<'a> Bounded<'a> {
    fn new(file: &'a File) -> Self {
        Self { file, left: AtomicU64::new(BUDGET) }
    }
}

impl Source for Bounded<'_> {
    fn read(&self, at: u64, len: usize) -> Option<Vec<u8>> {
        let left = self.left.load(Ordering::Relaxed).checked_sub(len as u64)?;
        self.left.store(left, Ordering::Relaxed);
        let size = self.file.metadata().ok()?.len();
        if at.checked_add(len as u64)? > size {
            return None;
        }
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, at).ok()?;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_others_execute_is_done_with_once_it_has_nothing_to_probe() {
        let mut probes = Probes::default();
        let script = tempfile::tempfile().unwrap();
        (&script).write_all(b"#!/bin/sh\ntrue\n").unwrap();
        assert!(probes.is_done(&script));
        assert_eq!(probes.files.len(), 1);
        // One that is large is left to who executes it within the run.
        let large = tempfile::tempfile().unwrap();
        large.set_len(SMALL + 1).unwrap();
        assert!(!probes.is_done(&large) && !probes.is_done(&large));
        assert_eq!((probes.files.len(), probes.left.len()), (1, 1));
        assert!(probes.is_done(&script));
        // Written to, it is another.
        (&script).write_all(b"false\n").unwrap();
        assert!(probes.is_done(&script));
        assert_eq!(probes.files.len(), 2);
        assert!(!probes.is_done(&File::open("/").unwrap()), "no file");
        // Whoever executes ever new files holds nobody up for ever.
        probes.for_others = 0;
        let one_more = tempfile::tempfile().unwrap();
        (&one_more).write_all(b"#!").unwrap();
        assert!(!probes.is_done(&one_more));
    }
}
