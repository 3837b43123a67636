//! POL204

use polc_grammar::ast::{AddrLit, Clause, Element, End, Ends, Spanned};

use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::ir::{Cube, Rule};
use crate::packet::{AddrSet, Families};
use crate::policy::Value;
use crate::source::Span;

lint! {
    /// A rule lets in sources that are written as a very short prefix: shorter than a /8 of IPv4 or a
    /// /16 of IPv6, but not everything.
    ///
    /// Nobody knows who half of the Internet is. Such a prefix is most often a slip (`/1` for `/16`), or
    /// a way around a check that refuses `0.0.0.0/0`.
    ///
    /// Sources that a rule leaves out (`from not …`) are not meant, nor are private ones.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow https from 192.0.0.0/2
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow https from 192.0.2.0/24
    ///   default deny
    /// }
    /// ```
    pub(super) static LINT: "POL204" "wide-source" Warning, Default, Exact;
    "A rule lets in sources from a very short prefix."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    for (id, rule) in cx.admitting().filter(|(_, rule)| asks_much(rule)) {
        let Some((place, sources)) = written(cx, rule) else {
            continue;
        };
        let asked = Cube {
            families: sources.families(),
            saddr: sources,
            ..Cube::any()
        };
        if let Some(opening) = cx.allowed_from_world(id, &asked) {
            let help = format!(
                "write the prefixes that are meant; for example, this gets in: {}",
                opening.example
            );
            let title = "these sources are a large part of the Internet";
            out.push(LINT.report(title, place).help(help));
        }
    }
}

/// Whether the rule asks for sources of which there are many, but not for all.
fn asks_much(rule: &Rule) -> bool {
    let much = |cube: &Cube| !cube.saddr.is_full() && !wide(&cube.saddr).is_empty();
    rule.cubes.iter().any(much)
}

/// The ranges of a set that are larger than the prefixes that are taken for granted, but not all
/// of a family.
fn wide(set: &AddrSet) -> AddrSet {
    let v4 = set.v4.ranges().iter();
    let v4 = v4.filter(|(first, last)| last - first >= 1 << 24);
    let v6 = set.v6.ranges().iter();
    let v6 = v6.filter(|(first, last)| last - first >= 1 << 112);
    let of = |has: bool, family: Families| if has { family } else { Families::NONE };
    let part = of(!set.v4.is_full(), Families::V4);
    let other = of(!set.v6.is_full(), Families::V6);
    let all = AddrSet {
        v4: v4.copied().collect(),
        v6: v6.copied().collect(),
        label: None,
    };
    all.only(part).union(&all.only(other))
}

/// The first wide sources that stand in a `from` of the rule or around it.
fn written(cx: &Context, rule: &Rule) -> Option<(Span, AddrSet)> {
    let around = cx.around(rule.span);
    let clauses = around.iter().flat_map(|node| &node.clauses);
    let mut ends = clauses.filter_map(|clause| match &clause.node {
        Clause::From(ends) if !ends.not => Some(ends),
        _ => None,
    });
    ends.find_map(|ends| among(cx, ends, rule.span))
}

fn among(cx: &Context, ends: &Ends, place: Span) -> Option<(Span, AddrSet)> {
    ends.list.iter().find_map(|end| {
        let set = match &end.node {
            End::Addr(addr) => literal(*addr),
            End::Ref(name) => named(cx, name),
            End::Body(body) => {
                let elements = body.elements.iter();
                let sets = elements.filter_map(|Spanned { node, .. }| match node {
                    Element::Addr(addr) => literal(*addr),
                    Element::Ref(name) => named(cx, name),
                });
                Some(sets.fold(AddrSet::empty(), |all, set| all.union(&set)))
            }
            End::Any | End::Host | End::Name(_) => None,
        };
        let wide = wide(&set?);
        (!wide.is_empty()).then(|| (Span::new(place.file, end.span), wide))
    })
}

fn named(cx: &Context, name: &str) -> Option<AddrSet> {
    let mut sets = cx.policy.definitions.iter().filter(|d| d.name == name);
    sets.find_map(|definition| match &definition.value {
        Value::Set(set) => Some(set.clone()),
        _ => None,
    })
}

fn literal(literal: AddrLit) -> Option<AddrSet> {
    match literal {
        AddrLit::Addr(addr) => Some(AddrSet::one(addr)),
        AddrLit::Prefix(addr, len) => AddrSet::prefix(addr, len),
        AddrLit::Range(first, last) => AddrSet::range(first, last),
    }
}
