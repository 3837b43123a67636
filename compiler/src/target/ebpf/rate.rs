//! Rates: buckets without a key, shared by all processors.
//!
//! A bucket is one number: the time at which it is full again (the generic cell rate algorithm, ITU-T
//! I.371). A packet that costs `cost` nanoseconds may pass when the bucket is full within `burst -
//! cost` from now, and moves that time on by `cost`. It is changed by comparing and exchanging, so no
//! processor waits for another one; after [`TRIES`] lost races the packet counts as one too many.

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::Cond::{Eq, Ge, Gt, Ne};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R5, R7, R8, R9, R10};
use polc_bpf::insn::Width::{DW, W};
use polc_bpf::insn::{AluOp, AtomicOp, Bits, Helper};

use super::record::{Item, Record};
use crate::field::META_LENGTH;
use crate::ir::{Bucket, Rate, Sense, TimeUnit};

/// The map with the time of each bucket.
pub(super) const BUCKETS: &str = "buckets";

/// How often a race for a bucket may be lost.
const TRIES: i32 = 16;

/// A second in nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// From so many nanoseconds on, a burst does not notice that the coarse clock stands still for some
/// milliseconds. It takes a twentieth of the time of the exact one.
const COARSE: u64 = SECOND / 10;

/// What packets cost.
enum Cost {
    /// So many nanoseconds each.
    Fixed(u64),
    /// A second's part for each byte: so many bytes have the second.
    Bytes(u64),
}

/// The cost of packets, and the burst in nanoseconds; `None` for what is no bucket of tokens, or is
/// too large to be told in nanoseconds.
fn terms(bucket: &Bucket) -> Option<(Cost, u64)> {
    match bucket.rate {
        Rate::Packets { count, per, burst } => {
            let cost = nanoseconds(per).checked_div(count).filter(|c| *c > 0)?;
            Some((Cost::Fixed(cost), burst.checked_mul(cost)?))
        }
        Rate::Bytes { count, burst } => {
            let whole = u128::from(burst) * u128::from(SECOND) / u128::from(count.max(1));
            Some((Cost::Bytes(count.max(1)), u64::try_from(whole).ok()?))
        }
        Rate::Flows { .. } => None,
    }
}

fn nanoseconds(per: TimeUnit) -> u64 {
    SECOND
        * match per {
            TimeUnit::Second => 1,
            TimeUnit::Minute => 60,
            TimeUnit::Hour => 3600,
            TimeUnit::Day => 86_400,
        }
}

/// Whether programs can ask a bucket.
pub(super) fn is_possible(bucket: &Bucket) -> bool {
    bucket.key.is_none() && terms(bucket).is_some()
}

/// Whether a bucket counts bytes.
pub(super) fn counts_bytes(bucket: &Bucket) -> bool {
    matches!(bucket.rate, Rate::Bytes { .. })
}

/// Asks the bucket with a number, and goes to `fails` when the rate is not as the rule wants it. `key` is
/// a place on the stack.
pub(super) fn ask(
    asm: &mut Assembler,
    record: &Record,
    key: i16,
    (number, bucket): (u32, &Bucket),
    sense: Sense,
    fails: Label,
) {
    let Some((cost, burst)) = terms(bucket) else {
        return;
    };
    let holds = asm.label("rate_holds");
    let (within, over) = match sense {
        Sense::Within => (holds, fails),
        Sense::Over => (fails, holds),
    };
    asm.note(&format!("bucket {}", bucket.name));
    asm.store(W, R10, key, i32::try_from(number).unwrap_or(-1));
    asm.load_map(R1, BUCKETS);
    asm.mov(R2, R10);
    asm.add(R2, i32::from(key));
    asm.call(Helper::MapLookupElem);
    asm.jump_if(Eq, R0, 0, over);
    asm.mov(R8, R0);
    asm.call(if burst >= COARSE {
        Helper::KtimeGetCoarseNs
    } else {
        Helper::KtimeGetNs
    });
    asm.mov(R7, R0);
    match cost {
        Cost::Fixed(cost) => asm.load_wide(R2, cost),
        Cost::Bytes(count) => {
            record.get(asm, R2, Item::Field(META_LENGTH));
            asm.load_wide(R3, SECOND);
            asm.alu(AluOp::Mul, R2, R3);
            asm.load_wide(R3, count);
            asm.alu(AluOp::Div, R2, R3);
        }
    }
    asm.mov(R9, TRIES);
    let [again, later] = ["again", "later"].map(|name| asm.label(name));
    asm.bind(again);
    asm.load(DW, R3, R8, 0);
    asm.mov(R4, R3);
    asm.jump_if(Ge, R4, R7, later);
    asm.mov(R4, R7);
    asm.bind(later);
    asm.add(R4, R2);
    asm.mov(R5, R4);
    asm.alu(AluOp::Sub, R5, R7);
    asm.load_wide(R1, burst);
    asm.jump_if(Gt, R5, R1, over);
    asm.mov(R0, R3);
    asm.atomic(AtomicOp::CmpXchg, Bits::B64, R8, 0, R4);
    asm.jump_if(Eq, R0, R3, within);
    asm.add(R9, -1);
    asm.jump_if(Ne, R9, 0, again);
    asm.jump(over);
    asm.bind(holds);
}
