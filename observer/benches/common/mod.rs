//! What benches of the ledger begin with.

use observer::clock;
use observer::ledger::{Entry, RunStart, Writer};
use observer::model::RunId;

/// A run's beginning, in a ledger that has none yet.
pub(crate) fn begin(writer: &mut Writer, run: RunId) {
    writer.admit(run, "bench", None).expect("a run's key");
    let at = clock::now();
    let (version, kernel, boot_id) = ("0".into(), "0".into(), "boot".into());
    writer.append(Entry::ObserverStart { at, version, kernel, boot_id });
    writer.append(Entry::RunStart(RunStart {
        run,
        at,
        agent: "bench".into(),
        started_by: 0,
        cgroup: "/observer/bench".into(),
        command: None,
        exe_sha256: None,
        policy: None,
        attached: true,
        enforcement: vec![],
    }));
    writer.commit().expect("a commit");
}
