//! What is not seen or held on this kernel, said at a run's beginning.

use crate::clock;
use crate::kernel::{Capabilities, ExecDenial, ExecExit, Ties};
use crate::ledger::{Entry, Writer};
use crate::model::RunId;

/// Writes a `coverage` record for each gap. `by_hash`: the policy has rules on programs' hashes.
pub(super) fn say(run: RunId, found: &Capabilities, by_hash: bool, writer: &mut Writer) {
    let mut say = |what: &str, covered: bool, why: String| {
        let what = what.to_owned();
        writer.append(Entry::Coverage { run, at: clock::now(), what, covered, why });
    };
    if found.exec_denial == ExecDenial::Kill {
        let why = "no LSM hook here: a denied program is killed before its first instruction, and \
                   a script's path is judged as it was written";
        say("exec.denial", true, why.to_owned());
        if by_hash {
            let why = "no LSM hook here: a script's file is not seen, and counts as a program without \
                       a hash";
            say("scripts by hash", false, why.to_owned());
        }
    }
    let why = "the ends of 32-bit system calls are not watched: an exec that fails in one is not \
               seen (one that is denied is)";
    say("exec.failure.32-bit", false, why.to_owned());
    if found.exec_exit == ExecExit::Tracepoint {
        let why = "no trampolines here: a connect through io_uring or a 32-bit system call that \
                   fails before it is on its way has no result, and one to a unix socket is not seen";
        say("connect.io_uring", false, why.to_owned());
    }
    if let Ties::None(why) = &found.ties {
        say("tls sockets", false, format!("plaintext is not tied to its socket: {why}"));
    }
    for (what, why) in found.doors.gaps() {
        say(what, false, why);
    }
    let why = "it is read in OpenSSL, GnuTLS, Go's crypto/tls and where BoringSSL's or rustls' functions \
               can be told; of another library's connection the name, the addresses and how much passed are told";
    say("tls plaintext of other libraries", false, why.to_owned());
    let why =
        "of an HTTP message that is larger, what is over 256 KiB a turn and a second is not read";
    say("http, large messages", false, why.to_owned());
    let why = "a connection that was accepted is not told as a handshake or a request; QUIC and other \
               UDP are not read";
    say("tls and http, as a server and over udp", false, why.to_owned());
    say("mcp", false, "this version does not read it".to_owned());
    let why = "DNS is read at port 53, over UDP and TCP; over TLS, HTTPS or QUIC, and at other \
               ports, it is not";
    say("encrypted dns", false, why.to_owned());
}
