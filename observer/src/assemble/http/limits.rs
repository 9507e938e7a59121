//! What is kept, and how much: every bound on what a peer can make this room hold.

/// Bytes of one head (start line and fields, or a decoded HTTP/2 field list) that are kept. What is
/// beyond is counted, looked at for what frames the message, and let go.
pub(super) const HEAD: usize = 64 * 1024;
/// Bytes that are kept of trailers.
pub(super) const TRAILERS: usize = 8 * 1024;
/// Field lines that are kept of a head.
pub(super) const FIELDS: usize = 1024;
/// Requests of one connection that wait for their answers (HTTP/1.1 pipelining).
pub(super) const PIPELINED: usize = 1024;
/// Streams of one connection that are open at once.
pub(super) const STREAMS: usize = 1024;
/// An encoded HTTP/2 field block: it can't be left half read, so a larger one ends the reading.
pub(super) const BLOCK: usize = 256 * 1024;
/// Bytes of fields that HPACK may make of each byte that came; what it makes beyond is not kept.
pub(super) const GROWTH: usize = 128;
/// Bytes of fields that are kept whatever came, and that can be saved up.
pub(super) const CREDIT: usize = 2 << 20;
/// Largest dynamic table of HPACK that a peer may use.
pub(super) const TABLE: usize = 64 * 1024;
/// Bytes that came from one side before it is known what they are.
pub(super) const HELD: usize = 64 * 1024;
/// Tunnels within tunnels.
pub(super) const DEPTH: u8 = 3;
/// Interim responses that are told.
pub(super) const INTERIM: usize = 8;

/// Which contents are kept, and how much of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Bytes that are kept of a content where no rule says otherwise; 0 for none.
    pub body: usize,
    /// For some hosts or types; the first that fits counts.
    pub rules: Vec<CaptureRule>,
}

/// What is kept of some contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureRule {
    /// Of this host (lower case, without a port), or with `*.` before it of all below; none for any.
    pub host: Option<String>,
    /// Of this media type (lower case, without parameters), or with `/*` of all of its kind; none
    /// for any.
    pub media: Option<String>,
    /// Bytes that are kept; 0 for none.
    pub body: usize,
}

impl Capture {
    /// What is kept by default of each content.
    pub const BODY: usize = 32 * 1024;
    /// What can be kept at most: more fits no record.
    pub const LARGEST: usize = 64 * 1024;

    /// How many bytes are kept of a content of `media` in an exchange with `host` (which may bear
    /// a port).
    pub fn of(&self, host: &[u8], media: &[u8]) -> usize {
        let host = without_port(host);
        let media = media.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
        let fits = |rule: &&CaptureRule| {
            rule.host.as_deref().is_none_or(|pattern| host_fits(pattern.as_bytes(), host))
                && rule.media.as_deref().is_none_or(|kind| media_fits(kind.as_bytes(), media))
        };
        self.rules.iter().find(fits).map_or(self.body, |rule| rule.body).min(Self::LARGEST)
    }
}

impl CaptureRule {
    /// Reads `HOST[,TYPE]=KIB`: `*` is any host, `none` keeps nothing.
    ///
    /// # Errors
    /// What is wrong with it, and what it has to look like.
    pub fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str =
            "a rule is HOST[,TYPE]=KIB, such as '*.example.com=none' or '*,image/*=4'";
        let (what, size) = text.rsplit_once('=').ok_or(FORM)?;
        let (host, media) = match what.split_once(',') {
            Some((host, media)) => (host, Some(media)),
            None => (what, None),
        };
        let plain = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b',')
        };
        let star = host.strip_prefix('*').unwrap_or(host);
        let host_fits = host == "*"
            || plain(host) && !star.contains('*') && (star == host || star.starts_with('.'));
        let media_fits = |media: &str| {
            let (kind, sub) = media.split_once('/').unwrap_or_default();
            plain(kind) && plain(sub) && !kind.contains('*') && (sub == "*" || !sub.contains('*'))
        };
        if !host_fits || !media.is_none_or(media_fits) {
            return Err(FORM.to_owned());
        }
        let body = match size {
            "none" => 0,
            size => size.parse::<usize>().map_err(|_| FORM)?.saturating_mul(1024),
        };
        if body > Capture::LARGEST {
            return Err(format!(
                "at most {} KiB of a content fit a record",
                Capture::LARGEST / 1024
            ));
        }
        Ok(Self {
            host: (host != "*").then(|| host.to_ascii_lowercase()),
            media: media.map(str::to_ascii_lowercase),
            body,
        })
    }
}

impl Default for Capture {
    fn default() -> Self {
        Self { body: Self::BODY, rules: vec![] }
    }
}

/// A host without its port; the brackets of an IPv6 address stay.
pub(super) fn without_port(host: &[u8]) -> &[u8] {
    let colon = host.iter().rposition(|&b| b == b':');
    match colon {
        Some(at) if host.last() != Some(&b']') && host[at + 1..].iter().all(u8::is_ascii_digit) => {
            &host[..at]
        }
        _ => host,
    }
}

fn host_fits(pattern: &[u8], host: &[u8]) -> bool {
    let host = host.strip_suffix(b".").unwrap_or(host);
    match pattern.strip_prefix(b"*") {
        Some(suffix) => {
            host.len() > suffix.len()
                && host[host.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
        }
        None => host.eq_ignore_ascii_case(pattern),
    }
}

fn media_fits(pattern: &[u8], media: &[u8]) -> bool {
    match pattern.strip_suffix(b"*") {
        Some(start) => media.get(..start.len()).is_some_and(|own| own.eq_ignore_ascii_case(start)),
        None => media.eq_ignore_ascii_case(pattern),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_what_is_none_is_refused() {
        let rule = |host: Option<&str>, media: Option<&str>, body| {
            let (host, media) = (host.map(str::to_owned), media.map(str::to_owned));
            Ok(CaptureRule { host, media, body })
        };
        for (text, read) in [
            ("*.Example.com=none", rule(Some("*.example.com"), None, 0)),
            ("*,image/*=4", rule(None, Some("image/*"), 4096)),
            ("[::1],text/html=64", rule(Some("[::1]"), Some("text/html"), 65536)),
        ] {
            assert_eq!(CaptureRule::parse(text), read, "{text}");
        }
        for text in [
            "",
            "=1",
            "h",
            "h=",
            "h=x",
            "h=65",
            "h=-1",
            "*x=1",
            "a*=1",
            "h,=1",
            "h,x=1",
            "h,*/*=1",
            "h,a/b,c=1",
        ] {
            assert!(CaptureRule::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_says_how_much_is_kept() {
        let rule = |host: Option<&str>, media: Option<&str>, body| CaptureRule {
            host: host.map(str::to_owned),
            media: media.map(str::to_owned),
            body,
        };
        let capture = Capture {
            body: 10,
            rules: vec![
                rule(Some("*.example.com"), Some("image/*"), 1),
                rule(Some("*.example.com"), None, 0),
                rule(None, Some("application/json"), 1 << 30),
            ],
        };
        assert_eq!(capture.of(b"a.Example.com:443", b"image/png"), 1);
        assert_eq!(capture.of(b"a.example.com.", b"text/plain"), 0);
        assert_eq!(capture.of(b"example.com", b"text/plain"), 10);
        assert_eq!(capture.of(b"[::1]:80", b"Application/JSON; charset=utf-8"), Capture::LARGEST);
    }
}
