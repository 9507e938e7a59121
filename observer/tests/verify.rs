//! `verify`, `prove` and `key log` as they are called.
#![expect(clippy::unwrap_used, reason = "a test panics with what it saw")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use observer::ledger::{
    Entry, HostKey, Rotation, VerifierKey, Writer, checkpoints_of, segments_of,
};
use tempfile::TempDir;

/// One test at a time: a process that another test is just starting holds, until its exec, a copy
/// of every lock of this one.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Host {
    dir: TempDir,
}

impl Host {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn log(&self) -> PathBuf {
        self.path("logs/ledger.jsonl")
    }

    fn writer(&self) -> Writer {
        let key = HostKey::open_or_create(&self.path("state")).unwrap().0;
        Writer::open(&self.log(), key).unwrap().0
    }

    /// Three records over as many files, where `closing`.
    fn record(&self, closing: bool) {
        let mut writer = self.writer();
        let size = if closing { 1 } else { u64::MAX };
        writer.rotate_at(Rotation { size, age: Duration::MAX });
        start(&mut writer);
        for _ in 0..2 {
            writer.append(Entry::ObserverStop { at: observer::clock::now() });
            writer.commit().unwrap();
        }
    }

    fn observer(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_observer"));
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    fn verify(&self, args: &[&str]) -> (Option<i32>, String) {
        let mut command = self.observer(&["verify", "--key", "state/host.pub"]);
        said(&command.args(args).output().unwrap())
    }
}

fn start(writer: &mut Writer) {
    let text = || "x".to_owned();
    let (version, kernel, boot_id) = (text(), text(), text());
    writer.append(Entry::ObserverStart { at: observer::clock::now(), version, kernel, boot_id });
    writer.commit().unwrap();
}

fn said(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn a_directory_a_ledger_with_closed_files_and_a_compressed_stream_are_verified() {
    let _alone = alone();
    let host = Host::new();
    host.record(true);
    // The writer's thread may still be compressing; then the plain file is there.
    assert_eq!(segments_of(&host.log()).unwrap().len(), 2);
    for place in ["logs", "logs/ledger.jsonl"] {
        let (code, text) = host.verify(&[place]);
        assert!(code == Some(0) && text.contains("HOLDS"), "{place}: {text}");
        assert!(text.contains("5 records"), "{place}: {text}");
    }
    let (code, text) = host.verify(&["logs", "--json"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(text.lines().count(), 1, "a line for each ledger");

    let mut all = vec![];
    for file in segments_of(&host.log()).unwrap() {
        std::io::Read::read_to_end(&mut observer::ledger::open(&file.path).unwrap(), &mut all)
            .unwrap();
    }
    all.extend(fs::read(host.log()).unwrap());
    let mut child = host
        .observer(&["verify", "-", "--key", "state/host.pub"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let compressed = zstd::encode_all(&all[..], 1).unwrap();
    child.stdin.take().unwrap().write_all(&compressed).unwrap();
    let (code, text) = said(&child.wait_with_output().unwrap());
    assert!(code == Some(0) && text.contains("5 records"), "{text}");

    // Without its beginning it says so.
    fs::remove_file(&segments_of(&host.log()).unwrap()[0].path).unwrap();
    let (code, text) = host.verify(&["logs/ledger.jsonl"]);
    assert!(code == Some(1) && text.contains("PRUNED: it begins with record 1"), "{text}");
    assert_eq!(host.verify(&["logs/ledger.jsonl", "--pruned-ok"]).0, Some(0));
    assert_eq!(host.verify(&["logs/ledger.jsonl", "--pruned-ok", "--anchored"]).0, Some(1));
    let notes = checkpoints_of(&host.log());
    let anchored = ["logs/ledger.jsonl", "--pruned-ok", "--anchored", "--checkpoint"];
    let (code, text) = host.verify(&[&anchored[..], &[notes.to_str().unwrap()]].concat());
    assert!(code == Some(0) && text.contains("ANCHORED"), "{text}");
}

#[test]
fn what_can_not_be_read_is_no_verdict() {
    let _alone = alone();
    let host = Host::new();
    fs::create_dir(host.path("state")).unwrap();
    fs::write(host.path("state/host.pub"), "nonsense").unwrap();
    assert_eq!(host.verify(&["nowhere"]).0, Some(2));
    host.path("empty");
    fs::create_dir(host.path("empty")).unwrap();
    fs::remove_dir_all(host.path("state")).unwrap();
    host.record(false);
    let (code, text) = host.verify(&["empty"]);
    assert!(code == Some(2) && text.contains("no ledger"), "{text}");
    let (code, text) = host.verify(&["logs", "--checkpoint", "nowhere"]);
    assert!(code == Some(2) && text.contains("nowhere"), "{text}");
}

#[test]
fn a_proof_is_made_and_verified_and_shows_only_its_record() {
    let _alone = alone();
    let host = Host::new();
    host.record(true);
    let made = host.observer(&["prove", "--record", "2", "logs/ledger.jsonl"]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    fs::write(host.path("proof"), &made.stdout).unwrap();
    let verify = |log_key: &str| {
        let args = ["verify", "--proof", "proof", "--log-key", log_key];
        said(&host.observer(&args).output().unwrap())
    };
    let (code, text) = verify("state/log.pub");
    assert!(code == Some(0) && text.contains("PROVED proof: record 2 of the 5"), "{text}");
    let (code, text) = verify("state/host.pub");
    assert!(code == Some(1) && text.contains("not signed by this key"), "{text}");
    let beyond = host.observer(&["prove", "--record", "5", "logs/ledger.jsonl"]).output().unwrap();
    assert_eq!(beyond.status.code(), Some(2));
}

#[test]
fn a_killed_recorder_is_said_plainly_and_is_no_success() {
    let _alone = alone();
    use observer::ledger::RunStart;
    let host = Host::new();
    let mut writer = host.writer();
    start(&mut writer);
    let run = observer::model::RunId::generate();
    writer.admit(run, "tester", None).unwrap();
    writer.append(Entry::RunStart(RunStart {
        run,
        at: observer::clock::now(),
        agent: "tester".into(),
        started_by: 0,
        cgroup: "/x".into(),
        command: None,
        exe_sha256: None,
        policy: None,
        attached: false,
        enforcement: vec![],
    }));
    writer.commit().unwrap();
    drop(writer);
    host.record(false);
    let (code, text) = host.verify(&["logs"]);
    assert!(code == Some(1) && text.contains("TORN: the recorder of 1 runs was killed"), "{text}");
    assert!(text.contains(&format!("TORN   {run}")), "{text}");
    assert_eq!(host.verify(&["logs", "--open-ok"]).0, Some(1), "it is not open: it is over");
}

#[test]
fn the_key_that_a_witness_needs_is_said() {
    let _alone = alone();
    let host = Host::new();
    host.record(false);
    let args = ["key", "log", "logs/ledger.jsonl", "--state-dir", "state"];
    let (code, text) = said(&host.observer(&args).output().unwrap());
    assert_eq!(code, Some(0), "{text}");
    let key = VerifierKey::parse(&text).unwrap();
    assert!(key.name.starts_with("observer/ledger/"), "{text}");
}

#[test]
fn a_growing_ledger_is_followed_until_it_is_cut() {
    let _alone = alone();
    let host = Host::new();
    let mut writer = host.writer();
    start(&mut writer);
    let args = ["verify", "--follow", "logs/ledger.jsonl", "--key", "state/host.pub"];
    let mut child = host.observer(&args).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut until = |wanted: &str| {
        let found = lines.by_ref().map(Result::unwrap).find(|line| line.contains(wanted));
        assert!(found.is_some(), "it ended without saying {wanted:?}");
    };
    until("HOLDS  logs/ledger.jsonl: 1 records");
    for n in 2..5 {
        if n == 4 {
            // The file is closed, and the next begins with a record of its own.
            writer.rotate_at(Rotation { size: 1, age: Duration::MAX });
            writer.append(Entry::ObserverStop { at: observer::clock::now() });
            writer.commit().unwrap();
            until("HOLDS  logs/ledger.jsonl: 5 records");
            break;
        }
        writer.append(Entry::ObserverStop { at: observer::clock::now() });
        writer.commit().unwrap();
        until(&format!("HOLDS  logs/ledger.jsonl: {n} records"));
    }
    fs::OpenOptions::new().write(true).open(host.log()).unwrap().set_len(10).unwrap();
    // What is written next is seen after what was cut.
    fs::OpenOptions::new().append(true).open(host.log()).unwrap().write_all(b"x\n").unwrap();
    until("BROKEN");
    assert_eq!(child.wait().unwrap().code(), Some(1));
}
