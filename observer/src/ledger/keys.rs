//! Keys: the host's, in files that only root can read, and a run's, in memory alone.
//!
//! The host has two: one that signs records and certifies runs, and one that signs checkpoints
//! and nothing else. The first names the second in each `observer.start`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::{BASE64, BASE64_NOPAD};
use ring::rand::{self, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use ring::{digest, pkcs8};
use thiserror::Error;
use zeroize::Zeroizing;

/// The names of the files of the key that signs records: private, public.
const HOST: [&str; 2] = ["host.key", "host.pub"];
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
    /// No randomness.
    #[error("the system has no randomness for a key")]
    NoRandomness,
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> KeyError + '_ {
    |source| KeyError::Io { path: path.to_owned(), source }
}

/// An Ed25519 public key (RFC 8032).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// From base64.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64.decode(text.trim().as_bytes()).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// From a file of one base64 line.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let mut text = String::new();
        let file = File::open(path).map_err(io_error(path))?;
        file.take(1024).read_to_string(&mut text).map_err(io_error(path))?;
        Self::parse(&text).ok_or_else(|| KeyError::Malformed(path.to_owned()))
    }

    pub(super) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
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
}

impl HostKey {
    /// The keys in `dir`, made there at first use; whether the host's was made now.
    pub fn open_or_create(dir: &Path) -> Result<(Self, bool), KeyError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_error(dir))?;
        let (records, made) = SigningKey::open_or_create(dir, HOST)?;
        let (checkpoints, _) = SigningKey::open_or_create(dir, LOG)?;
        Ok((Self { records, checkpoints }, made))
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
            let (public, path) = (key.public(), dir.join(name));
            if PublicKey::read(&path).is_ok_and(|known| known == public) {
                continue;
            }
            let part = dir.join(format!(".{name}.{}", std::process::id()));
            let written = fs::write(&part, format!("{}\n", public.to_base64()));
            written.and_then(|()| fs::rename(&part, &path)).map_err(io_error(&path))?;
        }
        Ok(Some(Self { records, checkpoints }))
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

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.records.sign(message)
    }

    /// Signs a checkpoint's text.
    pub(super) fn sign_checkpoint(&self, text: &[u8]) -> Vec<u8> {
        self.checkpoints.sign(text)
    }
}

/// A private key in memory.
pub(super) struct SigningKey(Ed25519KeyPair);

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
        Ok(Self(pair))
    }

    fn create(dir: &Path, [private, public]: [&str; 2]) -> Result<Self, KeyError> {
        let path = &dir.join(private);
        let document: pkcs8::Document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| KeyError::NoRandomness)?;
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref());
        let key = Self(pair.map_err(|_| KeyError::NoRandomness)?);
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

    /// A new one; its seed is wiped here. ring wipes nothing of the pair itself when it is
    /// dropped: SECURITY.md says so.
    pub(super) fn generate() -> Result<Self, KeyError> {
        let random = rand::generate::<[u8; 32]>(&SystemRandom::new());
        let seed = Zeroizing::new(random.map_err(|_| KeyError::NoRandomness)?.expose());
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed);
        Ok(Self(pair.map_err(|_| KeyError::NoRandomness)?))
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
