//! TLS handshakes, and the ends of connections that they began.

use serde_json::{Map, Value, json};

use super::{int, text};
use crate::model::{Tls, TlsEnd};

pub(super) fn tls(tls: &Tls) -> Value {
    let mut out = Map::new();
    match &tls.hello {
        Some(hello) => {
            if let Some(sni) = &hello.sni {
                out.insert("sni".into(), text(sni));
            }
            // Of one that was stopped, the name alone is known.
            if hello.bytes > 0 {
                out.insert("alpn".into(), hello.alpn.iter().map(text).collect());
                out.insert("version".into(), hello.version.as_str().into());
                out.insert("bytes".into(), int(hello.bytes));
            }
            for (key, is) in
                [("ech", hello.ech), ("resumes", hello.resumes), ("early_data", hello.early_data)]
            {
                if is {
                    out.insert(key.into(), true.into());
                }
            }
        }
        None => {
            out.insert("unread".into(), true.into());
        }
    }
    for (key, address) in [("peer", tls.peer), ("local", tls.local)] {
        let address = json!({ "addr": address.ip().to_string(), "port": address.port() });
        out.insert(key.into(), address);
    }
    if tls.cookie != 0 {
        out.insert("cookie".into(), tls.cookie.to_string().into());
    }
    out.into()
}

pub(super) fn end(end: &TlsEnd) -> Value {
    let mut out = Map::new();
    out.insert("opaque".into(), end.opaque.into());
    if let Some(version) = &end.version {
        out.insert("version".into(), version.as_str().into());
    }
    if let Some(alpn) = &end.alpn {
        out.insert("alpn".into(), text(alpn));
    }
    if let Some((sent, received)) = end.bytes {
        out.insert("sent".into(), int(sent));
        out.insert("received".into(), int(received));
    }
    out.into()
}
