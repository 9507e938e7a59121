//! The commands.

mod attach;
mod doctor;
mod key;
mod mask;
mod policy;
mod prove;
mod run;
mod selfcheck;
mod tail;
mod verify;
mod witness;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use observer::assemble::http::{Capture, CaptureRule};
use observer::daemon;
use observer::ledger::{Elsewhere, Epochs, Rotation};
use observer::masking::{KeyChoice, Masking};

/// Writes an answer to standard output. A reader that has gone away has seen enough: the answer is
/// still the exit code.
fn answer(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// The flight recorder for AI agents on Linux: what an agent executes and where it connects,
/// seen from outside of it, masked, signed, in a file that it can't reach.
#[derive(Parser)]
#[command(name = "observer", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  observer run --name coder -- claude              record an agent from its first exec
  observer run --policy policy.toml -- ./agent.sh  and hold it to a policy
  observer attach --pid 4711                       record what runs already
  observer tail -f                                 read along
  observer verify                                  is the record whole, and ours?

Exit codes: 0 fine; 1 the answer is no; 2 usage or environment. `run` returns the agent's own.";

#[derive(Subcommand)]
enum Command {
    /// Run a command as an observed agent
    Run(run::RunArgs),
    /// Observe what runs in a cgroup already
    Attach(attach::AttachArgs),
    /// Show records as they are read by people
    Tail(tail::TailArgs),
    /// Check that a ledger holds
    Verify(verify::VerifyArgs),
    /// Prove one record to somebody who has nothing else of the ledger
    Prove(prove::ProveArgs),
    /// Check policies, explain and replay them, suggest one, have them read again
    Policy(policy::PolicyArgs),
    /// Show this host's keys
    Key(key::KeyArgs),
    /// Say what would be masked and why, or whether a secret occurs in a ledger
    Mask(mask::MaskArgs),
    /// Keep other hosts' checkpoints, and cosign them
    Witness(witness::WitnessArgs),
    /// Say what this host can do for observer
    Doctor(doctor::DoctorArgs),
    /// Try everything on a decoy, and read the record of it
    Selfcheck(selfcheck::SelfcheckArgs),
}

/// Does what was asked.
pub(crate) fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Run(args) => run::run(args),
        Command::Attach(args) => attach::run(args),
        Command::Tail(args) => tail::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Prove(args) => prove::run(args),
        Command::Policy(args) => policy::run(args),
        Command::Key(args) => key::run(args),
        Command::Mask(args) => mask::run(args),
        Command::Witness(args) => witness::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Selfcheck(args) => selfcheck::run(args),
    }
}

/// What `run` and `attach` share.
#[derive(clap::Args)]
struct Recording {
    /// The policy that is held; without it /etc/observer/policy.toml where that is there
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The ledger [default: /var/log/observer/ledger.jsonl]
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Where this host's key is
    #[arg(long, value_name = "DIR", default_value = daemon::STATE)]
    state_dir: PathBuf,
    /// What becomes of the agent while the ledger can't be written
    #[arg(long, value_enum, default_value_t = OnLedgerError::GoOn)]
    on_ledger_error: OnLedgerError,
    /// Rules beside the built-in ones, in the TOML form of gitleaks; read again when they change
    #[arg(long, value_name = "FILE")]
    mask_rules: Option<PathBuf>,
    /// Which key values are masked under
    #[arg(long, value_enum, default_value_t = MaskKey::Run)]
    mask_key: MaskKey,
    /// Mask e-mail addresses too
    #[arg(long)]
    mask_email: bool,
    /// Whether the contents of HTTP messages are recorded
    #[arg(long, value_enum, default_value_t = HttpBody::Masked)]
    http_body: HttpBody,
    /// How much of each is kept, in KiB
    #[arg(long, value_name = "KIB", default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=64))]
    http_body_limit: u64,
    /// And for some hosts or types: HOST[,TYPE]=KIB|none, the first that fits counts
    #[arg(long, value_name = "RULE", value_parser = CaptureRule::parse)]
    http_body_rule: Vec<CaptureRule>,
    /// Append checkpoints to this file too: best where the host can only append
    #[arg(long, value_name = "FILE")]
    anchor: Vec<PathBuf>,
    /// Send checkpoints to the host's log too (/dev/log)
    #[arg(long)]
    syslog: bool,
    /// Have checkpoints cosigned by a witness: "http://HOST:PORT KEY", as it says them
    #[arg(long, value_name = "WITNESS", value_parser = Elsewhere::witness)]
    witness: Vec<Elsewhere>,
    /// Close the ledger's file at this size, in MiB, compress it, and begin another
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..1 << 20))]
    segment_size: u64,
    /// And at this age, in days
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..36_500))]
    segment_age: u64,
    /// Replace the host's key after so many records: what was signed before can't be signed anew
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    key_records: Option<u64>,
    /// Replace the host's key at this age, in days
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..36_500))]
    key_age: Option<u64>,
    /// Size of the rings that the kernel tells calls and payload in, in MiB: a power of two, 1 to 512
    ///
    /// What comes while they are full is lost, and said. Denials have a ring of their own, of a
    /// quarter of this and 1 MiB at least.
    #[arg(long, value_name = "MIB", default_value = "16", value_parser = ring_size)]
    ring_size: u32,
    /// Leave out LSM and fexit programs, so that what stands in for them is used
    #[arg(long, hide = true)]
    no_trampolines: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum OnLedgerError {
    /// It goes on; what could not be kept is counted and recorded later
    GoOn,
    /// It is stopped until the ledger can be written again
    Freeze,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum HttpBody {
    /// Masked, as far as --http-body-limit and --http-body-rule say
    Masked,
    /// Their sizes and types alone, whatever the rules say
    None,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum MaskKey {
    /// A new one, kept on this host for `observer mask --match`
    Run,
    /// One for all runs of this host, so that equal values can be told across runs
    Host,
    /// A new one that is forgotten with the run
    Forget,
}

impl Recording {
    fn settings(self, name: String) -> daemon::Settings {
        daemon::Settings {
            name,
            policy: self.policy,
            log: self.log,
            state: self.state_dir,
            masking: Masking {
                rules: self.mask_rules,
                key: match self.mask_key {
                    MaskKey::Run => KeyChoice::Run,
                    MaskKey::Host => KeyChoice::Host,
                    MaskKey::Forget => KeyChoice::Forget,
                },
                email: self.mask_email,
            },
            capture: match self.http_body {
                HttpBody::None => Capture { body: 0, rules: vec![] },
                HttpBody::Masked => Capture {
                    body: usize::try_from(self.http_body_limit * 1024).unwrap_or(Capture::BODY),
                    rules: self.http_body_rule,
                },
            },
            elsewhere: self
                .anchor
                .into_iter()
                .map(Elsewhere::File)
                .chain(self.syslog.then(|| Elsewhere::Syslog("/dev/log".into())))
                .chain(self.witness)
                .collect(),
            epochs: Epochs {
                records: self.key_records.unwrap_or(Epochs::default().records),
                age: self
                    .key_age
                    .map_or(Epochs::default().age, |days| Duration::from_secs(days * 24 * 3600)),
            },
            rotation: Rotation {
                size: self.segment_size << 20,
                age: Duration::from_secs(self.segment_age * 24 * 3600),
            },
            freeze: matches!(self.on_ledger_error, OnLedgerError::Freeze),
            ring: self.ring_size,
            no_trampolines: self.no_trampolines,
        }
    }
}

/// A ring's size: MiB to bytes.
fn ring_size(text: &str) -> Result<u32, String> {
    let known = text.parse::<u32>().ok().filter(|mib| mib.is_power_of_two() && *mib <= 512);
    known.map(|mib| mib << 20).ok_or_else(|| {
        "a power of two is wanted: 1, 2, 4, 8, 16, 32, 64, 128, 256 or 512".to_owned()
    })
}

/// An exit code as the system has it.
fn code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(u8::MAX))
}
