//! The corpus: credentials drawn at random by their providers' documented forms, written without a
//! look at the rules' own examples; the places and encodings that they come in; and the judge, who
//! looks for any eight bytes of a secret in what came out, decoding as a reader could.
//!
//! Deterministic: the same seed gives the same corpus.

use std::fmt::Write as _;

use data_encoding::{BASE32, BASE64, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

/// A small generator of numbers (xorshift64*), so that a corpus can be told by its seed.
pub(crate) struct Random(u64);

impl Random {
    /// From a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let x = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        usize::try_from(x >> 33).unwrap_or(0) % n.max(1)
    }

    /// So many characters of an alphabet.
    pub(crate) fn text(&mut self, alphabet: &str, len: usize) -> String {
        let letters: Vec<char> = alphabet.chars().collect();
        (0..len).map(|_| letters[self.below(letters.len())]).collect()
    }
}

const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const B62: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const B64U: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
const B64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const HEX: &str = "0123456789abcdef";
const UPPER_36: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const LOWER_36: &str = "abcdefghijklmnopqrstuvwxyz0123456789";
const UPPER_32: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const DIGITS: &str = "0123456789";
const SYMBOLS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#%*+-./?@^_~";

/// Kinds by their forms: `{A36}` is thirty-six of base62, `u` of base64url, `b` of base64, `h` hex,
/// `U` upper case and digits, `l` lower case and digits, `T` base32, `d` digits, `a` lower case.
/// The fixed part is cut by a bar, so that scanners leave this file alone;
/// what stands before a circumflex is public.
pub(crate) const KINDS: &[&str] = &[
    "gh|p_{A36}",
    "gh|o_{A36}",
    "gh|s_{A36}",
    "github|_pat_{A22}_{A59}",
    "gl|pat-{u20}",
    "gl|rt-{u20}",
    "gl|dt-{u20}",
    "gl|ptt-{h40}",
    "gl|soat-{u20}",
    "AK|IA{T16}",
    "AS|IA{T16}",
    "sk-|ant-api03-{u93}AA",
    "sk-|proj-{A74}",
    "sk-|svcacct-{A74}",
    "sk-|or-v1-{h64}",
    "gs|k_{A52}",
    "xa|i-{A80}",
    "pp|lx-{A48}",
    "r|8_{A37}",
    "h|f_{A34}",
    "nv|api-{u64}",
    "ls|v2_pt_{h32}_{h10}",
    "sk-|lf-{h8}-{h4}-{h4}-{h4}-{h12}",
    "tv|ly-{A32}",
    "e|2b_{h40}",
    "pc|sk_{A6}_{A63}",
    "xo|xb-{d12}-{d12}-{A24}",
    "xo|xp-{d12}-{d12}-{d12}-{h32}",
    "xa|pp-1-A{U10}-{d13}-{h64}",
    "https://hooks.slack|.com/services/^T{U8}/B{U10}/{A24}",
    "https://discord|.com/api/webhooks/^{d18}/{u68}",
    "sk|_live_{A24}",
    "sk|_test_{A99}",
    "rk|_live_{A24}",
    "wh|sec_{A32}",
    "AI|za{u35}",
    "ya|29.{u100}",
    "GOC|SPX-{u28}",
    "np|m_{A36}",
    "py|pi-AgEIcHlwaS5vcmc{u150}",
    "ruby|gems_{h48}",
    "ci|o{A32}",
    "oy|2{l43}",
    "dck|r_pat_{u27}",
    "do|p_v1_{h64}",
    "d|p.pt.{A43}",
    "da|pi{h32}",
    "S|G.{u22}.{u43}",
    "S|K{h32}",
    "ke|y-{h32}",
    "{h32}|-us12",
    "{d10}|:AA{u33}",
    "shp|at_{h32}",
    "shp|ss_{h32}",
    "sq0|atp-{u22}",
    "NR|AK-{U27}",
    "gl|sa_{A32}_{h8}",
    "snt|rys_eyJ{u100}",
    "li|n_api_{A40}",
    "nt|n_{A46}",
    "pa|t{A14}.{h64}",
    "AT|ATT3xFfGF0{u170}",
    "fi|gd_{u40}",
    "hv|s.{u90}",
    "{A14}|.atlasv1.{u67}",
    "pu|l-{h40}",
    "fo|1_{u43}",
    "nf|p_{A40}",
    "sb|p_{h40}",
    "psc|ale_tkn_{u43}",
    "PM|AK-{h24}-{h34}",
    "dt|0c01.{U24}.{U64}",
    "EZ|AK{A54}",
    "CF|PAT-{u43}",
    "AK|Cp{A69}",
    "ts|key-auth-{A17}-{A32}",
    "AGE-SECRET-|KEY-1{r58}",
    "HR|KU-{u58}",
    "CCI|PAT_{A22}_{h40}",
    "bk|ua_{h40}",
    "sn|yk_uat.{u60}",
    "sq|p_{h40}",
    "pn|u_{A36}",
    "tf|p_{u59}",
    "fw|_{A24}",
    "dnkey|-{u26}-{u52}",
    "phx|_{A43}",
    "xkey|sib-{h64}-{A16}",
    "re|_{A8}_{A24}",
    "pat|-na1-{h8}-{h4}-{h4}-{h4}-{h12}",
    "duff|el_live_{u43}",
    "ship|po_live_{h40}",
    "AV|NS_{u19}",
    "SWM|TKN-1-{l50}-{l25}",
    "sha|256~{u43}",
    "rd|me_{l70}",
    "sg|p_{h40}",
    "AP|I-{U26}",
    "dns|imple_a_{A32}",
    "al|cht_{A30}",
    "xa|at-{h8}-{h4}-{h4}-{h4}-{h12}",
    "rz|p_live_{A14}",
    "FLW|SECK-{h32}-X",
    "sk|.eyJ{A70}.{u22}",
    "AQ|VN{u36}",
    "LT|AI{A20}",
    "wan|db_v1_{A60}",
    "api|fy_api_{A36}",
    "ey|JhbGciOiJIUzI1NiJ9.eyJ{u40}.{u43}",
    "crow|din_{h80}",
    "root|ly_{h64}",
    "vercel|_blob_rw_{A16}_{A30}",
    "po|lar_oat_{A43}",
    "sup|_sk_{A32}",
    "ops_|eyJ{u200}",
    "hc|aik_{l58}",
    "dbt|c_{A40}",
];

/// Generic credentials of no known provider: a word for the service, a separator, randomness.
pub(crate) const UNSEEN: &[&str] = &[
    "acme_{A32}",
    "zephyr-{A40}",
    "qlx.{A36}",
    "{A32}",
    "{A40}",
    "{u43}",
    "{A24}",
    "{l40}",
    "kx9_live_{A28}",
    "wombat_key_{A30}",
    "{A22}",
    "tk1-{l36}",
    "{b44}",
    "{A64}",
    "prodtok_{l32}",
    "{u64}",
];

/// Places by structure, where anything is a secret; `@` stands for it.
pub(crate) const STRUCTURED: &[&str] = &[
    "--password=@",
    "--api-key=@",
    "export DB_PASSWORD='@'",
    "API_TOKEN=@",
    "curl -H 'Authorization: Bearer @' http://h/",
    "{\"password\":\"@\",\"user\":\"me\"}",
    "{\"auth\": {\"client_secret\": \"@\"}}",
    "https://h/p?x=1&access_token=@&y=2",
    "postgres://app:@@db.internal:5432/x",
    "https://me:@@h/r.git",
    "password: @\nuser: me",
    "X-Api-Key: @\r\nHost: h\r\n",
    "Cookie: sid=@; theme=dark\r\n",
    "Server=db;Password=@;Database=x",
    "<password>@</password>",
    "- name: DB_PASSWORD\n  value: @\n",
    "{\"name\":\"API_TOKEN\",\"value\":\"@\"}",
    "machine h login me password @",
    "{\\\"secret\\\":\\\"@\\\"}",
    "aws_secret_access_key = @",
    "client_secret=@&grant_type=x",
    "user.password=@",
    "dbPassword: \"@\"",
];

/// Places that say nothing.
pub(crate) const PLAIN: &[&str] = &[
    "@",
    "see @ for it",
    "echo '@' | tool",
    "{\"a\":\"@\"}",
    "a,@,b",
    "(@)",
    "x=@",
    "http://h/p?q=@&r=1",
    "[@]",
    "line one\n@\nline three",
    "f(\"@\");",
    "<td>@</td>",
];

/// Draws a credential of a form.
pub(crate) fn draw(form: &str, random: &mut Random) -> String {
    let mut out = String::new();
    let mut rest = form;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        let close = rest[open..].find('}').map_or(rest.len(), |at| open + at);
        let (alphabet, len) = rest[open + 1..close].split_at(1);
        let alphabet = match alphabet {
            "A" => B62,
            "u" => B64U,
            "b" => B64,
            "h" => HEX,
            "U" => UPPER_36,
            "l" => LOWER_36,
            "T" => UPPER_32,
            "d" => DIGITS,
            "s" => SYMBOLS,
            "r" => "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L",
            _ => LOWER,
        };
        out.push_str(&random.text(alphabet, len.parse().unwrap_or(1)));
        rest = rest.get(close + 1..).unwrap_or("");
    }
    out.push_str(rest);
    out.replace('|', "")
}

/// A password: letters, digits and signs.
pub(crate) fn password(random: &mut Random) -> String {
    // Quotes, blanks and separators would end it in some places: there it is not this value.
    let first = random.text(B62, 1);
    let len = 11 + random.below(20);
    format!(
        "{first}{}{}",
        random.text(SYMBOLS, len).replace(['%', '@', '/', '#', '?'], "x"),
        random.text(DIGITS, 1)
    )
}

/// An encoding of a text.
pub(crate) type Encode = fn(&str) -> String;

/// The encodings that secrets come in.
pub(crate) const ENCODINGS: &[(&str, Encode)] = &[
    ("raw", |s| s.to_owned()),
    ("json", |s| {
        s.replace('\\', "\\\\").replace('"', "\\\"").replace('/', "\\/").replace('\n', "\\n")
    }),
    ("json in json", |s| format!("{{\\\"k\\\":\\\"{}\\\"}}", s.replace('\n', "\\\\n"))),
    ("\\u escapes", |s| {
        s.bytes().fold(String::new(), |mut o, b| {
            let _ = write!(o, "\\u{b:04x}");
            o
        })
    }),
    ("percent", |s| {
        s.bytes().fold(String::new(), |mut o, b| {
            if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) {
                o.push(char::from(b))
            } else {
                let _ = write!(o, "%{b:02X}");
            }
            o
        })
    }),
    ("percent, all", |s| {
        s.bytes().fold(String::new(), |mut o, b| {
            let _ = write!(o, "%{b:02X}");
            o
        })
    }),
    ("percent twice", |s| {
        s.bytes().fold(String::new(), |mut o, b| {
            let _ = write!(o, "%25{b:02x}");
            o
        })
    }),
    ("hex", |s| HEXLOWER.encode(s.as_bytes())),
    ("HEX", |s| HEXUPPER.encode(s.as_bytes())),
    ("\\x escapes", |s| {
        s.bytes().fold(String::new(), |mut o, b| {
            let _ = write!(o, "\\x{b:02x}");
            o
        })
    }),
    ("base64", |s| BASE64.encode(s.as_bytes())),
    ("base64, 1 before", |s| BASE64.encode(format!("a{s} tail").as_bytes())),
    ("base64, 2 before", |s| BASE64.encode(format!("ab{s} tail").as_bytes())),
    ("base64url", |s| BASE64URL_NOPAD.encode(format!("id:{s}").as_bytes())),
    ("base64 twice", |s| BASE64.encode(BASE64.encode(s.as_bytes()).as_bytes())),
    ("base64 of JSON", |s| BASE64.encode(format!("{{\"user\":\"me\",\"v\":\"{s}\"}}").as_bytes())),
    ("base32", |s| BASE32.encode(s.as_bytes())),
    ("entities", |s| {
        s.bytes().fold(String::new(), |mut o, b| {
            let _ = write!(o, "&#x{b:x};");
            o
        })
    }),
    ("octal", |s| {
        s.bytes().fold(String::new(), |mut o, b| {
            let _ = write!(o, "\\{b:03o}");
            o
        })
    }),
    ("UTF-16 in base64", |s| {
        let wide: Vec<u8> = s.encode_utf16().flat_map(u16::to_le_bytes).collect();
        BASE64.encode(&wide)
    }),
];

/// Whether eight bytes of the secret can be read out of the text by decoding, three levels deep.
pub(crate) fn leaks(text: &[u8], secret: &[u8]) -> bool {
    leaks_at(text, secret, 3)
}

fn leaks_at(text: &[u8], secret: &[u8], depth: u32) -> bool {
    let whole = secret.len().min(8);
    if secret.windows(whole).any(|piece| memchr::memmem::find(text, piece).is_some()) {
        return true;
    }
    if depth == 0 {
        return false;
    }
    decodings(text).iter().any(|inner| leaks_at(inner, secret, depth - 1))
}

/// What a reader would try: written apart from the masker's own decoders, and more generous.
fn decodings(text: &[u8]) -> Vec<Vec<u8>> {
    let mut out = vec![];
    out.extend(unescaped(text));
    let words = text.split(|&b| !(b.is_ascii_alphanumeric() || b"+/-_".contains(&b)));
    for word in words.filter(|word| word.len() >= 11) {
        for phase in 0..4.min(word.len()) {
            let std: Vec<u8> = word[phase..]
                .iter()
                .map(|&b| match b {
                    b'-' => b'+',
                    b'_' => b'/',
                    b => b,
                })
                .collect();
            let std = &std[..std.len() - usize::from(std.len() % 4 == 1)];
            if let Ok(mut plain) = data_encoding::BASE64_NOPAD.decode(&zeroed(std)) {
                out.push(plain.clone());
                plain.retain(|&b| b != 0);
                out.push(plain);
            }
        }
        if word.iter().all(u8::is_ascii_hexdigit) {
            for phase in 0..2 {
                let digits = &word[phase..];
                let digits = &digits[..digits.len() & !1];
                out.extend(data_encoding::HEXLOWER_PERMISSIVE.decode(digits).ok());
            }
        }
        if word.iter().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(b)) {
            for phase in 0..8 {
                if let Some(digits) = word.get(phase..) {
                    out.extend(
                        data_encoding::BASE32_NOPAD.decode(&digits[..digits.len() & !7]).ok(),
                    );
                }
            }
        }
    }
    out
}

/// The last digit with its unused bits cleared, as a lenient decoder takes it.
fn zeroed(digits: &[u8]) -> Vec<u8> {
    digits[..digits.len() & !3].to_vec()
}

fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let hex = |digits: Option<&[u8]>| {
        let text = std::str::from_utf8(digits?).ok()?;
        u32::from_str_radix(text, 16).ok()
    };
    let (mut out, mut at) = (vec![], 0);
    while at < text.len() {
        let rest = &text[at..];
        let found = match rest {
            [b'%', ..] => hex(rest.get(1..3)).map(|n| (n, 3)),
            [b'\\', b'x', ..] => hex(rest.get(2..4)).map(|n| (n, 4)),
            [b'\\', b'u', ..] => hex(rest.get(2..6)).map(|n| (n, 6)),
            [b'\\', b'0'..=b'3', ..] => {
                let octal = rest.get(1..4).and_then(|d| std::str::from_utf8(d).ok());
                octal.and_then(|d| u32::from_str_radix(d, 8).ok()).map(|n| (n, 4))
            }
            [b'\\', b'n', ..] => Some((10, 2)),
            [b'\\', c, ..] if c.is_ascii_punctuation() => Some((u32::from(*c), 2)),
            [b'&', b'#', b'x', ..] => {
                let end = rest.iter().take(10).position(|&b| b == b';');
                end.and_then(|end| hex(rest.get(3..end)).map(|n| (n, end + 1)))
            }
            _ => None,
        };
        let (n, len) = found.unwrap_or((u32::from(rest[0]), 1));
        out.push(u8::try_from(n).unwrap_or(b'?'));
        at += len;
    }
    (out.len() < text.len()).then_some(out)
}
