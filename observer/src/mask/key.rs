//! Keys and tokens.

use data_encoding::HEXLOWER;
use ring::{digest, hmac, rand};
use zeroize::Zeroizing;

/// Sorts whose values can be guessed one by one: their tokens come from a key of their own.
const LOW_ENTROPY: &[&str] = &["card", "iban", "email"];

/// A run's masking key: 32 random bytes, wiped when dropped, never shown.
pub struct MaskKey(Zeroizing<[u8; 32]>);

impl MaskKey {
    /// A new key; none where the system has no randomness to give.
    pub fn generate() -> Option<Self> {
        let random: [u8; 32] = rand::generate(&rand::SystemRandom::new()).ok()?.expose();
        Some(Self(Zeroizing::new(random)))
    }

    /// A key that a host keeps for all its runs, or kept for one.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Its bytes, for whoever keeps it on this host. They go nowhere else.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The name by which tokens call it: sixteen hex digits, which tell nothing of the key. A host's
    /// keys are told apart by it, so it is wide enough for as many as there ever are.
    pub fn id(&self) -> String {
        let mut name = digest::Context::new(&digest::SHA256);
        name.update(b"observer/mask/id\n");
        name.update(&*self.0);
        let mut id = HEXLOWER.encode(name.finish().as_ref());
        id.truncate(16);
        id
    }

    /// The hex digits of the tokens that stand for a value under this key: as a secret, and as
    /// something that can be guessed.
    pub fn tags(&self, value: &[u8]) -> [String; 2] {
        let tokens = Tokens::new(self);
        [tag(&tokens.values, value), tag(&tokens.guessable, value)]
    }

    #[cfg(test)]
    pub(crate) fn fixed(byte: u8) -> Self {
        Self(Zeroizing::new([byte; 32]))
    }

    fn derive(&self, purpose: &str) -> hmac::Key {
        let root = hmac::Key::new(hmac::HMAC_SHA256, &*self.0);
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, purpose.as_bytes()).as_ref())
    }
}

/// Makes tokens.
pub(super) struct Tokens {
    values: hmac::Key,
    guessable: hmac::Key,
    rest: hmac::Key,
    id: String,
}

impl Tokens {
    pub(super) fn new(key: &MaskKey) -> Self {
        Self {
            values: key.derive("observer/mask/value"),
            guessable: key.derive("observer/mask/guessable"),
            rest: key.derive("observer/mask/rest"),
            id: key.id(),
        }
    }

    /// `<mask:SORT:KEYID:16 hex>`.
    pub(super) fn token(&self, sort: &str, decoded: &[u8]) -> String {
        let key = if LOW_ENTROPY.contains(&sort) { &self.guessable } else { &self.values };
        format!("<mask:{sort}:{}:{}>", self.id, tag(key, decoded))
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn rest(&self) -> RestHash {
        RestHash(hmac::Context::with_key(&self.rest))
    }
}

/// The first 64 bits of an HMAC, in hex.
fn tag(key: &hmac::Key, value: &[u8]) -> String {
    let mut tag = HEXLOWER.encode(hmac::sign(key, value).as_ref());
    tag.truncate(16);
    tag
}

/// HMAC-SHA-256 under the run's key, of what is cut off and never stored.
#[derive(Clone)]
pub struct RestHash(hmac::Context);

impl RestHash {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash, in hex.
    pub fn finish_hex(self) -> String {
        HEXLOWER.encode(self.0.sign().as_ref())
    }
}
