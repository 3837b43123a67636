//! What is written in a program: a method for each instruction, short enough for code that writes
//! code to read like a listing.

use super::{Assembler, Label};
use crate::insn::{
    AluOp, AtomicOp, Bits, ByteOrder, Cond, FunctionId, Helper, Insn, Operand, Reg, SwapBits, Wide,
    Width,
};

/// The instructions, one method for each.
impl Assembler {
    /// `dst = src`
    pub fn mov(&mut self, dst: Reg, src: impl Into<Operand>) {
        self.alu(AluOp::Mov, dst, src);
    }

    /// `dst = src`, the lower half; the upper one is cleared.
    pub fn mov32(&mut self, dst: Reg, src: impl Into<Operand>) {
        self.alu32(AluOp::Mov, dst, src);
    }

    /// `dst += src`
    pub fn add(&mut self, dst: Reg, src: impl Into<Operand>) {
        self.alu(AluOp::Add, dst, src);
    }

    /// `dst = dst op src`
    pub fn alu(&mut self, op: AluOp, dst: Reg, src: impl Into<Operand>) {
        let (bits, src) = (Bits::B64, src.into());
        self.push(Insn::Alu { op, bits, dst, src });
    }

    /// `dst = dst op src` of the lower halves; the upper one is cleared.
    pub fn alu32(&mut self, op: AluOp, dst: Reg, src: impl Into<Operand>) {
        let (bits, src) = (Bits::B32, src.into());
        self.push(Insn::Alu { op, bits, dst, src });
    }

    /// `dst = -dst`
    pub fn neg(&mut self, dst: Reg) {
        let bits = Bits::B64;
        self.push(Insn::Neg { bits, dst });
    }

    /// Between the machine's byte order and big-endian, that of networks.
    pub fn to_be(&mut self, bits: SwapBits, dst: Reg) {
        let order = ByteOrder::Big;
        self.push(Insn::Swap { order, bits, dst });
    }

    /// Between the machine's byte order and little-endian.
    pub fn to_le(&mut self, bits: SwapBits, dst: Reg) {
        let order = ByteOrder::Little;
        self.push(Insn::Swap { order, bits, dst });
    }

    /// Turns the bytes round. Needs [`Isa::V4`](super::Isa::V4).
    pub fn bswap(&mut self, bits: SwapBits, dst: Reg) {
        let order = ByteOrder::Reversed;
        self.push(Insn::Swap { order, bits, dst });
    }

    /// `dst = *(base + offset)`
    pub fn load(&mut self, width: Width, dst: Reg, base: Reg, offset: i16) {
        self.push(Insn::Load {
            width,
            dst,
            base,
            offset,
        });
    }

    /// `*(base + offset) = src`
    pub fn store(&mut self, width: Width, base: Reg, offset: i16, src: impl Into<Operand>) {
        let src = src.into();
        self.push(Insn::Store {
            width,
            base,
            offset,
            src,
        });
    }

    /// `dst = value`, of 64 bits.
    pub fn load_wide(&mut self, dst: Reg, value: u64) {
        let value = Wide::Value(value);
        self.push(Insn::LoadWide { dst, value });
    }

    /// `dst =` the map of that name, for helpers.
    pub fn load_map(&mut self, dst: Reg, name: &str) {
        let value = Wide::Map(self.intern(name));
        self.push(Insn::LoadWide { dst, value });
    }

    /// `dst =` the address of a byte of the object's read-only data of that name.
    pub fn load_data(&mut self, dst: Reg, name: &str, offset: u32) {
        let name = self.intern(name);
        let value = Wide::Data { name, offset };
        self.push(Insn::LoadWide { dst, value });
    }

    /// `dst =` the address of a function, for helpers that call back. Needs Linux 5.13.
    pub fn load_function(&mut self, dst: Reg, function: FunctionId) {
        let value = Wide::Function(function);
        self.push(Insn::LoadWide { dst, value });
    }

    /// An indivisible operation on `*(base + offset)`.
    pub fn atomic(&mut self, op: AtomicOp, bits: Bits, base: Reg, offset: i16, src: Reg) {
        self.push(Insn::Atomic {
            op,
            bits,
            base,
            offset,
            src,
        });
    }

    /// Goes to `target`.
    pub fn jump(&mut self, target: Label) {
        self.push(Insn::Jump { target });
    }

    /// Goes to `target` if `left cond right`.
    pub fn jump_if(&mut self, cond: Cond, left: Reg, right: impl Into<Operand>, target: Label) {
        let (bits, right) = (Bits::B64, right.into());
        self.push(Insn::JumpIf {
            cond,
            bits,
            left,
            right,
            target,
        });
    }

    /// Goes to `target` if `left cond right`, comparing lower halves.
    pub fn jump32_if(&mut self, cond: Cond, left: Reg, right: impl Into<Operand>, target: Label) {
        let (bits, right) = (Bits::B32, right.into());
        self.push(Insn::JumpIf {
            cond,
            bits,
            left,
            right,
            target,
        });
    }

    /// Calls the kernel.
    pub fn call(&mut self, helper: Helper) {
        self.push(Insn::Call(helper));
    }

    /// Calls a function of this program.
    pub fn call_function(&mut self, function: FunctionId) {
        self.push(Insn::CallFunction(function));
    }

    /// Returns `R0`.
    pub fn exit(&mut self) {
        self.push(Insn::Exit);
    }
}
