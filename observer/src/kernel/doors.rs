//! The hooks of the kernel's security modules beside exec's: which of them load here, what is then
//! held, and what is not.

use aya::programs::Lsm;
use aya::{Btf, Ebpf};
use observer_common::{Decision, PROGRAM_LEN, ProgramKey, UNIX_NAME, UnixPrefix, unix_kind};

use super::error::{LoadError, Step, chain};
use super::load::Kernel;
use super::programs::program;
use super::tables::wire;
use crate::model::Door;
use crate::policy::{Tables, UnixKey, compile};

/// Programs, their hooks, and when they are attached.
const HOOKS: [(&str, &str, When); 23] = [
    ("door_socket", "socket_create", When::Always),
    ("door_unix_connect", "unix_stream_connect", When::Always),
    ("door_unix_send", "unix_may_send", When::Always),
    ("door_receive", "file_receive", When::Always),
    ("door_ptrace", "ptrace_access_check", When::Always),
    ("door_signal", "task_kill", When::Always),
    ("door_owner", "file_set_fowner", When::Always),
    ("door_owned", "file_send_sigiotask", When::Always),
    ("door_limit", "task_setrlimit", When::Always),
    ("door_nice", "task_setnice", When::Always),
    ("door_ioprio", "task_setioprio", When::Always),
    ("door_scheduler", "task_setscheduler", When::Always),
    ("door_bpf", "bpf", When::Always),
    ("door_mount", "sb_mount", When::Always),
    ("door_move_mount", "move_mount", When::Always),
    ("door_umount", "sb_umount", When::Always),
    ("door_pivot", "sb_pivotroot", When::Always),
    ("door_superblock", "sb_kern_mount", When::Always),
    ("door_read_file", "kernel_read_file", When::Always),
    ("door_load_data", "kernel_load_data", When::Always),
    ("door_userns", "userns_create", When::Always),
    ("door_file", "file_open", When::CgroupDenied),
    ("door_birth", "task_alloc", When::CgroupDenied),
];

/// When a hook is attached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// It costs those alone who come by.
    Always,
    /// The whole host comes by.
    CgroupDenied,
}

/// What is held at the doors beside programs and the internet.
#[derive(Clone, Debug, Default)]
pub struct Doors {
    /// The programs that loaded.
    loaded: Vec<&'static str>,
    /// Why the others did not.
    why: Option<String>,
}

impl Doors {
    /// Loads what this kernel takes; `no_lsm` is why none can be.
    pub(super) fn load(
        ebpf: &mut Ebpf,
        btf: &Btf,
        no_lsm: Option<&str>,
    ) -> Result<Self, LoadError> {
        let mut doors = Self { loaded: vec![], why: no_lsm.map(str::to_owned) };
        if no_lsm.is_some() {
            return Ok(doors);
        }
        for (name, hook, _) in HOOKS {
            let lsm: &mut Lsm = program(ebpf, name)?;
            match lsm.load(hook, btf) {
                Ok(()) => doors.loaded.push(name),
                Err(error) => doors.why = Some(format!("lsm/{hook}: {}", chain(&error))),
            }
        }
        Ok(doors)
    }

    fn have(&self, programs: &[&str]) -> bool {
        programs.iter().all(|program| self.loaded.contains(program))
    }

    /// Whether a rule on this door is held.
    pub fn holds(&self, door: Door) -> bool {
        self.have(match door {
            Door::Ptrace => &["door_ptrace"],
            Door::Signal => &["door_signal", "door_owner", "door_owned"],
            Door::Bpf => &["door_bpf"],
            Door::Mount => {
                &["door_mount", "door_move_mount", "door_umount", "door_pivot", "door_superblock"]
            }
            Door::Kernel => &["door_read_file", "door_load_data"],
            Door::Userns => &["door_userns"],
            Door::Cgroup => &["door_file", "door_birth"],
            Door::Netlink => &["door_socket"],
            Door::Limits => &["door_limit", "door_nice", "door_ioprio", "door_scheduler"],
        })
    }

    /// Whether rules on unix sockets are held, by what their servers bound.
    pub fn hold_unix(&self) -> bool {
        self.have(&["door_unix_connect", "door_unix_send"])
    }

    /// Whether sockets of other families are seen and held: packet, vsock and the like.
    pub fn hold_families(&self) -> bool {
        self.have(&["door_socket"])
    }

    /// Whether sockets that come from other processes are judged.
    pub fn hold_received(&self) -> bool {
        self.have(&["door_receive"])
    }

    /// Why something is not held here.
    pub fn why(&self) -> &str {
        self.why.as_deref().unwrap_or("its hook did not load")
    }

    /// The doors that are held, as words.
    pub fn held_words(&self) -> String {
        let held = Door::ALL.into_iter().filter(|door| self.holds(*door));
        held.map(Door::word).collect::<Vec<_>>().join(", ")
    }

    /// What is not covered at the doors of this kernel: what, and why. The same in each run's
    /// `coverage` records and in `observer doctor`.
    pub fn gaps(&self) -> Vec<(&'static str, String)> {
        let mut out = vec![];
        let mut say = |what, why: String| out.push((what, why));
        let why = self.why();
        if !self.hold_unix() {
            say(
                "unix sockets",
                format!(
                    "connects are recorded; no rule holds them here, and datagrams without a \
                     connect are not seen ({why})"
                ),
            );
        }
        if !self.hold_families() {
            for what in ["packet sockets", "vsock", "netlink"] {
                say(what, format!("opened unseen, and not held ({why})"));
            }
        }
        if !self.hold_received() {
            let why = format!(
                "a socket that another process passes on keeps the hooks of the cgroup that it was \
                 made in: TCP is recorded and held as it connects, the rest is not ({why})"
            );
            say("received sockets", why);
        }
        let unheld: Vec<_> =
            Door::ALL.into_iter().filter(|door| !self.holds(*door)).map(Door::word).collect();
        if !unheld.is_empty() {
            say("system", format!("{} are not seen, and not held ({why})", unheld.join(", ")));
        }
        let why = "sockets that came with the run's first process are not judged, and of those that \
                   were open when it was attached to, none but connections";
        say("inherited sockets", why.to_owned());
        let why = "netlink sockets of routing are not told: each look-up of a name opens one";
        say("netlink.route", why.to_owned());
        let why = "what /proc says of processes outside of the run, their environment included, and \
                   what it takes for them (oom_score_adj), is held by their owner alone";
        say("proc", why.to_owned());
        out
    }

    /// The first rule of a policy that can't be held here, as an error.
    pub(super) fn held(&self, tables: &Tables) -> Result<(), LoadError> {
        let refuse = |decision: &compile::Decision, what: String| match decision {
            // One that is only recorded asks the same hook.
            compile::Decision::Deny(rule) | compile::Decision::Would { rule, .. } => {
                let id = tables.rules.get(*rule as usize).map(|rule| rule.id.clone());
                let why = self.why().to_owned();
                Err(LoadError::Unheld { rule: id.unwrap_or_default(), what, why })
            }
            _ => Ok(()),
        };
        for (door, decision) in tables.system.iter().filter(|(door, _)| !self.holds(*door)) {
            refuse(decision, format!("system = \"{}\"", door.word()))?;
        }
        if !self.hold_unix() {
            for entry in &tables.unix {
                refuse(&entry.decision, format!("a unix socket ({})", entry.key))?;
            }
        }
        Ok(())
    }
}

impl Kernel {
    /// Attaches what loaded and is not attached yet: what costs those alone who come by, and where
    /// the policy denies writing to cgroups, what the whole host comes by.
    pub(super) fn attach_doors(&mut self) -> Result<(), LoadError> {
        // Each is remembered when it stands: where one fails, the next try goes on from there.
        self.doors_held.get_or_insert_default();
        for (name, hook, when) in HOOKS {
            let wanted = when == When::Always || self.cgroups_denied;
            let loaded = self.capabilities.doors.loaded.contains(&name);
            let held = self.doors_held.as_ref().is_some_and(|held| held.contains(&name));
            if !wanted || !loaded || held {
                continue;
            }
            let program: &mut Lsm = program(&mut self.ebpf, name)?;
            let id = program.attach().step(format!("attach to lsm/{hook}"))?;
            let link = program.take_link(id).step(format!("hold the link of {name}"))?;
            self.hold(name, link.into())?;
            self.doors_held.get_or_insert_default().push(name);
        }
        Ok(())
    }
}

/// Whether a policy denies writing to cgroups, or would.
pub(super) fn cgroups_denied(tables: &Tables) -> bool {
    let own = tables.system.iter().find(|(door, _)| *door == Door::Cgroup);
    own.map_or(tables.default_deny, |(_, decision)| {
        !matches!(decision, compile::Decision::Allow(_))
    })
}

/// The entries of the map of doors.
pub(super) fn system(tables: &Tables) -> impl ExactSizeIterator<Item = (u32, Decision)> + '_ {
    tables.system.iter().map(|(door, decision)| {
        let index = Door::ALL.iter().position(|known| known == door).unwrap_or_default();
        (index as u32, wire(*decision))
    })
}

/// The entries of the map of unix sockets' whole names.
pub(super) fn names(tables: &Tables) -> Vec<(ProgramKey, Decision)> {
    let whole = tables.unix.iter().filter_map(|entry| match unix(&entry.key) {
        Place::Whole(key) => Some((key, wire(entry.decision))),
        Place::Start(..) => None,
    });
    whole.collect()
}

/// The entries of the map of how their names begin, with the bits that count.
pub(super) fn starts(tables: &Tables) -> Vec<(u32, UnixPrefix, Decision)> {
    let starts = tables.unix.iter().filter_map(|entry| match unix(&entry.key) {
        Place::Whole(_) => None,
        Place::Start(bits, key) => Some((bits, key, wire(entry.decision))),
    });
    starts.collect()
}

/// Where a name stands in the maps.
enum Place {
    Whole(ProgramKey),
    Start(u32, UnixPrefix),
}

fn unix(key: &UnixKey) -> Place {
    let whole = |kind: u32, name: &[u8]| {
        let mut bytes = [0; PROGRAM_LEN];
        let len = name.len().min(PROGRAM_LEN);
        bytes[..len].copy_from_slice(&name[..len]);
        Place::Whole(ProgramKey { kind, bytes })
    };
    let start = |kind: u32, name: &[u8]| {
        let mut bytes = [0; UNIX_NAME];
        bytes[0] = kind as u8;
        let len = name.len().min(UNIX_NAME - 1);
        bytes[1..=len].copy_from_slice(&name[..len]);
        Place::Start(8 * (len as u32 + 1), bytes)
    };
    match key {
        UnixKey::Path(path) => whole(unix_kind::PATH, &super::tables::leaf_first(path)),
        UnixKey::Below(path) => whole(unix_kind::BELOW, &super::tables::leaf_first(path)),
        UnixKey::Name(name) => whole(unix_kind::NAME, name),
        UnixKey::NameStart(name) => start(unix_kind::NAME, name),
        UnixKey::Abstract(name) => whole(unix_kind::ABSTRACT | ((name.len() as u32) << 16), name),
        UnixKey::AbstractStart(name) => start(unix_kind::ABSTRACT, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_door_has_its_number_on_the_wire() {
        use observer_common::door;
        let numbers = [
            (Door::Ptrace, door::PTRACE),
            (Door::Signal, door::SIGNAL),
            (Door::Bpf, door::BPF),
            (Door::Mount, door::MOUNT),
            (Door::Kernel, door::KERNEL),
            (Door::Userns, door::USERNS),
            (Door::Cgroup, door::CGROUP),
            (Door::Netlink, door::NETLINK),
            (Door::Limits, door::LIMITS),
        ];
        for (door, number) in numbers {
            assert_eq!(Door::ALL[number as usize], door);
        }
        assert_eq!(Door::ALL.len(), door::COUNT as usize);
    }

    #[test]
    fn what_no_hook_holds_is_refused() {
        let policy = |rule: &str| {
            let text = format!("version = 1\ndefault = \"allow\"\n[[deny]]\nid = \"a\"\n{rule}");
            crate::policy::Policy::parse(&text).unwrap().compile()
        };
        let none = Doors { loaded: vec![], why: Some("no LSM".into()) };
        for rule in ["system = \"bpf\"", "unix = { abstract = [\"x\"] }"] {
            let error = none.held(&policy(rule)).unwrap_err().to_string();
            assert!(error.contains("rule a") && error.contains("no LSM"), "{error}");
            let recorded = format!("enforce = false\n{rule}");
            let error = none.held(&policy(&recorded)).unwrap_err().to_string();
            assert!(error.contains("rule a"), "a rule that would never record was taken: {error}");
        }
        none.held(&policy("net = { port = [1] }")).unwrap();
    }
}
