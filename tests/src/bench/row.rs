//! A workload's figures, for people and for machines.

use std::time::Duration;

use serde_json::{Value, json};

use super::observed::Costs;

/// One workload's figures.
pub(super) struct Row {
    name: &'static str,
    /// Deeds in a round.
    count: u64,
    pub(super) unobserved: Vec<Duration>,
    pub(super) observed: Vec<Duration>,
    pub(super) costs: Costs,
    pub(super) peers: Vec<Beside>,
}

/// A peer's figures for one workload.
pub(super) struct Beside {
    name: String,
    times: Vec<Duration>,
    /// What it told in all rounds, where that can be counted.
    told: Option<u64>,
    /// Why it could not be measured.
    pub(super) failed: Option<String>,
}

impl Beside {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), times: vec![], told: None, failed: None }
    }

    pub(super) fn add(&mut self, took: Duration, told: Option<u64>) {
        self.times.push(took);
        if let Some(told) = told {
            *self.told.get_or_insert(0) += told;
        }
    }
}

impl Row {
    pub(super) fn new(name: &'static str, count: u64) -> Self {
        let (unobserved, observed, peers) = (vec![], vec![], vec![]);
        Self { name, count, unobserved, observed, costs: Costs::default(), peers }
    }

    pub(super) const HEAD: &'static str = "workload     unobserved   observed/unobserved    events   lost   \
                                observer's CPU   its end   its memory";

    /// Median, least and most of the rounds' ratios.
    fn ratios(&self, times: &[Duration]) -> (f64, f64, f64) {
        let pairs = times.iter().zip(&self.unobserved);
        let ratios = pairs.map(|(with, without)| with.as_secs_f64() / without.as_secs_f64());
        spread(ratios.collect())
    }

    /// The median of a deed's time, unobserved, in microseconds.
    fn each_us(&self) -> f64 {
        let times = self.unobserved.iter().map(Duration::as_secs_f64).collect();
        spread(times).0 * 1e6 / self.count as f64
    }

    /// A line for observer, and one for each peer.
    pub(super) fn lines(&self) -> String {
        let (median, least, most) = self.ratios(&self.observed);
        let Costs { produced, lost, .. } = self.costs;
        let mut lines = format!(
            "{:<12} {:>7.2} µs   {median:.3} ({least:.3}–{most:.3})  {produced:>8}  {lost:>5}   \
             {:>8.2} µs  {:>5.1} ms     {:>5} MiB",
            self.name,
            self.each_us(),
            self.costs.cpu_us_each(),
            self.costs.end_ms_each(self.observed.len()),
            self.costs.peak_kib / 1024
        );
        for peer in &self.peers {
            lines.push_str(&format!("\n  {:<22}   ", peer.name));
            if let Some(why) = &peer.failed {
                lines.push_str(&format!("not measured: {}", why.escape_debug()));
                continue;
            }
            let (median, least, most) = self.ratios(&peer.times);
            lines.push_str(&format!("{median:.3} ({least:.3}–{most:.3})"));
            if let Some(told) = peer.told {
                let deeds = self.count * peer.times.len() as u64;
                lines.push_str(&format!("  told {told} of {deeds}"));
            }
        }
        lines
    }

    pub(super) fn json(&self) -> Value {
        let (median, least, most) = self.ratios(&self.observed);
        let peers: Vec<Value> = self.peers.iter().map(|peer| self.peer_json(peer)).collect();
        json!({
            "workload": self.name,
            "deeds_a_round": self.count,
            "unobserved_us": self.each_us(),
            "ratio": { "median": median, "min": least, "max": most },
            "events": self.costs.produced,
            "kept": self.costs.kept,
            "lost": self.costs.lost,
            "cpu_us_an_event": self.costs.cpu_us_each(),
            "cpu_ms_at_the_end": self.costs.end_ms_each(self.observed.len()),
            "peak_kib": self.costs.peak_kib,
            "peers": peers,
        })
    }

    fn peer_json(&self, peer: &Beside) -> Value {
        if let Some(why) = &peer.failed {
            return json!({ "name": peer.name, "failed": why });
        }
        let (median, least, most) = self.ratios(&peer.times);
        json!({
            "name": peer.name,
            "ratio": { "median": median, "min": least, "max": most },
            "told": peer.told,
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
