//! The cases, by what they guard.

mod allow_exec;
mod attach;
mod burst;
mod clients;
mod commands;
mod coverage;
mod deny_exec;
mod deny_host;
mod deny_name;
mod deny_net;
mod doors;
mod environment;
pub mod evasions;
mod exec;
mod hashes;
mod http;
mod http2;
mod https;
mod https_bun;
mod https_rustls;
mod ledger;
mod ledger_trouble;
mod lifecycle;
mod names;
mod net;
mod refused;
mod reload;
mod script_args;
mod signals;
mod standing;
mod suggest;
mod tail;
mod tls;
mod would;

use anyhow::Result;

use crate::harness::Ctx;

/// One case.
pub type Case = fn(&Ctx) -> Result<()>;

/// What is tried on each kernel that the tests boot: a case for each hook and each way in which
/// kernels differ. An emulated kernel takes seconds to look through the programs of one run.
const ON_EACH_KERNEL: &[&str] = &[
    "exec-has-full-argv-cwd-and-exit-status",
    "exec-of-missing-file-is-recorded",
    "script-names-its-interpreter",
    "connect-is-recorded-with-its-success",
    "connect-by-io-uring-is-recorded",
    "connect-to-unix-socket-is-recorded-with-its-path",
    "dns-question-is-recorded-with-its-answer",
    "host-allowed-by-name-is-reached",
    "host-not-allowed-is-not-asked-for",
    "deny-by-sni",
    "deny-by-host",
    "deny-by-host-is-not-sent-again-once-its-run-has-ended",
    "deny-of-a-question-is-not-sent-again-once-its-run-has-ended",
    "deny-of-half-a-question-is-not-sent-again-once-its-run-has-ended",
    "deny-by-address",
    "deny-holds-for-io-uring",
    "net-policy-denies-raw-sockets",
    "default-deny-lets-only-allowed-through",
    "deny-program-by-path",
    "deny-interpreter-stops-script",
    "deny-by-args-stops-command-before-it-acts",
    "deny-by-hash-holds-for-a-copy-under-another-name",
    "file-that-was-written-to-is-not-allowed-by-its-hash",
    "script-is-denied-by-its-hash",
    "script-allowed-with-arguments-runs-with-them",
    "script-allowed-with-arguments-runs-with-no-others",
    "script-denied-by-arguments-is-denied-by-any-path",
    "interpreter-allowed-with-arguments-allows-no-script",
    "deny-holds-and-is-recorded-for-32-bit-calls",
    "deny-unix-by-path",
    "deny-unix-holds-for-datagrams",
    "deny-unix-of-a-datagram-sockets-connect-is-told-once",
    "deny-system-ptrace",
    "deny-system-signal",
    "deny-system-signal-holds-for-descriptors",
    "deny-system-limits",
    "deny-system-bpf",
    "deny-system-mount",
    "net-policy-denies-packet-sockets",
    "net-policy-judges-a-connection-from-elsewhere",
    "would-deny-program-lets-it-run-and-says-so",
    "reload-decides-from-then-on-and-a-bad-policy-keeps-the-old",
    "reload-ends-a-connection-that-it-denies",
    "reload-ends-a-connected-datagram-socket",
    "sockets-without-a-hook-are-said-in-each-run",
    "what-this-kernels-hooks-leave-out-is-said",
    "tls-is-recorded-with-its-name-and-what-passed",
    "https-of-openssl-is-read-and-masked",
    "burst-of-execs-is-recorded-or-counted",
    "each-program-stays-far-from-the-verifiers-limit",
];

/// All of them, each with its name, which says what it guards.
pub fn all() -> impl Iterator<Item = (&'static str, Case)> {
    [
        exec::CASES,
        net::CASES,
        names::CASES,
        deny_name::CASES,
        deny_host::CASES,
        deny_net::CASES,
        deny_exec::CASES,
        allow_exec::CASES,
        hashes::CASES,
        script_args::CASES,
        doors::CASES,
        evasions::CASES,
        would::CASES,
        reload::CASES,
        standing::CASES,
        suggest::CASES,
        lifecycle::CASES,
        attach::CASES,
        ledger::CASES,
        ledger_trouble::CASES,
        signals::CASES,
        coverage::CASES,
        commands::CASES,
        tail::CASES,
        tls::CASES,
        http::CASES,
        http2::CASES,
        https::CASES,
        https_bun::CASES,
        https_rustls::CASES,
        clients::CASES,
        refused::CASES,
        environment::CASES,
        burst::CASES,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// Those that are tried on each kernel.
pub fn on_each_kernel() -> impl Iterator<Item = (&'static str, Case)> {
    all().filter(|(name, _)| ON_EACH_KERNEL.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_on_each_kernel_is_there() {
        let there: Vec<_> = on_each_kernel().map(|(name, _)| name).collect();
        let gone = |name: &&&str| !there.contains(*name);
        assert_eq!(ON_EACH_KERNEL.iter().filter(gone).collect::<Vec<_>>(), [&""; 0]);
    }
}
