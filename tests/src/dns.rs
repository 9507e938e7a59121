//! DNS messages, put together and taken apart by hand (RFC 1035, 4): for the sample, which asks,
//! and for the cases, which answer.

use std::net::IpAddr;

/// The type of an IPv4 address.
pub const A: u16 = 1;
/// The type of an alias.
pub const CNAME: u16 = 5;
/// The type of an IPv6 address.
pub const AAAA: u16 = 28;

/// A name on the wire.
pub fn name(text: &str) -> Vec<u8> {
    let mut out = vec![];
    for label in text.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}

/// A question.
pub fn question(id: u16, text: &str, kind: u16) -> Vec<u8> {
    let mut out = head(id, 0x0100, 1, 0);
    out.extend(name(text));
    out.extend(kind.to_be_bytes());
    out.extend([0, 1]);
    out
}

/// A message's header.
pub fn head(id: u16, flags: u16, questions: u16, answers: u16) -> Vec<u8> {
    [id, flags, questions, answers, 0, 0].iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// An answer to a question: its records, each an owner on the wire, a type and its data.
pub fn answer(question: &[u8], records: &[(Vec<u8>, u16, Vec<u8>)]) -> Vec<u8> {
    let id = question.get(..2).map_or(0, |id| u16::from_be_bytes([id[0], id[1]]));
    let mut out = head(id, 0x8180, 1, u16::try_from(records.len()).unwrap_or(0));
    out.extend(question.get(12..).unwrap_or_default());
    for (owner, kind, data) in records {
        out.extend(owner);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 60]);
        out.extend(u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
        out.extend(data);
    }
    out
}

/// A record of an address.
pub fn address(owner: Vec<u8>, addr: IpAddr) -> (Vec<u8>, u16, Vec<u8>) {
    match addr {
        IpAddr::V4(addr) => (owner, A, addr.octets().to_vec()),
        IpAddr::V6(addr) => (owner, AAAA, addr.octets().to_vec()),
    }
}

/// The name and type that a question asks for, as the asker wrote it.
pub fn asked(message: &[u8]) -> Option<(String, u16)> {
    let (mut at, mut labels) = (12, vec![]);
    loop {
        let len = usize::from(*message.get(at)?);
        if len == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(message.get(at + 1..at + 1 + len)?).into_owned());
        at += 1 + len;
    }
    let kind = message.get(at + 1..at + 3)?;
    Some((labels.join("."), u16::from_be_bytes([kind[0], kind[1]])))
}

/// The last address in a message that holds one record at its end, whatever stands before.
pub fn last_address(message: &[u8]) -> Option<IpAddr> {
    let tail = |len: usize| message.get(message.len().checked_sub(len)?..);
    if let Some([_, _, 0, 28, 0, 1, _, _, _, _, 0, 16, addr @ ..]) = tail(28) {
        return <[u8; 16]>::try_from(addr).ok().map(IpAddr::from);
    }
    let Some([0, 1, 0, 1, _, _, _, _, 0, 4, addr @ ..]) = tail(14) else { return None };
    <[u8; 4]>::try_from(addr).ok().map(IpAddr::from)
}
