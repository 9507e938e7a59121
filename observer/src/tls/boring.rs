//! BoringSSL in a program without its symbols (Bun, and what it compiles): told by what its code
//! does, whatever compiler made it.
//!
//! Each of its errors names the file of its source and a reason. The function that may say all
//! of what SSL_write says, and no other, is SSL_write. SSL_read is SSL_peek, which has one error
//! and otherwise hands its connection to the function that reads, and then takes what was read away.
//! Where two functions fit, or none, there is no probe.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register};
use observer_common::tls_site;

use super::elf::{Image, Symbol};
use super::flow::Code64;
use super::library::{Function, sites};
use super::{Blind, FindError, Found, Library, refs};

/// The file of its source that has the functions.
pub(super) const SOURCE: &str = "ssl/ssl_lib.cc";
/// Its number for errors of TLS (err.h: ERR_LIB_SSL).
const LIBRARY: u64 = 16;
/// Reasons (err.h, ssl.h).
const NOT_CALLED: u64 = 66;
const BAD_LENGTH: u64 = 111;
const HANDSHAKE_FAILURE: u64 = 215;
const UNINITIALIZED: u64 = 226;
/// Functions before a reference that may be the one which has it.
const TRIED: usize = 8;
/// Instructions followed of one function, and of all.
const STEPS: usize = 4096;
const ALL_STEPS: usize = 1 << 20;

const WRITE: Function = function("SSL_write", tls_site::RESULT_32);
const READ: Function = function("SSL_read", tls_site::RESULT_32 | tls_site::RECEIVES);

const fn function(name: &'static str, shape: u64) -> Function {
    Function { name, library: Library::BoringSsl, shape, wraps: false }
}

/// The library, in a file that has the name of its source at these addresses.
pub(super) fn find(image: &Image<'_>, texts: &[u64]) -> Result<Option<Found>, FindError> {
    if texts.is_empty() {
        return Ok(None);
    }
    let mut found =
        Found { library: Library::BoringSsl, sites: vec![], held: vec![], blind: vec![] };
    let references = refs::references(image, texts)?;
    let starts = refs::starts(image, &references)?;
    let mut code = Code64::new(image);
    let mut program = Program::new(texts, starts);
    for &reference in &references {
        program.whose(&mut code, reference);
    }
    // One without the other would be half of a conversation, and less sure.
    let (mut write, mut read) = (program.write(), program.read(&mut code));
    if write.is_err() {
        read = read.and(Err(Blind::Other));
    } else if read.is_err() {
        write = Err(Blind::Other);
    }
    for (function, symbol) in [(WRITE, write), (READ, read)] {
        match symbol.and_then(|symbol| sites(image, &mut code, &function, symbol)) {
            Ok(sites) => {
                found.sites.extend(sites);
                found.held.push(function.name);
            }
            Err(blind) => found.blind.push((function.name, blind)),
        }
    }
    found.sites.sort_unstable();
    found.sites.dedup();
    Ok(Some(found))
}

/// What is known of a program's functions.
struct Program<'a> {
    texts: &'a [u64],
    starts: Vec<u64>,
    seen: BTreeMap<u64, Deeds>,
    /// Those that refer to one of the texts.
    owners: BTreeSet<u64>,
    steps: usize,
}

/// What a function does, as far as it can be followed without running it.
#[derive(Default)]
struct Deeds {
    end: u64,
    at: BTreeSet<u64>,
    /// Reasons of the errors that it may say.
    reasons: BTreeSet<u64>,
    /// Functions that it calls.
    calls: BTreeSet<u64>,
    /// It calls by a table of functions.
    calls_by_table: bool,
    /// It writes to memory other than its stack.
    stores: bool,
    /// It asks whether its third argument is below, or not above, 0.
    asks_length: bool,
}

impl<'a> Program<'a> {
    fn new(texts: &'a [u64], starts: Vec<u64>) -> Self {
        let (seen, owners) = (BTreeMap::new(), BTreeSet::new());
        Self { texts, starts, seen, owners, steps: 0 }
    }

    /// Finds the function that has this instruction: the nearest before it that gets there.
    fn whose(&mut self, code: &mut Code64<'_>, reference: u64) {
        let before = self.starts.partition_point(|&start| start <= reference);
        let nearest: Vec<u64> =
            self.starts.iter().take(before).rev().take(TRIED).copied().collect();
        for start in nearest {
            if reference - start > refs::BEFORE {
                return;
            }
            if self.deeds(code, start).at.contains(&reference) {
                self.owners.insert(start);
                return;
            }
        }
    }

    fn deeds(&mut self, code: &mut Code64<'_>, start: u64) -> &Deeds {
        let next = self.starts.partition_point(|&other| other <= start);
        let reach = start.saturating_add(refs::BEFORE);
        let end = self.starts.get(next).copied().unwrap_or(reach).min(reach);
        let left = ALL_STEPS.saturating_sub(self.steps).min(STEPS);
        let (texts, steps) = (self.texts, &mut self.steps);
        self.seen.entry(start).or_insert_with(|| {
            let deeds = follow(code, texts, start, end, left);
            *steps += deeds.at.len();
            deeds
        })
    }

    /// The one function that fits.
    fn one(&self, fits: impl Fn(u64, &Deeds) -> bool) -> Result<Symbol, Blind> {
        let mut all = self
            .owners
            .iter()
            .filter_map(|start| Some((*start, self.seen.get(start)?)))
            .filter(|(start, deeds)| fits(*start, deeds));
        match (all.next(), all.next()) {
            (Some((address, deeds)), None) => Ok(Symbol { address, size: deeds.end - address }),
            (None, _) => Err(Blind::Unlike),
            _ => Err(Blind::Alike),
        }
    }

    fn write(&self) -> Result<Symbol, Blind> {
        // Only it has a length that may be bad, so one more that may say so is one too many.
        let one = self.one(|_, deeds| deeds.reasons.contains(&BAD_LENGTH))?;
        let whole = self.one(|_, deeds| {
            [BAD_LENGTH, UNINITIALIZED, HANDSHAKE_FAILURE].iter().all(|r| deeds.reasons.contains(r))
                && deeds.calls_by_table
                && deeds.asks_length
        })?;
        if one == whole { Ok(one) } else { Err(Blind::Alike) }
    }

    fn read(&mut self, code: &mut Code64<'_>) -> Result<Symbol, Blind> {
        let reader = self.one(|_, deeds| {
            [UNINITIALIZED, HANDSHAKE_FAILURE].iter().all(|r| deeds.reasons.contains(r))
                && !deeds.reasons.contains(&BAD_LENGTH)
        })?;
        let peeks = |deeds: &Deeds| {
            deeds.reasons.iter().eq([&NOT_CALLED])
                && deeds.calls.contains(&reader.address)
                && deeds.asks_length
        };
        match self.one(|_, deeds| peeks(deeds) && deeds.stores) {
            Err(Blind::Unlike) => {}
            found => return found,
        }
        // SSL_peek is not within SSL_read, which stands beside it and calls it.
        let peek = self.one(|_, deeds| peeks(deeds))?;
        let before = self.starts.partition_point(|&start| start < peek.address);
        let beside = before.saturating_sub(TRIED)..before.saturating_add(TRIED);
        let near: Vec<u64> =
            self.starts.iter().take(beside.end).skip(beside.start).copied().collect();
        let mut found = Err(Blind::Unlike);
        for start in near {
            let deeds = self.deeds(code, start);
            if deeds.stores && deeds.calls.contains(&peek.address) && deeds.reasons.is_empty() {
                if found.is_ok() {
                    return Err(Blind::Alike);
                }
                found = Ok(Symbol { address: start, size: deeds.end - start });
            }
        }
        found
    }
}

/// Follows every way through a function up to its end.
fn follow(code: &mut Code64<'_>, texts: &[u64], start: u64, end: u64, steps: usize) -> Deeds {
    let mut deeds = Deeds { end, ..Deeds::default() };
    // With the registers that hold the third argument.
    let mut ways = vec![(start, vec![Register::RDX])];
    while let Some((mut at, mut lengths)) = ways.pop() {
        let mut error = Error::default();
        let mut tested = None;
        while (start..end).contains(&at) && deeds.at.len() < steps {
            let Some(instruction) = code.at(at) else { break };
            // Where ways meet, the call that tells an error is there for each.
            if !deeds.at.insert(at) {
                break;
            }
            at = instruction.next_ip();
            match instruction.flow_control() {
                FlowControl::Next => {
                    error.take(&instruction, texts);
                    deeds.stores |= stores(&instruction);
                    follow_length(&instruction, &mut lengths);
                    if instruction.mnemonic() == Mnemonic::Test
                        && instruction.op0_kind() == OpKind::Register
                        && instruction.op1_kind() == OpKind::Register
                        && instruction.op0_register() == instruction.op1_register()
                    {
                        tested = Some(instruction.op0_register().full_register());
                        continue;
                    }
                }
                FlowControl::ConditionalBranch => {
                    ways.push((instruction.near_branch_target(), lengths.clone()));
                    deeds.asks_length |=
                        is_sign(&instruction) && tested.is_some_and(|it| lengths.contains(&it));
                }
                FlowControl::UnconditionalBranch => {
                    ways.push((instruction.near_branch_target(), lengths));
                    break;
                }
                FlowControl::Call => {
                    deeds.calls.insert(instruction.near_branch_target());
                    deeds.reasons.extend(std::mem::take(&mut error).reason());
                    lengths.retain(is_kept);
                }
                FlowControl::IndirectCall => {
                    let by_table = instruction.op0_kind() == OpKind::Memory
                        && !instruction.is_ip_rel_memory_operand();
                    deeds.calls_by_table |= by_table;
                    error = Error::default();
                    lengths.retain(is_kept);
                }
                _ => break,
            }
            tested = None;
        }
        deeds.reasons.extend(error.reason());
    }
    deeds
}

/// What stands in the registers of the first four arguments, as an error is made: library, reason
/// and file, or with a number between the first two that nobody uses and compilers leave out.
#[derive(Default)]
struct Error {
    numbers: [Option<u64>; 3],
    file: Option<Register>,
}

impl Error {
    const REGISTERS: [Register; 3] = [Register::RDI, Register::RSI, Register::RDX];

    fn take(&mut self, instruction: &Instruction, texts: &[u64]) {
        if instruction.op_count() == 0 || instruction.op0_kind() != OpKind::Register {
            return;
        }
        let to = instruction.op0_register().full_register();
        let value = match instruction.mnemonic() {
            Mnemonic::Mov if is_number(instruction.op1_kind()) => Some(instruction.immediate(1)),
            Mnemonic::Lea if instruction.is_ip_rel_memory_operand() => {
                Some(instruction.ip_rel_memory_address())
            }
            Mnemonic::Cmp | Mnemonic::Test => return,
            _ => None,
        };
        if value.is_some_and(|value| texts.contains(&value)) {
            self.file = Some(to);
        }
        for (register, number) in Self::REGISTERS.iter().zip(&mut self.numbers) {
            if *register == to {
                *number = value;
            }
        }
    }

    fn reason(self) -> Option<u64> {
        let [library, second, third] = self.numbers;
        let reason = match self.file? {
            Register::RDX => second,
            Register::RCX => third,
            _ => None,
        };
        reason.filter(|_| library == Some(LIBRARY))
    }
}

fn is_number(kind: OpKind) -> bool {
    matches!(kind, OpKind::Immediate32 | OpKind::Immediate32to64 | OpKind::Immediate64)
}

/// Keeps up which registers hold the third argument.
fn follow_length(instruction: &Instruction, lengths: &mut Vec<Register>) {
    let to = instruction.op0_register().full_register();
    if matches!(instruction.mnemonic(), Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Push) {
        return;
    }
    let copies = matches!(instruction.mnemonic(), Mnemonic::Mov | Mnemonic::Movsxd)
        && instruction.op1_kind() == OpKind::Register
        && lengths.contains(&instruction.op1_register().full_register());
    lengths.retain(|&register| register != to);
    if copies && instruction.op0_kind() == OpKind::Register {
        lengths.push(to);
    }
}

/// Whether a register is as it was after a call (System V ABI).
fn is_kept(register: &Register) -> bool {
    use Register::{R12, R13, R14, R15, RBP, RBX};
    matches!(register, RBX | RBP | R12 | R13 | R14 | R15)
}

fn is_sign(branch: &Instruction) -> bool {
    use iced_x86::ConditionCode as Condition;
    matches!(
        branch.condition_code(),
        Condition::s | Condition::ns | Condition::le | Condition::g | Condition::l | Condition::ge
    )
}

/// Whether an instruction writes to memory that is not the function's stack.
fn stores(instruction: &Instruction) -> bool {
    instruction.op_count() > 0
        && instruction.op0_kind() == OpKind::Memory
        && !matches!(instruction.memory_base(), Register::RSP | Register::RBP)
        && matches!(
            instruction.mnemonic(),
            Mnemonic::Mov | Mnemonic::Add | Mnemonic::Sub | Mnemonic::Movups | Mnemonic::Movdqu
        )
}
