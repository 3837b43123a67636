//! Where a filter program keeps what it knows.

use polc_bpf::asm::Assembler;
use polc_bpf::insn::Reg::R10;
use polc_bpf::insn::{Operand, Reg, Width};

use super::super::record::{Item, Record};
use super::flows::KEY;
use super::quote;
use crate::field::{DPORT, Field, ICMP_CODE, ICMP_TYPE, IP_FRAGMENT, SPORT, TCP_FLAGS};

/// What the flow table asks of every packet.
const TRACKED: &[Item] = &[
    Item::Source,
    Item::Destination,
    Item::Protocol,
    Item::FragmentId,
    Item::Later,
    Item::Transport,
    Item::EchoId,
];

/// The fields that it asks.
const FIELDS: &[Field] = &[SPORT, DPORT, TCP_FLAGS, ICMP_TYPE, ICMP_CODE, IP_FRAGMENT];

/// What it asks of the packet that an ICMP error is about.
const QUOTED: &[Item] = &[
    Item::Source,
    Item::Destination,
    Item::Protocol,
    Item::Transport,
    Item::EchoId,
    Item::Field(SPORT),
    Item::Field(DPORT),
    Item::Field(ICMP_TYPE),
    Item::Field(ICMP_CODE),
];

/// A number on the stack.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Place(i16, Width);

impl Place {
    /// A number of 64 bits.
    fn wide(record: &mut Record) -> Self {
        Self(record.reserve(8), Width::DW)
    }

    /// A number of 32 bits, of which the verifier knows nothing: it would look at all rules once for
    /// each value.
    fn blurred(record: &mut Record) -> Self {
        Self(record.reserve(8) + 4, Width::W)
    }

    /// Where it is.
    pub(in super::super) fn at(self) -> i16 {
        self.0
    }

    pub(in super::super) fn set(self, asm: &mut Assembler, value: impl Into<Operand>) {
        asm.store(self.1, R10, self.0, value);
    }

    pub(in super::super) fn get(self, asm: &mut Assembler, dst: Reg) {
        asm.load(self.1, dst, R10, self.0);
    }
}

/// The places.
pub(in super::super) struct Stack {
    /// What is known of the packet.
    pub(in super::super) record: Record,
    /// What is known of the packet that it quotes. Its places are the upper ones of `area`.
    pub(in super::super) quoted: Record,
    /// 1 for IPv6.
    pub(in super::super) family: Place,
    /// What the flow lookup has found: a [`Kind`](super::track::Kind).
    pub(in super::super) kind: Place,
    /// 1 if the source is the higher end of the flow's key.
    pub(in super::super) way: Place,
    /// The time in nanoseconds.
    pub(in super::super) now: Place,
    /// The flow's mark.
    pub(in super::super) mark: Place,
    /// How a packet is rejected.
    pub(in super::super) answer: Place,
    /// The flow's key; the time is behind it.
    pub(in super::super) key: i16,
    /// A value of the flow table.
    pub(in super::super) value: i16,
    /// The key of another map.
    pub(in super::super) index: i16,
    /// What the flow lookup says of a packet of a known flow, if rules can ask: the state of its flow
    /// (`ct.state`), and 1 if it goes against the way of the first packet.
    pub(in super::super) told: Option<(Place, Place)>,
    /// The number of the target that a rule has chosen, if rules can choose one.
    pub(in super::super) choice: Option<Place>,
    /// Bytes that parts of the program use one behind the other.
    pub(in super::super) area: i16,
}

impl Stack {
    /// What a program has to know of each packet: what its rules ask, and what the flow table does.
    pub(in super::super) fn items(asked: impl IntoIterator<Item = Item>) -> Vec<Item> {
        let fields = FIELDS.iter().copied().map(Item::Field);
        let tracked = TRACKED.iter().copied().chain(fields);
        asked.into_iter().chain(tracked).collect()
    }

    /// Takes the places, of which the key of other maps, a value of the flow table and `area` are at least so
    /// many bytes, and have `apart` bytes beside what is known of a quoted packet. A value is made when nobody uses
    /// the area any more.
    pub(in super::super) fn new(
        mut record: Record,
        (index, value, area, apart): (i16, i16, i16, i16),
        (tells, chooses): (bool, bool),
    ) -> Self {
        let mut place = || Place::blurred(&mut record);
        let told = tells.then(|| (place(), place()));
        let choice = chooses.then(&mut place);
        let [family, kind, way, mark] = [(); 4].map(|()| place());
        let [answer, now] = [(); 2].map(|()| Place::wide(&mut record));
        let key = record.reserve(KEY);
        let index = record.reserve(index.max(8));
        let quoted = Record::below(record.lowest(), QUOTED.iter().copied());
        let needed = record.lowest() - quoted.lowest() + apart.max(quote::LONGEST);
        let area = record.reserve(area.max(needed).max(value));
        Self {
            record,
            quoted,
            family,
            kind,
            way,
            now,
            mark,
            answer,
            key,
            value: area,
            index,
            told,
            choice,
            area,
        }
    }
}
