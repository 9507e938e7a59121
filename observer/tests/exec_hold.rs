//! Execs that wait for somebody to look at their file, where no descriptor is left to look with: in a
//! process of its own, whose limit is its own, and on a filesystem of its own, so that nobody else waits.
#![expect(clippy::unwrap_used, reason = "a test panics with what it saw")]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use observer::exec_hold::{Answer, Change, ExecHold, Health};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Resource, Rlimit, geteuid, setrlimit};
use rustix::thread::UnshareFlags;

/// An empty filesystem that only this thread and its children see.
fn filesystem(place: &Path) -> io::Result<()> {
    // SAFETY: a mount namespace of this thread's own; its descriptors stay shared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS)? };
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    Ok(mount("tmpfs", place, "tmpfs", MountFlags::empty(), c"mode=755")?)
}

fn descriptors(most: u64) {
    setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(1024) }).unwrap();
}

#[test]
fn exec_without_a_descriptor_to_look_at_it_with_is_refused_and_told_until_it_is_over() {
    if !geteuid().is_root() {
        eprintln!("skipped: it takes root to hold an exec");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    filesystem(dir.path()).unwrap();
    let tool: PathBuf = dir.path().join("tool");
    fs::copy("/bin/true", &tool).unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    let (health, looked) = (Health::default(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&looked);
    let ask = move |_: &File, _: u32| {
        counted.fetch_add(1, Ordering::Relaxed);
        Answer::Allow
    };
    let hold = ExecHold::start(&[dir.path().to_owned()], &[], health.clone(), ask);
    let (hold, refused) = hold.unwrap();
    assert!(refused.is_empty());
    descriptors(1024);
    // A child with its pipe made before, which executes when it is told to.
    let run = |most: u64, full: bool| {
        let mut shell = Command::new("/bin/sh");
        let script = format!("read x; exec {}", tool.display());
        shell.args(["-c", &script]).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut child = shell.spawn().unwrap();
        let pipe = child.stdin.take().unwrap();
        descriptors(most);
        let open = || File::open("/dev/null").ok().filter(|_| full);
        let taken: Vec<File> = std::iter::from_fn(open).collect();
        rustix::io::write(&pipe, b"go\n").unwrap();
        let status = child.wait().unwrap();
        drop(taken);
        descriptors(1024);
        status.success()
    };
    assert!(run(1024, false));
    assert_eq!((looked.load(Ordering::Relaxed), health.changes()), (1, vec![]));
    assert!(!run(3, false), "it ran, and nobody looked at it");
    assert!(!run(3, false), "it ran, and nobody looked at it");
    let full = io::Error::from_raw_os_error(libc::EMFILE).to_string();
    assert_eq!((looked.load(Ordering::Relaxed), health.changes()), (1, vec![Change::Fails(full)]));
    assert!(run(1024, false));
    assert_eq!((looked.load(Ordering::Relaxed), health.changes()), (2, vec![Change::Works]));
    assert!(run(64, true), "none was kept for it where others have all that there are");
    assert_eq!((looked.load(Ordering::Relaxed), health.changes()), (3, vec![]));
    drop(hold);
}
