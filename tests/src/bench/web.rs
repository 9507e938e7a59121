//! Whom the HTTP workloads reach, and who posts there: one small C program (`web.c`), built anew,
//! since what is measured of TLS is what a program does with libssl.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::peer::quiet;
use crate::harness::{Ctx, PATIENCE, finished};

/// A server that runs; it ends when this is dropped.
pub(super) struct Web {
    child: Child,
    /// The program, as a client.
    pub(super) program: PathBuf,
    /// Where it answers in plain.
    pub(super) plain: u16,
    /// Where it answers over TLS; what stood in the way where it doesn't.
    pub(super) tls: Result<u16, String>,
    /// Its certificate and key, of its own making.
    pub(super) pem: Option<(PathBuf, PathBuf)>,
}

impl Web {
    /// Builds and starts it.
    pub(super) fn new(ctx: &Ctx) -> Result<Self> {
        let source = ctx.dir.join("web.c");
        std::fs::write(&source, include_str!("web.c"))?;
        let program = ctx.dir.join("web");
        let compiles = |more: &str| {
            let mut cc = Command::new("cc");
            cc.args(["-O2", "-pthread"]).arg(&source).arg("-o").arg(&program).arg(more);
            quiet(&mut cc)
        };
        let mut missing = compiles("-l:libssl.so.3").err().map(|_| "no libssl.so.3 to link with");
        if missing.is_some() {
            compiles("-DNO_TLS").context("the HTTP workloads need a C compiler")?;
        }
        let pem = if missing.is_none() { certificate(&ctx.dir).ok() } else { None };
        if pem.is_none() {
            missing = missing.or(Some("no openssl to make a certificate with"));
        }
        let mut serve = Command::new(&program);
        serve.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some((certificate, key)) = &pem {
            serve.arg(certificate).arg(key);
        }
        let mut child = serve.spawn().context("the web server")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("its output")?).read_line(&mut line)?;
        let Some((plain, tls)) = line.trim().split_once(' ') else { bail!("it said {line:?}") };
        let (plain, tls) = (plain.parse()?, tls.parse()?);
        let tls = missing.map_or(Ok(tls), |why| Err(why.to_owned()));
        Ok(Self { child, program, plain, tls, pem })
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        // The end of its input is the end of it.
        drop(self.child.stdin.take());
        drop(finished(&mut self.child, "the web server", PATIENCE));
    }
}

fn certificate(dir: &Path) -> Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    openssl.args(["-nodes", "-subj", "/CN=localhost", "-days", "2"]);
    openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    quiet(&mut openssl)?;
    Ok((certificate, key))
}
