//! Every seed, and everything that fuzzing has found, passes on a stable toolchain too.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

fn files(target: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut files: Vec<_> =
        entries.map(|entry| entry.expect("a directory's entry").path()).collect();
    files.sort();
    files
}

#[test]
fn every_file_of_the_corpus_passes() {
    for (target, function) in observer_fuzz::TARGETS {
        let files = files(target);
        assert!(files.len() >= 4, "{target} has {} seeds", files.len());
        for file in files {
            let bytes = fs::read(&file).unwrap();
            assert!(catch_unwind(|| function(&bytes)).is_ok(), "{target}: {}", file.display());
        }
    }
}

#[test]
fn every_target_has_its_binary() {
    for (target, _) in observer_fuzz::TARGETS {
        let path = format!("{}/fuzz_targets/{target}.rs", env!("CARGO_MANIFEST_DIR"));
        let source = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        assert!(source.contains(&format!("observer_fuzz::{target}(bytes)")), "{path}");
    }
}

#[test]
fn the_seeds_reach_past_the_first_check() {
    use observer::ledger::Verifier;
    use observer::policy::Policy;
    let holds = files("verify").into_iter().filter(|file| {
        let bytes = fs::read(file).unwrap();
        let mut verifier = Verifier::new(None);
        for line in bytes.split_inclusive(|&b| b == b'\n') {
            verifier.line(line.strip_suffix(b"\n").unwrap_or(line), line.ends_with(b"\n"));
        }
        verifier.finish().holds()
    });
    assert!(holds.count() >= 2, "too few seeds of `verify` hold");
    let right = files("policy");
    let right = right
        .iter()
        .filter(|file| Policy::parse(&String::from_utf8_lossy(&fs::read(file).unwrap())).is_ok());
    assert!(right.count() >= 2, "too few seeds of `policy` are right");
    for file in files("decode") {
        let bytes = fs::read(&file).unwrap();
        let length = usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
        let event = observer::decode::decode(&bytes[2..2 + length]);
        assert!(event.is_ok(), "{}: {event:?}", file.display());
    }
}
