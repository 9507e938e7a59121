//! Attaching: what holds a run while it lasts, and after its recorder where it is pinned.

use std::os::fd::BorrowedFd;

use aya::programs::links::FdLink;
use aya::programs::{
    BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSock, CgroupSockAddr, FExit, Lsm, TracePoint,
};

use super::error::{LoadError, Step};
use super::load::Kernel;
use super::pin::Guard;
use super::probe::{ExecDenial, ExecExit};
use super::programs::{ADDRESS_HOOKS, FEXITS, PACKET_HOOKS, SYSCALL_EXITS, TRACEPOINTS, program};
use crate::model::RunId;

impl Kernel {
    /// Attaches everything, the socket hooks to `cgroup`, pinned under the run's name where
    /// `pinned`, so that the rules outlive this process.
    pub fn attach(
        &mut self,
        run: RunId,
        cgroup: BorrowedFd<'_>,
        cgroup_id: u64,
        pinned: bool,
    ) -> Result<(), LoadError> {
        if pinned {
            let guard =
                Guard::create(run, cgroup_id).step("make a place for pins under /sys/fs/bpf")?;
            self.guard = Some(guard);
        }
        let attached = self.attach_all(cgroup);
        if attached.is_err() {
            self.detach();
        }
        attached
    }

    fn attach_all(&mut self, cgroup: BorrowedFd<'_>) -> Result<(), LoadError> {
        for (name, function) in TRACEPOINTS {
            let program: &mut BtfTracePoint = program(&mut self.ebpf, name)?;
            let id = program.attach().step(format!("attach to {function}"))?;
            let link = program.take_link(id).step(format!("hold the link of {name}"))?;
            self.hold(name, link.into())?;
        }
        self.attach_exits()?;
        self.attach_doors()?;
        self.attach_ties()?;
        self.attach_sockets(cgroup, "")
    }

    fn attach_exits(&mut self) -> Result<(), LoadError> {
        if self.capabilities.exec_denial == ExecDenial::Lsm {
            let program: &mut Lsm = program(&mut self.ebpf, "bprm_check")?;
            let id = program.attach().step("attach to lsm/bprm_check_security")?;
            let link = program.take_link(id).step("hold the link of bprm_check")?;
            self.hold("bprm_check", link.into())?;
        }
        if self.capabilities.exec_exit == ExecExit::Fexit {
            for (name, function) in FEXITS {
                let program: &mut FExit = program(&mut self.ebpf, name)?;
                let id = program.attach().step(format!("attach to the end of {function}"))?;
                let link = program.take_link(id).step(format!("hold the link of {name}"))?;
                self.hold(name, link.into())?;
            }
            return Ok(());
        }
        mount_tracefs().step("mount tracefs at /sys/kernel/tracing")?;
        for name in SYSCALL_EXITS {
            let program: &mut TracePoint = program(&mut self.ebpf, name)?;
            let id = program
                .attach("syscalls", name)
                .step(format!("attach to tracepoint syscalls/{name}"))?;
            let link = program.take_link(id).step(format!("hold the link of {name}"))?;
            let link = FdLink::try_from(link).step(format!("hold the link of {name}"))?;
            self.hold(name, link)?;
        }
        Ok(())
    }

    /// Attaches the socket hooks to a cgroup: the run's own, or one that a process escaped to,
    /// where they act on labelled processes alone.
    pub fn attach_sockets(
        &mut self,
        cgroup: BorrowedFd<'_>,
        suffix: &str,
    ) -> Result<(), LoadError> {
        let mode = CgroupAttachMode::Single;
        for name in ADDRESS_HOOKS {
            let program: &mut CgroupSockAddr = program(&mut self.ebpf, name)?;
            let id = program.attach(cgroup, mode).step(format!("attach cgroup/{name}"))?;
            let link = program.take_link(id).step(format!("hold the link of {name}"))?;
            let link = FdLink::try_from(link).step(format!("hold the link of {name}"))?;
            self.hold(&format!("{name}{suffix}"), link)?;
        }
        for (name, kind) in PACKET_HOOKS {
            let program: &mut CgroupSkb = program(&mut self.ebpf, name)?;
            let id =
                program.attach(cgroup, kind, mode).step(format!("attach cgroup_skb/{name}"))?;
            let link = program.take_link(id).step(format!("hold the link of {name}"))?;
            let link = FdLink::try_from(link).step(format!("hold the link of {name}"))?;
            self.hold(&format!("{name}{suffix}"), link)?;
        }
        let program: &mut CgroupSock = program(&mut self.ebpf, "sock_create")?;
        let id = program.attach(cgroup, mode).step("attach cgroup/sock_create")?;
        let link = program.take_link(id).step("hold the link of sock_create")?;
        let link = FdLink::try_from(link).step("hold the link of sock_create")?;
        self.hold(&format!("sock_create{suffix}"), link)
    }

    /// Keeps a link: pinned where this run has a place for pins, and in any case in this process.
    pub(super) fn hold(&mut self, name: &str, link: FdLink) -> Result<(), LoadError> {
        match &self.guard {
            Some(guard) => {
                let path = guard.path.join(name);
                let pinned = link.pin(&path).step(format!("pin {}", path.display()))?;
                self.links.push(FdLink::from(pinned));
            }
            None => self.links.push(link),
        }
        Ok(())
    }

    /// Leaves the pins, and with them the rules in force, when this process ends.
    pub fn leave_guard(&mut self) -> Option<Guard> {
        self.links.clear();
        self.guard.take()
    }

    /// Detaches everything and removes the pins.
    pub fn detach(&mut self) {
        if let Some(guard) = self.guard.take()
            && let Err(error) = guard.remove()
        {
            eprintln!("observer: cannot remove the pins at {}: {error}", guard.path.display());
        }
        self.links.clear();
    }

    /// Detaches everything from a run that is over, and leaves the waiting to the kernel.
    ///
    /// A link that goes as its descriptor is closed waits there until no processor is in it any
    /// more: a tenth of a second for each probe. One whose last reference is a pin goes by a worker
    /// of the kernel's own (kernel/bpf/inode.c, bpf_free_inode; kernel/bpf/syscall.c,
    /// bpf_link_put).
    pub fn let_go(&mut self, run: RunId, cgroup_id: u64) {
        if self.guard.is_none() {
            self.guard = Guard::create(run, cgroup_id).ok();
        }
        if let Some(guard) = &self.guard {
            for (number, link) in self.links.drain(..).enumerate() {
                // What can't be pinned goes here and now.
                let _ = link.pin(guard.path.join(format!("over{number}")));
            }
        }
        self.detach();
    }
}

/// Mounts tracefs where it is missing: the syscall tracepoints' ids are read there.
fn mount_tracefs() -> std::io::Result<()> {
    const TRACING: &str = "/sys/kernel/tracing";
    if std::path::Path::new(TRACING).join("events").is_dir() {
        return Ok(());
    }
    let flags = rustix::mount::MountFlags::NOSUID
        | rustix::mount::MountFlags::NODEV
        | rustix::mount::MountFlags::NOEXEC;
    Ok(rustix::mount::mount("tracefs", TRACING, "tracefs", flags, None)?)
}

impl Drop for Kernel {
    /// An orderly end takes the pins away; a kill leaves them.
    fn drop(&mut self) {
        self.detach();
    }
}
