//! A ledger as the cases read it: records as they stand in the file, and how to find one.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// The records of a ledger, in their order.
#[derive(Debug)]
pub struct Ledger {
    /// What stands under `rec` in each line.
    pub records: Vec<Value>,
    /// Where those stand that are of a call, by its id.
    of_call: HashMap<String, Vec<usize>>,
}

/// The value at a JSON pointer; null where there is none.
pub fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

impl Ledger {
    /// Reads a ledger's finished lines; none where there is no file yet.
    ///
    /// # Errors
    /// When a line is not a record.
    pub fn read(path: &Path) -> Result<Self> {
        let text = match fs::read(path) {
            Ok(bytes) => String::from_utf8(bytes).context("the ledger is not UTF-8")?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).context("the ledger can't be read"),
        };
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let record = |line: &str| -> Result<Value> {
            let mut line: Value =
                serde_json::from_str(line).with_context(|| format!("not a line: {line}"))?;
            Ok(line.get_mut("rec").with_context(|| "a line without rec")?.take())
        };
        let records: Vec<Value> = lines.map(record).collect::<Result<_>>()?;
        let mut of_call: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, record) in records.iter().enumerate() {
            if let Some(call) = record["call"].as_str() {
                of_call.entry(call.to_owned()).or_default().push(at);
            }
        }
        Ok(Self { records, of_call })
    }

    /// The records of a call, in their order.
    fn of_call<'a>(&'a self, call: &Value) -> impl Iterator<Item = &'a Value> {
        let places = call["call"].as_str().and_then(|id| self.of_call.get(id));
        places.into_iter().flatten().filter_map(|&at| self.records.get(at))
    }

    /// The first result of a call.
    ///
    /// # Errors
    /// When there is none.
    pub fn result(&self, call: &Value) -> Result<&Value> {
        let mut all = self.of_call(call).filter(|r| r["type"] == "result");
        all.next().with_context(|| format!("no result of this call: {call}"))
    }

    /// The records of one type.
    pub fn of_type<'a>(&'a self, word: &str) -> Vec<&'a Value> {
        self.records.iter().filter(|r| r["type"] == *word).collect()
    }

    /// The calls of one kind.
    pub fn calls<'a>(&'a self, kind: &str) -> Vec<&'a Value> {
        self.records.iter().filter(|r| r["type"] == "call" && r["kind"] == *kind).collect()
    }

    /// The execs that have this among their arguments.
    pub fn execs_with<'a>(&'a self, arg: &str) -> Vec<&'a Value> {
        let mut calls = self.calls("exec");
        calls.retain(|c| argv(c).iter().any(|a| *a == *arg));
        calls
    }

    /// The last exec that has this among its arguments: what the commands before it led to.
    ///
    /// # Errors
    /// When there is none.
    pub fn exec(&self, arg: &str) -> Result<&Value> {
        let found = self.execs_with(arg).pop();
        found.with_context(|| format!("no exec with {arg:?} among:\n{}", list(&self.calls("exec"))))
    }

    /// The run's first exec: the command that it was started for.
    ///
    /// # Errors
    /// When there is none.
    pub fn first_exec(&self) -> Result<&Value> {
        self.calls("exec").first().copied().context("no exec at all")
    }

    /// The network calls that have this far end.
    pub fn to(&self, peer: SocketAddr) -> Vec<&Value> {
        let mut calls = self.calls("connect");
        calls.retain(|c| end(at(c, "/net/peer"), peer));
        calls
    }

    /// The one network call that has this far end.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn one_to(&self, peer: SocketAddr) -> Result<&Value> {
        one(&format!("a connect to {peer}"), self.to(peer), &self.calls("connect"))
    }

    /// The one call with this operation and near end.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn one_at(&self, op: &str, local: SocketAddr) -> Result<&Value> {
        let mut found = self.calls("listen");
        found.retain(|c| *at(c, "/net/op") == *op && end(at(c, "/net/local"), local));
        one(&format!("{op} of {local}"), found, &self.calls("listen"))
    }

    /// How a call ended: what its own record says, or its later result. Not more than one of them
    /// may.
    ///
    /// # Errors
    /// When nothing says it, or more than one record.
    pub fn outcome(&self, call: &Value) -> Result<&Value> {
        let says = |r: &&Value| r["type"] == "call" || r["type"] == "result";
        let mut found: Vec<&Value> =
            self.of_call(call).filter(says).filter_map(|r| r.get("outcome")).collect();
        match (found.pop(), found.is_empty()) {
            (Some(outcome), true) => Ok(outcome),
            (None, _) => bail!("nothing says how this call ended: {call}"),
            (Some(_), false) => bail!("more than one outcome of this call: {call}"),
        }
    }

    /// How many events the loss records say are missing: attempts, and ends of attempts.
    pub fn lost(&self) -> u64 {
        self.of_type("loss").iter().filter_map(|r| at(r, "/loss/count").as_u64()).sum()
    }

    /// Fails where something was lost, and says what.
    pub fn nothing_lost(&self) -> Result<()> {
        let losses = self.of_type("loss");
        ensure!(losses.is_empty(), "something was lost:\n{}", list(&losses));
        Ok(())
    }

    /// The runs that records name, each once.
    pub fn runs(&self) -> Vec<&str> {
        let mut runs: Vec<&str> = self.records.iter().filter_map(|r| r["run"].as_str()).collect();
        runs.sort_unstable();
        runs.dedup();
        runs
    }
}

/// The arguments of an exec.
fn argv(call: &Value) -> &[Value] {
    at(call, "/exec/argv").as_array().map_or(&[], Vec::as_slice)
}

fn end(named: &Value, addr: SocketAddr) -> bool {
    named["addr"] == addr.ip().to_string() && named["port"] == addr.port()
}

fn one<'a>(what: &str, found: Vec<&'a Value>, among: &[&Value]) -> Result<&'a Value> {
    match found.as_slice() {
        [only] => Ok(only),
        [] => bail!("not recorded: {what}; among:\n{}", list(among)),
        more => bail!("recorded {} times: {what}:\n{}", more.len(), list(more)),
    }
}

fn list(calls: &[&Value]) -> String {
    if calls.is_empty() {
        return "(none)".to_owned();
    }
    let shown = calls.iter().take(20).map(|c| c.to_string());
    shown.collect::<Vec<_>>().join("\n")
}
