//! Rules on arguments, judged on argv where it is final: in the new program's stack, before its
//! first instruction.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user_str};
use observer_common::{ARG_LEN, ARG_READS, ArgKey, Decision, GROUP_RULES, GroupRule, decision};

use crate::maps::{ARGS, GROUPS};
use crate::verdict::{GROUPS_MAX, Opinion};

/// A scan of arguments, in a map value: see [`Opinion`].
#[repr(C)]
pub struct Scan {
    at: u64,
    end: u64,
    bits: [u64; GROUPS_MAX],
    /// 1 inside argv\[0\] or an argument longer than any rule's.
    skip: u32,
    failed: u32,
    /// The bank of the policy that judges.
    bank: u32,
    /// Zero.
    reserved: u32,
    key: ArgKey,
    opinion: Opinion,
}

/// Judges the arguments that stand at `start..end` in the caller's memory, and merges what the
/// rules say of them. True where they were too long, or not there, to be read whole.
///
/// # Safety
/// `scan` and `opinion` are map values that nobody else uses.
#[inline(always)]
pub unsafe fn judge(scan: *mut Scan, bank: u32, start: u64, end: u64) -> bool {
    // SAFETY: as promised; the callbacks have the helper's signature.
    unsafe {
        (&raw mut (*scan).at).write_volatile(start);
        (&raw mut (*scan).end).write_volatile(end);
        for i in 0..GROUPS_MAX {
            (&raw mut (*scan).bits[i]).write_volatile(0);
        }
        (&raw mut (*scan).bank).write_volatile(bank);
        (&raw mut (*scan).skip).write_volatile(1);
        (&raw mut (*scan).failed).write_volatile(0);
        let mut context = Context { scan };
        let context = (&raw mut context).cast::<c_void>();
        bpf_loop(ARG_READS as u32, next as *mut c_void, context, 0);
        let unread = (&raw const (*scan).at).read_volatile() < end;
        if unread {
            (&raw mut (*scan).failed).write_volatile(1);
        }
        bpf_loop((GROUPS_MAX * GROUP_RULES) as u32, weigh as *mut c_void, context, 0);
        (&raw const (*scan).failed).read_volatile() != 0
    }
}

struct Context {
    scan: *mut Scan,
}

impl Scan {
    /// The opinion that the scan adds to.
    ///
    /// # Safety
    /// `this` is a map value that nobody else uses.
    #[inline(always)]
    pub unsafe fn opinion(this: *mut Self) -> *mut Opinion {
        // SAFETY: a place inside it.
        unsafe { &raw mut (*this).opinion }
    }
}

/// Weighs one rule of one group.
unsafe extern "C" fn weigh(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: what `judge` handed over; slot and rule are masked to their arrays.
    unsafe {
        let scan = (*context.cast::<Context>()).scan;
        let slot = index as usize / GROUP_RULES & (GROUPS_MAX - 1);
        let opinion = &raw mut (*scan).opinion;
        let group = Opinion::group(opinion, slot);
        if group == 0 {
            return 0;
        }
        let bank = (&raw const (*scan).bank).read_volatile();
        let Some(group) = GROUPS.get_value_ptr_mut(bank, &group) else { return 0 };
        let rules = (&raw const (*group).rules).cast::<GroupRule>();
        let rule = rules.add(index as usize & (GROUP_RULES - 1));
        let mask = (&raw const (*rule).mask).read_volatile();
        if mask == 0 {
            return 0;
        }
        let allow = if Opinion::is_mute(opinion, slot) { decision::ALLOW } else { 0 };
        let decision = Decision {
            kind: (&raw const (*rule).decision.kind).read_volatile() & !allow,
            rule: (&raw const (*rule).decision.rule).read_volatile(),
        };
        let bits = (&raw const (*scan).bits).cast::<u64>().add(slot).read_volatile();
        let unchecked = (&raw const (*scan).failed).read_volatile() != 0;
        // What could not be read may be what a denial looks for.
        if bits & mask == mask || (unchecked && decision.kind > decision::ALLOW) {
            Opinion::merge(opinion, decision);
        }
        0
    }
}

/// Reads one argument, or a piece of a long one. Returns 1 to end the loop.
unsafe extern "C" fn next(_index: u64, context: *mut c_void) -> i64 {
    // SAFETY: what `judge` handed over; the helper writes ARG_LEN bytes at the most.
    unsafe {
        let scan = (*context.cast::<Context>()).scan;
        let at = (&raw const (*scan).at).read_volatile();
        if at >= (&raw const (*scan).end).read_volatile() {
            return 1;
        }
        let key = &raw mut (*scan).key;
        let words = key.cast::<u32>();
        for i in 0..1 + ARG_LEN / 4 {
            words.add(i).write_volatile(0);
        }
        let bytes = (&raw mut (*key).bytes).cast::<u8>();
        let n = bpf_probe_read_user_str(bytes.cast(), ARG_LEN as u32, at as *const c_void);
        if n <= 0 {
            (&raw mut (*scan).failed).write_volatile(1);
            return 1;
        }
        let skip = (&raw const (*scan).skip).read_volatile();
        if n as usize == ARG_LEN {
            // Filled to the last byte: it may go on, and is longer than any rule's argument.
            let last = at + ARG_LEN as u64 - 1;
            let Ok(byte) = bpf_probe_read_user::<u8>(last as *const u8) else {
                (&raw mut (*scan).failed).write_volatile(1);
                return 1;
            };
            (&raw mut (*scan).skip).write_volatile(u32::from(byte != 0));
            (&raw mut (*scan).at).write_volatile(last + u64::from(byte == 0));
            return 0;
        }
        (&raw mut (*scan).at).write_volatile(at + n as u64);
        (&raw mut (*scan).skip).write_volatile(0);
        if skip != 0 {
            return 0;
        }
        for slot in 0..GROUPS_MAX {
            let group = Opinion::group(&raw const (*scan).opinion, slot);
            if group == 0 {
                continue;
            }
            (&raw mut (*key).group).write_volatile(group);
            let bank = (&raw const (*scan).bank).read_volatile();
            if let Some(bit) = ARGS.get_value_ptr_mut(bank, &*key) {
                let bit = bit.read_volatile();
                let bits = (&raw mut (*scan).bits).cast::<u64>().add(slot);
                bits.write_volatile(bits.read_volatile() | 1 << (bit & 63));
            }
        }
        0
    }
}
