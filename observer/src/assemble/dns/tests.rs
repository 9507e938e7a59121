//! What comes of DNS events, one story a test.

use observer_common::{DnsEvent, EventKind, Header, NetEvent, dns_flag, dns_op, net_op, verdict};

use super::super::tests::run;
use super::super::{Event, Item};
use crate::model::{Action, DnsData, NameFrom, Raw, Reason, Status, Verdict};

const QUESTION: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01A\x07Example\0\0\x01\0\x01";
const ANSWER: &[u8] = b"\0\x07\x81\x80\0\x01\0\x02\0\0\0\0\x01A\x07Example\0\0\x01\0\x01\
    \xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01b\xc0\x0e\
    \xc0\x27\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01";

fn dns(time: u64, op: u32, flags: u32) -> DnsEvent {
    let header = Header { kind: EventKind::Dns as u32, time, pid: 42, ..Header::default() };
    DnsEvent { header, call: 7, port: 53, protocol: 17, op, flags, ..DnsEvent::default() }
}

fn connect(time: u64, addr: [u8; 4]) -> Event<'static> {
    let mut to = [0; 16];
    to[10..12].copy_from_slice(&[0xff, 0xff]);
    to[12..].copy_from_slice(&addr);
    let header = Header { kind: EventKind::Net as u32, time, ..Header::default() };
    let net = NetEvent { header, call: 8, addr: to, port: 443, protocol: 6, ..NetEvent::default() };
    Event::Net(NetEvent { op: net_op::CONNECT, ..net })
}

fn question(event: DnsEvent) -> Event<'static> {
    Event::Dns { event, message: QUESTION }
}

fn answer(event: DnsEvent) -> Event<'static> {
    Event::Dns { event, message: ANSWER }
}

fn names(items: &[Item]) -> Vec<Option<(Raw, NameFrom)>> {
    let of = |item: &Item| match item {
        Item::Call(call) => match &call.action {
            Action::Net(net) => Some(net.name.clone().map(|host| (host.name, host.from))),
            _ => None,
        },
        _ => None,
    };
    items.iter().filter_map(of).collect()
}

#[test]
fn an_answer_is_its_questions_result_and_names_what_is_connected_to() {
    let items = run(&[
        question(dns(10, dns_op::QUESTION, 0)),
        answer(dns(30, dns_op::ANSWER, dns_flag::TRUSTED)),
        connect(40, [192, 0, 2, 1]),
        connect(50, [192, 0, 2, 2]),
    ]);
    let Item::Call(asked) = &items[0] else { panic!("{items:?}") };
    let Action::Dns(dns) = &asked.action else { panic!("{asked:?}") };
    assert_eq!((&dns.name, dns.kind.as_str()), (&Raw::from("a.example"), "A"));
    assert_eq!(asked.outcome, None);
    let Item::Answered { at: 30, answered } = &items[1] else { panic!("{items:?}") };
    assert_eq!((answered.name.as_str(), answered.trusted), ("a.example", true));
    assert_eq!(answered.aliases, ["b.example"]);
    let Item::Resolved(answer) = &items[2] else { panic!("{items:?}") };
    assert_eq!(answer.result.call, asked.id);
    assert_eq!(answer.result.outcome.duration_ns, Some(20));
    assert!(answer.trusted && answer.records.len() == 2);
    assert_eq!(answer.records[0].data, DnsData::Name(Raw::from("b.example")));
    let known = Some((Raw::from("a.example"), NameFrom::Dns));
    assert_eq!(names(&items), [known, None]);
}

#[test]
fn an_answer_without_trust_names_with_a_doubt() {
    let items = run(&[answer(dns(30, dns_op::ANSWER, 0)), connect(40, [192, 0, 2, 1])]);
    let doubted = Some((Raw::from("a.example"), NameFrom::UntrustedDns));
    assert_eq!(names(&items), [doubted]);
}

#[test]
fn a_question_without_an_answer_ends_as_unknown_in_time() {
    let later = DnsEvent { call: 9, ..dns(31_000_000_000, dns_op::QUESTION, 0) };
    let items = run(&[question(dns(10, dns_op::QUESTION, 0)), question(later)]);
    let Item::Call(first) = &items[0] else { panic!("{items:?}") };
    let Item::Result(end) = &items[2] else { panic!("{items:?}") };
    assert_eq!((end.call, end.outcome.status), (first.id, Status::Unknown));
    assert!(matches!(&items[3], Item::Result(_)), "the other ends with the recording");
}

#[test]
fn what_can_not_be_read_has_no_name_and_awaits_nothing() {
    let event = DnsEvent {
        len: 77,
        verdict: verdict::DENY_UNREAD,
        ..dns(10, dns_op::QUESTION, dns_flag::UNREAD)
    };
    let items = run(&[question(event)]);
    let Item::Call(call) = &items[0] else { panic!("{items:?}") };
    let Action::Dns(dns) = &call.action else { panic!("{call:?}") };
    assert_eq!((dns.unread, dns.name.is_empty()), (Some(77), true));
    assert_eq!(call.verdict, Verdict::Denied { rule: "unread-name".to_owned() });
    assert_eq!(call.outcome.as_ref().map(|o| o.reason.clone()), Some(Reason::Errno(1)));
}
