//! An initramfs: busybox, its applets as links to it, and files. Written as the kernel reads it,
//! which is cpio's "newc" form (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::linked;
use crate::run::capture;

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER: u32 = 0o020_000;

/// What the machine's file system holds when it starts.
pub(super) struct Image {
    entries: Vec<Entry>,
    directories: BTreeSet<String>,
}

struct Entry {
    /// Without the leading slash.
    name: String,
    mode: u32,
    /// Major and minor, of a device.
    device: (u32, u32),
    content: Vec<u8>,
}

impl Image {
    /// The ground that every machine stands on.
    ///
    /// # Errors
    /// If there is no static busybox.
    pub(super) fn with_busybox() -> Result<Self> {
        let mut image = Self { entries: Vec::new(), directories: BTreeSet::new() };
        for name in ["proc", "sys", "dev", "tmp", "run", "root", "etc", "home/agent", "var/log"] {
            image.directory(name);
        }
        // The first process finds its output here before anything is mounted.
        image.push("dev/console", CHARACTER | 0o600, (5, 1), Vec::new());
        let busybox = Path::new("/bin/busybox");
        image
            .file("/bin/busybox", busybox)
            .context("package busybox-static: `cargo xtask setup`")?;
        for applet in capture(Command::new(busybox).arg("--list"))?.lines() {
            if applet != "busybox" {
                image.link(&format!("bin/{applet}"), "busybox");
            }
        }
        for (name, to) in [("sbin", "bin"), ("usr/bin", "../bin"), ("usr/sbin", "../bin")] {
            image.link(name, to);
        }
        image.text("/etc/passwd", 0o644, PASSWD);
        image.text("/etc/group", 0o644, "root:x:0:\nagent:x:1000:\nnogroup:x:65534:\n");
        image.text("/etc/hosts", 0o644, "127.0.0.1 localhost vm\n::1 localhost\n");
        Ok(image)
    }

    /// An executable file of this host, with the libraries that it is linked with: those stand where
    /// they stand here.
    ///
    /// # Errors
    /// If one of them can't be read.
    pub(super) fn file(&mut self, there: &str, here: &Path) -> Result<()> {
        let content = read(here)?;
        if needs_interpreter(&content) {
            for library in linked::libraries(here)? {
                let path = library.to_str().context("a library's path that is no text")?;
                self.push(path, REGULAR | 0o755, (0, 0), read(&library)?);
            }
        }
        self.push(there, REGULAR | 0o755, (0, 0), content);
        Ok(())
    }

    /// A file with this text.
    pub(super) fn text(&mut self, there: &str, permissions: u32, text: &str) {
        self.push(there, REGULAR | permissions, (0, 0), text.as_bytes().to_vec());
    }

    /// Writes the archive.
    ///
    /// # Errors
    /// If it can't be written.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let write = || -> Result<()> {
            let mut out = BufWriter::new(File::create(path)?);
            for (number, entry) in self.entries.iter().enumerate() {
                entry.write(u32::try_from(number)? + 1, &mut out)?;
            }
            Entry { name: "TRAILER!!!".to_owned(), mode: 0, device: (0, 0), content: Vec::new() }
                .write(0, &mut out)?;
            Ok(out.flush()?)
        };
        write().with_context(|| format!("can't write {}", path.display()))
    }

    fn directory(&mut self, name: &str) {
        let name = name.trim_matches('/');
        if name.is_empty() || self.directories.contains(name) {
            return;
        }
        self.parents(name);
        self.directories.insert(name.to_owned());
        self.entries.push(Entry {
            name: name.to_owned(),
            mode: DIRECTORY | 0o755,
            device: (0, 0),
            content: Vec::new(),
        });
    }

    fn link(&mut self, name: &str, to: &str) {
        self.push(name, LINK | 0o777, (0, 0), to.as_bytes().to_vec());
    }

    /// Adds an entry; one that had the name before is gone.
    fn push(&mut self, name: &str, mode: u32, device: (u32, u32), content: Vec<u8>) {
        let name = name.trim_start_matches('/').to_owned();
        self.parents(&name);
        self.entries.retain(|entry| entry.name != name);
        self.entries.push(Entry { name, mode, device, content });
    }

    fn parents(&mut self, name: &str) {
        if let Some((parent, _)) = name.rsplit_once('/') {
            self.directory(parent);
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("can't read {}", path.display()))
}

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
agent:x:1000:1000:agent:/home/agent:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
";

impl Entry {
    fn write(&self, number: u32, out: &mut impl Write) -> Result<()> {
        let size = u32::try_from(self.content.len())
            .with_context(|| format!("{} is too large for an initramfs", self.name))?;
        let name_size = u32::try_from(self.name.len())? + 1;
        let fields = [
            number,
            self.mode,
            0, // uid
            0, // gid
            1, // links
            0, // time
            size,
            0, // the device that holds it: major, minor
            0,
            self.device.0,
            self.device.1,
            name_size,
            0, // checksum, unused in this form
        ];
        write!(out, "070701")?;
        for field in fields {
            write!(out, "{field:08x}")?;
        }
        const HEADER: usize = 6 + 13 * 8;
        write!(out, "{}\0", self.name)?;
        pad(out, HEADER + self.name.len() + 1)?;
        out.write_all(&self.content)?;
        pad(out, self.content.len())
    }
}

/// Everything begins at a multiple of four.
fn pad(out: &mut impl Write, written: usize) -> Result<()> {
    Ok(out.write_all(&[0; 3][..written.next_multiple_of(4) - written])?)
}

/// Whether a file is a 64-bit ELF program with a PT_INTERP header.
fn needs_interpreter(file: &[u8]) -> bool {
    let number = |at: usize, size: usize| -> Option<usize> {
        let bytes = file.get(at..at + size)?;
        bytes
            .iter()
            .rev()
            .try_fold(0, |sum: usize, &byte| sum.checked_mul(256)?.checked_add(usize::from(byte)))
    };
    let headers =
        || {
            let (start, size, count) = (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?);
            const PT_INTERP: usize = 3;
            Some((0..count).any(|n| {
                start.checked_add(n * size).and_then(|at| number(at, 4)) == Some(PT_INTERP)
            }))
        };
    file.starts_with(b"\x7fELF\x02") && headers().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_as_cpio_writes_it() {
        let entry = Entry {
            name: "bin/x".to_owned(),
            mode: REGULAR | 0o755,
            device: (0, 0),
            content: b"hello".to_vec(),
        };
        let mut out = Vec::new();
        entry.write(2, &mut out).unwrap();
        let header = "070701\
            00000002000081ed00000000000000000000000100000000\
            0000000500000000000000000000000000000000\
            0000000600000000";
        assert_eq!(&out[..110], header.as_bytes());
        assert_eq!(&out[110..], b"bin/x\0hello\0\0\0");
        assert_eq!(out.len() % 4, 0);
    }

    #[test]
    fn parents_come_first_and_once() {
        let mut image = Image { entries: Vec::new(), directories: BTreeSet::new() };
        image.text("/a/b/one", 0o644, "");
        image.text("/a/b/two", 0o644, "old");
        image.text("/a/b/two", 0o644, "new");
        let names: Vec<_> = image.entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["a", "a/b", "a/b/one", "a/b/two"]);
        assert_eq!(image.entries[3].content, b"new");
    }

    #[test]
    fn a_program_brings_the_libraries_that_it_is_linked_with() {
        let mut image = Image { entries: Vec::new(), directories: BTreeSet::new() };
        image.file("/bin/x", &std::env::current_exe().unwrap()).unwrap();
        let has = |name: &str| image.entries.iter().any(|entry| entry.name.contains(name));
        assert!(has("bin/x") && has("/libc.so") && has("/ld-linux"));
    }

    #[test]
    fn a_dynamic_program_is_told_from_the_rest() {
        let this_test = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(needs_interpreter(&this_test));
        assert!(!needs_interpreter(&this_test[..0x30]));
        assert!(!needs_interpreter(b"#!/bin/sh\n"));
    }
}
