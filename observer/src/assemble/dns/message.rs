//! DNS messages (RFC 1035, 4.1). Total: whatever the bytes are, this returns, and reads each at
//! most a bounded number of times.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Records that are kept of one message.
pub(super) const RECORDS: usize = 64;
/// Bytes of a name on the wire, and of what leads to its parts.
const NAME: usize = 255;
const POINTERS: usize = 64;
const CLASS_IN: u16 = 1;

/// A message, as far as it could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Whether it says that it was cut to fit a datagram.
    pub(super) truncated: bool,
    /// The response code.
    pub(super) rcode: u8,
    /// The name that is asked for, and the type of record.
    pub(super) question: Option<(Name, u16)>,
    /// The answers, at most [`RECORDS`].
    pub(super) answers: Vec<Record>,
    /// Answers that it says it has.
    pub(super) answers_seen: u16,
}

/// A record of the answer section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) owner: Name,
    pub(super) kind: u16,
    pub(super) ttl: u32,
    pub(super) data: Data,
}

/// What a record holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Data {
    Addr(IpAddr),
    Name(Name),
    /// Bytes of something else.
    Other(u16),
}

/// A name as text: as the zone files write it (RFC 1035, 5.1), in lower case and without the dot
/// of the root; what is no visible character stands as `\DDD`, a dot within a label as `\.`.
pub(super) type Name = String;

const A: u16 = 1;
const NS: u16 = 2;
const CNAME: u16 = 5;
const PTR: u16 = 12;
const AAAA: u16 = 28;
const DNAME: u16 = 39;

/// Reads a message; none where it has no header.
pub(super) fn read(bytes: &[u8]) -> Option<Message> {
    let word = |at: usize| {
        let pair = bytes.get(at..at + 2)?;
        Some(u16::from_be_bytes([*pair.first()?, *pair.get(1)?]))
    };
    let flags = word(2)?;
    let (questions, answers_seen) = (word(4)?, word(6)?);
    word(10)?;
    let mut message = Message {
        truncated: flags & 0x0200 != 0,
        rcode: (flags & 0xf) as u8,
        question: None,
        answers: vec![],
        answers_seen,
    };
    if questions != 1 {
        return Some(message);
    }
    let Some((name, mut at)) = name(bytes, 12) else { return Some(message) };
    let Some(kind) = word(at) else { return Some(message) };
    message.question = Some((name, kind));
    at += 4;
    for _ in 0..usize::from(answers_seen).min(RECORDS) {
        let Some((record, next)) = record(bytes, at) else { break };
        message.answers.push(record);
        at = next;
    }
    Some(message)
}

fn record(bytes: &[u8], at: usize) -> Option<(Record, usize)> {
    let (owner, at) = name(bytes, at)?;
    let head: &[u8; 10] = bytes.get(at..at + 10)?.try_into().ok()?;
    let [k0, k1, c0, c1, t0, t1, t2, t3, l0, l1] = *head;
    let kind = u16::from_be_bytes([k0, k1]);
    let len = u16::from_be_bytes([l0, l1]);
    let (from, to) = (at + 10, at + 10 + usize::from(len));
    let data = bytes.get(from..to)?;
    let internet = u16::from_be_bytes([c0, c1]) == CLASS_IN;
    let data = match kind {
        A if internet => {
            <[u8; 4]>::try_from(data).ok().map(|a| Data::Addr(Ipv4Addr::from(a).into()))
        }
        AAAA if internet => {
            <[u8; 16]>::try_from(data).ok().map(|a| Data::Addr(Ipv6Addr::from(a).into()))
        }
        NS | CNAME | PTR | DNAME if internet => name(bytes, from).map(|(name, _)| Data::Name(name)),
        _ => None,
    };
    let data = data.unwrap_or(Data::Other(len));
    Some((Record { owner, kind, ttl: u32::from_be_bytes([t0, t1, t2, t3]), data }, to))
}

/// Reads the name at `at`: its text, and where what follows it stands.
fn name(bytes: &[u8], at: usize) -> Option<(Name, usize)> {
    let mut text = String::new();
    let (mut at, mut after) = (at, None);
    let (mut wire, mut pointers) = (0, 0);
    loop {
        let len = usize::from(*bytes.get(at)?);
        match len {
            0 => return Some((text, after.unwrap_or(at + 1))),
            1..=63 => {
                wire += len + 1;
                if wire >= NAME {
                    return None;
                }
                if !text.is_empty() {
                    text.push('.');
                }
                label(bytes.get(at + 1..at + 1 + len)?, &mut text);
                at += 1 + len;
            }
            0xc0.. => {
                let to = (len & 0x3f) << 8 | usize::from(*bytes.get(at + 1)?);
                after = after.or(Some(at + 2));
                pointers += 1;
                // Each pointer must lead back (RFC 1035, 4.1.4), so there is no loop.
                if to >= at || pointers > POINTERS {
                    return None;
                }
                at = to;
            }
            _ => return None,
        }
    }
}

fn label(bytes: &[u8], text: &mut String) {
    for &byte in bytes {
        match byte {
            b'.' | b'\\' => text.extend(['\\', char::from(byte)]),
            b'!'..=b'~' => text.push(char::from(byte.to_ascii_lowercase())),
            _ => text.push_str(&format!("\\{byte:03}")),
        }
    }
}

/// The word of a record type, where it has one that is met.
pub(super) fn kind_word(kind: u16) -> String {
    let word = match kind {
        A => "A",
        NS => "NS",
        CNAME => "CNAME",
        6 => "SOA",
        PTR => "PTR",
        15 => "MX",
        16 => "TXT",
        AAAA => "AAAA",
        33 => "SRV",
        35 => "NAPTR",
        DNAME => "DNAME",
        43 => "DS",
        46 => "RRSIG",
        48 => "DNSKEY",
        64 => "SVCB",
        65 => "HTTPS",
        255 => "ANY",
        257 => "CAA",
        // RFC 3597, 5.
        n => return format!("TYPE{n}"),
    };
    word.to_owned()
}

/// The word of a response code (RFC 6895, 2.3).
pub(super) fn rcode_word(rcode: u8) -> &'static str {
    match rcode {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        6 => "YXDOMAIN",
        7 => "YXRRSET",
        8 => "NXRRSET",
        9 => "NOTAUTH",
        10 => "NOTZONE",
        _ => "RESERVED",
    }
}

/// The addresses that a message gives its question's name, each with the aliases that led there.
pub(super) fn addresses(message: &Message) -> Vec<(IpAddr, Vec<Name>)> {
    let Some((asked, _)) = &message.question else { return vec![] };
    let mut current = asked;
    let (mut aliases, mut found) = (vec![], vec![]);
    for record in &message.answers {
        if record.owner != *current {
            continue;
        }
        match &record.data {
            Data::Addr(addr) => found.push((addr.to_canonical(), aliases.clone())),
            Data::Name(to) if record.kind == CNAME => {
                aliases.push(to.clone());
                current = to;
            }
            Data::Name(_) | Data::Other(_) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wire(name: &str) -> Vec<u8> {
        let mut out = vec![];
        for label in name.split('.').filter(|label| !label.is_empty()) {
            out.push(label.len() as u8);
            out.extend(label.as_bytes());
        }
        out.push(0);
        out
    }

    fn message(name: &[u8], answers: &[(&[u8], u16, &[u8])]) -> Vec<u8> {
        let mut out = vec![0, 7, 0x81, 0x80, 0, 1, 0, answers.len() as u8, 0, 0, 0, 0];
        out.extend(name);
        out.extend([0, 1, 0, 1]);
        for (owner, kind, data) in answers {
            out.extend(*owner);
            out.extend(kind.to_be_bytes());
            out.extend([0, 1, 0, 0, 0, 60]);
            out.extend((data.len() as u16).to_be_bytes());
            out.extend(*data);
        }
        out
    }

    #[test]
    fn aliases_are_followed_in_their_order() {
        let name = wire("A.Example");
        let cdn = wire("cdn.example");
        let bytes = message(
            &name,
            &[
                (&wire("other.example"), A, &[9, 9, 9, 9]),
                (&[0xc0, 12], CNAME, &cdn),
                (&cdn, A, &[192, 0, 2, 1]),
                (&[0xc0, 12], A, &[8, 8, 8, 8]),
            ],
        );
        let read = read(&bytes).unwrap();
        assert_eq!(read.question, Some(("a.example".to_owned(), A)));
        assert_eq!(read.answers.len(), 4);
        let addr = "192.0.2.1".parse::<IpAddr>().unwrap();
        assert_eq!(addresses(&read), [(addr, vec!["cdn.example".to_owned()])]);
    }

    #[test]
    fn names_are_text_without_two_readings() {
        let bytes = message(b"\x04a.b\x1b\x01C\0", &[]);
        assert_eq!(read(&bytes).unwrap().question.unwrap().0, "a\\.b\\027.c");
    }

    #[test]
    fn a_pointer_leads_back_or_nowhere() {
        let mut bytes = message(&wire("a"), &[(&[0xc0, 19], A, &[1, 2, 3, 4])]);
        assert_eq!(read(&bytes).unwrap().answers, vec![], "to itself");
        bytes[19..21].copy_from_slice(&[0xc0, 12]);
        assert_eq!(read(&bytes).unwrap().answers.len(), 1);
    }

    #[test]
    fn a_name_ends_at_255_bytes() {
        let long = "a.".repeat(127);
        assert!(read(&message(&wire(&long), &[])).unwrap().question.is_some());
        let long = "a.".repeat(128);
        assert!(read(&message(&wire(&long), &[])).unwrap().question.is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some(message) = read(&bytes) {
                prop_assert!(message.answers.len() <= RECORDS);
                let _ = addresses(&message);
            }
        }

        #[test]
        fn no_answer_panics(tail in prop::collection::vec(prop_oneof![Just(0xc0u8), 0u8..20, any::<u8>()], 0..200)) {
            let mut bytes = message(&wire("a.example"), &[]);
            bytes[6..8].copy_from_slice(&[0xff, 0xff]);
            bytes.extend(tail);
            let read = read(&bytes).unwrap();
            for record in &read.answers {
                prop_assert!(record.owner.len() <= 4 * NAME && record.owner.is_ascii());
            }
        }
    }
}
