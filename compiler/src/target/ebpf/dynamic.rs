//! Dynamic sets: what rules with `add` put into tables, and conditions about it.
//!
//! What a set begins with stays in it, and is known here: it is among the addresses that cubes ask for.
//! What packets add is in a [`Table`]; whether a packet's key is there is looked up before the
//! rules that ask, and is to them a number of the packet like any other ([`Item::Member`]).

use polc_bpf::asm::Assembler;
use polc_bpf::insn::Cond::{Eq, Ge, Le};
use polc_bpf::insn::Helper;
use polc_bpf::insn::Reg::{R0, R1, R2, R7, R10};
use polc_bpf::insn::Width::DW;

use super::list::Places;
use super::rate::Asking;
use super::record::Item;
use super::state::State;
use super::table::Table;
use crate::ir::{Atom, Cube, DynamicId, KeyKind};
use crate::packet::AddrSet;

/// A dynamic set, for packets of a family.
#[derive(Clone, Debug)]
pub(super) struct Members {
    /// What packets have added; `None` when there is no room for it.
    pub(super) table: Option<Table>,
    /// What it begins with. It is never forgotten.
    pub(super) initial: AddrSet,
    /// What its elements are.
    pub(super) kind: KeyKind,
}

/// A cube as cubes that ask for what sets begin with by address. The sets are those of a family.
pub(super) fn spell_out(cube: &Cube, state: &mut State, v6: bool) -> Vec<Cube> {
    let mut cubes = vec![cube.clone()];
    for (atom, wanted) in &cube.atoms {
        let Atom::Dynamic { set, dest } = atom else {
            continue;
        };
        if let Some(members) = state.set(*set, v6) {
            let spelt = cubes.iter().flat_map(|cube| {
                let parts = members.parts(cube, atom, *dest, *wanted);
                parts.into_iter().flatten()
            });
            cubes = spelt.collect();
        }
    }
    cubes
}

impl Members {
    /// The packets of `cube` that are in the set, or are not (`wanted`).
    fn parts(&self, cube: &Cube, atom: &Atom, dest: bool, wanted: bool) -> [Option<Cube>; 2] {
        let mut unasked = cube.clone();
        unasked.atoms.remove(atom);
        let asked = self.table.as_ref().map(|_| cube.clone());
        if wanted {
            return [self.beginning_with(&unasked, dest), asked];
        }
        let mut rest = asked.unwrap_or(unasked);
        let side = side(&mut rest, dest);
        *side = side.difference(&self.initial);
        [rest.normal(), None]
    }

    /// The packets of `cube` whose key the set begins with.
    fn beginning_with(&self, cube: &Cube, dest: bool) -> Option<Cube> {
        let mut known = cube.clone();
        let side = side(&mut known, dest);
        *side = side.intersection(&self.initial);
        known.normal()
    }

    /// The packets of `cube` that the set has to begin with, so that `add` changes nothing.
    pub(super) fn known(&self, cube: &Cube) -> Option<Cube> {
        self.beginning_with(cube, self.kind == KeyKind::Dest)
    }
}

fn side(cube: &mut Cube, dest: bool) -> &mut AddrSet {
    if dest {
        &mut cube.daddr
    } else {
        &mut cube.saddr
    }
}

/// A lookup of the packet's key.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// What is found out.
    pub(super) item: Item,
    table: Table,
}

impl Look {
    /// Of the source, the destination (`dest`), or the pair; `None` when nothing can be added to the set.
    pub(super) fn new(state: &mut State, set: DynamicId, dest: bool, v6: bool) -> Option<Self> {
        let members = state.set(set, v6)?;
        let mut table = members.table?;
        table.key.kind = match members.kind {
            KeyKind::Pair => KeyKind::Pair,
            _ if dest => KeyKind::Dest,
            _ => KeyKind::Source,
        };
        let item = Item::Member { set, dest };
        Some(Self { item, table })
    }

    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// Notes in the record whether the packet's key is in the set. Changes `R0` to `R5` and `R7`.
    pub(super) fn write(&self, asm: &mut Assembler, places: &Places) {
        let with = &places.asking();
        let done = asm.label("looked_for");
        places.hook.zero(asm, R1);
        with.record.put(asm, self.item, R1);
        self.table.write_key(asm, with.record, with.key);
        asm.load_map(R1, &self.table.map);
        asm.mov(R2, R10);
        asm.add(R2, i32::from(with.key));
        asm.call(Helper::MapLookupElem);
        asm.jump_if(Eq, R0, 0, done);
        if let Some(idle) = self.table.idle {
            asm.load(DW, R7, R0, 0);
            asm.call(Helper::KtimeGetCoarseNs);
            asm.load_wide(R1, idle);
            asm.add(R7, R1);
            asm.jump_if(Le, R7, R0, done);
        }
        asm.mov(R1, 1);
        with.record.put(asm, self.item, R1);
        asm.bind(done);
    }
}

/// Puts the packet's key into a table, or renews its time. A full table takes nothing new. Changes
/// `R0` to `R5` and `R7`.
pub(super) fn add(asm: &mut Assembler, with: &Asking, table: &Table) {
    let done = asm.label("added");
    table.write_key(asm, with.record, with.key);
    asm.call(Helper::KtimeGetCoarseNs);
    asm.mov(R7, R0);
    asm.mov(R2, R0);
    with.makers.call(asm, table, with.key);
    asm.jump_if(Eq, R0, 0, done);
    asm.load(DW, R1, R0, 0);
    asm.jump_if(Ge, R1, R7, done);
    asm.store(DW, R0, 0, R7);
    asm.bind(done);
}
