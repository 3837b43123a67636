//! Jumps go where they should, however far that is: a program does the same step by step as its
//! description.

use std::time::{Duration, Instant};

use polc_bpf::asm::{Assembler, Isa, Program};
use polc_bpf::insn::Cond::{Eq, Set};
use polc_bpf::insn::Reg::{R0, R1, R2, R3};
use polc_bpf::insn::{AluOp, Bits, Cond, Insn, Operand};
use proptest::prelude::*;

/// A block: it leaves a trace, does nothing for a while, and goes on to the next block or to
/// another.
#[derive(Clone, Debug)]
struct Block {
    idle: usize,
    cond: Cond,
    bits: Bits,
    constant: i32,
    target: prop::sample::Index,
}

fn block() -> impl Strategy<Value = Block> {
    (
        prop::sample::select(vec![0, 1, 40, 1000, 4090, 12_000]),
        prop::sample::select(Cond::ALL.to_vec()),
        prop::sample::select(Bits::ALL.to_vec()),
        prop_oneof![-4..4, any::<i32>()],
        any::<prop::sample::Index>(),
    )
        .prop_map(|(idle, cond, bits, constant, target)| Block {
            idle,
            cond,
            bits,
            constant,
            target,
        })
}

/// The number that changes from block to block, so that conditions do too.
const STEP: i32 = -0x2545_f491;

/// How many blocks are followed.
const FOLLOWED: usize = 60;

fn assemble(blocks: &[Block]) -> Program {
    let mut asm = Assembler::new("blocks");
    let labels: Vec<_> = blocks.iter().map(|_| asm.label("block")).collect();
    asm.mov(R2, 0);
    for ((number, block), label) in blocks.iter().enumerate().zip(&labels) {
        asm.bind(*label);
        asm.mov(R1, i32::try_from(number).unwrap());
        asm.add(R2, STEP);
        for _ in 0..block.idle {
            asm.mov(R3, 0);
        }
        let target = labels[block.target.index(blocks.len())];
        asm.push(Insn::JumpIf {
            cond: block.cond,
            bits: block.bits,
            left: R2,
            right: block.constant.into(),
            target,
        });
    }
    asm.exit();
    asm.finish(Isa::V4).unwrap()
}

fn holds(cond: Cond, bits: Bits, left: u64, constant: i32) -> bool {
    let right = i64::from(constant).cast_unsigned();
    let (left, right, signed_left, signed_right) = match bits {
        Bits::B64 => (left, right, left.cast_signed(), right.cast_signed()),
        Bits::B32 => {
            let half = u32::try_from(left & u64::from(u32::MAX)).unwrap();
            let unsigned = constant.cast_unsigned();
            let signed = half.cast_signed();
            (half.into(), unsigned.into(), signed.into(), constant.into())
        }
    };
    match cond {
        Eq => left == right,
        Cond::Gt => left > right,
        Cond::Ge => left >= right,
        Set => left & right != 0,
        Cond::Ne => left != right,
        Cond::Sgt => signed_left > signed_right,
        Cond::Sge => signed_left >= signed_right,
        Cond::Lt => left < right,
        Cond::Le => left <= right,
        Cond::Slt => signed_left < signed_right,
        Cond::Sle => signed_left <= signed_right,
    }
}

/// The blocks that are passed, by their description.
fn described(blocks: &[Block]) -> Vec<usize> {
    let (mut passed, mut at, mut value) = (Vec::new(), 0, 0_u64);
    while let Some(block) = blocks.get(at)
        && passed.len() < FOLLOWED
    {
        passed.push(at);
        value = value.wrapping_add(i64::from(STEP).cast_unsigned());
        at = if holds(block.cond, block.bits, value, block.constant) {
            block.target.index(blocks.len())
        } else {
            at + 1
        };
    }
    passed
}

/// The blocks that are passed, by the instructions.
fn executed(insns: &[Insn]) -> Vec<usize> {
    // Every instruction of these programs takes one slot.
    assert!(insns.iter().all(|insn| insn.slots() == 1));
    let (mut passed, mut at, mut value) = (Vec::new(), 0, 0_u64);
    loop {
        let mut jump = 0;
        match insns[at] {
            Insn::Alu {
                op: AluOp::Mov,
                dst: R1,
                src: Operand::Imm(number),
                ..
            } => {
                if passed.len() == FOLLOWED {
                    return passed;
                }
                passed.push(usize::try_from(number).unwrap());
            }
            Insn::Alu {
                op: AluOp::Add,
                src: Operand::Imm(step),
                ..
            } => value = value.wrapping_add(i64::from(step).cast_unsigned()),
            Insn::Alu { .. } => {}
            Insn::JumpIf {
                cond,
                bits,
                right: Operand::Imm(constant),
                target,
                ..
            } => {
                if holds(cond, bits, value, constant) {
                    jump = target;
                }
            }
            Insn::Jump { target } | Insn::JumpFar { target } => jump = target,
            Insn::Exit => return passed,
            ref other => panic!("{other:?} was not written"),
        }
        at = (at + 1)
            .checked_add_signed(jump.try_into().unwrap())
            .unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn programs_go_the_way_they_should(blocks in prop::collection::vec(block(), 1..12)) {
        let program = assemble(&blocks);
        let insns = program.functions()[0].insns();
        polc_bpf::insn::encode(insns).unwrap();
        prop_assert_eq!(executed(insns), described(&blocks));
    }
}

/// The encodings of `if r1 cond 1 goto far`, where `far` is `idle` slots further on.
fn jump_over(cond: Cond, idle: usize) -> Vec<Insn> {
    let mut asm = Assembler::new("main");
    let far = asm.label("far");
    asm.jump_if(cond, R1, 1, far);
    for _ in 0..idle {
        asm.mov(R3, 0);
    }
    asm.bind(far);
    asm.exit();
    let program = asm.finish(Isa::V4).unwrap();
    let insns = program.functions()[0].insns();
    insns[..insns.len() - idle - 1].to_vec()
}

#[test]
fn a_far_condition_jumps_over_a_far_jump() {
    let conditional = |cond, target| Insn::JumpIf {
        cond,
        bits: Bits::B64,
        left: R1,
        right: Operand::Imm(1),
        target,
    };
    assert_eq!(jump_over(Eq, 100), [conditional(Eq, 100)]);
    assert_eq!(
        jump_over(Eq, 40_000),
        [conditional(Cond::Ne, 1), Insn::JumpFar { target: 40_000 }]
    );
    assert_eq!(
        jump_over(Set, 40_000),
        [
            conditional(Set, 1),
            Insn::Jump { target: 1 },
            Insn::JumpFar { target: 40_000 }
        ]
    );
}

/// Each jump that becomes long puts the one before it out of reach, and so on.
#[test]
fn long_jumps_make_others_long() {
    const JUMPS: usize = 4000;
    let mut asm = Assembler::new("main");
    let labels: Vec<_> = (0..JUMPS).map(|_| asm.label("far")).collect();
    for label in &labels {
        asm.jump_if(Eq, R1, 1, *label);
    }
    for _ in 0..96 {
        asm.mov(R3, 0);
    }
    // Every jump just reaches its target, but for the last.
    for (number, label) in labels.into_iter().enumerate() {
        if number == JUMPS - 1 {
            asm.mov(R0, 0);
        }
        asm.bind(label);
        asm.mov(R0, 0);
    }
    asm.exit();
    let start = Instant::now();
    let program = asm.finish(Isa::V4).unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
    let far = |insn: &&Insn| matches!(insn, Insn::JumpFar { .. });
    let long = program.functions()[0].insns().iter().filter(far).count();
    assert_eq!(long, JUMPS);
}

/// A hundred thousand instructions with twenty thousand labels. The bound is far above what it
/// takes, and far below what it would take if each label were looked for.
#[test]
fn big_programs_are_assembled_at_once() {
    let mut asm = Assembler::new("main");
    let end = asm.label("end");
    for _ in 0..20_000 {
        let next = asm.label("next");
        asm.mov(R2, 5);
        asm.jump_if(Eq, R2, 0, next);
        asm.jump_if(Eq, R2, 1, end);
        asm.load_map(R1, "map");
        asm.bind(next);
        asm.mov(R0, 0);
    }
    asm.bind(end);
    asm.exit();
    let start = Instant::now();
    let program = asm.finish(Isa::V4).unwrap();
    polc_bpf::insn::encode(program.functions()[0].insns()).unwrap();
    let took = start.elapsed();
    println!("{} slots in {took:?}", program.slots());
    assert!(took < Duration::from_secs(3), "{took:?}");
}
