//! Starting other programs, and saying what went wrong with them.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Runs a command with its output on ours.
///
/// # Errors
/// If it can't start or ends in failure; the message is the command line.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line_of(command);
    let status = command.status().with_context(|| format!("can't start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Runs a command and keeps its output.
///
/// # Errors
/// If it can't start or ends in failure; the message is the command line and what it last said.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let line = line_of(command);
    let output = command.output().with_context(|| format!("can't start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed: {}\n{}", output.status, last_words(&output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What one line of a child's output is given to.
pub(crate) type OnLine<'a> = &'a mut dyn FnMut(&str) -> Result<()>;

/// Runs a command, hands over each line of its output as it comes, and ends it when its time is up.
/// Its errors go where ours go.
///
/// # Errors
/// If it can't start, or if its time is up: then it has been killed.
pub(crate) fn stream(
    command: &mut Command,
    limit: Duration,
    on_line: OnLine<'_>,
) -> Result<ExitStatus> {
    let line = line_of(command);
    let deadline = Instant::now() + limit;
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("can't start `{line}`"))?;
    let mut child = Reaped(child);
    let output = child.0.stdout.take().context("a piped child has an output")?;
    let (sender, lines) = mpsc::sync_channel(1024);
    thread::spawn(move || {
        for text in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&text).replace('\r', "")).is_err() {
                break;
            }
        }
    });
    loop {
        match lines.recv_timeout(TICK) {
            Ok(text) => on_line(&text)?,
            // The output is closed: the child has ended, or is about to.
            Err(RecvTimeoutError::Disconnected) => break,
            // A child of the child may hold the output open for as long as it likes.
            Err(RecvTimeoutError::Timeout) if child.0.try_wait()?.is_some() => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if Instant::now() > deadline {
            bail!("`{line}` took more than {} s and was stopped", limit.as_secs());
        }
    }
    while Instant::now() < deadline {
        if let Some(status) = child.0.try_wait()? {
            return Ok(status);
        }
        thread::sleep(TICK);
    }
    bail!("`{line}` closed its output and did not end within {} s", limit.as_secs())
}

/// How long to wait for a line before looking at the clock.
const TICK: Duration = Duration::from_millis(100);

/// A child that doesn't outlive us: this one, by its handle, and no other.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

/// The cargo that started us.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(xtask::place::workspace());
    cargo
}

/// Whether we are root: who owns our own entry in `/proc`.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// A command as a person would type it.
pub(crate) fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

/// A word that a shell reads as it stands.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn last_words(output: &Output) -> String {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        for word in ["plain", "", "two words", "it's", "$HOME `id` \"x\" \\", "line\nbreak", "*"] {
            let script = format!("printf %s {}", quoted(word));
            let said = capture(Command::new("sh").arg("-c").arg(script)).unwrap();
            assert_eq!(said, word);
        }
    }

    #[test]
    fn a_failure_names_the_command_and_its_last_words() {
        let error = capture(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("sh -c") && said.contains("exit status: 3") && said.contains("why"));
    }

    #[test]
    fn lines_come_one_by_one_with_the_status() {
        let mut seen = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; printf 'two\\r\\nthree'; exit 4"]);
        let status = stream(&mut command, Duration::from_secs(20), &mut |line| {
            seen.push(line.to_owned());
            Ok(())
        });
        assert_eq!(status.unwrap().code(), Some(4));
        assert_eq!(seen, ["one", "two", "three"]);
    }

    #[test]
    fn what_takes_too_long_is_stopped() {
        let mut command = Command::new("sleep");
        let error =
            stream(command.arg("60"), Duration::from_millis(200), &mut |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("was stopped"), "{error}");
    }

    #[test]
    fn a_grandchild_that_holds_the_output_is_not_waited_for() {
        let mut command = Command::new("sh");
        // Waiting for it would be an error: it sleeps longer than the limit.
        command.args(["-c", "sleep 60 & echo here"]);
        let status = stream(&mut command, Duration::from_secs(40), &mut |_| Ok(()));
        assert!(status.unwrap().success());
    }
}
