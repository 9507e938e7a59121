//! A function's way, followed through its code: where it can be caught as it begins, and where it
//! returns.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
    OpAccess, OpKind, Register,
};

use super::Blind;
use super::elf::{Image, Symbol};

/// Places where one function returns, at most.
pub(super) const LEAVES: usize = 32;
/// Instructions followed of one function.
const STEPS: usize = 20_000;
/// The code of one piece, bytes.
const PIECE: usize = 64 << 10;
/// How far a function of unknown size reaches.
const REACH: u64 = 64 << 10;

/// A place in the code, and how far below the caller's the stack stands there: at the function's
/// first instruction and at its `ret` this is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: u64,
    pub(super) depth: u16,
}

/// Whether the kernel emulates an instruction under a probe instead of executing it out of line
/// (arch/x86/kernel/uprobes.c, branch_setup_xol_ops and push_setup_xol_ops, 6.1 to 6.18).
fn is_emulated(instruction: &Instruction) -> bool {
    match instruction.code() {
        // With one byte, or a REX prefix and one.
        Code::Push_r64 => instruction.len() <= 2,
        Code::Jmp_rel8_64 => instruction.len() == 2,
        Code::Jmp_rel32_64 | Code::Call_rel32_64 => instruction.len() == 5,
        Code::Nopd => instruction.len() == 1,
        _ if instruction.is_jcc_short() => instruction.len() == 2,
        _ if instruction.is_jcc_near() => instruction.len() == 6,
        _ => false,
    }
}

/// Code, decoded as it is reached.
pub(super) struct Code64<'a> {
    image: &'a Image<'a>,
    pieces: BTreeMap<u64, Vec<u8>>,
    info: InstructionInfoFactory,
}

impl<'a> Code64<'a> {
    pub(super) fn new(image: &'a Image<'a>) -> Self {
        Self { image, pieces: BTreeMap::new(), info: InstructionInfoFactory::new() }
    }

    /// The instruction at an address; none where there is none.
    pub(super) fn at(&mut self, address: u64) -> Option<Instruction> {
        const LONGEST: u64 = 15;
        let known = self.pieces.range(..=address).next_back().filter(|(from, piece)| {
            let end = *from + piece.len() as u64;
            address + LONGEST <= end || (address < end && piece.len() < PIECE)
        });
        let (from, piece) = match known {
            Some((from, piece)) => (*from, piece),
            None => {
                let piece = self.image.code(address, PIECE)?;
                (address, &*self.pieces.entry(address).or_insert(piece))
            }
        };
        let bytes = piece.get(usize::try_from(address - from).ok()?..)?;
        let mut decoder = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
        let instruction = decoder.decode();
        (!instruction.is_invalid()).then_some(instruction)
    }

    fn writes(&mut self, instruction: &Instruction, register: Register) -> bool {
        self.info.info(instruction).used_registers().iter().any(|used| {
            used.register().full_register() == register
                && !matches!(
                    used.access(),
                    OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess
                )
        })
    }

    /// Where the function can be caught as it begins: the first instruction that the kernel
    /// emulates, on the one way that every call takes, with `keep` as its caller left them.
    pub(super) fn entry(&mut self, address: u64, keep: &[Register]) -> Place {
        let mut depth = 0u16;
        let mut at = address;
        for _ in 0..32 {
            let Some(instruction) = self.at(at) else { break };
            if is_emulated(&instruction) {
                return Place { address: at, depth };
            }
            let kept = keep.iter().all(|&register| !self.writes(&instruction, register));
            if !kept || instruction.flow_control() != FlowControl::Next {
                break;
            }
            match deeper(&instruction, depth) {
                Some(next) => depth = next,
                None => break,
            }
            at = instruction.next_ip();
        }
        Place { address, depth: 0 }
    }

    /// The call of an inner function that does the work, where a function is a wrapper that hands
    /// its arguments on as they are: its own place, with `keep` as the caller left them, and the
    /// place to catch its return at. Depth is the wrapper's own.
    pub(super) fn inner_call(
        &mut self,
        symbol: Symbol,
        keep: &[Register],
        out: Register,
        out_is_kept: bool,
    ) -> Option<(Place, Place)> {
        let mut depth = 0u16;
        let mut at = symbol.address;
        let mut out_holds = out_is_kept;
        for _ in 0..32 {
            let instruction = self.at(at)?;
            match instruction.flow_control() {
                FlowControl::Call if instruction.code() == Code::Call_rel32_64 => {
                    let call = Place { address: at, depth };
                    return out_holds.then(|| (call, self.after(instruction.next_ip(), depth)));
                }
                FlowControl::Next => {
                    let widened = instruction.code() == Code::Movsxd_r64_rm32
                        && instruction.op1_kind() == OpKind::Register
                        && instruction.op1_register().full_register() == instruction.op0_register();
                    if !widened && keep.iter().any(|&r| self.writes(&instruction, r)) {
                        return None;
                    }
                    if self.writes(&instruction, out) {
                        out_holds = is_stack_address(&instruction, out);
                        if out_is_kept {
                            return None;
                        }
                    }
                    depth = deeper(&instruction, depth)?;
                }
                // The other way is an error's: it sends nothing.
                FlowControl::ConditionalBranch => {}
                _ => return None,
            }
            at = instruction.next_ip();
        }
        None
    }

    /// Where a call that has just returned is seen: the next instruction, or the first emulated
    /// one after it with the result still in its register.
    fn after(&mut self, address: u64, depth: u16) -> Place {
        let mut at = address;
        for _ in 0..8 {
            let Some(instruction) = self.at(at) else { break };
            if is_emulated(&instruction) && instruction.flow_control() != FlowControl::Call {
                return Place { address: at, depth };
            }
            if instruction.flow_control() != FlowControl::Next
                || self.writes(&instruction, Register::RAX)
                || self.writes(&instruction, Register::RSP)
            {
                break;
            }
            at = instruction.next_ip();
        }
        Place { address, depth }
    }

    /// Where the function returns, each with the result in its register.
    pub(super) fn leaves(&mut self, symbol: Symbol) -> Result<Vec<Place>, Blind> {
        let end = symbol.address.saturating_add(match symbol.size {
            0 => REACH,
            size => size,
        });
        let walked = self.walk(symbol.address, end)?;
        let mut leaves = vec![];
        for &ret in &walked.returns {
            leaves.push(self.guard(&walked, ret).unwrap_or(Place { address: ret, depth: 0 }));
        }
        match leaves.len() {
            0 => Err(Blind::NoReturn),
            n if n > LEAVES => Err(Blind::Leaves),
            _ => Ok(leaves),
        }
    }

    /// Follows every way from the function's first instruction. What runs on past its end is not
    /// followed; what jumps out of it is: a part that was put elsewhere, or a function that
    /// returns in its stead.
    fn walk(&mut self, start: u64, end: u64) -> Result<Walked, Blind> {
        let mut walked = Walked::default();
        let mut seen = BTreeSet::new();
        let mut ways = vec![(start, end)];
        let mut steps = 0;
        while let Some((mut at, end)) = ways.pop() {
            while at < end && seen.insert(at) {
                steps += 1;
                if steps > STEPS || walked.returns.len() > LEAVES {
                    return Err(Blind::Leaves);
                }
                let Some(instruction) = self.at(at) else { break };
                let target = instruction.near_branch_target();
                let direct = instruction.op0_kind() == OpKind::NearBranch64;
                match instruction.flow_control() {
                    FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => {
                        walked.before.insert(instruction.next_ip(), at);
                    }
                    FlowControl::ConditionalBranch => {
                        walked.before.insert(instruction.next_ip(), at);
                        walked.targets.insert(target);
                        ways.push((target, self.bound(target, start, end)));
                    }
                    FlowControl::UnconditionalBranch if direct => {
                        walked.targets.insert(target);
                        ways.push((target, self.bound(target, start, end)));
                        break;
                    }
                    FlowControl::Return => {
                        walked.returns.insert(at);
                        break;
                    }
                    _ => break,
                }
                at = instruction.next_ip();
            }
        }
        if steps <= 1 && walked.returns.is_empty() { Err(Blind::NoCode) } else { Ok(walked) }
    }

    fn bound(&self, target: u64, start: u64, end: u64) -> u64 {
        if (start..end).contains(&target) { end } else { target.saturating_add(REACH) }
    }

    /// The stack guard's branch before a return, where there is one: every call that returns
    /// passes it, and the kernel emulates it.
    fn guard(&mut self, walked: &Walked, ret: u64) -> Option<Place> {
        let mut depth = 0i64;
        let mut at = ret;
        for _ in 0..16 {
            if walked.targets.contains(&at) {
                return None; // somebody comes in here without passing what stands before
            }
            let before = *walked.before.get(&at)?;
            let instruction = self.at(before)?;
            if instruction.flow_control() == FlowControl::ConditionalBranch {
                let check = self.at(*walked.before.get(&before)?)?;
                let is_guard = matches!(check.mnemonic(), Mnemonic::Sub | Mnemonic::Xor)
                    && check.segment_prefix() == Register::FS
                    && check.memory_displacement64() == 0x28
                    && is_emulated(&instruction)
                    && !walked.targets.contains(&before);
                let depth = u16::try_from(depth).ok()?;
                return is_guard.then_some(Place { address: before, depth });
            }
            if instruction.flow_control() != FlowControl::Next
                || self.writes(&instruction, Register::RAX)
            {
                return None;
            }
            depth += -i64::from(change(&instruction)?);
            at = before;
        }
        None
    }
}

#[derive(Default)]
struct Walked {
    /// Which instruction stands before which, where one runs into the other.
    before: BTreeMap<u64, u64>,
    /// Where branches go to.
    targets: BTreeSet<u64>,
    returns: BTreeSet<u64>,
}

/// How much deeper the stack stands after an instruction (negative: higher), where that is plain.
fn change(instruction: &Instruction) -> Option<i32> {
    let to_stack = instruction.op_count() > 0
        && instruction.op0_kind() == OpKind::Register
        && instruction.op0_register() == Register::RSP;
    match instruction.mnemonic() {
        Mnemonic::Sub if to_stack => i32::try_from(immediate(instruction)?).ok(),
        Mnemonic::Add if to_stack => i32::try_from(-immediate(instruction)?).ok(),
        _ if to_stack && !matches!(instruction.mnemonic(), Mnemonic::Cmp | Mnemonic::Test) => None,
        Mnemonic::Leave => None,
        _ => Some(-instruction.stack_pointer_increment()),
    }
}

fn immediate(instruction: &Instruction) -> Option<i64> {
    let kind = instruction.op1_kind();
    matches!(kind, OpKind::Immediate8to64 | OpKind::Immediate32to64)
        .then(|| instruction.immediate(1).cast_signed())
}

fn deeper(instruction: &Instruction, depth: u16) -> Option<u16> {
    u16::try_from(i64::from(depth) + i64::from(change(instruction)?)).ok()
}

/// Whether an instruction puts an address on the stack into a register.
fn is_stack_address(instruction: &Instruction, register: Register) -> bool {
    let into = instruction.op0_kind() == OpKind::Register && instruction.op0_register() == register;
    let on_stack = |base: Register| matches!(base, Register::RSP | Register::RBP);
    into && match instruction.mnemonic() {
        Mnemonic::Mov => {
            instruction.op1_kind() == OpKind::Register && on_stack(instruction.op1_register())
        }
        Mnemonic::Lea => on_stack(instruction.memory_base()),
        _ => false,
    }
}
