//! What a verification came to. Pure.

use serde::Serialize;

/// What a ledger came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The ledger's name, as its checkpoints bear it.
    pub origin: Option<String>,
    /// The first record's `idx`: above 0 where earlier ones are not here.
    pub from: u64,
    /// Where the records that hold end: the next record's `idx`.
    pub records: u64,
    /// Each run, in the order of their beginnings.
    pub runs: Vec<RunReport>,
    /// The first line that does not hold, after which nothing can be said.
    pub broken: Option<Break>,
    /// Whether the last record is the recorder's own end.
    pub stopped: bool,
    /// Whether the host's key came from outside of the ledger.
    pub pinned: bool,
    /// How many records the last checkpoint from elsewhere vouches for.
    pub anchor: Option<u64>,
    /// Whether that is all of them: nothing is missing at the end.
    pub anchored: bool,
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    /// Its id.
    pub run: String,
    /// Its agent's name.
    pub agent: String,
    /// How far it can be trusted to be whole.
    pub state: RunState,
    /// Its records.
    pub records: u64,
    /// Its calls.
    pub calls: u64,
    /// Events that it is said to have lost.
    pub lost: u64,
    /// The `idx` of its last record.
    pub last: u64,
}

/// How far a run can be trusted to be whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RunState {
    /// Its `run.end` is there.
    Closed,
    /// It is there, and no checkpoint from elsewhere reaches as far, though one was asked for.
    Unanchored,
    /// It is not there: the run goes on, or its end was cut off.
    Open,
    /// It is not there, and a later start says that the recorder was killed.
    Torn,
    /// The run had not ended where the ledger breaks.
    Broken,
}

impl RunState {
    /// As people read it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::Unanchored => "UNANCHORED",
            Self::Open => "OPEN",
            Self::Torn => "TORN",
            Self::Broken => "BROKEN",
        }
    }
}

/// A line that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Break {
    /// The file, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line's number, from 1.
    pub line: u64,
    /// Its first byte's offset.
    pub offset: u64,
    /// Why.
    pub why: String,
}

/// What is no failure although something is missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lenience {
    /// Runs that go on, and a recorder that has not stopped.
    pub open: bool,
    /// Earlier records that are elsewhere, or were pruned.
    pub pruned: bool,
}

impl Report {
    /// Whether every record holds and nothing is missing that can be known to be.
    pub fn holds(&self) -> bool {
        self.holds_but_for(Lenience::default())
    }

    /// The same, with what may be missing.
    pub fn holds_but_for(&self, lenience: Lenience) -> bool {
        self.broken.is_none()
            && self.records > 0
            && (self.from == 0 || lenience.pruned)
            && (self.stopped || lenience.open)
            && self.runs.iter().all(|run| match run.state {
                RunState::Closed => true,
                RunState::Open => lenience.open,
                RunState::Unanchored | RunState::Torn | RunState::Broken => false,
            })
    }

    /// Takes in what checkpoints from elsewhere vouch for: `size` records, or none. A run whose
    /// end they don't reach is UNANCHORED.
    pub fn anchor(&mut self, size: Option<u64>) {
        self.anchor = size;
        self.anchored = self.broken.is_none() && size == Some(self.records);
        for run in &mut self.runs {
            if run.state == RunState::Closed && size.is_none_or(|size| run.last >= size) {
                run.state = RunState::Unanchored;
            }
        }
    }
}
