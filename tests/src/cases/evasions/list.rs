//! The list of evasions, and the page that it makes.

/// A way round, and what comes of it.
#[derive(Clone, Copy, Debug)]
pub struct Evasion {
    /// The case that tries it.
    pub case: &'static str,
    /// What it tries.
    pub tries: &'static str,
    /// What comes of it where BPF LSM and trampolines load (Debian's 6.1 and 6.12).
    pub hooked: &'static str,
    /// What comes of it where they don't (6.18 without them).
    pub bare: &'static str,
}

const DENIED: &str = "denied, recorded";
const KILLED: &str = "killed before its first instruction, recorded";
const RECORDED: &str = "allowed, recorded for what it is";
const REFUSED: &str = "the rule is refused, coverage says so";
const UNCOVERED: &str = "not covered, coverage says so";

const fn same_everywhere(case: &'static str, tries: &'static str) -> Evasion {
    Evasion { case, tries, hooked: DENIED, bare: DENIED }
}

const fn program(case: &'static str, tries: &'static str) -> Evasion {
    Evasion { case, tries, hooked: DENIED, bare: KILLED }
}

const fn recorded(case: &'static str, tries: &'static str) -> Evasion {
    Evasion { case, tries, hooked: RECORDED, bare: RECORDED }
}

const fn door(case: &'static str, tries: &'static str) -> Evasion {
    Evasion { case, tries, hooked: DENIED, bare: REFUSED }
}

const fn family(case: &'static str, tries: &'static str) -> Evasion {
    Evasion { case, tries, hooked: DENIED, bare: UNCOVERED }
}

/// The suite.
pub const EVASIONS: &[Evasion] = &[
    same_everywhere("deny-holds-for-io-uring", "connect by io_uring"),
    same_everywhere(
        "evasion-polled-uring",
        "connect by a thread of the kernel's that polls an io_uring",
    ),
    same_everywhere("evasion-socket-by-uring", "socket and connect by io_uring"),
    same_everywhere("evasion-datagram-by-uring", "sendmsg by io_uring"),
    same_everywhere("deny-holds-for-fast-open", "MSG_FASTOPEN: data in the SYN, no connect(2)"),
    same_everywhere(
        "evasion-fastopen-option",
        "TCP_FASTOPEN_CONNECT: a connect that sends nothing yet",
    ),
    same_everywhere("deny-of-ipv4-holds-for-v4-mapped", "::ffff:a.b.c.d from an IPv6 socket"),
    same_everywhere("evasion-scoped", "an IPv6 address with scope and flow label"),
    same_everywhere("deny-of-127.0.0.1-holds-for-0.0.0.0", "0.0.0.0, which is this host"),
    same_everywhere("evasion-unspecified-v6", "::, which is this host"),
    same_everywhere("evasion-written-hex", "the address written as 0x7f.1"),
    same_everywhere("evasion-written-number", "the address written as 2130706433"),
    same_everywhere("evasion-written-octal", "the address written as 0177.0.0.1"),
    same_everywhere("deny-holds-for-udp", "a datagram without a connect"),
    same_everywhere("deny-holds-for-connected-udp", "a connected datagram socket"),
    same_everywhere("evasion-sendmmsg", "the second message of a sendmmsg(2)"),
    same_everywhere("evasion-sendmsg-unspec", "a destination whose family is AF_UNSPEC"),
    same_everywhere("evasion-v6-socket-v4-name", "an IPv4 destination given to an IPv6 socket"),
    same_everywhere("evasion-udp-connected-elsewhere", "connected to one, sent to another"),
    same_everywhere(
        "evasion-udp-unspec-then-there",
        "connect, connect to AF_UNSPEC, connect there (UDP)",
    ),
    same_everywhere(
        "evasion-tcp-unspec-then-there",
        "connect, connect to AF_UNSPEC, connect there (TCP)",
    ),
    same_everywhere("evasion-tcp-refused-then-there", "a socket that was refused, used again"),
    same_everywhere("evasion-bound-first", "from a local port that was bound first"),
    same_everywhere("evasion-udplite", "UDP-Lite instead of UDP"),
    same_everywhere("net-policy-denies-multipath-tcp", "Multipath TCP"),
    same_everywhere("net-policy-denies-raw-sockets", "a raw IP socket"),
    same_everywhere(
        "evasion-inherited-by-child",
        "the socket made by the parent, connected by the child",
    ),
    same_everywhere("evasion-duplicate", "a duplicate of the socket"),
    same_everywhere("deny-holds-for-threads", "a thread that is not the first"),
    same_everywhere("evasion-vfork", "a child that shares memory (vfork)"),
    same_everywhere("evasion-int80", "connect by a 32-bit system call"),
    same_everywhere("evasion-x32", "connect by the x32 ABI, where the kernel has it"),
    same_everywhere("deny-holds-in-child-cgroup", "a child cgroup"),
    same_everywhere("deny-holds-after-double-fork", "a daemon: two forks, the parent gone"),
    same_everywhere("deny-holds-in-another-session", "another session"),
    same_everywhere("evasion-in-user-namespace", "a user namespace"),
    same_everywhere("evasion-in-net-namespace", "a network namespace"),
    same_everywhere("evasion-in-new-cgroup-namespace", "a cgroup namespace"),
    same_everywhere(
        "deny-holds-for-a-process-that-escaped",
        "a move to another cgroup: recorded as an escape",
    ),
    Evasion {
        case: "deny-before-rules-follow-an-escape-ends-the-process",
        tries: "birth in another cgroup by clone3, and a connect before the rules follow",
        hooked: "killed, recorded, with the escape",
        bare: "killed, recorded, with the escape",
    },
    same_everywhere(
        "deny-holds-outside-after-a-connect-that-failed-at-once",
        "a connect that fails at once, then the same socket from another cgroup",
    ),
    same_everywhere("deny-holds-after-observer-is-killed", "kill -9 of observer"),
    same_everywhere(
        "evasion-flood-hides-no-denial",
        "a flood that fills the ring: the denial is recorded, the loss counted",
    ),
    same_everywhere("deny-by-sni-holds-in-single-bytes", "a ClientHello in segments of a byte"),
    same_everywhere(
        "deny-by-sni-holds-for-a-socket-that-has-listened",
        "a ClientHello by a socket that has listened before",
    ),
    same_everywhere("deny-by-sni-holds-over-many-records", "a ClientHello over many TLS records"),
    same_everywhere("deny-by-host", "a Host of another name, on an address that is open"),
    same_everywhere(
        "host-allowed-lets-no-other-be-asked-for",
        "the same on an address that is allowed by its name",
    ),
    same_everywhere("host-allowed-lets-none-be-asked-for", "a request without a Host"),
    same_everywhere(
        "host-allowed-lets-no-http2-through-in-the-clear",
        "HTTP/2 in the clear, on an address that is allowed by its name",
    ),
    same_everywhere("deny-by-host-holds-in-upper-case", "a Host in upper case"),
    same_everywhere("deny-by-host-holds-with-a-trailing-dot", "a Host with a dot at its end"),
    same_everywhere("deny-by-host-holds-in-single-bytes", "a request in segments of a byte"),
    same_everywhere("deny-by-host-holds-for-a-second-request", "a second request on a connection"),
    same_everywhere(
        "deny-by-host-holds-for-a-second-request-in-one-piece",
        "a second request in the packet of the first",
    ),
    same_everywhere("deny-by-host-holds-behind-content", "a request behind another's content"),
    same_everywhere("deny-by-host-holds-behind-chunks", "a request behind another's chunks"),
    same_everywhere("deny-by-host-holds-for-an-absolute-target", "the name in the target alone"),
    same_everywhere("deny-by-host-holds-for-connect", "CONNECT"),
    same_everywhere("deny-by-host-of-two-hosts", "two Hosts"),
    same_everywhere("deny-by-host-of-a-lone-carriage-return", "a Host behind a CR without its LF"),
    same_everywhere(
        "deny-by-host-of-a-length-and-chunks",
        "a content with two lengths, for a request in it",
    ),
    same_everywhere(
        "deny-by-host-is-not-sent-again-once-its-run-has-ended",
        "a request left in a socket, to be sent again when the run is over",
    ),
    same_everywhere(
        "deny-of-a-question-is-not-sent-again-once-its-run-has-ended",
        "the same of a question over TCP",
    ),
    program("deny-program-by-path-through-symlink", "a symbolic link to the program"),
    program("deny-program-through-relative-path", "a relative path"),
    program("evasion-program-by-proc-self-root", "/proc/self/root before the path"),
    program("evasion-program-by-descriptor", "execveat with AT_EMPTY_PATH"),
    program("evasion-program-by-proc-self-fd", "/proc/self/fd/N"),
    program("evasion-program-from-thread", "execve from a thread that is not the first"),
    program(
        "evasion-program-with-2-mib-of-arguments",
        "argv of 2 MiB before the argument that a rule names",
    ),
    program("deny-holds-and-is-recorded-for-32-bit-calls", "execve by a 32-bit system call"),
    program("deny-interpreter-stops-script", "a script whose first line names the program"),
    Evasion {
        case: "deny-by-args-stops-command-before-it-acts",
        tries: "arguments changed while execve runs: they are judged where only the new program has them",
        hooked: KILLED,
        bare: KILLED,
    },
    recorded("copy-under-another-name-passes-rule-by-name", "a copy under another name"),
    recorded("program-in-memfd-passes-rule-by-name-and-is-recorded-as-one", "a copy in a memfd"),
    program(
        "deny-by-hash-holds-for-a-copy-under-another-name",
        "a copy under another name, where the rule names a hash",
    ),
    program(
        "deny-by-hash-holds-for-a-hard-link",
        "a hard link under another name, where the rule names a hash",
    ),
    program(
        "program-in-memfd-is-denied-where-hashes-are",
        "a copy in a memfd, where a rule names a hash: it has none",
    ),
    program(
        "loader-given-a-program-is-denied-where-hashes-are",
        "ld-linux.so given the program, where a rule names a hash: it opens it unseen",
    ),
    program(
        "script-is-denied-by-its-hash",
        "a script, where the rule names its hash; without BPF LSM no script has one",
    ),
    recorded(
        "copy-with-a-byte-more-passes-rule-by-hash",
        "a copy with one byte more, where the rule names a hash",
    ),
    door("deny-unix-by-path", "a unix socket: docker.sock and its like"),
    door("deny-unix-holds-through-a-symbolic-link", "a symbolic link to the socket"),
    door("deny-unix-holds-through-a-hard-link", "a hard link to the socket"),
    door("deny-unix-holds-through-proc-self-root", "/proc/self/root before the socket's path"),
    door("deny-unix-holds-for-relative-path", "a path relative to the socket's directory"),
    door("deny-unix-by-abstract-name-and-no-other", "an abstract name"),
    door("deny-unix-holds-for-datagrams", "a datagram to a unix socket"),
    door("deny-system-ptrace", "ptrace of a process outside of the run"),
    door("deny-system-ptrace-holds-for-process-vm-writev", "process_vm_writev into one"),
    door("deny-system-ptrace-holds-for-proc-mem", "/proc/PID/mem of one"),
    door("deny-system-ptrace-holds-for-pidfd-getfd", "pidfd_getfd from one"),
    door("deny-system-signal", "a signal to one"),
    door("deny-system-signal-holds-for-pidfds", "pidfd_send_signal to one"),
    door(
        "deny-system-signal-holds-for-descriptors",
        "F_SETOWN, F_SETSIG and O_ASYNC: the kernel sends it when data comes",
    ),
    door("deny-system-limits", "prlimit of one: no more time, no more files"),
    door("deny-system-limits-holds-for-priorities", "setpriority of one"),
    door("deny-system-limits-holds-for-disks", "ioprio_set of one"),
    door("deny-system-limits-holds-for-scheduling", "sched_setaffinity of one"),
    door("deny-system-bpf", "bpf(2)"),
    door("deny-system-mount", "mount(2) in a mount namespace of its own"),
    door(
        "deny-system-mount-holds-for-fsmount",
        "fsopen, fsconfig, fsmount: a mount that hangs nowhere",
    ),
    door("deny-system-kernel", "init_module(2)"),
    door("deny-system-userns", "a user namespace"),
    door("deny-system-netlink", "a netlink socket of netfilter"),
    door("deny-system-cgroup", "writing cgroup.procs of another cgroup"),
    door("deny-system-cgroup-holds-for-birth", "clone3 with CLONE_INTO_CGROUP"),
    family("net-policy-denies-packet-sockets", "a packet socket"),
    family("net-policy-denies-vsock", "a vsock socket"),
    family(
        "net-policy-keeps-back-a-datagram-socket-from-elsewhere",
        "a datagram socket passed on by a process outside of the run",
    ),
    family(
        "net-policy-judges-a-connection-from-elsewhere",
        "a connection passed on by a process outside of the run",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The page that the list makes.
    fn page() -> String {
        let mut out = String::from(
            "# Evasions\n\n\
             Ways round a recorder or a rule, and what comes of each. Every row is an end-to-end case (`tests/src/cases`), which fails \
             where the row is not so. `cargo xtask evasions` runs all of them on the kernel that is there and on stock Debian 6.1 and \
             6.12 in virtual machines; `cargo xtask test` runs all here and one of each kind there. \"Denied\" means too that nothing reached the \
             far end. What a kernel lacks altogether is skipped there, and said: x32 on all three.\n\n\
             Last run whole on 6.1 and 6.12: 2026-11-25: 79 rows held on each, x32 was skipped, none failed. Rows were added after it; those on descriptors and limits were run on both on 2026-11-27.\n\n\
             This page is written by `cargo test -p observer-tests -- --ignored`, from `tests/src/cases/evasions/list.rs`.\n\n\
             | what is tried | 6.1, with BPF LSM | 6.12, with BPF LSM | 6.18, without | case |\n|---|---|---|---|---|\n",
        );
        for Evasion { case, tries, hooked, bare } in EVASIONS {
            out.push_str(&format!("| {tries} | {hooked} | {hooked} | {bare} | `{case}` |\n"));
        }
        out
    }

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/EVASIONS.md");

    #[test]
    #[ignore = "it writes docs/EVASIONS.md"]
    fn write_the_page() {
        std::fs::write(PAGE, page()).unwrap();
    }

    #[test]
    fn the_page_is_what_the_list_says() {
        assert_eq!(std::fs::read_to_string(PAGE).unwrap(), page());
    }

    #[test]
    fn each_row_names_a_case_of_its_own() {
        let cases: Vec<&str> = crate::cases::all().map(|(name, _)| name).collect();
        let mut rows: Vec<&str> = EVASIONS.iter().map(|row| row.case).collect();
        for row in &rows {
            assert!(cases.contains(row), "{row} is no case");
        }
        rows.sort_unstable();
        let count = rows.len();
        rows.dedup();
        assert!(count == rows.len() && count >= 40);
    }
}
