//! Maps that fit the banks of the policy.
//!
//! The kernel takes a map into a bank only if it is like the one that the bank was declared with
//! (kernel/bpf/map_in_map.c, bpf_map_meta_equal), and on 6.1 a map that was made without type
//! information is not. So each is made from the declaration itself, with the object's own types.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use aya::Ebpf;
use aya::maps::{Map, MapData, MapError};

use super::error::{LoadError, Step};

/// The declarations of banks, and the types that they name.
pub(super) struct Shapes {
    object: aya_obj::Object,
    types: OwnedFd,
}

impl Shapes {
    /// Reads the object that `ebpf` was loaded from.
    pub(super) fn new(object: &[u8], ebpf: &Ebpf) -> Result<Self, LoadError> {
        let object = aya_obj::Object::parse(object).step("read the tables' declarations")?;
        let mut programs = ebpf.programs().filter_map(|(_, program)| program.info().ok());
        let missing = || io::Error::other("no loaded program has type information");
        let id = programs.find_map(|info| info.btf_id()).ok_or_else(missing);
        let types = id.and_then(by_id).step("hold the programs' type information")?;
        Ok(Self { object, types })
    }

    /// Makes a map for a bank of `name`, with room for `size` entries.
    pub(super) fn make<M>(&self, name: &str, size: usize) -> Result<M, LoadError>
    where
        M: TryFrom<Map, Error = MapError>,
    {
        use std::os::fd::AsFd;
        let step = || format!("make a table {name} with room for {size}");
        let missing = || io::Error::other("the object declares no such banks");
        let declared = self.object.maps.get(name).and_then(aya_obj::Map::inner);
        let mut declared = declared.ok_or_else(missing).step(step())?;
        declared.set_max_entries(u32::try_from(size.max(1)).unwrap_or(u32::MAX));
        let made = MapData::create(declared, name, Some(self.types.as_fd())).step(step())?;
        Map::from_map_data(made).and_then(M::try_from).step(step())
    }
}

/// BPF_BTF_GET_FD_BY_ID (kernel/bpf/syscall.c, bpf_btf_get_fd_by_id).
fn by_id(id: u32) -> io::Result<OwnedFd> {
    const BPF_BTF_GET_FD_BY_ID: i32 = 19;
    // The part of union bpf_attr that this command reads: btf_id, and zeros.
    let mut attr = [id, 0, 0, 0];
    // SAFETY: the kernel reads as many bytes as it is told there are, which there are.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_BTF_GET_FD_BY_ID, attr.as_mut_ptr(), size_of_val(&attr))
    };
    match i32::try_from(fd) {
        // SAFETY: a descriptor that was just opened for us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
