//! The reference interpreter: the meaning of the language, written to be read beside the language
//! reference.

mod decision;
pub mod frame;
mod packet;

pub use decision::{
    Answer, Decision, Fact, Mismatch, Outcome, RuleId, Sourced, Steered, Step, Trace,
};
pub use packet::{Packet, Place};
