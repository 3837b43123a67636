//! Large sets of addresses: each has a table of its own, in a map within a map.
//!
//! The program has the steps of the lookup, and the table is what changes when the set does: as long
//! as the contents fit into the room that the steps were made for, another table takes its place
//! as the one entry of an array of maps, and the program stays. Whether an address is in the set is
//! looked up before the rules that ask, and is to them a number of the packet like any other
//! ([`Item::Inside`]).
//!
//! Where there is no table, because somebody has loaded the object and not filled it, nothing passes.

use std::sync::Arc;

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::Cond::Eq;
use polc_bpf::insn::Helper;
use polc_bpf::insn::Reg::{R0, R1, R2, R10};
use polc_bpf::insn::Width::{DW, W};
use polc_bpf::map::{Map, MapFlags, MapType, Shape};

use super::classify::{AddressTable, FieldSpec, Limits, Partition};
use super::list::Places;
use super::lookup::{self, Lookup, Tables};
use super::record::Item;
use crate::ir::Cube;
use crate::packet::interval::Int;
use crate::packet::{AddrSet, IntervalSet, Values};

/// A set that a table is made of. It does not have the number 0: of a set that has it, the table
/// is that of all others.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Contents {
    V4(IntervalSet<u32>),
    V6(IntervalSet<u128>),
}

/// A large set.
#[derive(Debug)]
pub(super) struct Large {
    contents: Contents,
    table: AddressTable,
    /// The name of the map that holds its table.
    map: String,
    label: Option<Arc<str>>,
}

/// The contents of a map that a loader fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetData {
    /// The map: an array of one map, which is an array of one value.
    pub map: String,
    /// What the policy calls the set.
    pub label: Option<Arc<str>>,
    /// How many ranges of addresses it has.
    pub ranges: usize,
    /// The value.
    pub bytes: Vec<u8>,
}

/// The large sets of an object.
#[derive(Debug, Default)]
pub(super) struct Sets {
    all: Vec<Arc<Large>>,
}

impl Sets {
    /// Makes tables of the sets that cubes ask for and that have so many ranges at least. Returns
    /// all that there are by now.
    pub(super) fn note<'c>(
        &mut self,
        cubes: impl Iterator<Item = &'c Cube>,
        v6: bool,
        least: usize,
    ) -> Known {
        for cube in cubes {
            for dest in [false, true] {
                let Some((set, (contents, wanted))) =
                    asked(cube, dest, v6).and_then(|set| Some((set, Contents::of(set, v6)?)))
                else {
                    continue;
                };
                if contents.ranges() < least || self.all.iter().any(|l| l.contents == contents) {
                    continue;
                }
                let name = set.label.as_deref();
                let label = if wanted {
                    name
                } else {
                    name.and_then(|l| l.strip_prefix("not-"))
                };
                let map = format!("set_{}", self.all.len());
                let large = Large::new(contents, label.map(Arc::from), map);
                self.all.extend(large.map(Arc::new));
            }
        }
        Known(self.all.clone())
    }

    /// The maps of an object.
    pub(super) fn maps(&self) -> impl Iterator<Item = Map> {
        self.all.iter().map(|large| {
            let size = u32::try_from(large.table.plan().blob.len()).unwrap_or(u32::MAX);
            let table = Shape::new(MapType::Array, 4, size, 1).with_flags(MapFlags::MMAPABLE);
            Map::new(&*large.map, Shape::new(MapType::ArrayOfMaps, 4, 4, 1)).of(table)
        })
    }

    /// What a loader has to fill them with.
    pub(super) fn data(&self) -> impl Iterator<Item = SetData> {
        self.all.iter().map(|large| SetData {
            map: large.map.clone(),
            label: large.label.clone(),
            ranges: large.contents.ranges(),
            bytes: large.table.plan().blob.clone(),
        })
    }
}

/// The large sets that rules can ask for.
#[derive(Clone, Debug, Default)]
pub(super) struct Known(Vec<Arc<Large>>);

impl Known {
    /// The number of the set that a cube asks its source for, or its destination, and whether the
    /// address has to be in it; `None` when it asks for no large set.
    pub(super) fn find(&self, cube: &Cube, dest: bool, v6: bool) -> Option<(u16, bool)> {
        if self.0.is_empty() {
            return None;
        }
        let (contents, wanted) = Contents::of(asked(cube, dest, v6)?, v6)?;
        let place = self.0.iter().position(|l| l.contents == contents)?;
        Some((u16::try_from(place).ok()?, wanted))
    }

    /// The lookup of an item, if it is one of a set.
    pub(super) fn look(&self, item: Item) -> Option<Look> {
        let Item::Inside { set, dest } = item else {
            return None;
        };
        let large = Arc::clone(self.0.get(usize::from(set))?);
        Some(Look { item, dest, large })
    }
}

/// The addresses that a cube asks for on a side. What asks for a destination and for the one that the
/// packet had before asks for no single set.
fn asked(cube: &Cube, dest: bool, v6: bool) -> Option<&AddrSet> {
    let full = |set: &AddrSet| {
        if v6 {
            set.v6.is_full()
        } else {
            set.v4.is_full()
        }
    };
    match dest {
        false => Some(&cube.saddr),
        true if full(&cube.original) => Some(&cube.daddr),
        true => None,
    }
}

impl Contents {
    /// The table's set, and whether the set is that or all others; `None` for one range at most.
    fn of(set: &AddrSet, v6: bool) -> Option<(Self, bool)> {
        if v6 {
            above_zero(&set.v6).map(|(set, wanted)| (Self::V6(set), wanted))
        } else {
            above_zero(&set.v4).map(|(set, wanted)| (Self::V4(set), wanted))
        }
    }

    fn ranges(&self) -> usize {
        match self {
            Self::V4(set) => set.ranges().len(),
            Self::V6(set) => set.ranges().len(),
        }
    }
}

fn above_zero<T: Int>(set: &IntervalSet<T>) -> Option<(IntervalSet<T>, bool)> {
    let (first, _) = set.ranges().first().filter(|_| set.ranges().len() > 1)?;
    Some(if *first == T::MIN {
        (set.complement(), false)
    } else {
        (set.clone(), true)
    })
}

impl Large {
    /// `None` when no kind of table can hold it.
    fn new(contents: Contents, label: Option<Arc<str>>, map: String) -> Option<Self> {
        let (spec, values) = match &contents {
            Contents::V4(set) => (FieldSpec::address4("address"), Values::of(set)?),
            Contents::V6(set) => (FieldSpec::address6("address"), Values::of(set)?),
        };
        let partition = Partition::of_sets(spec.bits, &[&values]);
        let table = AddressTable::build(&spec, &partition, 1, &Limits::default()).ok()?;
        Some(Self {
            contents,
            table,
            map,
            label,
        })
    }
}

/// A lookup of one of the packet's addresses.
#[derive(Clone, Debug)]
pub(super) struct Look {
    item: Item,
    dest: bool,
    large: Arc<Large>,
}

impl Look {
    /// What it reads.
    pub(super) fn address(&self) -> &'static Item {
        if self.dest {
            &Item::Destination
        } else {
            &Item::Source
        }
    }

    /// How many slots it needs: those of the steps, and one for where the table is.
    pub(super) fn slots(&self) -> u8 {
        self.large.table.plan().slots.saturating_add(1)
    }

    /// Notes in the record whether the address is in the set. Changes all registers but `R6`.
    pub(super) fn write(&self, asm: &mut Assembler, places: &Places, v6: bool) {
        let plan = self.large.table.plan();
        let base = places.slots + 8 * i16::from(plan.slots);
        asm.note(&format!("{}: {}", self.large.map, plan.strategy));
        asm.store(W, R10, places.key, 0);
        asm.load_map(R1, &self.large.map);
        only_entry(asm, places.key, places.closed);
        asm.mov(R1, R0);
        only_entry(asm, places.key, places.closed);
        asm.store(DW, R10, base, R0);
        let found = asm.label("looked_for");
        let lookup = Lookup {
            plan,
            items: &[*self.address()],
            record: places.record,
            v6,
            tables: Tables::Map(base),
            slots: places.slots,
            lines: &[],
            decided: found,
        };
        lookup::write(asm, &lookup);
        asm.bind(found);
        places.hook.hide(asm, R0, R1);
        places.record.put(asm, self.item, R0);
    }
}

/// `R0 =` the one entry of the map in `R1`.
fn only_entry(asm: &mut Assembler, key: i16, none: Label) {
    asm.mov(R2, R10);
    asm.add(R2, i32::from(key));
    asm.call(Helper::MapLookupElem);
    asm.jump_if(Eq, R0, 0, none);
}
