//! What was tried.

use std::ops::AddAssign;

/// How many packets were compared, and what they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Policies that the backend took.
    pub policies: u64,
    /// Policies that it refuses (`POL601`).
    pub refusals: u64,
    /// Packets.
    pub packets: u64,
    /// Those that came in pieces.
    pub pieces: u64,
    /// Those that passed.
    pub passed: u64,
    /// Those that were dropped.
    pub dropped: u64,
    /// Those that were refused with an answer.
    pub refused: u64,
    /// Flows that began.
    pub flows: u64,
    /// Answers of flows.
    pub answers: u64,
    /// ICMP errors about packets of flows.
    pub errors: u64,
    /// Packets about which nothing is known, because another flow looks like theirs.
    pub unclear: u64,
    /// Packets that got another address or port.
    pub translated: u64,
    /// Packets that were compared while time passed, or that met limits of live flows.
    pub paced: u64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.policies += other.policies;
        self.refusals += other.refusals;
        self.packets += other.packets;
        self.pieces += other.pieces;
        self.passed += other.passed;
        self.dropped += other.dropped;
        self.refused += other.refused;
        self.flows += other.flows;
        self.answers += other.answers;
        self.errors += other.errors;
        self.unclear += other.unclear;
        self.translated += other.translated;
        self.paced += other.paced;
    }
}
