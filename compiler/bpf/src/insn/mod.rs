//! The instruction set as typed data.
//!
//! What an instruction means is said by the kernel's
//! `Documentation/bpf/standardization/instruction-set.rst` (RFC 9669). Here are those of it that
//! a network program needs: arithmetic, byte order, loads and stores, four atomic operations,
//! 64-bit constants (plain, maps, data, functions), jumps, calls. Left out are signed division,
//! sign-extending moves and loads, the old packet loads, and calls of kernel functions by BTF id.
//!
//! An instruction stands for one or, for [`Insn::LoadWide`], two *slots* of eight bytes. Jumps
//! count slots. [`encode`] turns instructions into bytes and relocations, [`decode`] reads them
//! back.

mod decode;
mod encode;
mod helper;
mod operand;

use std::sync::Arc;

pub use decode::{DecodeError, decode};
pub use encode::{Code, EncodeError, Relocation, Symbol, encode};
pub use helper::Helper;
pub use operand::{AluOp, AtomicOp, Bits, ByteOrder, Cond, Operand, Reg, SwapBits, Width};

/// The size of an encoded slot, in bytes.
pub const SLOT: usize = 8;

/// A function of a program: the number [`Assembler::function`] gave it.
///
/// [`Assembler::function`]: crate::asm::Assembler::function
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FunctionId(pub(crate) usize);

impl FunctionId {
    /// The function that a program begins with.
    pub const ENTRY: Self = Self(0);
}

/// A value of 64 bits that is part of the program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wide {
    /// The number itself.
    Value(u64),
    /// The map of that name.
    Map(Arc<str>),
    /// The address of a byte of the read-only data of that name.
    Data {
        /// The name of the data.
        name: Arc<str>,
        /// How many bytes into it.
        offset: u32,
    },
    /// The address of a function, for helpers that call back.
    Function(FunctionId),
}

/// An instruction. `Target` says where jumps go: a [`Label`] while a program is being written,
/// afterwards how many slots are skipped from the next one on.
///
/// [`Label`]: crate::asm::Label
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the variants say what their operands are for")]
pub enum Insn<Target = i32> {
    /// `dst = dst op src`
    Alu {
        op: AluOp,
        bits: Bits,
        dst: Reg,
        src: Operand,
    },
    /// `dst = -dst`
    Neg { bits: Bits, dst: Reg },
    /// `dst` in another byte order.
    Swap {
        order: ByteOrder,
        bits: SwapBits,
        dst: Reg,
    },
    /// `dst = *(base + offset)`, filled up with zeroes.
    Load {
        width: Width,
        dst: Reg,
        base: Reg,
        offset: i16,
    },
    /// `*(base + offset) = src`
    Store {
        width: Width,
        base: Reg,
        offset: i16,
        src: Operand,
    },
    /// `dst = value`, in two slots.
    LoadWide { dst: Reg, value: Wide },
    /// An indivisible operation on `*(base + offset)`.
    Atomic {
        op: AtomicOp,
        bits: Bits,
        base: Reg,
        offset: i16,
        src: Reg,
    },
    /// Goes to `target`, which 16 bits reach.
    Jump { target: Target },
    /// Goes to `target`, which 32 bits reach. Since Linux 6.6.
    JumpFar { target: Target },
    /// Goes to `target` if `left cond right`.
    JumpIf {
        cond: Cond,
        bits: Bits,
        left: Reg,
        right: Operand,
        target: Target,
    },
    /// Calls the kernel.
    Call(Helper),
    /// Calls a function of the program.
    CallFunction(FunctionId),
    /// Returns `R0`.
    Exit,
}

impl<Target> Insn<Target> {
    /// How many slots of eight bytes it takes.
    pub const fn slots(&self) -> usize {
        match self {
            Self::LoadWide { .. } => 2,
            _ => 1,
        }
    }

    /// The same with another target, if it has one.
    pub fn retarget<Other>(self, to: impl FnOnce(Target) -> Other) -> Insn<Other> {
        match self {
            Self::Jump { target } => Insn::Jump { target: to(target) },
            Self::JumpFar { target } => Insn::JumpFar { target: to(target) },
            Self::JumpIf {
                cond,
                bits,
                left,
                right,
                target,
            } => Insn::JumpIf {
                cond,
                bits,
                left,
                right,
                target: to(target),
            },
            Self::Alu { op, bits, dst, src } => Insn::Alu { op, bits, dst, src },
            Self::Neg { bits, dst } => Insn::Neg { bits, dst },
            Self::Swap { order, bits, dst } => Insn::Swap { order, bits, dst },
            Self::Load {
                width,
                dst,
                base,
                offset,
            } => Insn::Load {
                width,
                dst,
                base,
                offset,
            },
            Self::Store {
                width,
                base,
                offset,
                src,
            } => Insn::Store {
                width,
                base,
                offset,
                src,
            },
            Self::LoadWide { dst, value } => Insn::LoadWide { dst, value },
            Self::Atomic {
                op,
                bits,
                base,
                offset,
                src,
            } => Insn::Atomic {
                op,
                bits,
                base,
                offset,
                src,
            },
            Self::Call(helper) => Insn::Call(helper),
            Self::CallFunction(function) => Insn::CallFunction(function),
            Self::Exit => Insn::Exit,
        }
    }

    /// Where it goes, for a jump.
    pub const fn target(&self) -> Option<&Target> {
        match self {
            Self::Jump { target } | Self::JumpFar { target } | Self::JumpIf { target, .. } => {
                Some(target)
            }
            _ => None,
        }
    }

    /// The register it writes, but for the arguments and results of calls.
    pub const fn written(&self) -> Option<Reg> {
        match self {
            Self::Alu { dst, .. }
            | Self::Neg { dst, .. }
            | Self::Swap { dst, .. }
            | Self::Load { dst, .. }
            | Self::LoadWide { dst, .. }
            | Self::Atomic {
                op: AtomicOp::FetchAdd | AtomicOp::Xchg,
                src: dst,
                ..
            } => Some(*dst),
            Self::Atomic {
                op: AtomicOp::CmpXchg,
                ..
            } => Some(Reg::R0),
            _ => None,
        }
    }
}
