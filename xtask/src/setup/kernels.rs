//! The kernels that the tests boot: Debian's, as they are shipped, newest of each series. They are
//! downloaded and unpacked into the cache, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use xtask::place;

use super::apt;
use crate::run::capture;

/// The series under test: the oldest that is supported, and a later one.
pub(crate) const SERIES: [&str; 2] = ["6.1", "6.12"];

/// What a host loads when it is asked for, in the order of their needs: ends of connections.
const MODULES: [&str; 3] = ["inet_diag.ko", "tcp_diag.ko", "udp_diag.ko"];

/// A series' kernel image in the cache.
pub(crate) fn find(series: &str) -> Option<PathBuf> {
    let images = directory(series).read_dir().ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    images
        .filter(|path| name_of(path).starts_with("vmlinuz-") && check(path, series).is_ok())
        .max_by_key(|path| numbers(name_of(path)))
}

/// The modules that belong to an image, in the order in which they are loaded. Some may not be
/// there: what was put into the cache by hand may have them built in.
pub(crate) fn modules(image: &Path) -> Vec<PathBuf> {
    let place = modules_of(image);
    MODULES.iter().map(|name| place.join(name)).filter(|path| path.exists()).collect()
}

/// Their directory, beside the image.
fn modules_of(image: &Path) -> PathBuf {
    let release = name_of(image).trim_start_matches("vmlinuz-");
    image.with_file_name(format!("modules-{release}"))
}

/// Makes sure that a series' kernel is in the cache; true if it had to be downloaded.
///
/// # Errors
/// If no package of it is to be had, or what was downloaded isn't that kernel.
pub(super) fn ensure(series: &str) -> Result<bool> {
    let there = find(series);
    if there.as_ref().is_some_and(|image| modules(image).len() == MODULES.len()) {
        return Ok(false);
    }
    let directory = directory(series);
    println!(
        "setup: downloading a kernel {series} into {}: the end-to-end tests boot it",
        directory.display()
    );
    let done = download(series, &directory);
    if let (Some(_), Err(error)) = (there, &done) {
        println!("setup: the kernel {series} that is there goes without some modules: {error:#}");
        return Ok(false);
    }
    done.with_context(|| {
        format!(
            "no kernel {series}: put a vmlinuz-{series}.* of any distribution, with BTF and BPF LSM \
             built in, into {}",
            directory.display()
        )
    })?;
    Ok(true)
}

fn download(series: &str, directory: &Path) -> Result<()> {
    let pattern = format!(r"^linux-image-{}\..*-cloud-amd64-unsigned$", series.replace('.', r"\."));
    let package =
        newest(apt::search(&pattern)?).with_context(|| format!("no package matches {pattern}"))?;
    // Beside its place, so that the last step is a rename and a half-done run leaves no image.
    let work = directory.join(format!("unpack-{}", std::process::id()));
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).with_context(|| format!("can't create {}", work.display()))?;
    println!("setup: apt-get download {package}");
    apt::download(&package, &work)?;
    let file = only(&work, |name| name.ends_with(".deb"))?;
    capture(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&work))?;
    let image = only(&work.join("boot"), |name| name.starts_with("vmlinuz-"))?;
    check(&image, series)?;
    let place = directory.join(name_of(&image));
    let modules = modules_of(&place);
    let _ = fs::remove_dir_all(&modules);
    fs::rename(unpacked(&work)?, &modules)
        .with_context(|| format!("can't create {}", modules.display()))?;
    fs::rename(&image, &place).with_context(|| format!("can't create {}", place.display()))?;
    fs::remove_dir_all(&work).with_context(|| format!("can't remove {}", work.display()))
}

/// The modules of an unpacked package, none of them compressed any more.
fn unpacked(work: &Path) -> Result<PathBuf> {
    let out = work.join("modules");
    fs::create_dir(&out).with_context(|| format!("can't create {}", out.display()))?;
    let lib = if work.join("usr/lib/modules").exists() { "usr/lib/modules" } else { "lib/modules" };
    let net = only(&work.join(lib), |_| true)?.join("kernel/net/ipv4");
    for name in MODULES {
        let Ok(file) = only(&net, |it| it.starts_with(name)) else { continue };
        fs::copy(&file, out.join(name_of(&file)))?;
        if name_of(&file).ends_with(".xz") {
            capture(Command::new("xz").arg("-d").arg(out.join(name_of(&file))))?;
        }
    }
    Ok(out)
}

fn directory(series: &str) -> PathBuf {
    place::cache().join("kernels").join(series)
}

fn only(directory: &Path, wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let entries = directory.read_dir().with_context(|| format!("no {}", directory.display()))?;
    let mut found = entries.filter_map(|entry| Some(entry.ok()?.path()));
    found
        .find(|path| wanted(name_of(path)))
        .with_context(|| format!("{} holds nothing of use", directory.display()))
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// Whether a file is a kernel image of a series. Documentation/arch/x86/boot.rst: "HdrS" at 0x202,
/// and at 0x20e where its version stands, counted from 0x200.
fn check(image: &Path, series: &str) -> Result<()> {
    use std::io::Read;
    let mut head = Vec::new();
    let file = fs::File::open(image).with_context(|| format!("can't open {}", image.display()))?;
    file.take(64 * 1024)
        .read_to_end(&mut head)
        .with_context(|| format!("can't read {}", image.display()))?;
    let Some(version) = version_in(&head) else {
        bail!("{} is not a kernel image", image.display());
    };
    if !version.starts_with(&format!("{series}.")) {
        bail!("{} is kernel {version}, not {series}", image.display());
    }
    Ok(())
}

fn version_in(head: &[u8]) -> Option<String> {
    if head.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let offset = usize::from(u16::from_le_bytes([*head.get(0x20e)?, *head.get(0x20f)?]));
    let text = head.get(0x200 + offset..)?;
    let end = text.iter().position(|&byte| byte == b' ' || byte == 0)?;
    String::from_utf8(text[..end].to_vec()).ok()
}

fn newest(packages: Vec<String>) -> Option<String> {
    packages.into_iter().max_by_key(|name| numbers(name))
}

/// The numbers in a name, in their order: what makes 6.1.0-9 older than 6.1.0-10.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|run| run.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_by_number_and_not_by_letter() {
        let names = ["6.1.0-9", "6.1.0-56", "6.1.0-10"]
            .map(|version| format!("linux-image-{version}-cloud-amd64-unsigned"));
        assert_eq!(newest(names.to_vec()), Some(names[1].clone()));
    }

    #[test]
    fn an_image_says_its_version_and_anything_else_none() {
        let mut image = vec![0; 0x300];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e] = 0x40;
        image[0x240..0x252].copy_from_slice(b"6.1.0-56-cloud (x)");
        assert_eq!(version_in(&image).as_deref(), Some("6.1.0-56-cloud"));
        image.truncate(0x244);
        assert_eq!(version_in(&image), None, "cut in the middle of the version");
        assert_eq!(version_in(b"<html>404</html>"), None);
        assert_eq!(version_in(&[]), None);
    }
}
