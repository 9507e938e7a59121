//! The programs that every run needs, loaded side by side: most of a start is the verifier's time,
//! and it takes no lock for a privileged caller (bpf_check, kernel/bpf/verifier.c).

use std::io::Error;
use std::sync::{Mutex, PoisonError};
use std::thread;

use aya::programs::Program;
use aya::{Btf, Ebpf};

use super::error::{LoadError, Step};
use super::programs::{ADDRESS_HOOKS, PACKET_HOOKS, TRACEPOINTS};

/// Threads at most.
const THREADS: usize = 4;
const SOCK_CREATE: &str = "sock_create";
/// Those that take the verifier longest, the longest last: they begin first.
const LONG: [&str; 4] = ["skb_egress", "process_exec", "dns_ingress", "dns_egress"];

/// Loads them.
pub(super) fn load(ebpf: &mut Ebpf, btf: &Btf) -> Result<(), LoadError> {
    let tracepoints = TRACEPOINTS.iter().map(|(name, _)| *name);
    let packets = PACKET_HOOKS.iter().map(|(name, _)| *name);
    let names: Vec<&str> =
        tracepoints.chain(ADDRESS_HOOKS).chain(packets).chain([SOCK_CREATE]).collect();
    if let Some(missing) = names.iter().find(|name| ebpf.program(name).is_none()) {
        return Err(Error::other("the object lacks it")).step(format!("find {missing}"));
    }
    let mut programs: Vec<(&str, &mut Program)> =
        ebpf.programs_mut().filter(|(name, _)| names.contains(name)).collect();
    programs.sort_by_key(|(name, _)| LONG.iter().position(|long| long == name));
    let queue = Mutex::new(programs);
    let work = || {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some((name, program)) = next else { return Ok(()) };
            load_one(name, program, btf)?;
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let ended = || Err(Error::other("a thread ended early")).step("load the programs");
        others
            .into_iter()
            .fold(own, |so_far, other| so_far.and(other.join().unwrap_or_else(|_| ended())))
    })
}

fn load_one(name: &str, program: &mut Program, btf: &Btf) -> Result<(), LoadError> {
    match program {
        Program::BtfTracePoint(program) => {
            let known = TRACEPOINTS.iter().find(|(known, _)| *known == name);
            let function = known.map_or(name, |(_, function)| *function);
            program.load(function, btf).step(format!("load {name} (tp_btf/{function})"))
        }
        Program::CgroupSockAddr(program) => program.load().step(format!("load cgroup/{name}")),
        Program::CgroupSkb(program) => program.load().step(format!("load cgroup_skb/{name}")),
        Program::CgroupSock(program) => program.load().step(format!("load cgroup/{name}")),
        _ => Err(Error::other("it is of another type")).step(format!("use program {name}")),
    }
}
