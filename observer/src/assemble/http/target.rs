//! Target URIs (RFC 9110 §7.1, RFC 9112 §3.3): scheme, host and target put together.

use super::{Flow, limits};
use crate::model::{Raw, Transport};

/// What a request asks of whom.
pub(super) struct Target {
    /// The whole URI; of CONNECT, the authority.
    pub(super) url: Raw,
    /// The authority.
    pub(super) host: Vec<u8>,
}

/// Of an HTTP/1 request. `hosts` are the values of its Host fields.
pub(super) fn of_http1(
    flow: &Flow,
    method: &[u8],
    target: &[u8],
    hosts: &[&[u8]],
    doubts: &mut Vec<&'static str>,
) -> Target {
    let mut doubt = |word| {
        if !doubts.contains(&word) {
            doubts.push(word);
        }
    };
    if hosts.len() > 1 {
        doubt("host-repeated");
    }
    let host = hosts.first().copied();
    if method == b"CONNECT" {
        return Target { url: Raw::from(target), host: target.to_vec() };
    }
    if let Some(authority) = authority(target) {
        // RFC 9112 §3.2.2: Host is ignored then.
        if host.is_some_and(|host| !host.eq_ignore_ascii_case(authority)) {
            doubt("host-differs-from-target");
        }
        return Target { url: Raw::from(target), host: authority.to_vec() };
    }
    if target.first() != Some(&b'/') && target != b"*" {
        doubt("target");
    }
    let host = host.filter(|host| !host.is_empty());
    let host = host.map_or_else(|| flow.place(), <[u8]>::to_vec);
    // RFC 9112 §3.3: `*` has no path.
    let path = if target == b"*" { &b""[..] } else { target };
    let slash: &[u8] = if matches!(path.first(), None | Some(b'/')) { b"" } else { b"/" };
    let url = join(scheme(flow), &host, &[slash, path].concat());
    Target { url, host }
}

/// Of an HTTP/2 request, by its pseudo-fields; `hosts` are the values of its Host fields.
pub(super) fn of_http2(
    flow: &Flow,
    scheme_: Option<&[u8]>,
    authority: Option<&[u8]>,
    path: Option<&[u8]>,
    hosts: &[&[u8]],
    doubts: &mut Vec<&'static str>,
) -> Target {
    let host = hosts.first().copied();
    if let (Some(authority), Some(host)) = (authority, host)
        && !authority.eq_ignore_ascii_case(host)
    {
        doubts.push("host-differs-from-target");
    }
    let host = authority.or(host).filter(|host| !host.is_empty());
    let host = host.map_or_else(|| flow.place(), <[u8]>::to_vec);
    let Some(path) = path else {
        // CONNECT has an authority alone.
        return Target { url: Raw::from(host.as_slice()), host };
    };
    let path = if path == b"*" { &b""[..] } else { path };
    Target { url: join(scheme_.unwrap_or(scheme(flow)), &host, path), host }
}

/// Whether the host that is asked for is the one that TLS was told; without a name nothing is said.
pub(super) fn is_told_to_tls(flow: &Flow, host: &[u8]) -> bool {
    let Some(name) = &flow.name else { return true };
    let host = limits::without_port(host);
    host.strip_suffix(b".").unwrap_or(host).eq_ignore_ascii_case(name.bytes())
}

fn scheme(flow: &Flow) -> &'static [u8] {
    match flow.transport {
        Transport::Tls => b"https",
        Transport::Plaintext => b"http",
    }
}

fn join(scheme: &[u8], host: &[u8], path: &[u8]) -> Raw {
    Raw::new([scheme, b"://", host, path].concat())
}

/// The authority of an absolute URI.
fn authority(target: &[u8]) -> Option<&[u8]> {
    let at = memchr::memmem::find(target, b"://")?;
    let scheme = &target[..at];
    let scheme_fits = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|&b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let rest = &target[at + 3..];
    let end = rest.iter().position(|b| b"/?#".contains(b)).unwrap_or(rest.len());
    let authority = &rest[..end];
    // Without the user information, which RFC 9110 §4.2.4 forbids and some send.
    let host =
        authority.iter().rposition(|&b| b == b'@').map_or(authority, |at| &authority[at + 1..]);
    scheme_fits.then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http1(method: &str, target: &str, hosts: &[&str]) -> (String, Vec<&'static str>) {
        let flow = Flow::plaintext(Some("10.0.0.1:8080".parse().unwrap()));
        let hosts: Vec<&[u8]> = hosts.iter().map(|host| host.as_bytes()).collect();
        let mut doubts = vec![];
        let target = of_http1(&flow, method.as_bytes(), target.as_bytes(), &hosts, &mut doubts);
        (String::from_utf8_lossy(target.url.bytes()).into_owned(), doubts)
    }

    #[test]
    fn each_form_of_a_target_gives_a_uri() {
        for (method, target, hosts, url, doubts) in [
            ("GET", "/a?b", &["h:1"][..], "http://h:1/a?b", &[][..]),
            ("GET", "/a", &[], "http://10.0.0.1:8080/a", &[]),
            ("GET", "http://h/a", &["h"], "http://h/a", &[]),
            ("GET", "http://u:p@h/a", &["h"], "http://u:p@h/a", &[]),
            ("GET", "http://h/a", &["other"], "http://h/a", &["host-differs-from-target"]),
            ("OPTIONS", "*", &["h"], "http://h", &[]),
            ("CONNECT", "h:443", &["h:443"], "h:443", &[]),
            ("GET", "/", &["a", "b"], "http://a/", &["host-repeated"]),
            ("GET", "no-slash", &["a"], "http://a/no-slash", &["target"]),
        ] {
            assert_eq!(http1(method, target, hosts), (url.to_owned(), doubts.to_vec()), "{target}");
        }
    }
}
