//! What a witness does: it cosigns a checkpoint that continues the last one that it cosigned, and
//! no other (C2SP tlog-witness, `add-checkpoint`). Pure; who serves it keeps what it decides.

use data_encoding::BASE64;

use super::keys::{KeyError, SigningKey};
use super::merkle::{Hash, consistent};
use super::note::{self, Checkpoint, Kind, NOTE, Note, VerifierKey, decimal};

/// A request's bound, in bytes.
pub const REQUEST: usize = 2 * NOTE;
/// The hashes of a consistency proof.
const STEPS: usize = 63;

/// A checkpoint, and the proof that it continues an older one.
#[derive(Clone, Debug)]
pub struct Submission {
    old: u64,
    proof: Vec<Hash>,
    note: Note,
    checkpoint: Checkpoint,
}

/// Why a checkpoint is not cosigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is no submission.
    Malformed,
    /// No log of this name is known here.
    Unknown,
    /// It is not signed by its log.
    Unsigned,
    /// It does not begin where the last one that was cosigned ended: at this size.
    Conflict(u64),
    /// It is not proved to continue the last one.
    Fork,
}

impl Submission {
    /// As a request's body.
    pub fn body(old: u64, proof: &[Hash], note: &str) -> String {
        let mut body = format!("old {old}\n");
        for step in proof {
            body.push_str(&BASE64.encode(step));
            body.push('\n');
        }
        body.push('\n');
        body.push_str(note);
        body
    }

    /// From a request's body.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        Self::read(body).ok_or(Refusal::Malformed)
    }

    fn read(body: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok().filter(|text| text.len() <= REQUEST)?;
        let (head, rest) = text.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let old = decimal(lines.next()?.strip_prefix("old ")?)?;
        let step = |line: &str| BASE64.decode(line.as_bytes()).ok()?.try_into().ok();
        let proof: Vec<Hash> = lines.map(step).collect::<Option<_>>()?;
        let note = Note::parse(rest.as_bytes())?;
        let checkpoint = Checkpoint::parse(&note.text)?;
        (proof.len() <= STEPS).then_some(Self { old, proof, note, checkpoint })
    }

    /// The log that it is of, by its name.
    pub fn origin(&self) -> &str {
        &self.checkpoint.origin
    }

    /// Whether a witness that trusts `logs`, and cosigned `latest` of this one last, cosigns it.
    /// The caller must have kept the checkpoint before it gives a cosignature away.
    pub fn judge(
        &self,
        logs: &[VerifierKey],
        latest: Option<&Checkpoint>,
    ) -> Result<&Checkpoint, Refusal> {
        let new = &self.checkpoint;
        let mut keys =
            logs.iter().filter(|key| key.kind == Kind::Log && key.name == new.origin).peekable();
        if keys.peek().is_none() {
            return Err(Refusal::Unknown);
        }
        if !keys.any(|key| self.note.verifies(key)) {
            return Err(Refusal::Unsigned);
        }
        if self.old > new.size {
            return Err(Refusal::Malformed);
        }
        let size = latest.map_or(0, |latest| latest.size);
        if self.old != size {
            return Err(Refusal::Conflict(size));
        }
        let Some(latest) = latest else {
            return if self.proof.is_empty() { Ok(new) } else { Err(Refusal::Fork) };
        };
        if size == new.size && latest.root != new.root {
            return Err(Refusal::Conflict(size));
        }
        let holds = consistent((size, &latest.root), (new.size, &new.root), &self.proof);
        if holds { Ok(new) } else { Err(Refusal::Fork) }
    }
}

/// A witness's key and name.
pub struct Cosigner {
    key: SigningKey,
    public: VerifierKey,
}

impl Cosigner {
    /// The key in a directory, made there at first use, under a name that signed-note allows.
    pub fn open_or_create(dir: &std::path::Path, name: &str) -> Result<Self, KeyError> {
        let key = SigningKey::of_witness(dir)?;
        let public = VerifierKey { name: name.to_owned(), kind: Kind::Witness, key: key.public() };
        Ok(Self { key, public })
    }

    /// What others verify its cosignatures with.
    pub fn public(&self) -> &VerifierKey {
        &self.public
    }

    /// A signature line: that of this log no larger checkpoint was seen up to `time`, in seconds
    /// of the epoch.
    pub fn cosign(&self, submission: &Submission, time: u64) -> String {
        let text = &submission.note.text;
        note::cosignature(text, time, &self.public, |text| self.key.sign(text))
    }
}
