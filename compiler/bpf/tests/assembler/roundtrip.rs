//! What is encoded is decoded to the same.

use polc_bpf::asm::{Assembler, Isa};
use polc_bpf::insn::{
    AluOp, AtomicOp, Bits, ByteOrder, Cond, FunctionId, Helper, Insn, Operand, Reg, SwapBits, Wide,
    Width, decode, encode,
};
use proptest::prelude::*;
use proptest::sample::select;

fn any_of<T: Clone + std::fmt::Debug + 'static>(all: &[T]) -> impl Strategy<Value = T> + use<T> {
    select(all.to_vec())
}

fn reg() -> impl Strategy<Value = Reg> {
    any_of(&Reg::ALL)
}

fn bits() -> impl Strategy<Value = Bits> {
    any_of(&Bits::ALL)
}

fn width() -> impl Strategy<Value = Width> {
    any_of(&Width::ALL)
}

fn operand() -> impl Strategy<Value = Operand> {
    prop_oneof![
        reg().prop_map(Operand::Reg),
        any::<i32>().prop_map(Operand::Imm)
    ]
}

/// Functions that a program has, by their own handles.
fn functions() -> Vec<FunctionId> {
    let mut asm = Assembler::new("main");
    vec![asm.function("f"), asm.function("g")]
}

fn wide() -> impl Strategy<Value = Wide> {
    prop_oneof![
        any::<u64>().prop_map(Wide::Value),
        "[a-z]{1,4}".prop_map(|name| Wide::Map(name.into())),
        ("[a-z]{1,4}", 0..=i32::MAX.cast_unsigned()).prop_map(|(name, offset)| Wide::Data {
            name: name.into(),
            offset
        }),
        select(functions()).prop_map(Wide::Function),
    ]
}

/// Any instruction, with jumps anywhere.
fn insn() -> impl Strategy<Value = Insn> {
    let computing = prop_oneof![
        (any_of(&AluOp::ALL), bits(), reg(), operand())
            .prop_map(|(op, bits, dst, src)| Insn::Alu { op, bits, dst, src }),
        (bits(), reg()).prop_map(|(bits, dst)| Insn::Neg { bits, dst }),
        (any_of(&ByteOrder::ALL), any_of(&SwapBits::ALL), reg())
            .prop_map(|(order, bits, dst)| Insn::Swap { order, bits, dst }),
        (reg(), wide()).prop_map(|(dst, value)| Insn::LoadWide { dst, value }),
    ];
    let memory = prop_oneof![
        (width(), reg(), reg(), any::<i16>()).prop_map(|(width, dst, base, offset)| Insn::Load {
            width,
            dst,
            base,
            offset
        }),
        (width(), reg(), any::<i16>(), operand()).prop_map(|(width, base, offset, src)| {
            Insn::Store {
                width,
                base,
                offset,
                src,
            }
        }),
        (any_of(&AtomicOp::ALL), bits(), reg(), any::<i16>(), reg()).prop_map(
            |(op, bits, base, offset, src)| Insn::Atomic {
                op,
                bits,
                base,
                offset,
                src
            }
        ),
    ];
    let control = prop_oneof![
        any::<i16>().prop_map(|target| Insn::Jump {
            target: target.into()
        }),
        any::<i32>().prop_map(|target| Insn::JumpFar { target }),
        (any_of(&Cond::ALL), bits(), reg(), operand(), any::<i16>()).prop_map(
            |(cond, bits, left, right, target)| Insn::JumpIf {
                cond,
                bits,
                left,
                right,
                target: target.into()
            }
        ),
        any_of(Helper::ALL).prop_map(Insn::Call),
        select(functions()).prop_map(Insn::CallFunction),
        Just(Insn::Exit),
    ];
    prop_oneof![computing, memory, control]
}

/// A program that has begun with its functions; what follows is its entry.
fn begun() -> Assembler {
    let mut asm = Assembler::new("main");
    for name in ["f", "g"] {
        let function = asm.function(name);
        asm.begin(function);
        asm.exit();
    }
    asm.begin(FunctionId::ENTRY);
    asm
}

/// Whether the assembler accepts an instruction that is not the last.
fn well_formed(insn: &Insn) -> bool {
    let mut asm = begun();
    let here = asm.here("here");
    asm.push(insn.clone().retarget(|_| here));
    asm.exit();
    asm.finish(Isa::V4).is_ok()
}

/// Instructions, and for each one that it would jump to.
fn program() -> impl Strategy<Value = Vec<(Insn, prop::sample::Index)>> {
    let insn = insn().prop_filter("it is well-formed", well_formed);
    prop::collection::vec((insn, any::<prop::sample::Index>()), 1..40)
}

proptest! {
    #[test]
    fn instructions_survive(insns in prop::collection::vec(insn(), 0..60)) {
        let code = encode(&insns).unwrap();
        let slots: usize = insns.iter().map(Insn::slots).sum();
        prop_assert_eq!(code.bytes.len(), 8 * slots);
        prop_assert_eq!(decode(&code).unwrap(), insns);
    }

    #[test]
    fn programs_survive(written in program()) {
        let mut asm = begun();
        let labels: Vec<_> = written.iter().map(|_| asm.label("label")).collect();
        for ((insn, target), label) in written.iter().zip(&labels) {
            asm.bind(*label);
            asm.push(insn.clone().retarget(|_| *target.get(&labels)));
        }
        asm.exit();
        let program = asm.finish(Isa::V4).unwrap();
        prop_assert_eq!(program.functions().len(), 3);
        for function in program.functions() {
            let decoded = decode(&encode(function.insns()).unwrap()).unwrap();
            prop_assert_eq!(&decoded, function.insns());
        }
        // What is not a jump is what was written.
        let entry = program.functions()[0].insns();
        prop_assert_eq!(entry.len(), written.len() + 1);
        for (emitted, (insn, _)) in entry.iter().zip(&written) {
            prop_assert_eq!(emitted.clone().retarget(|_| ()), insn.clone().retarget(|_| ()));
        }
        // Every instruction has a line of its own.
        let text = program.to_string();
        let lines = text.lines().filter(|line| line.starts_with("    ")).count();
        prop_assert_eq!(lines, entry.len() + 2);
    }

    /// Bytes that nobody wrote are read as instructions or refused; what is read is written the
    /// same.
    #[test]
    fn bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let code = polc_bpf::insn::Code { bytes, relocations: Vec::new() };
        if let Ok(insns) = decode(&code) {
            prop_assert_eq!(encode(&insns).unwrap(), code);
        }
    }

    /// The same for one slot with little in it, which often is an instruction.
    #[test]
    fn slots_are_read_or_refused(opcode: u8, registers in 0..0x20_u8, offset in 0..2_u8, imm in 0..70_u8) {
        let bytes = vec![opcode, registers, offset, 0, imm, 0, 0, 0];
        let code = polc_bpf::insn::Code { bytes, relocations: Vec::new() };
        if let Ok(insns) = decode(&code) {
            prop_assert_eq!(encode(&insns).unwrap(), code);
        }
    }
}
