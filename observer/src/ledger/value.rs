//! A record's JSON, as a verifier reads it: nothing is taken for granted. Pure.

use data_encoding::HEXLOWER;
use serde_json::Value;

use super::keys::PublicKey;
use super::merkle::Hash;

/// A value, or why a record is refused.
pub(super) type Checked<T> = Result<T, String>;

/// A text that must be there.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> Checked<&'a str> {
    value.get(key).and_then(Value::as_str).ok_or_else(|| format!("the record has no {key}"))
}

/// A whole number that must be there, and is not below 0.
pub(super) fn number(value: &Value, key: &str) -> Checked<u64> {
    value.get(key).and_then(Value::as_u64).ok_or_else(|| format!("the record has no {key}"))
}

/// A hash, in hex.
pub(super) fn hash(value: &Value) -> Option<Hash> {
    HEXLOWER.decode(value.as_str()?.as_bytes()).ok()?.try_into().ok()
}

/// How many events a `loss` says are missing.
pub(super) fn lost(value: &Value) -> u64 {
    value.pointer("/loss/count").and_then(Value::as_u64).unwrap_or(0)
}

/// The host's key and the one for checkpoints, where a record names them.
pub(super) fn named_keys(value: &Value) -> Checked<(Option<PublicKey>, Option<PublicKey>)> {
    let key = |name: &str| match value.get(name) {
        None => Ok(None),
        Some(key) => {
            let key = key.as_str().and_then(PublicKey::parse);
            key.map(Some).ok_or_else(|| format!("its {name} is not an Ed25519 key"))
        }
    };
    Ok((key("host_key")?, key("log_key")?))
}

/// Whether the bytes are the one way to write this value: equal keys, white space, another order
/// or another escape would all write back otherwise.
pub(super) fn is_canonical(value: &Value, bytes: &[u8]) -> bool {
    in_profile(value) && serde_json::to_vec(value).is_ok_and(|again| again == bytes)
}

fn in_profile(value: &Value) -> bool {
    const EXACT: u64 = (1 << 53) - 1;
    match value {
        Value::Null => false,
        Value::Bool(_) | Value::String(_) => true,
        Value::Number(n) => {
            n.as_u64().or_else(|| n.as_i64().map(i64::unsigned_abs)).is_some_and(|n| n <= EXACT)
        }
        Value::Array(items) => items.iter().all(in_profile),
        Value::Object(map) => map.iter().all(|(key, v)| key.is_ascii() && in_profile(v)),
    }
}
