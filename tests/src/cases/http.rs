//! HTTP: each request that is made is one record, with its answer, whoever makes it.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use crate::harness::{Ctx, Ledger, Recorded, Run, Web, at, same, skip};

pub(super) const CASES: &[(&str, Case)] = &[
    ("http-of-curl-is-recorded-and-masked", curl),
    ("http-of-wget-is-recorded", |ctx| {
        asks(ctx, "wget", |url| vec!["--quiet".into(), "--output-document=-".into(), url.into()])
    }),
    ("http-of-python-is-recorded", |ctx| {
        asks(ctx, "python3", |url| {
            let code = format!("import urllib.request as u; u.urlopen('{url}').read()");
            vec!["-c".into(), code]
        })
    }),
    ("http-of-node-is-recorded", |ctx| {
        asks(ctx, "node", |url| vec!["-e".into(), format!("fetch('{url}').then(r => r.text())")])
    }),
    ("http-of-git-is-recorded", git),
    ("http-keep-alive-requests-are-one-record-each", keep_alive),
    ("http-body-none-keeps-no-content", bodiless),
];

/// A program of the host's, where it is there.
fn program(name: &str) -> Result<String> {
    for dir in ["/usr/bin", "/usr/local/bin", "/bin"] {
        let path = Path::new(dir).join(name);
        if path.is_file() {
            return Ok(path.to_string_lossy().into_owned());
        }
    }
    skip(&format!("no {name} here"))
}

fn run(ctx: &Ctx, options: &[&str], name: &str, args: Vec<String>) -> Result<Recorded> {
    let args = ["exec".to_owned(), program(name)?].into_iter().chain(args);
    Run::new(ctx).options(options).agent(args).go()
}

/// Requests to a server, each with its result.
fn requests<'a>(ledger: &'a Ledger, web: &Web) -> Result<Vec<(&'a Value, &'a Value)>> {
    let port = web.addr.port();
    let calls = ledger.calls("http").into_iter();
    let calls = calls.filter(|call| at(call, "/http/peer/port") == &json!(port));
    calls
        .map(|call| {
            let end = ledger.result(call)?;
            Ok((call, end))
        })
        .collect()
}

fn one<'a>(ledger: &'a Ledger, web: &Web) -> Result<(&'a Value, &'a Value)> {
    let all = requests(ledger, web)?;
    ensure!(all.len() == 1, "wanted one request, saw {all:?}");
    Ok(all[0])
}

fn asks(ctx: &Ctx, name: &str, args: fn(&str) -> Vec<String>) -> Result<()> {
    let web = Web::new()?;
    let url = web.url("/some/where?q=1");
    let run = run(ctx, &[], name, args(&url))?;
    run.exited(0)?;
    let (call, end) = one(&run.ledger, &web)?;
    same("method", at(call, "/http/method"), &json!("GET"))?;
    same("URL", at(call, "/http/url"), &json!(url))?;
    same("status", at(end, "/outcome/http_status"), &json!(200))?;
    let connect = run.ledger.one_to(web.addr)?;
    same("the connect", at(call, "/http/connection"), &connect["call"])?;
    same("the process", at(call, "/process/id"), at(connect, "/process/id"))?;
    run.ledger.nothing_lost()
}

fn curl(ctx: &Ctx) -> Result<()> {
    let secret = "kP4wN8sYcVb3Zt6q";
    let web = Web::new()?;
    let args = ["--silent", "--header", "X-Api-Key: kP4wN8sYcVb3Zt6q", "--json"];
    let mut args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    args.push(format!("{{\"password\":\"{secret}\",\"n\":1}}"));
    args.push(web.url(&format!("/missing?access_token={secret}")));
    let run = run(ctx, &[], "curl", args)?;
    run.exited(0)?;
    let (call, end) = one(&run.ledger, &web)?;
    same("method", at(call, "/http/method"), &json!("POST"))?;
    same("status", at(end, "/outcome/status"), &json!("failed"))?;
    same("HTTP status", at(end, "/outcome/http_status"), &json!(404))?;
    let sent = at(call, "/http/body/json").as_str().unwrap_or_default();
    ensure!(sent.starts_with("{\"password\":\"<mask:") && sent.ends_with(",\"n\":1}"), "{call}");
    let came = at(end, "/http/body/json").as_str().unwrap_or_default();
    ensure!(came.contains("<mask:"), "{end}");
    for record in &run.ledger.records {
        let text = record.to_string();
        ensure!(!text.contains(secret) && !text.contains("zQ7vT2mX"), "a secret: {text}");
    }
    Ok(())
}

fn git(ctx: &Ctx) -> Result<()> {
    let web = Web::new()?;
    let run = run(ctx, &[], "git", vec!["ls-remote".into(), web.url("/repo.git")])?;
    // The answer is no repository's: git tries another way and gives up.
    let all = requests(&run.ledger, &web)?;
    same("requests", &(all.len() as u64), &web.served())?;
    let (call, _) = all.first().context("no request")?;
    let url = web.url("/repo.git/info/refs?service=git-upload-pack");
    same("URL", at(call, "/http/url"), &json!(url))
}

fn keep_alive(ctx: &Ctx) -> Result<()> {
    let count = if ctx.quick { 500 } else { 10_000 };
    let web = Web::new()?;
    let output = ctx.path("out")?;
    let args = vec![
        "--silent".to_owned(),
        "--output".to_owned(),
        output,
        web.url(&format!("/[1-{count}]")),
    ];
    let run = run(ctx, &[], "curl", args)?;
    run.exited(0)?;
    same("answered", &web.served(), &count)?;
    let all = requests(&run.ledger, &web)?;
    run.ledger.nothing_lost()?;
    same("requests", &(all.len() as u64), &count)?;
    for (n, (call, end)) in all.iter().enumerate() {
        same("URL", at(call, "/http/url"), &json!(web.url(&format!("/{}", n + 1))))?;
        same("status", at(end, "/outcome/http_status"), &json!(200))?;
    }
    Ok(())
}

fn bodiless(ctx: &Ctx) -> Result<()> {
    let web = Web::new()?;
    let args = vec!["--silent".to_owned(), "--data".into(), "a=b".into(), web.url("/")];
    let run = run(ctx, &["--http-body", "none"], "curl", args)?;
    let (call, end) = one(&run.ledger, &web)?;
    for body in [at(call, "/http/body"), at(end, "/http/body")] {
        ensure!(body["left"].is_string() && body["bytes"].is_u64(), "{body}");
        ensure!(body["form"].is_null() && body["json"].is_null(), "{body}");
    }
    Ok(())
}
