//! Probes in files: TLS libraries' functions, wherever they stand.

use std::fs::File;
use std::os::fd::AsRawFd;

use aya::programs::links::FdLink;
use aya::programs::uprobe::{UProbeAttachPoint, UProbeScope};
use aya::programs::{BtfTracePoint, FExit, UProbe};
use aya::{Btf, Ebpf};

use super::error::{LoadError, Step, chain};
use super::load::Kernel;
use super::programs::program;
use crate::tls::Site;

/// As a library's function is called, and as it returns.
const ENTERED: &str = "tls_entered";
const LEFT: &str = "tls_left";
/// What ties plaintext to its socket (net/socket.c, since 6.3).
const TIES: [(&str, &str); 2] =
    [("sock_sent", "sock_send_length"), ("sock_received", "sock_recv_length")];
/// What does so before.
const OLD_TIES: [(&str, &str); 4] = [
    ("inet_sent", "inet_sendmsg"),
    ("inet6_sent", "inet6_sendmsg"),
    ("inet_received", "inet_recvmsg"),
    ("inet6_received", "inet6_recvmsg"),
];

/// How plaintext is tied to its socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ties {
    /// By the tracepoints of what is sent and received.
    Tracepoints,
    /// By the ends of the functions that send and receive.
    Fexit,
    /// Not at all, and why.
    None(String),
}

/// Loads the programs.
pub(super) fn load(ebpf: &mut Ebpf, btf: &Btf, no_trampolines: bool) -> Result<Ties, LoadError> {
    for name in [ENTERED, LEFT] {
        let program: &mut UProbe = program(ebpf, name)?;
        program.load().step(format!("load {name}"))?;
    }
    let mut tried = Ok(());
    for (name, tracepoint) in TIES {
        let program: &mut BtfTracePoint = program(ebpf, name)?;
        tried = tried.and_then(|()| program.load(tracepoint, btf));
    }
    let Err(no_tracepoint) = tried else { return Ok(Ties::Tracepoints) };
    let why =
        format!("no tracepoint of what sockets send, before Linux 6.3: {}", chain(&no_tracepoint));
    if no_trampolines {
        return Ok(Ties::None(why));
    }
    let mut tried = Ok(());
    for (name, function) in OLD_TIES {
        let program: &mut FExit = program(ebpf, name)?;
        // Attached once for a trial: some kernels load what they can't attach.
        tried = tried
            .and_then(|()| program.load(function, btf))
            .and_then(|()| program.attach())
            .and_then(|id| program.detach(id));
    }
    Ok(match tried {
        Ok(()) => Ties::Fexit,
        Err(error) => Ties::None(format!("{why}; no fexit: {}", chain(&error))),
    })
}

impl Kernel {
    /// Attaches what ties plaintext to its socket. Not pinned: without a recorder there is nobody
    /// to tell.
    pub(super) fn attach_ties(&mut self) -> Result<(), LoadError> {
        match self.capabilities.ties {
            Ties::Tracepoints => {
                for (name, tracepoint) in TIES {
                    let program: &mut BtfTracePoint = program(&mut self.ebpf, name)?;
                    let id = program.attach().step(format!("attach to {tracepoint}"))?;
                    let link = program.take_link(id).step(format!("hold the link of {name}"))?;
                    self.links.push(link.into());
                }
            }
            Ties::Fexit => {
                for (name, function) in OLD_TIES {
                    let program: &mut FExit = program(&mut self.ebpf, name)?;
                    let id = program.attach().step(format!("attach to the end of {function}"))?;
                    let link = program.take_link(id).step(format!("hold the link of {name}"))?;
                    self.links.push(link.into());
                }
            }
            Ties::None(_) => {}
        }
        Ok(())
    }

    /// Puts a probe into an open file, for every process that runs it.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn attach_site(&mut self, file: &File, site: &Site) -> Result<(), LoadError> {
        let name = if site.leaves { LEFT } else { ENTERED };
        // The file that was looked into, whatever stands at its path by now.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let program: &mut UProbe = program(&mut self.ebpf, name)?;
        let point = UProbeAttachPoint { location: site.offset.into(), cookie: Some(site.cookie) };
        let id = program
            .attach(point, &path, UProbeScope::AllProcesses)
            .step(format!("put a probe at {:#x}", site.offset))?;
        let link = program.take_link(id).step(format!("hold the link of {name}"))?;
        let link = FdLink::try_from(link).step(format!("hold the link of {name}"))?;
        self.links.push(link);
        Ok(())
    }
}
