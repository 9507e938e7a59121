//! The workloads: what is done, and how often.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::build;
use super::web::Web;
use crate::harness::{Ctx, Tcp};

/// What a workload is made of: what a peer can see of it depends on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Exec,
    Connect,
    Udp,
    Http,
    Https,
    Build,
    Outside,
}

/// Something to be done many times.
pub(super) struct Workload {
    /// Its name.
    pub(super) name: &'static str,
    /// What it is made of.
    pub(super) kind: Kind,
    /// How often it is done in a round.
    pub(super) count: u64,
    /// The program that does it, and its arguments.
    pub(super) command: Vec<OsString>,
    /// Which of the arguments is the port that it goes to, where somebody can stand in between.
    pub(super) port: Option<usize>,
    /// Whether it is done inside of the observed cgroup.
    pub(super) inside: bool,
    /// Whether it has all processors, and not one of its own.
    pub(super) spread: bool,
}

/// All workloads, and whom they reach.
pub(super) struct Workloads {
    pub(super) all: Vec<Workload>,
    /// Those that can't be done here, and why.
    pub(super) missing: Vec<(&'static str, String)>,
    pub(super) web: Option<Web>,
    tcp: Tcp,
}

impl Workloads {
    /// `scale` hundredths of each one's usual number.
    pub(super) fn new(ctx: &Ctx, scale: u64) -> Result<Self> {
        let mut them = Self { all: vec![], missing: vec![], web: None, tcp: Tcp::new()? };
        let nothing = nothing(ctx)?;
        let to = them.tcp.addr.to_string();
        let scaled = |count: u64| (count * scale / 100).max(4);
        let mut add = |name, kind, count: u64, ways: u64, deed: &str, rest: &str| {
            let count = scaled(count);
            let agent = ctx.agent.clone().into_os_string();
            let mut command = vec![agent];
            let own = (count / ways).to_string();
            let ways_text = ways.to_string();
            let mut words = vec![];
            if ways > 1 {
                words.extend(["parallel", &ways_text]);
            }
            words.extend([deed, &own]);
            words.extend((!rest.is_empty()).then_some(rest));
            command.extend(words.iter().map(OsString::from));
            let (inside, spread) = (kind != Kind::Outside, ways > 1);
            let count = count / ways * ways;
            them.all.push(Workload { name, kind, count, command, port: None, inside, spread });
        };
        add("exec", Kind::Exec, 4_000, 1, "spawn-many", &nothing);
        add("exec-4", Kind::Exec, 8_000, 4, "spawn-many", &nothing);
        add("connect", Kind::Connect, 20_000, 1, "connect-many", &to);
        add("connect-2", Kind::Connect, 20_000, 2, "connect-many", &to);
        add("udp", Kind::Udp, 50_000, 1, "udp-many", "");
        add("outside", Kind::Outside, 5_000_000, 1, "syscall-many", "");
        match Web::new(ctx) {
            Ok(web) => them.add_web(web, scaled(20_000)),
            Err(error) => {
                for name in ["http", "http-4", "https", "https-4"] {
                    them.missing.push((name, format!("{error:#}")));
                }
            }
        }
        match build::sources(ctx, scale)? {
            Some((command, files)) => {
                let (kind, port, inside, spread) = (Kind::Build, None, true, true);
                let count = files;
                them.all.push(Workload {
                    name: "build",
                    kind,
                    count,
                    command,
                    port,
                    inside,
                    spread,
                });
            }
            None => them.missing.push(("build", "no make and cc".to_owned())),
        }
        Ok(them)
    }

    /// So many connects, at a steady rate a second.
    pub(super) fn paced(&self, ctx: &Ctx, count: u64, rate: u64) -> Workload {
        let words = [&count.to_string(), &rate.to_string(), &self.tcp.addr.to_string()];
        let agent = ctx.agent.clone().into_os_string();
        let command = [agent, "connect-paced".into()].into_iter();
        Workload {
            name: "paced",
            kind: Kind::Connect,
            count,
            command: command.chain(words.map(OsString::from)).collect(),
            port: None,
            inside: true,
            spread: false,
        }
    }

    fn add_web(&mut self, web: Web, count: u64) {
        let all = [
            ("http", Kind::Http, 1),
            ("http-4", Kind::Http, 4),
            ("https", Kind::Https, 1),
            ("https-4", Kind::Https, 4),
        ];
        for (name, kind, connections) in all {
            let (how, port) = match (kind, &web.tls) {
                (Kind::Https, Err(why)) => {
                    self.missing.push((name, why.clone()));
                    continue;
                }
                (Kind::Https, Ok(port)) => ("tls", *port),
                _ => ("plain", web.plain),
            };
            let count = count / connections * connections;
            let words =
                ["post", how, &port.to_string(), &connections.to_string(), &count.to_string()]
                    .map(OsString::from);
            let command = [web.program.clone().into_os_string()].into_iter().chain(words).collect();
            let (inside, spread, port) = (true, connections > 1, Some(3));
            self.all.push(Workload { name, kind, count, command, port, inside, spread });
        }
        self.web = Some(web);
    }
}

impl Workload {
    /// The program's name, for who looks for it.
    pub(super) fn program(&self) -> &Path {
        self.command.first().map(Path::new).unwrap_or(Path::new(""))
    }
}

/// The least program that there is, so that a loop of it is made of fork and exec alone: an ELF
/// of x86-64 that ends at once. Its path.
fn nothing(ctx: &Ctx) -> Result<String> {
    const ENTRY: u64 = 0x40_0078;
    // xor edi, edi; mov eax, 60; syscall
    const CODE: [u8; 9] = [0x31, 0xff, 0xb8, 0x3c, 0, 0, 0, 0x0f, 0x05];
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let halves =
        |elf: &mut Vec<u8>, of: &[u16]| of.iter().for_each(|n| elf.extend(n.to_le_bytes()));
    let words = |elf: &mut Vec<u8>, of: &[u32]| of.iter().for_each(|n| elf.extend(n.to_le_bytes()));
    let longs = |elf: &mut Vec<u8>, of: &[u64]| of.iter().for_each(|n| elf.extend(n.to_le_bytes()));
    // The file's header (elf(5)): an executable, x86-64, one program header behind this one.
    halves(&mut elf, &[2, 62]);
    words(&mut elf, &[1]);
    longs(&mut elf, &[ENTRY, 64, 0]);
    words(&mut elf, &[0]);
    halves(&mut elf, &[64, 56, 1, 0, 0, 0]);
    // Its one segment: all of the file, to be read and executed.
    words(&mut elf, &[1, 5]);
    let size = 120 + CODE.len() as u64;
    longs(&mut elf, &[0, 0x40_0000, 0x40_0000, size, size, 0x1000]);
    elf.extend(CODE);
    let path = ctx.path("nothing")?;
    std::fs::write(&path, elf).with_context(|| path.clone())?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}
