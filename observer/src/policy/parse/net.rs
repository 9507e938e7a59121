//! `net = { to = […] or host = […], port = […], protocol = … }`.

use std::net::IpAddr;

use toml::Spanned;
use toml::de::DeValue;

use super::{host, value};
use crate::policy::compile::RAW;
use crate::policy::problem::{Finding, Report, finding, quote};
use crate::policy::rule::{Net, NetScope};

const PROTOCOLS: [(&str, u8); 4] = [("raw", RAW), ("tcp", 6), ("udp", 17), ("udplite", 136)];

/// Protocols that people know, and whose destinations no hook of the kernel decides.
const UNHELD: [&str; 5] = ["dccp", "icmp", "icmpv6", "mptcp", "sctp"];

/// Reads a `net` scope; none where something in it is wrong.
pub(super) fn scope(
    report: &mut Report<'_>,
    rule: Option<&str>,
    found: &Spanned<DeValue<'_>>,
) -> Option<NetScope> {
    let before = report.problems.len();
    let table = value::table(report, rule, found, "net", "net = { to = [\"192.0.2.0/24\"] }")?;
    value::known(report, rule, table, "`net`", &["to", "port", "protocol", "host"]);
    if !["to", "host", "port", "protocol"].iter().any(|key| table.contains_key(*key)) {
        report.problem(
            rule,
            found.span(),
            finding(
                "`net` says nothing",
                "add `to`, `host`, `port` or `protocol`; every destination is \
                 `to = [\"0.0.0.0/0\", \"::/0\"]`",
            ),
        );
    }
    let mut scope = NetScope::default();
    if let Some(to) = table.get("to") {
        scope.to = Some(prefixes(report, rule, to));
    }
    if let Some(found) = table.get("host") {
        scope.hosts = host::hosts(report, rule, found);
        if scope.to.is_some() {
            report.problem(
                rule,
                found.span(),
                finding(
                    "the rule has both `to` and `host`",
                    "give each a rule of its own: a name is held wherever it leads, an address \
                     whatever it is called",
                ),
            );
        }
    }
    if let Some(port) = table.get("port") {
        scope.ports = ports(report, rule, port);
    }
    if let Some(protocol) = table.get("protocol") {
        scope.protocols = protocols(report, rule, protocol);
        let held = scope.to.is_some() || !scope.hosts.is_empty() || !scope.ports.is_empty();
        if scope.protocols.contains(&RAW) && held {
            report.problem(
                rule,
                protocol.span(),
                finding(
                    "`protocol = \"raw\"` can't be held to an address, a name or a port: a raw \
                     socket is decided when it is opened, before it has any",
                    "give \"raw\" a rule of its own, without `to`, `host` and `port`",
                ),
            );
        }
    }
    (report.problems.len() == before).then_some(scope)
}

fn prefixes(report: &mut Report<'_>, rule: Option<&str>, found: &Spanned<DeValue<'_>>) -> Vec<Net> {
    let items = value::one_or_many(report, rule, found, "to");
    let mut nets = Vec::with_capacity(items.len());
    for (span, text) in value::strings(report, rule, items, "to") {
        match prefix(text) {
            Ok((net, exact)) => {
                if !exact {
                    let message = format!("{} has host bits set; it is read as {net}", quote(text));
                    report.note(rule, span, finding(message, format!("write \"{net}\"")));
                }
                nets.push(net);
            }
            Err(found) => report.problem(rule, span, found),
        }
    }
    nets.sort_unstable();
    nets.dedup();
    nets
}

/// Reads an address or a CIDR prefix; says too whether its host bits were zero.
fn prefix(text: &str) -> Result<(Net, bool), Finding> {
    let (addr, len) = match text.split_once('/') {
        Some((addr, len)) => (addr, Some(len)),
        None => (text, None),
    };
    let Ok(parsed) = addr.parse::<IpAddr>() else {
        let message = format!("`to` holds {}, which is no IP address or prefix", quote(text));
        return Err(finding(
            message,
            "write it as 192.0.2.1, 192.0.2.0/24, 2001:db8::1 or 2001:db8::/32; names stand in `host`",
        ));
    };
    let mapped = matches!(parsed, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    let (offset, most) = if parsed.is_ipv4() { (96, 32) } else { (0, 128) };
    let len = match len {
        None => most,
        Some(len) => match len.parse::<u8>() {
            Ok(n) if n <= most && len.bytes().all(|byte| byte.is_ascii_digit()) => n,
            _ => {
                let message = format!("{} has a bad prefix length", quote(text));
                let help = format!("the length of this family is 0 to {most}");
                return Err(finding(message, help));
            }
        },
    };
    if mapped && len < 96 {
        let message = format!("{} is a v4-mapped address with a length below 96", quote(text));
        return Err(finding(
            message,
            "its length counts from the start of the IPv6 address: write the IPv4 prefix itself, \
             such as 10.0.0.0/8",
        ));
    }
    let bits = Net::bits_of(parsed);
    let net = Net::around(bits, offset + len);
    Ok((net, net.bits == bits))
}

fn ports(
    report: &mut Report<'_>,
    rule: Option<&str>,
    found: &Spanned<DeValue<'_>>,
) -> Vec<(u16, u16)> {
    let items = value::one_or_many(report, rule, found, "port");
    let mut ranges: Vec<(u16, u16)> = Vec::with_capacity(items.len());
    for item in items {
        match range(item.get_ref()) {
            Some(range) => ranges.push(range),
            None => {
                let shown = match item.get_ref().as_str() {
                    Some(text) => quote(text),
                    None => value::integer(item.get_ref())
                        .map_or_else(|| item.get_ref().type_str().to_owned(), |n| n.to_string()),
                };
                let message = format!("`port` holds {shown}, which is no port or range of ports");
                let help = "write 443 without quotes, or \"8000-8010\" with them; ports are 1 to \
                            65535, the lower first";
                report.problem(rule, item.span(), finding(message, help));
            }
        }
    }
    ranges.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
    for (low, high) in ranges {
        match merged.last_mut() {
            Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
            _ => merged.push((low, high)),
        }
    }
    merged
}

fn range(value: &DeValue<'_>) -> Option<(u16, u16)> {
    let port = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse::<u16>().ok().filter(|port| *port != 0) } else { None }
    };
    if let Some(text) = value.as_str() {
        let (low, high) = text.split_once('-')?;
        let (low, high) = (port(low)?, port(high)?);
        return (low <= high).then_some((low, high));
    }
    let port = u16::try_from(value::integer(value)?).ok().filter(|port| *port != 0)?;
    Some((port, port))
}

fn protocols(report: &mut Report<'_>, rule: Option<&str>, found: &Spanned<DeValue<'_>>) -> Vec<u8> {
    let items = value::one_or_many(report, rule, found, "protocol");
    let mut numbers = Vec::with_capacity(items.len());
    for (span, text) in value::strings(report, rule, items, "protocol") {
        match PROTOCOLS.iter().find(|(name, _)| *name == text) {
            Some((_, number)) => numbers.push(*number),
            None if UNHELD.contains(&text) => {
                let message = format!(
                    "`protocol` {} can't be enforced by destination: its sockets are decided when \
                     they are opened",
                    quote(text)
                );
                let help = "write \"raw\", which means every socket but TCP and UDP, in a rule \
                            without `to` and `port`";
                report.problem(rule, span, finding(message, help));
            }
            None => {
                let message = format!("`protocol` holds {}, which is not known", quote(text));
                let names = PROTOCOLS.map(|(name, _)| name).join(", ");
                report.problem(rule, span, finding(message, format!("write one of {names}")));
            }
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}
