//! The witness as it is run, and the recorder's side of it, over a socket.
#![expect(clippy::unwrap_used, reason = "a test panics with what it saw")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use observer::ledger::{
    Carriers, Elsewhere, Entry, HostKey, Kept, KeptStatus, Kind, Notes, VerifierKey, Writer,
    checkpoints_of, cosigned_of,
};
use tempfile::TempDir;

/// One test at a time: a process that another test is just starting holds, until its exec, a copy
/// of every lock of this one.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A witness that runs.
struct Witness {
    child: Child,
    address: String,
    key: VerifierKey,
}

impl Witness {
    fn start(dir: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_observer"));
        command.args(["witness", "serve", "--listen", "127.0.0.1:0", "--name", "w.example/one"]);
        command.arg("--logs").arg(dir.join("logs")).arg("--state-dir").arg(dir.join("witness"));
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = said.next().unwrap().unwrap();
        let second = said.next().unwrap().unwrap();
        // It goes on talking to somebody.
        std::thread::spawn(move || said.for_each(drop));
        let address = first.rsplit(' ').next().unwrap().to_owned();
        let key = VerifierKey::parse(second.rsplit(' ').next().unwrap()).unwrap();
        Self { child, address, key }
    }

    fn place(&self) -> Elsewhere {
        Elsewhere::witness(&format!("http://{} {}", self.address, self.key)).unwrap()
    }

    fn says(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.lines().next().unwrap_or_default().to_owned()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Host {
    dir: TempDir,
}

impl Host {
    /// A host with a ledger that a witness will know.
    fn new() -> Self {
        let host = Self { dir: TempDir::new().unwrap() };
        host.write(1);
        let file = BufReader::new(fs::File::open(checkpoints_of(&host.log())).unwrap());
        let (_, first) = Notes::new(file).next_checkpoint().unwrap().unwrap();
        let key = host.key().log_public();
        let key = VerifierKey { name: first.origin, kind: Kind::Log, key };
        fs::write(host.dir.path().join("logs"), format!("# the ledger\n{key}\n")).unwrap();
        host
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("ledger.jsonl")
    }

    fn key(&self) -> HostKey {
        HostKey::open_or_create(&self.dir.path().join("state")).unwrap().0
    }

    /// Starts and stops the recorder so many times; the last checkpoint.
    fn write(&self, times: u64) -> String {
        // The real time: no two records are the same.
        let at = observer::clock::now();
        let mut last = None;
        for _ in 0..times {
            let (mut writer, _) = Writer::open(&self.log(), self.key()).unwrap();
            let text = || "x".to_owned();
            let (version, kernel, boot_id) = (text(), text(), text());
            writer.append(Entry::ObserverStart { at, version, kernel, boot_id });
            writer.append(Entry::ObserverStop { at });
            last = writer.commit().unwrap().checkpoint;
        }
        last.unwrap()
    }

    /// Has a checkpoint taken to one place; what became of it.
    fn post(&self, place: Elsewhere, note: &str) -> Kept {
        let carriers = Carriers::start(&self.log(), &[place]).unwrap();
        carriers.post(note);
        let (mut news, silent) = carriers.finish(Duration::from_secs(30));
        assert!(silent.is_empty(), "{silent:?}");
        assert_eq!(news.len(), 1);
        news.remove(0)
    }
}

#[test]
fn what_continues_is_cosigned_and_a_restored_snapshot_is_a_rollback() {
    let _alone = alone();
    let host = Host::new();
    let witness = Witness::start(host.dir.path());
    let note = host.write(3);
    let kept = host.post(witness.place(), &note);
    assert_eq!((kept.status, kept.size), (KeptStatus::Kept, 8), "{kept:?}");
    let cosigned = fs::read(cosigned_of(&host.log())).unwrap();
    let (first, _) = Notes::new(&cosigned[..]).next_checkpoint().unwrap().unwrap();
    assert!(first.verifies(&witness.key));
    let verify = |key: &str| {
        let mut verify = Command::new(env!("CARGO_BIN_EXE_observer"));
        verify.args(["verify", "--anchored", "--witness", key]).arg(host.log()).arg("--key");
        let output = verify.arg(host.dir.path().join("state/host.pub")).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = verify(&witness.key.to_string());
    assert!(code == Some(0) && said.contains("ANCHORED: a checkpoint from elsewhere"), "{said}");
    let other = VerifierKey { key: host.key().public(), ..witness.key.clone() };
    assert_eq!(verify(&other.to_string()).0, Some(2), "nothing that another witness cosigned");
    let whole = fs::read(host.log()).unwrap();
    fs::write(host.log(), &whole[..whole.len() / 2]).unwrap();
    assert_eq!(verify(&witness.key.to_string()).0, Some(1));
    fs::write(host.log(), whole).unwrap();

    // A snapshot; then another start, which knows nothing of what the witness knows.
    let old = fs::read(host.log()).unwrap();
    let old_notes = fs::read(checkpoints_of(&host.log())).unwrap();
    let kept = host.post(witness.place(), &host.write(5));
    assert_eq!((kept.status, kept.size), (KeptStatus::Kept, 18), "{kept:?}");

    // The witness is killed, and comes back with what it knew.
    drop(witness);
    let witness = Witness::start(host.dir.path());
    fs::write(host.log(), old).unwrap();
    fs::write(checkpoints_of(&host.log()), old_notes).unwrap();
    let kept = host.post(witness.place(), &host.write(1));
    assert_eq!(kept.status, KeptStatus::Refused);
    assert!(kept.why.starts_with("ROLLBACK: it has cosigned 18 records"), "{}", kept.why);
    // And once it has grown past what was cosigned, it is another ledger.
    let kept = host.post(witness.place(), &host.write(9));
    assert!(kept.why.starts_with("FORK"), "{kept:?}");
}

#[test]
fn one_recorder_goes_on_posting_and_a_file_gets_the_same() {
    let _alone = alone();
    let host = Host::new();
    let witness = Witness::start(host.dir.path());
    let anchor = host.dir.path().join("anchor");
    let places = [witness.place(), Elsewhere::File(anchor.clone())];
    let mut carriers = Carriers::start(&host.log(), &places).unwrap();
    let mut all = String::new();
    for n in 1..=5 {
        let note = host.write(n);
        carriers.post(&note);
        all.push_str(&note);
        // Each arrives before the next is posted, so that none takes another's place.
        let deadline = Instant::now() + Duration::from_secs(30);
        let arrived = |path: &Path| {
            fs::read_to_string(path)
                .unwrap_or_default()
                .contains(note.split("\n\n").next().unwrap())
        };
        while !(arrived(&anchor) && arrived(&cosigned_of(&host.log()))) {
            assert!(Instant::now() < deadline, "checkpoint {n} did not arrive");
            std::thread::yield_now();
        }
    }
    assert_eq!(fs::read_to_string(&anchor).unwrap(), all);
    // Where nothing changes, nothing is told twice.
    let mut news = carriers.news();
    news.extend(carriers.finish(Duration::from_secs(30)).0);
    assert_eq!(news.len(), 2, "{news:?}");
    assert!(news.iter().all(|kept| kept.status == KeptStatus::Kept));
}

#[test]
fn a_witness_that_is_gone_or_knows_another_log_holds_nobody_up() {
    let _alone = alone();
    let host = Host::new();
    let other = Host::new();
    let witness = Witness::start(other.dir.path());
    let kept = host.post(witness.place(), &host.write(1));
    assert_eq!((kept.status, kept.why.as_str()), (KeptStatus::Refused, "it answers 404"));
    let place = witness.place();
    drop(witness);
    let kept = host.post(place, &host.write(1));
    assert_eq!(kept.status, KeptStatus::Silent, "{kept:?}");
    // One that takes connections and never answers.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let witness = Witness::start(host.dir.path());
    let text = format!("http://{} {}", mute.local_addr().unwrap(), witness.key);
    let place = Elsewhere::witness(&text).unwrap();
    let carriers = Carriers::start(&host.log(), &[place]).unwrap();
    let began = Instant::now();
    carriers.post(&host.write(1));
    let (news, silent) = carriers.finish(Duration::from_millis(50));
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!((news.len(), silent.len()), (0, 1));
}

#[test]
fn what_is_no_submission_is_answered_and_changes_nothing() {
    let _alone = alone();
    let host = Host::new();
    let witness = Witness::start(host.dir.path());
    let post = |body: &str| {
        let length = body.len();
        witness.says(&format!(
            "POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ))
    };
    assert_eq!(
        witness.says("GET / HTTP/1.1\r\nConnection: close\r\n\r\n"),
        "HTTP/1.1 404 Not Found"
    );
    assert_eq!(witness.says("\u{1}\u{2}\r\n\r\n"), "HTTP/1.1 400 Bad Request");
    for head in ["Content-Length: 99999999", "Content-Length: -1", "Transfer-Encoding: chunked"] {
        let said = witness.says(&format!("POST /add-checkpoint HTTP/1.1\r\n{head}\r\n\r\n"));
        assert_eq!(said, "HTTP/1.1 400 Bad Request", "{head}");
    }
    let note = host.write(1);
    assert_eq!(post("old 0\n"), "HTTP/1.1 400 Bad Request");
    assert_eq!(post(&format!("old 00\n\n{note}")), "HTTP/1.1 400 Bad Request");
    assert_eq!(post(&format!("old 9\n\n{note}")), "HTTP/1.1 400 Bad Request");
    assert_eq!(post(&format!("old 1\n\n{note}")), "HTTP/1.1 409 Conflict");
    assert_eq!(
        post(&format!("old 0\n\n{}", note.replacen("observer/", "other/", 1))),
        "HTTP/1.1 404 Not Found"
    );
    let size = note.lines().nth(1).unwrap();
    let larger = note.replacen(&format!("\n{size}\n"), "\n900\n", 1);
    assert_eq!(post(&format!("old 0\n\n{larger}")), "HTTP/1.1 403 Forbidden");
    let proof = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    assert_eq!(post(&format!("old 0\n{proof}\n\n{note}")), "HTTP/1.1 422 Unprocessable Entity");
    assert_eq!(post(&format!("old 0\n\n{note}")), "HTTP/1.1 200 OK");
    assert_eq!(post(&format!("old {size}\n\n{note}")), "HTTP/1.1 200 OK");
    assert_eq!(post(&format!("old 0\n\n{note}")), "HTTP/1.1 409 Conflict");
}
