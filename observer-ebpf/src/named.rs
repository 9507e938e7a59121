//! A name that a connection asks for, held against the rules on names, and the telling of what comes
//! of it: for `sni` and `host`, which find the name.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use aya_ebpf::maps::lpm_trie::Key;
use observer_common::{
    Config, Decision, EventKind, HOST_LEN, StreamDeniedEvent, config_flag, decision, verdict,
};

use crate::emit::{self, Ring};
use crate::kernel;
use crate::maps::{CONTROL, PREFIXES};
use crate::names::NameBuf;
use crate::packet::TCP;
use crate::segment::at_most;
use crate::stream::Stream;
use crate::verdict::{self as policy, Ruling};

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// It goes on; there is more to look at.
    More,
    /// It goes on, and so does all that follows.
    Allowed,
    /// It is dropped, and so is all that follows.
    Denied,
}

/// What the rules say where no name can be read.
#[inline(always)]
pub fn unread(config: &Config) -> Ruling {
    Ruling { verdict: verdict::DENY_UNREAD, rule: 0 }.under(config)
}

/// What the rules on addresses say of the far end, without those on names.
///
/// Verifier: what is decided goes through a map value, out of a frame of its own, so that the ways
/// which led to it go on as one.
///
/// # Safety
/// `out` is a map value that nobody else uses; so below.
#[inline(never)]
pub unsafe fn address(out: *mut Ruling, config: &Config, ends: &Stream) {
    // SAFETY: sixteen bytes, whatever they are.
    let addr = unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(ends.peer) };
    let mut decision = Decision { kind: decision::DEFAULT, rule: 0 };
    if let Some(set) = PREFIXES.get_value_ptr_mut(config.bank(), &Key::new(128, addr)) {
        // SAFETY: read at once; a bank in use is not written.
        let set = unsafe { set.read_volatile() };
        decision = policy::of_set(config, set, ends.peer_port, TCP);
    }
    let ruling = Ruling::from(decision, config.flags & config_flag::NET_DENY != 0);
    // SAFETY: the caller's value.
    unsafe { write(out, ruling) };
}

/// What the rules say of a name, or of none, where `out` has what they say of the address. What the
/// address allows by itself needs no name; a name that is denied is so anywhere.
///
/// # Safety
/// As above.
#[inline(never)]
pub unsafe fn rule(
    out: *mut Ruling,
    name: *mut NameBuf,
    is_there: bool,
    config: &Config,
    ends: &Stream,
) {
    // SAFETY: the caller's values.
    unsafe {
        let mut named = Decision::default();
        if is_there {
            let set = NameBuf::ask(name, config).set;
            if set != 0 {
                named = policy::of_set(config, set, ends.peer_port, TCP);
            }
        }
        let address = read(out);
        let by_name = Ruling::from(named, address.denies());
        let counts = address.denies() || by_name.denies() || by_name.would();
        write(out, (if counts { by_name } else { address }).under(config));
    }
}

/// Reads what was decided.
#[inline(always)]
pub unsafe fn read(ruling: *const Ruling) -> Ruling {
    // SAFETY: the caller's value.
    unsafe {
        Ruling {
            verdict: (&raw const (*ruling).verdict).read_volatile(),
            rule: (&raw const (*ruling).rule).read_volatile(),
        }
    }
}

#[inline(always)]
unsafe fn write(out: *mut Ruling, ruling: Ruling) {
    // SAFETY: the caller's value.
    unsafe {
        (&raw mut (*out).verdict).write_volatile(ruling.verdict);
        (&raw mut (*out).rule).write_volatile(ruling.rule);
    }
}

/// Tells a denial, or what would be one, with the name as it was sent.
///
/// # Safety
/// `len` bytes of a map value stand at `name`.
#[inline(never)]
pub unsafe fn tell(ruling: &Ruling, why: u32, name: *const u8, len: u32, ends: &Stream) {
    let mut header = ends.who;
    emit::number(&mut header, Ring::Control, EventKind::StreamDenied);
    let Some(mut entry) = CONTROL.reserve::<StreamDeniedEvent>(0) else {
        return emit::lost(Ring::Control);
    };
    let event = entry.as_mut_ptr();
    // SAFETY: the reservation is ours until it is submitted, and is written whole; the name is
    // bounded by its room.
    unsafe {
        kernel::clear(event);
        (*event).header = header;
        (*event).cookie = ends.cookie;
        (*event).local = core::mem::transmute::<[u32; 4], [u8; 16]>(ends.local);
        (*event).peer = core::mem::transmute::<[u32; 4], [u8; 16]>(ends.peer);
        (*event).local_port = ends.local_port;
        (*event).peer_port = ends.peer_port;
        (*event).verdict = ruling.verdict;
        (*event).rule = ruling.rule;
        (*event).why = why;
        if len != 0 {
            let to = (&raw mut (*event).name).cast::<c_void>();
            if bpf_probe_read_kernel(to, at_most::<{ HOST_LEN as u32 }>(len), name.cast()) == 0 {
                (&raw mut (*event).name_len).write_volatile(len);
            }
        }
    }
    entry.submit(emit::wake(Ring::Control, true));
}
