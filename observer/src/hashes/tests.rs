//! What is known of files, and when it is forgotten.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::*;

type Known = Arc<Mutex<BTreeMap<FileKey, [u8; 32]>>>;

struct Table(Known);

impl super::Table for Table {
    fn put(&mut self, file: &FileKey, sha256: [u8; 32]) -> bool {
        self.0.lock().unwrap().insert(*file, sha256).is_none()
    }

    fn remove(&mut self, file: &FileKey) {
        assert!(self.0.lock().unwrap().remove(file).is_some(), "{file:?}");
    }
}

struct Here {
    dir: tempfile::TempDir,
    known: Known,
    hashes: Hashes<Table>,
    signals: OwnedFd,
}

fn here(most: usize) -> Here {
    let signals = signals().unwrap();
    let known = Known::default();
    let hashes = Hashes::new(Table(Arc::clone(&known)), most);
    Here { dir: tempfile::tempdir().unwrap(), known, hashes, signals }
}

impl Here {
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn known(&self) -> usize {
        self.known.lock().unwrap().len()
    }
}

fn sha256_of(text: &str) -> [u8; 32] {
    digest::digest(&digest::SHA256, text.as_bytes()).as_ref().try_into().unwrap()
}

#[test]
fn a_file_is_known_by_its_inode_and_what_it_holds() {
    let mut here = here(8);
    let path = here.write("tool", "one");
    here.hashes.know(&File::open(&path).unwrap()).unwrap();
    here.hashes.know(&File::open(&path).unwrap()).unwrap();
    let meta = fs::metadata(&path).unwrap();
    let known = here.known.lock().unwrap();
    let (key, hash) = known.first_key_value().unwrap();
    assert_eq!((known.len(), key.ino, key.size), (1, meta.ino(), 3));
    assert_eq!(*hash, sha256_of("one"));
}

#[test]
fn whoever_would_write_makes_a_file_forgotten_first() {
    let mut here = here(8);
    let path = here.write("tool", "one");
    here.hashes.know(&File::open(&path).unwrap()).unwrap();
    let open = || OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&path);
    assert_eq!(open().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    let mut fds = [rustix::event::PollFd::new(&here.signals, rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut fds, None), Ok(1));
    signalled(&here.signals);
    assert_eq!(here.known(), 1);
    here.hashes.let_go();
    assert_eq!(here.known(), 0);
    let writer = open().unwrap();
    assert!(here.hashes.know(&File::open(&path).unwrap()).is_err(), "hashed while it is written");
    assert_eq!(here.known(), 0);
    drop(writer);
    here.hashes.know(&File::open(&path).unwrap()).unwrap();
}

#[test]
fn a_change_that_is_no_write_makes_it_hashed_anew() {
    let mut here = here(8);
    let path = here.write("tool", "one");
    here.hashes.know(&File::open(&path).unwrap()).unwrap();
    let before = *here.known.lock().unwrap().keys().next().unwrap();
    // The clock of inodes has ticks: until one has passed the change shows nowhere.
    while stamp(&fs::metadata(&path).unwrap()) == stamp_of(&before) {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    here.hashes.know(&File::open(&path).unwrap()).unwrap();
    let known = here.known.lock().unwrap();
    assert_eq!((known.len(), known.contains_key(&before)), (1, false));
}

#[test]
fn the_one_not_asked_for_longest_makes_room() {
    let mut here = here(2);
    let files: Vec<File> = ["one", "two", "three"]
        .iter()
        .map(|name| File::open(here.write(name, name)).unwrap())
        .collect();
    for at in [0, 1, 0, 2] {
        here.hashes.know(&files[at]).unwrap();
    }
    let known: Vec<[u8; 32]> = here.known.lock().unwrap().values().copied().collect();
    assert_eq!(known.len(), 2);
    assert!(known.contains(&sha256_of("one")) && known.contains(&sha256_of("three")));
    drop(here.hashes);
    assert!(here.known.lock().unwrap().is_empty());
}

#[test]
fn what_is_no_lease_in_force_names_no_file() {
    let line = "lock:\t1: LEASE  ACTIVE    READ  812 fd:01:4711 0 EOF";
    assert_eq!(place(line), Some((0xfd << 20 | 1, 4711)));
    for (word, other) in
        [("ACTIVE", "BREAKING"), ("LEASE", "FLOCK"), ("READ", "UNLCK"), ("fd", "x")]
    {
        assert_eq!(place(&line.replace(word, other)), None);
    }
}
