//! What records are written from: JSON in the profile of docs/LEDGER.md, borrowed from the entries
//! where it can be. Pure.
//!
//! Keys are kept in their order (RFC 8785 §3.2.3; all are ASCII), there is no null and no float,
//! and [`int`] is the only way in for integers that may be wide: what is written of this is
//! canonical. Ids, hashes and times keep their own form until they are written, since a record has
//! many of them.

use std::borrow::Cow;
use std::io::Write as _;

use data_encoding::{BASE64, HEXLOWER};

use super::time;
use crate::model::{CallId, Raw, RunId, Stamp};

/// The integers that every JSON reader keeps exactly.
const EXACT: u64 = (1 << 53) - 1;

/// A value of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Bool(bool),
    Int(i64),
    Text(Cow<'a, str>),
    /// Text: lower-case hexadecimal digits.
    Hex(&'a [u8]),
    /// Text: an integer's digits.
    Digits(u64),
    /// Text: RFC 3339.
    Time(Stamp),
    /// Text.
    Run(RunId),
    /// Text.
    Call(CallId),
    List(Vec<Value<'a>>),
    Object(Fields<'a>),
}

/// An object: its members, each key once, in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields<'a>(Vec<Member<'a>>);

/// A member, and what of its key is compared first.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Member<'a> {
    head: u64,
    key: Cow<'a, str>,
    value: Value<'a>,
}

/// Text that came from an agent, masked: as it is, or its bytes where it is not UTF-8.
pub(super) fn text(raw: &Raw) -> Value<'_> {
    match std::str::from_utf8(raw.bytes()) {
        Ok(text) => text.into(),
        Err(_) => Fields::new().with("b64", BASE64.encode(raw.bytes())).into(),
    }
}

/// An integer, as a string where it is wider than 2^53 − 1.
pub(super) fn int<'a>(n: u64) -> Value<'a> {
    match i64::try_from(n) {
        Ok(exact) if n <= EXACT => Value::Int(exact),
        _ => Value::Digits(n),
    }
}

/// A key's first eight bytes, in the order that keys have.
#[inline]
fn head(key: &str) -> u64 {
    if let Some(eight) = key.as_bytes().first_chunk() {
        return u64::from_be_bytes(*eight);
    }
    let short = key.bytes().fold(0, |head: u64, b| head << 8 | u64::from(b));
    short.checked_shl(64 - 8 * key.len() as u32).unwrap_or(0)
}

impl<'a> Fields<'a> {
    pub(super) fn new() -> Self {
        Self::with_room_for(8)
    }

    pub(super) fn with_room_for(members: usize) -> Self {
        Self(Vec::with_capacity(members))
    }

    /// The same with one more member.
    pub(super) fn with(
        mut self,
        key: impl Into<Cow<'a, str>>,
        value: impl Into<Value<'a>>,
    ) -> Self {
        self.insert(key, value);
        self
    }

    /// Sets a member. Whoever sets them in the order of their keys pays the least.
    #[inline]
    pub(super) fn insert(&mut self, key: impl Into<Cow<'a, str>>, value: impl Into<Value<'a>>) {
        let key = key.into();
        self.put(Member { head: head(&key), key, value: value.into() });
    }

    fn put(&mut self, member: Member<'a>) {
        debug_assert!(member.key.is_ascii(), "{:?}", member.key);
        if self.0.last().is_none_or(|last| last.head < member.head) {
            return self.0.push(member);
        }
        match self.find(member.head, &member.key) {
            Ok(at) => self.0[at] = member,
            Err(at) => self.0.insert(at, member),
        }
    }

    /// Sets a member where there is something to say.
    pub(super) fn insert_some(&mut self, key: &'static str, value: Option<impl Into<Value<'a>>>) {
        if let Some(value) = value {
            self.insert(key, value);
        }
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<Value<'a>> {
        self.find(head(key), key).ok().map(|at| self.0.remove(at).value)
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Value<'a>> {
        self.find(head(key), key).ok().map(|at| &mut self.0[at].value)
    }

    /// The object that this member is; None where it is something else, or not there.
    pub(super) fn object_mut(&mut self, key: &str) -> Option<&mut Fields<'a>> {
        self.get_mut(key).and_then(Value::as_object_mut)
    }

    /// The object that this member is, made where it is not there.
    pub(super) fn make_object(&mut self, key: impl Into<Cow<'a, str>>) -> Option<&mut Fields<'a>> {
        let key = key.into();
        if !self.contains(&key) {
            self.insert(key.clone(), Self::default());
        }
        self.object_mut(&key)
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.find(head(key), key).is_ok()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value<'a>)> {
        self.0.iter().map(|member| (&*member.key, &member.value))
    }

    fn find(&self, head: u64, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|it| it.head.cmp(&head).then_with(|| (*it.key).cmp(key)))
    }

    /// Writes it to the end of `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (n, Member { key, value, .. }) in self.0.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            quoted(key, out);
            out.push(b':');
            value.write(out);
        }
        out.push(b'}');
    }
}

impl<'a> Value<'a> {
    pub(super) fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn as_object(&self) -> Option<&Fields<'a>> {
        if let Self::Object(fields) = self { Some(fields) } else { None }
    }

    pub(super) fn as_object_mut(&mut self) -> Option<&mut Fields<'a>> {
        if let Self::Object(fields) = self { Some(fields) } else { None }
    }

    pub(super) fn as_list(&self) -> Option<&[Value<'a>]> {
        if let Self::List(list) = self { Some(list) } else { None }
    }

    pub(super) fn as_list_mut(&mut self) -> Option<&mut Vec<Value<'a>>> {
        if let Self::List(list) = self { Some(list) } else { None }
    }

    /// Its length when it is written, in bytes.
    pub(super) fn len(&self) -> usize {
        let mut out = vec![];
        self.write(&mut out);
        out.len()
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(it) => out.extend_from_slice(if *it { b"true" } else { b"false" }),
            Self::Int(it) => shown(it, out),
            Self::Text(it) => quoted(it, out),
            Self::Hex(bytes) => {
                out.push(b'"');
                let from = out.len();
                out.resize(from + HEXLOWER.encode_len(bytes.len()), 0);
                HEXLOWER.encode_mut(bytes, &mut out[from..]);
                out.push(b'"');
            }
            Self::Digits(it) => plain(it, out),
            Self::Time(it) => {
                out.push(b'"');
                out.extend_from_slice(&time::text(*it));
                out.push(b'"');
            }
            Self::Run(it) => plain(it, out),
            Self::Call(it) => plain(it, out),
            Self::List(items) => {
                out.push(b'[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Object(fields) => fields.write(out),
        }
    }
}

fn shown(it: &impl std::fmt::Display, out: &mut Vec<u8>) {
    // A Vec can't fail to be written.
    let _ = write!(out, "{it}");
}

/// What needs no escape, as text.
fn plain(it: &impl std::fmt::Display, out: &mut Vec<u8>) {
    out.push(b'"');
    shown(it, out);
    out.push(b'"');
}

/// Text with the escapes of RFC 8785 §3.2.2.2: the shortest of each, and none that is not needed.
fn quoted(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    out.reserve(rest.len() + 2);
    out.push(b'"');
    loop {
        let (whole, behind) = rest.split_at(unescaped(rest));
        out.extend_from_slice(whole);
        let Some((&b, behind)) = behind.split_first() else { break };
        rest = behind;
        match b {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', b]),
            8 => out.extend_from_slice(b"\\b"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            12 => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            _ => {
                out.extend_from_slice(b"\\u00");
                let digits = b"0123456789abcdef";
                out.extend([b >> 4, b & 15].map(|n| digits[usize::from(n)]));
            }
        }
    }
    out.push(b'"');
}

/// How many bytes stand before the first that needs an escape.
fn unescaped(bytes: &[u8]) -> usize {
    const LANES: usize = 32;
    let is = |b: u8| b < b' ' || b == b'"' || b == b'\\';
    // Without a branch for each byte: the compiler looks at all of them at once.
    let clean = |lanes: &&[u8]| !lanes.iter().fold(false, |found, &b| found | is(b));
    let at = LANES * bytes.chunks_exact(LANES).take_while(clean).count();
    at + bytes[at..].iter().take_while(|&&b| !is(b)).count()
}

impl From<bool> for Value<'_> {
    fn from(it: bool) -> Self {
        Self::Bool(it)
    }
}

macro_rules! narrow {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Value<'_> {
            fn from(it: $integer) -> Self {
                Self::Int(it.into())
            }
        }
    )*};
}
narrow!(u8, u16, u32, i32);

impl<'a> From<&'a str> for Value<'a> {
    fn from(it: &'a str) -> Self {
        Self::Text(it.into())
    }
}

impl From<String> for Value<'_> {
    fn from(it: String) -> Self {
        Self::Text(it.into())
    }
}

impl From<RunId> for Value<'_> {
    fn from(it: RunId) -> Self {
        Self::Run(it)
    }
}

impl From<CallId> for Value<'_> {
    fn from(it: CallId) -> Self {
        Self::Call(it)
    }
}

impl From<Stamp> for Value<'_> {
    fn from(it: Stamp) -> Self {
        Self::Time(it)
    }
}

impl<'a> From<Fields<'a>> for Value<'a> {
    fn from(it: Fields<'a>) -> Self {
        Self::Object(it)
    }
}

impl<'a, V: Into<Value<'a>>> FromIterator<V> for Value<'a> {
    fn from_iter<I: IntoIterator<Item = V>>(items: I) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(it: &'a String) -> Self {
        Self::Text(it.into())
    }
}

/// Members that are in their keys' order.
impl<'a> FromIterator<(&'static str, Value<'a>)> for Fields<'a> {
    fn from_iter<I: IntoIterator<Item = (&'static str, Value<'a>)>>(members: I) -> Self {
        let mut out = Self::default();
        members.into_iter().for_each(|(key, value)| out.insert(key, value));
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: impl Into<Value<'static>>) -> String {
        let mut out = vec![];
        value.into().write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn members_stand_in_the_order_of_their_keys_each_once() {
        let mut fields = Fields::new();
        let keys =
            ["prev", "a", "idx", "a", "a_b", "aB", "http_status", "http_statu", "http_stat_"];
        for (value, key) in keys.into_iter().enumerate() {
            fields.insert(key, value as u32);
        }
        assert_eq!(
            written(fields),
            r#"{"a":3,"aB":5,"a_b":4,"http_stat_":8,"http_statu":7,"http_status":6,"idx":2,"prev":0}"#
        );
    }

    #[test]
    fn an_integer_that_not_every_reader_keeps_is_text() {
        let wide = (1 << 53) - 1;
        let list = Value::List(vec![int(wide), int(wide + 1), int(u64::MAX), (-1).into()]);
        assert_eq!(
            written(list),
            r#"[9007199254740991,"9007199254740992","18446744073709551615",-1]"#
        );
    }

    #[test]
    fn an_empty_list_and_an_empty_object_are_written() {
        let fields = Fields::new().with("list", Value::List(vec![])).with("no", Fields::new());
        assert_eq!(written(fields.with("yes", true)), r#"{"list":[],"no":{},"yes":true}"#);
    }

    proptest! {
        #[test]
        fn text_is_escaped_as_serde_json_does(
            texts in proptest::collection::vec("[ -~\\x00-\\x1f\"\\\\é\u{2028}\u{10ffff}]{0,80}", 0..4)
        ) {
            let value: Value<'_> = texts.iter().map(String::as_str).collect();
            let mut out = vec![];
            value.write(&mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&texts).unwrap());
        }

        #[test]
        fn keys_are_found_and_ordered_as_texts_are(keys in proptest::collection::vec("[a-c_]{0,10}", 0..30)) {
            let mut fields = Fields::new();
            let mut expected = std::collections::BTreeMap::new();
            for (n, key) in keys.iter().enumerate() {
                fields.insert(key.as_str(), n as u32);
                expected.insert(key.as_str(), n);
            }
            prop_assert!(keys.iter().all(|key| fields.contains(key)));
            let mut out = vec![];
            fields.write(&mut out);
            let expected = serde_json::to_string(&expected).unwrap();
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
