//! What records are written from: JSON in the profile of docs/LEDGER.md, borrowed from the entries
//! where it can be. Pure.
//!
//! Keys are kept in their order (RFC 8785 §3.2.3; all are ASCII), there is no null and no float,
//! and [`int`] is the only way in for integers that may be wide: what `serde_json` writes of this
//! is canonical.

use std::borrow::Cow;

use data_encoding::BASE64;
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::model::Raw;

/// The integers that every JSON reader keeps exactly.
const EXACT: u64 = (1 << 53) - 1;

/// A value of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Bool(bool),
    Int(i64),
    Text(Cow<'a, str>),
    List(Vec<Value<'a>>),
    Object(Fields<'a>),
}

/// An object: its members, each key once, in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

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
        _ => n.to_string().into(),
    }
}

impl<'a> Fields<'a> {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(8))
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

    /// Sets a member.
    pub(super) fn insert(&mut self, key: impl Into<Cow<'a, str>>, value: impl Into<Value<'a>>) {
        let (key, value) = (key.into(), value.into());
        debug_assert!(key.is_ascii(), "{key:?}");
        if self.0.last().is_none_or(|(last, _)| **last < *key) {
            return self.0.push((key, value));
        }
        match self.find(&key) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    /// Sets a member where there is something to say.
    pub(super) fn insert_some(&mut self, key: &'static str, value: Option<impl Into<Value<'a>>>) {
        if let Some(value) = value {
            self.insert(key, value);
        }
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<Value<'a>> {
        self.find(key).ok().map(|at| self.0.remove(at).1)
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Value<'a>> {
        self.find(key).ok().map(|at| &mut self.0[at].1)
    }

    /// The object that this member is; None where it is something else, or not there.
    pub(super) fn object_mut(&mut self, key: &str) -> Option<&mut Fields<'a>> {
        self.get_mut(key).and_then(Value::as_object_mut)
    }

    /// The object that this member is, made where it is not there.
    pub(super) fn make_object(&mut self, key: impl Into<Cow<'a, str>>) -> Option<&mut Fields<'a>> {
        let key = key.into();
        let at = match self.find(&key) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (key, Value::Object(Self::default())));
                at
            }
        };
        self.0[at].1.as_object_mut()
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.find(key).is_ok()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value<'a>)> {
        self.0.iter().map(|(key, value)| (&**key, value))
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(it, _)| (**it).cmp(key))
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
        serde_json::to_vec(self).map_or(0, |bytes| bytes.len())
    }
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

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(it) => out.serialize_bool(*it),
            Self::Int(it) => out.serialize_i64(*it),
            Self::Text(it) => out.serialize_str(it),
            Self::List(items) => out.collect_seq(items),
            Self::Object(fields) => fields.serialize(out),
        }
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(&**key, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stand_in_the_order_of_their_keys_each_once() {
        let mut fields = Fields::new();
        for (key, value) in [("prev", 1), ("a", 2), ("idx", 3), ("a", 4), ("a_b", 5), ("aB", 6)] {
            fields.insert(key, value);
        }
        let written = serde_json::to_string(&fields).unwrap();
        assert_eq!(written, r#"{"a":4,"aB":6,"a_b":5,"idx":3,"prev":1}"#);
    }

    #[test]
    fn an_integer_that_not_every_reader_keeps_is_text() {
        let wide = (1 << 53) - 1;
        let list = Value::List(vec![int(wide), int(wide + 1), int(u64::MAX), (-1).into()]);
        let written = serde_json::to_string(&list).unwrap();
        assert_eq!(written, r#"[9007199254740991,"9007199254740992","18446744073709551615",-1]"#);
    }
}
