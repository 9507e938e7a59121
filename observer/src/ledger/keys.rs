//! Keys: the host's, in files that only root can read, and a run's, in memory alone.
//!
//! The host has two: one that signs records and certifies runs, and one that signs checkpoints
//! and nothing else. The first names the second in each `observer.start`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::mem::{self, MaybeUninit};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::slice;
use std::time::SystemTime;

use data_encoding::{BASE64, BASE64_NOPAD, HEXLOWER};
use ring::rand::{self, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use ring::{digest, pkcs8};
use rustix::fs::{FlockOperation, flock};
use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

/// The names of the files of the key that signs records: private, public.
const HOST: [&str; 2] = ["host.key", "host.pub"];
/// Of the key that is to follow it.
const NEXT: [&str; 2] = ["host.key.next", "host.pub.next"];
/// Of a witness's.
const WITNESS: [&str; 2] = ["witness.key", "witness.pub"];
/// Of the key that signs checkpoints.
const LOG: [&str; 2] = ["log.key", "log.pub"];

/// A key that can't be used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// A file that can't be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A private key that others can read.
    #[error(
        "{0}: others than its owner can read this private key: `chmod 0600 {0}`, and if it may \
         have been copied, move it away so that a new one is made"
    )]
    Exposed(PathBuf),
    /// A private key that is not this user's.
    #[error("{0}: this private key belongs to another user")]
    Foreign(PathBuf),
    /// Bytes that are no key.
    #[error("{0}: not an Ed25519 key of observer's: move it away, and a new one is made")]
    Malformed(PathBuf),
    /// Keys that are only lent.
    #[error("the host's key comes from a credential: who made it replaces it")]
    Lent,
    /// Ledgers that could not be told of the next key.
    #[error(
        "the host's key was replaced, and these ledgers can't be continued, since it could not be named in them: {0}"
    )]
    LeftBehind(String),
    /// No randomness.
    #[error("the system has no randomness for a key")]
    NoRandomness,
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> KeyError + '_ {
    |source| KeyError::Io { path: path.to_owned(), source }
}

/// An Ed25519 public key (RFC 8032), in the one way to write it, and not of small order: under
/// such a key anybody can sign anything, and verifiers differ on what holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

/// The y of the points of order 8, whichever sign their x has.
const EIGHTH: [[u8; 32]; 2] = [
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
];

impl PublicKey {
    /// From base64.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64.decode(text.trim().as_bytes()).ok()?;
        Self::from_bytes(bytes.try_into().ok()?)
    }

    /// From a file of one base64 line.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let mut text = String::new();
        let file = File::open(path).map_err(io_error(path))?;
        file.take(1024).read_to_string(&mut text).map_err(io_error(path))?;
        Self::parse(&text).ok_or_else(|| KeyError::Malformed(path.to_owned()))
    }

    pub(super) fn from_bytes(bytes: [u8; 32]) -> Option<Self> {
        // y, without the sign of x.
        let mut y = bytes;
        y[31] &= 0x7f;
        let [first, middle @ .., last] = y;
        let all = |byte: u8| middle.iter().all(|&b| b == byte);
        // From p − 1 on, with p = 2^255 − 19: the point of order 2, and other ways to write
        // what is below. And 0 and 1: those of order 4, and the one of order 1.
        let large = last == 0x7f && all(0xff) && first >= 0xec;
        let small = last == 0 && all(0) && first <= 1;
        (!large && !small && !EIGHTH.contains(&y)).then_some(Self(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// As base64.
    pub fn to_base64(self) -> String {
        BASE64.encode(&self.0)
    }

    /// `SHA256:` and the base64 of the key's hash, as ssh writes it.
    pub fn fingerprint(self) -> String {
        let hash = digest::digest(&digest::SHA256, &self.0);
        format!("SHA256:{}", BASE64_NOPAD.encode(hash.as_ref()))
    }

    pub(super) fn verifies(self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

/// The host's keys.
pub struct HostKey {
    records: SigningKey,
    checkpoints: SigningKey,
    /// Where they are; none where they are only lent, and can't be replaced.
    dir: Option<PathBuf>,
    /// A key that was made to follow, and may already be named in the ledger.
    next: Option<SigningKey>,
    /// The directory, locked with others who use the keys in it.
    lock: Option<File>,
}

/// No other recorder uses the keys.
pub(super) struct Alone(File);

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = flock(&self.0, FlockOperation::LockShared);
    }
}

impl HostKey {
    /// The keys in `dir`, made there at first use; whether the host's was made now.
    pub fn open_or_create(dir: &Path) -> Result<(Self, bool), KeyError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_error(dir))?;
        // Before the keys are read: nobody replaces them from here on.
        let lock = File::open(dir).map_err(io_error(dir))?;
        flock(&lock, FlockOperation::LockShared).map_err(|e| io_error(dir)(e.into()))?;
        let (records, made) = SigningKey::open_or_create(dir, HOST)?;
        let (checkpoints, _) = SigningKey::open_or_create(dir, LOG)?;
        let next = match SigningKey::open(&dir.join(NEXT[0])) {
            Ok(next) => Some(next),
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let (dir, lock) = (Some(dir.to_owned()), Some(lock));
        Ok((Self { records, checkpoints, dir, next, lock }, made))
    }

    /// The keys in a directory of credentials (systemd's `$CREDENTIALS_DIRECTORY`), where it has
    /// one of them: then both must be there, and none is ever made. The public ones are put into
    /// `dir`, for whoever verifies on this host.
    pub fn from_credentials(credentials: &Path, dir: &Path) -> Result<Option<Self>, KeyError> {
        if !HOST.iter().chain(&LOG).any(|name| credentials.join(name).exists()) {
            return Ok(None);
        }
        let records = SigningKey::open(&credentials.join(HOST[0]))?;
        let checkpoints = SigningKey::open(&credentials.join(LOG[0]))?;
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_error(dir))?;
        for (key, name) in [(&records, HOST[1]), (&checkpoints, LOG[1])] {
            publish(&dir.join(name), key.public())?;
        }
        Ok(Some(Self { records, checkpoints, dir: None, next: None, lock: None }))
    }

    /// Removes keys that were just made and never used.
    pub fn forget(dir: &Path) -> io::Result<()> {
        for name in HOST.into_iter().chain(LOG) {
            match fs::remove_file(dir.join(name)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        fs::remove_dir(dir)
    }

    /// The host's public key.
    pub fn public(&self) -> PublicKey {
        self.records.public()
    }

    /// The public key of its checkpoints.
    pub fn log_public(&self) -> PublicKey {
        self.checkpoints.public()
    }

    /// The keys that this host's ledgers may begin with: its own, and those before it. None where
    /// it has none.
    pub fn known_public(dir: &Path) -> Result<Vec<PublicKey>, KeyError> {
        let mut known = vec![];
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(known),
            Err(e) => return Err(io_error(dir)(e)),
        };
        for entry in entries {
            let path = entry.map_err(io_error(dir))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name == HOST[1] || (name.starts_with("host-") && name.ends_with(".pub")) {
                known.push(PublicKey::read(&path)?);
            }
        }
        Ok(known)
    }

    /// Since when the host's key signs, as its file tells; now where it can't be told.
    pub(super) fn since(&self) -> SystemTime {
        let path = self.dir.as_ref().map(|dir| dir.join(HOST[0]));
        let made = path.and_then(|path| fs::metadata(path).and_then(|meta| meta.modified()).ok());
        made.unwrap_or_else(SystemTime::now)
    }

    /// The state directory; none where the keys are only lent.
    pub(super) fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// Whether these keys can be replaced by others.
    pub(super) fn can_rotate(&self) -> bool {
        self.dir.is_some()
    }

    /// The key that is to follow, made and synced where there is none yet. It signs nothing
    /// before [`Self::advance`].
    pub(super) fn next(&mut self) -> Result<PublicKey, KeyError> {
        let dir = self.dir.as_deref().ok_or(KeyError::Lent)?;
        if self.next.is_none() {
            self.next = Some(SigningKey::create(dir, NEXT)?);
        }
        self.next.as_ref().map(SigningKey::public).ok_or(KeyError::Lent)
    }

    /// The next key takes this one's place, and this one's file is overwritten: the ledger has
    /// named the next. In memory that can't fail; what fails on the disk the next start does.
    pub(super) fn advance(&mut self) -> Result<(), KeyError> {
        let dir = self.dir.clone().ok_or(KeyError::Lent)?;
        let Some(next) = self.next.take() else { return Ok(()) };
        let old = std::mem::replace(&mut self.records, next).public();
        let (private, public) = (dir.join(HOST[0]), dir.join(HOST[1]));
        // The public key stays, for the ledgers that begin with it.
        let print = HEXLOWER.encode(old.bytes().get(..8).unwrap_or_default());
        publish(&dir.join(format!("host-{print}.pub")), old)?;
        publish(&public, self.records.public())?;
        let mut options = OpenOptions::new();
        let file = options.write(true).custom_flags(libc::O_NOFOLLOW).open(&private);
        let mut file = file.map_err(io_error(&private))?;
        fs::rename(dir.join(NEXT[0]), &private).map_err(io_error(&private))?;
        // What can be done for the old one's blocks: the file system may have kept others.
        let length = file.metadata().map_err(io_error(&private))?.len().min(4096) as usize;
        let wiped = file.write_all(&vec![0; length]).and_then(|()| file.sync_all());
        wiped.map_err(io_error(&private))?;
        let _ = fs::remove_file(dir.join(NEXT[1]));
        File::open(&dir).and_then(|dir| dir.sync_all()).map_err(io_error(&dir))
    }

    /// Keeps every other recorder of this host away from its keys while the guard lives. None
    /// where there is one.
    pub(super) fn alone(&self) -> Option<Alone> {
        // The same open file: the lock is its.
        let lock = self.lock.as_ref()?.try_clone().ok()?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Some(Alone(lock)),
            Err(_) => {
                // Trying may have lost what was held.
                let _ = flock(&lock, FlockOperation::LockShared);
                None
            }
        }
    }

    /// The key that is to follow, where there is one.
    pub(super) fn next_public(&self) -> Option<PublicKey> {
        self.next.as_ref().map(SigningKey::public)
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.records.sign(message)
    }

    /// Signs a checkpoint's text.
    pub(super) fn sign_checkpoint(&self, text: &[u8]) -> Vec<u8> {
        self.checkpoints.sign(text)
    }
}

/// Writes a public key's file, whole or not at all, where it is not there.
fn publish(path: &Path, key: PublicKey) -> Result<(), KeyError> {
    if PublicKey::read(path).is_ok_and(|known| known == key) {
        return Ok(());
    }
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{}", std::process::id()));
    let written = fs::write(&part, format!("{}\n", key.to_base64()));
    written.and_then(|()| fs::rename(&part, path)).map_err(io_error(path))
}

/// A private key in memory.
pub(super) struct SigningKey(Box<Ed25519KeyPair>);

impl Drop for SigningKey {
    /// Wipes the pair where it was kept: ring itself does not.
    fn drop(&mut self) {
        const { assert!(!mem::needs_drop::<Ed25519KeyPair>()) };
        let place = (&raw mut *self.0).cast::<MaybeUninit<u8>>();
        // SAFETY: the pair's own bytes, which nobody reads again: it has nothing to drop.
        let bytes = unsafe { slice::from_raw_parts_mut(place, size_of::<Ed25519KeyPair>()) };
        bytes.zeroize();
    }
}

impl SigningKey {
    /// A witness's, in a directory of its own.
    pub(super) fn of_witness(dir: &Path) -> Result<Self, KeyError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_error(dir))?;
        Self::open_or_create(dir, WITNESS).map(|(key, _)| key)
    }

    fn open_or_create(dir: &Path, names: [&str; 2]) -> Result<(Self, bool), KeyError> {
        match Self::open(&dir.join(names[0])) {
            Ok(key) => Ok((key, false)),
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Self::create(dir, names).map(|key| (key, true))
            }
            Err(error) => Err(error),
        }
    }

    fn open(path: &Path) -> Result<Self, KeyError> {
        let no_follow = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).custom_flags(no_follow).open(path).map_err(io_error(path))?;
        let meta = file.metadata().map_err(io_error(path))?;
        if !meta.is_file() {
            return Err(KeyError::Malformed(path.to_owned()));
        }
        if meta.mode() & 0o077 != 0 {
            return Err(KeyError::Exposed(path.to_owned()));
        }
        if meta.uid() != rustix::process::geteuid().as_raw() {
            return Err(KeyError::Foreign(path.to_owned()));
        }
        let mut bytes = Zeroizing::new(vec![]);
        (&mut file).take(4096).read_to_end(&mut bytes).map_err(io_error(path))?;
        let pair = Ed25519KeyPair::from_pkcs8(&bytes);
        let pair = pair.map_err(|_| KeyError::Malformed(path.to_owned()))?;
        Ok(Self(Box::new(pair)))
    }

    fn create(dir: &Path, [private, public]: [&str; 2]) -> Result<Self, KeyError> {
        let path = &dir.join(private);
        let document: pkcs8::Document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| KeyError::NoRandomness)?;
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref());
        let key = Self(Box::new(pair.map_err(|_| KeyError::NoRandomness)?));
        // Whole or not at all: a crash leaves no half a key under the name.
        let part = dir.join(format!(".{private}.{}", std::process::id()));
        let write = |path: &Path, mode, bytes: &[u8]| {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(mode).open(path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write(&part, 0o600, document.as_ref()).map_err(io_error(&part))?;
        let linked = fs::hard_link(&part, path);
        fs::remove_file(&part).map_err(io_error(&part))?;
        match linked {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Self::open(path),
            other => other.map_err(io_error(path))?,
        }
        let public = dir.join(public);
        let _ = fs::remove_file(&public);
        let line = format!("{}\n", key.public().to_base64());
        write(&public, 0o644, line.as_bytes()).map_err(io_error(&public))?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error(dir))?;
        Ok(key)
    }

    /// A new one; its seed is wiped here.
    pub(super) fn generate() -> Result<Self, KeyError> {
        let random = rand::generate::<[u8; 32]>(&SystemRandom::new());
        let seed = Zeroizing::new(random.map_err(|_| KeyError::NoRandomness)?.expose());
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed);
        Ok(Self(Box::new(pair.map_err(|_| KeyError::NoRandomness)?)))
    }

    pub(super) fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}
