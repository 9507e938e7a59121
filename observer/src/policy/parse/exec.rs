//! `exec = { program = …, args = […] }` or `exec = { sha256 = … }`.

use toml::Spanned;
use toml::de::DeValue;

use super::value;
use crate::policy::compile::ProgramKey;
use crate::policy::problem::{Finding, Report, finding, quote};
use crate::policy::rule::ExecScope;
use crate::policy::{MAX_ARG, MAX_ARGS, MAX_PROGRAM};

/// Reads an `exec` scope; none where something in it is wrong.
pub(super) fn scope(
    report: &mut Report<'_>,
    rule: Option<&str>,
    found: &Spanned<DeValue<'_>>,
) -> Option<ExecScope> {
    let before = report.problems.len();
    let table = value::table(report, rule, found, "exec", "exec = { program = \"git\" }")?;
    value::known(report, rule, table, "`exec`", &["program", "sha256", "args"]);
    let programs = match (table.get("program"), table.get("sha256")) {
        (Some(program), None) => keys(report, rule, program, "program", program_key),
        (None, Some(hash)) => {
            if let Some(args) = table.get("args") {
                let help = "leave `args` out, or name the program instead of its hash";
                let message = "a rule by `sha256` holds whatever the arguments";
                report.problem(rule, args.span(), finding(message, help));
            }
            keys(report, rule, hash, "sha256", hash_key)
        }
        (Some(_), Some(hash)) => {
            let help = "give each a rule of its own: a name is held whatever the file holds, a hash \
                        whatever the file is called";
            report.problem(
                rule,
                hash.span(),
                finding("the rule has both `program` and `sha256`", help),
            );
            Vec::new()
        }
        (None, None) => {
            let help = "add `program = \"git\"`, `program = \"/usr/bin/git\"` or a list of them, or \
                        `sha256 = \"…\"`";
            let message = "`exec` names no `program` and no `sha256`";
            report.problem(rule, found.span(), finding(message, help));
            Vec::new()
        }
    };
    let args = table.get("args").map(|found| args(report, rule, found)).unwrap_or_default();
    (report.problems.len() == before).then_some(ExecScope { programs, args })
}

fn keys(
    report: &mut Report<'_>,
    rule: Option<&str>,
    found: &Spanned<DeValue<'_>>,
    name: &str,
    key: impl Fn(&str) -> Result<ProgramKey, Finding>,
) -> Vec<ProgramKey> {
    let items = value::one_or_many(report, rule, found, name);
    let mut keys = Vec::with_capacity(items.len());
    for (span, text) in value::strings(report, rule, items, name) {
        match key(text) {
            Ok(key) => keys.push(key),
            Err(found) => report.problem(rule, span, found),
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn hash_key(text: &str) -> Result<ProgramKey, Finding> {
    let read = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes());
    match read.map(<[u8; 32]>::try_from) {
        Ok(Ok(hash)) => Ok(ProgramKey::Sha256(hash)),
        _ => {
            let message = format!("{} is no SHA-256, which has 64 hex digits", quote(text));
            Err(finding(message, "write what `sha256sum` prints of the file"))
        }
    }
}

fn program_key(text: &str) -> Result<ProgramKey, Finding> {
    let shown = quote(text);
    if text.len() > MAX_PROGRAM {
        let message = format!("the program has {} bytes, more than {MAX_PROGRAM}", text.len());
        let help = "name it by the last part of its path, or by a shorter path";
        return Err(finding(message, help));
    }
    if text.is_empty() || text.contains('\0') {
        let message = format!("{shown} can't be a program's name");
        return Err(finding(
            message,
            "write a name such as \"git\" or a path such as \"/usr/bin/git\"",
        ));
    }
    if !text.contains('/') {
        if matches!(text, "." | "..") {
            return Err(finding(format!("{shown} is a directory"), "write a program's name"));
        }
        return Ok(ProgramKey::Name(text.into()));
    }
    if !text.starts_with('/') {
        let message =
            format!("{shown} is a relative path, which means another file in each directory");
        let help = "write the absolute path, or the name alone, without a slash";
        return Err(finding(message, help));
    }
    if text.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) {
        let message = format!("{shown} is not a resolved path, so it could never match");
        let help = "write it without \"//\", \".\", \"..\" and a slash at the end, as `realpath` prints it";
        return Err(finding(message, help));
    }
    Ok(ProgramKey::Path(text.into()))
}

fn args(report: &mut Report<'_>, rule: Option<&str>, found: &Spanned<DeValue<'_>>) -> Vec<Vec<u8>> {
    if found.get_ref().as_array().is_none() {
        let message = "`args` must be a list, in which each item is one whole argument";
        report.problem(
            rule,
            found.span(),
            finding(message, "write `args = [\"push\", \"--force\"]`"),
        );
        return Vec::new();
    }
    let items = value::one_or_many(report, rule, found, "args");
    let mut args = Vec::with_capacity(items.len());
    for (span, text) in value::strings(report, rule, items, "args") {
        if text.is_empty() || text.contains('\0') {
            let message = format!("{} can't be held against arguments", quote(text));
            report.problem(rule, span, finding(message, "write an argument that is not empty"));
        } else if text.len() > MAX_ARG {
            let message = format!("the argument has {} bytes, more than {MAX_ARG}", text.len());
            let help =
                "the kernel compares no more: deny the program itself, or match another argument";
            report.problem(rule, span, finding(message, help));
        } else {
            args.push(text.as_bytes().to_vec());
        }
    }
    args.sort_unstable();
    args.dedup();
    if args.len() > MAX_ARGS {
        let message = format!("the rule names {} arguments, more than {MAX_ARGS}", args.len());
        report.problem(
            rule,
            found.span(),
            finding(message, "name only those that tell the calls apart"),
        );
    }
    args
}
