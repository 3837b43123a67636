//! POL109

use std::cmp::Reverse;
use std::net::IpAddr;

use polc_grammar::ast::{
    AddrLit, Clause, Element, End, Ends, Item, SetBody, SetExpr, SetTerm, Spanned,
};

use super::{Context, lint};
use crate::diagnostic::{Diagnostic, Edit, Fix};
use crate::packet::AddrSet;
use crate::source::Span;

lint! {
    /// An element of a list in braces is inside of another element of the same list: it adds nothing.
    ///
    /// One of the two is not what was meant, or the narrow one has been left behind when the wide one
    /// came. Who takes the narrow one out to shut somebody out shuts nobody out.
    ///
    /// Lists that are read from files may overlap; they are merged.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// set office = { 10.0.0.0/8, 10.1.0.0/16, 2001:db8:1::/48 }
    ///
    /// to host {
    ///   allow https from @office
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// set office = { 10.0.0.0/8, 2001:db8:1::/48 }
    ///
    /// to host {
    ///   allow https from @office
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Fix
    ///
    /// The inner element is deleted.
    pub(super) static LINT: "POL109" "overlapping-set-elements" Warning, Default, Exact, fix;
    "An element of a list is inside of another one."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let syntax = cx.syntax(cx.policy.file);
    for item in &syntax.items {
        match &item.node {
            Item::Set(set) => expression(cx, &set.expr, out),
            Item::Zone(zone) => {
                if let Some(net) = &zone.net {
                    expression(cx, net, out);
                }
            }
            _ => {}
        }
    }
    for clause in syntax.nodes.iter().flat_map(|node| &node.clauses) {
        if let Clause::From(ends) | Clause::To(ends) | Clause::ToOriginal(ends) = &clause.node {
            for end in &ends.list {
                if let End::Body(body) = &end.node {
                    list(cx, body, out);
                }
            }
            among_ends(cx, ends, out);
        }
    }
}

fn expression(cx: &Context, expr: &SetExpr, out: &mut Vec<Diagnostic>) {
    let rest = expr.rest.iter().map(|(_, term)| term);
    for term in std::iter::once(&expr.first).chain(rest) {
        if let SetTerm::Body(body) = &term.node {
            list(cx, body, out);
        }
    }
}

fn list(cx: &Context, body: &SetBody, out: &mut Vec<Diagnostic>) {
    let literals = body.elements.iter().map(|element| Spanned {
        span: element.span,
        node: match &element.node {
            Element::Addr(addr) => Some(*addr),
            Element::Ref(_) => None,
        },
    });
    overlaps(cx, &literals.collect::<Vec<_>>(), out);
}

fn among_ends(cx: &Context, ends: &Ends, out: &mut Vec<Diagnostic>) {
    let literals = ends.list.iter().map(|end| Spanned {
        span: end.span,
        node: match &end.node {
            End::Addr(addr) => Some(*addr),
            _ => None,
        },
    });
    overlaps(cx, &literals.collect::<Vec<_>>(), out);
}

/// An element: its family, its ends, and its place in the list. In this order, what is around an
/// element stands before it.
type Range = (bool, u128, Reverse<u128>, usize);

fn overlaps(cx: &Context, list: &[Spanned<Option<AddrLit>>], out: &mut Vec<Diagnostic>) {
    let ranges = list.iter().enumerate();
    let mut ranges: Vec<Range> = ranges
        .filter_map(|(at, literal)| range(literal.node?, at))
        .collect();
    ranges.sort_unstable();
    let mut around: Option<Range> = None;
    for inner in ranges {
        match around {
            Some(outer) if outer.0 == inner.0 && outer.2 <= inner.2 => {
                out.extend(report(cx, list, inner.3, outer.3));
            }
            _ => around = Some(inner),
        }
    }
}

fn range(literal: AddrLit, at: usize) -> Option<Range> {
    let set = match literal {
        AddrLit::Addr(addr) => AddrSet::one(addr),
        AddrLit::Prefix(addr, len) => AddrSet::prefix(addr, len)?,
        AddrLit::Range(first, last) => AddrSet::range(first, last)?,
    };
    let v4 = set.v4.ranges().first();
    let v4 = v4.map(|(first, last)| (false, (*first).into(), Reverse((*last).into()), at));
    let v6 = set.v6.ranges().first();
    v4.or(v6.map(|(first, last)| (true, *first, Reverse(*last), at)))
}

fn report(
    cx: &Context,
    list: &[Spanned<Option<AddrLit>>],
    inner: usize,
    outer: usize,
) -> Option<Diagnostic> {
    let place = |at: usize| Some(Span::new(cx.policy.file, list.get(at)?.span));
    let (small, large) = (place(inner)?, place(outer)?);
    let word = |at: usize| list.get(at)?.node.map(written);
    let (name, other) = (word(inner)?, word(outer)?);
    let title = if name == other {
        format!("`{name}` is here twice")
    } else {
        format!("`{name}` is inside of `{other}`")
    };
    let diagnostic = LINT
        .report(title, small)
        .related(large, "it is in this element")
        .help("delete it, or narrow the other one");
    let edit = without(cx, list, inner);
    Some(match edit {
        Some(edit) => diagnostic.fix(Fix {
            safe: true,
            title: format!("delete `{name}`"),
            edits: vec![edit],
        }),
        None => diagnostic,
    })
}

/// Takes an element out, with the comma before or behind it; `None` when a comment stands there.
fn without(cx: &Context, list: &[Spanned<Option<AddrLit>>], at: usize) -> Option<Edit> {
    let own = list.get(at)?.span;
    let next = list.get(at + 1).map(|next| (own.start, next.span.start));
    let before = at.checked_sub(1).and_then(|at| list.get(at));
    let (start, end) = next.or(before.map(|before| (before.span.end, own.end)))?;
    let text = cx.text(cx.policy.file).get(start as usize..end as usize)?;
    let span = Span {
        start,
        end,
        ..Span::new(cx.policy.file, own)
    };
    (!text.contains('#')).then_some(Edit {
        span,
        text: String::new(),
    })
}

fn written(literal: AddrLit) -> String {
    let single = |addr: IpAddr| addr.to_string();
    match literal {
        AddrLit::Addr(addr) => single(addr),
        AddrLit::Prefix(addr, len) => format!("{addr}/{len}"),
        AddrLit::Range(first, last) => format!("{first}-{last}"),
    }
}
