//! The dynamic loader, called as a program: the programs among its arguments are judged too, as the
//! kernel does (observer-ebpf, loader.rs).

use observer_common::{ARG_READS, PROGRAM_LEN};

use super::compile::ProgramKey;
use super::judge::{Program, base};
use super::rule::{Class, ExecScope, Rule};

/// Whether an exec ends in a loader: as the program, or as the interpreter of a script.
pub(super) fn runs(program: &Program) -> bool {
    let name = base(program.interpreter.as_ref().unwrap_or(&program.path));
    [&b"ld-linux"[..], b"ld-musl-", b"ld.so", b"ld-2."].iter().any(|it| name.starts_with(it))
}

/// Whether a rule speaks of a program among the arguments. The first alone can be allowed: what
/// stands after an option is not known to be what runs. Rules with arguments have no word.
pub(super) fn names(rule: &Rule, scope: &ExecScope, argv: &[Vec<u8>]) -> bool {
    let allows = rule.class() == Class::Allow;
    let said = argv.iter().skip(1).take(if allows { 1 } else { usize::MAX });
    scope.args.is_empty()
        && said.into_iter().any(|arg| scope.programs.iter().any(|key| is_meant(rule, key, arg)))
}

/// A path that is denied is denied by its last part too: nothing tells where another one leads.
fn is_meant(rule: &Rule, key: &ProgramKey, arg: &[u8]) -> bool {
    match key {
        ProgramKey::Path(path) => {
            path == arg || rule.class() == Class::Deny && base(path) == base(arg)
        }
        ProgramKey::Name(name) => name == base(arg),
        ProgramKey::ScriptName(_) | ProgramKey::Sha256(_) => false,
    }
}

/// Whether there are more arguments than the kernel looks at.
pub(super) fn is_unread(argv: &[Vec<u8>]) -> bool {
    let reads = |arg: &Vec<u8>| (arg.len() + 1).div_ceil(PROGRAM_LEN);
    argv.iter().map(reads).sum::<usize>() > ARG_READS
}

#[cfg(test)]
mod tests {
    use crate::policy::{Attempt, Policy, Program};

    const LOADER: &str = "/usr/lib64/ld-linux-x86-64.so.2";

    fn rule_under(text: &str, program: Program) -> (bool, String) {
        let policy = Policy::parse(&format!("version = 1\n{text}")).unwrap();
        let found = policy.judge(&Attempt::Exec(program));
        let rule = found.decision.rule().and_then(|rule| policy.id(rule)).unwrap_or("default");
        (found.denied, rule.to_owned())
    }

    fn loads(args: &[&str]) -> Program {
        let argv = [&[LOADER], args].concat().iter().map(|arg| arg.as_bytes().to_vec()).collect();
        Program { path: LOADER.into(), invoked: LOADER.into(), argv, ..Program::default() }
    }

    const NO_GIT: &str =
        "default = \"allow\"\n[[deny]]\nid = \"no-git\"\nexec = { program = \"/usr/bin/git\" }\n";

    /// As the end-to-end cases `loader-…` have it of the kernel.
    #[test]
    fn what_a_loader_is_given_is_denied_behind_options_too_and_by_its_last_part() {
        for args in
            [&["/usr/bin/git", "push"][..], &["--inhibit-cache", "/usr/bin/git"], &["./git"]]
        {
            assert_eq!(rule_under(NO_GIT, loads(args)), (true, "no-git".to_owned()), "{args:?}");
        }
        assert_eq!(rule_under(NO_GIT, loads(&["/usr/bin/env"])), (false, "default".to_owned()));
        let plain = Program { path: "/usr/bin/env".into(), ..loads(&["/usr/bin/git"]) };
        assert_eq!(rule_under(NO_GIT, plain), (false, "default".to_owned()), "no loader");
    }

    #[test]
    fn a_loader_and_what_it_is_given_must_both_be_allowed() {
        let list = |programs: &str| {
            format!(
                "default = \"deny\"\n[[allow]]\nid = \"a\"\nexec = {{ program = [{programs}] }}\n"
            )
        };
        let both = list(&format!("\"{LOADER}\", \"/usr/bin/git\""));
        let git = ["/usr/bin/git", "push"];
        assert_eq!(rule_under(&both, loads(&git)), (false, "a".to_owned()));
        let alone = list(&format!("\"{LOADER}\""));
        assert_eq!(rule_under(&alone, loads(&git)), (true, "default".to_owned()));
        assert!(rule_under(&list("\"/usr/bin/git\""), loads(&git)).0);
        let behind = ["--argv0", "x", "/usr/bin/git"];
        assert!(rule_under(&both, loads(&behind)).0, "the first alone is what runs");
    }

    #[test]
    fn what_a_loader_is_given_has_no_hash_and_more_than_is_looked_at_is_denied() {
        let hash = format!(
            "default = \"allow\"\n[[deny]]\nid = \"h\"\nexec = {{ sha256 = \"{}\" }}\n",
            "0".repeat(64)
        );
        let unhashed = (true, "unhashed-program".to_owned());
        assert_eq!(rule_under(&hash, loads(&["/usr/bin/git"])), unhashed);
        let many = vec!["x"; observer_common::ARG_READS];
        assert_eq!(rule_under(NO_GIT, loads(&many)), (true, "default".to_owned()));
        assert_eq!(rule_under(NO_GIT, loads(&many[1..])), (false, "default".to_owned()));
    }

    #[test]
    fn a_loader_that_is_a_scripts_interpreter_counts_alike() {
        let argv = [LOADER, "/usr/bin/git", "/home/x/run"].map(|arg| arg.as_bytes().to_vec());
        let script = Program {
            path: "/home/x/run".into(),
            invoked: "/home/x/run".into(),
            interpreter: Some(LOADER.into()),
            argv: argv.into(),
            ..Program::default()
        };
        assert_eq!(rule_under(NO_GIT, script), (true, "no-git".to_owned()));
    }
}
