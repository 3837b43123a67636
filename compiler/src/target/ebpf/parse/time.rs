//! The time at which a packet is judged.
//!
//! Programs are told the international atomic time, which is UTC as long as nobody has told the
//! kernel how many leap seconds there were, and then that many seconds ahead: 37 in 2026.

use polc_bpf::insn::Reg::{R0, R1};
use polc_bpf::insn::{AluOp, Helper};

use super::Parser;
use crate::field::{TIME_DAY, TIME_HOUR};

const NANOSECONDS: i32 = 1_000_000_000;
const HOUR: i32 = 3_600;
const DAY: i32 = 24 * HOUR;

/// 1 January 1970 was a Thursday.
const FIRST_DAY: i32 = 4;

impl Parser<'_> {
    /// Notes hour and day of the week.
    pub(super) fn time(&mut self) {
        if !self.record.has_any(&[TIME_HOUR, TIME_DAY]) {
            return;
        }
        self.asm.note("time");
        self.asm.call(Helper::KtimeGetTaiNs);
        self.asm.alu(AluOp::Div, R0, NANOSECONDS);
        if self.wants(TIME_HOUR) {
            self.asm.mov(R1, R0);
            self.asm.alu(AluOp::Mod, R1, DAY);
            self.asm.alu(AluOp::Div, R1, HOUR);
            self.put(TIME_HOUR, R1);
        }
        self.asm.alu(AluOp::Div, R0, DAY);
        self.asm.add(R0, FIRST_DAY);
        self.asm.alu(AluOp::Mod, R0, 7);
        self.put(TIME_DAY, R0);
    }
}
