//! Rules on arguments, judged on argv where it is final: in the new program's stack, before its
//! first instruction.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user_str};
use observer_common::{ARG_LEN, ARG_READS, ArgKey, Decision, GROUP_RULES, decision};

use crate::maps::{ARGS, GROUPS};
use crate::verdict::{GROUPS_MAX, Opinion};

struct Scan {
    at: u64,
    end: u64,
    key: *mut ArgKey,
    groups: [u32; GROUPS_MAX],
    bits: [u64; GROUPS_MAX],
    /// 1 inside argv[0] or an argument longer than any rule's.
    skip: u32,
    failed: u32,
}

/// What judging the arguments came to.
pub struct Judged {
    /// The decision of the rules whose arguments are all there.
    pub decision: Decision,
    /// Whether the arguments were too long, or not there, to be read whole.
    pub unchecked: bool,
}

/// Judges the arguments that stand at `start..end` in the caller's memory.
#[inline(always)]
pub fn judge(opinion: &Opinion, start: u64, end: u64, key: *mut ArgKey) -> Judged {
    let mut scan = Scan {
        at: start,
        end,
        key,
        groups: opinion.groups,
        bits: [0; GROUPS_MAX],
        skip: 1,
        failed: 0,
    };
    // SAFETY: the callback has the helper's signature, and the context outlives the call.
    unsafe { bpf_loop(ARG_READS as u32, next as *mut c_void, (&raw mut scan).cast(), 0) };
    let mut judged =
        Judged { decision: Decision::default(), unchecked: scan.failed != 0 || scan.at < end };
    for slot in 0..GROUPS_MAX {
        let group = scan.groups[slot];
        if group == 0 {
            continue;
        }
        // SAFETY: written before the run's first process.
        let Some(group) = (unsafe { GROUPS.get(group) }) else { continue };
        for i in 0..GROUP_RULES {
            let rule = group.rules[i];
            if rule.mask == 0 {
                break;
            }
            let whole = scan.bits[slot] & rule.mask == rule.mask;
            // What could not be read may be what a denial looks for.
            let feared = judged.unchecked && rule.decision.kind == decision::DENY;
            if (whole || feared) && rule.decision.kind > judged.decision.kind {
                judged.decision = rule.decision;
            }
        }
    }
    judged
}

/// Reads one argument, or a piece of a long one. Returns 1 to end the loop.
unsafe extern "C" fn next(_index: u64, scan: *mut c_void) -> i64 {
    // SAFETY: what `judge` handed over.
    let scan = unsafe { &mut *scan.cast::<Scan>() };
    if scan.at >= scan.end {
        return 1;
    }
    // SAFETY: the key is in a map value of ours, aligned to 4.
    let bytes = unsafe {
        let words = scan.key.cast::<u32>();
        for i in 0..1 + ARG_LEN / 4 {
            words.add(i).write_volatile(0);
        }
        (&raw mut (*scan.key).bytes).cast::<u8>()
    };
    // SAFETY: the helper writes ARG_LEN bytes at the most.
    let n = unsafe {
        bpf_probe_read_user_str(bytes.cast(), ARG_LEN as u32, scan.at as *const c_void)
    };
    if n <= 0 {
        scan.failed = 1;
        return 1;
    }
    if n as usize == ARG_LEN {
        // Filled to the last byte: it may go on.
        let last = scan.at + ARG_LEN as u64 - 1;
        // SAFETY: the helper checks the address.
        match unsafe { bpf_probe_read_user::<u8>(last as *const u8) } {
            Ok(0) => scan.skip = 0,
            Ok(_) => {
                scan.skip = 1;
                scan.at = last;
                return 0;
            }
            Err(_) => {
                scan.failed = 1;
                return 1;
            }
        }
        scan.at = last + 1;
        return 0;
    }
    scan.at += n as u64;
    if scan.skip != 0 {
        scan.skip = 0;
        return 0;
    }
    for slot in 0..GROUPS_MAX {
        let group = scan.groups[slot];
        if group != 0 {
            // SAFETY: the key is ours; the value is copied at once.
            unsafe {
                (*scan.key).group = group;
                if let Some(&bit) = ARGS.get(&*scan.key) {
                    scan.bits[slot] |= 1 << (bit & 63);
                }
            }
        }
    }
    0
}
