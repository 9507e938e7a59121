//! Secrets that an argument's neighbour or its program names: `--password X`, `-u user:password`, `mysql -pX`.

mod joined;
mod programs;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::LazyLock;

pub(super) use joined::Joined;

use super::span::Span;
use super::{keys, shell, structure};
use crate::model::Raw;
use programs::{CURL_ALONE, NAMED, Takes, WAYS, Way};

/// Words after which a key and its value stand as two arguments: `aws configure set KEY VALUE`.
const SETTERS: &[&[u8]] = &[b"set", b"config", b"configure", b"setenv", b"put"];
/// Flags whose argument is a command's text and not a value.
const TEXT: &[&[u8]] = &[b"-c", b"-lc", b"-ec", b"-e", b"-xc", b"-ic", b"--command", b"--eval"];
/// Flags whose argument is a header.
const HEADER: &[&[u8]] = &[b"-H", b"--header", b"--headers", b"--proxy-header", b"--add-header"];
/// Flags whose argument is `user:password`, whatever the program.
const USER: &[&[u8]] = &[b"--userpwd", b"--userpass", b"--login", b"--creds", b"--basic-auth"];
/// Commands within arguments of commands are looked into this deep.
pub(super) const DEPTH: u32 = 3;
/// A program is looked for among so many arguments: `sudo -u x env A=b timeout 5 curl …`.
const LEADING: usize = 16;
/// The shortest piece of a cut argument that may be the beginning of a token.
const FRAGMENT: usize = 4;

/// For each argument the spans that its neighbours tell. `cut` says that the last one goes on.
pub(super) fn plan(argv: &[Raw], cut: bool) -> Vec<Vec<Span>> {
    let mut out = plan_within(argv, DEPTH);
    if cut && let (Some(last), Some(spans)) = (argv.last(), out.last_mut()) {
        spans.extend(last_word(last.bytes()));
    }
    out
}

/// The same of a command that may stand within an argument of another; an argument of its own is
/// looked into as deep as `depth` says.
pub(super) fn plan_within(argv: &[Raw], depth: u32) -> Vec<Vec<Span>> {
    let mut plan = Plan { argv, out: vec![vec![]; argv.len()], ways: vec![], program: vec![] };
    for (i, raw) in argv.iter().enumerate() {
        let arg = raw.bytes();
        if !arg.starts_with(b"-") && i < LEADING {
            plan.name(i, arg);
        }
        plan.ways(i, arg);
        plan.named(i, arg);
    }
    let mut out = plan.out;
    for (raw, spans) in argv.iter().zip(&mut out) {
        spans.extend(shell::spans(raw.bytes(), depth));
    }
    out
}

/// Whether a program is known for taking secrets.
pub(super) fn is_known(program: &[u8]) -> bool {
    KNOWN.contains_key(name(program))
}

/// A program's name without the directory that it stands in.
fn name(program: &[u8]) -> &[u8] {
    let name = program.rsplit(|&b| b == b'/').next().unwrap_or(program);
    name.strip_suffix(b".exe").unwrap_or(name)
}

/// The programs that are known, each with its ways.
static KNOWN: LazyLock<HashMap<&[u8], Vec<&'static Way>>> = LazyLock::new(|| {
    let mut out: HashMap<_, Vec<_>> = NAMED.iter().map(|name| (name.as_bytes(), vec![])).collect();
    for way in WAYS {
        for name in way.programs {
            out.entry(name.as_bytes()).or_default().push(way);
        }
    }
    out
});

/// A way of the program's, and how far it has come.
struct Going {
    way: &'static Way,
    /// Its word was met, and so many arguments since that are no flags.
    met: Option<usize>,
}

struct Plan<'a> {
    argv: &'a [Raw],
    out: Vec<Vec<Span>>,
    program: Vec<u8>,
    ways: Vec<Going>,
}

impl Plan<'_> {
    /// `sudo -u x curl …`, `env A=b curl …`: the last program named counts.
    fn name(&mut self, i: usize, arg: &[u8]) {
        let name = name(arg);
        let ways = KNOWN.get(name).map_or(&[][..], Vec::as_slice);
        if ways.is_empty() && i > 0 {
            return;
        }
        // A word that is a program's name too does not end what has begun: `vault login …`.
        if i > 0 && name == b"open" && !self.ways.is_empty() {
            return;
        }
        self.program = name.to_vec();
        let going = |way: &'static Way| Going { way, met: way.once.is_empty().then_some(0) };
        self.ways = ways.iter().copied().map(going).collect();
    }

    /// What the program takes here.
    fn ways(&mut self, i: usize, arg: &[u8]) {
        let mut ways = std::mem::take(&mut self.ways);
        for going in &mut ways {
            let Some(words) = going.met else {
                if going.way.once.iter().any(|word| is_word(arg, word)) {
                    going.met = Some(0);
                }
                continue;
            };
            match going.way.takes {
                Takes::Secret(flags) => self.flags(i, arg, flags, true, true, None),
                Takes::Next(flags) => self.flags(i, arg, flags, true, false, None),
                Takes::Joined(flags) => self.flags(i, arg, flags, false, true, None),
                Takes::After(sign, &[""]) => self.after(i, arg, 0, sign),
                Takes::After(sign, flags) => self.flags(i, arg, flags, true, true, Some(sign)),
                Takes::Words(first, count) => {
                    if !arg.starts_with(b"-") {
                        if (first..first + count).contains(&words) && structure::is_a_value(arg) {
                            self.push(i, 0);
                        }
                        going.met = Some(words + 1);
                    }
                }
                Takes::Pairs => {
                    if !arg.starts_with(b"-") {
                        self.after(i, arg, 0, b'=');
                    }
                }
                Takes::Last => {
                    if i + 1 == self.argv.len() && !arg.starts_with(b"-") {
                        self.push(i, 0);
                    }
                }
            }
        }
        self.ways = ways;
    }

    /// The value of one of these flags: joined to it, or the next argument; of it what comes after
    /// a sign, where there is one to find.
    fn flags(
        &mut self,
        i: usize,
        arg: &[u8],
        flags: &[&str],
        next: bool,
        joined: bool,
        sign: Option<u8>,
    ) {
        // Flags without a value may stand before it: `-sSLu`.
        let alone = if self.program == b"curl" && !arg.starts_with(b"--") {
            let letters = arg.get(1..).unwrap_or_default();
            letters.iter().take_while(|b| CURL_ALONE.contains(b)).count()
        } else {
            0
        };
        for flag in flags.iter().map(|flag| flag.as_bytes()) {
            let short = flag.len() == 2;
            let skip = if short && arg.first() == flag.first() { alone } else { 0 };
            let rest = match arg.get(1 + skip..) {
                Some(rest) if arg.first() == flag.first() => rest.strip_prefix(&flag[1..]),
                _ => None,
            };
            let Some(rest) = rest else { continue };
            let from = arg.len() - rest.len();
            if rest.is_empty() {
                let value = self.argv.get(i + 1).map(Raw::bytes).unwrap_or_default();
                if next && is_next(value) {
                    match sign {
                        Some(sign) => self.after(i + 1, value, 0, sign),
                        None => self.push(i + 1, 0),
                    }
                }
            } else if joined
                && (short || !flag.starts_with(b"-") || rest.starts_with(b"=") || flag == b"-hp")
            {
                let from = from + usize::from(rest.starts_with(b"=") && flag.starts_with(b"-"));
                match sign {
                    Some(sign) => self.after(i, arg, from, sign),
                    None => self.push(i, from),
                }
            }
        }
    }

    /// What its own name says of an argument, whatever the program.
    fn named(&mut self, i: usize, arg: &[u8]) {
        let next = self.argv.get(i + 1).map(Raw::bytes).unwrap_or_default();
        let takes_next = match arg {
            [b'-', name @ ..] if !arg.contains(&b'=') => keys::is_secret(name) && name.len() > 1,
            _ => false,
        };
        let before = self.argv.get(..i).unwrap_or_default();
        let user = USER.contains(&arg) && next.contains(&b':') && !next.contains(&b'/');
        if user && is_next(next) {
            self.after(i + 1, next, 0, b':');
        } else if (takes_next || sets(before, arg)) && is_next(next) {
            self.push(i + 1, 0);
        }
        // `--password=X`: the argument's end is the value's, whatever stands in it.
        if let Some(at) = arg.iter().position(|&b| b == b'=')
            && (arg.starts_with(b"-") || is_variable(&arg[..at]) && !is_text(self.argv, i))
            && keys::is_secret(&arg[..at])
            && structure::is_a_value(&arg[at + 1..])
        {
            self.push(i, at + 1);
        }
        // `--env=DB_PASSWORD=X`, `-eDB_PASSWORD=X`, `--set a=b,auth.password=X`.
        if let Some(at) = arg.iter().position(|&b| b == b'=').filter(|_| arg.starts_with(b"-")) {
            self.second(i, arg, at);
        }
        if matches!(self.program.as_slice(), b"http" | b"https" | b"xh" | b"xhs") {
            self.out[i].extend(structure::header_line(arg, 0));
        }
        if !arg.starts_with(b"-") {
            return;
        }
        if HEADER.contains(&arg) {
            let spans = structure::header_line(next, 0);
            self.out.get_mut(i + 1).into_iter().for_each(|out| out.extend(spans.clone()));
        }
        for flag in HEADER {
            if let Some(rest) = arg.strip_prefix(*flag).filter(|rest| !rest.is_empty()) {
                let from = arg.len() - rest.len() + usize::from(rest.starts_with(b"="));
                self.out[i].extend(structure::header_line(arg, from));
            }
        }
    }

    /// An assignment within a flag's own.
    fn second(&mut self, i: usize, arg: &[u8], first: usize) {
        let short =
            !arg.starts_with(b"--") && keys::is_secret(arg.get(2..first).unwrap_or_default());
        if short && structure::is_a_value(&arg[first + 1..]) {
            self.push(i, first + 1);
        }
        let rest = &arg[first + 1..];
        if let Some(second) = rest.iter().position(|&b| b == b'=')
            && keys::is_secret(&rest[..second])
            && structure::is_a_value(&rest[second + 1..])
        {
            let end =
                rest[second..].iter().position(|&b| b == b',').map_or(rest.len(), |n| second + n);
            let from = first + 1;
            self.out[i].push(Span::new(from + second + 1, from + end, "password"));
        }
    }

    /// What stands after the sign, from a place of an argument on.
    fn after(&mut self, i: usize, arg: &[u8], from: usize, sign: u8) {
        let value = arg.get(from..).unwrap_or_default();
        if let Some(at) = value.iter().position(|&b| b == sign)
            && structure::is_a_value(&value[at + 1..])
            && !value[at + 1..].starts_with(b"//")
            && !arg.starts_with(b"-") | (from > 0)
        {
            self.push(i, from + at + 1);
        }
    }

    /// An argument from a place on is a secret.
    fn push(&mut self, i: usize, from: usize) {
        let Some(arg) = self.argv.get(i).map(Raw::bytes) else { return };
        if from < arg.len()
            && let Some(spans) = self.out.get_mut(i)
        {
            spans.push(Span::new(from, arg.len(), "password"));
        }
    }
}

/// Whether it can be the value of the flag before it.
fn is_next(arg: &[u8]) -> bool {
    !arg.starts_with(b"--") && structure::is_a_value(arg)
}

/// Whether an argument is the word of a way.
fn is_word(arg: &[u8], word: &str) -> bool {
    let word = word.as_bytes();
    match word {
        [b'-', letter] => arg.starts_with(b"-") && arg.contains(letter),
        [.., b'.'] => arg.starts_with(word),
        _ => arg.eq_ignore_ascii_case(word) || arg.rsplit(|&b| b == b'/').next() == Some(word),
    }
}

/// Whether this argument is a key whose value is the next: `config set db.password X`.
fn sets(before: &[Raw], arg: &[u8]) -> bool {
    let hump = |two: &[u8]| two[0].is_ascii_lowercase() && two[1].is_ascii_uppercase();
    let compound = arg.iter().any(|b| matches!(b, b'_' | b'-' | b'.' | b'/' | b':'))
        || arg.windows(2).any(hump);
    !arg.starts_with(b"-")
        && compound
        && before.iter().rev().take(3).any(|raw| SETTERS.contains(&raw.bytes()))
        && !arg.contains(&b'=')
        && keys::is_secret(arg.rsplit(|b| matches!(b, b'/' | b':')).next().unwrap_or(arg))
}

/// Whether a shell takes it for a variable's name.
fn is_variable(name: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Whether the argument is a program's text, in which an assignment ends before the argument does.
fn is_text(argv: &[Raw], i: usize) -> bool {
    let before = i.checked_sub(1).and_then(|i| argv.get(i)).map(Raw::bytes);
    before.is_some_and(|flag| TEXT.contains(&flag))
}

/// The last word of a text that goes on beyond a cut: it may be a token whose rest nobody sees.
pub(super) fn last_word(text: &[u8]) -> Option<Span> {
    let ends = |b: &u8| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'`');
    let len = text.iter().rev().take_while(|b| !ends(b)).count();
    let start = text.len() - len;
    let mut span = Span::new(start, text.len(), "cut");
    span.learn = false;
    (len >= FRAGMENT).then_some(span)
}
