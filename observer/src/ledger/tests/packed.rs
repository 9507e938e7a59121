//! tools/verify.py on compressed files: by each way that is here, and where there is none.

use std::path::Path;
use std::process::{Command, Stdio};

use super::independent::{python, tool};
use super::segment::{check, four_files};
use super::*;

/// Reads each file in each way, and says what became of it.
const READ: &str = "
import importlib.util, sys
spec = importlib.util.spec_from_file_location('verify', sys.argv[1])
v = importlib.util.module_from_spec(spec)
spec.loader.exec_module(v)
for way in ('python', 'zstandard', 'zstd'):
    for path in sys.argv[2:]:
        try:
            source, size = v.unpacked(path, way), 0
            while line := source.readline(v.LINE + 1):
                size += len(line)
            said = str(size)
        except tuple(v.UNREADABLE) as error:
            said = 'none' if 'nothing here reads that' in str(error) else 'refused'
        print(way, said)
";

#[test]
fn compressed_files_are_read_to_their_end_or_refused_in_each_way_that_is_here() {
    if !python() {
        return;
    }
    let place = Place::new();
    let file = &four_files(&place)[1];
    let packed = fs::read(file).unwrap();
    let plain = zstd::decode_all(&packed[..]).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = place.dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let mut spoilt = packed.clone();
    let middle = spoilt.len() / 2;
    spoilt[middle] ^= 0x40;
    // A window of 1 GiB: nobody need have that for a ledger.
    let mut hungry = packed.clone();
    hungry.splice(4..6, [0b0000_0100, 20 << 3]);
    let two = [&packed[..], &packed].concat();
    let cases = [
        (write("whole", &packed), plain.len().to_string()),
        (write("two", &two), (2 * plain.len()).to_string()),
        (write("cut", &packed[..packed.len() - 3]), "refused".to_owned()),
        (write("spoilt", &spoilt), "refused".to_owned()),
        (write("hungry", &hungry), "refused".to_owned()),
    ];
    let mut python = Command::new("python3");
    python.args(["-c", READ]).arg(tool()).args(cases.iter().map(|(path, _)| path));
    let output = python.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text.lines().count(),
        3 * cases.len(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut read = 0;
    for (line, (path, due)) in text.lines().zip(cases.iter().cycle()) {
        let (way, said) = line.split_once(' ').unwrap();
        if said == "none" {
            eprintln!("skipped: {way} is not here");
            continue;
        }
        assert_eq!(said, due, "{way} on {}", path.display());
        read += 1;
    }
    assert!(read >= cases.len() || text.lines().all(|line| line.ends_with("none")), "{text}");
}

#[test]
fn a_ledger_of_compressed_files_is_verified_as_one_and_without_a_way_the_error_names_one() {
    if !python() {
        return;
    }
    let place = Place::new();
    let mut files = four_files(&place);
    let run = |files: &[PathBuf], path: Option<&Path>| {
        let mut python = Command::new("python3");
        if let Some(path) = path {
            let mut ask = Command::new("python3");
            ask.args(["-c", "import sys; print(sys.executable)"]);
            let found = String::from_utf8(ask.output().unwrap().stdout).unwrap();
            python = Command::new(found.trim());
            python.env("PATH", path);
        }
        python.arg(tool()).args(files).arg("--key").arg(place.dir.path().join("state/host.pub"));
        let output = python.stdin(Stdio::null()).output().unwrap();
        let said = [&output.stdout[..], &output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    let (code, said) = run(&files, Some(place.dir.path()));
    if code == Some(2) {
        assert!(said.contains("install the program zstd"), "{said}");
    }
    let (code, said) = run(&files, None);
    if code == Some(2) && said.contains("install the program zstd") {
        eprintln!("skipped: nothing here reads zstd");
        return;
    }
    let records = check(&place, &files).records;
    assert!(code == Some(0) && said.contains(&format!("HOLDS  {records} records")), "{said}");
    files.swap(0, 1);
    assert_eq!(run(&files, None).0, Some(1));
}
