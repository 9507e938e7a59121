//! Runs the cases, as root, on the kernel that is there.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use observer_tests::cases::{self, Case};
use observer_tests::harness::{Ctx, Skip, clear_abandoned, clear_leftovers, leftovers, state_of};

const USAGE: &str =
    "e2e --observer PATH --agent PATH [--quick] [--kernel] [--evasions] [--list] [FILTER…]";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("e2e: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// What the command line says.
#[derive(Default)]
struct Options {
    observer: Option<PathBuf>,
    agent: Option<PathBuf>,
    quick: bool,
    list: bool,
    /// Only what is tried on each kernel.
    kernel: bool,
    /// Only the evasion suite.
    evasions: bool,
    /// A case is run whose name has one of these in it; none chooses all.
    filters: Vec<String>,
}

impl Options {
    fn parse() -> Result<Self> {
        let mut options = Self::default();
        let mut args = std::env::args();
        args.next();
        while let Some(arg) = args.next() {
            let mut path = || args.next().map(PathBuf::from).context(USAGE);
            match arg.as_str() {
                "--observer" => options.observer = Some(path()?),
                "--agent" => options.agent = Some(path()?),
                "--quick" => options.quick = true,
                "--list" => options.list = true,
                "--kernel" => options.kernel = true,
                "--evasions" => options.evasions = true,
                flag if flag.starts_with('-') => bail!("{flag}: not known: {USAGE}"),
                filter => options.filters.push(filter.to_owned()),
            }
        }
        Ok(options)
    }
}

/// Whether no case failed.
fn run() -> Result<bool> {
    let options = Options::parse()?;
    let filters = &options.filters;
    let is_chosen = |name: &str| filters.is_empty() || filters.iter().any(|f| name.contains(f));
    let chosen = || {
        let of_kernel = options.kernel.then(cases::on_each_kernel).into_iter().flatten();
        let all = (!options.kernel).then(cases::all).into_iter().flatten();
        let of_suite = |name: &str| {
            !options.evasions || cases::evasions::EVASIONS.iter().any(|row| row.case == name)
        };
        of_kernel.chain(all).filter(move |(name, _)| is_chosen(name) && of_suite(name))
    };
    if options.list {
        chosen().for_each(|(name, _)| println!("{name}"));
        return Ok(true);
    }
    ensure!(rustix::process::geteuid().is_root(), "observer's cases need root");
    let real = |path: &Option<PathBuf>| {
        let path = path.as_ref().context(USAGE)?;
        path.canonicalize().with_context(|| path.display().to_string())
    };
    let (observer, agent) = (real(&options.observer)?, real(&options.agent)?);
    ensure!(chosen().next().is_some(), "no case has one of {filters:?} in its name");
    for place in clear_abandoned()? {
        println!("cleared what was left behind: {place}");
    }
    let root = std::env::temp_dir().join(format!("observer-e2e.{}", std::process::id()));

    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (name, case) in chosen() {
        let dir = root.join(name);
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        let dir = dir.canonicalize()?;
        let (observer, agent) = (observer.clone(), agent.clone());
        let ctx = Ctx { observer, agent, quick: options.quick, name, dir };
        let began = Instant::now();
        let result = one(&ctx, case);
        match &result {
            Ok(()) => {
                passed += 1;
                println!("ok {name} ({} ms)", began.elapsed().as_millis());
            }
            Err(error) => match error.downcast_ref::<Skip>() {
                Some(why) => {
                    skipped += 1;
                    println!("skipped {name}: {why}");
                }
                None => {
                    failed += 1;
                    println!("FAILED {name}: {error:#}");
                }
            },
        }
        fs::remove_dir_all(&ctx.dir).with_context(|| ctx.dir.display().to_string())?;
    }
    fs::remove_dir_all(&root).with_context(|| root.display().to_string())?;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(failed == 0)
}

/// One case, and what it left behind.
fn one(ctx: &Ctx, case: Case) -> Result<()> {
    let result = catch_unwind(AssertUnwindSafe(|| case(ctx)))
        .unwrap_or_else(|_| bail!("it panicked: the message is above"));
    let left: Vec<String> = leftovers()?.iter().map(|place| state_of(place)).collect();
    clear_leftovers();
    result?;
    ensure!(left.is_empty(), "observer left this behind: {}", left.join("; "));
    Ok(())
}
