//! DNS: questions as calls, answers as their results, and the names that addresses go by.

mod message;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use observer_common::{DnsEvent, dns_flag, dns_op};

use super::{Assembler, Item, Names, Open, verdict_of};
use crate::model::{
    Action, Answered, Call, CallResult, Dns, DnsAnswer, DnsData, DnsRecord, HostName, Kind,
    NameFrom, Outcome, Protocol, Raw, Reason, Status, Verdict,
};
use message::{Data, Message, addresses, kind_word, rcode_word};

const EPERM: i32 = 1;
/// Questions that wait for an answer. The oldest is told as unanswered when another comes.
const OPEN: usize = 16_384;
/// How long one waits, nanoseconds: longer than resolvers' own patience (resolv.conf(5): at most
/// 30 seconds).
const PATIENCE: u64 = 30_000_000_000;
/// Addresses whose name is remembered. The oldest go first: their connects have no `name`.
const ADDRESSES: usize = 65_536;

/// What is remembered of DNS.
#[derive(Default)]
pub(super) struct Lookups {
    open: HashMap<u64, Open>,
    /// The kernel's ids of `open`, the oldest first; some are answered already.
    order: VecDeque<u64>,
    names: HashMap<IpAddr, HostName>,
    seen: VecDeque<IpAddr>,
}

impl Lookups {
    /// The name that an address goes by.
    pub(super) fn name_of(&self, addr: IpAddr) -> Option<HostName> {
        self.names.get(&addr.to_canonical()).cloned()
    }

    fn remember(&mut self, addr: IpAddr, name: HostName) {
        if self.names.insert(addr, name).is_none() {
            self.seen.push_back(addr);
        }
        if self.seen.len() > ADDRESSES
            && let Some(oldest) = self.seen.pop_front()
        {
            self.names.remove(&oldest);
        }
    }

    /// The questions whose time is over at `now`, or that are too many.
    fn expired(&mut self, now: u64) -> Vec<Open> {
        let mut gone = vec![];
        while let Some(id) = self.order.front() {
            match self.open.get(id) {
                Some(open)
                    if self.open.len() <= OPEN && now < open.began.saturating_add(PATIENCE) =>
                {
                    break;
                }
                _ => {
                    gone.extend(self.open.remove(id));
                    self.order.pop_front();
                }
            }
        }
        gone
    }

    /// All that wait.
    pub(super) fn drain(&mut self) -> Vec<Open> {
        self.order.clear();
        self.open.drain().map(|(_, open)| open).collect()
    }
}

impl Assembler {
    pub(super) fn dns(
        &mut self,
        event: &DnsEvent,
        bytes: &[u8],
        names: &mut dyn Names,
        out: &mut Vec<Item>,
    ) {
        match event.op {
            dns_op::ANSWER => self.dns_answer(event, bytes, out),
            _ => self.dns_question(event, bytes, names, out),
        }
        self.settle_dns(event.header.time, out);
    }

    fn dns_question(
        &mut self,
        event: &DnsEvent,
        bytes: &[u8],
        names: &mut dyn Names,
        out: &mut Vec<Item>,
    ) {
        let read = event.flags & dns_flag::UNREAD == 0;
        let question = message::read(bytes).filter(|_| read).and_then(|message| message.question);
        let verdict = verdict_of(event.verdict, event.rule, names);
        let outcome = if matches!(verdict, Verdict::Denied { .. }) {
            Some((Status::Failed, Reason::Errno(EPERM)))
        } else if question.is_none() {
            Some((Status::Unknown, Reason::Unseen("no answer is awaited: it could not be read")))
        } else {
            None
        };
        let unread = question.is_none().then_some(event.len);
        let (name, kind) = question.map(|(name, kind)| (name, kind_word(kind))).unwrap_or_default();
        let call = Call {
            id: self.call_id(),
            at: self.stamp(event.header.time),
            parent: self.parent(event.header.exec),
            verdict,
            process: self.process(&event.header, names),
            action: Action::Dns(Dns {
                name: Raw::new(name),
                kind,
                server: server(event),
                protocol: Protocol(u8::try_from(event.protocol).unwrap_or(u8::MAX)),
                cookie: event.cookie,
                unread,
            }),
            outcome: outcome.map(|(status, reason)| Outcome { status, reason, duration_ns: None }),
            cuts: vec![],
        };
        if call.outcome.is_none() {
            let open = Open { call: call.id, kind: Kind::Dns, began: event.header.time };
            self.lookups.open.insert(event.call, open);
            self.lookups.order.push_back(event.call);
        }
        out.push(Item::Call(Box::new(call)));
    }

    fn dns_answer(&mut self, event: &DnsEvent, bytes: &[u8], out: &mut Vec<Item>) {
        let Some(message) = message::read(bytes) else { return };
        let trusted = event.flags & dns_flag::TRUSTED != 0;
        if let Some((name, _)) = &message.question {
            let from = if trusted { NameFrom::Dns } else { NameFrom::UntrustedDns };
            let server = server(event).ip();
            for (addr, aliases) in addresses(&message) {
                self.lookups.remember(addr, HostName { name: Raw::from(name.as_str()), from });
                // The kernel reads no name with a dot inside a label.
                if aliases.iter().chain([name]).all(|name| !name.contains(r"\.")) {
                    let name = name.clone();
                    let answered = Arc::new(Answered { addr, name, aliases, server, trusted });
                    out.push(Item::Answered { at: event.header.time, answered });
                }
            }
        }
        let Some(open) = self.lookups.open.remove(&event.call) else { return };
        let (status, reason) = match message.rcode {
            0 => (Status::Ok, Reason::None),
            rcode => (Status::Failed, Reason::Rcode(rcode_word(rcode))),
        };
        let duration_ns = Some(event.header.time.saturating_sub(open.began));
        let at = self.stamp(event.header.time);
        let result = CallResult {
            call: open.call,
            kind: open.kind,
            at,
            outcome: Outcome { status, reason, duration_ns },
        };
        out.push(Item::Resolved(Box::new(answer(result, trusted, message))));
    }

    /// Tells the questions that nobody answered.
    pub(super) fn settle_dns(&mut self, now: u64, out: &mut Vec<Item>) {
        let at = self.stamp(now);
        for open in self.lookups.expired(now) {
            let outcome = Outcome {
                status: Status::Unknown,
                reason: Reason::Unseen("no answer was seen"),
                duration_ns: None,
            };
            out.push(Item::Result(CallResult { call: open.call, kind: open.kind, at, outcome }));
        }
    }
}

fn answer(result: CallResult, trusted: bool, message: Message) -> DnsAnswer {
    let more = message.answers_seen.saturating_sub(message.answers.len() as u16);
    let records = message.answers.into_iter().map(|record| DnsRecord {
        kind: kind_word(record.kind),
        ttl: record.ttl,
        data: match record.data {
            Data::Addr(addr) => DnsData::Addr(addr),
            Data::Name(name) => DnsData::Name(Raw::new(name)),
            Data::Other(len) => DnsData::Other(len),
        },
    });
    DnsAnswer { result, trusted, truncated: message.truncated, records: records.collect(), more }
}

fn server(event: &DnsEvent) -> SocketAddr {
    let ip = IpAddr::V6(Ipv6Addr::from(event.server)).to_canonical();
    SocketAddr::new(ip, u16::try_from(event.port).unwrap_or(0))
}
