//! BoringSSL without symbols: programs like it, of this machine's compiler.

use std::process::Command;

use super::*;
use crate::tls::elf::Image;

/// A program of the source beside this file; none without a compiler.
fn program(flags: &[&str]) -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let (source, program) = (dir.path().join("boring.c"), dir.path().join("program"));
    fs::write(&source, include_str!("boring.c")).unwrap();
    let mut compiler = Command::new("cc");
    compiler.arg("-O2").args(flags).arg("-o").args([&program, &source]);
    match compiler.status() {
        Ok(status) => assert!(status.success(), "cc: {status}"),
        Err(_) => {
            println!("no C compiler: not run");
            return None;
        }
    }
    Some(fs::read(&program).unwrap())
}

/// Whether all of a function's sites are within the function of this name.
fn stand_in(bytes: &[u8], found: &Found, receives: u64, name: &str) {
    let bytes = bytes.to_vec();
    let image = Image::parse(&bytes).unwrap();
    let symbol = image.symbols(&[name]).unwrap()[name];
    let from = image.offset(symbol.address).unwrap();
    let sites = found.sites.iter().filter(|site| site.cookie & tls_site::RECEIVES == receives);
    for site in sites {
        assert!((from..from + symbol.size).contains(&site.offset), "{name} {site:x?} {symbol:x?}");
    }
}

#[test]
fn functions_without_names_are_found_by_what_they_do() {
    for place in ["-fPIE", "-fno-pie"] {
        let link = if place == "-fPIE" { "-pie" } else { "-no-pie" };
        for apart in ["-DPEEK_APART", "-DPEEK_WITHIN"] {
            let Some(named) = program(&[place, link, apart]) else { return };
            let looked = look(&named).unwrap();
            let found = one(&looked, Library::BoringSsl);
            assert_eq!(found.held, ["SSL_write", "SSL_read"], "{place} {apart}");
            both_ways(found);
            stand_in(&named, found, 0, "put");
            stand_in(&named, found, tls_site::RECEIVES, "take");
            let Some(stripped) = program(&[place, link, apart, "-s"]) else { return };
            assert_eq!(look(&stripped).unwrap().found, looked.found, "{place} {apart}");
        }
    }
}

/// What is said of a program that has no probes.
fn why(flags: &[&str]) -> Option<Vec<Blind>> {
    let looked = look(&program(flags)?).unwrap();
    let [found] = &looked.found[..] else { panic!("{looked:?}") };
    assert!(found.sites.is_empty() && found.held.is_empty(), "{found:?}");
    Some(found.blind.iter().map(|&(_, why)| why).collect())
}

#[test]
fn two_functions_alike_or_none_have_no_probes() {
    let Some(two) = why(&["-DTWO"]) else { return };
    assert_eq!(two, [Blind::Alike, Blind::Other]);
    assert_eq!(why(&["-DNO_LENGTH"]).unwrap()[0], Blind::Unlike);
}

#[test]
fn a_program_that_only_names_the_source_says_that_nothing_was_found() {
    let mut file = sections(&[".text"]);
    // A segment of the whole file, neither code nor written to, with the name of a source in it.
    let name = b"\0lib/ssl/ssl_lib.cc\0";
    let mut segment = [0; 56];
    (segment[0], segment[4]) = (1, 4);
    let len = (file.len() + segment.len() + name.len()) as u64;
    segment[32..40].copy_from_slice(&len.to_le_bytes());
    let at = file.len() as u64;
    file[32..40].copy_from_slice(&at.to_le_bytes());
    file[56] = 1;
    file.extend_from_slice(&segment);
    file.extend_from_slice(name);
    let looked = look(&file).unwrap();
    let [found] = &looked.found[..] else { panic!("{looked:?}") };
    assert_eq!(found.library, Library::BoringSsl);
    assert_eq!(found.blind, [("SSL_write", Blind::Unlike), ("SSL_read", Blind::Unlike)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_change_of_a_program_like_it_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..200),
    ) {
        static BUILT: std::sync::OnceLock<Option<Vec<u8>>> = std::sync::OnceLock::new();
        if let Some(file) = BUILT.get_or_init(|| program(&["-s"])) {
            let mut file = file.clone();
            for (at, byte) in changes {
                let at = at.index(file.len());
                file[at] = byte;
            }
            let _ = look(&file);
        }
    }
}
