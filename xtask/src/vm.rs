//! A virtual machine for one command: a stock kernel in qemu, an initramfs of busybox and the given
//! files, the console as the way out. It needs neither root nor KVM, and no network.

mod image;
mod linked;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use xtask::place;

use crate::run::{self, OnLine};
use crate::setup::{self, Group, kernels};
use image::Image;

/// What a machine without a command of its own runs.
const DEFAULT: &str =
    "uname -a; cat /sys/kernel/security/lsm; echo; mount; ls -l /sys/kernel/btf/vmlinux";

/// One boot: which kernel, what it finds, what it runs.
pub(crate) struct Machine<'a> {
    /// The kernel's series, as in [`kernels::SERIES`].
    pub(crate) series: &'a str,
    /// Files from here, and where they are there (absolute). They are executable.
    pub(crate) files: Vec<(PathBuf, String)>,
    /// The command's environment, beside PATH and HOME.
    pub(crate) environment: Vec<(&'a str, String)>,
    /// The command and its arguments.
    pub(crate) command: Vec<String>,
    /// When to stop it.
    pub(crate) limit: Duration,
}

/// How it ended.
pub(crate) struct Ended {
    /// The command's exit status.
    pub(crate) exit: u8,
    /// From power-on to power-off.
    pub(crate) took: Duration,
}

/// `vm SERIES [--file PATH]… [-- CMD…]`.
pub(crate) fn command(arguments: &[String]) -> Result<ExitCode> {
    let Some((series, mut rest)) = arguments.split_first() else {
        bail!("vm: which kernel? one of {}", kernels::SERIES.join(", "));
    };
    if !kernels::SERIES.contains(&series.as_str()) {
        bail!("vm: no kernel {series:?}, but {}", kernels::SERIES.join(", "));
    }
    let mut files = Vec::new();
    while let [option, path, more @ ..] = rest
        && option == "--file"
    {
        let path = PathBuf::from(path);
        let name = path.file_name().and_then(|name| name.to_str()).context("--file: no name")?;
        let there = format!("/bin/{name}");
        files.push((path, there));
        rest = more;
    }
    let command = match rest {
        [] => vec!["sh".to_owned(), "-c".to_owned(), DEFAULT.to_owned()],
        [dashes, command @ ..] if dashes == "--" && !command.is_empty() => command.to_vec(),
        _ => bail!("vm: the command stands after `--`"),
    };
    setup::ensure(&[Group::Test, Group::Kernels])?;
    let limit = Duration::from_secs(600);
    let machine = Machine { series, files, environment: Vec::new(), command, limit };
    let ended = machine.boot(&mut |line| {
        println!("{line}");
        Ok(())
    })?;
    eprintln!("vm: exit status {} after {:.1} s", ended.exit, ended.took.as_secs_f32());
    Ok(ExitCode::from(ended.exit))
}

impl Machine<'_> {
    /// Boots, hands over each line that the command writes, and powers off.
    ///
    /// # Errors
    /// If the machine can't be built or started, or ends without the command's status: a panic, or
    /// its time is up. Then the console's file is named, and kept.
    pub(crate) fn boot(&self, on_line: OnLine<'_>) -> Result<Ended> {
        let kernel = kernels::find(self.series)
            .with_context(|| format!("no kernel {}: `cargo xtask setup kernels`", self.series))?;
        let qemu = place::program("qemu-system-x86_64")
            .context("no qemu-system-x86_64: `cargo xtask setup test`")?;
        let name = format!("{}-{}", self.series, std::process::id());
        let directory = place::target().join("vm").join(name);
        fs::create_dir_all(&directory)
            .with_context(|| format!("can't create {}", directory.display()))?;
        let initramfs = directory.join("initramfs.cpio");
        // The command's output can't say these words by accident.
        let nonce = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let mut console =
            Console { begin: begin(nonce), end: end(nonce), started: false, exit: None };
        self.image(nonce, &kernels::modules(&kernel))?.write(&initramfs)?;

        let console_path = directory.join("console.log");
        let mut log = File::create(&console_path)
            .with_context(|| format!("can't create {}", console_path.display()))?;
        let start = Instant::now();
        let ran =
            run::stream(&mut self.qemu(&qemu, &kernel, &initramfs), self.limit, &mut |line| {
                writeln!(log, "{line}")?;
                if console.is_output(line) { on_line(line) } else { Ok(()) }
            });
        let took = start.elapsed();
        let _ = fs::remove_file(&initramfs);
        let see = || format!("kernel {} (its console: {})", self.series, console_path.display());
        let status = ran.with_context(see)?;
        let Some(exit) = console.exit else {
            let state = if console.started { "the command ran" } else { "the command never ran" };
            return Err(anyhow::anyhow!(
                "the machine ended without its end marker ({status}, {state})"
            ))
            .with_context(see);
        };
        if exit == 0 {
            let _ = fs::remove_dir_all(&directory);
        }
        Ok(Ended { exit, took })
    }

    fn qemu(&self, qemu: &Path, kernel: &Path, initramfs: &Path) -> Command {
        let mut command = Command::new(qemu);
        command
            .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048"])
            .args(["-display", "none", "-monitor", "none", "-serial", "stdio"])
            .args(["-nodefaults", "-no-reboot", "-kernel"])
            .arg(kernel)
            .arg("-initrd")
            .arg(initramfs)
            .args(["-append", "console=ttyS0 panic=-1 quiet lsm=landlock,lockdown,yama,bpf"]);
        command
    }

    fn image(&self, nonce: u128, modules: &[PathBuf]) -> Result<Image> {
        let mut image = Image::with_busybox()?;
        for (n, module) in modules.iter().enumerate() {
            image.file(&format!("/lib/modules/{n}.ko"), module)?;
        }
        for (here, there) in &self.files {
            image.file(there, here)?;
        }
        image.text("/init", 0o755, &self.init(nonce));
        Ok(image)
    }

    /// The first process: mounts what a host has mounted, runs the command, says how it ended.
    fn init(&self, nonce: u128) -> String {
        let mut exports = String::new();
        for (name, value) in &self.environment {
            exports.push_str(&format!("export {name}={}\n", run::quoted(value)));
        }
        let command: Vec<_> = self.command.iter().map(|word| run::quoted(word)).collect();
        format!(
            "#!/bin/sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t tmpfs run /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount -t securityfs securityfs /sys/kernel/security
for module in /lib/modules/*.ko; do [ -e $module ] && insmod $module; done
ip link set lo up
hostname vm
ulimit -l unlimited
{exports}cd /root
# Should the host lose sight of this machine, it doesn't run on.
(sleep {limit}; poweroff -f) &
echo
echo '{begin}'
{command} </dev/null
code=$?
echo
echo \"{end}$code\"
sync
poweroff -f
",
            limit = self.limit.as_secs() + 60,
            begin = begin(nonce),
            command = command.join(" "),
            end = end(nonce),
        )
    }
}

fn begin(nonce: u128) -> String {
    format!("@@ observer-vm {nonce} begins @@")
}

fn end(nonce: u128) -> String {
    format!("@@ observer-vm {nonce} ended @@ ")
}

/// Tells the command's lines from the firmware's and the kernel's.
struct Console {
    begin: String,
    end: String,
    started: bool,
    exit: Option<u8>,
}

impl Console {
    fn is_output(&mut self, line: &str) -> bool {
        if !self.started {
            self.started = line.ends_with(&self.begin);
            return false;
        }
        if let Some((_, code)) = line.split_once(&self.end) {
            self.exit = code.trim().parse().ok();
        }
        self.exit.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_command_wrote_is_output() {
        let mut console = Console { begin: begin(7), end: end(7), started: false, exit: None };
        let lines =
            ["SeaBIOS", &begin(6), &begin(7), "a line", &end(6), &format!("{}3", end(7)), "bye"];
        let seen: Vec<_> = lines.into_iter().filter(|line| console.is_output(line)).collect();
        assert_eq!(seen, ["a line", &end(6)]);
        assert_eq!(console.exit, Some(3));
    }

    #[test]
    fn words_of_the_command_reach_the_shell_as_they_are() {
        let machine = Machine {
            series: "6.1",
            files: Vec::new(),
            environment: vec![("CI", "it's".to_owned())],
            command: vec!["sh".to_owned(), "-c".to_owned(), "echo $X".to_owned()],
            limit: Duration::from_secs(1),
        };
        let init = machine.init(1);
        assert!(init.contains("\nsh -c 'echo $X' </dev/null\n"));
        assert!(init.contains("\nexport CI='it'\\''s'\n"));
    }
}
