//! `observer tail`: what people read of a run, and that an agent can't form it.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt as _;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::commands::{each_sort, shown};
use crate::harness::{Ctx, Gate, PATIENCE, Pty, Recorded, Run, at, command, finished, same, until};

pub(super) const CASES: &[(&str, Case)] = &[
    ("tail-shows-each-call-with-its-end", tail),
    ("tail-denied-and-failed-show-those-alone", tail_filters),
    ("tail-of-one-run-shows-no-other", tail_run),
    ("tail-follows-a-run-under-way", tail_follow),
    ("nothing-in-argv-moves-the-cursor", |ctx| cursor(ctx, &[])),
    ("nothing-in-argv-moves-the-cursor-in-json", |ctx| cursor(ctx, &["--json"])),
    ("nothing-in-argv-moves-the-cursor-on-a-terminal", terminal),
];

fn tail(ctx: &Ctx) -> Result<()> {
    let run = each_sort(ctx, "sorts")?;
    let plain = shown(ctx, &run.log, &[])?;
    ensure!(!plain.contains('\x1b'), "colours in a pipe: {plain:?}");
    let line = |words: &[&str]| -> Result<()> {
        let found = plain.lines().any(|line| words.iter().all(|word| line.contains(word)));
        ensure!(found, "no line has all of {words:?}:\n{plain}");
        Ok(())
    };
    line(&["✓", "exec", "true sorts", "exit 0"])?;
    line(&["✗", "connect", "DENIED by no-way"])?;
    line(&["! ", "connect", "tcp 127.0.0.1:", "ECONNREFUSED"])?;
    line(&["'two words'", "ENOENT"])?;
    line(&["run.end", "1 denied"])?;
    let json = shown(ctx, &run.log, &["--json"])?;
    let records: Vec<Value> =
        json.lines().map(serde_json::from_str).collect::<Result<_, _>>().context("not JSON")?;
    ensure!(records == run.ledger.records, "--json shows other records than there are");
    let colored = shown(ctx, &run.log, &["--color", "always"])?;
    ensure!(colored.contains("\x1b[1;31m"), "no colour for the denial: {colored:?}");
    Ok(())
}

fn tail_filters(ctx: &Ctx) -> Result<()> {
    let run = each_sort(ctx, "sorts")?;
    let count = |options: &[&str], word: &str| -> Result<usize> {
        let text = shown(ctx, &run.log, options)?;
        for line in text.lines() {
            ensure!(line.contains(word), "{options:?} shows {line:?}");
        }
        Ok(text.lines().count())
    };
    same("denied", count(&["--denied"], "DENIED by no-way")?, 1)?;
    // The two that failed, and the programs whose status says that theirs did.
    let failed = count(&["--failed"], "! ")?;
    ensure!(failed >= 3, "only {failed} failed calls");
    let text = shown(ctx, &run.log, &["--failed"])?;
    ensure!(text.contains("ECONNREFUSED") && text.contains("ENOENT"), "--failed: {text}");
    ensure!(!text.contains("DENIED"), "a denied call has not failed: {text}");
    let both = shown(ctx, &run.log, &["--denied", "--failed"])?;
    same("both", both.lines().count(), failed + 1)
}

fn tail_run(ctx: &Ctx) -> Result<()> {
    let first = Run::new(ctx).agent(["true", "of-the-first"]).go()?;
    let both = Run::new(ctx).agent(["true", "of-the-second"]).go()?;
    let id = first.ledger.runs()[0];
    let text = shown(ctx, &both.log, &["--run", id])?;
    ensure!(text.contains("of-the-first"), "its call is missing: {text}");
    ensure!(!text.contains("of-the-second"), "another run's call: {text}");
    let all = shown(ctx, &both.log, &[])?;
    ensure!(all.contains("of-the-first") && all.contains("of-the-second"), "all: {all}");
    same("of no run", shown(ctx, &both.log, &["--run", "no-such"])?, "")
}

fn tail_follow(ctx: &Ctx) -> Result<()> {
    let (fifo, agent, out) = (ctx.fifo("fifo")?, ctx.agent()?, ctx.dir.join("followed"));
    let args = ["all", agent, "true", "before", ",", agent, "wait-file", &fifo, ","];
    let mut live =
        Run::new(ctx).agent([args.as_slice(), &[agent, "true", "after"]].concat()).start()?;
    let gate = Gate::of(&fifo)?;
    live.until_recorded("the wait", |r| at(r, "/exec/argv/2") == &json!(fifo))?;
    let mut tail = command(&ctx.observer);
    tail.arg("tail").arg(live.log()).arg("-f").stdout(File::create(&out)?);
    let mut tail = tail.spawn()?;
    let result = (|| {
        // The first command's own arguments have all of these words.
        let shows = |word: &str| -> Result<bool> {
            let text = std::fs::read_to_string(&out)?;
            Ok(text.lines().any(|line| line.contains(word) && !line.contains(" all ")))
        };
        let until_shown = |word: &str| {
            let what = format!("{word:?} in what is followed");
            until(&what, PATIENCE, || Ok(shows(word)?.then_some(())))
        };
        until_shown("true before")?;
        ensure!(!shows("true after")?, "it is ahead of the run");
        gate.open();
        let run = live.finish()?;
        run.exited(0)?;
        until_shown("true after")?;
        until_shown("run.end")?;
        ensure!(tail.try_wait()?.is_none(), "it did not go on following");
        Ok(())
    })();
    drop(tail.kill());
    tail.wait()?;
    result
}

/// Arguments that would do something to a terminal that took them as they are.
fn hostile() -> Vec<OsString> {
    let texts: [&[u8]; 12] = [
        b"\x1b[2J\x1b[1;1H",
        b"\x1b]0;owned\x07",
        b"\x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\",
        b"\x1bP1$r\x1b\\",
        b"over\rwritten\x08\x08",
        b"two\nlines\x0b\x0c",
        b"\x9b31m",
        b"\x9d0;owned\x9c",
        "\u{9b}31m\u{9d}\u{85}".as_bytes(),
        "\u{202e}desrever\u{2066}\u{200f}".as_bytes(),
        "\u{2028}\u{feff}\u{e0041}\u{ad}".as_bytes(),
        b"\x00\x7f\x01\x1a"[1..].as_ref(),
    ];
    texts.into_iter().map(|text| OsString::from_vec(text.to_vec())).collect()
}

/// A run that has them in a program's name, in arguments of an exec and of one that fails.
fn hostile_run(ctx: &Ctx) -> Result<Recorded> {
    let name = ctx.copy_of_agent("\u{1b}[7m\u{9b}\u{202e}")?;
    let missing = ctx.path("\u{1b}c\r\u{7}missing")?;
    let (name, missing) = (OsString::from(name), OsString::from(missing));
    // A command each: of a long one only the beginning is shown.
    let mut args: Vec<OsString> = vec!["all".into()];
    for text in hostile() {
        args.extend([name.clone(), "true".into(), text.clone(), ",".into()]);
        args.extend([ctx.agent()?.into(), "spawn".into(), missing.clone(), text, ",".into()]);
    }
    args.extend([ctx.agent()?.into(), "true".into()]);
    Run::new(ctx).agent(args).go()
}

/// That what is shown has nothing in it that moves a cursor, hides, or turns text about.
fn tame(what: &str, bytes: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(bytes).with_context(|| format!("{what} is not UTF-8"))?;
    let hidden = |c: char| {
        matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
    };
    let bad = text.chars().find(|&c| c != '\n' && c.is_control() || hidden(c));
    ensure!(bad.is_none(), "{what} has {bad:?} in it: {text:?}");
    ensure!(text.contains("desrever"), "{what} does not show the arguments: {text}");
    Ok(())
}

fn cursor(ctx: &Ctx, options: &[&str]) -> Result<()> {
    let run = hostile_run(ctx)?;
    let text = shown(ctx, &run.log, options)?;
    tame("tail", text.as_bytes())?;
    // A line a record, whatever an argument has in it.
    let whole = run.ledger.records.len();
    ensure!(text.lines().count() <= whole, "{} lines of {whole} records", text.lines().count());
    let failed = shown(ctx, &run.log, &[options, &["--failed"]].concat())?;
    tame("tail --failed", failed.as_bytes())
}

fn terminal(ctx: &Ctx) -> Result<()> {
    let run = hostile_run(ctx)?;
    let on_terminal = |options: &[&str], colors: bool| -> Result<Vec<u8>> {
        let (pty, mut command) = (Pty::new()?, command(&ctx.observer));
        command.arg("tail").arg(&run.log).args(options).env_remove("NO_COLOR");
        if !colors {
            command.env("NO_COLOR", "1");
        }
        pty.give(&mut command)?;
        let mut child = command.spawn()?;
        drop(command);
        let bytes = pty.read_all(&mut child)?;
        same("exit status", finished(&mut child, "observer tail", PATIENCE)?.code(), Some(0))?;
        Ok(bytes)
    };
    tame("tail on a terminal", &on_terminal(&[], false)?)?;
    tame("tail --json on a terminal", &on_terminal(&["--json"], false)?)?;
    let colored = on_terminal(&[], true)?;
    let text = String::from_utf8(colored).context("not UTF-8")?;
    ensure!(text.contains('\x1b'), "no colours on a terminal: {text:?}");
    tame("tail in colour", without_colors(&text).as_bytes())
}

/// Text without the few sequences that set a colour.
fn without_colors(text: &str) -> String {
    let codes = ["32", "1;31", "33", "2", "0"];
    codes.iter().fold(text.to_owned(), |text, code| text.replace(&format!("\x1b[{code}m"), ""))
}
