//! The argv of a failed exec that the kernel could not read, taken from the caller while it lives.
//!
//! The caller can change it by then, so what is told is what stood there when it was read; the
//! record keeps the mark that says so.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use observer_common::{FAIL_ARGS, FAIL_ARGV_MAX, FailEvent};

/// USER_HZ: the unit of times in /proc/PID/stat on every architecture that observer runs on.
const TICK_NS: u64 = 10_000_000;

/// The arguments, each with a NUL, at most [`FAIL_ARGV_MAX`] bytes; none where the process is
/// gone, or another one by now.
pub(crate) fn argv(event: &FailEvent) -> Option<Vec<u8>> {
    if event.argv_at == 0 || !is_same(event) {
        return None;
    }
    let memory = File::open(format!("/proc/{}/mem", event.header.pid)).ok()?;
    let mut out = vec![];
    for i in 0..FAIL_ARGS as u64 {
        let mut pointer = [0; 8];
        memory.read_exact_at(&mut pointer, event.argv_at.checked_add(i * 8)?).ok()?;
        let at = u64::from_ne_bytes(pointer);
        if at == 0 {
            break;
        }
        let left = FAIL_ARGV_MAX.checked_sub(out.len() + 1).filter(|&left| left > 0);
        let Some(left) = left else { break };
        out.extend(text(&memory, at, left)?);
        out.push(0);
    }
    is_same(event).then_some(out)
}

/// A text up to its NUL, at most `limit` bytes, read by pages so that it may end at a hole.
fn text(memory: &File, at: u64, limit: usize) -> Option<Vec<u8>> {
    const PAGE: u64 = 4096;
    let mut out = vec![];
    let mut at = at;
    while out.len() < limit {
        let mut page = vec![0; (PAGE - at % PAGE) as usize];
        memory.read_exact_at(&mut page, at).ok()?;
        if let Some(end) = page.iter().position(|&b| b == 0) {
            out.extend(page.get(..end)?);
            break;
        }
        at = at.checked_add(page.len() as u64)?;
        out.extend(page);
    }
    out.truncate(limit);
    Some(out)
}

/// Whether the pid still means the process that the event names.
fn is_same(event: &FailEvent) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", event.header.pid)).unwrap_or_default();
    // Field 22, counted after the name, which may hold anything but the last parenthesis.
    let start = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19));
    start.and_then(|ticks| ticks.parse::<u64>().ok()) == Some(event.header.start / TICK_NS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use observer_common::Header;

    fn start_of_this_process() -> u64 {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let (_, rest) = stat.rsplit_once(')').unwrap();
        rest.split_whitespace().nth(19).unwrap().parse::<u64>().unwrap() * TICK_NS
    }

    fn event(argv: &[*const u8], start: u64) -> FailEvent {
        FailEvent {
            header: Header { pid: std::process::id(), start, ..Header::default() },
            argv_at: argv.as_ptr() as u64,
            ..FailEvent::default()
        }
    }

    #[test]
    fn arguments_are_read_from_a_living_process() {
        let argv = [c"git".as_ptr().cast(), c"push".as_ptr().cast(), std::ptr::null()];
        let found = argv_of(&argv, start_of_this_process());
        assert_eq!(found.as_deref(), Some(&b"git\0push\0"[..]));
    }

    #[test]
    fn another_process_under_the_same_pid_is_left_alone() {
        let argv = [c"git".as_ptr().cast(), std::ptr::null()];
        assert_eq!(argv_of(&argv, start_of_this_process() + TICK_NS), None);
    }

    #[test]
    fn a_pointer_to_nowhere_is_no_argv() {
        let argv = [8 as *const u8, std::ptr::null()];
        assert_eq!(argv_of(&argv, start_of_this_process()), None);
    }

    fn argv_of(argv: &[*const u8], start: u64) -> Option<Vec<u8>> {
        super::argv(&event(argv, start))
    }
}
