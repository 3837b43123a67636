//! Zones.

use polc_grammar::ast::Item;

use super::scope::Kind;
use super::{DefId, Resolver, SetValue};
use crate::diagnostic::{Code, Diagnostic};
use crate::policy::Zone;
use crate::source::Span;

impl Resolver<'_> {
    /// What the zone's name stands for.
    pub(super) fn zone(&mut self, id: &DefId, span: Span) -> Option<Zone> {
        if let Some(known) = self.zones.get(id) {
            return known.clone();
        }
        if !self.enter(Kind::Zone, id, span) {
            return None;
        }
        let zone = self.zone_decl(id);
        self.leave();
        self.zones.insert(id.clone(), zone.clone());
        zone
    }

    fn zone_decl(&mut self, id: &DefId) -> Option<Zone> {
        let tree = self.tree(id.0);
        let at = self.item(Kind::Zone, id)?;
        let Some(Item::Zone(decl)) = tree.items.get(at).map(|i| &i.node) else {
            return None;
        };
        let env = self.env(id.0);
        let span = env.span(decl.name.span);
        if decl.ifaces.not {
            let diagnostic =
                Diagnostic::error(Code::TypeMismatch, "a zone is a list of interfaces", span);
            self.report(diagnostic.help("name the interfaces; `not` stands in rules"));
            return None;
        }
        let ifaces = self.ifaces(&decl.ifaces, &env);
        let net = match &decl.net {
            None => None,
            Some(expr) => match self.set_expr(expr, &env)? {
                SetValue::Static(set) => Some(set),
                SetValue::Dynamic(_) => {
                    let title = "the `net` of a zone cannot be a `dynamic` set";
                    self.error(Code::TypeMismatch, title, span);
                    return None;
                }
            },
        };
        Some(Zone {
            ifaces: ifaces?,
            net,
            span,
        })
    }

    /// Reports zones that share an interface: a packet from it would come from both.
    pub(super) fn check_zones(&mut self) {
        let zones: Vec<(String, Zone)> = self
            .zones
            .iter()
            .filter_map(|(id, zone)| Some((id.1.clone(), zone.clone()?)))
            .collect();
        for (at, (name, zone)) in zones.iter().enumerate() {
            for (other_name, other) in zones.iter().skip(at + 1) {
                let shared = zone.ifaces.intersection(&other.ifaces);
                if shared.is_empty() {
                    continue;
                }
                let title = format!("the zones `{name}` and `{other_name}` share `{shared}`");
                let (first, second) = if zone.span <= other.span {
                    (zone.span, other.span)
                } else {
                    (other.span, zone.span)
                };
                let help = "an interface belongs to one zone: take it out of the other, or \
                            write rules with `in`, which may overlap";
                self.report(
                    Diagnostic::error(Code::OverlappingZones, title, second)
                        .at("this one")
                        .and(first, "and this one")
                        .help(help),
                );
            }
        }
    }
}
