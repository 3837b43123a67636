//! What instructions are made of: registers, widths, operations, conditions.

/// A register.
///
/// `R0` holds results, `R1`–`R5` arguments (which calls destroy), `R6`–`R9` survive calls, and
/// `R10`, the frame pointer, is read-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "their names say all there is to say")]
pub enum Reg {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

impl Reg {
    /// All of them, in order.
    pub const ALL: [Self; 11] = [
        Self::R0,
        Self::R1,
        Self::R2,
        Self::R3,
        Self::R4,
        Self::R5,
        Self::R6,
        Self::R7,
        Self::R8,
        Self::R9,
        Self::R10,
    ];

    /// Its number in the encoding.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// How much a load or store moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Width {
    /// One byte.
    B,
    /// A half word: two bytes.
    H,
    /// A word: four bytes.
    W,
    /// A double word: eight bytes.
    DW,
}

impl Width {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::B, Self::H, Self::W, Self::DW];

    /// How many bytes that is.
    pub const fn bytes(self) -> u8 {
        match self {
            Self::B => 1,
            Self::H => 2,
            Self::W => 4,
            Self::DW => 8,
        }
    }
}

/// How much of its registers an operation works on. A result of 32 bits clears the upper half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bits {
    /// The lower half.
    B32,
    /// All of it.
    B64,
}

impl Bits {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::B32, Self::B64];
}

/// How much of its register a change of byte order works on; the rest is cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SwapBits {
    /// The lowest two bytes.
    B16,
    /// The lower half.
    B32,
    /// All of it.
    B64,
}

impl SwapBits {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::B16, Self::B32, Self::B64];

    /// How many bits that is.
    pub const fn count(self) -> u8 {
        match self {
            Self::B16 => 16,
            Self::B32 => 32,
            Self::B64 => 64,
        }
    }
}

/// The byte order that [`Insn::Swap`](super::Insn::Swap) makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ByteOrder {
    /// From or to little-endian: on a little-endian machine this only cuts off.
    Little,
    /// From or to big-endian, the order of networks.
    Big,
    /// The opposite of what it was, whatever the machine. Since Linux 6.6 ([`Isa::V4`]).
    ///
    /// [`Isa::V4`]: crate::asm::Isa::V4
    Reversed,
}

impl ByteOrder {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::Little, Self::Big, Self::Reversed];
}

/// What arithmetic does: `dst = dst op src`, but for [`AluOp::Mov`], which is `dst = src`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AluOp {
    /// Addition, which wraps around.
    Add = 0x00,
    /// Subtraction, which wraps around.
    Sub = 0x10,
    /// Multiplication, which wraps around.
    Mul = 0x20,
    /// Unsigned division; by zero it gives zero.
    Div = 0x30,
    /// Bitwise or.
    Or = 0x40,
    /// Bitwise and.
    And = 0x50,
    /// Shift left.
    Lsh = 0x60,
    /// Shift right, filling with zeroes.
    Rsh = 0x70,
    /// Unsigned remainder; by zero it leaves `dst`.
    Mod = 0x90,
    /// Bitwise exclusive or.
    Xor = 0xa0,
    /// Move.
    Mov = 0xb0,
    /// Shift right, filling with the sign.
    Arsh = 0xc0,
}

impl AluOp {
    /// All of them, in the order of their encoding.
    pub const ALL: [Self; 12] = [
        Self::Add,
        Self::Sub,
        Self::Mul,
        Self::Div,
        Self::Or,
        Self::And,
        Self::Lsh,
        Self::Rsh,
        Self::Mod,
        Self::Xor,
        Self::Mov,
        Self::Arsh,
    ];
}

/// What a conditional jump asks of its two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Cond {
    /// Equal.
    Eq = 0x10,
    /// Unsigned greater.
    Gt = 0x20,
    /// Unsigned greater or equal.
    Ge = 0x30,
    /// Some bit set in both.
    Set = 0x40,
    /// Not equal.
    Ne = 0x50,
    /// Signed greater.
    Sgt = 0x60,
    /// Signed greater or equal.
    Sge = 0x70,
    /// Unsigned less.
    Lt = 0xa0,
    /// Unsigned less or equal.
    Le = 0xb0,
    /// Signed less.
    Slt = 0xc0,
    /// Signed less or equal.
    Sle = 0xd0,
}

impl Cond {
    /// All of them, in the order of their encoding.
    pub const ALL: [Self; 11] = [
        Self::Eq,
        Self::Gt,
        Self::Ge,
        Self::Set,
        Self::Ne,
        Self::Sgt,
        Self::Sge,
        Self::Lt,
        Self::Le,
        Self::Slt,
        Self::Sle,
    ];

    /// The condition that holds exactly where this one does not. [`Cond::Set`] has none.
    pub const fn inverse(self) -> Option<Self> {
        Some(match self {
            Self::Eq => Self::Ne,
            Self::Ne => Self::Eq,
            Self::Gt => Self::Le,
            Self::Le => Self::Gt,
            Self::Ge => Self::Lt,
            Self::Lt => Self::Ge,
            Self::Sgt => Self::Sle,
            Self::Sle => Self::Sgt,
            Self::Sge => Self::Slt,
            Self::Slt => Self::Sge,
            Self::Set => return None,
        })
    }
}

/// What happens to memory in one indivisible step. Those that fetch need Linux 5.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AtomicOp {
    /// `*place += src`
    Add = 0x00,
    /// `*place += src`, and `src` gets the old value.
    FetchAdd = 0x01,
    /// `*place |= src`. Since Linux 5.12.
    Or = 0x40,
    /// `*place` and `src` change places.
    Xchg = 0xe1,
    /// `if *place == r0 { *place = src }`, and `r0` gets the old value.
    CmpXchg = 0xf1,
}

impl AtomicOp {
    /// All of them, in the order of their encoding.
    pub const ALL: [Self; 5] = [
        Self::Add,
        Self::FetchAdd,
        Self::Or,
        Self::Xchg,
        Self::CmpXchg,
    ];
}

/// A register or a constant. Constants are sign-extended to 64 bits where those are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "their names say all there is to say")]
pub enum Operand {
    Reg(Reg),
    Imm(i32),
}

impl From<Reg> for Operand {
    fn from(reg: Reg) -> Self {
        Self::Reg(reg)
    }
}

impl From<i32> for Operand {
    fn from(imm: i32) -> Self {
        Self::Imm(imm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inverse_undoes_itself() {
        for cond in Cond::ALL {
            if let Some(inverse) = cond.inverse() {
                assert_ne!(inverse, cond);
                assert_eq!(inverse.inverse(), Some(cond));
            } else {
                assert_eq!(cond, Cond::Set);
            }
        }
    }
}
