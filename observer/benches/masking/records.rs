//! What masking one record costs, for the calls that agents make most.

use std::time::Instant;

use observer::mask::Masker;
use observer::model::{
    Action, Call, CallId, Exec, HostName, Http, HttpBody, HttpContent, HttpFields, HttpRequest,
    HttpVersion, Image, NameFrom, Net, NetOp, Process, ProcessId, Protocol, Raw, RunId, Stamp,
    Transport, Verdict,
};

/// Records in a round, and rounds.
const CALLS: u32 = 500;
const ROUNDS: usize = 15;

/// Makes one of a kind of calls.
type Kind = fn(u32) -> Action;

/// Prints a row a kind of call: the best of the rounds.
pub(crate) fn report(mut masker: impl FnMut() -> Masker) {
    println!("{:<44} {:>12}", "a record", "ns");
    let kinds: [(&str, Kind); 3] =
        [("exec, eight arguments", exec), ("connect to a name", connect), ("HTTP request", http)];
    for (name, action) in kinds {
        let mut masker = masker();
        let round = |_| {
            let calls: Vec<Call> = (0..CALLS).map(|n| call(action(n))).collect();
            let begun = Instant::now();
            for call in calls {
                std::hint::black_box(masker.call(call));
            }
            begun.elapsed().as_nanos() / u128::from(CALLS)
        };
        println!("{name:<44} {:>12}", (0..ROUNDS).map(round).min().unwrap_or_default());
    }
}

fn call(action: Action) -> Call {
    Call {
        id: CallId { run: RunId::generate(), n: 1 },
        at: Stamp { mono_ns: 1, wall_ns: 1 },
        parent: None,
        verdict: Verdict::Allowed { rule: None },
        process: Process {
            id: ProcessId([0; 16]),
            pid: 4242,
            ppid: 4200,
            uid: 1000,
            exe: Raw::from("/usr/bin/node"),
            comm: Raw::from("node"),
            cgroup: Raw::from("/observer/01a20f96-9763-76fe-a785-9a37f677be63"),
            container: None,
        },
        action,
        outcome: None,
        cuts: vec![],
    }
}

fn exec(n: u32) -> Action {
    let last = format!("HEAD~{n}");
    let argv = ["git", "-C", "/home/agent/work", "show", "--stat", &last, "--", "src/main.rs"];
    Action::Exec(Exec {
        path: Raw::from("/usr/bin/git"),
        filename: Raw::from("/usr/bin/git"),
        interpreter: None,
        argv: argv.map(Raw::from).to_vec(),
        cwd: Raw::from("/home/agent/work"),
        image: Image::File,
    })
}

fn connect(_: u32) -> Action {
    Action::Net(Net {
        op: NetOp::Connect,
        protocol: Protocol::TCP,
        peer: None,
        local: None,
        name: Some(HostName { name: Raw::from("api.example.com"), from: NameFrom::Dns }),
        cookie: 1,
    })
}

/// With eight fields, one of them a secret, and a body of some 600 bytes.
fn http(n: u32) -> Action {
    let lines = [
        ("Host", "api.example.com"),
        ("Accept", "application/json"),
        ("Accept-Encoding", "gzip, deflate, br"),
        ("Authorization", "Bearer k3J9xQ0fTz8LmW2aVb7YpRs4Hd6GnCe1UiOq"),
        ("Content-Type", "application/json"),
        ("Content-Length", "612"),
        ("User-Agent", "example-sdk-python/1.24.0 (linux; x86_64) cpython/3.12.4"),
        ("X-Stainless-Retry-Count", "0"),
    ];
    let text = "read src/main.rs and say what the parser keeps in its state; then run the tests";
    let body = format!(
        "{{\"model\":\"example-large-{n}\",\"max_tokens\":4096,\"stream\":true,\"messages\":[{{\"role\":\
         \"system\",\"content\":\"{text}\"}},{{\"role\":\"user\",\"content\":\"{text}\"}}],\"tools\":[{{\
         \"name\":\"read_file\",\"description\":\"{text}\",\"input_schema\":{{\"type\":\"object\",\
         \"properties\":{{\"path\":{{\"type\":\"string\"}},\"limit\":{{\"type\":\"integer\"}}}}}}}}]}}"
    );
    let body = HttpBody {
        media: Raw::from("application/json"),
        content: HttpContent::Bytes(Raw::new(body)),
        whole: true,
        ..HttpBody::default()
    };
    let request = HttpRequest {
        version: HttpVersion::Http11,
        method: Raw::from("POST"),
        url: Raw::from("https://api.example.com/v1/messages?beta=true"),
        fields: HttpFields {
            lines: lines.map(|(name, value)| (Raw::from(name), Raw::from(value))).to_vec(),
            ..HttpFields::default()
        },
        body: Some(body),
        stream: None,
        ambiguous: vec![],
    };
    Action::Http(Box::new(Http {
        request,
        connection: None,
        peer: None,
        transport: Transport::Tls,
    }))
}
