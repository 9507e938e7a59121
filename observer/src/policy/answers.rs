//! What the answers in a ledger bound to addresses, for whoever judges its connects anew.

use std::collections::HashMap;
use std::net::IpAddr;

use serde_json::Value;

use super::judge::Attempt;
use super::known::Known;
use super::recorded::name;

/// Questions without an answer yet, and addresses with names, that are remembered at most.
const MOST: usize = 65_536;
/// Names of one address at most.
const NAMES: usize = 64;

/// Names by run and address.
#[derive(Debug, Default)]
pub struct Answers {
    /// What was asked, by call.
    asked: HashMap<String, String>,
    bound: HashMap<(String, IpAddr), Vec<Known>>,
    left: u64,
}

impl Answers {
    /// Takes a record: a question is remembered, and an answer binds.
    pub fn take(&mut self, record: &Value) {
        let Some(call) = record["call"].as_str() else { return };
        match record["type"].as_str() {
            Some("call") if record["kind"] == "dns" => {
                let Some(asked) = name(&record["dns"]["name"]) else { return };
                if self.asked.len() < MOST {
                    self.asked.insert(call.to_owned(), asked);
                } else {
                    self.left += 1;
                }
            }
            Some("result") if record["dns"]["answers"].is_array() => {
                let Some(name) = self.asked.remove(call) else { return };
                self.bind(record["run"].as_str().unwrap_or_default(), name, &record["dns"]);
            }
            Some("result") => drop(self.asked.remove(call)),
            _ => {}
        }
    }

    fn bind(&mut self, run: &str, asked: String, dns: &Value) {
        let answers = || dns["answers"].as_array().into_iter().flatten();
        let aliases = answers().filter_map(|answer| name(&answer["name"])).collect();
        let known = Known { name: asked, aliases, trusted: dns["trusted"] == true };
        for addr in answers().filter_map(|answer| answer["addr"].as_str()?.parse::<IpAddr>().ok()) {
            let key = (run.to_owned(), addr.to_canonical());
            if self.bound.len() >= MOST && !self.bound.contains_key(&key) {
                self.left += 1;
                continue;
            }
            let names = self.bound.entry(key).or_default();
            if names.contains(&known) {
                continue;
            }
            if names.len() < NAMES { names.push(known.clone()) } else { self.left += 1 }
        }
    }

    /// Gives a connect of a run all the names that its address had by then, beside its own.
    pub fn complete(&self, run: &str, attempt: &mut Attempt) {
        let Attempt::Net { addr, names, .. } = attempt else { return };
        let Some(bound) = self.bound.get(&(run.to_owned(), addr.to_canonical())) else { return };
        // The record's own name comes first, and says nothing of aliases where an answer does.
        let (own, rest): (Vec<&Known>, Vec<&Known>) =
            bound.iter().partition(|known| names.iter().any(|own| own.name == known.name));
        names.retain(|name| own.iter().all(|known| known.name != name.name));
        let all: Vec<Known> = own.into_iter().cloned().chain(names.drain(..)).collect();
        *names = all.into_iter().chain(rest.into_iter().cloned()).collect();
    }

    /// How much was left out, since there was no room for it.
    pub fn left(&self) -> u64 {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use serde_json::json;

    #[test]
    fn a_connect_is_judged_by_each_name_that_its_address_had() {
        let mut answers = Answers::default();
        let mut asked = |run: &str, call: &str, name: &str, trusted: bool| {
            answers.take(&json!({"type": "call", "kind": "dns", "run": run, "call": call,
                "dns": {"name": name, "type": "A"}}));
            answers.take(&json!({"type": "result", "run": run, "call": call, "dns": {"answers": [
                {"type": "CNAME", "name": "cdn.example"}, {"type": "A", "addr": "192.0.2.1"}],
                "trusted": trusted}}));
        };
        asked("a", "1", "Bad.example.", true);
        asked("b", "2", "bad.example", true);
        asked("b", "3", "good.example", true);
        let to = |run: &str| {
            let addr = "192.0.2.1".parse().unwrap();
            let mut net = Attempt::Net { addr, protocol: 6, port: 443, names: vec![] };
            answers.complete(run, &mut net);
            net
        };
        let judge = |rules: &str, run: &str| {
            let text = format!("version = 1\ndefault = \"allow\"\n{rules}");
            Policy::parse(&text).unwrap().judge(&to(run)).denied
        };
        let bad = "[[deny]]\nid = \"bad\"\nnet = { host = \"bad.example\" }\n";
        let cdn = "[[deny]]\nid = \"cdn\"\nnet = { host = \"cdn.example\" }\n";
        assert!(judge(bad, "a"), "its only name is denied");
        assert!(!judge(bad, "b"), "another name of it is not");
        assert!(judge(cdn, "a") && judge(cdn, "b"), "each leads over an alias that is denied");
        assert!(!judge(bad, "c"), "another run's answers bind nothing here");
    }
}
