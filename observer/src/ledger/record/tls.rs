//! TLS handshakes, and the ends of connections that they began.

use super::super::json::{Fields, Value, int, text};
use super::{address, list};
use crate::model::{Tls, TlsEnd};

pub(super) fn tls(tls: &Tls) -> Fields<'_> {
    let mut out = Fields::new();
    match &tls.hello {
        Some(hello) => {
            out.insert_some("sni", hello.sni.as_ref().map(text));
            // Of one that was stopped, the name alone is known.
            if hello.bytes > 0 {
                out.insert("alpn", list(&hello.alpn));
                out.insert("version", hello.version.as_str());
                out.insert("bytes", int(hello.bytes));
            }
            for (key, is) in
                [("ech", hello.ech), ("resumes", hello.resumes), ("early_data", hello.early_data)]
            {
                if is {
                    out.insert(key, true);
                }
            }
        }
        None => {
            out.insert("unread", true);
        }
    }
    out.insert("peer", address(tls.peer));
    out.insert("local", address(tls.local));
    if tls.cookie != 0 {
        out.insert("cookie", Value::Digits(tls.cookie));
    }
    out
}

pub(super) fn end(end: &TlsEnd) -> Fields<'_> {
    let mut out = Fields::new();
    out.insert("opaque", end.opaque);
    out.insert_some("version", end.version.as_deref());
    out.insert_some("alpn", end.alpn.as_ref().map(text));
    if let Some((sent, received)) = end.bytes {
        out.insert("sent", int(sent));
        out.insert("received", int(received));
    }
    out
}
