//! Signals: what comes, and how often.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::mem::MaybeUninit;
use std::ptr;

use anyhow::Result;

use super::sys;

/// What is waited for. SIGTERM is the last.
const AWAITED: [i32; 3] = [libc::SIGINT, libc::SIGHUP, libc::SIGTERM];

/// Writes `ready` and then each signal's number into a new file, a line each, until SIGTERM has
/// come. The status is 40 and how many came.
pub(super) fn count(report: &OsStr) -> Result<u8> {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: the set is valid for writing, is filled before it is read, and outlives the calls.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in AWAITED {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        sys::check(libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut()))?;
    }
    let mut file = File::create(report)?;
    file.write_all(b"ready\n")?;
    let mut count = 40u8;
    loop {
        // SAFETY: the set was filled above; nothing is asked of the signal but its number.
        let signal = sys::check(unsafe { libc::sigwaitinfo(set.as_ptr(), ptr::null_mut()) })?;
        count = count.saturating_add(1);
        file.write_all(format!("{signal}\n").as_bytes())?;
        if signal == i64::from(libc::SIGTERM) {
            return Ok(count);
        }
    }
}
