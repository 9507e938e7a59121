//! `cargo xtask demo`: an agent runs under observer and its ledger is shown, verified, and broken.
//! What it claims, it checks: no secret in the ledger, what was denied and what failed in it.

mod claims;
mod server;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use xtask::place;

use crate::run::{self, cargo, run, stream};
use crate::setup::{self, Group};
use claims::{Claims, Secrets};
use server::Server;

/// What the agent may not do.
const POLICY: &str = r#"version = 1
default = "allow"

[[deny]]
id  = "cloud-metadata"
why = "instance credentials"
net = { to = ["169.254.169.254"] }

[[deny]]
id   = "no-shred"
why  = "destroys what others may need as evidence"
exec = { program = "shred" }
"#;

/// No step takes longer, unless something hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// `demo`.
pub(crate) fn command() -> Result<ExitCode> {
    let holds = holds(|| {
        setup::ensure(&[Group::Build])?;
        run(cargo().args(["build", "--release", "--package", "observer"]))?;
        Ok(place::target().join("release/observer"))
    })?;
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Plays it with the program that is built once all else is there, and says whether every claim
/// holds.
pub(crate) fn holds(build: impl FnOnce() -> Result<PathBuf>) -> Result<bool> {
    let start = Instant::now();
    if !run::is_root() {
        bail!(
            "observer loads programs into the kernel, for which the demonstration needs root:\n  \
             sudo --preserve-env=PATH,HOME cargo xtask demo"
        );
    }
    if place::program("curl").is_none() {
        bail!("the demonstration's agent needs curl: `cargo xtask setup test`");
    }
    let demo = Demo::prepare(build()?)?;
    let left = || format!("the demonstration's files are left in {}", demo.directory.display());
    let holds = demo.play().with_context(left)?;
    let took = start.elapsed().as_secs_f32();
    if holds {
        let _ = fs::remove_dir_all(&demo.directory);
        println!("\ndemo: every claim holds ({took:.1} s)");
    } else {
        println!("\ndemo: FAILED ({took:.1} s); {}", left());
    }
    Ok(holds)
}

/// The demonstration's files: none of the host's own is touched.
struct Demo {
    observer: PathBuf,
    directory: PathBuf,
    policy: PathBuf,
    ledger: PathBuf,
    state: PathBuf,
    evidence: PathBuf,
}

/// What stands in the file that the agent tries to destroy.
const EVIDENCE: &str = "what happened\n";

impl Demo {
    fn prepare(observer: PathBuf) -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("observer-demo-{}", std::process::id()));
        fs::create_dir(&directory)
            .with_context(|| format!("can't create {}", directory.display()))?;
        let demo = Self {
            observer,
            policy: directory.join("policy.toml"),
            ledger: directory.join("ledger.jsonl"),
            state: directory.join("state"),
            evidence: directory.join("evidence"),
            directory,
        };
        fs::write(&demo.policy, POLICY)
            .with_context(|| format!("can't write {}", demo.policy.display()))?;
        // Open to everyone, so that nothing but the policy protects it.
        fs::write(&demo.evidence, EVIDENCE)
            .and_then(|()| fs::set_permissions(&demo.evidence, Permissions::from_mode(0o666)))
            .with_context(|| format!("can't write {}", demo.evidence.display()))?;
        Ok(demo)
    }

    /// Every step in its order; false if a claim doesn't hold.
    fn play(&self) -> Result<bool> {
        let secrets = Secrets::generate()?;
        let server = Server::start()?;
        let refused = server::unused_port()?;

        heading("An agent runs, and observer watches");
        let agent = place::workspace().join("tests/agents/demo-agent.sh");
        let mut run = Command::new(&self.observer);
        run.args(["run", "--name", "demo", "--policy"])
            .arg(&self.policy)
            .arg("--log")
            .arg(&self.ledger)
            .arg("--state-dir")
            .arg(&self.state)
            .args(["--", "sh"])
            .arg(&agent)
            .args([server.port().to_string(), refused.to_string()])
            .arg(&self.evidence);
        secrets.give_to(&mut run);
        let agent_exit = show(&mut run)?;

        heading("What it tried is in the ledger");
        let tail = show(self.observer("tail").arg("--log").arg(&self.ledger))?;

        heading("Anyone who has the host's public key can verify it");
        let verified = show(&mut self.verify(&self.ledger))?;

        heading("One byte of a copy is changed");
        let (copy, at) = self.tamper()?;
        println!("byte {at} of {}", copy.display());
        let refused_copy = show(&mut self.verify(&copy))?;

        heading("What this demonstration claims");
        let text = fs::read(&self.ledger)
            .with_context(|| format!("can't read {}", self.ledger.display()))?;
        let mut claims = Claims::default();
        claims.check("the agent ran to its end", agent_exit == 0);
        claims.check("the servers got the real secrets", secrets.all_reached(&server.requests()));
        let untouched = fs::read(&self.evidence).is_ok_and(|left| left == EVIDENCE.as_bytes());
        claims.check("the file that the denied program was to destroy is whole", untouched);
        claims.about_the_ledger(&text, &secrets);
        claims.check("`observer tail` shows the ledger", tail == 0);
        claims.check("`observer verify` accepts the ledger", verified == 0);
        claims.check("`observer verify` refuses the changed copy", refused_copy == 1);
        Ok(claims.hold())
    }

    fn observer(&self, command: &str) -> Command {
        let mut observer = Command::new(&self.observer);
        observer.arg(command);
        observer
    }

    fn verify(&self, ledger: &Path) -> Command {
        let mut verify = self.observer("verify");
        verify.arg(ledger).arg("--key").arg(self.state.join("host.pub"));
        verify
    }

    /// Changes one letter or digit in the middle of a copy, and says where.
    fn tamper(&self) -> Result<(PathBuf, usize)> {
        let mut ledger = fs::read(&self.ledger)
            .with_context(|| format!("can't read {}", self.ledger.display()))?;
        let middle = ledger.len() / 2;
        let at = (middle..ledger.len())
            .find(|&at| ledger[at].is_ascii_alphanumeric())
            .context("the ledger is empty")?;
        ledger[at] = if ledger[at] == b'0' { b'1' } else { b'0' };
        let copy = self.directory.join("changed.jsonl");
        fs::write(&copy, ledger).with_context(|| format!("can't write {}", copy.display()))?;
        Ok((copy, at))
    }
}

fn heading(text: &str) {
    println!("\n=== {text}");
}

/// Runs a command in front of the reader, and says how it ended; 255 stands for a signal.
fn show(command: &mut Command) -> Result<i32> {
    println!("$ {}", run::line_of(command));
    let status = stream(command, LIMIT, &mut |line| {
        println!("{line}");
        Ok(())
    })?;
    let code = status.code().unwrap_or(255);
    println!("(exit status {code})");
    Ok(code)
}
