//! The programs of a filter: at the ingress of each interface what is for this host is judged, and
//! at the egress what it sends, and what goes through it.
//!
//! A program reads a packet (`parse`), asks which flow it belongs to (`track`), judges it if it
//! belongs to none (`classify`, by the lists of its direction), and remembers the flow of what it
//! lets pass (`act`).
//!
//! Which direction it is, the kernel says at each packet: its own routing at ingress, the interface
//! that a packet has come in by at egress. A forwarded packet is judged where it leaves: only there
//! both interfaces are known.

pub(super) mod begin;
pub(super) mod decision;
pub(super) mod direction;
pub(super) mod flows;
mod program;
pub(super) mod quote;
mod reject;
pub(super) mod stack;
pub(super) mod timeout;
pub(super) mod track;

use polc_bpf::asm::SourceLine;
use polc_bpf::map::{Map, MapType, Shape};

pub(super) use self::decision::{DECISION, DNAT, OPENED_PORT, OPENED_TO, PROXY};
pub(super) use self::flows::{
    CUT, FINISHED, FLAGS, Flows, KEY as FLOW_KEY, REJECTED, STAMP, STAMP_CLOCK, STAMP_SHIFT, UNTIL,
};
use self::program::{Direction, Filter};
pub(super) use self::program::{Facts, either, facts};
use super::act::Actions;
use super::hook::Hook;
use super::iface::Classes;
use super::link::Each;
use super::list::{List, ListError, Maker};
use super::parse;
use super::state::State;
use crate::field::{
    CT_DIRECTION, CT_MARK, CT_STATE, ETH_DADDR, ETH_SADDR, ETH_TYPE, Field, GID, IP_FRAGMENT,
    META_MARK, META_PKTTYPE, UID, VLAN_ID, VLAN_PCP,
};
use crate::ir::{Block, Cube, Effects, Ir, Rule, Side, Stage, Verdict};
use crate::packet::Pattern;
use polc_bpf::asm::Program;

/// The map that says which class an interface is of.
pub(super) const INTERFACES: &str = "ifaces";

/// The place of what is no rule in its stage.
pub(super) const NOBODY: usize = usize::MAX;

/// The most interfaces of a machine.
pub(super) const MOST_INTERFACES: u32 = 16_384;

const INPUT: &str = "to this host";
const OUTPUT: &str = "from this host";
const FORWARD: &str = "through this host";

/// Programs, and the data that they read.
pub(super) struct Made {
    pub(super) programs: Each<Program>,
    pub(super) data: Vec<(String, Vec<u8>)>,
}

/// What the filter programs of a policy have in common.
pub(super) struct Maps {
    flows: Flows,
}

impl Maps {
    /// With room for so many flows.
    pub(super) fn new(ir: &Ir, flows: u32) -> Self {
        Self {
            flows: Flows::new(flows, translates(ir)),
        }
    }

    /// The flow table.
    pub(super) fn flows(&self) -> &Flows {
        &self.flows
    }

    /// The maps that outlive an apply.
    pub(super) fn state(&self) -> [Map; 2] {
        self.flows.maps()
    }

    /// The others.
    pub(super) fn others() -> [Map; 1] {
        let shape = Shape::new(MapType::Hash, 4, 4, MOST_INTERFACES);
        [Map::new(INTERFACES, shape)]
    }
}

/// What a program is made for.
pub(super) struct Asked<'a> {
    pub(super) classes: &'a Classes,
    pub(super) maps: &'a Maps,
    pub(super) hook: Hook,
    pub(super) name: &'a str,
    /// The line of instructions that are about no rule.
    pub(super) line: Option<SourceLine>,
    /// A rule's line.
    pub(super) line_of: &'a dyn Fn(&Rule) -> Option<SourceLine>,
    /// A name of the class of interfaces.
    pub(super) iface: &'a str,
    /// The counter of a rule.
    pub(super) counter: &'a dyn Fn(usize) -> Option<u32>,
}

/// Whether a field can be asked for.
pub(super) fn reads(field: Field) -> bool {
    const KNOWN: [Field; 7] = [
        META_MARK,
        META_PKTTYPE,
        UID,
        GID,
        CT_STATE,
        CT_MARK,
        CT_DIRECTION,
    ];
    const OF_THE_FRAME: [Field; 5] = [ETH_SADDR, ETH_DADDR, ETH_TYPE, VLAN_ID, VLAN_PCP];
    KNOWN.contains(&field) || parse::reads(field) && !OF_THE_FRAME.contains(&field)
}

/// The classes of interfaces that steer, filter and egress tell apart.
pub(super) fn classes(ir: &Ir) -> Classes {
    let rules = ir.steer.iter().chain(&ir.filter).chain(&ir.egress);
    // What this host sends to itself goes another way.
    let own = translates(ir).then(|| Pattern::Name(LOOPBACK.to_owned()));
    let sides: [fn(&Cube) -> &Side; 2] = [|cube| &cube.ingress, |cube| &cube.egress];
    Classes::of(rules, &sides, own)
}

/// The interface by which this host sends to itself.
pub(super) const LOOPBACK: &str = "lo";

/// Whether rules of the filter speak of what this host sends to itself, as it leaves or as it comes in.
pub(super) fn names_loopback(ir: &Ir, hook: Hook) -> bool {
    let part = match hook {
        Hook::Egress => output,
        _ => input,
    };
    let mut cubes = ir.filter.iter().flat_map(|rule| &rule.cubes);
    cubes.any(|cube| part(cube, LOOPBACK).is_some())
}

/// Whether flows can go elsewhere, or leave from elsewhere, than their packets say.
pub(super) fn translates(ir: &Ir) -> bool {
    !ir.steer.is_empty() || !ir.egress.is_empty()
}

/// Whether sections judge answers, whose flows were opened to where they come from.
fn judges_answers(ir: &Ir) -> bool {
    let mut blocks = ir.blocks.iter();
    blocks.any(|block| block.stateless && block.stage == Stage::Filter)
}

/// Whether there is something to do at a hook.
pub(super) fn is_needed(ir: &Ir, hook: Hook) -> bool {
    let governs = ir.governs;
    let own = governs.input || governs.output;
    own || hook == Hook::Egress && governs.forward || translates(ir)
}

/// The programs for a class of interfaces.
pub(super) fn program(state: &mut State, asked: &Asked) -> Result<Made, ListError> {
    let (ir, iface) = (state.ir(), asked.iface);
    let translates = translates(ir);
    let loopback = iface == LOOPBACK;
    let mut maker = Maker {
        name: String::new(),
        own: false,
        classes: asked.classes,
        opened: translates || judges_answers(ir),
        counter: asked.counter,
        actions: Actions::default(),
        line: asked.line_of,
        state,
    };
    let governs = ir.governs;
    let own = governs.input || governs.output || translates;
    let mut directions = Vec::new();
    for (name, governed, remembers, part) in match asked.hook {
        Hook::Egress if loopback => vec![(
            OUTPUT,
            governs.output,
            own,
            output as fn(&Cube, &str) -> Option<Cube>,
        )],
        Hook::Egress => vec![
            (
                OUTPUT,
                governs.output,
                own,
                output as fn(&Cube, &str) -> Option<Cube>,
            ),
            (FORWARD, governs.forward, translates, forward),
        ],
        _ => vec![(
            INPUT,
            governs.input,
            own,
            input as fn(&Cube, &str) -> Option<Cube>,
        )],
    } {
        let rules = rules(&ir.filter, |cube| part(cube, iface));
        maker.name = format!("{}_{}", asked.name, name.get(..1).unwrap_or_default());
        let mut list = |v6| maker.list(&rules, &[], v6);
        let lists = if governed {
            Some([list(false)?, list(true)?])
        } else {
            None
        };
        let stateless = if governed {
            let scopes = stateless(ir, |cube| part(cube, iface));
            maker.name.push('s');
            let mut list = |v6| maker.list(&scopes, &[], v6);
            if scopes.is_empty() {
                None
            } else {
                Some([list(false)?, list(true)?])
            }
        } else {
            None
        };
        directions.push(Direction {
            name,
            lists,
            stateless,
            remembers,
            open: loopback,
        });
    }
    let filter = Filter {
        ir,
        name: asked.name,
        hook: asked.hook,
        line: asked.line.clone(),
        directions,
        actions: maker.actions,
        flows: &asked.maps.flows,
        loopback,
    };
    let programs = Each::try_make(|link| filter.program(link))?;
    let directions = filter.directions.into_iter();
    let lists = directions.flat_map(|d| d.lists.into_iter().chain(d.stateless));
    let data = lists.flatten().flat_map(List::into_data).collect();
    Ok(Made { programs, data })
}

/// The rules of a stage that can hold in a direction, with their places, and of each the cubes that can.
pub(super) fn rules(of_stage: &[Rule], part: impl Fn(&Cube) -> Option<Cube>) -> Vec<(usize, Rule)> {
    let numbered = of_stage.iter().enumerate();
    let of = |(index, rule): (usize, &Rule)| {
        let cubes: Vec<Cube> = rule
            .cubes
            .iter()
            .filter_map(|cube| whole(part(cube)?))
            .collect();
        let rule = Rule {
            cubes,
            ..rule.clone()
        };
        (!rule.cubes.is_empty()).then_some((index, rule))
    };
    numbered.filter_map(of).collect()
}

/// The packets of sections without flow lookup, each section as a rule that allows them.
fn stateless(ir: &Ir, part: impl Fn(&Cube) -> Option<Cube>) -> Vec<(usize, Rule)> {
    let blocks = ir.blocks.iter().enumerate();
    let stateless = blocks.filter(|(_, b)| b.stateless && b.stage == Stage::Filter);
    let scope = |(block, section): (usize, &Block)| {
        let scope = section.scope.iter();
        let cubes: Vec<Cube> = scope.filter_map(|cube| whole(part(cube)?)).collect();
        let first = ir.filter.iter().find(|rule| rule.block == block)?;
        let rule = Rule {
            cubes,
            limits: Vec::new(),
            effects: Effects::default(),
            verdict: Some(Verdict::Allow),
            ..first.clone()
        };
        (!rule.cubes.is_empty()).then_some((NOBODY, rule))
    };
    stateless.filter_map(scope).collect()
}

/// What comes in by an interface for this host.
fn input(cube: &Cube, iface: &str) -> Option<Cube> {
    let here = cube.egress.host && cube.ingress.ifaces.contains(iface);
    here.then(|| between(cube, Side::any()))
}

/// What this host sends by an interface.
pub(super) fn output(cube: &Cube, iface: &str) -> Option<Cube> {
    let here = cube.ingress.host && cube.egress.ifaces.contains(iface);
    here.then(|| between(cube, Side::any()))
}

/// What goes through this host, and leaves by an interface.
pub(super) fn forward(cube: &Cube, iface: &str) -> Option<Cube> {
    let here = !cube.ingress.ifaces.is_empty() && cube.egress.ifaces.contains(iface);
    here.then(|| between(cube, Side::ifaces(cube.ingress.ifaces.clone())))
}

fn between(cube: &Cube, ingress: Side) -> Cube {
    Cube {
        ingress,
        egress: Side::any(),
        ..cube.clone()
    }
}

/// The cube without the question whether a packet is a fragment: none is.
pub(super) fn whole(mut cube: Cube) -> Option<Cube> {
    match cube.fields.remove(&IP_FRAGMENT) {
        Some(set) if !set.contains(0) => None,
        _ => Some(cube),
    }
}
