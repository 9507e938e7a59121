//! Where a value begins and ends, and whether it is one: not a variable, a type or a call.

use crate::mask::keys::Kind;
use crate::mask::random;

/// So much of a value says whether it is code.
const GLANCE: usize = 64;

/// How a key and its value are written.
pub(super) struct Form {
    start: usize,
    end: usize,
    quoted: bool,
    /// White space stands between the separator and the value.
    spaced: bool,
    /// `key: value` alone on its line: the value goes on to the line's end.
    line: bool,
    /// The key names a password or a secret in so many words.
    sure: bool,
    /// `key` itself means a key, for which hex is a value.
    is_key: bool,
    /// `?key=value` or `&key=value`, as URLs and forms have it: no place for a program's names.
    query: bool,
    key: Vec<u8>,
}

impl Form {
    pub(super) fn new(text: &[u8], key_start: usize, key: &[u8], sign: u8, after: usize) -> Self {
        let gap = text.get(after..).map_or(0, |rest| {
            rest.iter().take(8).take_while(|b| matches!(b, b' ' | b'\t' | b'\\')).count()
        });
        let gap = gap + prefix(text, after + gap);
        let quoted = matches!(text.get(after + gap), Some(b'"' | b'\'' | b'`'));
        let spaced = matches!(text.get(after), Some(b' ' | b'\t'));
        let head = text.get(key_start.saturating_sub(32)..key_start).unwrap_or_default();
        let head = head.rsplit(|&b| b == b'\n').next().unwrap_or_default();
        let alone = head.iter().all(|b| matches!(b, b' ' | b'\t' | b'-' | b'"' | b'\''));
        let lower = key.to_ascii_lowercase();
        let says = |word: &[u8]| lower.windows(word.len()).any(|w| w == word);
        let (start, end) = if quoted { value(text, after) } else { (after + gap, after + gap) };
        Self {
            start,
            end,
            quoted,
            spaced,
            line: sign == b':' && spaced && !quoted && alone,
            sure: says(b"pass") || says(b"pwd") || says(b"secret") || says(b"credential"),
            is_key: says(b"key") || says(b"salt") || says(b"seed"),
            query: sign == b'=' && matches!(head.last(), Some(b'?' | b'&')),
            key: lower,
        }
    }

    /// Where the value begins and ends.
    pub(super) fn extent(&self, text: &[u8]) -> (usize, usize) {
        if self.quoted {
            return (self.start, self.end);
        }
        if !self.line {
            return unquoted(text, self.start);
        }
        let rest = &text[self.start.min(text.len())..];
        let len = rest.iter().take_while(|b| !matches!(b, b'\n' | b'\r' | b'"')).count();
        let kept = rest[..len].trim_ascii_end().len();
        (self.start, self.start + kept)
    }

    /// Whether a few digits are a secret under this key.
    fn counts_as_code(&self) -> bool {
        let says = |word: &[u8]| self.key.windows(word.len()).any(|w| w == word);
        says(b"pin") || says(b"otp") || says(b"cvv") || says(b"cvc") || self.key == b"pw"
    }

    /// Whether the dictionary should know it: not what may be a word of a program.
    pub(super) fn is_learnt(&self, value: &[u8]) -> bool {
        let plain = value.iter().all(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'.'));
        !plain || self.sure && !self.spaced && value.len() >= 8
    }
}

/// Whether the value is worth a mask, by its first bytes and by how it is written.
pub(super) fn is_worth(text: &[u8], form: &Form, kind: Kind) -> bool {
    let end = if form.quoted { form.end } else { text.len() };
    let glance = text.get(form.start..end.min(form.start + GLANCE)).unwrap_or_default();
    let glance = if form.quoted {
        glance
    } else {
        let (start, end) =
            unquoted(text.get(..form.start + glance.len()).unwrap_or(text), form.start);
        text.get(start..end).unwrap_or_default()
    };
    if !is_a_value(glance) || glance.eq_ignore_ascii_case(&form.key) {
        return false;
    }
    let digits = glance.iter().any(u8::is_ascii_digit);
    if kind == Kind::Weak {
        let hex = glance.iter().all(u8::is_ascii_hexdigit) && glance.len() >= 32;
        let pair = glance.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b'-' | b':'));
        let hex = hex || pair && glance.len() >= 48;
        let word = glance.iter().all(|b| b.is_ascii_alphanumeric() || b"+/=_-.".contains(b));
        return form.is_key && hex
            || !hex && word && digits && glance.len() >= 16 && random::is_random(glance);
    }
    let letters = glance.iter().all(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'.' | b'-'));
    let number = glance.iter().all(u8::is_ascii_digit) && glance.len() <= 10;
    if number && !form.sure && !form.counts_as_code() {
        return false; // `input_tokens: 42`
    }
    let next = text.get(form.start + glance.len()).copied().unwrap_or(0);
    if form.quoted
        && matches!(glance.first(), Some(b' ' | b')' | b'+' | b',' | b'\n'))
        && glance.get(1).is_none_or(|b| b.is_ascii_whitespace())
    {
        return false; // the quote before it closed something
    }
    let cased =
        glance.iter().any(u8::is_ascii_uppercase) && glance.iter().any(u8::is_ascii_lowercase);
    let random = glance.len() >= if cased { 8 } else { 16 } && random::is_random(glance);
    if letters && !random {
        let named = glance.contains(&b'.')
            || !glance.iter().any(u8::is_ascii_lowercase) && glance.contains(&b'_');
        if !form.quoted && (named || matches!(next, b',' | b';' | b'(' | b')' | b':')) {
            return false; // a name of the program's
        }
        // A plain word: a password may be one, a token isn't.
        return form.query && glance.len() >= 6
            || form.sure && (form.quoted || form.line || !form.spaced);
    }
    form.quoted || !is_code(glance, form.spaced)
}

/// `parser.next(x)`, `Option<String>`, `&str`, `os.environ["X"]`, `self.token2`.
fn is_code(glance: &[u8], spaced: bool) -> bool {
    let name =
        glance.iter().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'?'));
    let name = &glance[..name.count()];
    let rest = &glance[name.len()..];
    let begins = matches!(name.first(), Some(b'a'..=b'z' | b'A'..=b'Z' | b'_'));
    let opens = matches!(rest.first(), Some(b'(' | b'[' | b'<' | b'{'))
        || rest.starts_with(b"::")
        || rest.starts_with(b"->")
        || rest.starts_with(b"!(")
        || rest.starts_with(b"=>");
    if begins && opens && !(name.len() >= 12 && random::is_random(name)) {
        return spaced
            || rest.starts_with(b"(")
            || rest.starts_with(b"::")
            || rest.starts_with(b"[");
    }
    let sign =
        matches!(glance.first(), Some(b'&' | b'*' | b'(' | b'[' | b'{' | b'|' | b'!' | b'@'));
    if spaced && sign {
        let code = |b: &u8| b.is_ascii_alphanumeric() || b"_&*'\"[](){}|!@;:,<>./- ".contains(b);
        let digits = glance.iter().filter(|b| b.is_ascii_digit()).count();
        // Tags, aliases and pointers rarely have a digit, drawn passwords nearly always.
        if digits > 0 && glance.len() >= 8 && matches!(glance.first(), Some(b'!' | b'*')) {
            return false;
        }
        let run = glance
            .split(|b| !b.is_ascii_alphanumeric())
            .any(|run| run.len() >= 8 && random::is_random(run));
        return glance.iter().all(code)
            && digits <= 3
            && !run
            && glance.iter().filter(|b| b.is_ascii_alphabetic()).count() * 2 >= glance.len();
    }
    let ends =
        rest.is_empty() || matches!(rest, [b';' | b',' | b')' | b'}' | b']' | b'?' | b':', ..]);
    spaced
        && begins
        && ends
        && !(name.len() >= 8 && random::is_random(name))
        && !name.iter().any(u8::is_ascii_digit)
}

/// Where the value begins and ends that stands from `at` on.
pub(in crate::mask) fn value(text: &[u8], at: usize) -> (usize, usize) {
    let mut start = at.min(text.len());
    let mut escapes = 0;
    while start < text.len() && start - at < 8 && matches!(text[start], b' ' | b'\t' | b'\\') {
        escapes = if text[start] == b'\\' { escapes + 1 } else { 0 };
        start += 1;
    }
    start += prefix(text, start);
    match text.get(start) {
        Some(&quote @ (b'"' | b'\'' | b'`')) => quoted(text, start + 1, quote, escapes),
        _ => unquoted(text, start),
    }
}

/// How long what stands before a value is and is none of it: the letter of a string's sort (`b"X"`,
/// `f'X'`, `@"X"`), YAML's tag or anchor (`!!str X`, `&a X`).
fn prefix(text: &[u8], at: usize) -> usize {
    match text.get(at..at + 3) {
        Some(
            [b'b' | b'B' | b'f' | b'F' | b'r' | b'R' | b'u' | b'U' | b'L' | b'@', b'"' | b'\'', _],
        ) => 1,
        // T-SQL's `N'X'`.
        Some([b'N', b'\'', _]) => 1,
        // PHP's `string(16) "X"`.
        Some(b"str") if text[at..].starts_with(b"string(") => {
            let digits = text[at + 7..].iter().take(8).take_while(|b| b.is_ascii_digit()).count();
            if text[at + 7 + digits..].starts_with(b") \"") { digits + 9 } else { 0 }
        }
        Some([b'!' | b'&', next, _]) if next.is_ascii_alphanumeric() || *next == b'!' => {
            let rest = &text[at..];
            let name =
                |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'!' | b'&' | b'_' | b'-');
            let len = rest.iter().take(24).take_while(name).count();
            let value = rest.get(len + 1).is_some_and(|b| !b.is_ascii_whitespace());
            if rest.get(len) == Some(&b' ') && value { len + 1 } else { 0 }
        }
        _ => 0,
    }
}

/// A quoted value whose opening quote bears so many backslashes: one with as many closes it. What a
/// shell glues to it belongs to it.
fn quoted(text: &[u8], from: usize, quote: u8, escapes: usize) -> (usize, usize) {
    let (mut end, mut run) = (from, 0);
    while let Some(&b) = text.get(end) {
        let closes = b == quote
            && match escapes {
                0 => run % 2 == 0 || quote == b'\'',
                _ => run <= escapes,
            };
        if closes {
            break;
        }
        run = if b == b'\\' { run + 1 } else { 0 };
        end += 1;
    }
    if end >= text.len() {
        return (from, text.len());
    }
    // `'it'\''s'`: a shell reads on.
    if escapes == 0 && matches!(text.get(end + 1), Some(b'\\')) && quote == b'\'' {
        let rest = &text[end..];
        let len = rest.iter().take_while(|b| !b.is_ascii_whitespace()).count();
        return (from, end + len);
    }
    (from, (end - run.min(escapes)).max(from))
}

fn unquoted(text: &[u8], start: usize) -> (usize, usize) {
    let start = start.min(text.len());
    let mut end = start;
    while let Some(&b) = text.get(end) {
        let next = text.get(end + 1).copied().unwrap_or(b' ');
        let ends = match b {
            b'"' | b'\'' | b'`' | b'&' | b';' => true,
            b',' => next.is_ascii_whitespace() || matches!(next, b'"' | b'\'' | b'}' | b'{'),
            b')' | b'}' | b']' => {
                next.is_ascii_whitespace()
                    || matches!(next, b',' | b';' | b'"' | b'\'' | b')' | b'}' | b']' | b'.' | b':')
            }
            b'\\' => matches!(next, b'n' | b'"' | b'\''),
            _ => b.is_ascii_whitespace(),
        };
        if ends {
            break;
        }
        end += 1;
    }
    (start, end)
}

/// Whether it is worth a mask: not empty, not a variable's name, not a plain word of a schema.
pub(in crate::mask) fn is_a_value(value: &[u8]) -> bool {
    const PLAIN: &[&[u8]] = &[
        b"true",
        b"false",
        b"null",
        b"none",
        b"nil",
        b"string",
        b"yes",
        b"no",
        b"undefined",
        b"str",
        b"int",
        b"integer",
        b"number",
        b"bool",
        b"boolean",
        b"any",
        b"object",
        b"bytes",
        b"void",
        b"string;",
        b"string,",
        b"some",
        b"text",
        b"redacted",
        b"[redacted]",
        b"required",
        b"bearer",
        b"basic",
        b"...",
        b"0",
        b"1",
        b"-1",
        b"0x",
        b"unknown",
        b"optional",
        b"u8",
        b"u16",
        b"u32",
        b"u64",
        b"u128",
        b"i32",
        b"i64",
        b"f32",
        b"f64",
        b"int32",
        b"int64",
        b"uint32",
        b"uint64",
        b"float64",
        b"u64,",
        b"u32,",
    ];
    const LONGEST: usize = longest(PLAIN);
    let first = value.first().copied().unwrap_or(0);
    let masked = value.iter().all(|b| matches!(b, b'*' | b'x' | b'X' | b'.' | b'-' | b'_'));
    let placeholder = first == b'<'
        && value.ends_with(b">")
        && value.iter().all(|b| b.is_ascii_alphabetic() || b" <>_-".contains(b));
    !(value.is_empty()
        || masked
        || placeholder
        || is_variable(value)
        || value.len() <= LONGEST && PLAIN.iter().any(|plain| value.eq_ignore_ascii_case(plain)))
}

/// How long the longest of some words is.
const fn longest(words: &[&[u8]]) -> usize {
    let (mut longest, mut at) = (0, 0);
    while at < words.len() {
        longest = if words[at].len() > longest { words[at].len() } else { longest };
        at += 1;
    }
    longest
}

/// `$NAME`, `${…}`, `$(…)`, `{{ … }}`, `%(name)s`, `%NAME%`.
fn is_variable(value: &[u8]) -> bool {
    let named = |name: &[u8]| {
        !name.is_empty()
            && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
            && !name.iter().any(u8::is_ascii_lowercase)
            || name.iter().all(|b| b.is_ascii_lowercase() || *b == b'_') && random::score(name) >= 0
    };
    match value {
        [b'$', b'{' | b'(', ..] => true,
        [b'$', name @ ..] => named(name),
        [b'{', b'{', ..] => value.len() < 8 || value.contains(&b'}'),
        [b'%', b'(', ..] => value.contains(&b')'),
        [b'%', name @ .., b'%'] => named(name),
        _ => false,
    }
}
