//! The maps, each with its bound and what happens when it is full.

use aya_ebpf::bindings::bpf_map_type;
use aya_ebpf::btf_maps::{self, ArrayOfMaps, SkStorage};
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use observer_common::{
    ArgKey, Asked, AskedKey, Bound, Config, Counters, Decision, FILES_MAX, FileKey, Group, Header,
    Label, NameKey, NameValue, NetKey, PortKey, ProgramKey, ProgramValue, RESOLVERS_MAX,
    UnixPrefix,
};

use crate::dns;
use crate::exec::Scratch;
use crate::path::PathScratch;
use crate::request::Request;
use crate::sni::Head;
use crate::socket::Connect;
use crate::storage::Socket;
use crate::tls::{Caller, Session, SessionKey, Thread};
use crate::verdict::{Judged, Ruling};

/// BPF_F_NO_PREALLOC: memory as it is needed.
const ON_DEMAND: u32 = 1;

// The rings' sizes are what they are unless user space sets others.

/// Calls that were allowed, and their results. Full: the event is lost, and counted.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(16 << 20, 0);

/// TCP payload. Full: lost, and counted; nothing else is.
#[map]
pub static PAYLOAD: RingBuf = RingBuf::with_byte_size(16 << 20, 0);

/// Denials and lifecycle, which payload can't crowd out. Full: lost, and counted.
#[map]
pub static CONTROL: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// Each CPU's counts.
#[map]
pub static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// 1 while user space sleeps: the next event wakes it.
#[map]
pub static IDLE: Array<u32> = Array::with_max_entries(1, 0);

/// The generation of the policy that decides.
#[map]
pub static ACTIVE: Array<u32> = Array::with_max_entries(1, 0);

/// The run's configuration, a bank each.
#[map]
pub static CONFIG: Array<Config> = Array::with_max_entries(2, 0);

/// A table of the policy's: two banks, of which user space fills the one that is not in use, as
/// large as the policy needs it, before it names it in [`ACTIVE`]. An empty bank holds nothing.
pub type Banks<M> = ArrayOfMaps<M, 2>;
/// A bank that is looked up by longest prefix.
pub type Prefixes<K, V> = btf_maps::LpmTrie<K, V, 1>;
/// A bank that is looked up by key.
pub type Keys<K, V> = btf_maps::HashMap<K, V, 1>;

/// The run's processes. Full: the process is found by its cgroup, and counted.
#[map]
pub static LABELS: HashMap<u32, Label> = HashMap::with_max_entries(65_536, ON_DEMAND);

/// The run's cgroup and those below it. Full: a process there keeps its label, and a move there
/// is reported as an escape.
#[map]
pub static CGROUPS: HashMap<u64, u32> = HashMap::with_max_entries(16_384, ON_DEMAND);

/// How many labelled processes live: a plain sum over CPUs.
#[map]
pub static LIVE: PerCpuArray<i64> = PerCpuArray::with_max_entries(1, 0);

/// Destinations, longest prefix first, to the set of rules that apply.
#[btf_map]
pub static PREFIXES: Banks<Prefixes<NetKey, u32>> = Banks::new();

/// Names that rules speak of, longest suffix first, to the sets of rules that apply.
#[btf_map]
pub static NAMES: Banks<Prefixes<NameKey, NameValue>> = Banks::new();

/// What a set of rules says of protocol and port.
#[btf_map]
pub static PORTS: Banks<Keys<PortKey, Decision>> = Banks::new();

/// Programs that rules name.
#[btf_map]
pub static PROGRAMS: Banks<Keys<ProgramKey, ProgramValue>> = Banks::new();

/// Files that user space hashed, for as long as it sees to it that nobody writes to them. Full: the
/// one that was not asked for longest makes room, before.
#[map]
pub static FILES: HashMap<FileKey, [u32; 8]> = HashMap::with_max_entries(FILES_MAX, ON_DEMAND);

/// Arguments that rules name.
#[btf_map]
pub static ARGS: Banks<Keys<ArgKey, u32>> = Banks::new();

/// Groups of rules on arguments.
#[btf_map]
pub static GROUPS: Banks<Keys<u32, Group>> = Banks::new();

/// What the rules say of each door of the system.
#[btf_map]
pub static SYSTEM: Banks<Keys<u32, Decision>> = Banks::new();

/// Who of the run asked for a file's signals. An address that is used again belongs to who asks then.
/// Full: the file's signals are neither told nor held, and counted.
#[map]
pub static OWNERS: HashMap<u64, Header> = HashMap::with_max_entries(65_536, ON_DEMAND);

/// Unix sockets that rules name.
#[btf_map]
pub static UNIX: Banks<Keys<ProgramKey, Decision>> = Banks::new();

/// How the names of unix sockets begin that rules name, longest first.
#[btf_map]
pub static UNIX_PREFIXES: Banks<Prefixes<UnixPrefix, Decision>> = Banks::new();

/// What was said of the connect to a unix socket that a thread is at, until its end tells it.
/// Evicted: the end names no rule, and a denial, told already, is told again as a failure.
#[map]
pub static UNIX_RULED: LruHashMap<u64, Ruling> = LruHashMap::with_max_entries(4096, 0);

/// Unix datagrams that were told, by sender and receiver. Evicted: told again.
#[map]
pub static UNIX_SENT: LruHashMap<[u64; 2], u32> = LruHashMap::with_max_entries(4096, 0);

/// What the LSM hook said of the exec that a thread is at: until it has happened, or its exit tells
/// that it was denied. Evicted: the exec is judged once more when it has happened.
#[map]
pub static JUDGED: LruHashMap<u64, Judged> = LruHashMap::with_max_entries(4096, 0);

/// Connects under way, by thread. The result of a connect that fails at once is told from here;
/// evicted: its result is unknown.
#[map]
pub static CONNECTING: LruHashMap<u64, Connect> = LruHashMap::with_max_entries(8192, 0);

/// One buffer a CPU for execs. Sized at load.
#[map]
pub static SCRATCH: Array<Scratch> = Array::with_max_entries(1, 0);

/// Buffers for the LSM hook, which can be preempted, by thread. Full: denied.
#[map]
pub static PATHS: HashMap<u64, PathScratch> = HashMap::with_max_entries(512, ON_DEMAND);

/// What a buffer begins as.
#[map]
pub static ZERO: Array<PathScratch> = Array::with_max_entries(1, 0);

/// Calls of TLS libraries under way, by thread. Full: the call's plaintext is lost, and counted.
#[map]
pub static TLS_THREADS: HashMap<Caller, Thread> = HashMap::with_max_entries(65_536, ON_DEMAND);

/// The same by goroutine: nobody tells when one ends within a call, as those do that wait for an
/// answer when their process exits. Evicted: what its call moved is lost, and counted.
#[map]
pub static TLS_ROUTINES: LruHashMap<Caller, Thread> = LruHashMap::with_max_entries(8192, 0);

/// TLS libraries' connections. Evicted, which only comes to those that were not used for long: its
/// stream begins anew, under another id.
#[map]
pub static TLS_STREAMS: LruHashMap<SessionKey, Session> = LruHashMap::with_max_entries(16_384, 0);

/// Two buffers a CPU for DNS: one for what leaves and one for what comes, which interrupts it.
/// Sized at load.
#[map]
pub static DNS: Array<dns::Scratch> = Array::with_max_entries(1, 0);

/// Questions that wait for their answer. Evicted: the answer is not told, and binds nothing that
/// would be allowed.
#[map]
pub static ASKED: LruHashMap<AskedKey, Asked> = LruHashMap::with_max_entries(8192, 0);

/// Addresses, to the names that answers gave them. User space begins a bank with what it knows of
/// the run's answers; then they come from here. Full: counted, and what is not bound is decided by
/// its address alone.
#[btf_map]
pub static BOUND: Banks<btf_maps::HashMap<NetKey, Bound, 1, { ON_DEMAND as usize }>> = Banks::new();

/// Resolvers whose answers may allow: 1, or 0 once a process of the run has answered from there.
#[map]
pub static RESOLVERS: HashMap<NetKey, u32> = HashMap::with_max_entries(RESOLVERS_MAX, 0);

/// Network namespaces, by cookie, in which those resolvers are who they are. Sized at load.
#[map]
pub static NETWORKS: HashMap<u64, u32> = HashMap::with_max_entries(1, 0);

/// What a socket is at. Lives as long as the socket; one that is accepted begins with a copy of what
/// the listening one has. No memory: a connect is without its result, and a connection's payload is
/// not told; both are counted.
#[btf_map]
pub static SOCKETS: ClonedStorage<Socket> = ClonedStorage::new();

/// A connection's beginning, while it is held against the rules on names. Lives until it is, or as
/// long as the socket. No memory: the connection is denied.
#[btf_map]
pub static HEADS: SkStorage<Head> = SkStorage::new();

/// What is read of a connection's requests, to hold them against the rules on names. Lives as long
/// as the socket, or until it is no HTTP. No memory: the connection is denied.
#[btf_map]
pub static REQUESTS: SkStorage<Request> = SkStorage::new();

/// Storage of a socket that is cloned with it. aya's own has no such flag: BPF_F_NO_PREALLOC and
/// BPF_F_CLONE (include/uapi/linux/bpf.h).
#[repr(C)]
pub struct ClonedStorage<T> {
    r#type: *const [i32; bpf_map_type::BPF_MAP_TYPE_SK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; (ON_DEMAND | 1 << 9) as usize],
}

// SAFETY: a definition that the loader reads; nothing is reached through its pointers.
unsafe impl<T> Sync for ClonedStorage<T> {}

impl<T> ClonedStorage<T> {
    const fn new() -> Self {
        use core::ptr::null;
        Self { r#type: null(), key: null(), value: null(), max_entries: null(), map_flags: null() }
    }
}
