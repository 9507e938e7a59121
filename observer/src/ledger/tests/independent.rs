//! The ledger in other hands: tools/verify.py and docs/LEDGER.md's recipe, which share no code
//! with this crate, must accept and refuse what it does. Where they can't run, that is said.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;

/// Takes the key, then ledgers with their lengths, and answers each with its first bad line, the
/// number of records that hold, and the runs' states.
const SERVE: &str = "
import importlib.util, io, sys
spec = importlib.util.spec_from_file_location('verify', sys.argv[1])
v = importlib.util.module_from_spec(spec)
spec.loader.exec_module(v)
key = v.key_of(sys.stdin.buffer.readline().decode().strip())
while head := sys.stdin.buffer.readline():
    r = v.verify(io.BytesIO(sys.stdin.buffer.read(int(head))), key, [])
    states = ' '.join(run['state'] for run in r['runs'])
    print(r['broken']['line'] if r['broken'] else 0, r['records'], r['stopped'], states)
";

pub(super) fn tool() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/verify.py")
}

/// Whether a program is here; else says that a test was left out.
fn is_here(program: &str, args: &[&str]) -> bool {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let here = output.is_ok_and(|output| output.status.success());
    if !here {
        eprintln!("skipped: {program} {args:?} does not run here");
    }
    here
}

pub(super) fn python() -> bool {
    is_here("python3", &["-c", "import cryptography, sys; assert sys.version_info >= (3, 9)"])
}

/// What verify.py says of each ledger.
fn said(key: PublicKey, ledgers: &[Vec<u8>]) -> Vec<String> {
    let mut python = Command::new("python3");
    python.args(["-c", SERVE]).arg(tool()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let all = ledgers.to_vec();
    let feed = std::thread::spawn(move || {
        writeln!(input, "{}", key.to_base64()).unwrap();
        for ledger in all {
            writeln!(input, "{}", ledger.len()).unwrap();
            input.write_all(&ledger).unwrap();
        }
    });
    let output = child.wait_with_output().unwrap();
    feed.join().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// The same of ours.
fn ours(report: &Report) -> String {
    let line = report.broken.as_ref().map_or(0, |broken| broken.line);
    let stopped = if report.stopped { "True" } else { "False" };
    let states: Vec<_> = report.runs.iter().map(|run| run.state.word()).collect();
    format!("{line} {} {stopped} {}", report.records, states.join(" ")).trim_end().to_owned()
}

/// Ledgers of each sort: whole, torn and recovered, in a large group, begun anew.
fn sorts(place: &Place) -> Vec<Vec<u8>> {
    let take = |place: &Place| {
        let bytes = place.bytes();
        fs::remove_file(place.log()).unwrap();
        fs::remove_file(checkpoints_of(&place.log())).unwrap();
        bytes
    };
    three_runs(place);
    let whole = take(place);
    fs::write(place.log(), &whole[..whole.len() - 500]).unwrap();
    let mut writer = place.writer();
    begin(&mut writer);
    writer.append(Entry::ObserverStop { at: at(11) });
    writer.commit().unwrap();
    drop(writer);
    let torn = take(place);
    let mut writer = place.writer();
    begin(&mut writer);
    writer.commit().unwrap();
    drop(writer);
    // Each of them begins with this key, so the one that replaces it comes in a copy.
    let copy = Place::new();
    fs::create_dir(copy.dir.path().join("state")).unwrap();
    for entry in fs::read_dir(place.dir.path().join("state")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.dir.path().join("state").join(path.file_name().unwrap())).unwrap();
    }
    fs::copy(place.log(), copy.log()).unwrap();
    let mut writer = copy.writer();
    writer.replace_key_at(Epochs { records: 1, age: std::time::Duration::MAX });
    three_runs_with(&mut writer);
    drop(writer);
    let epochs = copy.bytes();
    take(place);
    let mut writer = place.writer();
    begin(&mut writer);
    let run = RunId::generate();
    writer.admit(run, "größer\u{1}\u{7f}\"", None).unwrap();
    writer.append(start(run));
    for n in 1..80 {
        writer.append(masked(call(run, n, vec![Raw::from("x\u{1f600}\t"), Raw::new(vec![0xff])])));
    }
    writer.commit().unwrap();
    let large = place.bytes();
    fs::remove_file(place.log()).unwrap();
    writer.append(end(run));
    assert!(matches!(writer.commit(), Err(CommitError::Removed { .. })));
    writer.commit().unwrap();
    drop(writer);
    vec![whole, torn, epochs, large, take(place)]
}

/// One thing done to a ledger.
fn change(bytes: &[u8], what: usize, a: usize, b: usize, byte: u8) -> Vec<u8> {
    let mut lines = lines(bytes);
    let (i, j) = (a % lines.len(), b % lines.len());
    let at = b % lines[i].len();
    match what {
        0 => lines[i][at] ^= 1 << (byte % 8),
        1 => lines[i][at] = byte,
        2 => lines[i].insert(at, byte),
        3 => drop(lines[i].remove(at)),
        4 => drop(lines.remove(i)),
        5 => lines.swap(i, j),
        6 => lines.insert(j, lines[i].clone()),
        7 => lines.truncate(i),
        8 => lines[i].truncate(at),
        9 => drop(lines.drain(..i)),
        _ => {
            // What one reader of JSON may take and another not.
            const PAIRS: [(&str, &str); 10] = [
                (":1,", ":1.0,"),
                (":1,", ":1e0,"),
                (":1,", ":-0,"),
                (":1,", ":true,"),
                (":1,", ":9007199254740992,"),
                (":1,", ":null,"),
                ("\"v\":1", "\"v\":1,\"v\":1"),
                ("{\"", "{ \""),
                ("sh\"", "s\\u0068\""),
                ("\"}", "\"}}"),
            ];
            let (from, to) = PAIRS[b % PAIRS.len()];
            let text = String::from_utf8_lossy(&lines[i]).replacen(from, to, 1);
            lines[i] = text.into_bytes();
        }
    }
    lines.concat()
}

#[test]
fn two_verifiers_without_a_common_line_agree_on_changed_ledgers() {
    if !python() {
        return;
    }
    let place = Place::new();
    let sorts = sorts(&place);
    let mut cases = sorts.clone();
    let mut runner = TestRunner::deterministic();
    let any = (0..sorts.len(), 0..11usize, any::<usize>(), any::<usize>(), any::<u8>());
    for _ in 0..1500 {
        let (sort, what, a, b, byte) = any.new_tree(&mut runner).unwrap().current();
        cases.push(change(&sorts[sort], what, a, b, byte));
    }
    let said = said(place.key().public(), &cases);
    assert_eq!(said.len(), cases.len());
    let mut refused = 0;
    for (i, (theirs, case)) in said.iter().zip(&cases).enumerate() {
        let report = place.report(case);
        refused += usize::from(report.broken.is_some());
        assert_eq!(*theirs, ours(&report), "case {i}: {:?}", report.broken);
    }
    assert!(said[..sorts.len()].iter().all(|said| said.starts_with("0 ")), "{:?}", &said[..5]);
    assert!(refused > 1000, "only {refused} of {} were refused", cases.len());
}

#[test]
fn verify_py_says_by_its_exit_code_what_observer_says() {
    if !python() {
        return;
    }
    let place = Place::new();
    let whole = three_runs(&place);
    let anchor = checkpoints_of(&place.log());
    let public = place.dir.path().join("state/host.pub");
    let run = |bytes: &[u8], extra: &[&std::ffi::OsStr]| {
        fs::write(place.log(), bytes).unwrap();
        let mut python = Command::new("python3");
        python.arg(tool()).arg(place.log()).arg("--key").arg(&public).args(extra);
        let output = python.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let against = ["--checkpoint".as_ref(), anchor.as_os_str()];
    let (code, said) = run(&whole, &against);
    assert_eq!((code, said.contains("UNANCHORED")), (Some(0), false), "{said}");
    let (code, said) = run(&whole, &[]);
    assert_eq!((code, said.contains("UNANCHORED")), (Some(0), true), "{said}");
    let cut = lines(&whole)[..8].concat();
    assert_eq!(run(&cut, &[]).0, Some(1));
    assert_eq!(run(&cut, &["--open-ok".as_ref()]).0, Some(0));
    let (code, said) = run(&cut, &["--open-ok".as_ref(), against[0], against[1]]);
    assert!(code == Some(1) && said.contains("the end was cut off"), "{said}");
}

#[test]
fn openssl_verifies_one_record_by_the_recipe_of_the_documents() {
    if !is_here("openssl", &["version"]) || !is_here("sh", &["-c", "printf x | base64"]) {
        return;
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/LEDGER.md");
    let page = fs::read_to_string(page).unwrap();
    let recipe = page.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let place = Place::new();
    let whole = three_runs(&place);
    let key = |line: &[u8]| {
        let text = String::from_utf8_lossy(line).into_owned();
        text.split("\"run_key\":\"").nth(1).map(|rest| rest[..44].to_owned())
    };
    let host = place.key().public().to_base64();
    let run = key(&lines(&whole)[1]).unwrap();
    for (n, key, holds) in [("1", &host, true), ("2", &run, true), ("2", &host, false)] {
        let mut sh = Command::new("sh");
        sh.args(["-c", recipe]).current_dir(place.dir.path());
        sh.env("N", n).env("LEDGER", place.log()).env("KEY", key);
        let output = sh.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.success(), holds, "line {n}: {said}");
    }
}

#[test]
fn nesting_has_the_bound_that_the_format_says() {
    let nested = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
    let parses = |n| serde_json::from_str::<serde_json::Value>(&nested(n)).is_ok();
    assert!(parses(127) && !parses(128));
}
