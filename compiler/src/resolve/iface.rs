//! Interface names.

use polc_grammar::ast::Ifaces;

use super::param::Bound;
use super::scope::Kind;
use super::{Env, Resolver};
use crate::diagnostic::{Code, Diagnostic};
use crate::packet::{IfaceSet, Pattern};
use crate::source::Span;

/// The longest name the kernel takes: `IFNAMSIZ` (16) with its final zero.
const LONGEST: usize = 15;

impl Resolver<'_> {
    /// An interface name or pattern that the kernel can have.
    pub(super) fn iface_pattern(&mut self, name: &str, span: Span) -> Option<Pattern> {
        let stem = name.strip_suffix('*').unwrap_or(name);
        let problem = if stem.contains('*') {
            Some("a `*` can only stand at its end")
        } else if name.is_empty() || name == "." || name == ".." {
            Some("it is not a name")
        } else if name
            .chars()
            .any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
        {
            Some("it has a character that interface names cannot have")
        } else if name.contains('"') {
            Some("polc takes no names with quotes")
        } else if stem.len() > LONGEST {
            Some("the longest has 15 bytes")
        } else {
            None
        };
        if let Some(problem) = problem {
            let title = format!("`{name}` cannot be an interface");
            self.report(Diagnostic::error(Code::InterfaceName, title, span).at(problem));
            return None;
        }
        // Nothing fits behind the longest stem.
        let full = stem.len() == LONGEST;
        Some(Pattern::parse(if full { stem } else { name }))
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
            if let Some(id) = self.find(env, Kind::Zone, &name.node)
                && !self.open.contains(&(Kind::Zone, id.clone()))
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
