//! The reference interpreter: the meaning of the language, written to be read beside the language
//! reference.
//!
//! [`judge`] takes a packet through the pipeline, one file for each stage: `guard`, the flow lookup
//! (`lookup`), `steer`, `filter`, `egress`. What all stages share is how a list of rules decides
//! (`decide`) and when a cube holds ([`holds`]). What changes from packet to packet is in a
//! [`State`]: `bucket`, `dynamic` sets, `flow`s, and whose turn it is among several `target`s.
//!
//! What it does not know: the windows and timeouts of connections ([`State::forget`] ends a flow),
//! clashes of translated ports, answers to connections that a proxy opens in its client's name,
//! and `raw` text.

mod bucket;
mod cube;
mod decide;
mod decision;
mod dynamic;
mod egress;
mod expiring;
mod explain;
mod facts;
mod filter;
mod flow;
pub mod frame;
mod guard;
mod jhash;
mod lookup;
mod packet;
mod render;
mod sieve;
mod state;
mod steer;
mod target;
mod view;

pub use bucket::{Ask, Tokens};
pub use cube::holds;
pub use decision::{
    Answer, Decision, Fact, Mismatch, Outcome, RuleId, Sourced, Steered, Step, Trace,
};
pub use explain::{Because, Explanation, RulePlace, Why, explain};
pub use facts::{can_open, is_later_fragment};
pub use packet::{Packet, Place};
pub use render::render;
pub use sieve::Sieve;
pub use state::State;
pub use view::{Towards, Track, View};

use crate::ir::Ir;

/// What becomes of `packet`, which comes at `now` (milliseconds from any beginning; the time fields
/// of a packet that has none are read from it as from the Unix epoch).
///
/// A packet passes this machine once. What the machine sends to itself passes twice: it leaves by
/// `lo`, and comes in by `lo`; each is a packet to be judged.
pub fn judge(ir: &Ir, packet: &Packet, state: &mut State, now: u64) -> Decision {
    decide::Passage::new(ir, packet, None, state, now).run()
}

/// As [`judge`], for an ICMP error about `quoted`: the packet as the error quotes it, which is as
/// the error's sender got it. Only its protocol, addresses and ports count.
pub fn judge_related(
    ir: &Ir,
    packet: &Packet,
    quoted: &Packet,
    state: &mut State,
    now: u64,
) -> Decision {
    decide::Passage::new(ir, packet, Some(quoted), state, now).run()
}

/// What guard alone makes of `packet`: where guard sees fragments, it judges each by itself. An admitted
/// one waits for the others, and the whole is judged by [`judge_behind_guard`].
pub fn judge_guard(ir: &Ir, packet: &Packet, state: &mut State, now: u64) -> Decision {
    decide::Passage::new(ir, packet, None, state, now).run_guard()
}

/// As [`judge`], without guard: for a datagram whose fragments guard has admitted. It has the mark of the
/// first of them in its field `meta.mark`.
pub fn judge_behind_guard(ir: &Ir, packet: &Packet, state: &mut State, now: u64) -> Decision {
    decide::Passage::new(ir, packet, None, state, now).run_behind_guard()
}
