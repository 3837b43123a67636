//! What programs use that not every kernel with their hook has.

use std::collections::BTreeSet;

use polc_bpf::asm::{Function, Program};
use polc_bpf::insn::{AtomicOp, Helper, Insn};

/// Something that not every kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Rings that programs write records to.
    Rings,
    /// The clock that stands still between ticks.
    CoarseClock,
    /// Comparing and exchanging in one step.
    CompareExchange,
    /// A function that the kernel calls for each entry of a map.
    ForEach,
    /// What programs note of sockets, in a network namespace that they know.
    SocketGroups,
    /// Answers to questions for options of sockets, in such a namespace.
    SocketOptions,
    /// A function that the kernel calls again and again.
    Loop,
    /// The helper that tells a frame's length.
    FrameLength,
    /// The clock that tells the time of day.
    Time,
    /// Asking routing by the number of a table.
    Tables,
    /// Jumps of 32 bits.
    FarJumps,
}

impl Need {
    /// What it is called, and the first kernel that has it.
    pub fn feature(self) -> (&'static str, &'static str) {
        match self {
            Self::Rings => ("ring buffers", "5.8"),
            Self::CoarseClock => ("ktime_get_coarse_ns", "5.11"),
            Self::CompareExchange => ("compare and exchange", "5.12"),
            Self::ForEach => ("for_each_map_elem", "5.13"),
            Self::SocketGroups => ("groups of sockets", "5.14"),
            Self::SocketOptions => ("answers to getsockopt", "5.15"),
            Self::Tables => ("routing by a table's number", "6.5"),
            Self::Loop => ("bpf_loop", "5.17"),
            Self::FrameLength => ("xdp_get_buff_len", "5.18"),
            Self::Time => ("ktime_get_tai_ns", "6.1"),
            Self::FarJumps => ("jumps of 32 bits", "6.6"),
        }
    }

    fn of(insn: &Insn) -> Option<Self> {
        Some(match insn {
            Insn::Call(Helper::RingbufReserve) => Self::Rings,
            Insn::Call(Helper::KtimeGetCoarseNs) => Self::CoarseClock,
            Insn::Atomic { op, .. } if *op != AtomicOp::Add => Self::CompareExchange,
            Insn::Call(Helper::ForEachMapElem) => Self::ForEach,
            Insn::Call(Helper::Loop) => Self::Loop,
            Insn::Call(Helper::XdpGetBuffLen) => Self::FrameLength,
            Insn::Call(Helper::KtimeGetTaiNs) => Self::Time,
            Insn::JumpFar { .. } => Self::FarJumps,
            _ => return None,
        })
    }
}

/// What programs need, what older kernels have first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs(BTreeSet<Need>);

impl Needs {
    pub(super) fn note(&mut self, program: &Program) {
        let insns = program.functions().iter().flat_map(Function::insns);
        self.0.extend(insns.filter_map(Need::of));
    }

    /// What no instruction shows.
    pub(super) fn add(&mut self, need: Need) {
        self.0.insert(need);
    }

    /// Each of them, what older kernels have first.
    pub fn iter(&self) -> impl Iterator<Item = Need> {
        self.0.iter().copied()
    }
}
