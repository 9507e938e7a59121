//! What observer refuses to start with: exit status 2, one clear message, nothing left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use super::Case;
use crate::harness::{Ctx, PATIENCE, Run, command, finished, leftovers, never_ran, same};

const RULE: &str = "[[deny]]\nid = \"one\"\nnet = { to = [\"192.0.2.1\"] }\n";

pub(super) const CASES: &[(&str, Case)] = &[
    ("policy-with-unknown-key-is-refused", |ctx| {
        policy(ctx, "version = 1\ndefault = \"allow\"\ncolour = \"red\"\n", "colour")
    }),
    ("policy-with-doubled-id-is-refused", |ctx| {
        policy(ctx, &format!("version = 1\ndefault = \"allow\"\n{RULE}{RULE}"), "one")
    }),
    ("policy-with-bad-prefix-is-refused", |ctx| {
        let text = RULE.replace("192.0.2.1", "192.0.2.0/99");
        policy(ctx, &format!("version = 1\ndefault = \"allow\"\n{text}"), "192.0.2.0/99")
    }),
    ("policy-that-is-no-toml-is-refused", |ctx| policy(ctx, "version = = 1\n", "policy.toml")),
    ("log-that-is-a-directory-is-refused", |ctx| {
        let dir = ctx.dir.join("a-directory");
        fs::create_dir(&dir)?;
        log(ctx, dir, "a-directory")
    }),
    ("log-that-is-a-fifo-is-refused", |ctx| {
        let fifo = ctx.fifo("a-fifo")?;
        log(ctx, fifo.into(), "a-fifo")
    }),
    ("run-without-root-is-refused", not_root),
];

fn policy(ctx: &Ctx, text: &str, names: &str) -> Result<()> {
    let effect = ctx.path("effect")?;
    refused(Run::new(ctx).policy_text(text).agent(["touch", &effect]), &effect, names)?;
    never_ran(&ctx.path("run/log.jsonl")?)
}

fn log(ctx: &Ctx, path: PathBuf, names: &str) -> Result<()> {
    let effect = ctx.path("effect")?;
    refused(Run::new(ctx).log(path).agent(["touch", &effect]), &effect, names)
}

fn refused(run: Run<'_>, effect: &str, names: &str) -> Result<()> {
    let before = leftovers()?;
    let (code, said) = run.start()?.end()?;
    never_ran(effect)?;
    clear(code, &said, names)?;
    same("what is left behind", leftovers()?, before)
}

fn clear(code: Option<i32>, said: &str, names: &str) -> Result<()> {
    ensure!(code == Some(2), "exit status: wanted 2, saw {code:?}; stderr: {said:?}");
    ensure!(said.contains(names), "the message does not name {names:?}: {said}");
    ensure!(!said.contains("panicked"), "a panic is no message: {said}");
    let lines = said.lines().count();
    ensure!(lines <= 12, "{lines} lines are no clear message: {said}");
    Ok(())
}

fn not_root(ctx: &Ctx) -> Result<()> {
    const NOBODY: u32 = 65534;
    // Everything else is as it should be: the binary can be reached, the directory be written.
    let (observer, effect) = (ctx.dir.join("observer"), ctx.path("effect")?);
    fs::copy(&ctx.observer, &observer)?;
    fs::set_permissions(&ctx.dir, fs::Permissions::from_mode(0o777))?;
    let before = leftovers()?;
    let said = ctx.dir.join("stderr");
    let mut command = command(&observer);
    command.args(["run", "--name", ctx.name, "--log", &ctx.path("log.jsonl")?]);
    command.args(["--state-dir", &ctx.path("state")?, "--"]);
    command.arg(&ctx.agent).args(["touch", &effect]);
    command.stderr(fs::File::create(&said)?).uid(NOBODY).gid(NOBODY);
    let mut child = command.spawn().context("as nobody")?;
    let status = finished(&mut child, "observer", PATIENCE)?;
    never_ran(&effect)?;
    clear(status.code(), &fs::read_to_string(&said)?, "root")?;
    same("what is left behind", leftovers()?, before)
}
