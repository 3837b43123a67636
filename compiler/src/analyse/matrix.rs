//! Who may reach whom: a table of ends.

use std::collections::BTreeSet;

use super::prove::{Proof, Prover, Shown};
use super::ways::Class;
use crate::ir::cube::both;
use crate::ir::{Cube, Ir, Side};
use crate::packet::AddrSet;
use crate::policy::{Policy, Value};

/// A table of ends.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// What the rows are from.
    pub from: Vec<String>,
    /// What the columns are to.
    pub to: Vec<String>,
    /// The rows.
    pub cells: Vec<Vec<Cell>>,
}

/// Whether packets from one end to another are allowed.
#[derive(Clone, Debug)]
pub enum Cell {
    /// All of them, while rates last.
    Always,
    /// None of them.
    Never,
    /// Some of them.
    Depends {
        /// One that is allowed.
        allowed: Box<Shown>,
        /// One that is refused.
        refused: Box<Shown>,
    },
    /// There are no such packets.
    Nothing,
    /// Nobody knows, for this reason.
    Unknown(String),
    /// The interpreter says otherwise: polc is wrong.
    Defect(Box<Shown>),
}

impl Cell {
    /// A word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Never => "never",
            Self::Depends { .. } => "depends",
            Self::Nothing => "-",
            Self::Unknown(_) => "unknown",
            Self::Defect(_) => "defect",
        }
    }
}

/// The table of a policy, for packets of some services (alternatives).
///
/// Its rows are this host, the zones and the sets that rules name as sources or destinations; its
/// columns this host and the zones.
pub fn matrix(policy: &Policy, ir: &Ir, prover: &Prover, services: &[Cube]) -> Matrix {
    let places = places(policy);
    let from = |side: &Side| Cube {
        ingress: side.clone(),
        ..Cube::any()
    };
    let to = |side: &Side| Cube {
        egress: side.clone(),
        ..Cube::any()
    };
    let named = places.iter().map(|(name, side)| (name.clone(), from(side)));
    let rows: Vec<(String, Cube)> = named.chain(sets(policy, ir)).collect();
    let row = |(_, source): &(String, Cube)| {
        let cell = |(_, side): &(String, Side)| {
            let ends: Vec<Cube> = source.intersection(&to(side)).into_iter().collect();
            match both(services, &ends) {
                Some(cubes) => judge(prover, &cubes),
                None => Cell::Unknown("there are too many alternatives".to_owned()),
            }
        };
        places.iter().map(cell).collect()
    };
    Matrix {
        cells: rows.iter().map(row).collect(),
        from: rows.into_iter().map(|(name, _)| name).collect(),
        to: places.iter().map(|(name, _)| name.clone()).collect(),
    }
}

fn judge(prover: &Prover, cubes: &[Cube]) -> Cell {
    match (
        prover.ensure(Class::Allow, cubes),
        prover.never(Class::Allow, cubes),
    ) {
        (Proof::Defect(shown), _) | (_, Proof::Defect(shown)) => Cell::Defect(shown),
        (Proof::Vacuous, _) | (_, Proof::Vacuous) => Cell::Nothing,
        (Proof::Proven, _) => Cell::Always,
        (_, Proof::Proven) => Cell::Never,
        (Proof::Fails(refused), Proof::Fails(allowed)) => Cell::Depends { allowed, refused },
        (Proof::Unknown(why), _) | (_, Proof::Unknown(why)) => Cell::Unknown(why),
    }
}

/// This host and the zones.
fn places(policy: &Policy) -> Vec<(String, Side)> {
    let zones = policy.definitions.iter().filter_map(|d| match &d.value {
        Value::Zone(zone) => Some((d.name.clone(), Side::ifaces(zone.ifaces.clone()))),
        _ => None,
    });
    let host = ("host".to_owned(), Side::host());
    std::iter::once(host).chain(zones).collect()
}

/// The sets that rules name as sources or destinations.
fn sets(policy: &Policy, ir: &Ir) -> Vec<(String, Cube)> {
    let cubes = ir.rules().flat_map(|(_, rule)| &rule.cubes);
    let ends = cubes.flat_map(|c| [&c.saddr, &c.daddr, &c.original]);
    let labels: BTreeSet<&str> = ends.filter_map(|set| set.label.as_deref()).collect();
    let named =
        |name: &str| labels.contains(name) || labels.contains(format!("not-{name}").as_str());
    let of = |set: &AddrSet| Cube {
        saddr: set.clone(),
        ..Cube::any()
    };
    let sets = policy.definitions.iter().filter_map(|d| match &d.value {
        Value::Set(set) if named(&d.name) => Some((format!("@{}", d.name), of(set).normal()?)),
        _ => None,
    });
    sets.collect()
}
