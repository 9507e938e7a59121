//! A policy that is read again while a run lasts: the old or the new one decides, whole.

use std::fs;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::Case;
use super::names::{AT, list, resolver};
use super::net::supported;
use crate::harness::{Ctx, Gate, Recorded, Run, Tcp, at, command, same};

pub(super) const CASES: &[(&str, Case)] = &[
    ("reload-decides-from-then-on-and-a-bad-policy-keeps-the-old", decides),
    ("reload-under-traffic-leaves-no-call-to-neither-policy", traffic),
    ("reload-denies-a-name-whose-address-was-asked-for-before", |ctx| {
        named_before(ctx, "[[deny]]\nid = \"other\"\nnet = { host = \"other.test\" }\n")
    }),
    ("reload-denies-a-name-that-was-asked-for-before-any-was-ruled", |ctx| named_before(ctx, "")),
    ("reload-allows-a-name-whose-address-was-asked-for-before", still_allowed),
];

/// Writes a policy as an editor does: the file is whole at any time.
pub(super) fn write(file: &str, text: &str) -> Result<()> {
    let part = format!("{file}.part");
    fs::write(&part, text)?;
    Ok(fs::rename(part, file)?)
}

fn deny(id: &str) -> String {
    format!(
        "version = 1\ndefault = \"allow\"\n[[deny]]\nid = \"{id}\"\nnet = {{ to = \"127.0.0.1\" }}\n"
    )
}

/// How many reloads the ledger tells.
pub(super) fn is_reload(record: &Value, generation: u64) -> bool {
    record["type"] == "policy" && at(record, "/reload/generation") == &json!(generation)
}

fn decides(ctx: &Ctx) -> Result<()> {
    let (server, agent) = (Tcp::new()?, ctx.agent()?);
    let (to, file) = (server.addr.to_string(), ctx.path("policy.toml")?);
    let (first, second) = (ctx.fifo("first")?, ctx.fifo("second")?);
    write(&file, &deny("one"))?;
    let tries = |fifo| ["wait-file", fifo, agent, "connect", &to];
    let args = [
        &["all", agent, "connect", &to, ",", agent][..],
        &tries(&first),
        &[",", agent],
        &tries(&second),
    ];
    let mut live = Run::new(ctx).options(["--policy", &file]).agent(args.concat()).start()?;
    let gate = Gate::of(&first)?;
    write(&file, &deny("two"))?;
    live.signal(Signal::HUP)?;
    live.until_recorded("the second policy", |r| is_reload(r, 2))?;
    gate.open();
    let gate = Gate::of(&second)?;
    write(&file, "version = 1\ndefault = \"deny\"\n[[deny]]\nid = \"three\"\n")?;
    let pid = live.pid().to_string();
    let asked = command(&ctx.observer).args(["policy", "reload", "--pid", &pid]).output()?;
    ensure!(asked.status.success(), "policy reload: {}", String::from_utf8_lossy(&asked.stderr));
    let refused = |r: &Value| r["type"] == "policy" && at(r, "/reload/accepted") == &json!(false);
    live.until_recorded("the third policy's refusal", refused)?;
    gate.open();
    let run = live.finish()?;
    run.exited(libc::EPERM)?;
    run.verify()?;
    same("connections at the server", server.reached()?, 0)?;
    let calls = run.ledger.to(server.addr);
    let rules: Vec<&Value> = calls.iter().map(|call| &call["rule"]).collect();
    same("the rules that denied", rules, vec![&json!("one"), &json!("two"), &json!("two")])?;
    ensure!(calls[0]["policy"] != calls[1]["policy"], "one policy: {calls:?}");
    same("the policy of the last", &calls[2]["policy"], &calls[1]["policy"])?;
    let told = run.ledger.of_type("policy");
    same("reloads told", told.len(), 2)?;
    same("the second's hash", at(told[0], "/reload/sha256"), &calls[1]["policy"])?;
    let why = at(told[1], "/reload/why").as_str().unwrap_or_default().to_owned();
    ensure!(why.contains("line 3, column 1") && why.contains("neither"), "why: {why}");
    Ok(())
}

/// Under `default = "deny"` whoever finds no table is denied, and whoever reads two at once finds a
/// rule of one under the name of the other.
fn traffic(ctx: &Ctx) -> Result<()> {
    const RELOADS: u64 = 24;
    let (server, agent) = (Tcp::new()?, ctx.agent()?);
    let (to, file) = (server.addr.to_string(), ctx.path("policy.toml")?);
    let policy = |n: u64| {
        // Each generation puts its rule at another place, and another one at its place.
        let more: String = (0..n % 7)
            .map(|k| {
                format!("[[allow]]\nid = \"more-{n}-{k}\"\nnet = {{ to = \"192.0.2.{k}\" }}\n")
            })
            .collect();
        format!(
            "version = 1\ndefault = \"deny\"\n{more}\
             [[allow]]\nid = \"net-{n}\"\nnet = {{ to = \"127.0.0.1\" }}\n\
             [[allow]]\nid = \"exec-{n}\"\nexec = {{ program = {agent:?} }}\n"
        )
    };
    write(&file, &policy(1))?;
    let args: Vec<String> = std::iter::repeat_n([agent, "connect-many", "40", &to], 100)
        .flat_map(|words| words.into_iter().chain([","]))
        .map(str::to_owned)
        .collect();
    let args = [vec!["all".to_owned()], args[..args.len() - 1].to_vec()].concat();
    let mut live = Run::new(ctx).options(["--policy", &file]).agent(args).start()?;
    live.until_recorded("the first call", |r| r["type"] == "call")?;
    for n in 2..=RELOADS {
        write(&file, &policy(n))?;
        live.signal(Signal::HUP)?;
        let taken = live.until_recorded("a reload", |r| is_reload(r, n));
        if !live.runs()? {
            break; // the agent was quicker than so many reloads
        }
        taken?;
    }
    let run = live.finish()?;
    run.exited(0)?;
    run.verify()?;
    let told = run.ledger.of_type("policy");
    let known = |call: &Value| {
        let found = told.iter().find(|r| at(r, "/reload/sha256") == &call["policy"]);
        found.map_or(1, |r| at(r, "/reload/generation").as_u64().unwrap_or(0))
    };
    let mut seen = std::collections::BTreeSet::new();
    for (kind, word) in [("connect", "net"), ("exec", "exec")] {
        for call in run.ledger.calls(kind) {
            let n = known(call);
            seen.insert(n);
            same("the rule of a call", &call["rule"], &json!(format!("{word}-{n}")))?;
        }
    }
    ensure!(seen.len() >= 2, "only {seen:?} decided anything");
    Ok(())
}

/// Asks for a name and goes where it leads, waits for a reload, and goes there again.
fn goes_twice(ctx: &Ctx, before: &str, after: &str, port: u16) -> Result<Recorded> {
    let (agent, file, fifo) = (ctx.agent()?, ctx.path("policy.toml")?, ctx.fifo("reloaded")?);
    let (server, to) = (format!("{AT}:53"), format!("127.0.0.1:{port}"));
    let port = port.to_string();
    write(&file, &format!("version = 1\n{before}"))?;
    let reach = ["all", agent, "reach", &server, "good.test", &port];
    let again = [",", agent, "wait-file", &fifo, agent, "connect", &to];
    let args = [&reach[..], &again].concat();
    let mut live = Run::new(ctx).options(["--policy", &file]).agent(args).start()?;
    let gate = Gate::of(&fifo)?;
    let answered = |r: &Value| r["type"] == "result" && at(r, "/dns/answers").is_array();
    live.until_recorded("the answer", answered)?;
    write(&file, &format!("version = 1\n{after}"))?;
    live.signal(Signal::HUP)?;
    live.until_recorded("the second policy", |r| is_reload(r, 2))?;
    gate.open();
    let run = live.finish()?;
    supported(&run)?;
    run.verify()?;
    Ok(run)
}

fn named_before(ctx: &Ctx, rule: &str) -> Result<()> {
    let (resolver, server) = (resolver()?, Tcp::new()?);
    let before = format!("default = \"allow\"\nresolvers = [\"{AT}\"]\n{rule}");
    let after = format!("{before}[[deny]]\nid = \"no-good\"\nnet = {{ host = \"good.test\" }}\n");
    let run = goes_twice(ctx, &before, &after, server.addr.port())?;
    run.exited(libc::EPERM)?;
    let calls = run.ledger.to(server.addr);
    let words: Vec<&Value> = calls.iter().map(|call| &call["verdict"]).collect();
    same("verdicts", words, vec![&json!("allowed"), &json!("denied")])?;
    same("rule", &calls[1]["rule"], &json!("no-good"))?;
    same("connections at the server", server.reached()?, 1)?;
    same("questions", resolver.asked().len(), 1)
}

fn still_allowed(ctx: &Ctx) -> Result<()> {
    let (resolver, server) = (resolver()?, Tcp::new()?);
    let before = list(ctx, server.addr.port())?;
    let other = "[[allow]]\nid = \"first\"\nnet = { host = \"a.good.test\" }\n";
    let after =
        before.replace("[[allow]]\nid = \"sample\"", &format!("{other}[[allow]]\nid = \"sample\""));
    let run = goes_twice(ctx, &before, &after, server.addr.port())?;
    run.exited(0)?;
    let calls = run.ledger.to(server.addr);
    let rules: Vec<&Value> = calls.iter().map(|call| &call["rule"]).collect();
    same("rules", rules, vec![&json!("good"), &json!("good")])?;
    same("questions", resolver.asked().len(), 1)
}
