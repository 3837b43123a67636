//! Services that the world may use.

use super::{Context, Opening};
use crate::field::DPORT;
use crate::interpret::RuleId;
use crate::ir::{Cube, Rule, Sense, Stage};
use crate::packet::IntervalSet;

/// Services by their ports.
pub(super) struct Ports {
    /// Of each protocol.
    cubes: Vec<Cube>,
}

/// A rule for more ports than this is about more than one service.
const MOST_PORTS: u128 = 1024;

impl Ports {
    /// Of protocols, with ports of each.
    pub(super) fn of(services: &[(u64, &[u64])]) -> Self {
        let cubes = services.iter().map(|(protocol, ports)| {
            let ports = ports.iter().map(|port| (*port, *port)).collect();
            let cube = Cube::any().with_proto(&IntervalSet::one(*protocol));
            cube.with_field(DPORT, &ports)
        });
        Self {
            cubes: cubes.collect(),
        }
    }

    /// Whether a rule asks for the ports of one of them, and for few others.
    fn meet(&self, rule: &Rule) -> bool {
        let of = |cube: &Cube, service: &Cube| {
            let ports = cube.field(DPORT).zip(service.field(DPORT));
            cube.proto.intersects(&service.proto)
                && ports.is_some_and(|(a, b)| a.intersects(b) && a.count() <= MOST_PORTS)
        };
        let mut cubes = rule.cubes.iter();
        cubes.any(|cube| self.cubes.iter().any(|service| of(cube, service)))
    }
}

impl Context<'_> {
    /// Rules that let the world use some services, and flows that do. Rules that ask for no ports
    /// are not meant: they are about more than these services.
    pub(super) fn services_from_world(&self, services: &Ports) -> Vec<(&Rule, Opening)> {
        let named = |(index, rule): (usize, &'_ Rule)| services.meet(rule).then_some(index);
        let mut found = Vec::new();
        for stage in [Stage::Steer, Stage::Filter] {
            let rules = self.ir.stage(stage);
            for index in rules.iter().enumerate().filter_map(named) {
                let id = RuleId { stage, index };
                let mut cubes = services.cubes.iter();
                let opening = cubes.find_map(|cube| self.allowed_from_world(id, cube));
                found.extend(rules.get(index).zip(opening));
            }
        }
        found
    }

    /// Whether a rule holds within a rate that each key has for itself.
    pub(super) fn is_limited_by_key(&self, rule: &Rule) -> bool {
        let mut within = rule.limits.iter().filter(|l| l.sense == Sense::Within);
        within.any(|l| {
            self.ir
                .buckets
                .get(l.bucket)
                .is_some_and(|b| b.key.is_some())
        })
    }

    /// Flows from the world that a rule allows: TCP, if there are such.
    pub fn opens_to_world(&self, id: RuleId) -> Option<Opening> {
        let tcp = Cube::any().with_proto(&IntervalSet::one(6));
        let opening = self.allowed_from_world(id, &tcp);
        opening.or_else(|| self.allowed_from_world(id, &Cube::any()))
    }
}
