//! What rules cost: a connect and an exec under few rules and under very many, in turn, and how long
//! each policy takes to be in force.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::observed::Place;
use super::workload::Workloads;
use crate::harness::Ctx;

/// Few rules, and very many.
const SIZES: [u32; 2] = [10, 100_000];

/// A policy of `count` rules that allow as many prefixes and a rule that allows as many programs;
/// what is measured is found among them.
fn text(count: u32, program: &str, agent: &str) -> String {
    let mut out = "version = 1\ndefault = \"deny\"\n\
                   [[allow]]\nid = \"here\"\nnet = { to = \"127.0.0.1\" }\n"
        .to_owned();
    for n in 0..count {
        let addr = Ipv4Addr::from_bits(0x0100_0000 + n * 256);
        let _ = writeln!(out, "[[allow]]\nid = \"n{n}\"\nnet = {{ to = \"{addr}/24\" }}");
    }
    let _ =
        write!(out, "[[allow]]\nid = \"programs\"\nexec = {{ program = [{program:?}, {agent:?}");
    // What is named besides these two fits the table's bound.
    for n in 2..count {
        let _ = write!(out, ", \"/opt/tools/{n}/bin/tool\"");
    }
    out + "] }\n"
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, Duration::as_secs_f64)
}

/// Measures, and prints a line each.
pub(super) fn measure(ctx: &Ctx, place: &Place<'_>, them: &Workloads, rounds: usize) -> Result<()> {
    let agent = ctx.agent()?;
    let mut loads = [vec![], vec![]];
    println!(
        "{:<10} {:>8} {:>8} {:>8}   {} rules as a multiple of {}",
        "", "ratio", "least", "most", SIZES[1], SIZES[0]
    );
    for name in ["connect", "exec"] {
        let workload = them.all.iter().find(|one| one.name == name).context("a workload")?;
        let mut ratios = vec![];
        for round in 0..rounds {
            eprintln!("{name}: round {} of {rounds}", round + 1);
            let mut took = [0.0; 2];
            for (slot, size) in SIZES.into_iter().enumerate() {
                let file = ctx.path(&format!("policy-{size}.toml"))?;
                let nothing = ctx.path("nothing")?;
                std::fs::write(&file, text(size, &nothing, agent))?;
                let (time, _, load) = place.observed_under(workload, &["--policy", &file])?;
                took[slot] = time.as_secs_f64();
                loads[slot].push(load);
            }
            ratios.push(took[1] / took[0]);
        }
        ratios.sort_by(f64::total_cmp);
        let at = |n: usize| ratios.get(n).copied().unwrap_or(0.0);
        let (least, middle, most) = (at(0), at(ratios.len() / 2), at(ratios.len() - 1));
        println!("{name:<10} {middle:>8.2} {least:>8.2} {most:>8.2}");
    }
    for (size, times) in SIZES.into_iter().zip(loads) {
        println!(
            "in force after {:.2} s with {size} rules (median of {})",
            median(times.clone()),
            times.len()
        );
    }
    Ok(())
}
