//! The IR as text: one rule a line, cubes indented below when there are several.

use std::fmt::Write as _;

use super::{
    Bucket, Cube, Effects, Ir, Key, KeyKind, Limit, Nat, NatTarget, Rate, Rule, Sense, Side, Stage,
    TimeUnit, Verdict,
};
use crate::field::{Field, Format};
use crate::ir::{Atom, cube};
use crate::packet::{Families, IntervalSet};

/// The whole policy.
pub fn print(ir: &Ir) -> String {
    let mut out = format!("policy {} as of {}\n", ir.name, ir.as_of);
    let governs = [
        (ir.governs.input, "input"),
        (ir.governs.forward, "forward"),
        (ir.governs.output, "output"),
    ];
    let words: Vec<&str> = governs
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, w)| *w)
        .collect();
    line(
        &mut out,
        &format!(
            "governs {}",
            if words.is_empty() {
                "nothing".into()
            } else {
                words.join(", ")
            }
        ),
    );
    for (on, word) in [
        (ir.strict_icmp, "strict icmp"),
        (ir.strict_tcp, "strict tcp"),
    ] {
        if on {
            line(&mut out, word);
        }
    }
    for proxy in &ir.proxies {
        let bypass: Vec<String> = proxy.bypass.iter().map(print_cube).collect();
        line(
            &mut out,
            &format!(
                "proxy {} tcp={} udp={} v4={:?} v6={:?} mark {:#x}/{:#x} table {} down {:?} bypass [{}]",
                proxy.name,
                proxy.tcp,
                proxy.udp,
                proxy.v4,
                proxy.v6,
                proxy.mark.value,
                proxy.mark.mask,
                proxy.table,
                proxy.down,
                bypass.join("; ")
            ),
        );
    }
    for set in &ir.dynamic {
        line(
            &mut out,
            &format!(
                "dynamic @{} {} {} idle={:?} max={:?}",
                set.name,
                key_word(set.key),
                set.initial,
                set.idle,
                set.max
            ),
        );
    }
    for bucket in &ir.buckets {
        line(&mut out, &format!("bucket {}", print_bucket(bucket)));
    }
    for stage in Stage::ALL {
        print_stage(&mut out, ir, stage);
    }
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn print_stage(out: &mut String, ir: &Ir, stage: Stage) {
    if ir.stage(stage).is_empty() {
        return;
    }
    line(out, &format!("\n{}", stage.name()));
    for rule in ir.stage(stage) {
        let head = print_head(ir, rule);
        match rule.cubes.as_slice() {
            [cube] => line(out, &format!("  {head}  [{}]", print_cube(cube))),
            cubes => {
                line(out, &format!("  {head}"));
                for cube in cubes {
                    line(out, &format!("    | [{}]", print_cube(cube)));
                }
            }
        }
    }
}

fn print_head(ir: &Ir, rule: &Rule) -> String {
    let mut text = format!("{}: ", rule.name);
    text.push_str(
        &rule
            .verdict
            .as_ref()
            .map_or_else(|| "match".to_owned(), |v| print_verdict(ir, v)),
    );
    if rule.admit {
        text.push_str(" and allow");
    }
    for limit in &rule.limits {
        text.push_str(&print_limit(ir, limit));
    }
    text.push_str(&print_effects(ir, &rule.effects));
    text
}

fn bucket_name(ir: &Ir, index: usize) -> &str {
    ir.buckets.get(index).map_or("?", |b| &b.name)
}

fn print_limit(ir: &Ir, limit: &Limit) -> String {
    format!(
        " {} {}",
        sense_word(limit.sense),
        bucket_name(ir, limit.bucket)
    )
}

fn print_effects(ir: &Ir, effects: &Effects) -> String {
    let mut text = String::new();
    if let Some(log) = &effects.log {
        text.push_str(" log");
        if let Some(words) = &log.text {
            let _ = write!(text, " {words:?}");
        }
        if let Some(at) = log.at {
            let _ = write!(text, " at {}", bucket_name(ir, at));
        }
    }
    if effects.count {
        text.push_str(" count");
    }
    if let Some(mark) = effects.mark {
        let _ = write!(text, " mark {:#x}/{:#x}", mark.value, mark.mask);
    }
    if let Some(set) = effects.add {
        let _ = write!(
            text,
            " add @{}",
            ir.dynamic.get(set).map_or("?", |s| &s.name)
        );
    }
    text
}

fn print_verdict(ir: &Ir, verdict: &Verdict) -> String {
    match verdict {
        Verdict::Reject(kind) => format!("reject {kind:?}"),
        Verdict::Redirect { port: Some(port) } => format!("redirect :{port}"),
        Verdict::Dnat(nat) => format!("dnat {}", print_nat(nat)),
        Verdict::Snat(nat) => format!("snat {}", print_nat(nat)),
        Verdict::Proxy(index) => {
            format!("proxy {}", ir.proxies.get(*index).map_or("?", |p| &p.name))
        }
        Verdict::Route { table } => format!("route table {table}"),
        other => other.verb().to_owned(),
    }
}

fn print_nat(nat: &Nat) -> String {
    let targets: Vec<String> = nat
        .v4
        .iter()
        .chain(&nat.v6)
        .map(|target| match target {
            NatTarget::Addr(addr, None) => addr.to_string(),
            NatTarget::Addr(addr, Some(port)) => {
                std::net::SocketAddr::new(*addr, *port).to_string()
            }
            NatTarget::Prefix { from, to, len } => format!("{from}/{len} => {to}/{len}"),
        })
        .collect();
    let balance = nat
        .balance
        .map(|b| format!(" balance {b:?}"))
        .unwrap_or_default();
    format!("{}{balance}", targets.join(", "))
}

fn sense_word(sense: Sense) -> &'static str {
    match sense {
        Sense::Within => "within",
        Sense::Over => "over",
    }
}

fn key_word(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Source => "source",
        KeyKind::Dest => "dest",
        KeyKind::Pair => "pair",
    }
}

fn print_bucket(bucket: &Bucket) -> String {
    let rate = match bucket.rate {
        Rate::Packets { count, per, burst } => format!("{count}/{} burst {burst}", unit(per)),
        Rate::Bytes { count, burst } => format!("{count} bytes/s burst {burst}"),
        Rate::Flows { count } => format!("{count} flows"),
    };
    let key = bucket
        .key
        .map(|Key { kind, v4, v6 }| format!(" per {}/{v4},/{v6}", key_word(kind)));
    format!(
        "{} = {rate}{} max={:?} idle={:?} full {}",
        bucket.name,
        key.unwrap_or_default(),
        bucket.max,
        bucket.idle,
        sense_word(bucket.full)
    )
}

fn unit(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Minute => "min",
        TimeUnit::Hour => "h",
        TimeUnit::Day => "d",
    }
}

/// One cube: what it asks, separated by blanks; `any` when it asks nothing.
pub fn print_cube(cube: &Cube) -> String {
    let mut parts = Vec::new();
    match cube.families {
        Families::V4 => parts.push("v4".to_owned()),
        Families::V6 => parts.push("v6".to_owned()),
        _ => {}
    }
    parts.extend(print_side("from", &cube.ingress));
    parts.extend(print_side("to", &cube.egress));
    for (word, set) in [
        ("saddr", &cube.saddr),
        ("daddr", &cube.daddr),
        ("original", &cube.original),
    ] {
        if !set.is_full() {
            parts.push(format!("{word} {set}"));
        }
    }
    if cube.proto != cube::protocols() {
        let names = Format::Names(crate::field::PROTOCOLS);
        parts.push(format!("proto {}", values(&cube.proto, names)));
    }
    for (field, set) in &cube.fields {
        parts.push(format!("{} {}", field.name(), field_values(*field, set)));
    }
    for (atom, answer) in &cube.atoms {
        let not = if *answer { "" } else { "not " };
        parts.push(match atom {
            Atom::Dynamic { set, dest } => {
                format!(
                    "{not}{} in dynamic {set}",
                    if *dest { "daddr" } else { "saddr" }
                )
            }
            Atom::Principal(kind, name) => format!("{not}by {kind:?} {name}"),
        });
    }
    if parts.is_empty() {
        "any".to_owned()
    } else {
        parts.join(" ")
    }
}

fn print_side(word: &str, side_of: &Side) -> Option<String> {
    (!side_of.is_any()).then(|| format!("{word} ({})", side(side_of)))
}

/// One end of a packet's way: the host, interfaces, or either.
pub fn side(side: &Side) -> String {
    let mut names = Vec::new();
    if side.host {
        names.push("host".to_owned());
    }
    if !side.ifaces.is_empty() {
        names.push(side.ifaces.to_string());
    }
    names.join(" | ")
}

/// The values that a field may have, in the way that is shorter.
pub fn field_values(field: Field, set: &IntervalSet<u64>) -> String {
    let rest = set.complement_below(field.largest());
    if rest.count() < set.count() && !rest.is_empty() {
        format!("not {}", values(&rest, field.def().format))
    } else {
        values(set, field.def().format)
    }
}

/// Values of a field of that format.
pub fn values(set: &IntervalSet<u64>, format: Format) -> String {
    let value = |n: u64| match format {
        Format::Hex => format!("{n:#x}"),
        Format::Names(names) => names
            .iter()
            .find(|(_, v)| *v == n)
            .map_or_else(|| n.to_string(), |(name, _)| (*name).to_owned()),
        Format::Bits(names) => {
            let words: Vec<&str> = names
                .iter()
                .filter(|(_, bit)| n & bit != 0)
                .map(|(name, _)| *name)
                .collect();
            if words.is_empty() {
                "none".to_owned()
            } else {
                words.join("+")
            }
        }
        _ => n.to_string(),
    };
    let texts: Vec<String> = set
        .ranges()
        .iter()
        .flat_map(|(a, b)| match (a == b, format) {
            (true, _) => vec![value(*a)],
            (false, Format::Names(_) | Format::Bits(_)) if b - a < 16 => {
                (*a..=*b).map(value).collect()
            }
            _ => vec![format!("{}-{}", value(*a), value(*b))],
        })
        .collect();
    match texts.as_slice() {
        [one] => one.clone(),
        _ => format!("{{ {} }}", texts.join(", ")),
    }
}
