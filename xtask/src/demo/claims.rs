//! What the demonstration claims about a ledger, and whether it is so. It reads the ledger's bytes
//! as an outsider would, not with observer's own code.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

/// The claims so far.
#[derive(Default)]
pub(super) struct Claims {
    broken: usize,
}

impl Claims {
    /// Prints a claim and whether it holds.
    pub(super) fn check(&mut self, claim: &str, holds: bool) {
        println!("{}  {claim}", if holds { "ok    " } else { "BROKEN" });
        if !holds {
            self.broken += 1;
        }
    }

    pub(super) fn about_the_ledger(&mut self, ledger: &[u8], secrets: &Secrets) {
        self.check("no secret is in the ledger, in no form", !secrets.any_in(ledger));
        let text = String::from_utf8_lossy(ledger);
        let line = |parts: &[&str]| text.lines().any(|line| parts.iter().all(|p| line.contains(p)));
        for (claim, parts) in [
            ("what was masked is marked", &["<mask:"][..]),
            ("the denied destination is a record", &[DENIED, r#""rule":"cloud-metadata""#]),
            ("the denied program is a record", &[DENIED, r#""rule":"no-shred""#]),
            ("the missing program is a record", &["/opt/demo/no-such-tool"]),
            (
                "the call that was let through is a record",
                &[r#""verdict":"allowed""#, "/v1/models"],
            ),
        ] {
            self.check(claim, line(parts));
        }
        let failed = text.lines().filter(|line| line.contains(r#""status":"failed""#)).count();
        self.check("what failed by itself is there too (exec and connect)", failed >= 2);
    }

    pub(super) fn hold(&self) -> bool {
        self.broken == 0
    }
}

const DENIED: &str = r#""verdict":"denied""#;

/// Secrets that nobody had before, so that finding one is proof.
pub(super) struct Secrets {
    token: String,
    password: String,
}

impl Secrets {
    pub(super) fn generate() -> Result<Self> {
        Ok(Self { token: format!("demo_{}", random()?), password: random()? })
    }

    /// Through the environment, as an agent gets its keys.
    pub(super) fn give_to(&self, command: &mut Command) {
        command.env("DEMO_TOKEN", &self.token).env("DEMO_PASSWORD", &self.password);
    }

    /// Whether each reached the server as it is: masking is for the record, not for the wire.
    pub(super) fn all_reached(&self, requests: &[String]) -> bool {
        let basic = base64(format!("agent:{}", self.password).as_bytes());
        [format!("Bearer {}", self.token), format!("Basic {basic}")]
            .iter()
            .all(|sent| requests.iter().any(|request| request.contains(sent)))
    }

    /// Whether one of them can be found, as it is or as HTTP's basic authentication writes it.
    fn any_in(&self, bytes: &[u8]) -> bool {
        let basic = base64(format!("agent:{}", self.password).as_bytes());
        [self.token.as_str(), &self.token["demo_".len()..], &self.password, &basic]
            .iter()
            .any(|secret| bytes.windows(secret.len()).any(|window| window == secret.as_bytes()))
    }
}

fn random() -> Result<String> {
    let path = "/proc/sys/kernel/random/uuid";
    let uuid = fs::read_to_string(path).with_context(|| format!("can't read {path}"))?;
    Ok(uuid.chars().filter(char::is_ascii_alphanumeric).collect())
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group =
            (0..3).fold(0, |sum, n| sum << 8 | usize::from(chunk.get(n).copied().unwrap_or(0)));
        for n in 0..4 {
            let letter = LETTERS[group >> (18 - 6 * n) & 63];
            text.push(if n <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), text);
        }
    }

    #[test]
    fn a_secret_is_found_in_each_form() {
        let secrets = Secrets { token: "demo_abc123".to_owned(), password: "pw42".to_owned() };
        let basic = base64(b"agent:pw42");
        for text in ["x demo_abc123 x", "abc123", "pw42", &format!("Basic {basic}")] {
            assert!(secrets.any_in(text.as_bytes()), "{text}");
        }
        assert!(!secrets.any_in(b"<mask:bearer:k1:0011223344556677> demo_"));
        assert!(secrets.all_reached(&[
            "Authorization: Bearer demo_abc123".to_owned(),
            format!("Authorization: Basic {basic}")
        ]));
        assert!(!secrets.all_reached(&["Authorization: Bearer <mask>".to_owned()]));
    }

    #[test]
    fn a_ledger_that_lacks_something_breaks_its_claim() {
        let secrets = Secrets { token: "demo_abc123".to_owned(), password: "pw42".to_owned() };
        let whole = r#"{"verdict":"denied","rule":"x"} <mask:bearer:k:1>
{"rule":"cloud-metadata","verdict":"denied"}
{"rule":"no-shred","verdict":"denied"}
{"exec":"/opt/demo/no-such-tool","status":"failed"}
{"status":"failed"}
{"path":"/v1/models","verdict":"allowed"}"#;
        let mut claims = Claims::default();
        claims.about_the_ledger(whole.as_bytes(), &secrets);
        assert!(claims.hold());
        for gone in ["<mask:", "cloud-metadata", "no-shred", "no-such-tool", "/v1/models"] {
            let mut claims = Claims::default();
            claims.about_the_ledger(whole.replace(gone, "gone").as_bytes(), &secrets);
            assert_eq!(claims.broken, 1, "{gone}");
        }
        let mut claims = Claims::default();
        claims.about_the_ledger(format!("{whole} pw42").as_bytes(), &secrets);
        assert_eq!(claims.broken, 1);
    }
}
