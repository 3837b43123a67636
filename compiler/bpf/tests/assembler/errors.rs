//! Mistakes are named.

use polc_bpf::asm::{AsmError, Assembler, Isa, MAX_SLOTS};
use polc_bpf::insn::Cond::Eq;
use polc_bpf::insn::Reg::{R0, R1, R2, R10};
use polc_bpf::insn::Width::{B, DW, W};
use polc_bpf::insn::{AluOp, AtomicOp, Bits, FunctionId, SwapBits};

/// What is wrong with a program that begins as `write` says and then returns.
fn error(isa: Isa, write: impl FnOnce(&mut Assembler)) -> AsmError {
    let mut asm = Assembler::new("main");
    write(&mut asm);
    asm.begin(FunctionId::ENTRY);
    asm.exit();
    asm.finish(isa).expect_err("a mistake")
}

fn message(write: impl FnOnce(&mut Assembler)) -> String {
    error(Isa::V4, write).to_string()
}

#[test]
fn labels_are_bound_once_and_within_reach() {
    let unbound = message(|asm| {
        let lost = asm.label("lost");
        asm.mov(R1, 1);
        asm.jump(lost);
    });
    assert_eq!(
        unbound,
        "label `lost` is not bound, and instruction 1 of `main` jumps to it"
    );
    let twice = message(|asm| {
        let label = asm.here("here");
        asm.bind(label);
    });
    assert_eq!(twice, "label `here` is bound twice");
    let elsewhere = message(|asm| {
        let function = asm.function("f");
        asm.begin(function);
        let inside = asm.here("inside");
        asm.exit();
        asm.begin(FunctionId::ENTRY);
        asm.jump_if(Eq, R0, 0, inside);
    });
    assert_eq!(
        elsewhere,
        "instruction 0 of `main` jumps to `inside`, outside of the function"
    );
    let mut asm = Assembler::new("main");
    let end = asm.label("end");
    asm.jump(end);
    asm.bind(end);
    let behind = asm.finish(Isa::V4).unwrap_err();
    assert!(matches!(behind, AsmError::JumpOut { .. }), "{behind}");
}

#[test]
fn labels_and_functions_belong_to_one_program() {
    let mut other = Assembler::new("other");
    let foreign_label = other.label("foreign");
    let foreign_function = other.function("foreign");
    let expected = "instruction 0 of `main` refers to what the program does not have";
    assert_eq!(message(|asm| asm.jump(foreign_label)), expected);
    assert_eq!(message(|asm| asm.bind(foreign_label)), expected);
    assert_eq!(message(|asm| asm.begin(foreign_function)), expected);
    assert_eq!(message(|asm| asm.call_function(foreign_function)), expected);
    assert_eq!(
        message(|asm| asm.load_function(R1, FunctionId::ENTRY)),
        expected
    );
}

#[test]
fn accesses_stay_within_the_stack() {
    for (width, offset) in [(W, -4), (DW, -512), (B, -1)] {
        let mut asm = Assembler::new("main");
        asm.store(width, R10, offset, 0);
        asm.exit();
        asm.finish(Isa::V3).unwrap();
    }
    for (width, offset) in [(W, -3), (DW, -513), (B, 0)] {
        let error = error(Isa::V3, |asm| asm.store(width, R10, offset, 0));
        assert!(matches!(error, AsmError::StackOffset { .. }), "{error}");
        let error = self::error(Isa::V3, |asm| asm.load(width, R0, R10, offset));
        assert!(matches!(error, AsmError::StackOffset { .. }), "{error}");
    }
    assert_eq!(
        message(|asm| asm.atomic(AtomicOp::Add, Bits::B64, R10, -4, R1)),
        "instruction 0 of `main` accesses 8 bytes at r10-4, outside of the stack frame of 512 bytes"
    );
}

#[test]
fn the_frame_pointer_is_not_written() {
    let writes: [fn(&mut Assembler); 4] = [
        |asm| asm.mov(R10, R1),
        |asm| asm.load(W, R10, R1, 0),
        |asm| asm.load_map(R10, "m"),
        |asm| asm.atomic(AtomicOp::FetchAdd, Bits::B64, R1, 0, R10),
    ];
    for write in writes {
        let error = error(Isa::V4, write);
        assert!(matches!(error, AsmError::FramePointer { .. }), "{error}");
    }
    // Adding it is no writing.
    let mut asm = Assembler::new("main");
    asm.atomic(AtomicOp::Add, Bits::B64, R1, 0, R10);
    asm.exit();
    asm.finish(Isa::V4).unwrap();
}

#[test]
fn constants_suit_their_operations() {
    for (op, constant) in [
        (AluOp::Div, 0),
        (AluOp::Mod, 0),
        (AluOp::Lsh, 64),
        (AluOp::Arsh, -1),
    ] {
        let error = error(Isa::V4, |asm| asm.alu(op, R1, constant));
        assert!(matches!(error, AsmError::Constant { .. }), "{error}");
    }
    let error = error(Isa::V4, |asm| asm.alu32(AluOp::Rsh, R1, 32));
    assert!(matches!(error, AsmError::Constant { .. }), "{error}");
}

#[test]
fn a_function_ends() {
    let through = message(|asm| {
        let function = asm.function("f");
        asm.begin(function);
        asm.mov(R0, 0);
    });
    assert_eq!(
        through,
        "the end of `main_f` is neither a jump nor a return"
    );
    let never_begun = message(|asm| {
        asm.function("f");
    });
    assert_eq!(never_begun, through);
}

#[test]
fn what_came_with_6_6_is_refused_before() {
    let error = error(Isa::V3, |asm| asm.bswap(SwapBits::B32, R1));
    assert_eq!(error.to_string(), "instruction 0 of `main` needs Linux 6.6");
    let far = |isa, slots| {
        let mut asm = Assembler::new("main");
        let end = asm.label("end");
        asm.jump_if(Eq, R1, 0, end);
        for _ in 0..slots {
            asm.mov(R2, 0);
        }
        asm.bind(end);
        asm.exit();
        asm.finish(isa)
    };
    far(Isa::V3, 32_767).unwrap();
    far(Isa::V4, 32_768).unwrap();
    assert_eq!(
        far(Isa::V3, 32_768).unwrap_err().to_string(),
        "instruction 0 of `main` jumps to `end`, 32768 slots away: more than 32767 need Linux 6.6"
    );
}

#[test]
fn a_million_slots_are_the_most() {
    let program = |slots| {
        let mut asm = Assembler::new("main");
        for _ in 1..slots {
            asm.mov(R0, 0);
        }
        asm.exit();
        asm.finish(Isa::V4)
    };
    assert_eq!(program(MAX_SLOTS).unwrap().slots(), MAX_SLOTS);
    let slots = MAX_SLOTS + 1;
    assert_eq!(program(slots).unwrap_err(), AsmError::TooLong { slots });
}
