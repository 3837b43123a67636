//! Programs that are longer than 16-bit jumps reach.

use aya::Ebpf;
use polc_bpf::asm::{Assembler, Isa, Program};
use polc_bpf::insn::Cond::{Eq, Gt, Ne, Set};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R9};
use polc_bpf::insn::Width::{B, W};
use polc_bpf::insn::{AluOp, Insn};
use polc_bpf::object::{Object, Section};

use crate::sample::{DROP, PASS};
use crate::support::{answer, frame_from, load_classifier, load_xdp, possible};

/// Where `gso_segs` lies in `__sk_buff`.
const GSO_SEGS: i16 = 164;

/// Enough for 48,000 slots.
const RULES: u16 = 6000;

/// Drops what comes from 10.x.y.7, where x.y is the number of a rule with an odd number, and
/// passes what any other rule is about; what no rule is about gets `XDP_ABORTED`. Jumps go over
/// all rules, ahead and back.
fn many_rules() -> Program {
    let mut asm = Assembler::new("many_rules");
    let (parse, rules, pass, drop) = (
        asm.label("parse"),
        asm.label("rules"),
        asm.label("pass"),
        asm.label("drop"),
    );
    asm.jump(parse);
    asm.bind(rules);
    asm.mov(R7, 10);
    asm.mov(R8, 7);
    for number in 0..RULES {
        let next = asm.label("next");
        let [high, low] = number.to_be_bytes();
        let address = i32::from_le_bytes([10, high, low, 7]);
        // Without branches within a rule, verification stays linear.
        asm.mov(R4, R6);
        asm.alu(AluOp::Xor, R4, address);
        asm.mov(R5, R9);
        asm.alu(AluOp::Xor, R5, 0x45);
        asm.alu(AluOp::Or, R4, R5);
        asm.jump_if(Ne, R4, 0, next);
        asm.mov(R0, 1);
        if number % 2 == 0 {
            asm.mov(R0, 2);
        }
        asm.exit();
        asm.bind(next);
    }
    asm.mov(R0, 0);
    asm.exit();
    asm.bind(parse);
    asm.load(W, R2, R1, 0);
    asm.load(W, R3, R1, 4);
    asm.mov(R4, R2);
    asm.add(R4, 34);
    asm.jump_if(Gt, R4, R3, pass);
    asm.load(W, R6, R2, 26);
    asm.load(B, R9, R2, 14);
    asm.jump_if(Set, R6, 0x80, drop);
    asm.jump32_if(Eq, R9, 0x45, rules);
    asm.bind(pass);
    asm.mov(R0, 2);
    asm.exit();
    asm.bind(drop);
    asm.mov(R0, 1);
    asm.exit();
    asm.finish(Isa::V4).unwrap()
}

#[test]
fn jumps_reach_over_more_than_16_bits() {
    if !possible() {
        return;
    }
    let program = many_rules();
    assert!(program.slots() > 40_000);
    let far = |insn: &&Insn| matches!(insn, Insn::JumpFar { target } if target.abs() > 0x8000);
    let insns = program.functions()[0].insns();
    assert_eq!(insns.iter().filter(far).count(), 2);
    let mut object = Object::new();
    object.program(Section::Xdp, program);
    let mut loaded = Ebpf::load(&object.write().unwrap()).unwrap();
    let program = load_xdp(&mut loaded, "many_rules");
    let ask = |address| answer(program, &frame_from(address));
    for (number, verdict) in [(0, PASS), (1, DROP), (RULES - 2, PASS), (RULES - 1, DROP)] {
        let [high, low] = number.to_be_bytes();
        assert_eq!(ask([10, high, low, 7]), verdict, "rule {number}");
        assert_eq!(ask([10, high, low, 8]), 0);
    }
    assert_eq!(ask([0x8a, 0, 0, 7]), DROP);
}

/// The kernel makes four instructions of each access to `gso_segs`, and refuses a program where
/// that is too much for a jump of 16 bits.
#[test]
fn the_kernel_may_lengthen_what_is_jumped_over() {
    if !possible() {
        return;
    }
    for loads in [4000, 10_000] {
        let mut asm = Assembler::new("many_loads");
        let out = asm.label("out");
        asm.load(W, R2, R1, 0);
        asm.mov(R0, 0);
        asm.jump_if(Eq, R2, 0, out);
        for _ in 0..loads {
            asm.load(W, R3, R1, GSO_SEGS);
        }
        asm.bind(out);
        asm.exit();
        let mut object = Object::new();
        object.program(Section::Classifier, asm.finish(Isa::V4).unwrap());
        let mut loaded = Ebpf::load(&object.write().unwrap()).unwrap();
        load_classifier(&mut loaded, "many_loads");
    }
}
