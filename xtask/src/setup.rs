//! `cargo xtask setup`: what building and testing need and this machine lacks. It says each thing
//! and why before it does it, and a second run finds nothing to do.

mod apt;
pub(crate) mod bun;
pub(crate) mod clients;
pub(crate) mod kernels;

use std::fmt;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use xtask::place;
use xtask::toolchain::{self, BPF_LINKER, LLVM, Toolchain};

use crate::run::{self, run};

/// What a part of the machine is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// To build observer.
    Build,
    /// To run its tests.
    Test,
    /// The kernels that the tests boot.
    Kernels,
}

use Group::{Build, Kernels, Test};

/// Every group.
pub(crate) const ALL: [Group; 3] = [Build, Test, Kernels];

struct Package {
    name: &'static str,
    /// A program in PATH that serves as well, wherever it came from.
    program: Option<&'static str>,
    group: Group,
    /// Only Debian's toolchain needs it; rustup's nightly doesn't.
    debian_toolchain: bool,
    why: &'static str,
}

const fn package(
    name: &'static str,
    program: Option<&'static str>,
    group: Group,
    why: &'static str,
) -> Package {
    Package { name, program, group, debian_toolchain: false, why }
}

const fn compiler(name: &'static str, why: &'static str) -> Package {
    Package { name, program: None, group: Build, debian_toolchain: true, why }
}

static PACKAGES: [Package; 16] = [
    package("gcc", Some("gcc"), Build, "links every program, and compiles C of two crates"),
    package("libc6-dev", None, Build, "the C library to link with"),
    compiler("rustc-web", "compiles the eBPF programs"),
    compiler("cargo-web", "builds them, and bpf-linker"),
    compiler("libstd-rust-web-dev-bpf", "`core` for the eBPF target"),
    compiler("llvm-22-dev", "bpf-linker is built with it"),
    compiler("libpolly-22-dev", "llvm-22 asks for it when something links with it"),
    package("qemu-system-x86", Some("qemu-system-x86_64"), Test, "boots the kernels under test"),
    package("busybox-static", None, Test, "is the user space of those machines"),
    package("curl", Some("curl"), Test, "an agent's HTTP and TLS (OpenSSL)"),
    package("wget", Some("wget"), Test, "an agent's HTTP and TLS (GnuTLS)"),
    package("iproute2", Some("ip"), Test, "hosts with addresses of their own"),
    package("openssl", Some("openssl"), Test, "certificates and TLS servers"),
    package("golang-go", Some("go"), Test, "an agent in Go, which has a TLS of its own"),
    package("python3", Some("python3"), Test, "an agent in a scripting language"),
    package("xz-utils", Some("xz"), Kernels, "unpacks their modules"),
];

/// One thing that is there or isn't.
struct State {
    what: String,
    there: bool,
    detail: String,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.there { "ok     " } else { "missing" };
        write!(f, "{mark}  {:26} {}", self.what, self.detail)
    }
}

/// `setup [--check] [GROUP…]`.
pub(crate) fn command(arguments: &[String]) -> Result<ExitCode> {
    let mut check_only = false;
    let mut groups = Vec::new();
    for argument in arguments {
        match argument.as_str() {
            "--check" => check_only = true,
            "build" => groups.push(Build),
            "test" => groups.push(Test),
            "kernels" => groups.push(Kernels),
            other => bail!("setup: {other:?} is neither --check nor build, test or kernels"),
        }
    }
    if groups.is_empty() {
        groups.extend(ALL);
    }
    if !check_only {
        ensure(&groups)?;
        return Ok(ExitCode::SUCCESS);
    }
    let states = states(&groups);
    for state in &states {
        println!("{state}");
    }
    Ok(if states.iter().all(|state| state.there) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Makes sure that everything of these groups is there.
///
/// # Errors
/// Names what could not be had, and the way out.
pub(crate) fn ensure(groups: &[Group]) -> Result<()> {
    let start = Instant::now();
    let mut done = packages(groups)?;
    if groups.contains(&Build) {
        done |= linker()?;
    }
    if groups.contains(&Test) {
        for had in [bun::ensure(), clients::ensure()] {
            match had {
                Ok(new) => done |= new,
                // Their tests say that they were skipped.
                Err(error) => println!("setup: {error:#}"),
            }
        }
    }
    if groups.contains(&Kernels) {
        for series in kernels::SERIES {
            done |= kernels::ensure(series)?;
        }
    }
    let took = start.elapsed().as_secs_f32();
    println!("setup: {} ({took:.1} s)", if done { "done" } else { "everything is there" });
    Ok(())
}

fn states(groups: &[Group]) -> Vec<State> {
    let mut states: Vec<_> = wanted(groups)
        .map(|(package, there)| State {
            what: package.name.to_owned(),
            there,
            detail: package.why.to_owned(),
        })
        .collect();
    if groups.contains(&Build) {
        let (there, detail) = match Toolchain::find() {
            Ok(toolchain) => (works(&toolchain), toolchain.describe()),
            Err(error) => (false, error.to_string()),
        };
        states.push(State { what: "eBPF toolchain".to_owned(), there, detail });
    }
    if groups.contains(&Kernels) {
        states.extend(kernels::SERIES.map(|series| {
            let image = kernels::find(series);
            let there = image.is_some();
            let detail = image.map_or("cargo xtask setup kernels".to_owned(), |image| {
                image.display().to_string()
            });
            State { what: format!("kernel {series}"), there, detail }
        }));
    }
    states
}

/// The packages of these groups that this machine has a use for, and whether each is there.
fn wanted(groups: &[Group]) -> impl Iterator<Item = (&'static Package, bool)> {
    let names: Vec<_> = PACKAGES.iter().map(|package| package.name).collect();
    let installed = apt::installed(&names);
    let from_rustup = Toolchain::find().is_ok_and(|toolchain| toolchain.build_std);
    let groups = groups.to_vec();
    PACKAGES
        .iter()
        .filter(move |package| groups.contains(&package.group))
        .filter(move |package| !(from_rustup && package.debian_toolchain))
        .map(move |package| {
            let program = package.program.and_then(place::program);
            (package, program.is_some() || installed.contains(package.name))
        })
}

fn packages(groups: &[Group]) -> Result<bool> {
    let missing: Vec<_> =
        wanted(groups).filter(|(_, there)| !there).map(|(package, _)| package).collect();
    if missing.is_empty() {
        return Ok(false);
    }
    for package in &missing {
        println!("setup: package {} is missing: {}", package.name, package.why);
    }
    let names: Vec<_> = missing.iter().map(|package| package.name).collect();
    if let Err(error) = apt::install(&names) {
        let other_way = if missing.iter().any(|package| package.debian_toolchain) {
            "\nrustup can give an eBPF toolchain too: `rustup toolchain install nightly \
             --component rust-src` and `cargo install bpf-linker`"
        } else {
            ""
        };
        bail!("{error:#}{other_way}");
    }
    Ok(true)
}

/// Installs bpf-linker where no toolchain has one that works.
fn linker() -> Result<bool> {
    if Toolchain::find().is_ok_and(|toolchain| works(&toolchain)) {
        return Ok(false);
    }
    let root = toolchain::linker_root();
    println!(
        "setup: building bpf-linker {BPF_LINKER} into {} (about a minute): no linker for eBPF is \
         there that works",
        root.display()
    );
    let library = toolchain::llvm_dir().join("lib");
    let flags = ["-L".to_owned(), format!("native={}", library.display())];
    let build = place::target().join("bpf-linker");
    let mut cargo = run::cargo();
    cargo
        .args(["install", "bpf-linker", "--version", BPF_LINKER, "--locked", "--force"])
        .args(["--no-default-features", "--features", &format!("llvm-{LLVM}"), "--root"])
        .arg(&root)
        .arg("--target-dir")
        .arg(&build)
        .env("PATH", toolchain::path_with_llvm()?)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    run(&mut cargo).with_context(|| {
        format!(
            "bpf-linker could not be built; with its source at hand, \
             `cargo install --path . --root {}` does as well",
            root.display()
        )
    })?;
    // Some hundred megabytes that nothing needs again; if they stay, nothing is wrong.
    let _ = std::fs::remove_dir_all(&build);
    let toolchain = Toolchain::find()?;
    if !works(&toolchain) {
        bail!("{} was built and does not run", toolchain.linker.display());
    }
    Ok(true)
}

/// Whether the linker starts: its LLVM is a shared library, which may have gone.
fn works(toolchain: &Toolchain) -> bool {
    run::capture(Command::new(&toolchain.linker).arg("--version")).is_ok()
}
