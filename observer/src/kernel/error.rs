//! Why the kernel side could not be put in place.

use thiserror::Error;

use super::btf::BtfError;
use super::programs::VMLINUX;

/// Why the kernel side could not be put in place.
#[derive(Debug, Error)]
pub enum LoadError {
    /// No BTF.
    #[error(
        "no BTF at {VMLINUX} ({0}): observer needs a kernel built with CONFIG_DEBUG_INFO_BTF=y, \
         as the stock kernels of Debian, Ubuntu, Fedora and Arch are"
    )]
    NoBtf(#[source] std::io::Error),
    /// BTF that can't be read.
    #[error("{VMLINUX}: {0}")]
    Btf(#[from] BtfError),
    /// A member that is needed and not there.
    #[error("this kernel has no {0}, which observer needs: please report the kernel's version")]
    Member(String),
    /// A rule that this kernel can't hold.
    #[error(
        "rule {rule}: this kernel can't hold {what} ({why}): remove the rule, or use a kernel with \
         `bpf` among its security modules (Debian's 6.1 and later have it)"
    )]
    Unheld {
        /// The rule's id.
        rule: String,
        /// What it denies.
        what: String,
        /// Why that can't be held.
        why: String,
    },
    /// A step that failed.
    #[error("cannot {step}{}", hint(source.as_ref()))]
    Step {
        /// What was tried.
        step: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn hint(source: &(dyn std::error::Error + Send + Sync + 'static)) -> &'static str {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(source);
    while let Some(error) = next {
        let io = error.downcast_ref::<std::io::Error>();
        match io.and_then(std::io::Error::raw_os_error) {
            Some(libc::EPERM) => {
                return " (root is needed, or CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_SYS_ADMIN)";
            }
            // BPF_TRACE_MAX_PROGS and BPF_CGROUP_MAX_PROGS (include/linux/bpf.h, bpf-cgroup-defs.h).
            Some(libc::E2BIG) => {
                return " (a hook takes 64 programs: so many runs can be recorded there at a time, and \
                        others' programs count too)";
            }
            _ => {}
        }
        next = error.source();
    }
    ""
}

pub(super) trait Step<T> {
    /// Names the step that failed.
    fn step(self, step: impl Into<String>) -> Result<T, LoadError>;
}

impl<T, E: Into<Box<dyn std::error::Error + Send + Sync>>> Step<T> for Result<T, E> {
    fn step(self, step: impl Into<String>) -> Result<T, LoadError> {
        self.map_err(|e| LoadError::Step { step: step.into(), source: e.into() })
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let text = error.to_string();
        if !out.contains(&text) {
            out.push_str(": ");
            out.push_str(&text);
        }
        next = error.source();
    }
    refusal(&out)
}

/// The first line, and of a verifier's log what it refuses: the last line before its figures
/// (kernel/bpf/verifier.c, print_verification_stats).
fn refusal(text: &str) -> String {
    const LOG: &str = "Verifier output:";
    let Some((first, log)) = text.split_once(LOG) else {
        return text.lines().next().unwrap_or_default().trim_end_matches(['.', ' ']).to_owned();
    };
    let figure = |line: &str| {
        ["processed ", "verification time ", "stack depth "].iter().any(|it| line.starts_with(it))
    };
    let first = first.trim_end_matches(['.', ' ']);
    match log.lines().map(str::trim).rfind(|line| !line.is_empty() && !figure(line)) {
        Some(reason) => format!("{first}; the verifier said: {reason}"),
        None => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_verifiers_log_what_it_refuses_is_said() {
        let log = "the BPF_PROG_LOAD syscall returned Permission denied (os error 13). Verifier \
                   output: reg type unsupported for arg#0 function door#236\n0: R1=ctx(off=0) \
                   R10=fp0\n12: (95) exit\nAt program exit the register R0 has value (0x1; 0x0)\n\
                   verification time 92 usec\nstack depth 0\n\
                   processed 10 insns (limit 1000000) max_states_per_insn 0\n\n";
        assert_eq!(
            refusal(log),
            "the BPF_PROG_LOAD syscall returned Permission denied (os error 13); \
             the verifier said: At program exit the register R0 has value (0x1; 0x0)"
        );
        assert_eq!(refusal("it failed. Verifier output: "), "it failed");
        assert_eq!(refusal("no such file.\nhelp"), "no such file");
    }
}
