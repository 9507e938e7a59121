//! Others of observer's kind, on the same workloads in the same rounds.
//!
//! Each is what its documentation says does the nearest thing: it writes a line for each call, or
//! stands in between and forwards it. What it wrote is counted, so that a peer which is quick
//! because it lost the half shows that.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::web::Web;
use super::workload::{Kind, Workload};
use crate::harness::{Ctx, PATIENCE, finished, until};

/// A peer that can watch a workload.
pub(super) struct Peer {
    /// Its name.
    pub(super) name: String,
    how: How,
    /// Whether it is one of those below, and not the caller's own.
    is_known: bool,
}

enum How {
    /// It starts the workload itself: this stands before the workload's command line.
    Before(Vec<OsString>),
    /// It runs beside it, from when it is ready until it is sent the signal.
    Beside { command: Vec<OsString>, ready: Ready, stop: Signal },
    /// It stands in between, at this port.
    Between { command: Vec<OsString>, port: u16 },
}

/// How it is known that a peer is ready.
enum Ready {
    /// It has said this.
    Says(&'static str),
    /// It has opened what the kernel tells events with.
    Opens,
}

/// A peer at work.
pub(super) struct AtWork {
    child: Option<Child>,
    stop: Signal,
    said: PathBuf,
}

impl Peer {
    /// Those that can watch a workload, and the names of those that could and aren't installed.
    pub(super) fn all(
        ctx: &Ctx,
        workload: &Workload,
        web: Option<&Web>,
        others: &[(String, Signal)],
    ) -> Result<(Vec<Self>, Vec<&'static str>)> {
        let mut found = vec![];
        let mut missing = vec![];
        let kind = workload.kind;
        let mut add = |program: &'static str, how: Option<How>| match how {
            Some(how) if installed(program).is_some() => {
                found.push(Self { name: program.into(), how, is_known: true });
            }
            Some(_) => missing.push(program),
            None => {}
        };
        add("strace", strace(&ctx.dir, kind));
        add("bpftrace", bpftrace(kind, workload));
        add("perf", perf(kind));
        add("tcpdump", tcpdump(kind, web));
        if let Some(web) = web {
            add("nginx", nginx(&ctx.dir, kind, web)?);
            add("mitmdump", mitmdump(&ctx.dir, kind, web)?);
        }
        for (command, stop) in others {
            let words = command.split(' ').filter(|word| !word.is_empty()).map(OsString::from);
            let command: Vec<_> = words.collect();
            let name = command.first().map(|name| name.to_string_lossy().into_owned());
            let how = How::Beside { command, ready: Ready::Opens, stop: *stop };
            let name = name.context("a peer without a command")?;
            found.push(Self { name, how, is_known: false });
        }
        Ok((found, missing))
    }

    /// Whether it comes with these benchmarks.
    pub(super) fn is_known(&self) -> bool {
        self.is_known
    }

    /// Where the workload's command line changes for it: what stands before, and another port.
    pub(super) fn changes(&self) -> (&[OsString], Option<u16>) {
        match &self.how {
            How::Before(words) => (words, None),
            How::Beside { .. } => (&[], None),
            How::Between { port, .. } => (&[], Some(*port)),
        }
    }

    /// Starts it, and waits until it is ready.
    pub(super) fn start(&self, dir: &Path) -> Result<AtWork> {
        let said = dir.join("peer.said");
        let (command, ready, stop) = match &self.how {
            How::Before(_) => return Ok(AtWork { child: None, stop: Signal::TERM, said }),
            How::Beside { command, ready, stop } => (command, Some(ready), *stop),
            How::Between { command, .. } => (command, None, Signal::TERM),
        };
        let (program, rest) = command.split_first().context("no command")?;
        let out = File::create(&said)?;
        let mut start = Command::new(program);
        start.args(rest).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = start.spawn().with_context(|| self.name.clone())?;
        let mut at_work = AtWork { child: Some(child), stop, said };
        at_work.until_ready(&self.name, ready, self.changes().1)?;
        Ok(at_work)
    }
}

impl AtWork {
    fn until_ready(&mut self, name: &str, ready: Option<&Ready>, port: Option<u16>) -> Result<()> {
        let Some(child) = &mut self.child else { return Ok(()) };
        let (pid, said) = (child.id(), &self.said);
        until(&format!("{name} being ready"), PATIENCE, || {
            if let Some(status) = child.try_wait()? {
                let said = fs::read_to_string(said).unwrap_or_default();
                bail!("{name} ended with {status}: {said}");
            }
            let is_ready = match ready {
                Some(Ready::Says(words)) => {
                    fs::read_to_string(said).is_ok_and(|text| text.contains(words))
                }
                Some(Ready::Opens) => tells_events(pid),
                None => port
                    .is_some_and(|port| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()),
            };
            Ok(is_ready.then_some(()))
        })
    }

    /// Stops it. How many calls of this kind it told, where that can be counted.
    pub(super) fn end(mut self, name: &str, kind: Kind) -> Result<Option<u64>> {
        if let Some(mut child) = self.child.take() {
            kill_process(Pid::from_child(&child), self.stop).context("a signal to the peer")?;
            finished(&mut child, name, PATIENCE)?;
        }
        let text = fs::read(&self.said).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let told = |word: &str| text.lines().filter(|line| line.contains(word)).count() as u64;
        let count = match (name, kind) {
            ("strace" | "perf", Kind::Exec) => Some(told("execve")),
            ("strace" | "perf", Kind::Connect) => Some(told("connect(")),
            // A build's own programs are not counted here.
            ("bpftrace", kind) if kind != Kind::Build => Some(told("call ")),
            ("nginx", _) => Some(told("POST ")),
            _ => None,
        };
        drop(fs::remove_file(&self.said));
        Ok(count)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn words(text: &str) -> Vec<OsString> {
    text.split(' ').map(OsString::from).collect()
}

/// Its filter is seccomp's, so that other system calls go on without it.
fn strace(dir: &Path, kind: Kind) -> Option<How> {
    let calls = match kind {
        Kind::Exec | Kind::Build => "execve,execveat",
        Kind::Connect => "connect",
        Kind::Udp => "sendto,sendmsg",
        Kind::Http => "connect,write,read,sendto,recvfrom",
        Kind::Https | Kind::Outside => return None,
    };
    let mut before = words("strace -f --seccomp-bpf -qq -s 1024 -e");
    before.push(format!("trace={calls}").into());
    before.extend(["-o".into(), dir.join("peer.said").into_os_string()]);
    Some(How::Before(before))
}

fn bpftrace(kind: Kind, workload: &Workload) -> Option<How> {
    let ours = workload.program().file_name()?.to_string_lossy().into_owned();
    let probe = match kind {
        Kind::Exec | Kind::Build => {
            "tracepoint:syscalls:sys_enter_execve { printf(\"call %d %s\\n\", pid, \
             str(args->filename)); }"
                .to_owned()
        }
        Kind::Connect => {
            format!(
                "tracepoint:syscalls:sys_enter_connect /comm == \"{ours}\"/ {{ \
                 printf(\"call %d %d\\n\", pid, args->fd); }}"
            )
        }
        Kind::Http => format!(
            "tracepoint:syscalls:sys_enter_write /comm == \"{ours}\"/ {{ \
             printf(\"call %d %r\\n\", pid, buf(args->buf, 64)); }}"
        ),
        Kind::Https => format!(
            "uprobe:/usr/lib/x86_64-linux-gnu/libssl.so.3:SSL_write /comm == \"{ours}\"/ {{ \
             printf(\"call %d %r\\n\", pid, buf(arg1, 64)); }}"
        ),
        Kind::Udp | Kind::Outside => return None,
    };
    let program = format!("BEGIN {{ printf(\"ready\\n\"); }} {probe}");
    let command = vec!["bpftrace".into(), "-e".into(), program.into()];
    Some(How::Beside { command, ready: Ready::Says("ready"), stop: Signal::INT })
}

fn perf(kind: Kind) -> Option<How> {
    let calls = match kind {
        Kind::Exec | Kind::Build => "execve",
        Kind::Connect => "connect",
        Kind::Udp => "sendto",
        _ => return None,
    };
    let command = words(&format!("perf trace -a -e {calls}"));
    Some(How::Beside { command, ready: Ready::Opens, stop: Signal::INT })
}

fn tcpdump(kind: Kind, web: Option<&Web>) -> Option<How> {
    let port = web.filter(|_| kind == Kind::Http)?.plain;
    let command = words(&format!("tcpdump -i lo -s 0 -U -w /dev/null tcp port {port}"));
    Some(How::Beside { command, ready: Ready::Says("listening on"), stop: Signal::INT })
}

fn nginx(dir: &Path, kind: Kind, web: &Web) -> Result<Option<How>> {
    let (port, inner, listen, scheme, tls) = match (kind, &web.tls, &web.pem) {
        (Kind::Http, ..) => (free()?, web.plain, "", "http", String::new()),
        (Kind::Https, Ok(inner), Some((certificate, key))) => {
            let (certificate, key) = (certificate.display(), key.display());
            let tls = format!("ssl_certificate {certificate}; ssl_certificate_key {key};");
            (free()?, *inner, " ssl", "https", tls)
        }
        _ => return Ok(None),
    };
    let root = dir.join(format!("nginx-{scheme}"));
    fs::create_dir_all(&root)?;
    let at = root.display();
    let conf = format!(
        "daemon off; worker_processes 2; pid {at}/pid; error_log {at}/error.log;
events {{ }}
http {{
  log_format calls '$request $status $http_user_agent $request_body';
  access_log /dev/stdout calls;
  client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/f;
  uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;
  keepalive_requests 1000000;
  upstream inner {{ server 127.0.0.1:{inner}; keepalive 8; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port}{listen}; {tls}
    location / {{
      proxy_pass {scheme}://inner; proxy_http_version 1.1; proxy_set_header Connection '';
    }}
  }}
}}
"
    );
    let file = root.join("nginx.conf");
    fs::write(&file, conf)?;
    let mut command = words("nginx -c");
    command.push(file.into_os_string());
    Ok(Some(How::Between { command, port }))
}

fn mitmdump(dir: &Path, kind: Kind, web: &Web) -> Result<Option<How>> {
    let (scheme, inner) = match (kind, &web.tls) {
        (Kind::Http, _) => ("http", web.plain),
        (Kind::Https, Ok(inner)) => ("https", *inner),
        _ => return Ok(None),
    };
    let port = free()?;
    let mut command = words(&format!(
        "mitmdump -q --ssl-insecure --mode reverse:{scheme}://127.0.0.1:{inner} \
         --listen-host 127.0.0.1 --listen-port {port} -w"
    ));
    command.push(dir.join("mitm.flows").into_os_string());
    Ok(Some(How::Between { command, port }))
}

/// A port that nobody has.
fn free() -> Result<u16> {
    Ok(crate::harness::closed_port()?.port())
}

/// Whether a process has opened perf events or BPF programs.
fn tells_events(pid: u32) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let mut targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.any(|target| {
        let target = target.to_string_lossy();
        target.contains("[perf_event]") || target.contains("bpf")
    })
}

/// Where a program is, of those on the search path.
pub(super) fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Runs a command without a word of it; what it said where it fails.
pub(super) fn quiet(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, said.trim());
    Ok(())
}
