//! The command line: `observer <command>`.
fn main() {
    use std::os::fd::AsFd;
    let text = std::env::args().nth(2).map(|p| std::fs::read_to_string(p).unwrap());
    let t = text.map(|t| observer::policy::Policy::parse(&t).unwrap().compile());
    let mut k = observer::kernel::Kernel::load(&observer::kernel::Options { tables: t.as_ref(), no_trampolines: false }).unwrap_or_else(|e| { eprintln!("{e}"); let mut s: Option<&dyn std::error::Error> = std::error::Error::source(&e); while let Some(x)=s { eprintln!("  {x}"); s = x.source(); } std::process::exit(2) });
    println!("{:?}", k.capabilities());
    let dir = std::env::args().nth(1).unwrap();
    let f = std::fs::File::open(&dir).unwrap();
    use std::os::unix::fs::MetadataExt;
    k.add_cgroup(f.metadata().unwrap().ino()).unwrap();
    k.attach(observer::model::RunId::generate(), f.as_fd(), true).unwrap();
    let mut r = k.rings().unwrap();
    let mut child = std::process::Command::new("sh").arg("-c").arg(format!("echo $$ > {dir}/cgroup.procs; . /tmp/agent.sh")).spawn().unwrap();
    child.wait().unwrap();
    let b = r.drain();
    for e in b.events() { println!("{} {}", u32::from_ne_bytes(e[0..4].try_into().unwrap()), String::from_utf8_lossy(&e[64..]).escape_debug()); }
    println!("{:?} live {:?} missed {}", k.counters().unwrap(), k.live(), k.missed());
}
