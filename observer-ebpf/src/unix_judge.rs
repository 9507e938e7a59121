//! Unix sockets, judged by what their server bound: the kernel has resolved by then how the caller
//! named it, so links, mounts, directories and roots of the caller's are no way round.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_kernel, bpf_probe_read_kernel_str};
use aya_ebpf::maps::lpm_trie::Key;
use observer_common::{
    Config, EventKind, Label, NAME_LEN, PATH_MAX, ProgramKey, UNIX_NAME, UNIX_RESOLVED, UnixPrefix,
    UnixSeenEvent, config_flag, unix_flag, unix_kind, verdict,
};

use crate::emit::{self, Ring};
use crate::kernel::{self, Ptr, at};
use crate::lineage;
use crate::maps::{CONTROL, EVENTS, PATHS, UNIX, UNIX_PREFIXES, UNIX_RULED, UNIX_SENT, ZERO};
use crate::path::{self, PATH_SPACE, PathScratch, Sink};
use crate::verdict::{Opinion, Ruling, answer, config};

/// Where `sun_path` stands in `struct sockaddr_un`.
const SUN_PATH: usize = 2;

/// A connect to the listening socket `other`. What the default allows is told by its end.
#[inline(always)]
pub fn connecting(other: Ptr) -> i32 {
    let Some(label) = lineage::current_label() else { return 0 };
    let thread = bpf_get_current_pid_tgid();
    let _ = UNIX_RULED.remove(thread);
    if config().flags & config_flag::UNIX_RULES == 0 {
        return 0;
    }
    let ruling = judge(&label, other, 0, false);
    let _ = UNIX_RULED.insert(thread, ruling, 0);
    answer(ruling.denies())
}

/// Whether the thread that runs is within connect(2), whose end tells of it. A call by io_uring, or by
/// a 32-bit one, has no end that is seen.
#[inline(always)]
fn is_connecting() -> bool {
    /// arch/x86/entry/syscalls/syscall_64.tbl.
    const CONNECT: u64 = 42;
    /// A worker of io_uring: its registers are those that its maker had.
    const PF_IO_WORKER: u32 = 0x10;
    let call: u64 = kernel::read_or_zero(kernel::current_regs(), kernel::SYSCALL);
    let flags: u32 = kernel::read_or_zero(kernel::current(), at!(task_flags));
    call == CONNECT && flags & PF_IO_WORKER == 0
}

/// A datagram to `socket`, or a datagram socket's connect. One that is allowed is told once for each
/// sender and receiver.
#[inline(always)]
pub fn sending(socket: Ptr) -> i32 {
    let Some(label) = lineage::current_label() else { return 0 };
    let Some(other) = kernel::follow(socket, at!(socket_sk)) else { return 0 };
    let Some(addr) = kernel::follow(other, at!(unix_addr)) else { return 0 };
    // Both, so that another socket at the same place is told again.
    let key = [other as u64 ^ (u64::from(kernel::current_tgid()) << 32), addr as u64];
    // SAFETY: copied at once. A number, which the verifier needs not look at once for each value.
    let told = unsafe { UNIX_SENT.get(key).copied() }.unwrap_or(0);
    if config().flags & config_flag::UNIX_RULES == 0 && told != 0 {
        return 0;
    }
    if is_connecting() {
        return connecting(other);
    }
    let ruling = judge(&label, other, unix_flag::DATAGRAM, told == 0);
    if ruling.denies() {
        return answer(true);
    }
    if told == 0 {
        let _ = UNIX_SENT.insert(key, 1, 0);
    }
    0
}

/// A unix socket comes from another process: it is judged by where it is connected.
#[inline(always)]
pub fn received(label: &Label, sk: Ptr) -> i32 {
    let Some(peer) = kernel::follow(sk, at!(unix_peer)) else { return 0 };
    answer(judge(label, peer, unix_flag::RECEIVED, true).denies())
}

/// What the rules say of the socket `sk`; one without a name is nobody's to deny. Told where it is
/// denied, and where `always`.
#[inline(always)]
fn judge(label: &Label, sk: Ptr, flags: u32, always: bool) -> Ruling {
    let config = config();
    let allowed = Ruling::ALLOW.under(&config);
    let Some(addr) = kernel::follow(sk, at!(unix_addr)) else { return allowed };
    let ruled = config.flags & config_flag::UNIX_RULES != 0;
    let thread = bpf_get_current_pid_tgid();
    let entered = ZERO.get(0).is_some_and(|zero| PATHS.insert(thread, zero, 0).is_ok());
    let scratch = if entered { PATHS.get_ptr_mut(thread) } else { None };
    let Some(s) = scratch else {
        emit::scratch_busy();
        return if ruled { UNHELD.under(&config) } else { allowed };
    };
    // A run's own server is the run's affair, unless a rule names it.
    let denies = config.flags & config_flag::UNIX_DENY != 0 && !is_ours(sk);
    let name = addr.wrapping_add(at!(unix_addr_name) + SUN_PATH);
    let first: u8 = kernel::read_or_zero(name, 0);
    // SAFETY: this thread's own buffer.
    let ruling = unsafe {
        Opinion::clear(&raw mut (*s).opinion);
        let flags = if first == 0 {
            let len: u32 = kernel::read_or_zero(addr, at!(unix_addr_len));
            by_name(&config, s, name.wrapping_add(1), len.wrapping_sub(SUN_PATH as u32 + 1));
            flags | unix_flag::ABSTRACT
        } else {
            flags | by_path(&config, s, sk)
        };
        let mut ruling = Ruling::from(Opinion::decision(&raw const (*s).opinion), denies);
        if ruled && flags & unix_flag::CUT != 0 && !ruling.denies() {
            ruling = UNHELD;
        }
        let ruling = ruling.under(&config);
        if ruling.denies() || always {
            tell(label, s, flags, ruling);
        }
        ruling
    };
    let _ = PATHS.remove(thread);
    ruling
}

/// What can't be judged whole is denied where there are rules.
const UNHELD: Ruling = Ruling { verdict: verdict::DENY_UNHELD, rule: 0 };

/// Whether a process of the run listens there.
#[inline(always)]
fn is_ours(sk: Ptr) -> bool {
    let pid: Ptr = kernel::read_or_zero(sk, at!(sock_peer_pid));
    let tgid: u32 = kernel::read_or_zero(pid, at!(pid_numbers) + at!(upid_nr));
    tgid != 0 && lineage::label_of(tgid).is_some()
}

/// An abstract name of `len` bytes: whole, and by how it begins.
#[inline(always)]
unsafe fn by_name(config: &Config, s: *mut PathScratch, name: Ptr, len: u32) {
    // SAFETY: the caller's buffer; `n` is below what each place has.
    unsafe {
        let data = (&raw mut (*s).data).cast::<u8>();
        let n = if len > UNIX_NAME as u32 - 1 { 0 } else { len };
        (&raw mut (*s).cursor).write_volatile(n);
        let n = (&raw const (*s).cursor).read_volatile();
        if n == 0 || n >= UNIX_NAME as u32 {
            return;
        }
        bpf_probe_read_kernel(data.cast(), n, name.cast());
        let key = &raw mut (*s).key;
        let opinion = &raw mut (*s).opinion;
        // A name may hold NULs: its length is part of what it is.
        if path::path_key(key, unix_kind::ABSTRACT | (n << 16), data, n) {
            ask(config.bank(), opinion, key);
        }
        prefix(config.bank(), s, unix_kind::ABSTRACT, data, n);
    }
}

/// A path: whole, by its last part, and by the directories above. What of it was cut.
#[inline(always)]
unsafe fn by_path(config: &Config, s: *mut PathScratch, sk: Ptr) -> u32 {
    // SAFETY: the caller's buffer.
    unsafe {
        let data = (&raw mut (*s).data).cast::<u8>();
        let cursor = &raw mut (*s).cursor;
        let limit = (PATH_SPACE - NAME_LEN) as u32;
        let whole = path::components(sk.wrapping_add(at!(unix_path)), Sink { data, cursor, limit });
        let key = &raw mut (*s).key;
        let opinion = &raw mut (*s).opinion;
        let len = cursor.read_volatile();
        if whole && path::path_key(key, unix_kind::PATH, data, len) {
            ask(config.bank(), opinion, key);
        }
        if path::name_key(key, unix_kind::NAME, data) {
            ask(config.bank(), opinion, key);
        }
        prefix(config.bank(), s, unix_kind::NAME, data, UNIX_NAME as u32 - 1);
        let mut dirs = Dirs { data, key, opinion, len, bank: config.bank() };
        bpf_loop(PATH_MAX as u32, dir as *mut c_void, (&raw mut dirs).cast(), 0);
        if whole { 0 } else { unix_flag::CUT }
    }
}

/// Asks for how a name of `len` bytes at the most begins.
#[inline(always)]
unsafe fn prefix(bank: u32, s: *mut PathScratch, kind: u32, name: *const u8, len: u32) {
    // SAFETY: the key is the caller's, and larger than a prefix.
    unsafe {
        let key = &raw mut (*s).key;
        kernel::clear(key);
        let bytes = (&raw mut (*key).bytes).cast::<u8>();
        let n = if kind == unix_kind::NAME {
            // With its NUL, which no prefix has.
            bpf_probe_read_kernel_str(bytes.add(1).cast(), UNIX_NAME as u32 - 1, name.cast())
        } else {
            (&raw mut (*s).cursor).write_volatile(len);
            let len = (&raw const (*s).cursor).read_volatile();
            if len >= UNIX_NAME as u32 {
                return;
            }
            bpf_probe_read_kernel(bytes.add(1).cast(), len, name.cast());
            i64::from(len)
        };
        if n < 0 || n >= UNIX_NAME as i64 {
            return;
        }
        bytes.write_volatile(kind as u8);
        (&raw mut (*key).kind).write_volatile(8 * (n as u32 + 1));
        let key = &*key.cast::<Key<UnixPrefix>>();
        if let Some(found) = UNIX_PREFIXES.get_value_ptr_mut(bank, key) {
            Opinion::merge(&raw mut (*s).opinion, *found);
        }
    }
}

struct Dirs {
    data: *mut u8,
    key: *mut ProgramKey,
    opinion: *mut Opinion,
    len: u32,
    bank: u32,
}

/// Asks for the directory that begins after the byte `index`, where one does. Returns 1 to end.
unsafe extern "C" fn dir(index: u64, dirs: *mut c_void) -> i64 {
    // SAFETY: what `by_path` handed over; the helper checks where it reads.
    unsafe {
        let dirs = &mut *dirs.cast::<Dirs>();
        // Verifier: no pointer plus a number without a bound, even where nothing is read there.
        let index = index as usize & 0xffff;
        let from = index + 1;
        if from >= dirs.len as usize {
            return 1;
        }
        let base = dirs.data.cast_const();
        let len = dirs.len - from as u32;
        if kernel::read::<u8>(base, index) == Some(0)
            && path::path_key(dirs.key, unix_kind::BELOW, base.wrapping_add(from), len)
        {
            ask(dirs.bank, dirs.opinion, dirs.key);
        }
        0
    }
}

#[inline(always)]
unsafe fn ask(bank: u32, opinion: *mut Opinion, key: *const ProgramKey) {
    // SAFETY: both are in a map value of the caller's; the decision is read at once.
    unsafe {
        if let Some(found) = UNIX.get_value_ptr_mut(bank, &*key) {
            Opinion::merge(opinion, *found);
        }
    }
}

#[repr(C)]
struct Told {
    event: UnixSeenEvent,
    name: [u8; UNIX_RESOLVED],
}

/// Tells a judgement, with the name as it stands in the buffer.
#[inline(always)]
unsafe fn tell(label: &Label, s: *mut PathScratch, flags: u32, ruling: Ruling) {
    let denied = ruling.denies();
    let ring = if denied { Ring::Control } else { Ring::Events };
    let mut header = kernel::identify_current(label.exec);
    let call = emit::new_id();
    emit::number(&mut header, ring, EventKind::UnixSeen);
    let map = if denied { &CONTROL } else { &EVENTS };
    let Some(mut entry) = map.reserve::<Told>(0) else { return emit::lost(ring) };
    let told = entry.as_mut_ptr();
    // SAFETY: the reservation is ours until it is submitted, and is written whole; the read is
    // bounded by the name's room.
    unsafe {
        let len = (&raw const (*s).cursor).read_volatile();
        let cut = if len > UNIX_RESOLVED as u32 { unix_flag::CUT } else { 0 };
        told.write(Told {
            event: UnixSeenEvent {
                header,
                call,
                flags: flags | cut,
                verdict: ruling.verdict,
                rule: ruling.rule,
                len,
            },
            name: [0; UNIX_RESOLVED],
        });
        let event = &raw mut (*told).event;
        // Verifier: the bound must be seen on the value that is used.
        let len = (&raw const (*event).len).read_volatile();
        let len = if len > UNIX_RESOLVED as u32 { UNIX_RESOLVED as u32 } else { len };
        (&raw mut (*event).len).write_volatile(len);
        let from = (&raw const (*s).data).cast::<c_void>();
        if len != 0 {
            bpf_probe_read_kernel((&raw mut (*told).name).cast(), len, from);
        }
    }
    entry.submit(emit::wake(ring, denied));
}
