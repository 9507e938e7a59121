//! `tail` over a ledger of several files.
#![expect(clippy::unwrap_used, reason = "a test panics with what it saw")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use observer::ledger::{Entry, HostKey, Rotation, Writer, segments_of};
use tempfile::TempDir;

struct Host {
    dir: TempDir,
    writer: Writer,
    written: u64,
}

impl Host {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let key = HostKey::open_or_create(&dir.path().join("state")).unwrap().0;
        let mut writer = Writer::open(&dir.path().join("ledger.jsonl"), key).unwrap().0;
        // A file for each group.
        writer.rotate_at(Rotation { size: 1, age: Duration::MAX });
        Self { dir, writer, written: 0 }
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("ledger.jsonl")
    }

    /// A policy record that can be told from the others, in a group of its own.
    fn write(&mut self) {
        let what = format!("record number {};", self.written);
        let note =
            Entry::Recover { at: observer::clock::now(), what, bytes: 0, sha256: None, lost: None };
        self.writer.append(note);
        self.writer.commit().unwrap();
        self.written += 1;
    }

    /// Waits until each closed file is compressed: that is done in a thread.
    fn compressed(&self) {
        let began = Instant::now();
        while !segments_of(&self.log()).unwrap().iter().all(|segment| is_zst(&segment.path)) {
            assert!(began.elapsed() < Duration::from_secs(60), "the closed files stay as they are");
            std::thread::yield_now();
        }
    }

    fn tail(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_observer"));
        command.arg("tail").args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// The numbers of the records that are shown, in their order.
    fn shown(&self, args: &[&str]) -> Vec<u64> {
        let output = self.tail(args).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(!text.contains("not a record"), "{text}");
        text.lines().filter_map(number).collect()
    }
}

fn is_zst(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "zst")
}

fn number(line: &str) -> Option<u64> {
    line.split("record number ").nth(1)?.split(';').next()?.parse().ok()
}

#[test]
fn closed_files_are_shown_before_the_one_that_is_written_compressed_or_not() {
    let mut host = Host::new();
    for _ in 0..5 {
        host.write();
    }
    host.compressed();
    assert_eq!(segments_of(&host.log()).unwrap().len(), 4);
    assert_eq!(host.shown(&["ledger.jsonl", "--json"]), [0, 1, 2, 3, 4]);
    // A plain one among them, as before it is compressed.
    let first = segments_of(&host.log()).unwrap().remove(1).path;
    let plain = zstd::decode_all(fs::File::open(&first).unwrap()).unwrap();
    fs::write(first.with_extension(""), plain).unwrap();
    fs::remove_file(&first).unwrap();
    assert_eq!(host.shown(&["ledger.jsonl", "--json"]), [0, 1, 2, 3, 4]);
    // One that is named is shown alone.
    let name = first.with_extension("").display().to_string();
    assert_eq!(host.shown(&[&name, "--json"]), [1]);
    // The oldest taken away: the rest is there.
    fs::remove_file(&segments_of(&host.log()).unwrap()[0].path).unwrap();
    assert_eq!(host.shown(&["ledger.jsonl", "--json"]), [1, 2, 3, 4]);
}

#[test]
fn from_begins_with_a_record_or_a_time_wherever_it_is() {
    let mut host = Host::new();
    for _ in 0..4 {
        host.write();
    }
    host.compressed();
    let json = String::from_utf8(host.tail(&["ledger.jsonl", "--json"]).output().unwrap().stdout);
    let records: Vec<serde_json::Value> =
        json.unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let third = records.iter().find(|r| r["recover"]["what"] == "record number 2;").unwrap();
    let (idx, time) = (third["idx"].to_string(), third["time"].as_str().unwrap());
    for from in [&idx, time, time.trim_end_matches('Z')] {
        assert_eq!(host.shown(&["ledger.jsonl", "--json", "--from", from]), [2, 3], "{from}");
    }
    assert_eq!(host.shown(&["ledger.jsonl", "--json", "--from", "2020-01-02"]), [0, 1, 2, 3]);
    assert_eq!(
        host.shown(&["ledger.jsonl", "--json", "--from", "2020-01-02T03:04:05+02:00"]).len(),
        4
    );
    assert!(host.shown(&["ledger.jsonl", "--json", "--from", "9999"]).is_empty());
    for bad in ["yesterday", "2020-1-2", "2020-01-02T3"] {
        let output = host.tail(&["ledger.jsonl", "--from", bad]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains("number nor a time"), "{said}");
    }
}

#[test]
fn each_record_is_followed_once_however_often_the_file_is_closed_meanwhile() {
    let mut host = Host::new();
    for _ in 0..3 {
        host.write();
    }
    let mut child = host.tail(&["-f", "ledger.jsonl"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = lines.map_while(Result::ok).filter_map(|line| number(&line));
    for due in 0..3 {
        assert_eq!(seen.next(), Some(due));
    }
    // Many files at once, while it reads: each is closed and compressed before or under it.
    for _ in 3..60 {
        host.write();
    }
    for due in 3..60 {
        assert_eq!(seen.next(), Some(due));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(seen.next(), None);
}

#[test]
fn what_is_no_record_is_told_with_its_file_and_a_torn_end_too() {
    let mut host = Host::new();
    host.write();
    host.write();
    let mut file = fs::OpenOptions::new().append(true).open(host.log()).unwrap();
    file.write_all(b"nothing\n{\"rec\":{").unwrap();
    let output = host.tail(&["ledger.jsonl"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for line in ["ledger.jsonl, line 3: not a record", "ledger.jsonl, line 4: not a record"] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn a_result_whose_call_was_not_shown_is_not_hidden() {
    let dir = TempDir::new().unwrap();
    let call = r#"{"rec":{"idx":0,"time":"2026-01-02T03:00:00Z","type":"call","kind":"exec","call":"r/1","verdict":"allowed","exec":{"argv":["cc"]}}}"#;
    let result = r#"{"rec":{"idx":1,"time":"2026-01-02T04:00:00Z","type":"result","kind":"exec","call":"r/1","outcome":{"status":"failed","exit":1}}}"#;
    fs::write(dir.path().join("l.jsonl"), format!("{call}\n{result}\n")).unwrap();
    let lines = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_observer"));
        let output = command.arg("tail").args(args).arg("l.jsonl").current_dir(dir.path()).output();
        String::from_utf8(output.unwrap().stdout).unwrap().lines().count()
    };
    // On the line of its call, and where that is left out, on one of its own.
    assert_eq!(lines(&["--failed"]), 1);
    for from in ["2026-01-02T03:30", "1"] {
        assert_eq!(lines(&["--failed", "--from", from]), 1, "{from}");
    }
}
