//! A ledger of three runs, and all that can be done to it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use tempfile::TempDir;

mod checkpoint;
mod crash;
mod epoch;
mod forgery;
mod http;
mod independent;
mod killed;
mod opened;
mod packed;
mod segment;
mod torsion;

use super::*;
use crate::mask::{MaskKey, Masked, Masker};
use crate::model::*;

struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        // Where syncing costs nothing: what a test syncs is gone with it.
        let memory = std::path::Path::new("/dev/shm");
        let dir = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        Self { dir: dir.unwrap() }
    }
    fn log(&self) -> PathBuf {
        self.dir.path().join("ledger.jsonl")
    }
    fn key(&self) -> HostKey {
        HostKey::open_or_create(&self.dir.path().join("state")).unwrap().0
    }
    fn writer(&self) -> Writer {
        Writer::open(&self.log(), self.key()).unwrap().0
    }
    fn bytes(&self) -> Vec<u8> {
        fs::read(self.log()).unwrap()
    }
    fn report(&self, bytes: &[u8]) -> Report {
        verify(bytes, Some(self.key().public()))
    }
}

fn verify(bytes: &[u8], key: Option<PublicKey>) -> Report {
    let mut verifier = Verifier::new(key);
    for line in bytes.split_inclusive(|&b| b == b'\n') {
        verifier.line(line.strip_suffix(b"\n").unwrap_or(line), line.ends_with(b"\n"));
    }
    verifier.finish()
}

fn at(n: u64) -> Stamp {
    Stamp { mono_ns: n, wall_ns: 1_700_000_000_000_000_000 + n }
}

fn start(run: RunId) -> Entry {
    Entry::RunStart(RunStart {
        run,
        at: at(1),
        agent: "tester".into(),
        started_by: 0,
        cgroup: "/observer/x".into(),
        command: None,
        exe_sha256: None,
        policy: None,
        attached: false,
        enforcement: vec![],
    })
}

fn call(run: RunId, n: u64, argv: Vec<Raw>) -> Call {
    Call {
        id: CallId { run, n },
        at: at(n),
        parent: None,
        verdict: Verdict::Allowed { rule: None },
        process: Process {
            id: ProcessId([7; 16]),
            pid: 1,
            ppid: 1,
            uid: 0,
            exe: Raw::from("/bin/sh"),
            comm: Raw::from("sh"),
            cgroup: Raw::from("/observer/x"),
            container: None,
        },
        action: Action::Exec(Exec {
            path: Raw::from("/bin/sh"),
            filename: Raw::from("sh"),
            interpreter: None,
            argv,
            cwd: Raw::from("/"),
            image: Image::File,
        }),
        outcome: None,
        cuts: vec![],
    }
}

fn masked(call: Call) -> Entry {
    Entry::Call(Box::new(Masker::new(MaskKey::fixed(1)).call(call)))
}

fn end(run: RunId) -> Entry {
    let events = Events { produced: 7, kept: 7, lost: 0 };
    Entry::RunEnd { run, at: at(9), why: "its cgroup is empty".into(), exit: Some(0), events }
}

fn begin(writer: &mut Writer) {
    let boot_id = "b".into();
    writer.append(Entry::ObserverStart {
        at: at(0),
        version: "0".into(),
        kernel: "k".into(),
        boot_id,
    });
}

/// Begins it with one run.
fn begin_run(writer: &mut Writer) -> RunId {
    begin(writer);
    let run = RunId::generate();
    writer.admit(run, "tester", None).unwrap();
    writer.append(start(run));
    run
}

/// Three runs, interleaved, a few calls each.
fn three_runs(place: &Place) -> Vec<u8> {
    three_runs_with(&mut place.writer());
    place.bytes()
}

fn three_runs_with(writer: &mut Writer) {
    begin(writer);
    let runs: Vec<RunId> = (0..3).map(|_| RunId::generate()).collect();
    for &run in &runs {
        writer.admit(run, "tester", None).unwrap();
        writer.append(start(run));
    }
    for n in 1..3 {
        for &run in &runs {
            writer.append(masked(call(run, n, vec![Raw::from("sh"), Raw::from("-c")])));
        }
    }
    writer.commit().unwrap();
    for &run in &runs {
        writer.append(end(run));
    }
    writer.append(Entry::ObserverStop { at: at(10) });
    writer.commit().unwrap();
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split_inclusive(|&b| b == b'\n').map(<[u8]>::to_vec).collect()
}

#[test]
fn a_whole_ledger_holds_and_its_runs_are_closed() {
    let place = Place::new();
    let report = place.report(&three_runs(&place));
    assert!(report.holds(), "{report:?}");
    assert_eq!((report.records, report.runs.len(), report.pinned), (14, 3, true));
    assert!(!report.anchored);
    assert!(report.runs.iter().all(|run| run.calls == 2));
}

#[test]
fn each_flipped_byte_is_refused() {
    let place = Place::new();
    let whole = three_runs(&place);
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        assert!(!place.report(&bytes).holds(), "byte {at} of {}", whole.len());
    }
}

#[test]
fn lines_deleted_doubled_swapped_or_moved_are_refused() {
    let place = Place::new();
    let whole = lines(&three_runs(&place));
    let other = lines(&three_runs(&Place::new()));
    for i in 0..whole.len() {
        let mut deleted = whole.clone();
        deleted.remove(i);
        assert!(!place.report(&deleted.concat()).holds(), "line {i} deleted");
        let mut doubled = whole.clone();
        doubled.insert(i, whole[i].clone());
        assert!(!place.report(&doubled.concat()).holds(), "line {i} doubled");
        let mut foreign = whole.clone();
        foreign[i] = other[i].clone();
        assert!(!place.report(&foreign.concat()).holds(), "line {i} of another ledger");
        if i > 0 {
            let mut swapped = whole.clone();
            swapped.swap(i - 1, i);
            assert!(!place.report(&swapped.concat()).holds(), "line {i} swapped");
        }
    }
}

#[test]
fn a_cut_tail_leaves_runs_open_and_half_a_line_is_refused() {
    let place = Place::new();
    let bytes = three_runs(&place);
    let whole = lines(&bytes);
    let report = place.report(&whole[..8].concat());
    assert!(!report.holds() && report.broken.is_none());
    assert!(report.runs.iter().all(|run| run.state == RunState::Open));
    let report = place.report(&bytes[..bytes.len() - 5]);
    assert!(report.broken.unwrap().why.contains("cut"));
}

#[test]
fn another_hosts_key_refuses_it_and_no_key_says_unpinned() {
    let place = Place::new();
    let bytes = three_runs(&place);
    let report = verify(&bytes, Some(Place::new().key().public()));
    assert_eq!(report.broken.unwrap().line, 1);
    let report = verify(&bytes, None);
    assert!(report.holds() && !report.pinned);
}

#[test]
fn the_empty_the_binary_and_the_endless_are_refused() {
    let key = Some(Place::new().key().public());
    assert!(verify(b"", key).broken.unwrap().why.contains("empty"));
    assert!(!verify(&[0, 159, 146, 150, 10], key).holds());
    let mut verifier = Verifier::new(key);
    verifier.too_long();
    assert!(verifier.finish().broken.unwrap().why.contains("longer"));
}

#[test]
fn what_is_not_the_one_way_to_write_it_is_refused() {
    let place = Place::new();
    let mut writer = place.writer();
    begin(&mut writer);
    writer.commit().unwrap();
    let text = String::from_utf8(place.bytes()).unwrap();
    for (from, to) in [
        ("\"v\":1", "\"v\":1.0"),
        ("\"v\":1", "\"v\": 1"),
        ("\"v\":1", "\"v\":1,\"v\":1"),
        ("\"kernel\":\"k\"", "\"kernel\":\"\\u006b\""),
    ] {
        let report = place.report(text.replace(from, to).as_bytes());
        assert!(report.broken.is_some_and(|b| b.why.contains("canonical")), "{to}");
    }
}

#[test]
fn a_large_group_is_covered_by_its_last_signature() {
    let place = Place::new();
    let mut writer = place.writer();
    let run = begin_run(&mut writer);
    for n in 1..200 {
        writer.append(masked(call(run, n, vec![])));
    }
    writer.commit().unwrap();
    let bytes = place.bytes();
    let signed = String::from_utf8_lossy(&bytes).matches("\"sig\"").count();
    assert_eq!(signed, 2, "the host's last and the run's last");
    assert!(place.report(&bytes).broken.is_none());
    let all = lines(&bytes);
    let report = place.report(&all[..all.len() - 1].concat());
    assert!(report.broken.unwrap().why.contains("no signature covers it"));
}

#[test]
fn a_record_never_outgrows_its_bound_and_says_what_it_cut() {
    let place = Place::new();
    let mut writer = place.writer();
    let run = begin_run(&mut writer);
    // Each byte is six in JSON.
    let argv = vec![Raw::new(vec![1; 1000]); 48];
    writer.append(Entry::Call(Box::new(Masked::for_tests(call(run, 1, argv)))));
    writer.commit().unwrap();
    let bytes = place.bytes();
    assert!(lines(&bytes).iter().all(|line| line.len() <= Verifier::LINE));
    assert!(String::from_utf8_lossy(&bytes).contains("\"truncated\":{\"argv\":{\"kept\":"));
    assert!(place.report(&bytes).broken.is_none());
}

#[test]
fn a_record_is_written_as_the_format_says() {
    let place = Place::new();
    let mut writer = place.writer();
    begin(&mut writer);
    writer.append(Entry::ObserverStop { at: at(3) });
    writer.commit().unwrap();
    let all = lines(&place.bytes());
    let (record, _) = chain::parts(all[0].strip_suffix(b"\n").unwrap()).unwrap();
    let leaf = data_encoding::HEXLOWER.encode(&merkle::leaf(record));
    let (record, _) = chain::parts(all[1].strip_suffix(b"\n").unwrap()).unwrap();
    let golden = format!(
        "{{\"idx\":1,\"mono\":\"3\",\"prev\":\"{leaf}\",\
         \"time\":\"2023-11-14T22:13:20.000000003Z\",\"type\":\"observer.stop\",\"v\":1}}"
    );
    assert_eq!(String::from_utf8_lossy(record), golden);
}

#[test]
fn every_record_with_an_agents_text_says_what_was_masked_of_it() {
    let place = Place::new();
    let mut writer = place.writer();
    let run = RunId::generate();
    let mut masker = Masker::new(MaskKey::fixed(1));
    writer.admit(run, "tester", None).unwrap();
    let Entry::RunStart(plain) = start(run) else { unreachable!() };
    let argv = [Raw::from("x"), Raw::from("--password=zQ7vT2mXpLx9")];
    let command = Some(masker.command(&argv));
    writer.append(Entry::RunStart(RunStart { command, ..plain }));
    writer.append(Entry::Escape {
        run,
        at: at(2),
        process: masker
            .process(Process { comm: Raw::from("zQ7vT2mXpLx9"), ..call(run, 1, vec![]).process }),
        to: masker.text(Raw::from("/x/token=zQ7vT2mXpLx9")),
        held: true,
    });
    writer.append(end(run));
    writer.commit().unwrap();
    let shown = String::from_utf8_lossy(&place.bytes()).into_owned();
    assert!(!shown.contains("zQ7vT2mX"), "{shown}");
    let counts = |n: u32| format!("\"mask\":{{\"counts\":{{\"password\":{n}}},\"rules\":\"");
    for (kind, n) in [("run.start", 1), ("escape", 2)] {
        let line = shown.lines().find(|l| l.contains(&format!("\"type\":\"{kind}\"")));
        assert!(line.is_some_and(|line| line.contains(&counts(n))), "{kind}: {line:?}");
    }
}

#[test]
fn bytes_that_are_not_text_are_kept_whole() {
    let place = Place::new();
    let mut writer = place.writer();
    let run = begin_run(&mut writer);
    writer.append(masked(call(run, 1, vec![Raw::new(vec![0xff, b'a'])])));
    writer.commit().unwrap();
    assert!(String::from_utf8_lossy(&place.bytes()).contains("\"argv\":[{\"b64\":\"/2E=\"}]"));
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.key();
    let state = place.dir.path().join("state");
    let key = state.join("host.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!HostKey::open_or_create(&state).unwrap().1, "it is made once");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(HostKey::open_or_create(&state), Err(KeyError::Exposed(_))));
}

#[test]
fn keys_of_a_credentials_directory_are_used_and_never_made() {
    let place = Place::new();
    let (credentials, state) = (place.dir.path().join("credentials"), place.dir.path().join("s"));
    fs::create_dir(&credentials).unwrap();
    assert!(HostKey::from_credentials(&credentials, &state).unwrap().is_none());
    assert!(!state.exists(), "nothing is left where there is none");
    let made = place.key();
    let from = place.dir.path().join("state");
    fs::copy(from.join("host.key"), credentials.join("host.key")).unwrap();
    let half = HostKey::from_credentials(&credentials, &state).err().unwrap();
    assert!(half.to_string().contains("log.key"), "{half}");
    fs::copy(from.join("log.key"), credentials.join("log.key")).unwrap();
    let keys = HostKey::from_credentials(&credentials, &state).unwrap().unwrap();
    assert_eq!((keys.public(), keys.log_public()), (made.public(), made.log_public()));
    assert_eq!(PublicKey::read(&state.join("host.pub")).unwrap(), made.public());
    assert_eq!(PublicKey::read(&state.join("log.pub")).unwrap(), made.log_public());
    assert!(!state.join("host.key").exists());
}
