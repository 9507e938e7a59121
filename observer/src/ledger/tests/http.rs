//! HTTP calls and their answers as records.

use super::super::record::{MAX, fields, write};
use super::super::value::is_canonical;
use super::*;

fn body(content: HttpContent) -> HttpBody {
    HttpBody { media: Raw::from("a/b"), bytes: 100, content, kept: 90, ..HttpBody::default() }
}

fn lines(count: usize, value: &str) -> HttpFields {
    let line = (Raw::from("x"), Raw::from(value));
    HttpFields { lines: vec![line; count], bytes: 70_000, cut: true }
}

fn request(url: &str, fields: HttpFields, body: Option<HttpBody>) -> Entry {
    let run = RunId::generate();
    let request = HttpRequest {
        version: HttpVersion::Http2,
        method: Raw::from("POST"),
        url: Raw::from(url),
        fields,
        body,
        stream: Some(3),
        ambiguous: vec!["bare-lf"],
    };
    let http = Http {
        request,
        connection: Some(CallId { run, n: 1 }),
        peer: Some("[::1]:443".parse().unwrap()),
        transport: Transport::Tls,
    };
    let call = Call { action: Action::Http(Box::new(http)), ..super::call(run, 2, vec![]) };
    Entry::Call(Box::new(Masked::for_tests(call)))
}

fn answer(http: HttpAnswer) -> Entry {
    let call = CallId { run: RunId::generate(), n: 2 };
    let reason = Reason::Http { status: 404, note: None };
    let outcome = Outcome { status: Status::Failed, reason, duration_ns: Some(5) };
    let result = CallResult { call, kind: crate::model::Kind::Http, at: at(4), outcome };
    Entry::Answer(Box::new(Masked::for_tests(Answer { result, http: Box::new(http) })))
}

fn written(entry: &Entry) -> serde_json::Value {
    let mut bytes = vec![];
    write(&mut fields(entry), &mut bytes);
    assert!(bytes.len() <= MAX, "{}", bytes.len());
    let value = serde_json::from_slice(&bytes).unwrap();
    assert!(is_canonical(&value, &bytes));
    value
}

#[test]
fn a_request_and_its_answer_stand_in_records() {
    let pairs = HttpContent::Form(vec![(Raw::from("a"), Raw::from("b"))]);
    let record = written(&request("https://h/p", HttpFields::default(), Some(body(pairs))));
    assert_eq!(record["kind"], "http");
    assert_eq!(record["http"]["body"]["form"], serde_json::json!([["a", "b"]]));
    assert_eq!(record["http"]["peer"]["addr"], "::1");
    assert_eq!(record["http"]["ambiguous"], serde_json::json!(["bare-lf"]));
    assert_eq!(record["truncated"]["body"], serde_json::json!({ "kept": 90, "seen": 100 }));
    let response = HttpResponse {
        version: HttpVersion::Http11,
        status: 404,
        fields: HttpFields { lines: vec![(Raw::from("A"), Raw::from("b"))], ..Default::default() },
    };
    let record = written(&answer(HttpAnswer {
        head: Some(response),
        reset: Some(8),
        tunnel: Some(Tunnel::default()),
        grpc: Some(Grpc {
            status: Some(5),
            message_kept: 1024,
            message_bytes: 3000,
            ..Grpc::default()
        }),
        times: HttpTimes { first_byte: Some(7), ..HttpTimes::default() },
        ..HttpAnswer::default()
    }));
    assert_eq!(
        (&record["type"], &record["outcome"]["http_status"]),
        (&"result".into(), &404.into())
    );
    assert_eq!(record["http"]["headers"], serde_json::json!([["A", "b"]]));
    assert_eq!(record["http"]["reset"], "CANCEL");
    assert_eq!(
        record["truncated"]["grpc_message"],
        serde_json::json!({ "kept": 1024, "seen": 3000 })
    );
    assert_eq!(record["http"]["times"]["first_byte_ns"], 7);
}

#[test]
fn what_was_not_masked_is_never_shown() {
    let secret = HttpContent::Bytes(Raw::from("hunter2"));
    let record = written(&request("u", HttpFields::default(), Some(body(secret))));
    assert!(!record.to_string().contains("hunter2"));
    assert_eq!(record["http"]["body"]["left"], "not masked");
}

#[test]
fn whatever_is_long_is_shortened_to_the_record_and_said() {
    let long = "é\u{1}".repeat(40_000);
    let json = format!("{{\"a\":\"{}\"}}", "<mask:x:y:0123456789abcdef> ".repeat(4000));
    for content in [
        HttpContent::Text(Raw::from(long.as_str())),
        HttpContent::Text(Raw::new(vec![0xff; 100_000])),
        HttpContent::Json(Raw::from(json.as_str())),
        HttpContent::Form(vec![(Raw::from("k"), Raw::from("v")); 20_000]),
    ] {
        let record = written(&request("http://h/", lines(2, "v"), Some(body(content.clone()))));
        assert_eq!(record["truncated"]["body"]["why"], "the record's bound");
        assert!(record["http"]["headers"].as_array().is_some_and(|lines| lines.len() == 2));
        if let Some(text) = record["http"]["body"]["text"].as_str() {
            assert!(text.rfind("<mask:").is_none_or(|at| text[at..].contains('>')));
        }
        written(&answer(HttpAnswer {
            body: Some(body(content.clone())),
            sent: Some(body(content)),
            ..HttpAnswer::default()
        }));
    }
    for (url, fields) in [
        ("u".repeat(100_000), lines(0, "")),
        ("u".into(), lines(1000, &"v".repeat(100))),
        ("u".into(), lines(1, &"v".repeat(100_000))),
        ("u\u{1}".repeat(60_000), lines(1000, &"\u{1}".repeat(60))),
    ] {
        let record = written(&request(&url, fields, None));
        assert!(record["truncated"].is_object());
    }
}
