//! TCP options.

use polc_bpf::asm::Label;
use polc_bpf::insn::AluOp;
use polc_bpf::insn::Cond::{Eq, Gt, Lt, Ne};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R7, R8};
use polc_bpf::insn::Width::B;

use super::Parser;
use crate::field::TCP_MSS;

/// The most options of a header: as many as it has bytes for.
const MOST: i32 = 40;

const END: i32 = 0;
const PADDING: i32 = 1;
const MAXIMUM_SEGMENT: i32 = 2;

impl Parser<'_> {
    /// Notes the first maximum segment size, and goes to `done`. The size of the header, which is all
    /// there, is in `R0`; `R7` and `R8` are not needed any more.
    pub(super) fn maximum_segment(&mut self, done: Label) {
        let [next, one, step] = ["option", "one", "step"].map(|name| self.asm.label(name));
        let malformed = self.exits.malformed;
        let (hook, scratch) = (self.hook, self.scratch);
        self.asm.note("options");
        self.asm.mov(R8, R0);
        self.asm.alu(AluOp::Sub, R8, 20);
        self.asm.add(R7, 20);
        self.begin_loop(next);
        self.asm.jump_if(Eq, R8, 0, done);
        hook.read_seldom(self.asm, 1, scratch, malformed);
        self.asm.load(B, R2, R1, 0);
        self.asm.jump_if(Eq, R2, END, done);
        self.asm.jump_if(Eq, R2, PADDING, one);
        self.asm.jump_if(Lt, R8, 2, done);
        hook.read_seldom(self.asm, 2, scratch, malformed);
        self.asm.load(B, R3, R1, 0);
        self.asm.load(B, R2, R1, 1);
        self.asm.jump_if(Lt, R2, 2, done);
        self.asm.jump_if(Gt, R2, R8, done);
        self.asm.jump_if(Ne, R3, MAXIMUM_SEGMENT, step);
        self.asm.jump_if(Lt, R2, 4, done);
        hook.read_seldom(self.asm, 4, scratch, malformed);
        self.be16(R2, R1, 2);
        self.put(TCP_MSS, R2);
        self.asm.jump(done);
        self.asm.bind(one);
        self.asm.mov(R2, 1);
        self.asm.bind(step);
        self.advance(MOST, next);
        self.asm.jump(done);
    }
}
