//! The places: headers, URLs, elements, pairs of a name and a value.

use super::value::{is_a_value, value};
use crate::mask::keys;
use crate::mask::random;
use crate::mask::span::Span;

/// The furthest that is read backwards for a name or an element.
const BACK: usize = 160;
/// The longest value of an element.
const ELEMENT: usize = 8192;

/// The key that ends before `end`, and where it begins.
pub(super) fn key_before(text: &[u8], end: usize) -> (usize, &[u8]) {
    let before = &text[end.saturating_sub(8)..end];
    let gap = before.iter().rev().take_while(|&&b| AROUND_KEY[usize::from(b)] == GAP).count();
    let at = end - gap;
    let before = &text[at.saturating_sub(keys::LONGEST)..at];
    let len = before.iter().rev().take_while(|&&b| AROUND_KEY[usize::from(b)] == KEY).count();
    (at - len, &text[at - len..at])
}

const KEY: u8 = 1;
const GAP: u8 = 2;

/// What a key is made of, and what may stand between it and its sign.
const AROUND_KEY: [u8; 256] = {
    let mut out = [0; 256];
    let mut b = 0usize;
    while b < 256 {
        out[b] = match b as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'[' => KEY,
            b'"' | b'\'' | b' ' | b'\\' | b']' | b'\t' | b'*' | b'`' => GAP,
            _ => 0,
        };
        b += 1;
    }
    out
};

/// Whether a key says that its value belongs to a name beside it.
pub(super) fn is_value_key(key: &[u8]) -> bool {
    const NAMES: [&[u8]; 9] = [
        b"value",
        b"val",
        b"stringvalue",
        b"defaultvalue",
        b"default_value",
        b"content",
        b"default",
        b"result",
        b"parametervalue",
    ];
    NAMES.iter().any(|name| key.eq_ignore_ascii_case(name))
}

/// Of `key: string = X` and `key As String = X` the key: what stands before the sign is its type.
pub(super) fn annotated<'a>(
    text: &'a [u8],
    sign: u8,
    start: usize,
    key: &'a [u8],
) -> (usize, &'a [u8]) {
    let is_type = || {
        let types = [&b"string"[..], b"str", b"text", b"varchar"];
        types.iter().any(|word| key.eq_ignore_ascii_case(word))
    };
    if sign != b'=' || !is_type() {
        return (start, key);
    }
    let before = text[..start].trim_ascii_end();
    let before = before.strip_suffix(b"&").unwrap_or(before).trim_ascii_end();
    let end = match before {
        [.., b':'] => before.len() - 1,
        [.., b'A' | b'a', b's'] => before.len() - 2,
        _ => return (start, key),
    };
    key_before(text, end)
}

/// Masks each string of a list that begins here, and says whether one does.
pub(super) fn list(text: &[u8], at: usize, out: &mut Vec<Span>) -> bool {
    const LONGEST: usize = 4096;
    let rest = text.get(at..).unwrap_or_default();
    let gap = rest.iter().take(16).take_while(|b| b.is_ascii_whitespace()).count();
    if rest.get(gap) != Some(&b'[') {
        return false;
    }
    let end = at + rest.len().min(LONGEST);
    let mut place = at + gap + 1;
    let mut any = false;
    while place < end {
        match text[place] {
            b'"' | b'\'' => {
                let (start, stop) = value(text, place);
                let found = &text[start..stop.min(text.len())];
                let digit = found.iter().any(u8::is_ascii_digit);
                let sign = found.iter().any(|b| b"!#%*+?^~@$".contains(b));
                let odd = digit || sign || found.len() >= 8 && random::is_random(found);
                if found.len() >= 6 && odd && is_a_value(found) && !found.contains(&b' ') {
                    out.push(Span::new(start, stop, "secret").by("key"));
                }
                any = true;
                place = stop + 1;
            }
            b' ' | b',' | b'\n' | b'\r' | b'\t' => place += 1,
            _ => break,
        }
    }
    any
}

/// The value of the `name` that stands behind the value which ends at `at`: `"value":"X","name":"N"`.
pub(super) fn name_after(text: &[u8], at: usize) -> Option<&[u8]> {
    let rest = text.get(at..)?;
    let rest = rest.get(..BACK).unwrap_or(rest);
    let sign = rest.iter().position(|b| matches!(b, b':' | b'='))?;
    let (_, key) = key_before(rest, sign);
    if !is_name_key(key) || sign > 24 {
        return None;
    }
    let (start, end) = value(rest, sign + 1);
    rest.get(start..end)
}

/// The value of the `name` that stands before `at`: `name: X` and a line, `"name":"X",`, `name="X" `.
pub(super) fn name_before(text: &[u8], at: usize) -> Option<&[u8]> {
    let from = at.saturating_sub(BACK);
    let before = text.get(from..at)?;
    let gap = |b: &u8| b.is_ascii_whitespace() || b"\"',{-\\;".contains(b);
    let end = before.iter().rposition(|b| !gap(b))? + 1;
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || b"_-.".contains(b);
    let start = before[..end].iter().rposition(|b| !is_name(b))? + 1;
    let name = &before[start..end];
    let sign = before[..start].iter().rposition(|b| matches!(b, b':' | b'='))?;
    if start - sign > 6 {
        return None;
    }
    let (_, key) = key_before(before, sign);
    is_name_key(key).then_some(name)
}

/// What names the block that begins before `at`: `variable "KEY" {`, `"KEY": {"`; of Terraform's random
/// passwords their type.
pub(super) fn block_before(text: &[u8], at: usize) -> Option<&[u8]> {
    let from = at.saturating_sub(BACK);
    let before = text.get(from..at)?;
    let gap = |b: &u8| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'\\');
    let skip = |text: &[u8], also: &[u8]| {
        text.iter().rposition(|b| !gap(b) && !also.contains(b)).map_or(0, |last| last + 1)
    };
    let open = skip(before, b"");
    let head = before[..open].strip_suffix(b"{")?;
    let end = skip(head, b":=");
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let start = head[..end].iter().rposition(|b| !is_name(b)).map_or(0, |at| at + 1);
    let made = head.windows(15).rposition(|w| w == b"random_password");
    match made {
        Some(made) if head.len() - made < 64 => head.get(made..made + 15),
        _ => head.get(start..end),
    }
}

fn is_name_key(key: &[u8]) -> bool {
    const NAMES: [&[u8]; 8] = [
        b"name",
        b"key",
        b"id",
        b"field",
        b"variable",
        b"header",
        b"parametername",
        b"parameterkey",
    ];
    NAMES.iter().any(|word| key.eq_ignore_ascii_case(word))
}

/// The schemes of HTTP authentication, each with the space behind it.
const SCHEMES: &[&str] =
    &["bearer ", "basic ", "token ", "digest ", "apikey ", "negotiate ", "ntlm "];

/// Whether a key is a header's name: in a program's text `cookie` is one of the program's.
pub(super) fn is_header(text: &[u8], key: &[u8], after: usize) -> bool {
    if !super::HEADERS.iter().any(|name| key.eq_ignore_ascii_case(name.as_bytes())) {
        return false;
    }
    // A cookie is `name=value` from its first word on.
    let rest = text.get(after..).unwrap_or_default().iter().take(1024);
    let first = rest.skip_while(|b| matches!(b, b' ' | b'\t' | b'"' | b'\''));
    let cookie = key.len() >= 6 && key[key.len() - 6..].eq_ignore_ascii_case(b"cookie");
    !cookie || first.take_while(|b| !b.is_ascii_whitespace()).any(|&b| b == b'=')
}

/// Whether a value is a session's name and opens none: agents call theirs by a UUID.
pub(super) fn is_session(key: &[u8], value: &[u8]) -> bool {
    let named = [&b"session_id"[..], b"sessionid", b"session-id"];
    let dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    named.iter().any(|name| key.eq_ignore_ascii_case(name))
        && value.len() == 36
        && value
            .iter()
            .enumerate()
            .all(|(at, b)| if dash(at) { *b == b'-' } else { b.is_ascii_hexdigit() })
}

/// A header's value to the end of its line or its quote; a scheme's name stays.
pub(super) fn header(text: &[u8], key_start: usize, at: usize, out: &mut Vec<Span>) {
    let opening = key_start.checked_sub(1).and_then(|i| text.get(i)).copied();
    let (mut start, end) = match value(text, at) {
        (start, end)
            if start > 0
                && matches!(text.get(start - 1), Some(b'"' | b'\'' | b'`'))
                && start > at =>
        {
            (start, end)
        }
        (start, _) => {
            let quote = opening.filter(|b| matches!(b, b'"' | b'\'' | b'`'));
            let ends = |b: &u8| matches!(b, b'\r' | b'\n') || Some(*b) == quote;
            // Where the key's own quote is closed before the sign, the value has none.
            (start, start + text[start..].iter().take_while(|b| !ends(b)).count())
        }
    };
    for scheme in SCHEMES {
        let here = text.get(start..start + scheme.len());
        if here.is_some_and(|here| here.eq_ignore_ascii_case(scheme.as_bytes())) {
            start += scheme.len();
        }
    }
    if start < end && is_a_value(&text[start..end]) {
        out.push(Span::new(start, end, "header"));
    }
}

/// Whether a header's value is the name of a scheme alone, whose credentials come after it.
pub(super) fn is_scheme(value: &[u8]) -> bool {
    SCHEMES.iter().any(|scheme| value.eq_ignore_ascii_case(scheme.trim_end().as_bytes()))
}

/// `scheme://user:password@host`, whose `@` stands at `at`; without a colon a long user is a
/// token.
pub(super) fn userinfo(text: &[u8], at: usize, out: &mut Vec<Span>) {
    const LONGEST: usize = 1024;
    let ends = |b: &u8| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'<' | b'>' | b'`');
    let len = text[..at].iter().rev().take(LONGEST).take_while(|b| !ends(b)).count();
    let Some(scheme) = text[at - len..at].windows(3).rposition(|three| three == b"://") else {
        return;
    };
    let start = at - len + scheme + 3;
    let info = &text[start..at];
    let colon = info.iter().position(|&b| b == b':');
    let slash = info.iter().position(|&b| matches!(b, b'/' | b'?' | b'#'));
    match (colon, slash) {
        // A slash in a password is not allowed, and is written all the same; a port is none.
        (Some(colon), slash)
            if slash.is_none_or(|slash| {
                slash > colon + 1 && !info[colon + 1..slash].iter().all(u8::is_ascii_digit)
            }) && is_a_value(&info[colon + 1..]) =>
        {
            out.push(Span::new(start + colon + 1, at, "userinfo"));
            if colon >= 16 {
                out.push(Span::new(start, start + colon, "userinfo"));
            }
        }
        (Some(colon), None) if colon >= 16 => out.push(Span::new(start, start + colon, "userinfo")),
        (None, None) if is_token(info) => out.push(Span::new(start, at, "userinfo")),
        _ => {}
    }
}

/// Whether a user without a password is one: long, drawn at random, or of letters of both cases and
/// digits.
fn is_token(user: &[u8]) -> bool {
    let has = |is: fn(&u8) -> bool| user.iter().any(is);
    let all = has(u8::is_ascii_digit) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
    user.len() >= 16 || user.len() >= 10 && random::is_random(user) || user.len() >= 8 && all
}

/// `<password>X</password>`, whose first `>` stands at `at`.
pub(super) fn element(text: &[u8], at: usize, out: &mut Vec<Span>) {
    let from = at.saturating_sub(BACK);
    let Some(open) = text[from..at].iter().rposition(|&b| matches!(b, b'<' | b'>')) else { return };
    let tag = &text[from + open..at];
    let Some(tag) = tag.strip_prefix(b"<").filter(|tag| !tag.starts_with(b"/")) else { return };
    let name = tag.split(|b| b.is_ascii_whitespace()).next().unwrap_or_default();
    let name = name.rsplit(|&b| b == b':').next().unwrap_or(name);
    // `<name>KEY</name><value>X</value>`, `<key>KEY</key><string>X</string>`.
    let pair = matches!(name, b"value" | b"string" | b"stringValue")
        && element_before(text, from + open).is_some_and(keys::is_secret);
    let pair = pair || attribute(tag).is_some_and(keys::is_secret);
    if name.ends_with(b"/") || !pair && !keys::is_secret(name) {
        return;
    }
    let start = at + 1;
    if let Some(data) = text[start..].strip_prefix(b"<![CDATA[") {
        let len = data.windows(3).take(ELEMENT).position(|w| w == b"]]>").unwrap_or(data.len());
        out.push(Span::new(start + 9, start + 9 + len, "secret").by("element"));
        return;
    }
    let len = text[start..].iter().take(ELEMENT).take_while(|&&b| b != b'<').count();
    let end = start + len;
    // A type's parameter in angle brackets has no end tag.
    let closed =
        text[end..].starts_with(b"</") || end == text.len() && !text[start..].contains(&b' ');
    if closed && is_a_value(text[start..end].trim_ascii()) {
        out.push(Span::new(start, end, "secret").by("element"));
    }
}

/// The name that an element gives its content: `<property name="KEY">X</property>`.
fn attribute(tag: &[u8]) -> Option<&[u8]> {
    let named =
        |word: &[u8]| tag.windows(word.len()).position(|w| w == word).map(|at| at + word.len());
    let from = named(b" name=\"").or_else(|| named(b" key=\""))?;
    let rest = tag.get(from..)?;
    rest.get(..rest.iter().position(|&b| b == b'"')?)
}

/// What stands in the element that was closed before `at`.
fn element_before(text: &[u8], at: usize) -> Option<&[u8]> {
    let before = text.get(at.saturating_sub(BACK)..at)?.trim_ascii_end();
    let close = before.windows(2).rposition(|w| w == b"</")?;
    let open = before[..close].iter().rposition(|&b| b == b'>')?;
    before.ends_with(b">").then(|| before[open + 1..close].trim_ascii())
}
