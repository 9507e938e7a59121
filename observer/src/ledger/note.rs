//! Checkpoints as signed notes: C2SP signed-note, tlog-checkpoint and tlog-cosignature, with
//! Ed25519 alone. Pure.
//!
//! What is parsed here may come from anybody: every length is bounded, and nothing of a note is
//! believed before a key that was known beforehand has verified it.

use data_encoding::{BASE64, HEXLOWER};
use ring::digest;

use super::keys::PublicKey;
use super::merkle::Hash;

/// A note's bound, in bytes.
pub(super) const NOTE: usize = 64 * 1024;
/// The signatures that are looked at in a note.
const SIGNATURES: usize = 64;
/// How a signature line begins: an em dash and a space.
const DASH: &str = "\u{2014} ";

/// What a key signs, and how: the signature types of signed-note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A ledger's key, over the note's text.
    Log = 1,
    /// A witness's, over a time and the note's text.
    Witness = 4,
}

/// A key that notes are verified with: `NAME+ID+BASE64`, as signed-note writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    /// The name that its signature lines bear.
    pub name: String,
    /// What it signs.
    pub kind: Kind,
    /// The key.
    pub key: PublicKey,
}

impl VerifierKey {
    /// From its text. None where that is no such key, or its id is not the key's.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().splitn(3, '+');
        let (name, id, material) = (parts.next()?, parts.next()?, parts.next()?);
        let bytes = BASE64.decode(material.as_bytes()).ok()?;
        let (kind, key) = bytes.split_first()?;
        let kind = match kind {
            1 => Kind::Log,
            4 => Kind::Witness,
            _ => return None,
        };
        let key = PublicKey::from_bytes(key.try_into().ok()?)?;
        let found = Self { name: name.to_owned(), kind, key };
        (is_name(name) && HEXLOWER.encode(&found.id()) == id).then_some(found)
    }

    /// The first bytes of SHA-256(name ‖ newline ‖ kind ‖ key).
    fn id(&self) -> [u8; 4] {
        let named = [self.name.as_bytes(), b"\n", &[self.kind as u8], self.key.bytes()].concat();
        let hash = digest::digest(&digest::SHA256, &named);
        let mut id = [0; 4];
        id.copy_from_slice(hash.as_ref().get(..4).unwrap_or(&[0; 4]));
        id
    }

    /// A signature line, for a signature by this key.
    fn line(&self, signature: &[u8]) -> String {
        let bytes = [&self.id()[..], signature].concat();
        format!("{DASH}{} {}\n", self.name, BASE64.encode(&bytes))
    }
}

impl std::fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let material = [&[self.kind as u8], &self.key.bytes()[..]].concat();
        write!(f, "{}+{}+{}", self.name, HEXLOWER.encode(&self.id()), BASE64.encode(&material))
    }
}

/// Whether signed-note allows a key this name.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

/// A tree's size and root, under the name of its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The ledger's name.
    pub origin: String,
    /// Records.
    pub size: u64,
    /// The Merkle root over them.
    pub root: Hash,
}

impl Checkpoint {
    /// As the text of a note.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(&self.root))
    }

    /// From the text of a note; lines after the third are not ours to judge.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        if origin.is_empty() || lines.any(str::is_empty) {
            return None;
        }
        let root = BASE64.decode(root.as_bytes()).ok()?.try_into().ok()?;
        Some(Self { origin: origin.to_owned(), size: decimal(size)?, root })
    }
}

/// A number as these formats write it: digits, and no zero before them.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// A text and the signatures under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The text, its last newline included.
    pub text: String,
    /// Name, key id, signature.
    signatures: Vec<(String, [u8; 4], Vec<u8>)>,
}

impl Note {
    /// From its bytes. None where that is no signed note.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > NOTE {
            return None;
        }
        let all = std::str::from_utf8(bytes).ok()?;
        if all.chars().any(|c| c.is_ascii_control() && c != '\n') {
            return None;
        }
        let at = all.rfind("\n\n")?;
        let (text, lines) = (all.get(..=at)?, all.get(at + 2..)?);
        let mut signatures = vec![];
        for line in lines.strip_suffix('\n')?.split('\n') {
            let (name, value) = line.strip_prefix(DASH)?.split_once(' ')?;
            let value = BASE64.decode(value.as_bytes()).ok()?;
            let (id, signature) = value.split_first_chunk::<4>()?;
            if !is_name(name) || signature.is_empty() || signatures.len() == SIGNATURES {
                return None;
            }
            signatures.push((name.to_owned(), *id, signature.to_vec()));
        }
        Some(Self { text: text.to_owned(), signatures })
    }

    /// Whether this key signed it. One wrong signature under its name and id spoils the note.
    pub fn verifies(&self, by: &VerifierKey) -> bool {
        let id = by.id();
        let mut found = false;
        for (name, key, signature) in &self.signatures {
            if *name != by.name || *key != id {
                continue;
            }
            let good = match by.kind {
                Kind::Log => by.key.verifies(self.text.as_bytes(), signature),
                Kind::Witness => signature.split_first_chunk::<8>().is_some_and(|(time, rest)| {
                    let time = u64::from_be_bytes(*time);
                    by.key.verifies(&cosigned(&self.text, time), rest)
                }),
            };
            if !good {
                return false;
            }
            found = true;
        }
        found
    }
}

/// What a witness signs.
fn cosigned(text: &str, time: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {time}\n{text}").into_bytes()
}

/// A note of this text, signed.
pub(super) fn signed(text: &str, by: &VerifierKey, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    format!("{text}\n{}", by.line(&sign(text.as_bytes())))
}

/// A witness's signature line for a checkpoint's text.
pub(super) fn cosignature(
    text: &str,
    time: u64,
    by: &VerifierKey,
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
) -> String {
    by.line(&[&time.to_be_bytes()[..], &sign(&cosigned(text, time))].concat())
}

/// Where the first note ends in notes that stand one after another: each is a text, an empty
/// line, and signature lines.
pub(super) fn first_note(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut signed = false;
    let mut last = false;
    for line in bytes.split_inclusive(|&b| b == b'\n') {
        let signature = line.starts_with(DASH.as_bytes());
        if last && !signature {
            return Some(at);
        }
        last = signed && signature && line.ends_with(b"\n");
        signed |= line == b"\n";
        at += line.len();
    }
    last.then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::Ed25519KeyPair;

    /// The example of golang.org/x/mod/sumdb/note, where signed notes come from.
    const SECRET: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                        then you don't know what your problem is.\n";
    const LINE: &str = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN\
                        1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    fn pair() -> Ed25519KeyPair {
        let seed = BASE64.decode(SECRET.as_bytes()).unwrap();
        Ed25519KeyPair::from_seed_unchecked(&seed[1..]).unwrap()
    }

    #[test]
    fn the_reference_note_is_written_and_verified_to_the_byte() {
        let key = VerifierKey::parse(KEY).unwrap();
        assert_eq!(key.to_string(), KEY);
        let note = signed(TEXT, &key, |text| pair().sign(text).as_ref().to_vec());
        assert_eq!(note, format!("{TEXT}\n{LINE}"));
        assert!(Note::parse(note.as_bytes()).unwrap().verifies(&key));
    }

    #[test]
    fn each_flipped_byte_of_a_note_is_refused() {
        let key = VerifierKey::parse(KEY).unwrap();
        let whole = format!("{TEXT}\n{LINE}").into_bytes();
        for at in 0..whole.len() {
            for bit in [1, 0x20, 0x80] {
                let mut bytes = whole.clone();
                bytes[at] ^= bit;
                let note = Note::parse(&bytes);
                assert!(!note.is_some_and(|note| note.verifies(&key)), "byte {at}, bit {bit:#x}");
            }
        }
    }

    #[test]
    fn a_cosignature_is_over_its_time_too() {
        let mut key = VerifierKey::parse(KEY).unwrap();
        key.kind = Kind::Witness;
        let again = VerifierKey::parse(&key.to_string()).unwrap();
        assert_eq!(again, key);
        let signature = pair().sign(&cosigned(TEXT, 7));
        let with = |time: u64| [&time.to_be_bytes()[..], signature.as_ref()].concat();
        let note = |time| format!("{TEXT}\n{LINE}{}", key.line(&with(time)));
        assert!(Note::parse(note(7).as_bytes()).unwrap().verifies(&key));
        assert!(!Note::parse(note(8).as_bytes()).unwrap().verifies(&key));
        // The log's signature stands in the same note, under the same name and another id.
        assert!(
            Note::parse(note(8).as_bytes()).unwrap().verifies(&VerifierKey::parse(KEY).unwrap())
        );
    }

    #[test]
    fn what_is_no_note_or_no_key_is_refused() {
        for key in [
            "",
            "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+c74f20a3+Axpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+c74f20a3+ARpc",
        ] {
            assert!(VerifierKey::parse(key).is_none(), "{key}");
        }
        for note in [
            TEXT.to_owned(),
            format!("{TEXT}{LINE}"),
            format!("{TEXT}\n{}", LINE.trim_end()),
            format!("{TEXT}\n- PeterNeumann AAAAAAAA\n"),
            format!("{TEXT}\n\u{2014} PeterNeumann AAAA\n"),
            format!("{TEXT}\t\n{LINE}"),
            format!("{TEXT}\n{}", LINE.repeat(SIGNATURES + 1)),
            format!("{}\n{LINE}", "x".repeat(NOTE)),
        ] {
            assert!(Note::parse(note.as_bytes()).is_none(), "{note}");
        }
    }

    #[test]
    fn a_checkpoint_is_three_lines() {
        let text =
            "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let checkpoint = Checkpoint::parse(text).unwrap();
        assert_eq!(checkpoint.text(), text);
        assert_eq!(checkpoint.size, 20_852_163);
        for (from, to) in
            [("20852163", "020"), ("20852163", "-1"), ("2I=", "2I"), ("example", "\nx")]
        {
            assert!(Checkpoint::parse(&text.replace(from, to)).is_none(), "{to:?}");
        }
    }

    #[test]
    fn notes_one_after_another_come_apart() {
        let note = format!("{TEXT}\n{LINE}");
        let three = note.repeat(3);
        assert_eq!(first_note(three.as_bytes()), Some(note.len()));
        assert_eq!(first_note(note.as_bytes()), Some(note.len()));
        assert_eq!(first_note(TEXT.as_bytes()), None);
        assert_eq!(first_note(&note.as_bytes()[..note.len() - 1]), None);
    }
}
