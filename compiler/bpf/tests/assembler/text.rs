//! The disassembly.

use polc_bpf::asm::{Assembler, Isa, SourceLine};
use polc_bpf::insn::Cond::{Eq, Ne, Set, Slt};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R10};
use polc_bpf::insn::SwapBits::{B16, B32, B64};
use polc_bpf::insn::Width::{B, DW, H, W};
use polc_bpf::insn::{AluOp, AtomicOp, Bits, FunctionId, Helper};

#[test]
fn every_instruction_is_written_as_the_kernel_does() {
    let mut asm = Assembler::new("main");
    let (next, again) = (asm.label("next"), asm.label("next"));
    let unused = asm.here("unused");
    assert_ne!(unused, next);
    asm.bind(next);
    asm.mov(R1, R2);
    asm.mov32(R1, -5);
    asm.alu(AluOp::Arsh, R1, 3);
    asm.alu32(AluOp::Mod, R1, R2);
    asm.neg(R1);
    asm.to_be(B16, R1);
    asm.to_le(B32, R1);
    asm.bswap(B64, R1);
    asm.load(B, R1, R2, 4);
    asm.load(DW, R1, R10, -8);
    asm.store(H, R10, -2, 7);
    asm.store(W, R1, 0, R2);
    asm.load_wide(R1, 0x1122_3344_5566_7788);
    asm.load_map(R1, "flows");
    asm.load_data(R1, "table", 0);
    asm.load_data(R1, "table", 12);
    asm.atomic(AtomicOp::Add, Bits::B64, R1, 8, R2);
    asm.atomic(AtomicOp::FetchAdd, Bits::B32, R1, 8, R2);
    asm.atomic(AtomicOp::Xchg, Bits::B64, R1, 8, R2);
    asm.atomic(AtomicOp::CmpXchg, Bits::B64, R1, 8, R2);
    asm.jump_if(Eq, R1, 6, next);
    asm.jump32_if(Slt, R1, R2, again);
    asm.jump_if(Set, R1, -1, again);
    asm.call(Helper::KtimeGetNs);
    asm.bind(again);
    asm.jump(next);
    let expected = "\
main():
  next:
    r1 = r2
    w1 = -5
    r1 s>>= 3
    w1 %= w2
    r1 = -r1
    r1 = be16 r1
    r1 = le32 r1
    r1 = bswap64 r1
    r1 = *(u8 *)(r2 + 4)
    r1 = *(u64 *)(r10 - 8)
    *(u16 *)(r10 - 2) = 7
    *(u32 *)(r1 + 0) = r2
    r1 = 0x1122334455667788
    r1 = map[flows]
    r1 = data[table]
    r1 = data[table] + 12
    lock *(u64 *)(r1 + 8) += r2
    r2 = atomic_fetch_add((u32 *)(r1 + 8), r2)
    r2 = atomic64_xchg((u64 *)(r1 + 8), r2)
    r0 = atomic64_cmpxchg((u64 *)(r1 + 8), r0, r2)
    if r1 == 0x6 goto next
    if w1 s< w2 goto next.2
    if r1 & 0xffffffff goto next.2
    call bpf_ktime_get_ns
  next.2:
    goto next
";
    assert_eq!(asm.finish(Isa::V4).unwrap().to_string(), expected);
}

#[test]
fn what_was_said_stands_beside_what_it_is_about() {
    let line = |line, text: &str| SourceLine {
        file: "edge.pol".into(),
        line,
        column: 3,
        text: text.into(),
    };
    let mut asm = Assembler::new("edge");
    let pass = asm.label("pass");
    let count = asm.function("count");
    asm.part("parse");
    asm.load(W, R2, R1, 0);
    asm.at(&line(1, "a mark without instructions marks nothing"));
    asm.at(&line(2, "  deny tcp/6"));
    asm.note("far away");
    asm.jump_if(Ne, R2, 6, pass);
    asm.at(&line(2, "  deny tcp/6"));
    asm.call_function(count);
    for _ in 0..5000 {
        asm.mov(R3, 0);
    }
    asm.part("act");
    asm.bind(pass);
    asm.at(&line(3, "  allow"));
    asm.mov(R0, 2);
    asm.exit();
    asm.begin(count);
    asm.load_function(R1, count);
    asm.exit();
    let program = asm.finish(Isa::V4).unwrap();
    let text = program.to_string().replace("    r3 = 0\n", "");
    let expected = "\
edge():

parse:
    r2 = *(u32 *)(r1 + 0)
    // far away
    ; edge.pol:2: deny tcp/6
    if r2 == 0x6 goto +1
    gotol pass
    call edge_count

act:
  pass:
    ; edge.pol:3: allow
    r0 = 2
    exit

edge_count():
    r1 = subprog[edge_count]
    exit
";
    assert_eq!(text, expected);
    assert_eq!(program.function(count).unwrap().name(), "edge_count");
    let entry = program.function(FunctionId::ENTRY).unwrap();
    let marked: Vec<usize> = entry.lines().iter().map(|(index, _)| *index).collect();
    assert_eq!(marked, [1, 5004]);
}
