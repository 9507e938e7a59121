//! What a policy says of connections that were open when it came to decide: those of before a
//! reload, or before the recorder was there.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::Bindings;
use crate::policy::{Attempt, Decision, Known, Policy};
use crate::sockets::TCP;

/// A policy, as it decides.
pub struct Ruled {
    /// The policy.
    pub policy: Policy,
    /// Whose answers it believes.
    pub resolvers: Vec<IpAddr>,
    /// Its count in the run, from 1.
    pub generation: u32,
}

/// What it says of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It goes on.
    Allowed,
    /// It is denied, by this rule.
    Denied(String),
    /// Names would decide, and none is known.
    Unknown,
}

impl Ruled {
    /// The names that answers gave to addresses.
    pub(super) fn names(&self, bindings: Option<&Bindings>) -> HashMap<IpAddr, Vec<Known>> {
        let mut out: HashMap<IpAddr, Vec<Known>> = HashMap::new();
        if !self.policy.reads_names() {
            return out;
        }
        for answered in bindings.map(Bindings::all).unwrap_or_default() {
            out.entry(answered.addr).or_default().push(Known {
                name: answered.name.clone(),
                aliases: answered.aliases.clone(),
                trusted: answered.trusted && self.resolvers.contains(&answered.server),
            });
        }
        out
    }

    /// What it says of a connection to `peer`. `asked`: the name that was asked for on it, if any was;
    /// none where nobody saw how it began.
    pub(super) fn word(
        &self,
        (peer, protocol): (SocketAddr, u8),
        asked: Option<Option<&str>>,
        names: Vec<Known>,
    ) -> Word {
        let (addr, port) = (peer.ip(), peer.port());
        let by_address = self.policy.judge(&Attempt::Net { addr, protocol, port, names });
        if by_address.denied {
            let named = by_address.decision == Decision::DefaultDeny && self.policy.reads_names();
            return if named && asked.is_none() {
                Word::Unknown
            } else {
                self.denied(by_address.decision)
            };
        }
        let Some(name) = asked.flatten().filter(|_| protocol == TCP) else { return Word::Allowed };
        let by_name = Attempt::Asked { addr, port, name: Some(name.to_owned()) };
        match self.policy.judge(&by_name) {
            judgement if judgement.denied => self.denied(judgement.decision),
            _ => Word::Allowed,
        }
    }

    fn denied(&self, decision: Decision) -> Word {
        let rule = decision.rule().and_then(|rule| self.policy.id(rule));
        Word::Denied(rule.unwrap_or("default").to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UDP: u8 = 17;

    fn ruled(text: &str) -> Ruled {
        let text = format!("version = 1\n{text}");
        let resolvers = vec![[192, 0, 2, 53].into()];
        Ruled { policy: Policy::parse(&text).unwrap(), resolvers, generation: 2 }
    }

    fn word(text: &str, asked: Option<Option<&str>>, names: Vec<Known>) -> Word {
        ruled(text).word(("192.0.2.1:443".parse().unwrap(), TCP), asked, names)
    }

    const DENY: &str = "default = \"allow\"\n[[deny]]\nid = \"no\"\n";

    #[test]
    fn an_address_that_is_denied_ends_whoever_began_it() {
        let text = format!("{DENY}net = {{ to = \"192.0.2.0/24\" }}\n");
        for asked in [None, Some(None), Some(Some("a.test"))] {
            assert_eq!(word(&text, asked, vec![]), Word::Denied("no".to_owned()));
        }
        let other = ruled(&text).word(("192.0.3.1:443".parse().unwrap(), UDP), None, vec![]);
        assert_eq!(other, Word::Allowed);
    }

    #[test]
    fn a_name_that_was_asked_for_or_that_led_there_is_held() {
        let text = format!("{DENY}net = {{ host = \"bad.test\" }}\n");
        assert_eq!(word(&text, Some(Some("bad.test")), vec![]), Word::Denied("no".to_owned()));
        assert_eq!(word(&text, Some(Some("good.test")), vec![]), Word::Allowed);
        let led = vec![Known::plain("bad.test")];
        assert_eq!(word(&text, Some(None), led), Word::Denied("no".to_owned()));
        assert_eq!(word(&text, None, vec![]), Word::Allowed);
    }

    #[test]
    fn where_names_allow_and_none_is_known_nothing_is_ended() {
        let text = "default = \"deny\"\n[[allow]]\nid = \"good\"\nnet = { host = \"good.test\" }\n";
        let led = || vec![Known::plain("good.test")];
        assert_eq!(word(text, None, vec![]), Word::Unknown);
        assert_eq!(word(text, Some(None), vec![]), Word::Denied("default".to_owned()));
        assert_eq!(word(text, Some(None), led()), Word::Allowed);
        let elsewhere = word(text, Some(Some("bad.test")), led());
        assert_eq!(elsewhere, Word::Denied("default".to_owned()), "a shared address is no way in");
        assert_eq!(word("default = \"deny\"\n", None, vec![]), Word::Denied("default".to_owned()));
    }

    #[test]
    fn what_is_not_enforced_ends_nothing() {
        let rule = format!("{DENY}enforce = false\nnet = {{ to = \"192.0.2.1\" }}\n");
        assert_eq!(word(&rule, Some(None), vec![]), Word::Allowed);
        let all = format!("enforce = false\n{DENY}net = {{ to = \"192.0.2.1\" }}\n");
        assert_eq!(word(&all, Some(None), vec![]), Word::Allowed);
    }
}
