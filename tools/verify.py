#!/usr/bin/env python3
"""Verifies a ledger of observer's, from docs/LEDGER.md alone.

It shares no code with observer, so that neither has to be believed: what both accept was
understood the same way twice. It needs Python 3.9 and the `cryptography` package; for compressed
files also Python 3.14, the `zstandard` package or the program `zstd`.

    verify.py LEDGER... --key host.pub [--checkpoint FILE]... [--open-ok] [--pruned-ok] [--json]

Exit 0: every record holds and nothing is missing that can be known to be. 1: anything else.
2: it could not be read.
"""

import argparse
import base64
import hashlib
import json
import io
import re
import subprocess
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LINE = 64 * 1024  # a line with its newline
RECORD = 60 * 1024
EXACT = 2**53 - 1
DEPTH = 127
WAITING = 65_536  # records that may wait for the signed one that covers them
NOTE = 64 * 1024
ZSTD = b"\x28\xb5\x2f\xfd"  # what a compressed file begins with (RFC 8878)
WINDOW = 23  # the window that it may ask memory for, as a power of two
GENESIS = bytes(32)
HOSTS = {
    "observer.start", "observer.stop", "policy", "heartbeat", "recover", "segment", "witness", "key",
}
PRIME = 2**255 - 19
EIGHTH = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
SMALL_ORDER = {0, 1, PRIME - 1, EIGHTH, PRIME - EIGHTH}  # y of the points of order 1, 2, 4, 8
TAIL = re.compile(rb',"sig":"([A-Za-z0-9+/=]{88})"\Z')
DASH = "\u2014 ".encode()


class Refused(Exception):
    """Why a line does not hold."""


# What says that a file can't be read; a compressed one has more to say.
UNREADABLE = {OSError, EOFError, ValueError, Refused}


def refuse_unless(holds, why):
    if not holds:
        raise Refused(why)


def b64(text):
    """Base64 as RFC 4648 has it, and no second way to write the same bytes."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Refused(f"not base64: {error}") from error
    refuse_unless(base64.b64encode(data).decode() == text, "not the one base64 of its bytes")
    return data


def verifies(key, signature, message):
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        return True
    except (InvalidSignature, ValueError):
        return False


def sha256(data):
    return hashlib.sha256(data).digest()


def leaf(record):
    return sha256(b"\0" + record)


class Tree:
    """RFC 6962, section 2.1: the roots of the perfect subtrees, the largest first."""

    def __init__(self, size=0, peaks=()):
        self.size, self.peaks = size, list(peaks)

    def push(self, root):
        rest = self.size
        while rest & 1:
            root = sha256(b"\1" + self.peaks.pop() + root)
            rest >>= 1
        self.peaks.append(root)
        self.size += 1

    def root(self):
        if not self.peaks:
            return sha256(b"")
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = sha256(b"\1" + peak + root)
        return root


def unique(pairs):
    """An object without a key that comes twice."""
    found = dict(pairs)
    refuse_unless(len(found) == len(pairs), "a key comes twice")
    return found


def no_number(text):
    raise Refused(f"{text} is not an integer")


def check_profile(value, depth=DEPTH):
    if isinstance(value, (dict, list)):
        refuse_unless(depth > 0, "nested too deep")
    if isinstance(value, dict):
        for key, inner in value.items():
            refuse_unless(key.isascii(), "a key is not ASCII")
            check_profile(inner, depth - 1)
    elif isinstance(value, list):
        for inner in value:
            check_profile(inner, depth - 1)
    elif type(value) is int:
        refuse_unless(abs(value) <= EXACT, "an integer is wider than 53 bits")
    else:
        refuse_unless(isinstance(value, (bool, str)), "a null")


def parse(record):
    """A record's value, where its bytes are the one canonical way to write it (RFC 8785)."""
    try:
        text = record.decode()
        value = json.loads(
            text, object_pairs_hook=unique, parse_float=no_number, parse_constant=no_number
        )
        check_profile(value)
        again = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        refuse_unless(again == text, "not canonical")
    except (ValueError, RecursionError) as error:
        raise Refused(f"not JSON: {error}") from error
    refuse_unless(isinstance(value, dict), "not an object")
    return value


def text_of(value, key):
    found = value.get(key)
    refuse_unless(isinstance(found, str), f"no {key}")
    return found


def number_of(value, key):
    found = value.get(key)
    refuse_unless(type(found) is int and found >= 0, f"no {key}")
    return found


def hash_of(text):
    refuse_unless(isinstance(text, str) and re.fullmatch("[0-9a-f]{64}", text), "not a hash")
    return bytes.fromhex(text)


def key_of(text):
    refuse_unless(isinstance(text, str), "not a key")
    key = b64(text)
    refuse_unless(len(key) == 32, "not an Ed25519 key")
    y = int.from_bytes(key, "little") & (2**255 - 1)
    refuse_unless(y < PRIME and y not in SMALL_ORDER, "a key that anybody can sign for")
    return key


class Run:
    def __init__(self, key, agent, seq, last):
        self.key, self.agent, self.seq, self.last, self.state = key, agent, seq, last, "OPEN"


class Verifier:
    def __init__(self, host):
        self.host, self.pinned = host, host is not None
        self.log_keys, self.origin, self.start = [], None, 0
        self.tree, self.prev = Tree(), GENESIS
        self.runs, self.unsigned = {}, {}
        self.stopped, self.line, self.offset = False, 0, 0

    def feed(self, line):
        """Takes a line with its newline. Raises Refused, and then nothing of it counts."""
        refuse_unless(len(line) <= LINE, "too long for a line")
        refuse_unless(line.endswith(b"\n"), "the line has no end")
        body = line[:-1]
        refuse_unless(body.startswith(b'{"rec":') and body.endswith(b"}"), "not a line")
        body, signature = body[7:-1], None
        found = TAIL.search(body)
        if found:
            signature = b64(found.group(1).decode())
            refuse_unless(len(signature) == 64, "not a signature")
            body = body[: found.start()]
        refuse_unless(len(body) <= RECORD, "too long for a record")
        self.record(body, parse(body), signature, len(line))

    def record(self, record, value, signature, length):
        refuse_unless(number_of(value, "v") == 1, "another version")
        idx, kind = number_of(value, "idx"), text_of(value, "type")
        begins = self.tree.size == 0 and self.line == 0 and idx > 0 and kind == "segment"
        refuse_unless(begins or idx == self.tree.size, f"idx {idx}, {self.tree.size} was due")
        prev = hash_of(value.get("prev"))
        refuse_unless(begins or prev == self.prev, "prev is not the record before")
        signer = value.get("run")
        if "run" in value:
            refuse_unless(isinstance(signer, str), "run is no text")
            refuse_unless(kind not in HOSTS, f"a {kind} of a run")
            key, change = self.of_run(value, kind, signer, idx)
        else:
            refuse_unless(kind in HOSTS or kind == "loss", f"a {kind} without a run")
            key, change = self.of_host(value, kind, idx)
        refuse_unless(key is not None, "no key")
        if signature is None:
            first = self.unsigned.get(signer, (self.tree.size,))
            refuse_unless(self.tree.size - first[0] <= WAITING, "a signature does not come")
        else:
            message = b"observer/record/v1\n" + record
            refuse_unless(verifies(key, signature, message), "not its signer's signature")
        # All of it holds: now it counts.
        if signature is None:
            self.unsigned.setdefault(signer, (idx, self.line + 1, self.offset))
        else:
            self.unsigned.pop(signer, None)
        change()
        if signer is not None:
            run = self.runs[signer]
            run.seq, run.last = run.seq + 1, idx
        if idx == 0:
            self.origin = "observer/ledger/" + leaf(record).hex()[:32]
        self.stopped = kind == "observer.stop"
        self.prev = leaf(record)
        self.tree.push(self.prev)
        self.line, self.offset = self.line + 1, self.offset + length

    def certified(self, value, host, run, idx):
        """A run's key, certified by the host for this run and this place in the ledger."""
        refuse_unless(host is not None, "no host key")
        text = text_of(value, "run_key")
        message = f"observer/run/v1\n{run}\n{text}\n{idx}".encode()
        refuse_unless(verifies(host, b64(text_of(value, "cert")), message), "not certified")
        return key_of(text)

    def of_run(self, value, kind, run, idx):
        known = self.runs.get(run)
        if kind == "run.start":
            refuse_unless(known is None, "the run has begun already")
            key = self.certified(value, self.host, run, idx)
            new = Run(key, text_of(value, "agent"), 0, idx)
            refuse_unless(number_of(value, "seq") == 0, "seq is not 0")
            return key, lambda: self.runs.update({run: new})
        refuse_unless(known is not None, "the run has not begun")
        refuse_unless(known.state == "OPEN", "the run has ended")
        refuse_unless(number_of(value, "seq") == known.seq, f"seq {known.seq} was due")
        call = value.get("call")
        refuse_unless(
            not isinstance(call, str) or call.startswith(run + "/"), "a call of another run"
        )

        def change():
            if kind == "run.end":
                known.state = "CLOSED"

        return known.key, change

    def of_host(self, value, kind, idx):
        recover = value.get("recover")
        lost = kind == "recover" and isinstance(recover, dict) and "run" in recover
        if kind in ("observer.start", "segment") or (kind == "recover" and not lost):
            host = key_of(value["host_key"]) if "host_key" in value else None
            refuse_unless(
                host is None or self.host is None or host == self.host, "another host key"
            )
            log = [key_of(value["log_key"])] if "log_key" in value else []
            segment = self.segment(value, host, idx) if kind == "segment" else None

            def change():
                self.host = self.host or host
                self.log_keys += [key for key in log if key not in self.log_keys]
                if segment and self.tree.size == 0:
                    self.start = idx
                    self.tree, self.origin, self.runs = segment

            return self.host or host, change
        if kind == "key":
            said = value.get("key")
            following = key_of(said.get("next") if isinstance(said, dict) else None)
            return self.host, lambda: setattr(self, "host", following)
        if lost:
            name = recover["run"]
            run = self.runs.get(name) if isinstance(name, str) else None
            refuse_unless(run is not None and run.state == "OPEN", "the lost run is not open")
            refuse_unless(recover.get("seq") == run.seq, "the lost run has other records")
            refuse_unless(type(recover["seq"]) is int, "no seq")
            return self.host, lambda: setattr(run, "state", "TORN")
        return self.host, lambda: None

    def segment(self, value, host, idx):
        said = value.get("segment")
        refuse_unless(isinstance(said, dict), "no segment")
        peaks, listed = said.get("peaks"), said.get("runs")
        refuse_unless(isinstance(peaks, list) and isinstance(listed, list), "no peaks or runs")
        peaks = [hash_of(peak) for peak in peaks]
        refuse_unless(len(peaks) == bin(idx).count("1"), "peaks of another size")
        origin, runs = text_of(said, "origin"), {}
        for run in listed:
            refuse_unless(isinstance(run, dict), "no run")
            name, began = text_of(run, "run"), number_of(run, "idx")
            key = self.certified(run, self.host or host, name, began)
            runs[name] = Run(key, text_of(run, "agent"), number_of(run, "seq"), began)
        if self.tree.size > 0:
            ours = {n: (r.seq, r.key) for n, r in self.runs.items() if r.state == "OPEN"}
            same = peaks == self.tree.peaks and origin == self.origin
            same = same and ours == {n: (r.seq, r.key) for n, r in runs.items()}
            refuse_unless(same, "it does not continue what stands before it")
        return Tree(idx, peaks), origin, runs

    def finish(self):
        """Refuses what no signature covers. The place is that of the first such line."""
        if self.unsigned:
            _, self.line, self.offset = min(self.unsigned.values())
            self.line -= 1
            raise Refused("no signature covers it")
        refuse_unless(self.tree.size > 0, "the ledger is empty")


def notes(data):
    """Notes that stand one after another: a text, an empty line, signature lines."""
    note, signed = [], False
    for line in data.splitlines(keepends=True):
        if signed and note[-1].startswith(DASH) and not line.startswith(DASH):
            yield b"".join(note)
            note, signed = [], False
        note.append(line)
        signed = signed or line == b"\n"
    if note:
        yield b"".join(note)


def open_note(note, name, key, kind=1):
    """The text of a signed note (c2sp.org/signed-note) that this key signed."""
    refuse_unless(len(note) <= NOTE, "too long for a note")
    try:
        text, _, lines = note.decode().rpartition("\n\n")
    except ValueError as error:
        raise Refused("a note is not text") from error
    text += "\n"
    refuse_unless(lines.endswith("\n"), "a note has no end")
    refuse_unless(not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", note.decode()), "a control character")
    key_id = sha256(name.encode() + b"\n" + bytes([kind]) + key)[:4]
    good = False
    for line in lines[:-1].split("\n"):
        parts = line.split(" ")
        refuse_unless(len(parts) == 3 and parts[0] == "\u2014", "not a signature line")
        signature = b64(parts[2])
        if parts[1] == name and signature[:4] == key_id:
            refuse_unless(verifies(key, signature[4:], text.encode()), "a wrong signature")
            good = True
    refuse_unless(good, "not signed by the ledger's key")
    return text


def checkpoint(note):
    """Origin, size and root (c2sp.org/tlog-checkpoint), not yet believed."""
    lines = note.decode(errors="replace").split("\n")
    refuse_unless(len(lines) > 3 and re.fullmatch("0|[1-9][0-9]*", lines[1]), "no checkpoint")
    root = b64(lines[2])
    refuse_unless(len(root) == 32, "no checkpoint")
    return lines[0], int(lines[1]), root


class Claims:
    """Checkpoints that a ledger is held against, in the order of their sizes."""

    def __init__(self, data):
        self.notes = [(checkpoint(note), note) for note in notes(data)]
        refuse_unless(self.notes, "there is no checkpoint in it")
        self.reached = None

    def compare(self, verifier):
        size = verifier.tree.size
        while self.notes and self.notes[0][0][1] <= size:
            (origin, due, root), note = self.notes.pop(0)
            refuse_unless(origin == verifier.origin, "a checkpoint of another ledger")
            for key in verifier.log_keys:
                try:
                    open_note(note, origin, key)
                    break
                except Refused:
                    continue
            else:
                raise Refused("a checkpoint that the ledger's key did not sign")
            if due <= verifier.start:
                continue
            refuse_unless(due == size, "checkpoints out of order")
            refuse_unless(root == verifier.tree.root(), f"the first {size} records are others")
            self.reached = size


class Unpacked(io.RawIOBase):
    """A compressed file's content, by the package `zstandard`."""

    def __init__(self, source, zstandard):
        self.source, self.bytes, self.frame = source, b"", None
        self.decoder = zstandard.ZstdDecompressor(max_window_size=1 << WINDOW)
        self.error = zstandard.ZstdError

    def readable(self):
        return True

    def readinto(self, target):
        while not self.bytes:
            # Little at a time: it may unpack to 32,000 times as much.
            packed = self.source.read(4096)
            if not packed:
                if self.frame is not None:
                    raise EOFError("the compressed file was cut")
                return 0
            while packed:
                self.frame = self.frame or self.decoder.decompressobj()
                try:
                    self.bytes += self.frame.decompress(packed)
                except self.error as error:
                    raise ValueError(f"the compressed file is spoilt: {error}") from error
                packed = self.frame.unused_data if self.frame.eof else b""
                self.frame = None if self.frame.eof else self.frame
        count = min(len(target), len(self.bytes))
        target[:count], self.bytes = self.bytes[:count], self.bytes[count:]
        return count


class Piped:
    """A compressed file's content, by the program `zstd`."""

    def __init__(self, path):
        command = ["zstd", "-dc", f"--memory={1 << (WINDOW - 20)}MB"]
        with open(path, "rb") as source:
            self.child = subprocess.Popen(command, stdin=source, stdout=subprocess.PIPE)

    def readline(self, limit):
        line = self.child.stdout.readline(limit)
        if not line and self.child.wait() != 0:
            raise ValueError("the compressed file is cut or spoilt: zstd refused it")
        return line

    def close(self):
        self.child.stdout.close()
        self.child.wait()


def stdlib_zstd():
    """Python's own module since 3.14, or the same for older ones (backports.zstd)."""
    try:
        from compression import zstd
    except ImportError:
        from backports import zstd
    return zstd


def unpacked(path, way=None):
    """A file's lines, whether it is compressed or not; `way` is for tests."""
    file = open(path, "rb")
    if file.read(4) != ZSTD:
        file.seek(0)
        return file
    file.seek(0)
    if way in (None, "python"):
        try:
            zstd = stdlib_zstd()
            UNREADABLE.add(zstd.ZstdError)
            options = {zstd.DecompressionParameter.window_log_max: WINDOW}
            return zstd.open(file, "rb", options=options)
        except ImportError:
            pass
    if way in (None, "zstandard"):
        try:
            import zstandard

            return io.BufferedReader(Unpacked(file, zstandard))
        except ImportError:
            pass
    if way in (None, "zstd"):
        try:
            file.close()
            return Piped(path)
        except FileNotFoundError:
            pass
    raise ValueError(
        f"{path} is compressed, and nothing here reads that: install the program zstd or the "
        "Python package zstandard, use Python 3.14, or give it as `zstd -dc FILE | verify.py -`"
    )


class Files:
    """The lines of files, one after another."""

    def __init__(self, paths):
        self.paths, self.file = list(paths), None

    def readline(self, limit):
        while True:
            if self.file is None:
                if not self.paths:
                    return b""
                self.file = unpacked(self.paths.pop(0))
            line = self.file.readline(limit)
            if line:
                return line
            self.file.close()
            self.file = None


def verify(source, host, claims):
    verifier = Verifier(host)
    why = None
    try:
        while line := source.readline(LINE + 1):
            verifier.feed(line)
            for claim in claims:
                claim.compare(verifier)
        for claim in claims:
            refuse_unless(not claim.notes, "the end was cut off: a checkpoint vouches for more")
        verifier.finish()
    except Refused as error:
        why = str(error)
    reached = [claim.reached for claim in claims if claim.reached is not None]
    anchor = max(reached, default=None)
    runs = []
    for name, run in verifier.runs.items():
        state = run.state
        if why is not None and state == "OPEN":
            state = "BROKEN"
        if claims and state == "CLOSED" and (anchor is None or run.last >= anchor):
            state = "UNANCHORED"
        runs.append({"run": name, "agent": run.agent, "state": state, "records": run.seq})
    broken = {"line": verifier.line + 1, "offset": verifier.offset, "why": why} if why else None
    return {
        "origin": verifier.origin,
        "from": verifier.start,
        "records": verifier.tree.size,
        "runs": runs,
        "broken": broken,
        "stopped": verifier.stopped,
        "pinned": verifier.pinned,
        "anchor": anchor,
        "anchored": broken is None and anchor == verifier.tree.size,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "ledger",
        nargs="+",
        help="its files in the order of their records, compressed or not; - reads standard input",
    )
    parser.add_argument("--key", help="a file with the host's public key, in base64")
    parser.add_argument("--checkpoint", action="append", default=[], help="kept elsewhere")
    parser.add_argument("--open-ok", action="store_true")
    parser.add_argument("--pruned-ok", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    try:
        host = None
        if args.key:
            with open(args.key, encoding="ascii") as file:
                host = key_of(file.read().strip())
        claims = []
        for path in args.checkpoint:
            with open(path, "rb") as file:
                claims.append(Claims(file.read()))
        whole = sys.stdin.buffer if args.ledger == ["-"] else Files(args.ledger)
        report = verify(whole, host, claims)
    except tuple(UNREADABLE) as error:
        print(f"verify.py: {error}", file=sys.stderr)
        return 2
    allowed = {"CLOSED", "OPEN"} if args.open_ok else {"CLOSED"}
    report["holds"] = (
        report["broken"] is None
        and report["records"] > 0
        and (report["from"] == 0 or args.pruned_ok)
        and (report["stopped"] or args.open_ok)
        and all(run["state"] in allowed for run in report["runs"])
    )
    if args.json:
        print(json.dumps(report))
        return 0 if report["holds"] else 1
    for run in report["runs"]:
        print(f"{run['state']:<6} {run['run']} {ascii(run['agent'])}: {run['records']} records")
    if report["broken"]:
        broken = report["broken"]
        print(f"BROKEN line {broken['line']}, byte {broken['offset']}: {ascii(broken['why'])}")
    else:
        print(f"HOLDS  {report['records'] - report['from']} records")
    for word, said in (
        ("OPEN", report["stopped"]), ("UNPINNED", report["pinned"]), ("UNANCHORED", report["anchored"])
    ):
        if not said:
            print(word)
    return 0 if report["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
