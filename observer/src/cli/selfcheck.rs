//! `observer selfcheck`: a decoy does what an agent must not do unseen, and its record is read.

use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// An address of this host's own that the decoy's policy denies, and one where nobody listens.
const DENIED: &str = "127.86.0.1:9";
const REFUSED: &str = "127.86.0.2:1";
const POLICY: &str = "version = 1\ndefault = \"allow\"\n\n[[deny]]\nid = \"decoy-out-of-scope\"\n\
    net = { to = [\"127.86.0.1\"] }\n";

#[derive(clap::Args)]
#[command(after_help = "\
Exit 0: each attempt of the decoy is recorded, attributed, signed and masked. 1: one is not, and
which stands there.")]
pub(crate) struct SelfcheckArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Be the decoy
    #[arg(long, hide = true)]
    decoy: bool,
    /// The decoy's secret
    #[arg(long, hide = true, requires = "decoy")]
    password: Option<String>,
}

pub(crate) fn run(args: SelfcheckArgs) -> Result<ExitCode> {
    if args.decoy {
        return Ok(decoy());
    }
    let secret = observer::model::RunId::generate().to_string();
    let dir = std::env::temp_dir().join(format!("observer-selfcheck-{secret}"));
    fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let checked = check(&dir, &secret);
    fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    let failed: Vec<String> = checked?;
    let mut out = io::stdout().lock();
    if args.json {
        let found = serde_json::json!({ "passed": failed.is_empty(), "failed": failed });
        writeln!(out, "{found}")?;
    } else if failed.is_empty() {
        writeln!(
            out,
            "a denied call, a failed call and a secret: recorded, attributed, signed, masked"
        )?;
    } else {
        for what in &failed {
            writeln!(out, "FAILED: {what}")?;
        }
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// What the decoy does: a call out of scope, and one that fails. Its secret is in its arguments.
fn decoy() -> ExitCode {
    for address in [DENIED, REFUSED] {
        if let Ok(address) = address.parse::<SocketAddr>() {
            let _ = TcpStream::connect_timeout(&address, Duration::from_secs(2));
        }
    }
    ExitCode::from(3)
}

fn check(dir: &Path, secret: &str) -> Result<Vec<String>> {
    let (log, state, policy) =
        (dir.join("ledger.jsonl"), dir.join("state"), dir.join("policy.toml"));
    fs::write(&policy, POLICY)?;
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let decoy: Vec<PathBuf> = vec![own.clone()];
    let status = Command::new(&own)
        .args(["run", "--name", "selfcheck", "--policy"])
        .arg(&policy)
        .arg("--log")
        .arg(&log)
        .arg("--state-dir")
        .arg(&state)
        .arg("--")
        .args(decoy)
        .args(["selfcheck", "--decoy", "--password", secret])
        .stdout(Stdio::null())
        .output()
        .context("cannot run the decoy")?;
    if !log.exists() {
        bail!("the decoy was not recorded: {}", String::from_utf8_lossy(&status.stderr).trim());
    }
    let mut failed = vec![];
    let mut expect = |what: &str, holds: bool| {
        if !holds {
            failed.push(what.to_owned());
        }
    };
    expect("the decoy's exit code came through", status.status.code() == Some(3));
    let text = fs::read_to_string(&log)?;
    let records: Vec<Value> = text
        .lines()
        .filter_map(|line| {
            serde_json::from_str::<Value>(line).ok()?.get_mut("rec").map(Value::take)
        })
        .collect();
    let run = records.iter().find(|r| r["type"] == "run.start").map(|r| r["run"].clone());
    expect("the run's beginning is recorded", run.is_some());
    let calls: Vec<&Value> = records.iter().filter(|r| r["type"] == "call").collect();
    expect(
        "each call is attributed to the run",
        calls.iter().all(|c| Some(&c["run"]) == run.as_ref()),
    );
    expect(
        "the program is recorded",
        calls.iter().any(|c| c["kind"] == "exec" && c["verdict"] == "allowed"),
    );
    let to = |port: u64, addr: &str| {
        calls.iter().find(|c| c["net"]["peer"]["addr"] == addr && c["net"]["peer"]["port"] == port)
    };
    let denied = to(9, "127.86.0.1");
    expect(
        "the call out of scope is recorded as denied by its rule",
        denied.is_some_and(|c| c["verdict"] == "denied" && c["rule"] == "decoy-out-of-scope"),
    );
    let refused = to(1, "127.86.0.2").map(|c| c["call"].clone());
    expect("the failing call is recorded", refused.is_some());
    expect(
        "its failure is recorded",
        records.iter().any(|r| {
            r["type"] == "result"
                && Some(&r["call"]) == refused.as_ref()
                && r["outcome"]["error"] == "ECONNREFUSED"
        }),
    );
    expect("the secret is in no record", !text.contains(secret));
    expect("the secret is masked", text.contains("<mask:password:"));
    expect("the run is closed", records.iter().any(|r| r["type"] == "run.end"));
    let verified = Command::new(&own)
        .arg("verify")
        .arg(&log)
        .arg("--key")
        .arg(state.join("host.pub"))
        .output()
        .context("cannot verify the decoy's ledger")?;
    expect("the ledger verifies", verified.status.success());
    Ok(failed)
}
