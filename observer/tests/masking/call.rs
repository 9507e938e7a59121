//! A call with a text in one of its fields, and every text of a call.

use std::net::SocketAddr;

use observer::model::{
    Action, Call, CallId, Cut, CutField, Dns, Door, Exec, HostName, Http, HttpBody, HttpContent,
    HttpFields, HttpRequest, HttpVersion, Image, NameFrom, Net, NetOp, OtherSocket, Process,
    ProcessId, Protocol, Raw, RunId, Stamp, System, Transport, Unix, UnixAddress, UnixOp, Verdict,
};

fn unix(address: UnixAddress) -> Action {
    Action::Unix(Unix { op: UnixOp::Connect, address })
}

pub(super) fn call(field: usize, text: &str, cut: bool) -> Call {
    let here = |n: usize| if n == field { Raw::from(text) } else { Raw::from("plain") };
    let fields = [CutField::Argv, CutField::Path, CutField::Filename, CutField::Cwd];
    let cuts = fields.get(field).filter(|_| cut).map(|&field| Cut {
        field,
        seen: None,
        kept: text.len() as u64,
        rest: None,
    });
    Call {
        id: CallId { run: RunId::generate(), n: 1 },
        at: Stamp { mono_ns: 1, wall_ns: 1 },
        parent: None,
        verdict: Verdict::Allowed { rule: None },
        process: Process {
            id: ProcessId([0; 16]),
            pid: 1,
            ppid: 1,
            uid: 0,
            exe: here(5),
            comm: here(6),
            cgroup: here(7),
            container: None,
        },
        action: match field {
            8 => unix(UnixAddress::Path(here(8))),
            9 => unix(UnixAddress::Abstract(here(9))),
            16 => {
                Action::System(System { door: Door::Signal, target: Some((1, here(16))), value: 9 })
            }
            17 => Action::Dns(Dns {
                name: here(17),
                kind: "A".to_owned(),
                server: SocketAddr::from(([127, 0, 0, 53], 53)),
                protocol: Protocol::UDP,
                cookie: 1,
                unread: None,
            }),
            18 => Action::Net(Net {
                op: NetOp::Connect,
                protocol: Protocol::TCP,
                peer: None,
                local: None,
                name: Some(HostName { name: here(18), from: NameFrom::Dns }),
                cookie: 1,
            }),
            10.. => Action::Http(Box::new(http(&here))),
            _ => Action::Exec(Exec {
                path: here(1),
                filename: here(2),
                interpreter: Some(here(4)),
                argv: vec![Raw::from("tool"), here(0)],
                cwd: here(3),
                image: Image::File,
            }),
        },
        outcome: None,
        cuts: cuts.into_iter().collect(),
    }
}

/// A request with the text in one of its places.
fn http(here: &dyn Fn(usize) -> Raw) -> Http {
    let body = HttpBody {
        media: here(14),
        coding: Raw::default(),
        content: HttpContent::Bytes(here(15)),
        whole: true,
        ..HttpBody::default()
    };
    let lines = vec![(here(12), Raw::from("plain")), (Raw::from("X-Note"), here(13))];
    let request = HttpRequest {
        version: HttpVersion::Http11,
        method: here(10),
        url: here(11),
        fields: HttpFields { lines, bytes: 0, cut: false },
        body: Some(body),
        stream: None,
        ambiguous: vec![],
    };
    Http { request, connection: None, peer: None, transport: Transport::Plaintext }
}

/// Every text of a call that came from an agent. A new field of these types stops this from
/// compiling until it is here.
pub(super) fn texts(call: &Call) -> Vec<u8> {
    let Call { id: _, at: _, parent: _, verdict: _, process, action, outcome: _, cuts: _ } = call;
    let Process { id: _, pid: _, ppid: _, uid: _, exe, comm, cgroup, container: _ } = process;
    let mut all = vec![exe, comm, cgroup];
    match action {
        Action::Exec(exec) => {
            let Exec { path, filename, interpreter, argv, cwd, image: _ } = exec;
            all.extend([path, filename, cwd]);
            all.extend(interpreter);
            all.extend(argv);
        }
        Action::Net(net) => {
            let Net { op: _, protocol: _, peer: _, local: _, name, cookie: _ } = net;
            all.extend(name.iter().map(|host| &host.name));
        }
        Action::Dns(dns) => {
            let Dns { name, kind: _, server: _, protocol: _, cookie: _, unread: _ } = dns;
            all.push(name);
        }
        Action::Tls(tls) => {
            if let Some(hello) = &tls.hello {
                all.extend(&hello.sni);
                all.extend(&hello.alpn);
            }
        }
        Action::Http(http) => {
            let Http { request, connection: _, peer: _, transport: _ } = &**http;
            let HttpRequest { version: _, method, url, fields, body, stream: _, ambiguous: _ } =
                request;
            let HttpFields { lines, bytes: _, cut: _ } = fields;
            all.extend([method, url]);
            all.extend(lines.iter().flat_map(|(name, value)| [name, value]));
            if let Some(body) = body {
                let HttpBody { media, coding, bytes: _, missed: _, content, kept: _, whole: _ } =
                    body;
                all.extend([media, coding]);
                match content {
                    HttpContent::Bytes(raw) | HttpContent::Text(raw) | HttpContent::Json(raw) => {
                        all.push(raw);
                    }
                    HttpContent::Form(fields) => {
                        all.extend(fields.iter().flat_map(|(name, value)| [name, value]));
                    }
                    HttpContent::Parts(_) => panic!("no parts were given"),
                    HttpContent::Left { why: _, hmac: _ } => {}
                }
            }
        }
        Action::Unix(Unix { op: _, address }) => match address {
            UnixAddress::Path(name) | UnixAddress::Abstract(name) => all.push(name),
            UnixAddress::Unnamed | UnixAddress::Unread => {}
        },
        Action::Socket(OtherSocket { family: _, protocol: _ }) => {}
        Action::System(System { door: _, target, value: _ }) => {
            all.extend(target.as_ref().map(|(_, comm)| comm));
        }
    }
    all.iter().flat_map(|raw| raw.bytes().iter().copied().chain([b'\n'])).collect()
}
