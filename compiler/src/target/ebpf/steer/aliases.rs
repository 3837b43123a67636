//! What flows look like outside, where that is something else than what the filter sees: two maps, as the flow
//! table has them.
//!
//! The key is made as that of a flow. A packet with such a key goes to another destination:
//!
//! | value, 24 bytes | |
//! |---|---|
//! | 0 | the address, lower half first |
//! | 16 | the port, or the identifier of ICMP, in 64 bits; the bit behind it is set while the alias gets another end |

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::Cond::{Eq, Gt, Ne};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R7, R10};
use polc_bpf::insn::Width::DW;
use polc_bpf::insn::{AluOp, AtomicOp, Bits, Helper};
use polc_bpf::map::{Map, MapType, Shape};

use super::super::filter::FLOW_KEY;
use super::super::filter::flows::fragment_key;
use super::super::filter::stack::{Place, Stack};
use super::super::record::Item;
use super::ends::{self, LARGEST, PORT};
use crate::field::IP_FRAGMENT;

/// The size of a value.
pub(in super::super) const ALIAS: i16 = 24;

/// The bit of an alias that gets another end.
const GIVEN: i32 = 0x1_0000;

/// Among which aliases one was found.
pub(in super::super) const FRESH: i32 = 1;
pub(in super::super) const SETTLED: i32 = 2;

/// Which programs give the fragments of a packet another end. Each knows them by keys of its own: a fragment may come
/// in when the one before it has left already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Replaces {
    /// Those of steer: the destination.
    Destination,
    /// Those of egress: the source of what leaves.
    Source,
    /// Those of answers to this host's own flows: the source of what comes in.
    Answer,
}

impl Replaces {
    /// The flag of its keys.
    fn flag(self) -> u64 {
        match self {
            Self::Destination => 0,
            Self::Source => 0x40 << 40,
            Self::Answer => 0x20 << 40,
        }
    }
}

/// The two maps.
#[derive(Clone, Debug)]
pub(in super::super) struct Aliases {
    fresh: String,
    settled: String,
    size: u32,
}

impl Aliases {
    /// As many of each kind as there can be flows, and each can have two.
    pub(in super::super) fn new(flows: u32) -> Self {
        let size = flows.clamp(1, u32::MAX >> 1) * 2;
        Self {
            fresh: format!("freshn_{size:x}"),
            settled: format!("flowsn_{size:x}"),
            size,
        }
    }

    /// The maps.
    pub(in super::super) fn maps(&self) -> [Map; 2] {
        let [key, value] = [FLOW_KEY, ALIAS].map(|size| size.unsigned_abs().into());
        let shape = Shape::new(MapType::LruHash, key, value, self.size);
        [&self.fresh, &self.settled].map(|name| Map::new(name, shape))
    }

    /// The names of the maps.
    pub(in super::super) fn names(&self) -> [&str; 2] {
        [&self.settled, &self.fresh]
    }

    /// Copies the alias of the key to `to`, and notes among which it was found; goes to `none` if there is none.
    /// Changes `R0` to `R5`.
    pub(in super::super) fn find(
        &self,
        asm: &mut Assembler,
        stack: &Stack,
        (to, found): (i16, Place),
        none: Label,
    ) {
        let here = asm.label("alias");
        address(asm, &self.settled, stack);
        asm.call(Helper::MapLookupElem);
        found.set(asm, SETTLED);
        asm.jump_if(Ne, R0, 0, here);
        address(asm, &self.fresh, stack);
        asm.call(Helper::MapLookupElem);
        found.set(asm, FRESH);
        asm.jump_if(Ne, R0, 0, here);
        found.set(asm, 0);
        asm.jump(none);
        asm.bind(here);
        for at in (0..ALIAS).step_by(8) {
            asm.load(DW, R1, R0, at);
            asm.store(DW, R10, to + at, R1);
        }
    }

    /// Writes a fresh alias of the key: what is at `to`. Goes to `taken` if somebody has it, and `only_new` is
    /// asked for, or if there is no room.
    pub(in super::super) fn open(
        &self,
        asm: &mut Assembler,
        stack: &Stack,
        (to, only_new): (i16, bool),
        taken: Label,
    ) {
        address(asm, &self.fresh, stack);
        asm.mov(R3, R10);
        asm.add(R3, i32::from(to));
        asm.mov(R4, i32::from(only_new));
        asm.call(Helper::MapUpdateElem);
        asm.jump_if(Ne, R0, 0, taken);
        if only_new {
            return;
        }
        self.forget_settled(asm, stack);
    }

    /// Forgets the alias of the key. Changes `R0` to `R5`.
    pub(in super::super) fn forget(&self, asm: &mut Assembler, stack: &Stack) {
        self.forget_fresh(asm, stack);
        self.forget_settled(asm, stack);
    }

    fn forget_settled(&self, asm: &mut Assembler, stack: &Stack) {
        let none = asm.label("no_alias_before");
        address(asm, &self.settled, stack);
        asm.call(Helper::MapLookupElem);
        asm.jump_if(Eq, R0, 0, none);
        address(asm, &self.settled, stack);
        asm.call(Helper::MapDeleteElem);
        asm.bind(none);
    }

    /// Lets the fragments behind this one, if it is a first one, get the end at `to` in the place of the same one.
    /// Changes the key.
    pub(in super::super) fn expect_fragments(
        &self,
        asm: &mut Assembler,
        stack: &Stack,
        (to, replaces): (i16, Replaces),
        full: Label,
    ) {
        let whole = asm.label("whole_packet");
        stack.record.get(asm, R1, Item::Field(IP_FRAGMENT));
        asm.jump_if(Eq, R1, 0, whole);
        own_fragment_key(asm, stack, replaces);
        self.open(asm, stack, (to, false), full);
        asm.bind(whole);
    }

    /// Copies to `to` what the first fragment of this one has got; goes to `none` if that is not known.
    pub(in super::super) fn find_fragment(
        &self,
        asm: &mut Assembler,
        stack: &Stack,
        (to, replaces): (i16, Replaces),
        none: Label,
    ) {
        own_fragment_key(asm, stack, replaces);
        self.find(asm, stack, (to, stack.answer), none);
    }

    /// Moves the alias at `to` among those of flows that have settled.
    pub(in super::super) fn settle(&self, asm: &mut Assembler, stack: &Stack, to: i16) {
        let stays = asm.label("alias_stays");
        address(asm, &self.settled, stack);
        asm.mov(R3, R10);
        asm.add(R3, i32::from(to));
        asm.mov(R4, 0);
        asm.call(Helper::MapUpdateElem);
        asm.jump_if(Ne, R0, 0, stays);
        self.forget_fresh(asm, stack);
        asm.bind(stays);
    }

    /// Forgets the fresh alias of the key.
    pub(in super::super) fn forget_fresh(&self, asm: &mut Assembler, stack: &Stack) {
        address(asm, &self.fresh, stack);
        asm.call(Helper::MapDeleteElem);
    }

    /// Takes the key for the end at `own`, and goes to `mine`. If another end has it, goes to `others` with what
    /// that is at `found`. Changes `R0` to `R5`.
    pub(in super::super) fn take(
        &self,
        asm: &mut Assembler,
        stack: &Stack,
        (own, found): (i16, i16),
        (mine, others, taken): (Label, Label, Label),
    ) {
        // An alias that settles is for a moment among both, never among none.
        for map in [&self.fresh, &self.settled] {
            let [none, another] = ["no_such_alias", "anothers_alias"].map(|name| asm.label(name));
            address(asm, map, stack);
            asm.call(Helper::MapLookupElem);
            asm.jump_if(Eq, R0, 0, none);
            ends::same(asm, own, R0, (0, PORT), another);
            asm.jump(mine);
            asm.bind(another);
            for at in (0..ALIAS).step_by(8) {
                asm.load(DW, R1, R0, at);
                asm.store(DW, R10, found + at, R1);
            }
            asm.jump(others);
            asm.bind(none);
        }
        self.open(asm, stack, (own, true), taken);
        asm.jump(mine);
    }

    /// Gives the alias of the key, which is still what is at `found`, to the end at `own`, and goes to `mine`; or to
    /// `taken` if somebody else was faster. Changes `R0` to `R5` and `R7`.
    pub(in super::super) fn take_over(
        &self,
        asm: &mut Assembler,
        stack: &Stack,
        (own, found): (i16, i16),
        (mine, taken): (Label, Label),
    ) {
        for map in [&self.fresh, &self.settled] {
            let none = asm.label("no_such_alias");
            address(asm, map, stack);
            asm.call(Helper::MapLookupElem);
            asm.jump_if(Eq, R0, 0, none);
            asm.mov(R7, R0);
            ends::same(asm, found, R7, (0, PORT), taken);
            // What is being given has a bit behind its port.
            asm.load(DW, R0, R10, found + PORT);
            asm.jump_if(Gt, R0, LARGEST, taken);
            asm.mov(R2, R0);
            asm.mov(R1, R0);
            asm.alu(AluOp::Or, R1, GIVEN);
            asm.atomic(AtomicOp::CmpXchg, Bits::B64, R7, PORT, R1);
            asm.jump_if(Ne, R0, R2, taken);
            for at in (0..ALIAS).step_by(8) {
                asm.load(DW, R1, R10, own + at);
                asm.store(DW, R7, at, R1);
            }
            asm.jump(mine);
            asm.bind(none);
        }
        asm.jump(taken);
    }
}

/// The key of the fragments of a packet that get another end.
fn own_fragment_key(asm: &mut Assembler, stack: &Stack, replaces: Replaces) {
    fragment_key(asm, stack);
    if replaces.flag() != 0 {
        asm.load(DW, R1, R10, stack.key + 32);
        asm.load_wide(R2, replaces.flag());
        asm.alu(AluOp::Or, R1, R2);
        asm.store(DW, R10, stack.key + 32, R1);
    }
}

/// `R1 =` a map, `R2 =` the key.
fn address(asm: &mut Assembler, map: &str, stack: &Stack) {
    asm.load_map(R1, map);
    asm.mov(R2, R10);
    asm.add(R2, i32::from(stack.key));
}
