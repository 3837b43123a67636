//! What the rules of a policy ask, each thing once.

use std::collections::BTreeSet;

use super::space::zones;
use crate::field::Field;
use crate::ir::{Atom, Cube, Ir};
use crate::packet::{IfaceSet, Pattern};
use crate::policy::Policy;

/// What an analysis of a policy can meet. It is found with one look at each rule, for a long list
/// does not fit into the processor's caches.
#[derive(Default)]
pub(crate) struct Asked<'a> {
    /// Names and patterns of interfaces.
    pub(super) patterns: BTreeSet<&'a Pattern>,
    pub(super) fields: Vec<Field>,
    /// In the order in which they are met.
    pub(super) atoms: Vec<&'a Atom>,
    known: BTreeSet<&'a Atom>,
}

impl<'a> Asked<'a> {
    pub(crate) fn of(policy: &'a Policy, ir: &'a Ir) -> Self {
        let mut out = Self::default();
        let rules = ir.rules().flat_map(|(_, rule)| &rule.cubes);
        let bypass = ir.proxies.iter().flat_map(|p| &p.bypass);
        let blocks = ir.blocks.iter().flat_map(|b| &b.scope);
        let claims = policy.claims.iter().flat_map(|c| &c.cubes);
        for cube in rules.chain(bypass).chain(blocks).chain(claims) {
            out.cube(cube);
        }
        for zone in zones(policy) {
            out.ifaces(&zone.ifaces);
        }
        out
    }

    fn cube(&mut self, cube: &'a Cube) {
        self.ifaces(&cube.ingress.ifaces);
        self.ifaces(&cube.egress.ifaces);
        for field in cube.fields.keys() {
            // There are few.
            if !self.fields.contains(field) {
                self.fields.push(*field);
            }
        }
        for atom in cube.atoms.keys() {
            if self.known.insert(atom) {
                self.atoms.push(atom);
            }
        }
    }

    fn ifaces(&mut self, set: &'a IfaceSet) {
        self.patterns.extend(set.include().into_iter().flatten());
        self.patterns.extend(set.exclude());
    }
}
