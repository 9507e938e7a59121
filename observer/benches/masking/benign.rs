//! Text that holds no secret: how much of it is masked all the same, and what reading it costs.

use std::collections::BTreeMap;
use std::path::Path;

use observer::mask::{MaskKey, Masker};

use crate::corpus::Random;

/// Files beyond these are left out.
const FILE: u64 = 1 << 20;
const TOTAL: usize = 64 << 20;

/// Prints a row a kind of file, or of the corpus that is made here.
pub(crate) fn report(dirs: &[String]) {
    println!("{:<44} {:>10} {:>8} {:>11}", "benign text", "bytes", "masked", "share");
    let mut kinds: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    if dirs.is_empty() {
        for (name, text) in made() {
            kinds.entry(name.to_owned()).or_default().push(text);
        }
    }
    let mut room = TOTAL;
    for dir in dirs {
        collect(Path::new(dir), &mut room, &mut kinds);
    }
    let (mut all, mut gone) = (0, 0);
    for (name, texts) in &kinds {
        let (mut bytes, mut masked) = (0, 0);
        for text in texts {
            // Each file is a run of its own, as another corpus would have it.
            let mut masker = Masker::new(MaskKey::from_bytes([7; 32]));
            bytes += text.len();
            for found in masker.explain(text) {
                masked += found.end - found.start;
                if std::env::var_os("SHOW_MASKED").is_some() {
                    let shown = String::from_utf8_lossy(
                        &text[found.start..found.end.min(found.start + 80)],
                    );
                    let before =
                        String::from_utf8_lossy(&text[found.start.saturating_sub(30)..found.start]);
                    eprintln!(
                        "{name}\t{}\t{:?}\t{}\t{before:?}\t{shown:?}",
                        found.sort,
                        found.rules,
                        found.end - found.start
                    );
                }
            }
        }
        row(name, bytes, masked);
        all += bytes;
        gone += masked;
    }
    row("all", all, gone);
}

fn row(name: &str, bytes: usize, masked: usize) {
    println!(
        "{name:<44} {bytes:>10} {masked:>8} {:>9.3} %",
        100.0 * masked as f64 / bytes.max(1) as f64
    );
}

fn collect(path: &Path, room: &mut usize, kinds: &mut BTreeMap<String, Vec<Vec<u8>>>) {
    let Ok(meta) = path.symlink_metadata() else { return };
    if meta.is_dir() {
        let mut entries: Vec<_> =
            std::fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path()).collect();
        entries.sort();
        for entry in entries {
            collect(&entry, room, kinds);
        }
    } else if meta.is_file() && meta.len() <= FILE {
        let Ok(text) = std::fs::read(path) else { return };
        if text.contains(&0) || text.len() > *room {
            return;
        }
        *room -= text.len();
        let kind = path.extension().map_or("(none)".into(), |e| e.to_string_lossy().into_owned());
        kinds.entry(kind).or_default().push(text);
    }
}

/// A benign corpus that needs no files: what lock files, manifests and logs are full of.
pub(crate) fn made() -> Vec<(&'static str, Vec<u8>)> {
    let mut random = Random::new(21);
    let hex = "0123456789abcdef";
    let b64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let names =
        ["serde", "left-pad", "tokio-util", "react-dom", "x509-parser", "token-types", "keyv"];
    let (mut cargo, mut npm, mut go, mut yaml, mut git, mut json) =
        (String::new(), String::new(), String::new(), String::new(), String::new(), String::new());
    for n in 0..400 {
        let name = names[random.below(names.len())];
        cargo += &format!(
            "[[package]]\nname = \"{name}\"\nversion = \"1.{n}.0\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"{}\"\ndependencies = [\n \"memchr\",\n]\n\n",
            random.text(hex, 64)
        );
        npm += &format!(
            "    \"node_modules/{name}\": {{\n      \"version\": \"{n}.1.2\",\n      \"resolved\": \"https://registry.npmjs.org/{name}/-/{name}-{n}.1.2.tgz\",\n      \"integrity\": \"sha512-{}==\",\n      \"license\": \"MIT\"\n    }},\n",
            random.text(b64, 86)
        );
        go += &format!("github.com/{name}/{name} v1.{n}.0 h1:{}=\n", random.text(b64, 43));
        yaml += &format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}-{n}\n  uid: {}-{}-{}-{}-{}\nspec:\n  template:\n    spec:\n      containers:\n      - name: {name}\n        image: registry.example.com/{name}@sha256:{}\n        env:\n        - name: API_TOKEN\n          valueFrom:\n            secretKeyRef:\n              name: {name}-token\n              key: token\n---\n",
            random.text(hex, 8),
            random.text(hex, 4),
            random.text(hex, 4),
            random.text(hex, 4),
            random.text(hex, 12),
            random.text(hex, 64)
        );
        git += &format!(
            "commit {}\nAuthor: A Person <a@example.com>\nDate:   Mon Jan 1 00:{n:02}:00 2024 +0000\n\n    fix: parse the next token before the key is read (#{n})\n\nindex {}..{} 100644\n",
            random.text(hex, 40),
            random.text(hex, 7),
            random.text(hex, 7)
        );
        json += &format!(
            "{{\"type\":\"tool_use\",\"id\":\"toolu_01{}\",\"name\":\"bash\",\"input\":{{\"command\":\"cargo test -p {name} --lib\"}},\"usage\":{{\"input_tokens\":{n},\"output_tokens\":42}},\"trace_id\":\"{}\"}}\n",
            random.text(&b64[..62], 22),
            random.text(hex, 32)
        );
    }
    vec![
        ("Cargo.lock", cargo.into_bytes()),
        ("package-lock.json", npm.into_bytes()),
        ("go.sum", go.into_bytes()),
        ("Kubernetes YAML", yaml.into_bytes()),
        ("git log", git.into_bytes()),
        ("agent transcript", json.into_bytes()),
    ]
}

/// Texts whose cost is told.
pub(crate) fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let prose = "the agent opened src/main.rs, read forty lines of it, and said: the parser keeps its state in \
                 a struct. It then ran `cargo test`, which printed 12 passed; 0 failed; finished in 0.42s.\n";
    let code = "    let mut out = Vec::with_capacity(bytes.len());\n    for cluster in span::merge(spans) {\n        \
                out.extend_from_slice(bytes.get(at..cluster.start).unwrap_or_default());\n    }\n";
    let json = "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/call\",\"params\":{\"name\":\"read_file\",\"arguments\":{\"path\":\"/srv/app/src/index.ts\",\"limit\":200}}}\n";
    let long = |line: &str| line.repeat((4 << 20) / line.len()).into_bytes();
    let mut random = Random::new(22);
    let b64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let lock = made()
        .into_iter()
        .find(|(name, _)| *name == "package-lock.json")
        .map(|(_, t)| t)
        .unwrap_or_default();
    vec![
        ("ordinary text in pieces of 256 B", long(prose)),
        ("ordinary text, 4 MiB", long(prose)),
        ("source code, 4 MiB", long(code)),
        ("JSON, 4 MiB", long(json)),
        ("JSON in a JSON string, 4 MiB", long(&json.replace('"', "\\\""))),
        ("package-lock.json, 4 MiB", lock.repeat((4 << 20) / lock.len().max(1))),
        ("base64 of random bytes, 1 MiB", random.text(b64, 1 << 20).into_bytes()),
        ("one letter, 4 MiB", vec![b'a'; 4 << 20]),
        ("a token's beginning again and again, 4 MiB", long("ghp_")),
        ("keys and signs, 4 MiB", long("password=\"token:")),
        ("escapes, 4 MiB", long("%41\\u0041")),
    ]
}
