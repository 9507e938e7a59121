//! What observation costs: each workload unobserved and observed in turn, several times, as a
//! ratio. A single time says little on a machine that others share; the ratio of two neighbours
//! says more, and the spread says how much.

mod observed;
mod workload;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::harness::Ctx;
use observed::{Costs, Place};
use workload::Workload;

const USAGE: &str =
    "bench --observer PATH --agent PATH [--rounds N] [--scale N] [--json] [WORKLOAD…]";

/// What the command line says.
struct Options {
    observer: PathBuf,
    agent: PathBuf,
    rounds: usize,
    /// How many hundredths of a workload's usual number are done.
    scale: u64,
    json: bool,
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
    if options.json {
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        println!("{}", json!({ "rounds": options.rounds, "workloads": rows }));
    } else {
        println!("{}", Row::HEAD);
        rows.iter().for_each(|row| println!("{}", row.line()));
    }
    Ok(())
}

impl Options {
    fn parse() -> Result<Self> {
        let (mut observer, mut agent) = (None, None);
        let (mut rounds, mut scale, mut json, mut chosen) = (7, 100, false, vec![]);
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
                flag if flag.starts_with('-') => bail!("{flag}: not known: {USAGE}"),
                name => chosen.push(name.to_owned()),
            }
        }
        ensure!(rounds > 0 && scale > 0, "--rounds and --scale: at least 1");
        let real = |path: Option<PathBuf>| -> Result<PathBuf> {
            let path = path.context(USAGE)?;
            path.canonicalize().with_context(|| path.display().to_string())
        };
        Ok(Self { observer: real(observer)?, agent: real(agent)?, rounds, scale, json, chosen })
    }
}

/// One workload's figures.
struct Row {
    name: &'static str,
    /// Deeds in a round.
    count: u64,
    unobserved: Vec<Duration>,
    observed: Vec<Duration>,
    costs: Costs,
}

fn measure(options: &Options, dir: PathBuf) -> Result<Vec<Row>> {
    let (observer, agent) = (options.observer.clone(), options.agent.clone());
    let ctx = Ctx { observer, agent, quick: false, name: "bench", dir };
    let place = Place::new(&ctx)?;
    let all = workload::all(&ctx, options.scale)?;
    for name in &options.chosen {
        let known: Vec<_> = all.iter().map(|workload| workload.name).collect();
        ensure!(known.contains(&name.as_str()), "no workload {name:?}, but {}", known.join(", "));
    }
    let is_chosen = |w: &&Workload| {
        options.chosen.is_empty() || options.chosen.iter().any(|name| name == w.name)
    };
    let mut rows = vec![];
    for workload in all.iter().filter(is_chosen) {
        // Once for nothing: caches, and the pages of what is executed.
        place.time(workload)?;
        let (count, name) = (workload.count, workload.name);
        let (unobserved, observed) = (vec![], vec![]);
        let mut row = Row { name, count, unobserved, observed, costs: Costs::default() };
        for round in 0..options.rounds {
            if !options.json {
                eprintln!("{name}: round {} of {}", round + 1, options.rounds);
            }
            row.unobserved.push(place.time(workload)?);
            let (took, costs) = place.observed(workload)?;
            row.observed.push(took);
            row.costs.add(&costs);
        }
        rows.push(row);
    }
    place.close()?;
    Ok(rows)
}

impl Row {
    const HEAD: &'static str = "workload     unobserved   observed/unobserved    events   lost   \
                                observer's CPU   its memory";

    /// Median, least and most of the rounds' ratios.
    fn ratios(&self) -> (f64, f64, f64) {
        let pairs = self.observed.iter().zip(&self.unobserved);
        let ratios = pairs.map(|(with, without)| with.as_secs_f64() / without.as_secs_f64());
        spread(ratios.collect())
    }

    /// The median of a deed's time, unobserved, in microseconds.
    fn each_us(&self) -> f64 {
        let times = self.unobserved.iter().map(Duration::as_secs_f64).collect();
        spread(times).0 * 1e6 / self.count as f64
    }

    fn line(&self) -> String {
        let (median, least, most) = self.ratios();
        let Costs { produced, lost, .. } = self.costs;
        format!(
            "{:<12} {:>7.2} µs   {median:.3} ({least:.3}–{most:.3})  {produced:>8}  {lost:>5}   \
             {:>8.2} µs     {:>5} MiB",
            self.name,
            self.each_us(),
            self.costs.cpu_us_each(),
            self.costs.peak_kib / 1024
        )
    }

    fn json(&self) -> Value {
        let (median, least, most) = self.ratios();
        json!({
            "workload": self.name,
            "deeds_a_round": self.count,
            "unobserved_us": self.each_us(),
            "ratio": { "median": median, "min": least, "max": most },
            "events": self.costs.produced,
            "kept": self.costs.kept,
            "lost": self.costs.lost,
            "cpu_us_an_event": self.costs.cpu_us_each(),
            "peak_kib": self.costs.peak_kib,
        })
    }
}

/// Median, least and most.
fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |i: usize| values.get(i).copied().unwrap_or(f64::NAN);
    let last = values.len().saturating_sub(1);
    ((at(last / 2) + at(last.div_ceil(2))) / 2.0, at(0), at(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_stands_between_two() {
        assert_eq!(spread(vec![4.0, 1.0, 2.0, 3.0]), (2.5, 1.0, 4.0));
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), (2.0, 1.0, 3.0));
    }
}
