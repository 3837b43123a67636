//! Interface names.

use polc_grammar::ast::Ifaces;

use super::param::Bound;
use super::scope::Kind;
use super::{Env, Resolver};
use crate::diagnostic::{Code, Diagnostic};
use crate::packet::{IfaceSet, Pattern};
use crate::source::Span;

impl Resolver<'_> {
    /// An interface name or pattern that the kernel can have.
    pub(super) fn iface_pattern(&mut self, name: &str, span: Span) -> Option<Pattern> {
        if let Some(problem) = Pattern::problem(name) {
            let title = format!("`{name}` cannot be an interface");
            self.report(Diagnostic::error(Code::InterfaceName, title, span).at(problem));
            return None;
        }
        Some(Pattern::parse(name))
    }

    /// The interfaces of a list: names, patterns, parameters, zones.
    pub(super) fn ifaces(&mut self, ifaces: &Ifaces, env: &Env) -> Option<IfaceSet> {
        let mut patterns = Vec::new();
        let mut ok = true;
        for name in &ifaces.names {
            let span = env.span(name.span);
            match self.named_param(env, &name.node, span) {
                Some(Bound::Iface(pattern)) => {
                    patterns.push(pattern);
                    continue;
                }
                Some(Bound::Failed) => {
                    ok = false;
                    continue;
                }
                Some(Bound::Zone(id)) => {
                    match self.zone(&id, span) {
                        Some(zone) => {
                            patterns.extend(zone.ifaces.include().cloned().unwrap_or_default());
                        }
                        None => ok = false,
                    }
                    continue;
                }
                Some(_) => {
                    let title = format!("the parameter `{}` is not an interface", name.node);
                    self.error(Code::TypeMismatch, title, span);
                    ok = false;
                    continue;
                }
                None => {}
            }
            // In `zone eth0 = eth0` the second is the interface.
            if let Some(id) = self.seek(env, Kind::Zone, &name.node, span)
                && self.open.last() != Some(&(Kind::Zone, id.clone()))
            {
                match self.zone(&id, span) {
                    Some(zone) => {
                        patterns.extend(zone.ifaces.include().cloned().unwrap_or_default());
                    }
                    None => ok = false,
                }
                continue;
            }
            match self.iface_pattern(&name.node, span) {
                Some(pattern) => patterns.push(pattern),
                None => ok = false,
            }
        }
        if !ok {
            return None;
        }
        Some(if ifaces.not {
            IfaceSet::not(patterns)
        } else {
            IfaceSet::of(patterns)
        })
    }
}
