//! Files of this machine, and files that mean harm.

mod boring;
mod rest;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use observer_common::tls_site;
use proptest::prelude::*;

use super::{Blind, FindError, Found, Library, Looked, look};

/// A file of this machine; none where it has no such file.
fn of(path: &str) -> Option<Looked> {
    let bytes = fs::read(path).ok().or_else(|| {
        println!("{path} is not here: not run");
        None
    })?;
    Some(look(&bytes).unwrap())
}

fn one(looked: &Looked, library: Library) -> &Found {
    let found: Vec<_> = looked.found.iter().filter(|found| found.library == library).collect();
    assert_eq!(found.len(), 1, "{looked:?}");
    assert_eq!(found[0].blind, [], "{looked:?}");
    for site in &found[0].sites {
        assert_eq!((site.cookie >> tls_site::LIBRARY) & 0xff, library as u64);
    }
    found[0]
}

/// Each kind of function is caught as it begins and as it ends.
fn both_ways(found: &Found) {
    for receives in [0, tls_site::RECEIVES] {
        for leaves in [false, true] {
            let there = found.sites.iter().any(|site| {
                site.leaves == leaves
                    && site.cookie & tls_site::RECEIVES == receives
                    && site.cookie & (tls_site::FREES | tls_site::SHAKES) == 0
            });
            assert!(there, "receives {receives} leaves {leaves}: {found:?}");
        }
    }
}

#[test]
fn libssl_is_found_with_all_of_its_ways() {
    let Some(looked) = of("/usr/lib/x86_64-linux-gnu/libssl.so.3") else { return };
    let found = one(&looked, Library::OpenSsl);
    assert!(looked.build_id.as_ref().is_some_and(|id| id.len() == 40), "{looked:?}");
    let wanted = [
        "SSL_write",
        "SSL_write_ex",
        "SSL_write_early_data",
        "SSL_read",
        "SSL_read_ex",
        "SSL_do_handshake",
    ];
    assert!(wanted.iter().all(|name| found.held.contains(name)), "{found:?}");
    both_ways(found);
}

#[test]
fn libgnutls_is_found_behind_its_jumps() {
    let Some(looked) = of("/usr/lib/x86_64-linux-gnu/libgnutls.so.30") else { return };
    both_ways(one(&looked, Library::GnuTls));
}

#[test]
fn the_copy_inside_node_is_found() {
    let Some(looked) = of("/usr/bin/node") else { return };
    both_ways(one(&looked, Library::OpenSsl));
}

#[test]
fn what_has_no_tls_has_none() {
    let Some(looked) = of("/bin/true") else { return };
    assert_eq!((looked.found, looked.go), (vec![], false));
}

/// A Go program that has crypto/tls, built here; none without a Go toolchain.
fn go_program(dir: &Path, flags: &[&str]) -> Option<PathBuf> {
    let source = dir.join("main.go");
    fs::write(
        &source,
        "package main\nimport \"crypto/tls\"\nfunc main() {\n\
         c, err := tls.Dial(\"tcp\", \"127.0.0.1:1\", nil)\n if err != nil { panic(err) }\n\
         c.Write([]byte{1})\n b := make([]byte, 9)\n c.Read(b)\n}\n",
    )
    .unwrap();
    let program = dir.join("program");
    let built = Command::new("go")
        .arg("build")
        .args(flags)
        .arg("-o")
        .args([&program, &source])
        .env("GOCACHE", dir.join("cache"))
        .env("GOFLAGS", "-mod=mod")
        .env("CGO_ENABLED", "0")
        .status();
    match built {
        Ok(status) => {
            assert!(status.success(), "go build: {status}");
            Some(program)
        }
        Err(_) => {
            println!("no Go toolchain: not run");
            None
        }
    }
}

#[test]
fn go_is_found_by_symbols_and_by_the_runtimes_table() {
    let dir = tempfile::tempdir().unwrap();
    let Some(program) = go_program(dir.path(), &[]) else { return };
    let with_symbols = look(&fs::read(&program).unwrap()).unwrap();
    both_ways(one(&with_symbols, Library::Go));
    let Some(program) = go_program(dir.path(), &["-ldflags=-s -w"]) else { return };
    let stripped = look(&fs::read(&program).unwrap()).unwrap();
    both_ways(one(&stripped, Library::Go));
    let places = |looked: &Looked| {
        let sites = &one(looked, Library::Go).sites;
        sites.iter().map(|site| (site.cookie, site.leaves)).collect::<Vec<_>>()
    };
    assert_eq!(places(&with_symbols), places(&stripped));
}

/// A program of nothing but sections with these names, and its section headers.
fn sections(names: &[&str]) -> Vec<u8> {
    let mut text = vec![0];
    let mut headers = vec![[0u8; 64]];
    for name in names.iter().chain(&[".shstrtab"]) {
        let mut header = [0; 64];
        header[..4].copy_from_slice(&(text.len() as u32).to_le_bytes());
        header[4] = if *name == ".symtab" { 2 } else { 1 };
        headers.push(header);
        text.extend_from_slice(name.as_bytes());
        text.push(0);
    }
    let last = headers.len() - 1;
    headers[last][24..32].copy_from_slice(&64u64.to_le_bytes());
    headers[last][32..40].copy_from_slice(&(text.len() as u64).to_le_bytes());
    let mut file = vec![0; 64];
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (file[16], file[18]) = (2, 62);
    file[40..48].copy_from_slice(&(64 + text.len() as u64).to_le_bytes());
    (file[60], file[62]) = (headers.len() as u8, last as u8);
    [file, text, headers.concat()].concat()
}

#[test]
fn a_go_program_whose_table_cant_be_read_is_not_passed_over_in_silence() {
    for names in [&[".go.buildinfo"][..], &[".go.buildinfo", ".gopclntab"]] {
        let looked = look(&sections(names)).unwrap();
        assert!(looked.go);
        let [found] = &looked.found[..] else { panic!("{looked:?}") };
        assert!(found.sites.is_empty() && found.held.is_empty());
        let why: Vec<_> = found.blind.iter().map(|&(_, why)| why).collect();
        assert_eq!(why, [Blind::Table; 2]);
    }
    assert_eq!(look(&sections(&[".text"])).unwrap().found, []);
}

#[test]
fn a_program_whose_symbols_cant_be_read_says_so() {
    let mut file = sections(&[".symtab"]);
    // The table's own header: its size reaches past the file's end.
    let at = file.len() - 2 * 64 + 32;
    file[at..at + 8].copy_from_slice(&(1u64 << 20).to_le_bytes());
    assert_eq!(look(&file), Err(FindError::Read));
}

#[test]
fn a_text_is_no_elf_file() {
    assert_eq!(look(&b"#!/bin/sh\n".to_vec()), Err(FindError::Elf));
    assert_eq!(look(&Vec::new()), Err(FindError::Elf));
}

/// The head of a real file, with bytes changed anywhere in it.
fn some_file() -> Vec<u8> {
    fs::read("/usr/lib/x86_64-linux-gnu/libssl.so.3")
        .or_else(|_| fs::read("/proc/self/exe"))
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = look(&bytes);
    }

    #[test]
    fn no_change_of_a_real_file_panics(
        changes in prop::collection::vec((0usize..4096, any::<u8>()), 1..8),
        ends in prop::collection::vec((0usize..4096, any::<u8>()), 0..8),
        cut in 0usize..4096,
    ) {
        let mut file = some_file();
        let len = file.len();
        for (at, byte) in changes {
            file[at] = byte;
        }
        for (at, byte) in ends {
            file[len - 1 - at] = byte;
        }
        file.truncate(len - cut);
        let _ = look(&file);
    }
}
