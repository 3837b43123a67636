//! What must hold of a program before its jumps are laid out.

use super::{AsmError, Assembler, Draft, FunctionId, Isa, Label, LabelState, MAX_SLOTS, STACK};
use crate::insn::{AluOp, Bits, ByteOrder, Insn, Operand, Reg, Wide, Width};

/// Checks a program.
pub(super) fn program(asm: &Assembler, isa: Isa) -> Result<(), AsmError> {
    if let Some(error) = &asm.foreign {
        return Err(error.clone());
    }
    if let Some(label) = asm.labels.iter().find(|label| label.bound_twice) {
        return Err(AsmError::BoundTwice {
            label: label.name.to_string(),
        });
    }
    let slots = asm
        .drafts()
        .flat_map(|draft| &draft.insns)
        .map(Insn::slots)
        .sum();
    if slots > MAX_SLOTS {
        return Err(AsmError::TooLong { slots });
    }
    for (number, draft) in asm.drafts().enumerate() {
        let id = FunctionId(number);
        for (index, insn) in draft.insns.iter().enumerate() {
            insn_of(draft, index, insn, isa)?;
            references(asm, draft, index, insn)?;
            if let Some(target) = insn.target() {
                jump(asm, (id, draft), index, *target)?;
            }
        }
        if !matches!(
            draft.insns.last(),
            Some(Insn::Exit | Insn::Jump { .. } | Insn::JumpFar { .. })
        ) {
            let function = draft.name.clone();
            return Err(AsmError::FallsThrough { function });
        }
    }
    Ok(())
}

/// Checks what an instruction says by itself.
fn insn_of(draft: &Draft, index: usize, insn: &Insn<Label>, isa: Isa) -> Result<(), AsmError> {
    let function = || draft.name.clone();
    if insn.written() == Some(Reg::R10) {
        let function = function();
        return Err(AsmError::FramePointer { function, index });
    }
    if let Some((offset, width)) = stack_access(insn)
        && !(-STACK..=-i16::from(width)).contains(&offset)
    {
        return Err(AsmError::StackOffset {
            function: function(),
            index,
            offset,
            width,
        });
    }
    match insn {
        Insn::Alu { op, bits, src, .. } if !constant_fits(*op, *bits, *src) => {
            let function = function();
            Err(AsmError::Constant { function, index })
        }
        Insn::JumpFar { .. }
        | Insn::Swap {
            order: ByteOrder::Reversed,
            ..
        } if isa < Isa::V4 => {
            let function = function();
            Err(AsmError::Unsupported { function, index })
        }
        _ => Ok(()),
    }
}

/// The offset and width of an access through the frame pointer.
fn stack_access(insn: &Insn<Label>) -> Option<(i16, u8)> {
    let (base, offset, width) = match insn {
        Insn::Load {
            base,
            offset,
            width,
            ..
        }
        | Insn::Store {
            base,
            offset,
            width,
            ..
        } => (base, offset, *width),
        Insn::Atomic {
            base, offset, bits, ..
        } => {
            let width = match bits {
                Bits::B32 => Width::W,
                Bits::B64 => Width::DW,
            };
            (base, offset, width)
        }
        _ => return None,
    };
    (*base == Reg::R10).then_some((*offset, width.bytes()))
}

/// Whether the kernel accepts a constant operand.
fn constant_fits(op: AluOp, bits: Bits, src: Operand) -> bool {
    let Operand::Imm(imm) = src else { return true };
    let size = match bits {
        Bits::B32 => 32,
        Bits::B64 => 64,
    };
    match op {
        AluOp::Div | AluOp::Mod => imm != 0,
        AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => (0..size).contains(&imm),
        _ => true,
    }
}

/// Checks that the function an instruction refers to exists, and can be called.
fn references(
    asm: &Assembler,
    draft: &Draft,
    index: usize,
    insn: &Insn<Label>,
) -> Result<(), AsmError> {
    let (Insn::CallFunction(callee)
    | Insn::LoadWide {
        value: Wide::Function(callee),
        ..
    }) = insn
    else {
        return Ok(());
    };
    // The entry gets the context, and is not for calling.
    if *callee != FunctionId::ENTRY && callee.0 <= asm.others.len() {
        return Ok(());
    }
    let function = draft.name.clone();
    Err(AsmError::Foreign { function, index })
}

/// Checks where a jump goes.
fn jump(
    asm: &Assembler,
    (id, draft): (FunctionId, &Draft),
    index: usize,
    target: Label,
) -> Result<(), AsmError> {
    let function = draft.name.clone();
    let Some(LabelState { name, place, .. }) = asm.labels.get(target.0) else {
        return Err(AsmError::Foreign { function, index });
    };
    let label = name.to_string();
    match place {
        None => Err(AsmError::UnboundLabel {
            function,
            index,
            label,
        }),
        Some((home, place)) if *home == id && *place < draft.insns.len() => Ok(()),
        Some(_) => Err(AsmError::JumpOut {
            function,
            index,
            label,
        }),
    }
}
