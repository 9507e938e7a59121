//! `net = { host = […] }`, and the `resolvers` whose answers bind addresses to names.

use std::net::IpAddr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::value;
use crate::policy::host::{Host, flaw};
use crate::policy::problem::{Finding, Report, finding, quote};

/// Resolvers that a policy may name; the host's own take the rest of the table's room.
const MAX_RESOLVERS: usize = 48;

/// Reads the names of a rule.
pub(super) fn hosts(
    report: &mut Report<'_>,
    rule: Option<&str>,
    found: &Spanned<DeValue<'_>>,
) -> Vec<Host> {
    let items = value::one_or_many(report, rule, found, "host");
    let mut hosts = Vec::with_capacity(items.len());
    for (span, text) in value::strings(report, rule, items, "host") {
        match host(text) {
            Ok(host) => hosts.push(host),
            Err(found) => report.problem(rule, span, found),
        }
    }
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

/// Reads a name, or `*.` and a name.
fn host(text: &str) -> Result<Host, Finding> {
    const FORM: &str = "write it as \"api.example.com\", or \"*.example.com\" for every name below \
                        example.com";
    let no_name = |why: &str| finding(format!("`host` holds {}, {why}", quote(text)), FORM);
    if !text.is_ascii() {
        let message = format!("`host` holds {}, which is not ASCII", quote(text));
        let help = "write it as it goes over the wire, each such label as its `xn--` form (IDNA \
                    A-label)";
        return Err(finding(message, help));
    }
    let (name, below) = match text.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (text, false),
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    if name.parse::<IpAddr>().is_ok() || name.starts_with('[') {
        let message = format!("`host` holds {}, which is an address", quote(text));
        return Err(finding(message, "addresses stand in `to`, in a rule of their own"));
    }
    if name.contains('*') {
        return Err(no_name("where `*` stands for something else than whole labels in front"));
    }
    if name.contains([':', '/', '@']) {
        return Err(no_name("which is more than a name: scheme, port and path have no place here"));
    }
    match flaw(&name) {
        Some(what) => Err(no_name(what)),
        None => Ok(Host { name, below }),
    }
}

/// Reads the top level's `resolvers`: addresses whose answers may bind names.
pub(super) fn resolvers(report: &mut Report<'_>, root: &DeTable<'_>) -> Vec<IpAddr> {
    let Some(found) = root.get("resolvers") else { return Vec::new() };
    let items = value::one_or_many(report, None, found, "resolvers");
    let mut resolvers = Vec::with_capacity(items.len());
    for (span, text) in value::strings(report, None, items, "resolvers") {
        match text.parse::<IpAddr>() {
            Ok(addr) => resolvers.push(addr.to_canonical()),
            Err(_) => {
                let message = format!("`resolvers` holds {}, which is no IP address", quote(text));
                let help = "write the resolvers' addresses: `resolvers = [\"192.0.2.53\"]`; they \
                            are asked at port 53";
                report.problem(None, span, finding(message, help));
            }
        }
    }
    resolvers.sort_unstable();
    resolvers.dedup();
    if resolvers.len() > MAX_RESOLVERS {
        let message = format!("`resolvers` names more than {MAX_RESOLVERS}");
        report.problem(None, found.span(), finding(message, "name those that the run asks"));
    }
    resolvers
}
