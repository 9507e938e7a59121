//! The fields of one record: each is masked by what its place tells, and all of them count together.
//!
//! Whoever masks a new kind of record does it here in `mask`: `Masker::fields`, then a method for
//! each field, and `masked` for the whole.

use super::span::{self, Span};
use super::{Counts, Masked, Masker, argv, json};
use crate::model::{Process, Raw};

/// One record's masking.
pub(super) struct Fields<'a> {
    pub(super) masker: &'a mut Masker,
    counts: Counts,
}

impl<'a> Fields<'a> {
    pub(super) fn new(masker: &'a mut Masker) -> Self {
        Self { masker, counts: Counts::new() }
    }

    /// The record, of which every field went through here.
    pub(super) fn masked<T>(self, value: T) -> Masked<T> {
        Masked { value, counts: self.counts, rules: self.masker.rules.shared_version() }
    }

    /// Counts what is left out or masked in another way than by a token.
    pub(super) fn count(&mut self, sort: &'static str) {
        *self.counts.entry(sort).or_default() += 1;
    }

    /// Any text. `cut` says that its end was cut off: its last word goes then.
    pub(super) fn text(&mut self, raw: Raw, cut: bool) -> Raw {
        let known = if cut { argv::last_word(raw.bytes()).into_iter().collect() } else { vec![] };
        self.apply(raw, known)
    }

    /// What is said of a process.
    pub(super) fn process(&mut self, process: Process) -> Process {
        Process {
            exe: self.text(process.exe, false),
            comm: self.text(process.comm, false),
            cgroup: self.text(process.cgroup, false),
            ..process
        }
    }

    /// Each argument by itself, by what its neighbours tell, and all of them joined: a shell splits
    /// at spaces what was one value.
    pub(super) fn argv(&mut self, argv: Vec<Raw>, cut: bool) -> Vec<Raw> {
        let mut plan = argv::plan(&argv, cut);
        // First what the places tell, so that the dictionary knows it in every argument.
        for (raw, spans) in argv.iter().zip(&plan) {
            for span in spans.iter().filter(|span| span.learn) {
                self.masker.taint.learn(span.value(raw.bytes()), span.sort);
            }
        }
        let joined = argv::Joined::new(&argv);
        if let Some(joined) = &joined {
            let spans = self.masker.spans(joined.text(), vec![]);
            joined.share(spans, &mut plan);
        }
        argv.into_iter().zip(plan).map(|(raw, spans)| self.apply(raw, spans)).collect()
    }

    /// A text of which `known` must go whatever else is found in it.
    pub(super) fn apply(&mut self, raw: Raw, known: Vec<Span>) -> Raw {
        let bytes = raw.bytes();
        if bytes.is_empty() {
            return raw;
        }
        let mut known = known;
        known.extend(json::known(bytes));
        let spans = self.masker.spans(bytes, known);
        if spans.is_empty() {
            return raw;
        }
        self.replace(bytes, spans)
    }

    /// Puts tokens in the place of spans.
    pub(super) fn replace(&mut self, bytes: &[u8], spans: Vec<Span>) -> Raw {
        let mut out = Vec::with_capacity(bytes.len());
        let mut at = 0;
        for cluster in span::merge(spans) {
            out.extend_from_slice(bytes.get(at..cluster.start).unwrap_or_default());
            for (sort, value) in cluster.tokens(bytes) {
                out.extend_from_slice(self.token(sort, value).as_bytes());
            }
            at = cluster.end;
        }
        out.extend_from_slice(bytes.get(at..).unwrap_or_default());
        Raw::new(out)
    }

    /// A value's token, counted.
    pub(super) fn token(&mut self, sort: &'static str, value: &[u8]) -> String {
        self.count(sort);
        self.masker.tokens.token(sort, value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MaskKey, Masker};
    use super::*;

    fn masker() -> Masker {
        Masker::new(MaskKey::fixed(7))
    }

    fn said(raw: &Raw) -> String {
        String::from_utf8_lossy(raw.bytes()).into_owned()
    }

    #[test]
    fn a_querys_fields_are_masked_by_their_names() {
        for (url, secret, kept) in [
            ("/p?password=a b,c'd\"e&x=1", "b,c'd", "&x=1"),
            ("https://h/p#access_token=hunter2hunter&state=z", "hunter2", "&state=z"),
            ("https://u:hunter2@h/p", "hunter2", "@h/p"),
            ("/p?a=1;sig=hunter2%2Fx;b=2", "hunter2", ";b=2"),
        ] {
            let shown = said(masker().url(&Raw::from(url), false).get());
            assert!(!shown.contains(secret), "{shown}");
            assert!(shown.contains("<mask:") && shown.ends_with(kept), "{shown}");
        }
        let plain = "/search?q=tokens+per+second&page=2&token_type=bearer";
        assert_eq!(said(masker().url(&Raw::from(plain), false).get()), plain);
    }

    #[test]
    fn headers_are_masked_by_their_names() {
        for (name, value, shown) in [
            ("Authorization", "Bearer hunter2", "Bearer <mask:"),
            ("x-api-key", "hunter2", "<mask:"),
            ("X-Auth-Token", "hunter2 and more", "<mask:"),
            ("Cookie", "id=hunter2; theme=hunter2x", "id=<mask:"),
            ("Set-Cookie", "id=hunter2; Path=/", "id=<mask:"),
            ("Location", "/cb?code=1&access_token=hunter2", "/cb?code=1&access_token=<mask:"),
            ("Authorization", "Basic\r\n dXNlcjpodW50ZXIy", "Basic"),
        ] {
            let out = masker().header(&Raw::from(name), &Raw::from(value), false).get().clone();
            assert_eq!(said(&out.0), name);
            let masked = said(&out.1);
            assert!(masked.starts_with(shown), "{name}: {masked}");
            assert!(masked.contains("<mask:"), "{name}: {masked}");
            assert!(!masked.contains("hunter2") && !masked.contains("dXNlc"), "{name}: {masked}");
        }
        for (name, value) in [
            ("Content-Type", "application/json; charset=utf-8"),
            ("Date", "Wed, 25 Nov 2026 01:02:03 GMT"),
            ("anthropic-ratelimit-tokens-remaining", "40000"),
            ("User-Agent", "curl/8.5.0"),
            ("ETag", "\"33a64df551425fcc55e4d42a148795d9f25f89d4\""),
        ] {
            let out = masker().header(&Raw::from(name), &Raw::from(value), false).get().clone();
            assert_eq!(said(&out.1), value, "{name}");
        }
        let out =
            masker().header(&Raw::from("Set-Cookie"), &Raw::from("id=hunter2; Path=/"), false);
        assert!(said(&out.get().1).ends_with("; Path=/"));
    }

    #[test]
    fn a_header_that_was_clean_is_masked_once_what_it_encodes_is_known_as_a_secret() {
        let plain = "plum stone river";
        let encoded: String = plain.bytes().map(|b| format!("%{b:02x}")).collect();
        for value in [plain, &encoded] {
            let mut masker = masker();
            let header = |masker: &mut Masker| {
                said(&masker.header(&Raw::from("X-Note"), &Raw::from(value), false).get().1)
            };
            assert_eq!(header(&mut masker), value);
            assert_eq!(header(&mut masker), value);
            let told = masker.text(Raw::from(format!("{{\"password\":\"{plain}\"}}").as_str()));
            assert!(said(told.get()).contains("<mask:"));
            assert!(header(&mut masker).contains("<mask:"), "{value}");
        }
    }

    /// What was clean as one header is kept; another that makes the same line is judged all the same.
    #[test]
    fn a_header_is_not_taken_for_another_that_makes_the_same_line() {
        for (clean, secret) in [
            (("referer: /a?x", "y&pin=plum"), ("referer", "/a?x: y&pin=plum")),
            (("x-note", "a  mysql -pplumstone"), ("x-note", "a\r\nmysql -pplumstone")),
        ] {
            let mut masker = masker();
            let mut header = |(name, value): (&str, &str)| {
                said(&masker.header(&Raw::from(name), &Raw::from(value), false).get().1)
            };
            assert_eq!((header(clean), header(clean)), (clean.1.into(), clean.1.into()));
            let shown = header(secret);
            assert!(shown.contains("<mask:"), "{shown:?}");
        }
    }

    #[test]
    fn a_name_shows_nothing_that_its_labels_carry_together() {
        let token = concat!("gh", "p_k3J9xQ0fTz8LmW2aVb7YpRs4Hd6GnCe1UiOq");
        let hex = data_encoding::HEXLOWER.encode(token.as_bytes());
        let b32 = data_encoding::BASE32_NOPAD.encode(token.as_bytes()).to_lowercase();
        for carried in [&hex, &b32] {
            for size in [20, 31, 63] {
                let labels: Vec<_> =
                    carried.as_bytes().chunks(size).map(String::from_utf8_lossy).collect();
                for end in ["e.example", "example.com", "evil"] {
                    let name = format!("{}.{end}", labels.join("."));
                    let shown = said(masker().dns_name(&Raw::from(name.as_str())).get());
                    assert!(shown.contains("<mask:github:"), "{name}: {shown}");
                    assert!(
                        !labels.iter().any(|label| label.len() > 12 && shown.contains(&**label)),
                        "{shown}"
                    );
                }
            }
        }
        for name in [
            "api.example.com",
            "a.very-long-name-of-a-service.internal.example.org.",
            "1.0.0.127.in-addr.arpa",
        ] {
            assert_eq!(said(masker().dns_name(&Raw::from(name)).get()), name);
        }
    }
}
