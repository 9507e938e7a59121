//! What is told of a file beside its functions.

use super::*;

/// A program with these constants; none without a compiler.
fn program(constants: &[&str]) -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let (source, program) = (dir.path().join("main.c"), dir.path().join("program"));
    let text = format!(
        "const char *const all[] = {{ {} }};\nint main(int n, char **a) {{ return *all[n]; }}\n",
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
    // In parts: see below.
    let words = [["received corrupt", " message of type "], ["peer mis", "behaved: "]];
    let words = words.map(|parts| parts.concat());
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
