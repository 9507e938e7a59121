//! Secrets that stand where secrets stand: headers, assignments, JSON and query keys, URLs.

use super::scan::Span;

/// Words that make a key a secret's, whole between separators.
const WORDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passwort",
    "pwd",
    "pw",
    "pass",
    "secret",
    "secrets",
    "token",
    "tokens",
    "apikey",
    "authtoken",
    "accesstoken",
    "refreshtoken",
    "idtoken",
    "clientsecret",
    "secretkey",
    "privatekey",
    "accesskey",
    "signingkey",
    "encryptionkey",
    "masterkey",
    "authkey",
    "sessionid",
    "sessid",
    "sid",
    "credential",
    "credentials",
    "creds",
    "authorization",
    "auth",
    "bearer",
    "cookie",
    "jwt",
    "otp",
    "pin",
    "signature",
    "sig",
    "connectionstring",
    "webhook",
    "dsn",
    "pat",
];
/// Words that make `key` a secret's when they stand before it.
const BEFORE_KEY: &[&str] = &[
    "api",
    "access",
    "secret",
    "private",
    "auth",
    "signing",
    "encryption",
    "master",
    "account",
    "storage",
    "shared",
    "license",
    "deploy",
    "service",
    "host",
];
/// Last words that say the value is where a secret is, or of what kind, and not the secret.
const ABOUT: &[&str] = &[
    "file", "path", "dir", "name", "url", "uri", "id", "type", "len", "length", "size", "count",
    "ttl", "expiry", "expires", "env", "var", "helper", "store", "manager", "policy", "endpoint",
    "issuer", "provider", "method", "mode", "enabled", "limit", "limits", "field", "version",
];
const HEADERS: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "api-key",
    "apikey",
    "x-auth-token",
    "x-auth-key",
    "x-access-token",
    "x-amz-security-token",
    "x-vault-token",
    "private-token",
    "x-gitlab-token",
    "x-goog-api-key",
    "x-csrf-token",
    "x-xsrf-token",
    "ocp-apim-subscription-key",
    "job-token",
    "deploy-token",
    "x-shopify-access-token",
];
/// The longest key that is looked at.
const KEY: usize = 96;

/// Whether a key's value is a secret: `GITHUB_TOKEN`, `dbPassword`, `--api-key`, `x-auth-key`.
pub(super) fn is_secret_key(key: &[u8]) -> bool {
    let words = split(key);
    let Some(last) = words.last() else { return false };
    if words.len() > 1 && ABOUT.contains(&last.as_str()) && last != "id" {
        return false;
    }
    let joined = words.concat();
    if joined == "sessionid" || joined == "sessid" {
        return true;
    }
    if ABOUT.contains(&last.as_str()) {
        return false;
    }
    words.iter().any(|word| WORDS.contains(&word.as_str()))
        || WORDS.contains(&joined.as_str())
        || words.windows(2).any(|pair| pair[1] == "key" && BEFORE_KEY.contains(&pair[0].as_str()))
}

/// The lower-case words of a key, split at separators and humps.
fn split(key: &[u8]) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = 0u8;
    for &b in key {
        let hump = b.is_ascii_uppercase() && before.is_ascii_lowercase();
        if !b.is_ascii_alphanumeric() || hump {
            words.push(String::new());
        }
        if b.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(b.to_ascii_lowercase().into());
        }
        before = b;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Finds them all.
pub(super) fn spans(text: &[u8]) -> Vec<Span> {
    let mut out = vec![];
    for (at, &b) in text.iter().enumerate() {
        match b {
            b'=' | b':' => assignment(text, at, at + 1, &mut out),
            b'%' if text[at..].get(..3).is_some_and(|e| e.eq_ignore_ascii_case(b"%3d")) => {
                assignment(text, at, at + 3, &mut out);
            }
            b'@' => userinfo(text, at, &mut out),
            _ => {}
        }
    }
    out
}

/// `key=value`, `"key": "value"`, `Header: value`, whose separator stands at `at..after`.
fn assignment(text: &[u8], at: usize, after: usize, out: &mut Vec<Span>) {
    let key = key_before(text, at);
    if key.is_empty() {
        return;
    }
    let rest = &text[after..];
    if rest.starts_with(b"//") {
        return; // a URL's scheme
    }
    let name = String::from_utf8_lossy(key).to_ascii_lowercase();
    if text[at] == b':' && HEADERS.contains(&name.as_str()) {
        return header(text, after, out);
    }
    if !is_secret_key(key) {
        return;
    }
    let (start, end) = value(text, after);
    if !is_a_value(&text[start..end]) {
        return;
    }
    out.push(Span::new(start, end, "secret"));
    // A shell would end an unquoted value here, and a password may go on: all of it is masked,
    // and the dictionary knows both.
    let doubtful = |b: &u8| matches!(b, b'<' | b'>' | b'|');
    if let Some(len) = text[start..end].iter().position(doubtful).filter(|&len| len > 0) {
        out.push(Span::new(start, start + len, "secret"));
    }
}

fn key_before(text: &[u8], at: usize) -> &[u8] {
    let mut end = at;
    while end > 0 && at - end < 8 && matches!(text[end - 1], b'"' | b'\'' | b' ' | b'\\' | b']') {
        end -= 1;
    }
    let is_key = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'[');
    let len = text[..end].iter().rev().take(KEY).take_while(|b| is_key(b)).count();
    &text[end - len..end]
}

/// Where the value begins and ends that stands from `at` on.
fn value(text: &[u8], at: usize) -> (usize, usize) {
    let mut start = at;
    while start < text.len() && start - at < 8 && matches!(text[start], b' ' | b'\t' | b'\\') {
        start += 1;
    }
    match text.get(start) {
        Some(&quote @ (b'"' | b'\'' | b'`')) => {
            let from = start + 1;
            let mut end = from;
            while let Some(&b) = text.get(end) {
                if b == quote {
                    break;
                }
                end += if b == b'\\' && quote != b'\'' { 2 } else { 1 };
            }
            (from, end.min(text.len()))
        }
        _ => {
            let ends = |b: &u8| {
                b.is_ascii_whitespace()
                    || matches!(b, b'&' | b';' | b'"' | b'\'' | b',' | b')' | b'}' | b'`')
            };
            let len = text[start..].iter().take_while(|b| !ends(b)).count();
            (start, start + len)
        }
    }
}

/// Whether it is worth a mask: not empty, not a variable's name, not a plain word of a schema.
pub(super) fn is_a_value(value: &[u8]) -> bool {
    const PLAIN: &[&[u8]] = &[b"true", b"false", b"null", b"none", b"string", b"yes", b"no"];
    let begins = value.first().copied().unwrap_or(0);
    let variable = begins == b'$' || value.starts_with(b"{{") || value.starts_with(b"%(");
    !(value.is_empty() || variable || PLAIN.iter().any(|plain| value.eq_ignore_ascii_case(plain)))
}

/// A header's value to the end of its line or its quote; a scheme's name stays.
fn header(text: &[u8], at: usize, out: &mut Vec<Span>) {
    const SCHEMES: &[&str] = &["bearer ", "basic ", "token ", "digest ", "apikey ", "negotiate "];
    let mut start = at;
    while matches!(text.get(start), Some(b' ' | b'\t')) {
        start += 1;
    }
    for scheme in SCHEMES {
        let here = text.get(start..start + scheme.len());
        if here.is_some_and(|here| here.eq_ignore_ascii_case(scheme.as_bytes())) {
            start += scheme.len();
        }
    }
    let ends = |b: &u8| matches!(b, b'\r' | b'\n' | b'"' | b'\'' | b'`');
    let end = start + text[start..].iter().take_while(|b| !ends(b)).count();
    if is_a_value(&text[start..end]) {
        out.push(Span::new(start, end, "header"));
    }
}

/// `scheme://user:password@host`, whose `@` stands at `at`; without a colon a long user is a
/// token.
fn userinfo(text: &[u8], at: usize, out: &mut Vec<Span>) {
    const LONGEST: usize = 1024;
    let ends = |b: &u8| b.is_ascii_whitespace() || matches!(b, b'/' | b'"' | b'\'' | b'<' | b'>');
    let len = text[..at].iter().rev().take(LONGEST).take_while(|b| !ends(b)).count();
    let start = at - len;
    if len == 0 || !text[..start].ends_with(b"://") {
        return;
    }
    let info = &text[start..at];
    match info.iter().position(|&b| b == b':') {
        Some(colon) if is_a_value(&info[colon + 1..]) => {
            out.push(Span::new(start + colon + 1, at, "userinfo"));
            if colon >= 20 {
                out.push(Span::new(start, start + colon, "userinfo"));
            }
        }
        None if len >= 16 => out.push(Span::new(start, at, "userinfo")),
        _ => {}
    }
}
