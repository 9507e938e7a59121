//! What is told of a file beside its functions.

use super::*;

/// A program with these constants; none without a compiler.
fn program(constants: &[&str]) -> Option<Vec<u8>> {
    program_with(constants, "")
}

/// And with this beside them.
fn program_with(constants: &[&str], rest: &str) -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let (source, program) = (dir.path().join("main.c"), dir.path().join("program"));
    let text = format!(
        "const char *const all[] = {{ {} }};\nint main(int n, char **a) {{ return *all[n]; }}\n{rest}",
        constants.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", ")
    );
    fs::write(&source, text).unwrap();
    match Command::new("cc").arg("-o").args([&program, &source]).status() {
        Ok(status) => assert!(status.success(), "cc: {status}"),
        Err(_) => {
            println!("no C compiler: not run");
            return None;
        }
    }
    Some(fs::read(&program).unwrap())
}

#[test]
fn a_program_that_has_rustls_and_no_symbols_of_it_is_named_as_one_that_is_not_seen() {
    let words = rustls_words();
    let words = words.each_ref().map(String::as_str);
    let Some(file) = program(&words) else { return };
    let looked = look(&file).unwrap();
    let [found] = &looked.found[..] else { panic!("{looked:?}") };
    assert_eq!(found.library, Library::Rustls);
    assert!(found.sites.is_empty() && found.held.is_empty(), "{found:?}");
    let blind = ["CommonState::send_appdata_encrypt", "ExpectTraffic::handle"]
        .map(|name| (name, Blind::Stripped));
    assert_eq!(found.blind, blind);
    for word in words {
        let Some(file) = program(&[word]) else { return };
        assert_eq!(look(&file).unwrap().found, [], "{word} alone");
    }
}

/// What rustls says of its errors, in parts: see below.
fn rustls_words() -> [String; 2] {
    [["received corrupt", " message of type "], ["peer mis", "behaved: "]]
        .map(|parts| parts.concat())
}

/// A program that has rustls of these versions, functions of these names, and this compiler's.
fn rustls(versions: &[&str], names: &[&str], compiler: &str) -> Option<Vec<u8>> {
    let places = versions.iter().map(|version| format!("/rust{}{version}/src/conn.rs", "ls-"));
    let constants: Vec<String> = rustls_words().into_iter().chain(places).collect();
    let mut rest = format!("__asm__(\".ident \\\"{compiler}\\\"\");\n");
    for (n, name) in names.iter().enumerate() {
        rest += &format!(
            "long f{n}(long a, long b) __asm__(\"{name}\");\nlong f{n}(long a, long b) {{ return a + b; }}\n"
        );
    }
    program_with(&constants.iter().map(String::as_str).collect::<Vec<_>>(), &rest)
}

const RUSTC: &str = "rustc version 1.95.0 (59807616e 2026-04-14)";
const ENCRYPTS: &str =
    "_ZN6rustls12common_state11CommonState20send_appdata_encrypt17hbeff53087ad83ab9E";
const BUFFERS: &str = "_ZN6rustls12common_state11CommonState16buffer_plaintext17h60a03956783711f1E";
const SENDS_SOME: &str =
    "_ZN6rustls12common_state11CommonState19send_some_plaintext17hb59aec9931ed03c9E";
const HANDLES: &str = "_ZN141_$LT$rustls..client..tls13..ExpectTraffic$u20$as$u20$rustls..common_state..State$LT$rustls..client..client_conn..ClientConnectionData$GT$$GT$6handle17h92105ed8912ec01dE";
const DROPS: &str =
    "_ZN4core3ptr54drop_in_place$LT$rustls..common_state..CommonState$GT$17hc943cc9fba5d05c1E";

#[test]
fn rustls_is_held_where_its_names_and_versions_are_known() {
    let (piece, state, handle) = (tls_site::CHUNKS, "CommonState::", "ExpectTraffic::handle");
    for (version, names, sends, shape, kind) in [
        ("0.23.46", &[ENCRYPTS, BUFFERS, HANDLES, DROPS], "send_appdata_encrypt", piece, 5),
        ("0.23.13", &[BUFFERS, SENDS_SOME, HANDLES, DROPS], "buffer_plaintext", piece, 4),
        ("0.21.12", &[SENDS_SOME, BUFFERS, HANDLES, DROPS], "send_some_plaintext", 0, 3),
    ] {
        let Some(file) = rustls(&[version], names, RUSTC) else { return };
        let looked = look(&file).unwrap();
        let [found] = &looked.found[..] else { panic!("{looked:?}") };
        assert_eq!(found.blind, [], "{version}");
        assert_eq!(found.held, [&format!("{state}{sends}")[..], handle, "CommonState::drop"]);
        let of = |flag: u64| found.sites.iter().filter(move |site| site.cookie & flag != 0);
        assert_eq!(of(tls_site::RECORD).count(), 1, "{version}");
        assert!(of(tls_site::RECORD).all(|site| site.cookie >> tls_site::KIND & 7 == kind));
        assert_eq!(of(tls_site::FREES).count(), 1, "{version}");
        let sending = found
            .sites
            .iter()
            .filter(|site| site.cookie & (tls_site::RECEIVES | tls_site::FREES) == 0);
        assert!(sending.clone().all(|site| site.cookie & tls_site::CHUNKS == shape), "{version}");
        assert_eq!(sending.map(|site| u32::from(site.leaves)).sum::<u32>(), 1, "{version}");
    }
}

#[test]
fn rustls_whose_places_cant_be_told_has_no_probe_and_says_why() {
    let whole = &[ENCRYPTS, HANDLES, DROPS][..];
    let both =
        |why| vec![("CommonState::send_appdata_encrypt", why), ("ExpectTraffic::handle", why)];
    let handles = vec![("ExpectTraffic::handle", Blind::Unnamed)];
    let sends = vec![("CommonState::send_appdata_encrypt", Blind::Unnamed)];
    let old = "rustc version 1.75.0 (82e1608df 2023-12-21)";
    for (versions, names, compiler, blind) in [
        (&["0.23.46"][..], &[DROPS][..], RUSTC, both(Blind::Stripped)),
        (&[], whole, RUSTC, both(Blind::Version)),
        (&["0.24.0"], whole, RUSTC, both(Blind::Version)),
        (&["0.21.12", "0.23.46"], whole, RUSTC, both(Blind::Version)),
        (&["0.23.46"], whole, old, both(Blind::Compiler)),
        (&["0.23.46"], whole, "clang version 18", both(Blind::Compiler)),
        (&["0.23.46"], &[ENCRYPTS, DROPS], RUSTC, handles),
        (&["0.23.46"], &[SENDS_SOME, HANDLES, DROPS], RUSTC, sends),
    ] {
        let Some(file) = rustls(versions, names, compiler) else { return };
        let looked = look(&file).unwrap();
        let [found] = &looked.found[..] else { panic!("{looked:?}") };
        assert_eq!(found.blind, blind, "{versions:?} {names:?} {compiler}");
        assert!(found.sites.is_empty() && found.held.is_empty(), "{found:?}");
    }
}

#[test]
fn what_searches_for_rustls_is_none_that_has_it() {
    let looked = look(&fs::read("/proc/self/exe").unwrap()).unwrap();
    assert!(looked.found.iter().all(|found| found.library != Library::Rustls), "{looked:?}");
}

#[test]
fn a_library_is_found_by_its_names_where_the_rest_cant_be_looked_through_and_that_is_said() {
    let Ok(mut file) = fs::read("/usr/lib/x86_64-linux-gnu/libgnutls.so.30") else {
        return println!("no libgnutls.so.30 here: not run");
    };
    let whole = look(&file).unwrap();
    assert_eq!(whole.unread, None);
    let word = |file: &[u8], at: usize| u64::from_le_bytes(*file[at..].first_chunk().unwrap());
    let (headers, count) = (word(&file, 32) as usize, usize::from(file[56]));
    // A program header: type and flags, then offset, addresses and sizes. The last with constants.
    let constants =
        (0..count).map(|n| headers + n * 56).rfind(|&at| word(&file, at) == 1 | 4 << 32);
    let size = constants.unwrap() + 32;
    file[size..size + 8].copy_from_slice(&(1u64 << 40).to_le_bytes());
    let looked = look(&file).unwrap();
    assert_eq!(looked.found, whole.found);
    assert_eq!(looked.unread, Some(FindError::Read));
}
