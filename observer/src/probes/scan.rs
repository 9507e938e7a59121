//! What processes have mapped: looked at as they connect, and hashed when there is time.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Missed, Probes, hash};
use crate::clock;
use crate::kernel::Kernel;
use crate::model::{LibraryCoverage, Raw, Since};

/// Processes that wait to be looked at; one more is looked at when it connects again.
const QUEUE: usize = 1024;
/// Reports on their way.
const REPORTS: usize = 1024;
/// A process is looked at this often at most.
const AGAIN: Duration = Duration::from_millis(50);
/// Processes whose last look is remembered.
const PROCESSES: usize = 4096;
/// Mappings of one process.
const MAPPINGS: usize = 8192;

enum Work {
    /// A process connected.
    Look(u32),
    /// Reports on a file that was taken already.
    Hash(File, Vec<LibraryCoverage>),
    End,
}

/// Looks at processes, on a thread of its own.
pub struct Scanner {
    work: SyncSender<Work>,
    missed: Missed,
    thread: Option<JoinHandle<()>>,
}

impl Scanner {
    /// Starts it; its reports come out of the receiver.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(
        kernel: Arc<Mutex<Kernel>>,
        probes: Arc<Mutex<Probes>>,
        missed: Missed,
    ) -> std::io::Result<(Self, Receiver<LibraryCoverage>)> {
        let (work, queue) = sync_channel(QUEUE);
        let (reports, out) = sync_channel(REPORTS);
        let thread = thread::Builder::new().name("observer-scan".into()).spawn({
            let missed = missed.clone();
            move || run(&queue, &reports, &kernel, &probes, &missed)
        })?;
        Ok((Self { work, missed, thread: Some(thread) }, out))
    }

    /// A way to ask it.
    pub fn asker(&self) -> Asker {
        Asker(self.work.clone(), self.missed.clone())
    }
}

impl Drop for Scanner {
    fn drop(&mut self) {
        let _ = self.work.send(Work::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A way to ask a [`Scanner`].
#[derive(Clone)]
pub struct Asker(SyncSender<Work>, Missed);

impl Asker {
    /// A process connected: what it has mapped is looked at. Once the scanner has ended, so has the
    /// recording, and there is nothing left that a probe could read.
    pub fn look(&self, pid: u32) {
        if let Err(TrySendError::Full(_)) = self.0.try_send(Work::Look(pid)) {
            self.1.add();
        }
    }

    /// A file's reports, to be told with its hash. Where the queue is full it waits.
    pub fn tell(&self, file: File, reports: Vec<LibraryCoverage>) {
        if !reports.is_empty() {
            let _ = self.0.send(Work::Hash(file, reports));
        }
    }
}

fn run(
    queue: &Receiver<Work>,
    reports: &SyncSender<LibraryCoverage>,
    kernel: &Mutex<Kernel>,
    probes: &Mutex<Probes>,
    missed: &Missed,
) {
    let mut looked: HashMap<u32, Instant> = HashMap::new();
    let mut later: Vec<u32> = vec![];
    let mut hashes: Vec<(File, Vec<LibraryCoverage>)> = vec![];
    let mut ending = false;
    loop {
        let idle = later.is_empty() && hashes.is_empty();
        let wait = if idle { Duration::from_secs(3600) } else { Duration::from_millis(5) };
        match queue.recv_timeout(wait) {
            Ok(Work::Look(pid)) => {
                let again = looked.get(&pid).is_some_and(|when| when.elapsed() < AGAIN);
                if !again {
                    if looked.len() >= PROCESSES {
                        looked.clear();
                    }
                    looked.insert(pid, Instant::now());
                    hashes.extend(look(pid, kernel, probes, missed));
                } else if later.len() >= PROCESSES {
                    missed.add();
                } else if !later.contains(&pid) {
                    later.push(pid);
                }
                continue;
            }
            Ok(Work::Hash(file, found)) => {
                hashes.push((file, found));
                continue;
            }
            Ok(Work::End) | Err(RecvTimeoutError::Disconnected) => ending = true,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let due = |pid: &u32| looked.get(pid).is_none_or(|when| when.elapsed() >= AGAIN);
        let now: Vec<u32> = later.extract_if(.., |pid| due(pid) || ending).collect();
        for pid in now {
            looked.insert(pid, Instant::now());
            hashes.extend(look(pid, kernel, probes, missed));
        }
        // One at a time: a process that connects meanwhile does not wait for the others.
        while let Some((file, found)) = hashes.pop() {
            let sha256 = hash(&file).ok();
            for mut report in found {
                report.sha256.clone_from(&sha256);
                if reports.try_send(report).is_err() {
                    missed.add();
                }
            }
            if !ending {
                break;
            }
        }
        if ending {
            return;
        }
    }
}

/// Looks at the files whose code a process has mapped. Their names are its own to choose, so they
/// are opened by their mapping.
fn look(
    pid: u32,
    kernel: &Mutex<Kernel>,
    probes: &Mutex<Probes>,
    missed: &Missed,
) -> Vec<(File, Vec<LibraryCoverage>)> {
    let mut out = vec![];
    let maps = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
    for (n, line) in maps.split(|&b| b == b'\n').enumerate() {
        if n >= MAPPINGS {
            missed.add();
            break;
        }
        // proc_pid_maps(5): addresses, permissions, offset, device, inode, and the name.
        let mut fields = line.splitn(6, |&b| b == b' ');
        let (Some(range), Some(permissions)) = (fields.next(), fields.next()) else { continue };
        let name = fields.nth(3).unwrap_or_default().trim_ascii_start();
        if permissions.get(2) != Some(&b'x') || !name.starts_with(b"/") {
            continue;
        }
        let Some(range) = unpadded(range) else { continue };
        let place = PathBuf::from(format!("/proc/{pid}/map_files")).join(range);
        // To open a device may do something; a file is only opened.
        if !fs::metadata(&place).is_ok_and(|meta| meta.is_file()) {
            continue;
        }
        let Ok(file) = File::open(place) else { continue };
        let Ok(mut probes) = probes.lock() else { return out };
        let found = probes.take(kernel, &file, &Raw::from(name), Since::Connect, clock::now());
        if !found.is_empty() {
            out.push((file, found));
        }
    }
    out
}

/// A range of addresses as `map_files` names it: `maps` pads it to eight digits
/// (fs/proc/task_mmu.c, show_vma_header_prefix; fs/proc/base.c, proc_map_files_readdir).
fn unpadded(range: &[u8]) -> Option<String> {
    let (from, to) = std::str::from_utf8(range).ok()?.split_once('-')?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    Some(format!("{:x}-{:x}", address(from)?, address(to)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_told_after_the_end_is_no_loss_and_one_too_many_is() {
        let missed = Missed::default();
        let (work, queue) = sync_channel(1);
        let asker = Asker(work, missed.clone());
        asker.look(1);
        asker.look(2);
        assert_eq!(missed.take(), 1, "the queue was full");
        drop(queue);
        asker.look(3);
        assert_eq!(missed.take(), 0, "nobody is left to look");
    }

    #[test]
    fn a_program_that_is_mapped_low_is_named_as_map_files_does() {
        assert_eq!(unpadded(b"00400000-00512000").unwrap(), "400000-512000");
        assert_eq!(unpadded(b"7f12a0000000-7f12a0001000").unwrap(), "7f12a0000000-7f12a0001000");
        assert!(unpadded(b"vsyscall").is_none());
    }
}
