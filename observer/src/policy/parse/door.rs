//! `unix = { path = […], abstract = […] }` and `system = […]`.

use toml::Spanned;
use toml::de::DeValue;

use super::value;
use crate::model::Door;
use crate::policy::MAX_PROGRAM;
use crate::policy::door::{MAX_UNIX_NAME, SystemScope, UnixKey, UnixScope};
use crate::policy::problem::{Finding, Report, finding, quote};

/// Reads one name.
type Reader = fn(&str) -> Result<UnixKey, Finding>;

/// Reads a `unix` scope; none where something in it is wrong.
pub(super) fn unix(
    report: &mut Report<'_>,
    rule: Option<&str>,
    found: &Spanned<DeValue<'_>>,
) -> Option<UnixScope> {
    let before = report.problems.len();
    let example = "unix = { path = [\"/run/docker.sock\"] }";
    let table = value::table(report, rule, found, "unix", example)?;
    value::known(report, rule, table, "`unix`", &["path", "abstract"]);
    let mut keys = Vec::new();
    for (key, read) in [("path", path as Reader), ("abstract", name)] {
        let Some(found) = table.get(key) else { continue };
        let items = value::one_or_many(report, rule, found, key);
        for (span, text) in value::strings(report, rule, items, key) {
            match read(text) {
                Ok(key) => keys.push(key),
                Err(found) => report.problem(rule, span, found),
            }
        }
    }
    if !table.contains_key("path") && !table.contains_key("abstract") {
        let help =
            "add `path` or `abstract`; every socket is `path = [\"/*\"], abstract = [\"*\"]`";
        report.problem(rule, found.span(), finding("`unix` says nothing", help));
    }
    keys.sort_unstable();
    keys.dedup();
    (report.problems.len() == before).then_some(UnixScope { keys })
}

/// A path, a directory and all below it, or the last part of a path or its beginning.
fn path(text: &str) -> Result<UnixKey, Finding> {
    let shown = quote(text);
    let starred = text.strip_suffix('*');
    let bare = starred.unwrap_or(text);
    if bare.contains('*') {
        let message = format!("{shown} has a star that is not its end");
        return Err(finding(message, "write `/run/dir/*`, or `name*` for how a last part begins"));
    }
    if text.is_empty() || text.contains('\0') || text.len() > MAX_PROGRAM {
        let message = format!("{shown} can't be a socket's path");
        return Err(finding(message, format!("a path has 1 to {MAX_PROGRAM} bytes")));
    }
    if !text.contains('/') {
        if starred.is_some() && bare.len() > MAX_UNIX_NAME {
            return Err(too_long(&shown));
        }
        return Ok(match starred {
            Some(start) => UnixKey::NameStart(start.into()),
            None => UnixKey::Name(text.into()),
        });
    }
    if !text.starts_with('/') {
        let message =
            format!("{shown} is a relative path, which means another file in each directory");
        return Err(finding(message, "write the absolute path, or the last part alone"));
    }
    if text == "/*" {
        return Ok(UnixKey::NameStart(vec![]));
    }
    let path = match starred {
        Some(dir) => dir.strip_suffix('/').ok_or_else(|| {
            let message = format!("{shown} has a star beside a name");
            finding(message, "write `/run/dir/*`: it means whatever stands below the directory")
        })?,
        None => text,
    };
    if path.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) {
        let message = format!("{shown} is not a resolved path, so it could never match");
        let help = "write it without \"//\", \".\", \"..\" and a slash at the end, as `realpath` prints it";
        return Err(finding(message, help));
    }
    Ok(match starred {
        Some(_) => UnixKey::Below(path.into()),
        None => UnixKey::Path(path.into()),
    })
}

/// An abstract name, or how one begins.
fn name(text: &str) -> Result<UnixKey, Finding> {
    let shown = quote(text);
    if text.starts_with('@') {
        let message = format!("the abstract name {shown} begins with the \"@\" that tools write");
        return Err(finding(message, "leave it out: it stands for the NUL before the name"));
    }
    let starred = text.strip_suffix('*');
    let bare = starred.unwrap_or(text);
    if bare.len() > MAX_UNIX_NAME {
        return Err(too_long(&shown));
    }
    if bare.contains('*') || text.is_empty() {
        let message = format!("{shown} can't be held against abstract names");
        return Err(finding(message, "write the name, or its beginning and a star"));
    }
    Ok(match starred {
        Some(start) => UnixKey::AbstractStart(start.into()),
        None => UnixKey::Abstract(text.into()),
    })
}

fn too_long(shown: &str) -> Finding {
    let message = format!("{shown} is too long");
    finding(
        message,
        format!("the kernel compares {MAX_UNIX_NAME} bytes: write its beginning and a star"),
    )
}

/// Reads a `system` scope; none where something in it is wrong.
pub(super) fn system(
    report: &mut Report<'_>,
    rule: Option<&str>,
    found: &Spanned<DeValue<'_>>,
) -> Option<SystemScope> {
    let before = report.problems.len();
    let items = value::one_or_many(report, rule, found, "system");
    let mut doors = Vec::new();
    for (span, text) in value::strings(report, rule, items, "system") {
        match Door::ALL.into_iter().find(|door| door.word() == text) {
            Some(door) => doors.push(door),
            None => {
                let message = format!("`system` holds {}, which is not known", quote(text));
                let words = Door::ALL.map(Door::word).join(", ");
                report.problem(rule, span, finding(message, format!("write one of {words}")));
            }
        }
    }
    doors.sort_unstable();
    doors.dedup();
    (report.problems.len() == before).then_some(SystemScope { doors })
}
