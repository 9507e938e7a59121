//! The files that masking needs: its keys, which never leave the host, and the user's rules, which
//! are read again when they change. What masking does with them is `mask`'s to say, which does no IO.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use crate::mask::{MaskKey, Masker, Rules, SharedRules};

/// Where keys are kept, below the host's own state.
const KEYS: &str = "mask";
/// The name of the key that all runs of a host share by choice.
const HOST: &str = "host";
/// A file of rules has no more than this.
const LARGEST: u64 = 4 << 20;
/// How often a file of rules is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Which key a run's values are masked under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyChoice {
    /// A new one, kept on this host, so that `observer mask --match` can ask for a value later.
    #[default]
    Run,
    /// One for all runs of this host: equal values have equal tokens in all of them.
    Host,
    /// A new one that is forgotten with the run: nobody can ask later.
    Forget,
}

/// How a run is to be masked.
#[derive(Clone, Debug, Default)]
pub struct Masking {
    /// The user's rules.
    pub rules: Option<PathBuf>,
    /// The key.
    pub key: KeyChoice,
    /// E-mail addresses too.
    pub email: bool,
}

impl Masking {
    /// The run's masker.
    ///
    /// # Errors
    /// If the rules do not hold, or the key can't be made or kept.
    pub fn masker(&self, state: &Path) -> Result<Masker> {
        let key = self.key(state)?;
        let Some(path) = &self.rules else {
            return Ok(Masker::with_rules(key, Rules::default().with_email(self.email)));
        };
        let changed = changed(path);
        let shared = SharedRules::new(self.read(path)?);
        let mut masker = Masker::with_rules(key, shared.get());
        masker.follow(shared.clone());
        follow(self.clone(), path.clone(), changed, &shared)?;
        Ok(masker)
    }

    /// Forgets a run's key again, where its run came to nothing; `all` says that this host had no
    /// state before it.
    pub fn forget(&self, state: &Path, run: Option<&str>, all: bool) {
        let dir = state.join(KEYS);
        if all {
            let _ = fs::remove_file(dir.join(HOST));
        }
        if let (Some(run), KeyChoice::Run) = (run, self.key) {
            let _ = fs::remove_file(dir.join(run));
        }
        // One that keeps another key stays.
        let _ = fs::remove_dir(dir);
    }

    fn read(&self, path: &Path) -> Result<Rules> {
        let name = path.display();
        let mut text = String::new();
        let file = File::open(path).with_context(|| format!("cannot read the rules {name}"))?;
        let read = file.take(LARGEST + 1).read_to_string(&mut text);
        read.with_context(|| format!("cannot read the rules {name}"))?;
        if text.len() as u64 > LARGEST {
            bail!("the rules {name} have more than {LARGEST} bytes");
        }
        let rules = Rules::parse(&text).with_context(|| format!("the rules {name} do not hold"))?;
        Ok(rules.with_email(self.email))
    }

    fn key(&self, state: &Path) -> Result<MaskKey> {
        let new = || MaskKey::generate().context("the system has no randomness for a key");
        let dir = state.join(KEYS);
        match self.key {
            KeyChoice::Forget => new(),
            KeyChoice::Run => keep_new(&dir, new),
            KeyChoice::Host => {
                if let Some(key) = read_key(&dir.join(HOST))? {
                    return Ok(key);
                }
                // Another run may be first: its key is the host's.
                keep(&dir, HOST, &new()?)?;
                read_key(&dir.join(HOST))?.context("the host's mask key is gone again")
            }
        }
    }
}

/// Reads rules for a command that needs them once.
///
/// # Errors
/// If they can't be read or do not hold.
pub fn rules(path: Option<&Path>, email: bool) -> Result<Rules> {
    let masking = Masking { email, ..Masking::default() };
    path.map_or_else(|| Ok(Rules::default().with_email(email)), |path| masking.read(path))
}

/// Every key that this host keeps.
///
/// # Errors
/// If they can't be read.
pub fn keys(state: &Path) -> Result<Vec<MaskKey>> {
    let dir = state.join(KEYS);
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries.with_context(|| format!("cannot read {}", dir.display()))?,
    };
    let mut out = vec![];
    for entry in entries {
        let name = entry?.file_name();
        if !name.to_string_lossy().starts_with('.') {
            out.extend(read_key(&dir.join(name))?);
        }
    }
    Ok(out)
}

/// Takes the rules' file again whenever it has changed, for as long as the masker lives.
fn follow(
    masking: Masking,
    path: PathBuf,
    mut known: Option<Look>,
    shared: &SharedRules,
) -> Result<()> {
    let shared = shared.watcher();
    let watch = move || {
        loop {
            thread::sleep(EVERY);
            let Some(shared) = shared.upgrade() else { return };
            let now = changed(&path);
            if now.is_none() || now == known {
                continue;
            }
            known = now;
            match masking.read(&path) {
                Ok(rules) => {
                    eprintln!("observer: mask rules {} from now on", rules.version());
                    shared.set(rules);
                }
                Err(error) => eprintln!("observer: {error:#}; the rules before stay in force"),
            }
        }
    };
    let thread = thread::Builder::new().name("observer-rules".into()).spawn(watch);
    thread.context("cannot watch the rules' file")?;
    Ok(())
}

/// What tells that a file was written or replaced: when, which file it is, how long.
type Look = (SystemTime, u64, u64);

fn changed(path: &Path) -> Option<Look> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.ino(), meta.size()))
}

/// Keeps a new key under its id. Where another has that id already, it takes one more: a key that
/// stands under no name of its own could never be asked.
fn keep_new(dir: &Path, mut new: impl FnMut() -> Result<MaskKey>) -> Result<MaskKey> {
    const TRIES: u32 = 8;
    for _ in 0..TRIES {
        let key = new()?;
        if keep(dir, &key.id(), &key)? {
            return Ok(key);
        }
    }
    bail!("{}: {TRIES} new mask keys have ids that are taken: that is no chance", dir.display())
}

/// Keeps a key under a name; false where the name is taken, and what stands there stays.
fn keep(dir: &Path, name: &str, key: &MaskKey) -> Result<bool> {
    let path = dir.join(name);
    let write = || {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let part = dir.join(format!(".{name}.{}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        file.write_all(key.bytes())?;
        file.sync_all()?;
        let linked = fs::hard_link(&part, &path);
        fs::remove_file(&part)?;
        match linked {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            linked => linked.map(|()| true),
        }
    };
    write().with_context(|| format!("cannot keep the mask key {}", path.display()))
}

fn read_key(path: &Path) -> Result<Option<MaskKey>> {
    let name = path.display();
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path);
    let mut file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(|| format!("cannot read the mask key {name}"))?,
    };
    let meta = file.metadata().with_context(|| format!("cannot read the mask key {name}"))?;
    if meta.mode() & 0o077 != 0 {
        bail!("{name}: others than its owner can read this mask key: `chmod 0600 {name}`");
    }
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    let read = file.read_exact(&mut *bytes);
    read.with_context(|| format!("{name} is no mask key: it has not 32 bytes"))?;
    Ok(Some(MaskKey::from_bytes(*bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Raw;

    fn said(masker: &mut Masker, text: &str) -> String {
        String::from_utf8_lossy(masker.text(Raw::from(text)).get().bytes()).into_owned()
    }

    #[test]
    fn a_hosts_key_gives_one_token_in_all_runs_and_a_runs_key_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let text = "password=zQ7vT2mXpLx9";
        for (choice, same, kept) in
            [(KeyChoice::Host, true, 1), (KeyChoice::Run, false, 3), (KeyChoice::Forget, false, 3)]
        {
            let masking = Masking { key: choice, ..Masking::default() };
            let mut tokens = (0..2).map(|_| said(&mut masking.masker(dir.path()).unwrap(), text));
            let equal = tokens.next() == tokens.next();
            assert_eq!(equal, same, "{choice:?}");
            assert_eq!(keys(dir.path()).unwrap().len(), kept, "{choice:?}");
        }
    }

    #[test]
    fn a_key_whose_id_is_taken_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = [1, 1, 1, 2].into_iter();
        let mut new = || Ok(MaskKey::from_bytes([bytes.next().unwrap(); 32]));
        let first = keep_new(dir.path(), &mut new).unwrap();
        let second = keep_new(dir.path(), &mut new).unwrap();
        assert_eq!((first.bytes()[0], second.bytes()[0]), (1, 2));
        for key in [first, second] {
            let kept = read_key(&dir.path().join(key.id())).unwrap().unwrap();
            assert_eq!(kept.bytes(), key.bytes(), "what stood there was not written over");
        }
        let taken = keep_new(dir.path(), || Ok(MaskKey::from_bytes([1; 32])));
        assert!(taken.err().unwrap().to_string().contains("are taken"));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let masking = Masking { key: KeyChoice::Host, ..Masking::default() };
        masking.masker(dir.path()).unwrap();
        let path = dir.path().join(KEYS).join(HOST);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = masking.masker(dir.path()).err().unwrap().to_string();
        assert!(error.contains("chmod 0600"), "{error}");
    }

    #[test]
    fn changed_rules_are_taken_and_broken_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rules.toml");
        let rule = |regex: &str| format!("[[rules]]\nid = \"own\"\nregex = '''{regex}'''\n");
        fs::write(&path, rule("first-[0-9]{6}")).unwrap();
        let masking = Masking { rules: Some(path.clone()), key: KeyChoice::Forget, email: false };
        let mut masker = masking.masker(dir.path()).unwrap();
        assert!(said(&mut masker, "a first-123456 b").contains("<mask:own:"));
        let later = |n| SystemTime::now() + Duration::from_secs(n);
        let write = |text: &str, n| {
            fs::write(&path, text).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(later(n)).unwrap();
        };
        write(&rule("second-[0-9]{6}"), 10);
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while !said(&mut masker, "a second-123456 b").contains("<mask:own:") {
            assert!(std::time::Instant::now() < deadline, "the new rules were never taken");
            thread::yield_now();
        }
        let version = masker.text(Raw::from("x")).rules().to_owned();
        assert!(version.contains('+'), "{version}");
        fs::write(&path, "[[rules]]\nid = \"own\"\nregex = '('\n").unwrap();
        let error = masking.masker(dir.path()).err().unwrap();
        assert!(format!("{error:#}").contains("rule \"own\""), "{error:#}");
    }
}
