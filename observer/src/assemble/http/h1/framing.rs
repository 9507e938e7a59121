//! Where a message's content ends (RFC 9112 §6.3).

use super::head::doubt;
use crate::model::{HttpFields, HttpVersion};

/// How a content is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes; 0 for none.
    Length(u64),
    /// The chunked coding (RFC 9112 §7.1).
    Chunked,
    /// All that comes until the connection is closed.
    UntilClose,
}

/// A framing, and the transfer codings beneath `chunked`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Framed {
    pub(super) framing: Framing,
    pub(super) codings: Vec<u8>,
}

/// Of a request.
pub(super) fn of_request(
    version: HttpVersion,
    fields: &HttpFields,
    doubts: &mut Vec<&'static str>,
) -> Result<Framed, &'static str> {
    match transfer(version, fields, doubts) {
        Some((true, codings)) => Ok(Framed { framing: Framing::Chunked, codings }),
        // A server can't know where such a request ends; it must refuse it.
        Some((false, _)) => Err("a request whose transfer coding does not end in chunked"),
        None => {
            let length = length(fields, doubts)?.unwrap_or(0);
            Ok(Framed { framing: Framing::Length(length), codings: vec![] })
        }
    }
}

/// Of a response that can have content.
pub(super) fn of_response(
    version: HttpVersion,
    fields: &HttpFields,
    doubts: &mut Vec<&'static str>,
) -> Result<Framed, &'static str> {
    match transfer(version, fields, doubts) {
        Some((true, codings)) => Ok(Framed { framing: Framing::Chunked, codings }),
        Some((false, codings)) => Ok(Framed { framing: Framing::UntilClose, codings }),
        None => {
            let length = length(fields, doubts)?;
            let framing = length.map_or(Framing::UntilClose, Framing::Length);
            Ok(Framed { framing, codings: vec![] })
        }
    }
}

/// Whether the last transfer coding is `chunked`, and those before it. None without any.
fn transfer(
    version: HttpVersion,
    fields: &HttpFields,
    doubts: &mut Vec<&'static str>,
) -> Option<(bool, Vec<u8>)> {
    let lines: Vec<&[u8]> = fields.all("transfer-encoding").collect();
    if lines.is_empty() {
        return None;
    }
    if lines.len() > 1 {
        doubt(doubts, "transfer-encoding-repeated");
    }
    if fields.first("content-length").is_some() {
        doubt(doubts, "content-length-and-transfer-encoding");
    }
    if version == HttpVersion::Http10 {
        doubt(doubts, "transfer-encoding-in-1.0");
    }
    let names = lines.iter().flat_map(|line| line.split(|&b| b == b','));
    let mut names: Vec<&[u8]> =
        names.map(<[u8]>::trim_ascii).filter(|name| !name.is_empty()).collect();
    let chunked = |name: &&[u8]| name.eq_ignore_ascii_case(b"chunked");
    let last = names.last().is_some_and(chunked);
    if last {
        names.pop();
    }
    if names.iter().any(chunked) || !last {
        doubt(doubts, "transfer-encoding");
    }
    Some((last, names.join(&b", "[..])))
}

/// The length that all `Content-Length` fields agree on.
fn length(
    fields: &HttpFields,
    doubts: &mut Vec<&'static str>,
) -> Result<Option<u64>, &'static str> {
    let mut found = None;
    let values = fields.all("content-length").flat_map(|line| line.split(|&b| b == b','));
    for value in values.map(<[u8]>::trim_ascii) {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(value).ok().filter(|_| digits);
        let number = number.and_then(|text| text.parse::<u64>().ok());
        let number = number.ok_or("a Content-Length that is not one number")?;
        match found {
            None => found = Some(number),
            Some(other) if other == number => doubt(doubts, "content-length-repeated"),
            Some(_) => return Err("Content-Length fields that contradict each other"),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Raw;

    fn fields(lines: &[(&str, &str)]) -> HttpFields {
        let lines = lines.iter().map(|(name, value)| (Raw::from(*name), Raw::from(*value)));
        HttpFields { lines: lines.collect(), ..HttpFields::default() }
    }

    type Of = fn(HttpVersion, &HttpFields, &mut Vec<&'static str>) -> Result<Framed, &'static str>;

    fn framed(of: Of, lines: &[(&str, &str)]) -> (Option<Framing>, Vec<&'static str>) {
        let mut doubts = vec![];
        let framed = of(HttpVersion::Http11, &fields(lines), &mut doubts);
        (framed.ok().map(|framed| framed.framing), doubts)
    }

    #[test]
    fn framing_is_what_the_rfc_says_and_games_are_named() {
        const CL: &str = "Content-Length";
        const TE: &str = "Transfer-Encoding";
        let length = |n| Some(Framing::Length(n));
        let chunked = Some(Framing::Chunked);
        for (lines, asked, answered, doubts) in [
            (vec![], length(0), Some(Framing::UntilClose), vec![]),
            (vec![(CL, "5")], length(5), length(5), vec![]),
            (vec![(CL, "5"), (CL, "5")], length(5), length(5), vec!["content-length-repeated"]),
            (vec![(CL, "5, 5")], length(5), length(5), vec!["content-length-repeated"]),
            (vec![(CL, "5"), (CL, "6")], None, None, vec![]),
            (vec![(CL, "+5")], None, None, vec![]),
            (vec![(CL, "0x5")], None, None, vec![]),
            (vec![(CL, "99999999999999999999999")], None, None, vec![]),
            (vec![(TE, "Chunked")], chunked, chunked, vec![]),
            (vec![(TE, "gzip, chunked")], chunked, chunked, vec![]),
            (
                vec![(TE, "chunked"), (CL, "5")],
                chunked,
                chunked,
                vec!["content-length-and-transfer-encoding"],
            ),
            (vec![(TE, "xchunked")], None, Some(Framing::UntilClose), vec!["transfer-encoding"]),
            (
                vec![(TE, "chunked, identity")],
                None,
                Some(Framing::UntilClose),
                vec!["transfer-encoding"],
            ),
            (vec![(TE, "chunked, chunked")], chunked, chunked, vec!["transfer-encoding"]),
        ] {
            assert_eq!(framed(of_request, &lines), (asked, doubts.clone()), "{lines:?}");
            assert_eq!(framed(of_response, &lines), (answered, doubts), "{lines:?}");
        }
    }
}
