//! Probes in TLS libraries: which files have them, and that they stand there before a byte of
//! plaintext goes through.
//!
//! The libraries of this host are taken at the start; an executable that is new is taken while
//! its exec is held ([`crate::exec_hold`]); what a process has mapped from elsewhere (another
//! place, a container's files) is taken when it connects, which may be too late for its first
//! bytes, and is said.

mod host;
mod scan;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicU64, Ordering};

use data_encoding::HEXLOWER;
use ring::digest;

use crate::kernel::{Kernel, chain};
use crate::model::{LibraryCoverage, Raw, Since, Stamp};
use crate::tls::{self, Source};

pub use host::{filesystems, libraries};
pub use scan::{Asker, Scanner};

/// Files that are remembered.
const FILES: usize = 16_384;
/// Probes of one run.
const PROBES: usize = 4096;
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

/// The files that were looked at.
#[derive(Default)]
pub struct Probes {
    files: HashMap<FileId, ()>,
    probes: usize,
}

impl Probes {
    /// Looks into a file that was not looked into yet, and puts probes where its TLS library has
    /// its functions. One report for each library, without the file's hash.
    pub fn take(
        &mut self,
        kernel: &mut Kernel,
        file: &File,
        path: &Raw,
        since: Since,
        at: Stamp,
    ) -> Vec<LibraryCoverage> {
        let Ok(meta) = file.metadata() else { return vec![] };
        if !meta.is_file() {
            return vec![];
        }
        let changed = (meta.mtime(), meta.mtime_nsec());
        let id = FileId { dev: meta.dev(), ino: meta.ino(), size: meta.size(), changed };
        if self.files.len() >= FILES {
            // It is looked into again where it comes again; a probe that stands is not doubled:
            // the kernel keeps both, and plaintext is told once, by the first that takes its call.
            return vec![];
        }
        if self.files.insert(id, ()).is_some() {
            return vec![];
        }
        let Ok(looked) = tls::look(&Bounded::new(file)) else { return vec![] };
        let mut reports = vec![];
        for found in looked.found {
            let mut report = LibraryCoverage {
                at,
                path: path.clone(),
                build_id: looked.build_id.clone(),
                sha256: None,
                library: found.library.word(),
                since,
                held: found.held,
                probes: 0,
                blind: found.blind.iter().map(|(name, why)| format!("{name}: {why}")).collect(),
            };
            for site in &found.sites {
                if self.probes >= PROBES {
                    report.blind.push(format!("a run has at most {PROBES} probes"));
                    break;
                }
                match kernel.attach_site(file, site) {
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
        reports
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
