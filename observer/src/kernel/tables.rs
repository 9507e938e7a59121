//! The policy's tables, as the kernel's maps take them.

use std::net::IpAddr;

use observer_common::{
    ARG_LEN, ArgKey, Config, Decision, GROUP_RULES, Group, GroupRule, HOST_LEN, NameKey, NameValue,
    NetKey, PROGRAM_LEN, PortKey, ProgramKey, ProgramValue, config_flag, decision, name_flag,
    program_kind,
};

use crate::policy::{self, Tables, compile};

/// A program's entry: its key and what the map holds for it.
pub(super) type Program = (ProgramKey, ProgramValue);

/// The run's configuration under `tables`, and under what the kernel can do.
pub(super) fn config(tables: Option<&Tables>, lsm: bool) -> Config {
    let mut flags = config_flag::EXEC_EXIT;
    if lsm {
        flags |= config_flag::EXEC_LSM;
    }
    let Some(tables) = tables else { return Config { flags, ..Config::default() } };
    let net = tables.ports.iter().any(|entry| entry.decision.rule().is_some());
    if net || tables.raw.denies() || tables.default_deny {
        flags |= config_flag::NET_RULES;
    }
    if !tables.names.is_empty() {
        flags |= config_flag::NAME_RULES;
    }
    if !tables.programs.is_empty() || tables.default_deny {
        flags |= config_flag::EXEC_RULES;
    }
    flags |= match tables.unhashed {
        compile::Unhashed::Unasked => 0,
        compile::Unhashed::Unknown => config_flag::HASH_RULES,
        compile::Unhashed::Would => config_flag::HASH_RULES | config_flag::HASH_WOULD,
        compile::Unhashed::Denied => config_flag::HASH_RULES | config_flag::HASH_DENY,
    };
    if tables.advisory {
        flags |= config_flag::ADVISORY;
    }
    if tables.raw.denies() {
        flags |= config_flag::UNHELD_DENY;
    }
    if !tables.unix.is_empty() || tables.default_deny {
        flags |= config_flag::UNIX_RULES;
    }
    if tables.default_deny {
        flags |= config_flag::NET_DENY | config_flag::EXEC_DENY;
        flags |= config_flag::UNIX_DENY | config_flag::SYSTEM_DENY;
    }
    Config { flags, unheld: wire(tables.raw), ..Config::default() }
}

/// A decision on the wire.
pub(super) fn wire(decision: compile::Decision) -> Decision {
    match decision {
        compile::Decision::Deny(rule) => Decision { kind: decision::DENY, rule },
        compile::Decision::Would { rule, allowed } => {
            let allow = if allowed { decision::ALLOW } else { decision::DEFAULT };
            Decision { kind: decision::WOULD | allow, rule }
        }
        compile::Decision::Allow(rule) => Decision { kind: decision::ALLOW, rule },
        compile::Decision::DefaultDeny | compile::Decision::DefaultAllow => Decision::default(),
    }
}

/// An address, as maps are keyed by it.
pub(super) fn net_key(addr: IpAddr) -> NetKey {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
        IpAddr::V6(addr) => addr.octets(),
    }
}

/// The entries of the map of names: the bits of the key that count, the key, and its value.
pub(super) fn names(tables: &Tables) -> impl Iterator<Item = (u32, NameKey, NameValue)> + '_ {
    tables.names.iter().map(|name| {
        let mut key = [0; HOST_LEN];
        let kept = name.key.len().min(HOST_LEN);
        key[..kept].copy_from_slice(&name.key[..kept]);
        let len = kept as u32;
        let flag = |denies: bool, flag: u32| if denies { flag } else { 0 };
        let flags = flag(name.exact_denies, name_flag::EXACT_DENIES)
            | flag(name.below_denies, name_flag::BELOW_DENIES);
        (len * 8, key, NameValue { len, exact: name.exact, below: name.below, flags })
    })
}

/// The entries of the port map.
pub(super) fn ports(tables: &Tables) -> impl Iterator<Item = (PortKey, Decision)> + '_ {
    tables.ports.iter().map(|entry| {
        let key = PortKey { set: entry.set, port: entry.port, protocol: u32::from(entry.protocol) };
        (key, wire(entry.decision))
    })
}

/// The entries of the program map.
pub(super) fn programs(tables: &Tables) -> Vec<Program> {
    let mut out = vec![];
    for entry in &tables.programs {
        let value =
            ProgramValue { decision: wire(entry.decision), group: entry.group, reserved: 0 };
        match &entry.key {
            compile::ProgramKey::Name(name) => {
                out.push((key(program_kind::NAME, name), value));
            }
            compile::ProgramKey::Sha256(hash) => {
                out.push((key(program_kind::SHA256, hash), value));
            }
            compile::ProgramKey::Path(path) => {
                out.push((key(program_kind::PATH, &leaf_first(path)), value));
                out.push((key(program_kind::SCRIPT, path), value));
            }
            compile::ProgramKey::ScriptName(name) => {
                out.push((key(program_kind::SCRIPT_NAME, name), value));
            }
        }
    }
    out
}

/// `/usr/bin/git` as the kernel walks it: `git\0bin\0usr\0` would end with the root's own end;
/// each component has its NUL.
pub(super) fn leaf_first(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len() + 1);
    for component in path.split(|&b| b == b'/').rev().filter(|c| !c.is_empty()) {
        out.extend_from_slice(component);
        out.push(0);
    }
    out
}

fn key(kind: u32, name: &[u8]) -> ProgramKey {
    let mut bytes = [0; PROGRAM_LEN];
    let len = name.len().min(PROGRAM_LEN);
    bytes[..len].copy_from_slice(&name[..len]);
    ProgramKey { kind, bytes }
}

/// The entries of the argument map.
pub(super) fn args(tables: &Tables) -> impl Iterator<Item = (ArgKey, u32)> + '_ {
    tables.args.iter().map(|entry| {
        let mut bytes = [0; ARG_LEN];
        let len = entry.arg.len().min(ARG_LEN);
        bytes[..len].copy_from_slice(&entry.arg[..len]);
        (ArgKey { group: entry.group, bytes }, u32::from(entry.bit))
    })
}

/// The entries of the group map.
pub(super) fn groups(tables: &Tables) -> impl Iterator<Item = (u32, Group)> + '_ {
    tables.groups.iter().map(|group| {
        let mut out = Group::default();
        for (slot, rule) in out.rules.iter_mut().zip(&group.rules) {
            *slot = GroupRule { mask: rule.mask, decision: wire(rule.decision) };
        }
        (group.id, out)
    })
}

const _: () = assert!(policy::host::MAX_NAME < HOST_LEN);
const _: () = assert!(policy::MAX_GROUP_RULES <= GROUP_RULES);
