//! The programs that there are, and loading them: first choices first, and what stands in for
//! those that this kernel refuses.

use aya::programs::{CgroupSkbAttachType, FExit, Lsm, ProgramError, TracePoint};
use aya::{Btf, Ebpf};
use observer_common::Offsets;

use super::btf::Types;
use super::doors::Doors;
use super::error::{LoadError, Step, chain};
use super::probe::{Capabilities, ExecDenial, ExecExit, lsm_missing};
use super::{needed, uprobes};

pub(super) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
/// Members that a kernel may lack: what they hold is then not told, or stands elsewhere.
const OPTIONAL: &[&str] = &["linux_binprm.fdpath", "fown_struct.file"];
/// Members that stood in others before, with how far in. include/linux/fs.h: 6.11 parted into
/// seconds and nanoseconds what was a timespec64, renamed in 6.6.
const BEFORE: &[(&str, &str, u32)] = &[
    ("i_ctime_sec", "__i_ctime", 0),
    ("i_ctime_sec", "i_ctime", 0),
    ("i_ctime_nsec", "__i_ctime", 8),
    ("i_ctime_nsec", "i_ctime", 8),
];

pub(super) const TRACEPOINTS: [(&str, &str); 7] = [
    ("process_fork", "sched_process_fork"),
    ("process_exec", "sched_process_exec"),
    ("process_exit", "sched_process_exit"),
    ("cgroup_attach", "cgroup_attach_task"),
    ("cgroup_made", "cgroup_mkdir"),
    ("cgroup_removed", "cgroup_rmdir"),
    ("sock_state", "inet_sock_set_state"),
];
pub(super) const ADDRESS_HOOKS: [&str; 6] =
    ["connect4", "connect6", "sendmsg4", "sendmsg6", "bind4", "bind6"];
pub(super) const PACKET_HOOKS: [(&str, CgroupSkbAttachType); 4] = [
    ("skb_egress", CgroupSkbAttachType::Egress),
    ("skb_ingress", CgroupSkbAttachType::Ingress),
    ("dns_egress", CgroupSkbAttachType::Egress),
    ("dns_ingress", CgroupSkbAttachType::Ingress),
];
pub(super) const FEXITS: [(&str, &str); 3] = [
    ("execve_exit", "__x64_sys_execve"),
    ("execveat_exit", "__x64_sys_execveat"),
    ("connect_exit", "__sys_connect_file"),
];
pub(super) const SYSCALL_EXITS: [&str; 3] =
    ["sys_exit_execve", "sys_exit_execveat", "sys_exit_connect"];

pub(super) fn offsets(types: &Types) -> Result<Offsets, LoadError> {
    let mut offsets = Offsets::missing();
    let mut missing = None;
    let before = |structure, member| {
        let mut names = BEFORE.iter().filter(|(now, ..)| *now == member);
        names.find_map(|(_, name, within)| Some(types.offset(structure, name)? + within))
    };
    let find =
        |structure, member| types.offset(structure, member).or_else(|| before(structure, member));
    offsets.each(|structure, member, slot| match find(structure, member) {
        Some(offset) => *slot = offset,
        None => {
            let name = format!("{structure}.{member}");
            if !OPTIONAL.contains(&name.as_str()) {
                missing = missing.take().or(Some(name));
            }
        }
    });
    missing.map_or(Ok(offsets), |name| Err(LoadError::Member(name)))
}

/// Loads each program, first choices first.
pub(super) fn load_programs(
    ebpf: &mut Ebpf,
    btf: &Btf,
    types: &Types,
    no_trampolines: bool,
) -> Result<Capabilities, LoadError> {
    needed::load(ebpf, btf)?;
    let no_lsm = if no_trampolines {
        Some("left out on request".to_owned())
    } else {
        lsm_missing().or_else(|| {
            let lsm: &mut Lsm = program(ebpf, "bprm_check").ok()?;
            // Attached once for a trial: some kernels load what they can't attach.
            let tried = lsm.load("bprm_check_security", btf).and_then(|()| lsm.attach());
            tried.and_then(|id| lsm.detach(id)).err().map(|e| chain(&e))
        })
    };
    let no_fexit = if no_trampolines {
        Some("left out on request".to_owned())
    } else {
        try_fexits(ebpf, btf, types).err().map(|e| chain(&e))
    };
    if no_fexit.is_some() {
        for name in SYSCALL_EXITS {
            let program: &mut TracePoint = program(ebpf, name)?;
            program.load().step(format!("load tracepoint/{name}"))?;
        }
    }
    let doors = Doors::load(ebpf, btf, no_lsm.as_deref())?;
    let ties = uprobes::load(ebpf, btf, no_trampolines)?;
    Ok(Capabilities {
        ties,
        doors,
        exec_denial: if no_lsm.is_none() { ExecDenial::Lsm } else { ExecDenial::Kill },
        uring_results: no_fexit.is_none(),
        exec_exit: if no_fexit.is_none() { ExecExit::Fexit } else { ExecExit::Tracepoint },
        no_lsm,
        no_fexit,
    })
}

fn try_fexits(ebpf: &mut Ebpf, btf: &Btf, types: &Types) -> Result<(), LoadError> {
    for (name, function) in FEXITS {
        if !types.has_function(function) {
            return Err(LoadError::Member(format!("function {function}")));
        }
        let program: &mut FExit = program(ebpf, name)?;
        program.load(function, btf).step(format!("load fexit/{function}"))?;
        let id = program.attach().step(format!("attach fexit/{function}"))?;
        program.detach(id).step(format!("detach fexit/{function}"))?;
    }
    Ok(())
}

pub(super) fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, LoadError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let missing = || std::io::Error::other("the object lacks it");
    let program = ebpf.program_mut(name).ok_or_else(missing).step(format!("find {name}"))?;
    program.try_into().step(format!("use program {name}"))
}
