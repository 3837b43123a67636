//! The lookup of a key in a bucket.

use polc_bpf::asm::Assembler;
use polc_bpf::insn::Cond::Ne;
use polc_bpf::insn::Reg::{R0, R1, R2, R7, R8, R9};
use polc_bpf::insn::{AluOp, Reg};

use super::super::classify::plan::{HASH_FACTOR, HASH_SHIFT, Step};
use super::{Lookup, and, multiply};

impl Lookup<'_> {
    /// `R7` is the first entry of the bucket, `R8` and `R9` are the words of the key.
    pub(super) fn bucket(&self, asm: &mut Assembler, step: &Step) {
        let Step::Bucket {
            words,
            keys,
            values,
            ways,
            buckets,
            seed,
            miss,
            ..
        } = step
        else {
            return;
        };
        let registers: &[Reg] = &[R8, R9];
        let key: Vec<Reg> = registers.iter().copied().take(words.len()).collect();
        asm.load_wide(R7, *seed);
        for (word, part) in key.iter().zip(words) {
            self.part(asm, *word, *part);
            mix(asm, *word);
        }
        and(asm, R7, *buckets);
        if *ways > 1 {
            multiply(asm, R7, u32::from(*ways));
        }
        let done = asm.label("done");
        for _ in 0..*ways {
            let other = asm.label("other");
            for (offset, word) in (0..).zip(&key) {
                asm.mov(R2, R7);
                multiply(asm, R2, u32::try_from(key.len()).unwrap_or(1));
                asm.add(R2, offset);
                self.entry(asm, R0, *keys, R2);
                asm.jump_if(Ne, R0, *word, other);
            }
            match values {
                Some(values) => self.entry(asm, R0, *values, R7),
                None => asm.mov(R0, 1),
            }
            asm.jump(done);
            asm.bind(other);
            asm.add(R7, 1);
        }
        asm.load_wide(R0, u64::from(*miss));
        asm.bind(done);
    }
}

/// One round of the hash: `R7` is what it has come to.
fn mix(asm: &mut Assembler, word: Reg) {
    asm.alu(AluOp::Xor, R7, word);
    asm.load_wide(R1, HASH_FACTOR);
    asm.alu(AluOp::Mul, R7, R1);
    asm.mov(R0, R7);
    asm.alu(AluOp::Rsh, R0, 32);
    asm.alu(AluOp::Xor, R7, R0);
    asm.alu(AluOp::Mul, R7, R1);
    asm.alu(AluOp::Rsh, R7, HASH_SHIFT);
}
