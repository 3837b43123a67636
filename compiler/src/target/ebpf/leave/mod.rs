//! Egress: from which source flows leave. Programs stand behind those of the filter, and make of packets what they
//! look like outside.

mod port;
mod program;

use self::program::Leave;
use super::act::Actions;
use super::filter::{Asked, LOOPBACK, Made, forward, names_loopback, output, rules};
use super::hook::Hook;
use super::link::Each;
use super::list::{List, ListError, Maker};
use super::state::State;
use super::steer::Aliases;
use crate::ir::{Cube, Ir, Rule, Verdict};

/// Whether answers come in to sockets of this host that have asked another end.
pub(super) fn comes_back(ir: &Ir) -> bool {
    let moves = |rule: &Rule| {
        let own = || rule.cubes.iter().any(|cube| cube.ingress.host);
        matches!(rule.verdict, Some(Verdict::Dnat(_))) && own()
    };
    ir.steer.iter().any(moves)
}

/// The programs for a class of interfaces.
pub(super) fn program(
    state: &mut State,
    asked: &Asked,
    aliases: &Aliases,
) -> Result<Made, ListError> {
    let (ir, iface) = (state.ir(), asked.iface);
    let mut maker = Maker {
        name: String::new(),
        own: true,
        classes: asked.classes,
        opened: true,
        counter: asked.counter,
        actions: Actions::default(),
        line: asked.line_of,
        state,
    };
    let mut lists = Vec::new();
    for (name, part) in [
        ("o", output as fn(&Cube, &str) -> Option<Cube>),
        ("f", forward),
    ] {
        let rules = rules(&ir.egress, |cube| part(cube, iface));
        maker.name = format!("{}_{name}", asked.name);
        maker.own = name == "o";
        let mut list = |v6| maker.list(&rules, &[], v6);
        // What this host sends to itself keeps its source, and what comes in has none to get.
        let none = rules.is_empty() || iface == LOOPBACK || asked.hook == Hook::Ingress;
        lists.push(if none {
            None
        } else {
            Some([list(false)?, list(true)?])
        });
    }
    let leave = Leave {
        ir,
        name: asked.name,
        hook: asked.hook,
        line: asked.line.clone(),
        lists,
        actions: maker.actions,
        flows: asked.maps.flows(),
        aliases,
        targets: maker.state.target_mask(),
        loopback: iface == LOOPBACK && names_loopback(ir, Hook::Ingress),
    };
    let programs = Each::try_make(|link| leave.program(link))?;
    let lists = leave.lists.into_iter().flatten().flatten();
    let data = lists.flat_map(List::into_data).collect();
    Ok(Made { programs, data })
}
