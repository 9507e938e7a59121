//! The workloads: what the sample does, and how often.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result};

use crate::harness::{Ctx, Tcp};

/// Something to be done many times.
pub(super) struct Workload {
    /// Its name.
    pub(super) name: &'static str,
    /// How often it is done in a round.
    pub(super) count: u64,
    /// What the sample is told.
    pub(super) args: Vec<String>,
    /// Whether it is done inside of the observed cgroup.
    pub(super) inside: bool,
    /// Whom it reaches.
    _server: Option<Tcp>,
}

/// All of them; `scale` hundredths of each one's usual number.
pub(super) fn all(ctx: &Ctx, scale: u64) -> Result<Vec<Workload>> {
    let nothing = nothing(ctx)?;
    let server = Tcp::new()?;
    let to = server.addr.to_string();
    let make = |name, count: u64, deed: &str, rest: &[&str], inside, server| {
        let count = (count * scale / 100).max(1);
        let own = [deed.to_owned(), count.to_string()];
        let args = own.into_iter().chain(rest.iter().map(|&arg| arg.to_owned())).collect();
        Workload { name, count, args, inside, _server: server }
    };
    Ok(vec![
        make("exec", 4_000, "spawn-many", &[&nothing], true, None),
        make("connect", 20_000, "connect-many", &[&to], true, Some(server)),
        make("udp", 50_000, "udp-many", &[], true, None),
        make("outside", 5_000_000, "syscall-many", &[], false, None),
    ])
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
