//! A comparison with everything that is known, for programs.

use polc_compiler::analyse::diff::{Change, Decider, Example, Kind};
use polc_compiler::analyse::model::Dim;
use polc_compiler::interpret::{Outcome, Place};
use polc_compiler::packet::Region;
use serde_json::{Map, Value, json};

use super::report::{Report, fields, sourced};

pub(super) fn render(report: &Report) -> Result<String, serde_json::Error> {
    let diff = report.diff;
    let kinds = Kind::ALL.into_iter().map(|kind| {
        let count = diff.count(kind).map(|n| n.to_string());
        let changes = report.of(kind);
        json!({
            "class": kind.word(),
            "packets": count,
            "changes": changes.iter().map(|c| change(report, c)).collect::<Vec<_>>(),
        })
    });
    let pairs = |list: &[(std::sync::Arc<str>, std::sync::Arc<str>)]| -> Vec<Value> {
        list.iter()
            .map(|(old, new)| json!({ "from": **old, "to": **new }))
            .collect()
    };
    let annotated: Vec<&str> = diff.annotated.iter().map(AsRef::as_ref).collect();
    let value = json!({
        "equal": diff.is_equal(),
        "unknown": report.unknown(),
        "classes": kinds.collect::<Vec<_>>(),
        "renamed": pairs(&diff.renamed),
        "annotated": annotated,
    });
    Ok(format!("{}\n", serde_json::to_string_pretty(&value)?))
}

fn change(report: &Report, change: &Change) -> Value {
    let words = report.words();
    let boxes = change.boxes.iter().map(
        |region| json!({ "text": words.region(region), "dimensions": dimensions(report, region) }),
    );
    let side = |side: usize| {
        let (outcome, _) = report.fate(change, side);
        let deciders = change.rules.get(side).into_iter().flatten();
        json!({
            "outcome": outcome,
            "by": deciders.map(|by| decider(report, *by, side)).collect::<Vec<_>>(),
        })
    };
    json!({
        "packets": change.count.as_ref().map(ToString::to_string),
        "before": side(0),
        "after": side(1),
        "boxes": boxes.collect::<Vec<_>>(),
        "examples": change.witnesses.iter().map(|e| example(report, change, e)).collect::<Vec<_>>(),
    })
}

fn decider(report: &Report, by: Decider, side: usize) -> Value {
    let [old, new] = report.sides;
    let (compilation, ir) = if side == 0 { old } else { new };
    let rule = match by {
        Decider::Rule(id) => id.of(ir).map(|rule| (id, rule)),
        _ => None,
    };
    match rule {
        Some((id, rule)) => json!({
            "rule": *rule.name,
            "stage": id.stage.name(),
            "place": compilation.sources.describe(rule.span),
        }),
        None => json!({ "fact": report.decider(by, side) }),
    }
}

/// The ranges of every dimension that is not full.
fn dimensions(report: &Report, region: &Region) -> Value {
    let space = &report.diff.space;
    let family = space.family(region);
    let mut out = Map::new();
    for dim in &space.dims {
        let Some(values) = space.values(region, dim) else {
            continue;
        };
        if *values == space.full(dim, family) {
            continue;
        }
        let ranges = values.ranges().into_iter();
        let ranges = ranges.map(|(first, last)| json!([first.to_string(), last.to_string()]));
        out.insert(name(report, dim), ranges.collect());
    }
    Value::Object(out)
}

fn name(report: &Report, dim: &Dim) -> String {
    match dim {
        Dim::Field(field) => field.name().to_owned(),
        Dim::Header(header) => format!("header {header:?}").to_lowercase(),
        Dim::Member(set, dest) => {
            format!("{} in @{set}", if *dest { "destination" } else { "source" })
        }
        Dim::Principal(kind) => format!("{kind:?}").to_lowercase(),
        Dim::Cgroup(path) => format!("cgroup {path}"),
        Dim::Tokens(at) => {
            let space = &report.diff.space;
            let name = space.buckets.get(*at).map_or("?", |b| &b.name);
            let word = if space.is_shared(*at) {
                "tokens in"
            } else {
                "within"
            };
            format!("{word} {name}")
        }
        Dim::Choice(at) => format!("choice {at}"),
        dim => format!("{dim:?}").to_lowercase(),
    }
}

fn example(report: &Report, change: &Change, example: &Example) -> Value {
    let packet = &example.witnesses[1].packet;
    let place = |place: &Place| match place {
        Place::Host => "host".to_owned(),
        Place::Iface(name) => name.to_string(),
    };
    let decisions = example.decisions.iter().map(|decision| {
        json!({
            "outcome": match decision.outcome {
                Outcome::Allow => "allow",
                Outcome::Deny => "deny",
                Outcome::Reject(_) => "reject",
            },
            "steered": decision.steered.map(|s| format!("{s:?}")),
            "source": sourced(decision.sourced),
            "mark": decision.mark,
        })
    });
    let fields: Map<String, Value> = fields(packet)
        .map(|(field, value)| (field.name().to_owned(), value.into()))
        .collect();
    json!({
        "test": report.test_line(change, example),
        "packet": {
            "in": place(&packet.ingress),
            "out": place(&packet.egress),
            "source": packet.saddr.to_string(),
            "destination": packet.daddr.to_string(),
            "protocol": packet.proto,
            "fields": fields,
        },
        "decisions": decisions.collect::<Vec<_>>(),
    })
}
