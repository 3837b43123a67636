//! A program as text, one instruction on a line, the way the kernel's verifier and `bpftool prog
//! dump xlated` write them.
//!
//! Labels, maps, data, helpers and functions go by their names. What the assembler was told about
//! instructions is there too: headings of parts, remarks behind `//`, lines of the source behind
//! `;`.
//!
//! ```text
//! edge_xdp():
//!
//! parse:
//!     r2 = *(u32 *)(r1 + 0)
//!     if r2 == 0x6 goto drop
//!     ; edge.pol:2: deny from @blocklist
//!   pass:
//!     r0 = 2
//!     exit
//! ```

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use crate::asm::{Comment, Function, Program, SourceLine};
use crate::insn::{
    AluOp, AtomicOp, Bits, ByteOrder, Cond, Insn, Operand, Reg, SwapBits, Wide, Width,
};

impl Display for Program {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (number, function) in self.functions().iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            show(f, self, function)?;
        }
        Ok(())
    }
}

fn show(f: &mut Formatter<'_>, program: &Program, function: &Function) -> fmt::Result {
    writeln!(f, "{}():", function.name())?;
    let mut comments = function.comments().iter().peekable();
    let mut lines = function.lines().iter().peekable();
    let names = Names::of(program, function);
    let mut slot = 0;
    for (index, insn) in function.insns().iter().enumerate() {
        while let Some((_, comment)) = comments.next_if(|(at, _)| *at == index) {
            match comment {
                Comment::Part(name) => writeln!(f, "\n{name}:")?,
                Comment::Note(text) => writeln!(f, "    // {text}")?,
            }
        }
        if let Some(label) = function.labels().get(&index) {
            writeln!(f, "  {label}:")?;
        }
        if let Some((_, line)) = lines.next_if(|(at, _)| *at == index) {
            let SourceLine {
                file, line, text, ..
            } = line;
            writeln!(f, "    ; {file}:{line}: {}", text.trim())?;
        }
        writeln!(
            f,
            "    {}",
            Shown {
                insn,
                slot,
                names: &names
            }
        )?;
        slot += insn.slots();
    }
    Ok(())
}

/// What an instruction refers to, by name.
struct Names<'a> {
    program: &'a Program,
    /// The labels by slot.
    labels: BTreeMap<usize, &'a str>,
}

impl<'a> Names<'a> {
    fn of(program: &'a Program, function: &'a Function) -> Self {
        let mut labels = BTreeMap::new();
        let mut slot = 0;
        for (index, insn) in function.insns().iter().enumerate() {
            if let Some(name) = function.labels().get(&index) {
                labels.insert(slot, name.as_str());
            }
            slot += insn.slots();
        }
        Self { program, labels }
    }
}

/// An instruction at a slot.
struct Shown<'a> {
    insn: &'a Insn,
    slot: usize,
    names: &'a Names<'a>,
}

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.insn {
            Insn::Alu { op, bits, dst, src } => {
                let dst = Part(*bits, *dst);
                write!(f, "{dst} {} {}", alu(*op), Value(*bits, *src))
            }
            Insn::Neg { bits, dst } => write!(f, "{0} = -{0}", Part(*bits, *dst)),
            Insn::Swap { order, bits, dst } => write!(f, "{dst} = {} {dst}", swap(*order, *bits)),
            Insn::Load {
                width,
                dst,
                base,
                offset,
            } => write!(f, "{dst} = *({} *){}", unit(*width), Place(*base, *offset)),
            Insn::Store {
                width,
                base,
                offset,
                src,
            } => {
                let (unit, place) = (unit(*width), Place(*base, *offset));
                write!(f, "*({unit} *){place} = {}", Value(Bits::B64, *src))
            }
            Insn::LoadWide { dst, value } => {
                write!(f, "{dst} = ")?;
                self.wide(f, value)
            }
            Insn::Atomic {
                op,
                bits,
                base,
                offset,
                src,
            } => atomic(f, *op, *bits, Place(*base, *offset), *src),
            Insn::Jump { target } => {
                f.write_str("goto ")?;
                self.target(f, *target)
            }
            Insn::JumpFar { target } => {
                f.write_str("gotol ")?;
                self.target(f, *target)
            }
            Insn::JumpIf {
                cond,
                bits,
                left,
                right,
                target,
            } => {
                write!(f, "if {} {} ", Part(*bits, *left), condition(*cond))?;
                match right {
                    Operand::Reg(reg) => write!(f, "{}", Part(*bits, *reg))?,
                    Operand::Imm(imm) => write!(f, "{imm:#x}")?,
                }
                f.write_str(" goto ")?;
                self.target(f, *target)
            }
            Insn::Call(helper) => write!(f, "call {}", helper.name()),
            Insn::CallFunction(function) => {
                write!(f, "call {}", self.function(*function))
            }
            Insn::Exit => f.write_str("exit"),
        }
    }
}

impl Shown<'_> {
    /// The label a jump goes to, or the number of slots it skips.
    fn target(&self, f: &mut Formatter<'_>, skipped: i32) -> fmt::Result {
        let label = isize::try_from(skipped)
            .ok()
            .and_then(|skipped| (self.slot + 1).checked_add_signed(skipped))
            .and_then(|slot| self.names.labels.get(&slot));
        match label {
            Some(label) => f.write_str(label),
            None => write!(f, "{skipped:+}"),
        }
    }

    fn wide(&self, f: &mut Formatter<'_>, value: &Wide) -> fmt::Result {
        match value {
            Wide::Value(value) => write!(f, "{value:#x}"),
            Wide::Map(name) => write!(f, "map[{name}]"),
            Wide::Data { name, offset: 0 } => write!(f, "data[{name}]"),
            Wide::Data { name, offset } => write!(f, "data[{name}] + {offset}"),
            Wide::Function(function) => write!(f, "subprog[{}]", self.function(*function)),
        }
    }

    fn function(&self, id: crate::insn::FunctionId) -> &str {
        self.names.program.function(id).map_or("?", Function::name)
    }
}

impl Display for Reg {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.number())
    }
}

/// A register as far as an operation looks at it: `r1`, or `w1` for its lower half.
struct Part(Bits, Reg);

impl Display for Part {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Bits::B32 => write!(f, "w{}", self.1.number()),
            Bits::B64 => self.1.fmt(f),
        }
    }
}

/// An operand, constants in decimal.
struct Value(Bits, Operand);

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.1 {
            Operand::Reg(reg) => Part(self.0, reg).fmt(f),
            Operand::Imm(imm) => imm.fmt(f),
        }
    }
}

/// A place in memory.
#[derive(Clone, Copy)]
struct Place(Reg, i16);

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let sign = if self.1 < 0 { '-' } else { '+' };
        write!(f, "({} {sign} {})", self.0, self.1.unsigned_abs())
    }
}

fn atomic(f: &mut Formatter<'_>, op: AtomicOp, bits: Bits, place: Place, src: Reg) -> fmt::Result {
    let (size, prefix) = match bits {
        Bits::B32 => ("u32", "atomic"),
        Bits::B64 => ("u64", "atomic64"),
    };
    match op {
        AtomicOp::Add => write!(f, "lock *({size} *){place} += {src}"),
        AtomicOp::FetchAdd => write!(f, "{src} = {prefix}_fetch_add(({size} *){place}, {src})"),
        AtomicOp::Or => write!(f, "lock *({size} *){place} |= {src}"),
        AtomicOp::Xchg => write!(f, "{src} = {prefix}_xchg(({size} *){place}, {src})"),
        AtomicOp::CmpXchg => write!(f, "r0 = {prefix}_cmpxchg(({size} *){place}, r0, {src})"),
    }
}

const fn unit(width: Width) -> &'static str {
    match width {
        Width::B => "u8",
        Width::H => "u16",
        Width::W => "u32",
        Width::DW => "u64",
    }
}

const fn alu(op: AluOp) -> &'static str {
    match op {
        AluOp::Add => "+=",
        AluOp::Sub => "-=",
        AluOp::Mul => "*=",
        AluOp::Div => "/=",
        AluOp::Or => "|=",
        AluOp::And => "&=",
        AluOp::Lsh => "<<=",
        AluOp::Rsh => ">>=",
        AluOp::Mod => "%=",
        AluOp::Xor => "^=",
        AluOp::Mov => "=",
        AluOp::Arsh => "s>>=",
    }
}

const fn condition(cond: Cond) -> &'static str {
    match cond {
        Cond::Eq => "==",
        Cond::Gt => ">",
        Cond::Ge => ">=",
        Cond::Set => "&",
        Cond::Ne => "!=",
        Cond::Sgt => "s>",
        Cond::Sge => "s>=",
        Cond::Lt => "<",
        Cond::Le => "<=",
        Cond::Slt => "s<",
        Cond::Sle => "s<=",
    }
}

const fn swap(order: ByteOrder, bits: SwapBits) -> &'static str {
    match (order, bits) {
        (ByteOrder::Little, SwapBits::B16) => "le16",
        (ByteOrder::Little, SwapBits::B32) => "le32",
        (ByteOrder::Little, SwapBits::B64) => "le64",
        (ByteOrder::Big, SwapBits::B16) => "be16",
        (ByteOrder::Big, SwapBits::B32) => "be32",
        (ByteOrder::Big, SwapBits::B64) => "be64",
        (ByteOrder::Reversed, SwapBits::B16) => "bswap16",
        (ByteOrder::Reversed, SwapBits::B32) => "bswap32",
        (ByteOrder::Reversed, SwapBits::B64) => "bswap64",
    }
}
