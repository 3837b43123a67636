//! The lookup of a key in a bucket.

use polc_bpf::asm::Assembler;
use polc_bpf::insn::Cond::Ne;
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R7, R8, R9};
use polc_bpf::insn::{AluOp, Reg, Width as Bytes};

use super::super::classify::plan::{HASH_FACTOR, HASH_SHIFT, Step, Width};
use super::{Lookup, and, multiply};

impl Lookup<'_> {
    /// `R7` is the bucket, `R8` and `R9` are the words of the key. The entries of a bucket are at
    /// fixed distances from its first one, which is masked: two instructions compare one.
    pub(super) fn bucket(&self, asm: &mut Assembler, step: &Step) {
        let Step::Bucket {
            words,
            keys,
            values,
            ways,
            buckets,
            seed,
            hit,
            miss,
            ..
        } = step
        else {
            return;
        };
        let Some(table) = self.plan.table(*keys).copied() else {
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
        let count = u32::try_from(key.len()).unwrap_or(1);
        asm.mov(R2, R7);
        multiply(asm, R2, u32::from(*ways) * count * table.width.bytes());
        self.tables.address(asm, R1, table.offset);
        asm.add(R1, R2);
        let width = match table.width {
            Width::U64 => Bytes::DW,
            _ => Bytes::W,
        };
        let size = i16::try_from(table.width.bytes()).unwrap_or(8);
        let [done, found] = ["done", "found"].map(|name| asm.label(name));
        let mut at = 0;
        for way in 0..*ways {
            let other = asm.label("other");
            for word in &key {
                asm.load(width, R0, R1, at);
                asm.jump_if(Ne, R0, *word, other);
                at += size;
            }
            asm.mov(R3, i32::from(way));
            asm.jump(found);
            asm.bind(other);
            at = size * i16::try_from(key.len()).unwrap_or(1) * i16::from(way + 1);
        }
        asm.load_wide(R0, u64::from(*miss));
        asm.jump(done);
        asm.bind(found);
        match values {
            Some(values) => {
                multiply(asm, R7, u32::from(*ways));
                asm.add(R7, R3);
                self.entry(asm, R0, *values, R7);
            }
            None => asm.load_wide(R0, u64::from(*hit)),
        }
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
