//! Rules of several parts, and several rules that are parts of one.

use fastrand::Rng;
use polc_compiler::diagnostic::Code;
use polc_compiler::ir::{Ir, Verdict};
use polc_grammar::ast::{
    AddrLit, Balance, Clause, End, Ends, Expr, Port, Service, Span, Spanned, Stmt, Target,
};

use super::edit::{Edits, Written, bodies, indent, rules, slice};
use super::judge::compare;
use super::trial::{Compiled, Trial, control};

/// A part of a rule, and the two that together are the same.
struct Halves {
    place: Span,
    texts: [String; 2],
    /// Whether no packet is in both.
    apart: bool,
}

impl Halves {
    fn new(place: Span, texts: [String; 2], apart: bool) -> Self {
        Self {
            place,
            texts,
            apart,
        }
    }
}

/// Splits some rules of a policy in two.
fn split(policy: &Compiled, rng: &mut Rng) -> Option<String> {
    let mut edits = Edits::default();
    for written in rules(&policy.file, policy.ir()) {
        if rng.u8(..3) != 0 || !is_divisible(&written, policy.ir()) {
            continue;
        }
        let mut ways = ways(&written, &policy.text);
        // Packets of both parts would be logged twice by rules that do not decide.
        ways.retain(|w| {
            w.apart || written.rule.verdict.is_some() || written.rule.effects.log.is_none()
        });
        if ways.is_empty() {
            continue;
        }
        let way = ways.swap_remove(rng.usize(..ways.len()));
        let lines = way
            .texts
            .map(|text| part(&written, &policy.text, way.place, &text));
        let second = rename(&written, &lines[1]);
        let indent = indent(&policy.text, written.span.start);
        edits.replace(written.span, format!("{}\n{indent}{second}", lines[0]));
    }
    (!edits.is_empty()).then(|| edits.apply(&policy.text))
}

/// Whether two rules in its place can do what it does: not when it has a bucket or turns of its own,
/// or a name that is seen.
fn is_divisible(written: &Written, ir: &Ir) -> bool {
    let rule = written.rule;
    let log = rule.effects.log.as_ref();
    let own = |id: usize| ir.buckets[id].name.starts_with(&*rule.name);
    rule.limits.is_empty()
        && log.is_none_or(|log| log.text.is_some() && !log.at.is_some_and(own))
        && !written.tree.clauses.iter().any(|c| match &c.node {
            Clause::Target { targets, balance } => {
                balance
                    .as_ref()
                    .is_some_and(|b| b.node == Balance::RoundRobin)
                    || targets.iter().any(|t| matches!(t.node, Target::Net(..)))
            }
            _ => false,
        })
}

/// The rule with another text at a place in it.
fn part(written: &Written, text: &str, place: Span, new: &str) -> String {
    let head = Span {
        end: place.start,
        ..written.span
    };
    let tail = Span {
        start: place.end,
        ..written.span
    };
    format!("{}{new}{}", slice(text, head), slice(text, tail))
}

/// A rule under another name.
fn rename(written: &Written, line: &str) -> String {
    match line.rfind(" as ") {
        Some(at) if written.name().is_some() => {
            let name = line[at + 4..].split_whitespace().next().unwrap();
            line.replacen(&format!(" as {name}"), &format!(" as {name}-b"), 1)
        }
        _ => line.to_owned(),
    }
}

/// Every way to split a rule.
fn ways(written: &Written, text: &str) -> Vec<Halves> {
    let mut out = Vec::new();
    let tree = written.tree;
    list(&tree.services, text, &mut out);
    for service in &tree.services {
        ports(service, tree.services.len() == 1, text, &mut out);
    }
    let mut only = false;
    for clause in &tree.clauses {
        match &clause.node {
            Clause::From(ends) | Clause::To(ends) if !ends.not => self::ends(ends, text, &mut out),
            Clause::When(expr) => alternatives(expr, text, &mut out),
            Clause::Only(_) => only = true,
            _ => {}
        }
    }
    let both = written
        .rule
        .cubes
        .iter()
        .fold([false; 2], |[v4, v6], cube| {
            [v4 || cube.families.v4, v6 || cube.families.v6]
        });
    if !only && both == [true; 2] {
        let end = Span {
            start: written.span.end,
            end: written.span.end,
        };
        let texts = [" only v4", " only v6"].map(str::to_owned);
        out.push(Halves::new(end, texts, true));
    }
    out
}

/// One member of a list, and the rest of it.
fn list<T>(members: &[Spanned<T>], text: &str, out: &mut Vec<Halves>) {
    if let [first, second, ..] = members {
        let last = members.last().unwrap();
        let rest = Span {
            start: second.span.start,
            end: last.span.end,
        };
        let texts = [first.span, rest].map(|span| slice(text, span).to_owned());
        out.push(Halves::new(first.span.to(last.span), texts, false));
    }
}

/// The ports of a service one by one, and ranges of them in two.
fn ports(service: &Spanned<Service>, alone: bool, text: &str, out: &mut Vec<Halves>) {
    let Service::Proto {
        ports: Some(ports), ..
    } = &service.node
    else {
        return;
    };
    list(ports, text, out);
    for port in ports {
        if let Port::Range(first, last) = port.node
            && first < last
            && ports.len() == 1
        {
            let middle = first.midpoint(last);
            let [low, high] =
                [(first, middle), (middle + 1, last)].map(|(a, b)| format!("{a}-{b}"));
            out.push(Halves::new(port.span, [low, high], alone));
        }
    }
}

/// The ends of a list one by one, prefixes and ranges of a single one in two.
fn ends(ends: &Ends, text: &str, out: &mut Vec<Halves>) {
    list(&ends.list, text, out);
    let [only] = &ends.list[..] else { return };
    match &only.node {
        End::Body(body) => list(&body.elements, text, out),
        End::Addr(addr) => {
            if let Some(texts) = halves(*addr) {
                out.push(Halves::new(only.span, texts, true));
            }
        }
        _ => {}
    }
}

/// The lower and the upper half of some addresses.
fn halves(addr: AddrLit) -> Option<[String; 2]> {
    use std::net::IpAddr::{V4, V6};
    match addr {
        AddrLit::Prefix(V4(addr), len) if len < 32 => {
            let upper = u32::from(addr) | 1 << (31 - len);
            Some([
                format!("{addr}/{}", len + 1),
                format!("{}/{}", std::net::Ipv4Addr::from(upper), len + 1),
            ])
        }
        AddrLit::Prefix(V6(addr), len) if len < 128 => {
            let upper = u128::from(addr) | 1 << (127 - len);
            Some([
                format!("{addr}/{}", len + 1),
                format!("{}/{}", std::net::Ipv6Addr::from(upper), len + 1),
            ])
        }
        AddrLit::Range(V4(first), V4(last)) if first < last => {
            let next = std::net::Ipv4Addr::from(u32::from(first) + 1);
            Some([first.to_string(), format!("{next}-{last}")])
        }
        AddrLit::Range(V6(first), V6(last)) if first < last => {
            let next = std::net::Ipv6Addr::from(u128::from(first) + 1);
            Some([first.to_string(), format!("{next}-{last}")])
        }
        _ => None,
    }
}

/// The sides of an `or` that is not in parentheses.
fn alternatives(expr: &Spanned<Expr>, text: &str, out: &mut Vec<Halves>) {
    if let Expr::Or(left, right) = &expr.node {
        let or = Span {
            start: left.span.end,
            end: right.span.start,
        };
        // Parentheses around one side are no part of its place.
        if slice(text, or).trim() == "or" && slice(text, right.span).matches('(').count() == 0 {
            let texts = [left.span, right.span].map(|span| slice(text, span).to_owned());
            out.push(Halves::new(left.span.to(right.span), texts, false));
        }
    }
}

/// The policy with some rules twice, for other services or from elsewhere the second time: random
/// neighbours are seldom alike.
fn doubled(policy: &Compiled, rng: &mut Rng) -> String {
    let mut edits = Edits::default();
    for written in rules(&policy.file, policy.ir()) {
        let (tree, text) = (written.tree, &policy.text);
        let bound = |c: &Spanned<Clause>| !is_free(&c.node);
        if tree.clauses.iter().any(bound) || !is_divisible(&written, policy.ir()) || rng.bool() {
            continue;
        }
        let (mut services, mut clauses) = (
            span(&tree.services).map_or("", |s| slice(text, s)),
            String::new(),
        );
        let elsewhere = rng.bool();
        for clause in &tree.clauses {
            match &clause.node {
                Clause::As(_) | Clause::Meta(_) => {}
                Clause::From(ends) if elsewhere && !ends.not => {
                    clauses.push_str(" from 10.0.0.6, fd00::6");
                }
                _ => clauses = format!("{clauses} {}", slice(text, clause.span)),
            }
        }
        if !elsewhere && !services.is_empty() {
            services = ["udp/1024-65535", "tcp/8080", "esp, gre", "icmp"][rng.usize(..4)];
        }
        let services = format!(" {services}");
        let (verb, indent) = (tree.verb.node.word(), indent(text, written.span.start));
        edits.insert(
            written.span.end,
            format!("\n{indent}{verb}{}{clauses}", services.trim_end()),
        );
    }
    edits.apply(&policy.text)
}

/// Whether a clause goes with every service.
fn is_free(clause: &Clause) -> bool {
    let bound = matches!(
        clause,
        Clause::Target { .. }
            | Clause::Via(_)
            | Clause::ViaTable(_)
            | Clause::With(_)
            | Clause::When(_)
    );
    !bound
}

/// Joins neighbours that differ only in their services, or only in where they are from.
fn merge(policy: &Compiled, _: &mut Rng) -> Option<String> {
    let mut edits = Edits::default();
    for body in bodies(&policy.file) {
        let mut at = 0;
        while let Some([first, second]) = body.get(at..at + 2) {
            at += 1;
            if let Some(text) = joined([first, second], policy) {
                edits.replace(first.span.to(second.span), text);
                at += 1;
            }
        }
    }
    (!edits.is_empty()).then(|| edits.apply(&policy.text))
}

fn joined([first, second]: [&Spanned<Stmt>; 2], policy: &Compiled) -> Option<String> {
    let (ir, text) = (policy.ir(), &policy.text);
    let (x, y) = (Written::of(first, ir)?, Written::of(second, ir)?);
    let quiet = |w: &Written| w.rule.verdict.is_some() || w.rule.effects.log.is_none();
    if x.tree.verb != y.tree.verb || ![x, y].iter().all(|w| is_divisible(w, ir) && quiet(w)) {
        return None;
    }
    if matches!(
        x.rule.verdict,
        Some(Verdict::Proxy(_) | Verdict::Route { .. })
    ) {
        return None;
    }
    let services = [x, y].map(|w| w.tree.services.clone());
    let mut clauses = [x, y].map(|w| w.tree.clauses.clone());
    for list in &mut clauses {
        list.retain(|c| !matches!(c.node, Clause::As(_) | Clause::Meta(_)));
    }
    // The second one's alternatives go behind the first one's.
    let (place, added) = if clauses[0] == clauses[1] {
        (span(&services[0])?, span(&services[1])?)
    } else if services[0] == services[1] {
        let from = |list: &[Spanned<Clause>]| match list {
            [one] => match &one.node {
                Clause::From(ends) if !ends.not => span(&ends.list),
                _ => None,
            },
            _ => None,
        };
        (from(&clauses[0])?, from(&clauses[1])?)
    } else {
        return None;
    };
    let head = Span {
        end: place.end,
        ..first.span
    };
    let tail = Span {
        start: place.end,
        ..first.span
    };
    let [head, added, tail] = [head, added, tail].map(|span| slice(text, span));
    Some(format!("{head}, {added}{tail}"))
}

fn span<T>(list: &[Spanned<T>]) -> Option<Span> {
    Some(list.first()?.span.to(list.last()?.span))
}

#[test]
fn the_parts_of_a_rule_are_the_rule() {
    let trial = Trial {
        policies: 70,
        floor: 60,
        // A part may be one that no packet can be in.
        may_cause: &[Code::UnmatchableRule],
        moves_marks: true,
    };
    trial.run(split);
}

#[test]
fn rules_of_one_kind_are_one_rule() {
    let trial = Trial {
        policies: 60,
        floor: 60,
        may_cause: &[],
        moves_marks: false,
    };
    trial.run_on(doubled, merge, compare);
}

#[test]
fn a_part_that_is_left_out_is_missed() {
    let text = |rule| format!("to host {{ {rule} default deny }}");
    let whole = text("allow tcp/20-100 from 10.0.0.0/30");
    control(&whole, &text("allow tcp/20-99 from 10.0.0.0/30"));
    control(&whole, &text("allow tcp/20-100 from 10.0.0.0/31"));
    // A prefix is not two of its neighbours.
    control(
        &whole,
        &text("allow tcp/20-100 from 10.0.0.0/31, 10.0.0.4/31"),
    );
}
