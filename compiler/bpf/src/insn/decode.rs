//! Bytes to instructions: the inverse of [`encode`](super::encode).

use std::collections::BTreeMap;

use super::encode::{
    ATOMIC, CALL, Code, END, EXIT, LD_IMM64, MEM, NEG, Slot, Symbol, UNPLACED, X, class, pseudo,
    width_bits,
};
use super::{
    AluOp, AtomicOp, Bits, ByteOrder, Cond, Helper, Insn, Operand, Reg, SLOT, SwapBits, Wide, Width,
};

/// Why bytes cannot be read as instructions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes do not come in slots of eight.
    #[error("{0} bytes are not a whole number of slots")]
    Length(usize),
    /// The instruction is none that this crate knows, or a field that it does not use is set.
    #[error("the instruction at slot {slot}, with opcode {opcode:#04x}, is unknown")]
    Unknown {
        /// The number of the slot.
        slot: usize,
        /// Its opcode.
        opcode: u8,
    },
    /// A map, data or a function is meant, but no relocation says which.
    #[error("the instruction at slot {slot} refers to something, and no relocation says to what")]
    Relocation {
        /// The number of the slot.
        slot: usize,
    },
}

/// Decodes instructions.
pub fn decode(code: &Code) -> Result<Vec<Insn>, DecodeError> {
    let slots = slots(&code.bytes)?;
    let symbols: BTreeMap<usize, &Symbol> = code
        .relocations
        .iter()
        .map(|relocation| (relocation.slot, &relocation.symbol))
        .collect();
    let mut insns = Vec::with_capacity(slots.len());
    let mut rest = slots.iter().copied().enumerate();
    while let Some((at, slot)) = rest.next() {
        let symbol = symbols.get(&at).copied();
        let insn = if slot.opcode == LD_IMM64 {
            rest.next()
                .and_then(|(_, second)| wide(slot, second, symbol))
        } else {
            one(slot, symbol)
        };
        insns.push(insn.ok_or_else(|| error(at, slot, symbol))?);
    }
    Ok(insns)
}

/// Why a slot could not be decoded.
fn error(at: usize, slot: Slot, symbol: Option<&Symbol>) -> DecodeError {
    let refers = match slot.opcode {
        LD_IMM64 => slot.src != pseudo::VALUE,
        opcode => opcode == class::JMP | CALL && slot.src == pseudo::CALL,
    };
    if refers && symbol.is_none() {
        DecodeError::Relocation { slot: at }
    } else {
        DecodeError::Unknown {
            slot: at,
            opcode: slot.opcode,
        }
    }
}

fn slots(bytes: &[u8]) -> Result<Vec<Slot>, DecodeError> {
    let (slots, rest) = bytes.as_chunks::<SLOT>();
    if !rest.is_empty() {
        return Err(DecodeError::Length(bytes.len()));
    }
    let slot = |&[opcode, registers, a, b, c, d, e, f]: &[u8; SLOT]| Slot {
        opcode,
        dst: registers & 0x0f,
        src: registers >> 4,
        offset: i16::from_le_bytes([a, b]),
        imm: i32::from_le_bytes([c, d, e, f]),
    };
    Ok(slots.iter().map(slot).collect())
}

/// Decodes an instruction of one slot.
fn one(slot: Slot, symbol: Option<&Symbol>) -> Option<Insn> {
    match slot.opcode & 0x07 {
        class::ALU32 | class::ALU64 => arithmetic(slot),
        class::LDX => load(slot),
        class::ST | class::STX => store(slot),
        class::JMP | class::JMP32 => jump(slot, symbol),
        _ => None,
    }
}

fn arithmetic(slot: Slot) -> Option<Insn> {
    let wide = slot.opcode & 0x07 == class::ALU64;
    let bits = bits(wide);
    let dst = register(slot.dst)?;
    let unused = slot.offset == 0;
    match slot.opcode & 0xf0 {
        NEG => (unused && slot.opcode & X == 0 && slot.src == 0 && slot.imm == 0)
            .then_some(Insn::Neg { bits, dst }),
        END => {
            let order = match (wide, slot.opcode & X != 0) {
                (false, false) => ByteOrder::Little,
                (false, true) => ByteOrder::Big,
                (true, false) => ByteOrder::Reversed,
                (true, true) => return None,
            };
            let bits = SwapBits::ALL
                .into_iter()
                .find(|bits| i32::from(bits.count()) == slot.imm)?;
            (unused && slot.src == 0).then_some(Insn::Swap { order, bits, dst })
        }
        code => {
            let op = AluOp::ALL.into_iter().find(|op| *op as u8 == code)?;
            let src = operand(slot)?;
            unused.then_some(Insn::Alu { op, bits, dst, src })
        }
    }
}

fn load(slot: Slot) -> Option<Insn> {
    let width = width(slot.opcode);
    let known = slot.opcode & 0xe0 == MEM && slot.imm == 0;
    known.then_some(Insn::Load {
        width,
        dst: register(slot.dst)?,
        base: register(slot.src)?,
        offset: slot.offset,
    })
}

fn store(slot: Slot) -> Option<Insn> {
    let from_register = slot.opcode & 0x07 == class::STX;
    let width = width(slot.opcode);
    let (base, offset) = (register(slot.dst)?, slot.offset);
    match slot.opcode & 0xe0 {
        MEM => {
            let src = match from_register {
                true if slot.imm == 0 => Operand::Reg(register(slot.src)?),
                false if slot.src == 0 => Operand::Imm(slot.imm),
                _ => return None,
            };
            Some(Insn::Store {
                width,
                base,
                offset,
                src,
            })
        }
        ATOMIC if from_register => {
            let bits = match width {
                Width::W => Bits::B32,
                Width::DW => Bits::B64,
                Width::B | Width::H => return None,
            };
            let op = AtomicOp::ALL
                .into_iter()
                .find(|op| i32::from(*op as u8) == slot.imm)?;
            Some(Insn::Atomic {
                op,
                bits,
                base,
                offset,
                src: register(slot.src)?,
            })
        }
        _ => None,
    }
}

fn jump(slot: Slot, symbol: Option<&Symbol>) -> Option<Insn> {
    let wide = slot.opcode & 0x07 == class::JMP;
    let no_registers = slot.dst == 0 && slot.src == 0;
    let target = slot.offset.into();
    match (slot.opcode & 0xf0, wide) {
        (0x00, true) => {
            (slot.opcode & X == 0 && no_registers && slot.imm == 0).then_some(Insn::Jump { target })
        }
        (0x00, false) => (slot.opcode & X == 0 && no_registers && slot.offset == 0)
            .then_some(Insn::JumpFar { target: slot.imm }),
        (CALL, true) => call(slot, symbol),
        (EXIT, true) => (slot == Slot::exit()).then_some(Insn::Exit),
        (code, _) => Some(Insn::JumpIf {
            cond: Cond::ALL.into_iter().find(|cond| *cond as u8 == code)?,
            bits: bits(wide),
            left: register(slot.dst)?,
            right: operand(slot)?,
            target,
        }),
    }
}

fn call(slot: Slot, symbol: Option<&Symbol>) -> Option<Insn> {
    if slot.opcode & X != 0 || slot.dst != 0 || slot.offset != 0 {
        return None;
    }
    match (slot.src, symbol) {
        (pseudo::HELPER, None) => Helper::from_number(slot.imm).map(Insn::Call),
        (pseudo::CALL, Some(Symbol::Call(function))) if slot.imm == UNPLACED => {
            Some(Insn::CallFunction(*function))
        }
        _ => None,
    }
}

/// Decodes a 64-bit constant.
fn wide(first: Slot, second: Slot, symbol: Option<&Symbol>) -> Option<Insn> {
    let Slot {
        dst, src, imm: low, ..
    } = first;
    let high = second.imm;
    let unused = Slot { imm: 0, ..second } == Slot::ZERO && first.offset == 0;
    let value = match (src, symbol) {
        (pseudo::VALUE, None) => {
            Wide::Value(u64::from(high.cast_unsigned()) << 32 | u64::from(low.cast_unsigned()))
        }
        (pseudo::MAP, Some(Symbol::Map(name))) if low == 0 && high == 0 => Wide::Map(name.clone()),
        (pseudo::MAP_VALUE, Some(Symbol::Data(name))) if high == 0 => Wide::Data {
            name: name.clone(),
            offset: u32::try_from(low).ok()?,
        },
        (pseudo::FUNCTION, Some(Symbol::Function(function))) if low == 0 && high == 0 => {
            Wide::Function(*function)
        }
        _ => return None,
    };
    let dst = register(dst)?;
    unused.then_some(Insn::LoadWide { dst, value })
}

fn register(number: u8) -> Option<Reg> {
    Reg::ALL.get(usize::from(number)).copied()
}

fn operand(slot: Slot) -> Option<Operand> {
    match slot.opcode & X != 0 {
        true if slot.imm == 0 => register(slot.src).map(Operand::Reg),
        false if slot.src == 0 => Some(Operand::Imm(slot.imm)),
        _ => None,
    }
}

fn bits(wide: bool) -> Bits {
    if wide { Bits::B64 } else { Bits::B32 }
}

fn width(opcode: u8) -> Width {
    let is = |width: &Width| width_bits(*width) == opcode & 0x18;
    Width::ALL.into_iter().find(is).unwrap_or(Width::W)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(slots: &[[u8; SLOT]]) -> Code {
        Code {
            bytes: slots.concat(),
            relocations: Vec::new(),
        }
    }

    #[test]
    fn what_a_compiler_wrote_is_read() {
        // r2 = *(u32 *)(r1 + 4); if w2 != 6 goto +1; r0 = 0x100000002 ll; exit
        let code = bytes(&[
            [0x61, 0x12, 4, 0, 0, 0, 0, 0],
            [0x56, 0x02, 1, 0, 6, 0, 0, 0],
            [0x18, 0x00, 0, 0, 2, 0, 0, 0],
            [0x00, 0x00, 0, 0, 1, 0, 0, 0],
            [0x95, 0x00, 0, 0, 0, 0, 0, 0],
        ]);
        let insns = decode(&code).unwrap();
        assert_eq!(
            insns[1],
            Insn::JumpIf {
                cond: Cond::Ne,
                bits: Bits::B32,
                left: Reg::R2,
                right: Operand::Imm(6),
                target: 1
            }
        );
        assert_eq!(
            insns[2],
            Insn::LoadWide {
                dst: Reg::R0,
                value: Wide::Value(0x1_0000_0002)
            }
        );
        assert_eq!(super::super::encode(&insns).unwrap(), code);
    }

    #[test]
    fn what_is_no_instruction_is_refused() {
        assert_eq!(
            decode(&Code {
                bytes: vec![0; 9],
                relocations: Vec::new()
            }),
            Err(DecodeError::Length(9))
        );
        // An unknown opcode, a twelfth register, a return with a constant, half a constant.
        for slot in [
            [0xff, 0, 0, 0, 0, 0, 0, 0],
            [0xb7, 0x0b, 0, 0, 0, 0, 0, 0],
            [0x95, 0, 0, 0, 1, 0, 0, 0],
            [0x18, 0, 0, 0, 0, 0, 0, 0],
        ] {
            let opcode = slot[0];
            let error = decode(&bytes(&[slot])).unwrap_err();
            assert_eq!(error, DecodeError::Unknown { slot: 0, opcode });
        }
    }

    #[test]
    fn a_map_needs_a_relocation() {
        let code = bytes(&[
            [0x18, 0x11, 0, 0, 0, 0, 0, 0],
            [0x00, 0x00, 0, 0, 0, 0, 0, 0],
        ]);
        assert_eq!(decode(&code), Err(DecodeError::Relocation { slot: 0 }));
    }
}
