//! Finds marks that cannot be told apart.

use std::collections::BTreeMap;

use crate::diagnostic::{Code, Diagnostic};
use crate::ir::{Ir, Mark, Verdict};
use crate::source::Span;

/// What routes by a mark: the mark, the table, how it is called and where it stands.
type User = (Mark, u32, String, Span);

/// Reports proxies and routes whose marks a packet can have at once, so that the kernel would
/// take the wrong routing table.
pub fn check(ir: &Ir, diagnostics: &mut Vec<Diagnostic>) {
    let mut users: Vec<User> = Vec::new();
    for proxy in &ir.proxies {
        users.push((
            proxy.mark,
            proxy.table,
            format!("the proxy `{}`", proxy.name),
            proxy.span,
        ));
    }
    for rule in &ir.steer {
        if let (Some(Verdict::Route { table }), Some(mark)) = (&rule.verdict, rule.effects.mark) {
            users.push((mark, *table, format!("the rule `{}`", rule.name), rule.span));
        }
    }
    for (at, (mark, table, who, span)) in users.iter().enumerate() {
        let clash = users.iter().take(at).find(|(other, other_table, _, _)| {
            let shared = mark.mask & other.mask;
            (mark.value ^ other.value) & shared == 0 && (mark, table) != (other, other_table)
        });
        if let Some((_, _, other, other_span)) = clash {
            let title = format!("{who} and {other} cannot be told apart by their marks");
            let help = "give both the same mask and different values";
            diagnostics.push(
                Diagnostic::error(Code::MarkCollision, title, *span)
                    .and(*other_span, "the other one")
                    .help(help),
            );
        }
    }
    same_proxy_marks(ir, diagnostics);
    borrowed(ir, &users, diagnostics);
    if !diagnostics.iter().any(|d| d.code == Code::MarkCollision) {
        straddling(ir, diagnostics);
    }
}

/// Reports masks that share some of their bits only. A flow can get both marks, and whoever sets
/// the second one, or restores them for a later packet, would change a part of the first.
fn straddling(ir: &Ir, diagnostics: &mut Vec<Diagnostic>) {
    let mut masks: BTreeMap<u32, Span> = BTreeMap::new();
    for proxy in &ir.proxies {
        masks.entry(proxy.mark.mask).or_insert(proxy.span);
    }
    for (_, rule) in ir.rules() {
        let Some(Mark { mask, .. }) = rule.effects.mark else {
            continue;
        };
        if masks.contains_key(&mask) {
            continue;
        }
        if let Some((other, span)) = masks.iter().find(|(other, _)| **other & mask != 0) {
            let title = format!("the masks {mask:#x} and {other:#x} share some of their bits");
            let help = "marks share all of their mask or none of it: change one of the two";
            diagnostics.push(
                Diagnostic::error(Code::MarkCollision, title, rule.span)
                    .and(*span, "the other mask")
                    .help(help),
            );
        }
        masks.insert(mask, rule.span);
    }
}

/// Reports rules that mark packets as those of a proxy or a `route` are marked: the kernel would
/// take them there, too.
fn borrowed(ir: &Ir, users: &[User], diagnostics: &mut Vec<Diagnostic>) {
    for (_, rule) in ir.rules() {
        let own = matches!(
            rule.verdict,
            Some(Verdict::Route { .. } | Verdict::Proxy(_))
        );
        let Some(set) = rule.effects.mark.filter(|_| !own) else {
            continue;
        };
        let value = set.value & set.mask;
        let user = users.iter().find(|(mark, ..)| {
            set.mask & mark.mask != 0 && value & mark.mask == mark.value & mark.mask
        });
        if let Some((_, _, who, span)) = user {
            let title = format!("the rule `{}` sets the mark of {who}", rule.name);
            let help = "what carries this mark is routed by it: choose other bits or another value";
            diagnostics.push(
                Diagnostic::error(Code::MarkCollision, title, rule.span)
                    .and(*span, "the mark is used here")
                    .help(help),
            );
        }
    }
}

/// Two proxies need two marks even when they share a table.
fn same_proxy_marks(ir: &Ir, diagnostics: &mut Vec<Diagnostic>) {
    for (at, proxy) in ir.proxies.iter().enumerate() {
        let same = ir
            .proxies
            .iter()
            .take(at)
            .find(|p| (p.mark, p.table) == (proxy.mark, proxy.table));
        if let Some(first) = same {
            let title = format!(
                "the proxies `{}` and `{}` share a mark",
                first.name, proxy.name
            );
            diagnostics.push(
                Diagnostic::error(Code::MarkCollision, title, proxy.span)
                    .and(first.span, "the first is here")
                    .help("the mark says which proxy a flow belongs to: give each its own"),
            );
        }
    }
}
