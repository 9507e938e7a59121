//! Programs: each way to execute one is recorded, with what it was given and how it ended.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use crate::harness::{Ctx, Ledger, Run, at, same};

pub(super) const CASES: &[(&str, Case)] = &[
    ("exec-has-full-argv-cwd-and-exit-status", full),
    ("exec-keeps-bytes-that-are-not-utf8", not_utf8),
    ("exec-of-missing-file-is-recorded", |ctx| fails(ctx, "ENOENT", libc::ENOENT, "missing")),
    ("exec-without-permission-is-recorded", |ctx| {
        fails(ctx, "EACCES", libc::EACCES, "not-executable")
    }),
    ("exec-of-no-program-is-recorded", |ctx| fails(ctx, "ENOEXEC", libc::ENOEXEC, "not-a-program")),
    ("exec-with-too-long-argv-is-recorded", too_big),
    ("script-names-its-interpreter", script),
    ("memfd-program-is-recorded-as-one", |ctx| by_fd(ctx, "memfd", "memfd")),
    ("execveat-of-descriptor-is-recorded-as-one", |ctx| by_fd(ctx, "execveat-empty", "fd")),
    ("exec-from-thread-belongs-to-its-process", thread),
    ("exit-status-of-child-is-its-outcome", exit_status),
    ("signal-that-ended-child-is-its-outcome", signal),
    ("parent-links-lead-back-to-first-command", parents),
    ("big-argv-is-cut-counted-and-hashed", big_argv),
];

fn full(ctx: &Ctx) -> Result<()> {
    let agent = ctx.agent()?;
    let dir = ctx.dir.canonicalize()?;
    let dir = dir.to_str().context("not UTF-8")?;
    let args = ["chdir", dir, agent, "spawn", agent, "exit", "3", "full", "", "two words", "ünï\n"];
    let run = Run::new(ctx).agent(args).go()?;
    run.exited(3)?;
    let call = run.ledger.exec("full")?;
    let argv = json!([agent, "exit", "3", "full", "", "two words", "ünï\n"]);
    same("argv", at(call, "/exec/argv"), &argv)?;
    same("cwd", at(call, "/exec/cwd"), &json!(dir))?;
    same("filename", at(call, "/exec/filename"), &json!(agent))?;
    same("path", at(call, "/exec/path"), &json!(agent))?;
    same("image", at(call, "/exec/image"), &json!("file"))?;
    same("verdict", &call["verdict"], &json!("allowed"))?;
    same("uid", at(call, "/process/uid"), &json!(0))?;
    same("exe", at(call, "/process/exe"), &json!(agent))?;
    for number in ["/process/pid", "/process/ppid"] {
        ensure!(at(call, number).as_u64().is_some_and(|n| n > 0), "{number}: {call}");
    }
    ensure!(at(call, "/process/cgroup").as_str().is_some_and(|c| !c.is_empty()), "{call}");
    ended(&run.ledger, call, &json!("failed"), "exit", 3)
}

fn not_utf8(ctx: &Ctx) -> Result<()> {
    let odd = OsString::from_vec(vec![0xff, 0xfe]);
    let args = ["true".into(), "odd".into(), odd];
    let run = Run::new(ctx).agent::<OsString>(args).go()?;
    run.exited(0)?;
    let call = run.ledger.exec("odd")?;
    same("the argument", at(call, "/exec/argv/3"), &json!({ "b64": "//4=" }))?;
    ended(&run.ledger, call, &json!("ok"), "exit", 0)
}

fn fails(ctx: &Ctx, kind: &str, errno: i32, file: &str) -> Result<()> {
    let dir = ctx.path("")?;
    let dir = dir.trim_end_matches('/');
    let run = Run::new(ctx).agent(["exec-fail", kind, dir]).go()?;
    run.exited(0)?;
    let call = run.ledger.exec("two words")?;
    same("argv", at(call, "/exec/argv"), &json!(["tried", "one", "two words"]))?;
    same("filename", at(call, "/exec/filename"), &json!(format!("{dir}/{file}")))?;
    same("verdict", &call["verdict"], &json!("allowed"))?;
    same("error", at(call, "/outcome/error"), &json!(kind))?;
    ended(&run.ledger, call, &json!("failed"), "errno", errno)
}

fn too_big(ctx: &Ctx) -> Result<()> {
    let run = Run::new(ctx).agent(["exec-fail", "E2BIG", &ctx.path("")?]).go()?;
    run.exited(0)?;
    let call = run.ledger.exec("two words")?;
    same("filename", at(call, "/exec/filename"), &json!(ctx.agent()?))?;
    same("argv[0]", at(call, "/exec/argv/0"), &json!("tried"))?;
    ensure!(at(call, "/truncated/argv").is_object(), "an argv that can't fit is not cut: {call}");
    ended(&run.ledger, call, &json!("failed"), "errno", libc::E2BIG)
}

fn script(ctx: &Ctx) -> Result<()> {
    let script = ctx.path("script")?;
    std::fs::write(&script, format!("#!{} true\n", ctx.agent()?))?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    let run = Run::new(ctx).agent(["spawn", &script, "in-script"]).go()?;
    run.exited(0)?;
    let call = run.ledger.exec("in-script")?;
    same("interpreter", at(call, "/exec/interpreter"), &json!(ctx.agent()?))?;
    same("filename", at(call, "/exec/filename"), &json!(script))?;
    let argv = json!([ctx.agent()?, "true", script, "in-script"]);
    same("argv", at(call, "/exec/argv"), &argv)?;
    ended(&run.ledger, call, &json!("ok"), "exit", 0)
}

fn by_fd(ctx: &Ctx, deed: &str, image: &str) -> Result<()> {
    let agent = ctx.agent()?;
    let run = Run::new(ctx).agent(["spawn", agent, deed, agent, "exit", "5", "by-fd"]).go()?;
    run.exited(5)?;
    let call = run.ledger.exec("by-fd")?;
    same("argv", at(call, "/exec/argv"), &json!([agent, "exit", "5", "by-fd"]))?;
    same("image", at(call, "/exec/image"), &json!(image))?;
    ended(&run.ledger, call, &json!("failed"), "exit", 5)
}

fn thread(ctx: &Ctx) -> Result<()> {
    let agent = ctx.agent()?;
    let run = Run::new(ctx).agent(["thread-exec", agent, "exit", "8", "threaded"]).go()?;
    run.exited(8)?;
    let (first, call) = (run.ledger.first_exec()?, run.ledger.exec("threaded")?);
    ensure!(first["call"] != call["call"], "one record for two execs: {call}");
    same("pid", at(call, "/process/pid"), at(first, "/process/pid"))?;
    same("parent", &call["parent"], &first["call"])?;
    ended(&run.ledger, call, &json!("failed"), "exit", 8)
}

fn exit_status(ctx: &Ctx) -> Result<()> {
    let agent = ctx.agent()?;
    let args = ["all", agent, "exit", "0", "zero", ",", agent, "exit", "42", "not-zero"];
    let run = Run::new(ctx).agent(args).go()?;
    run.exited(42)?;
    ended(&run.ledger, run.ledger.exec("zero")?, &json!("ok"), "exit", 0)?;
    ended(&run.ledger, run.ledger.exec("not-zero")?, &json!("failed"), "exit", 42)
}

fn signal(ctx: &Ctx) -> Result<()> {
    let agent = ctx.agent()?;
    let term = libc::SIGTERM;
    let args = ["spawn", agent, "kill-self", &term.to_string(), "by-signal"];
    let run = Run::new(ctx).agent(args).go()?;
    run.exited(128 + term)?;
    ended(&run.ledger, run.ledger.exec("by-signal")?, &json!("failed"), "signal", term)
}

fn parents(ctx: &Ctx) -> Result<()> {
    let agent = ctx.agent()?;
    let server = crate::harness::Tcp::new()?;
    let to = server.addr.to_string();
    let args = ["spawn", agent, "spawn", agent, "connect", &to];
    let run = Run::new(ctx).agent(args).go()?;
    run.exited(0)?;
    let execs = run.ledger.calls("exec");
    let [first, second, third] = execs.as_slice() else {
        anyhow::bail!("wanted three execs, saw {}: {execs:?}", execs.len());
    };
    same("the first one's parent", first.get("parent"), None)?;
    same("the second one's parent", &second["parent"], &first["call"])?;
    same("the third one's parent", &third["parent"], &second["call"])?;
    same("the connect's parent", &run.ledger.one_to(server.addr)?["parent"], &third["call"])
}

fn big_argv(ctx: &Ctx) -> Result<()> {
    const BYTES: u64 = 200 * 1024;
    let run = Run::new(ctx).agent(["big-argv", &BYTES.to_string()]).go()?;
    run.exited(0)?;
    let execs = run.ledger.calls("exec");
    let call = execs.last().context("no exec at all")?;
    let cut = at(call, "/truncated/argv");
    same("bytes seen", &cut["seen"], &json!(BYTES))?;
    let kept = cut["kept"].as_u64().unwrap_or(0);
    ensure!((1..=48 * 1024).contains(&kept), "bytes kept: {kept}");
    ensure!(cut["hmac"].as_str().is_some_and(|h| h.len() == 64), "no hash of the rest: {cut}");
    ended(&run.ledger, call, &json!("ok"), "exit", 0)
}

fn ended(ledger: &Ledger, call: &Value, status: &Value, how: &str, number: i32) -> Result<()> {
    let outcome = ledger.outcome(call)?;
    same("status", &outcome["status"], status)?;
    same(how, &outcome[how], &json!(number))
}
