//! What observation costs: each workload unobserved, observed, and if wished under others of
//! observer's kind, in turn, several times, as a ratio. A single time says little on a machine that
//! others share; the ratio of two neighbours says more, and the spread says how much.

mod build;
mod latency;
mod observed;
mod peer;
mod policy;
mod row;
mod scale;
mod web;
mod workload;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::Ctx;
use observed::Place;
use peer::Peer;
use row::{Beside, Row};
use workload::Workloads;

const USAGE: &str = "bench --observer PATH --agent PATH [--rounds N] [--scale N] [--json] \
                     [--policy] [--runs] [--latency] [--peers] [--peer 'COMMAND…[, SIGNAL]']… [WORKLOAD…]";

/// What the command line says.
struct Options {
    observer: PathBuf,
    agent: PathBuf,
    rounds: usize,
    /// How many hundredths of a workload's usual number are done.
    scale: u64,
    json: bool,
    peers: bool,
    /// Few rules against many, instead of observed against not.
    policy: bool,
    /// Few runs against many.
    runs: bool,
    /// How long a record takes, instead of what it costs.
    latency: bool,
    /// Peers of the caller's own: a command, and the signal that ends it.
    others: Vec<(String, Signal)>,
    chosen: Vec<String>,
}

/// Runs what the command line says, and prints it.
///
/// # Errors
/// When something can't be run.
pub fn main() -> Result<()> {
    let options = Options::parse()?;
    ensure!(rustix::process::geteuid().is_root(), "observing needs root");
    let dir = std::env::temp_dir().join(format!("observer-bench.{}", std::process::id()));
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let measured = measure(&options, dir.canonicalize()?);
    std::fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let rows = measured?;
    if options.policy || options.runs || options.latency {
        // It has printed its own.
    } else if options.json {
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        println!("{}", json!({ "rounds": options.rounds, "workloads": rows }));
    } else {
        println!("{}", Row::HEAD);
        rows.iter().for_each(|row| println!("{}", row.lines()));
    }
    Ok(())
}

impl Options {
    fn parse() -> Result<Self> {
        let (mut observer, mut agent) = (None, None);
        let (mut rounds, mut scale, mut json, mut chosen) = (7, 100, false, vec![]);
        let (mut peers, mut policy, mut runs, mut latency) = (false, false, false, false);
        let mut others = vec![];
        let mut args = std::env::args();
        args.next();
        while let Some(arg) = args.next() {
            let mut next = || args.next().context(USAGE);
            match arg.as_str() {
                "--observer" => observer = Some(PathBuf::from(next()?)),
                "--agent" => agent = Some(PathBuf::from(next()?)),
                "--rounds" => rounds = next()?.parse().context("--rounds: a number")?,
                "--scale" => scale = next()?.parse().context("--scale: a number")?,
                "--json" => json = true,
                "--peers" => peers = true,
                "--policy" => policy = true,
                "--runs" => runs = true,
                "--latency" => latency = true,
                "--peer" => others.push(other(&next()?)?),
                flag if flag.starts_with('-') => bail!("{flag}: not known: {USAGE}"),
                name => chosen.push(name.to_owned()),
            }
        }
        ensure!(rounds > 0 && scale > 0, "--rounds and --scale: at least 1");
        let real = |path: Option<PathBuf>| -> Result<PathBuf> {
            let path = path.context(USAGE)?;
            path.canonicalize().with_context(|| path.display().to_string())
        };
        let (observer, agent) = (real(observer)?, real(agent)?);
        Ok(Self {
            observer,
            agent,
            rounds,
            scale,
            json,
            peers,
            policy,
            runs,
            latency,
            others,
            chosen,
        })
    }
}

/// A peer of the caller's own: `COMMAND…` or `COMMAND…, SIGNAL`.
fn other(text: &str) -> Result<(String, Signal)> {
    let (command, signal) = text.rsplit_once(',').unwrap_or((text, "TERM"));
    let signal = match signal.trim().trim_start_matches("SIG") {
        "TERM" => Signal::TERM,
        "INT" => Signal::INT,
        "QUIT" => Signal::QUIT,
        "HUP" => Signal::HUP,
        "KILL" => Signal::KILL,
        name => bail!("--peer: {name:?}: TERM, INT, QUIT, HUP or KILL"),
    };
    Ok((command.to_owned(), signal))
}

fn measure(options: &Options, dir: PathBuf) -> Result<Vec<Row>> {
    let (observer, agent) = (options.observer.clone(), options.agent.clone());
    let ctx = Ctx { observer, agent, quick: false, name: "bench", dir };
    let place = Place::new(&ctx)?;
    let them = Workloads::new(&ctx, options.scale)?;
    if options.policy {
        policy::measure(&ctx, &place, &them, options.rounds)?;
        place.close()?;
        return Ok(vec![]);
    }
    if options.runs {
        scale::measure(&ctx, &place, &them, options.rounds)?;
        place.close()?;
        return Ok(vec![]);
    }
    if options.latency {
        latency::measure(&ctx, &place, &them, options.rounds, options.json)?;
        place.close()?;
        return Ok(vec![]);
    }
    for name in &options.chosen {
        let mut known: Vec<_> = them.all.iter().map(|workload| workload.name).collect();
        known.extend(them.missing.iter().map(|(name, _)| *name));
        ensure!(known.contains(&name.as_str()), "no workload {name:?}, but {}", known.join(", "));
    }
    let is_chosen =
        |name: &str| options.chosen.is_empty() || options.chosen.iter().any(|own| own == name);
    for (name, why) in them.missing.iter().filter(|(name, _)| is_chosen(name)) {
        eprintln!("{name}: left out: {why}");
    }
    let mut rows = vec![];
    for workload in them.all.iter().filter(|workload| is_chosen(workload.name)) {
        let name = workload.name;
        let (peers, missing) = if options.peers || !options.others.is_empty() {
            Peer::all(&ctx, workload, them.web.as_ref(), &options.others)?
        } else {
            (vec![], vec![])
        };
        if !missing.is_empty() {
            eprintln!("{name}: not installed, left out: {}", missing.join(", "));
        }
        let chosen = |peer: &&Peer| options.peers || !peer.is_known();
        let peers: Vec<_> = peers.iter().filter(chosen).collect();
        // Once for nothing: caches, and the pages of what is executed.
        place.time(workload)?;
        let mut row = Row::new(name, workload.count);
        row.peers = peers.iter().map(|peer| Beside::new(&peer.name)).collect();
        for round in 0..options.rounds {
            if !options.json {
                eprintln!("{name}: round {} of {}", round + 1, options.rounds);
            }
            row.unobserved.push(place.time(workload)?);
            let (took, costs) = place.observed(workload)?;
            row.observed.push(took);
            row.costs.add(&costs);
            for (peer, figures) in peers.iter().zip(&mut row.peers) {
                match place.with_peer(workload, peer) {
                    Ok((took, told)) => figures.add(took, told),
                    Err(error) => figures.failed = Some(format!("{error:#}")),
                }
            }
        }
        rows.push(row);
    }
    place.close()?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_of_ones_own_ends_by_a_signal() {
        let (command, signal) = other("tool --all, INT").unwrap();
        assert_eq!((command.as_str(), signal), ("tool --all", Signal::INT));
        assert_eq!(other("tool").unwrap().1, Signal::TERM);
        assert!(other("tool, NONE").is_err());
    }
}
