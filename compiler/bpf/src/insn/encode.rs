//! Instructions to bytes.
//!
//! The bytes are little-endian. What only a loader knows (the descriptor of a map, where a
//! function ends up) stands in the relocations beside them.

use std::sync::Arc;

use super::{AtomicOp, Bits, ByteOrder, FunctionId, Insn, Operand, Reg, SwapBits, Wide, Width};

/// The class of an opcode: its three lowest bits.
pub(super) mod class {
    pub(in crate::insn) const LD: u8 = 0x00;
    pub(in crate::insn) const LDX: u8 = 0x01;
    pub(in crate::insn) const ST: u8 = 0x02;
    pub(in crate::insn) const STX: u8 = 0x03;
    pub(in crate::insn) const ALU32: u8 = 0x04;
    pub(in crate::insn) const JMP: u8 = 0x05;
    pub(in crate::insn) const JMP32: u8 = 0x06;
    pub(in crate::insn) const ALU64: u8 = 0x07;
}

/// The bit that says that the second operand is a register.
pub(super) const X: u8 = 0x08;
/// Loads and stores: ordinary.
pub(super) const MEM: u8 = 0x60;
/// Loads and stores: indivisible.
pub(super) const ATOMIC: u8 = 0xc0;
/// Arithmetic: negation.
pub(super) const NEG: u8 = 0x80;
/// Arithmetic: byte order.
pub(super) const END: u8 = 0xd0;
/// Jumps: a call.
pub(super) const CALL: u8 = 0x80;
/// Jumps: a return.
pub(super) const EXIT: u8 = 0x90;
/// The opcode of a 64-bit constant.
pub(super) const LD_IMM64: u8 = class::LD | 0x18;

/// What the source register of a 64-bit constant or a call says about its constant.
pub(super) mod pseudo {
    pub(in crate::insn) const VALUE: u8 = 0;
    pub(in crate::insn) const MAP: u8 = 1;
    pub(in crate::insn) const MAP_VALUE: u8 = 2;
    pub(in crate::insn) const FUNCTION: u8 = 4;
    pub(in crate::insn) const HELPER: u8 = 0;
    pub(in crate::insn) const CALL: u8 = 1;
}

/// What stands in place of the distance to a function that the loader will place: libbpf adds
/// one to it, and the address of the symbol.
pub(super) const UNPLACED: i32 = -1;

/// Encoded instructions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Code {
    /// Eight for each slot.
    pub bytes: Vec<u8>,
    /// What a loader has to fill in, in the order of their slots.
    pub relocations: Vec<Relocation>,
}

/// A slot that a loader has to fill in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// The number of the slot.
    pub slot: usize,
    /// With what.
    pub symbol: Symbol,
}

/// What a program refers to outside of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Symbol {
    /// A map, by name.
    Map(Arc<str>),
    /// Read-only data, by name.
    Data(Arc<str>),
    /// The address of a function of the program.
    Function(FunctionId),
    /// A function of the program that is called.
    Call(FunctionId),
}

/// Why instructions cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A jump other than [`Insn::JumpFar`] has 16 bits to say how far it goes.
    #[error("the jump at instruction {index} skips {slots} slots: 16 bits do not reach")]
    TooFar {
        /// The number of the instruction.
        index: usize,
        /// How far it is.
        slots: i32,
    },
    /// An offset into data has 31 bits.
    #[error("an offset of {offset} into data at instruction {index} is too big")]
    DataOffset {
        /// The number of the instruction.
        index: usize,
        /// The offset in bytes.
        offset: u32,
    },
}

/// One slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) opcode: u8,
    pub(super) dst: u8,
    pub(super) src: u8,
    pub(super) offset: i16,
    pub(super) imm: i32,
}

impl Slot {
    pub(super) const ZERO: Self = Self::new(0);

    pub(super) const fn exit() -> Self {
        Self::new(class::JMP | EXIT)
    }

    const fn new(opcode: u8) -> Self {
        Self {
            opcode,
            dst: 0,
            src: 0,
            offset: 0,
            imm: 0,
        }
    }

    const fn dst(self, reg: Reg) -> Self {
        Self {
            dst: reg.number(),
            ..self
        }
    }

    const fn src(self, src: u8) -> Self {
        Self { src, ..self }
    }

    const fn offset(self, offset: i16) -> Self {
        Self { offset, ..self }
    }

    const fn imm(self, imm: i32) -> Self {
        Self { imm, ..self }
    }

    /// Adds the second operand, and to the opcode what kind it is of.
    const fn operand(self, operand: Operand) -> Self {
        match operand {
            Operand::Imm(imm) => self.imm(imm),
            Operand::Reg(reg) => Self {
                opcode: self.opcode | X,
                src: reg.number(),
                ..self
            },
        }
    }

    fn write(self, bytes: &mut Vec<u8>) {
        bytes.extend([self.opcode, self.src << 4 | self.dst]);
        bytes.extend(self.offset.to_le_bytes());
        bytes.extend(self.imm.to_le_bytes());
    }
}

pub(super) const fn width_bits(width: Width) -> u8 {
    match width {
        Width::W => 0x00,
        Width::H => 0x08,
        Width::B => 0x10,
        Width::DW => 0x18,
    }
}

const fn alu_class(bits: Bits) -> u8 {
    match bits {
        Bits::B32 => class::ALU32,
        Bits::B64 => class::ALU64,
    }
}

const fn jump_class(bits: Bits) -> u8 {
    match bits {
        Bits::B32 => class::JMP32,
        Bits::B64 => class::JMP,
    }
}

fn swap(order: ByteOrder, bits: SwapBits) -> Slot {
    let opcode = match order {
        ByteOrder::Little => class::ALU32 | END,
        ByteOrder::Big => class::ALU32 | END | X,
        ByteOrder::Reversed => class::ALU64 | END,
    };
    Slot::new(opcode).imm(bits.count().into())
}

fn atomic(op: AtomicOp, bits: Bits) -> Slot {
    let width = match bits {
        Bits::B32 => Width::W,
        Bits::B64 => Width::DW,
    };
    Slot::new(class::STX | ATOMIC | width_bits(width)).imm((op as u8).into())
}

/// Encodes instructions.
pub fn encode(insns: &[Insn]) -> Result<Code, EncodeError> {
    let mut code = Code::default();
    for (index, insn) in insns.iter().enumerate() {
        one(index, insn, &mut code)?;
    }
    Ok(code)
}

/// Adds an instruction.
fn one(index: usize, insn: &Insn, code: &mut Code) -> Result<(), EncodeError> {
    let slot = match *insn {
        Insn::Alu { op, bits, dst, src } => {
            Slot::new(alu_class(bits) | op as u8).dst(dst).operand(src)
        }
        Insn::Neg { bits, dst } => Slot::new(alu_class(bits) | NEG).dst(dst),
        Insn::Swap { order, bits, dst } => swap(order, bits).dst(dst),
        Insn::Load {
            width,
            dst,
            base,
            offset,
        } => Slot::new(class::LDX | MEM | width_bits(width))
            .dst(dst)
            .src(base.number())
            .offset(offset),
        Insn::Store {
            width,
            base,
            offset,
            src,
        } => {
            let class = match src {
                Operand::Imm(_) => class::ST,
                Operand::Reg(_) => class::STX,
            };
            let slot = Slot::new(class | MEM | width_bits(width)).dst(base);
            match src {
                Operand::Imm(imm) => slot.imm(imm),
                Operand::Reg(reg) => slot.src(reg.number()),
            }
            .offset(offset)
        }
        Insn::Atomic {
            op,
            bits,
            base,
            offset,
            src,
        } => atomic(op, bits).dst(base).src(src.number()).offset(offset),
        Insn::Jump { target } => Slot::new(class::JMP).offset(near(index, target)?),
        Insn::JumpFar { target } => Slot::new(class::JMP32).imm(target),
        Insn::JumpIf {
            cond,
            bits,
            left,
            right,
            target,
        } => Slot::new(jump_class(bits) | cond as u8)
            .dst(left)
            .operand(right)
            .offset(near(index, target)?),
        Insn::Call(helper) => Slot::new(class::JMP | CALL)
            .src(pseudo::HELPER)
            .imm(helper.number()),
        Insn::CallFunction(function) => {
            code.relocate(Symbol::Call(function));
            Slot::new(class::JMP | CALL).src(pseudo::CALL).imm(UNPLACED)
        }
        Insn::LoadWide { dst, ref value } => return wide(index, dst, value, code),
        Insn::Exit => Slot::exit(),
    };
    slot.write(&mut code.bytes);
    Ok(())
}

/// The distance of a jump that has 16 bits for it.
fn near(index: usize, slots: i32) -> Result<i16, EncodeError> {
    i16::try_from(slots).map_err(|_| EncodeError::TooFar { index, slots })
}

/// Adds a 64-bit constant: the lower half in the first slot, the upper one in the second.
fn wide(index: usize, dst: Reg, value: &Wide, code: &mut Code) -> Result<(), EncodeError> {
    let (source, low, high) = match value {
        Wide::Value(value) => {
            let (low, high) = halves(*value);
            (pseudo::VALUE, low, high)
        }
        Wide::Map(name) => {
            code.relocate(Symbol::Map(name.clone()));
            (pseudo::MAP, 0, 0)
        }
        Wide::Data { name, offset } => {
            let low = i32::try_from(*offset).map_err(|_| EncodeError::DataOffset {
                index,
                offset: *offset,
            })?;
            code.relocate(Symbol::Data(name.clone()));
            (pseudo::MAP_VALUE, low, 0)
        }
        Wide::Function(function) => {
            code.relocate(Symbol::Function(*function));
            (pseudo::FUNCTION, 0, 0)
        }
    };
    let first = Slot::new(LD_IMM64).dst(dst).src(source).imm(low);
    first.write(&mut code.bytes);
    Slot::new(0).imm(high).write(&mut code.bytes);
    Ok(())
}

/// The lower and the upper half.
#[expect(
    clippy::cast_possible_truncation,
    reason = "cutting off is what it is for"
)]
const fn halves(value: u64) -> (i32, i32) {
    (value as i32, (value >> 32) as i32)
}

impl Code {
    /// Notes that the next slot refers to `symbol`.
    fn relocate(&mut self, symbol: Symbol) {
        let slot = self.bytes.len() / super::SLOT;
        self.relocations.push(Relocation { slot, symbol });
    }
}
