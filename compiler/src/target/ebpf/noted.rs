//! What programs note on a packet for those behind them: a number that the kernel keeps with it, and that only
//! packet schedulers use besides.
//!
//! It stays through the kernel's forwarding, and also when a packet is taken out of a tunnel, or comes out of
//! another network namespace. So whatever comes in loses it, at the ingress of all interfaces, where somebody asks
//! for [`UNTRACKED`].

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::Cond::{Eq, Ne};
use polc_bpf::insn::Reg::{R1, R6};
use polc_bpf::insn::Width::W;

use super::filter::direction::SKB_INGRESS;
use super::hook::Hook;
use crate::ir::{Ir, Verdict};

/// Where `struct __sk_buff` has the number, of which it keeps 16 bits.
const SKB_INDEX: i16 = 44;

/// Nothing is noted.
pub(super) const NOTHING: i32 = 0;
/// The packet was sent another way.
pub(super) const REROUTED: i32 = 0x7063;
/// It is not tracked.
pub(super) const UNTRACKED: i32 = 0x7064;
/// It belongs to a flow that was answered, and says by the loopback interface what it says outside.
pub(super) const ANSWER: i32 = 0x7065;
/// It goes to this host itself, behind the filter.
pub(super) const HOMEWARD: i32 = 0x7066;

/// Whether a policy has packets that are not tracked.
pub(super) fn untracks(ir: &Ir) -> bool {
    let mut guard = ir.guard.iter();
    guard.any(|rule| matches!(rule.verdict, Some(Verdict::Notrack)))
}

/// Notes a number. Changes `R1`.
pub(super) fn put(asm: &mut Assembler, number: i32) {
    // Not every kernel stores constants there.
    asm.mov(R1, number);
    asm.store(W, R6, SKB_INDEX, R1);
}

/// Forgets that a packet is not tracked. Changes `R1`.
pub(super) fn track(asm: &mut Assembler) {
    let other = asm.label("tracked");
    unless(asm, UNTRACKED, other);
    put(asm, NOTHING);
    asm.bind(other);
}

/// Goes to `other` unless the number is noted. Changes `R1`.
pub(super) fn unless(asm: &mut Assembler, number: i32, other: Label) {
    asm.load(W, R1, R6, SKB_INDEX);
    asm.jump_if(Ne, R1, number, other);
}

/// Goes to `untracked` with a packet that guard does not have tracked. What this host sends itself never met guard,
/// even where it carries a packet that did. Changes `R1`.
pub(super) fn is_untracked(asm: &mut Assembler, hook: Hook, untracked: Label) {
    let own = asm.label("tracked");
    if hook == Hook::Egress {
        asm.load(W, R1, R6, SKB_INGRESS);
        asm.jump_if(Eq, R1, 0, own);
    }
    unless(asm, UNTRACKED, own);
    asm.jump(untracked);
    asm.bind(own);
}
