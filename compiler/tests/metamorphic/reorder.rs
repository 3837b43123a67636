//! Order: rules that no packet tells apart change places, and definitions stand anywhere.

use std::collections::BTreeMap;

use fastrand::Rng;
use polc_compiler::ir::{Cube, Rule};
use polc_grammar::ast::{File, Item, TemplateNode};

use super::edit::{Edits, Written, bodies, slice};
use super::trial::{Compiled, Trial, control};

/// Exchanges as many pairs of neighbours as commute.
fn neighbours(policy: &Compiled, rng: &mut Rng) -> Option<String> {
    let ir = policy.ir();
    let mut edits = Edits::default();
    for body in bodies(&policy.file) {
        let mut at = 0;
        while let Some([first, second]) = body.get(at..at + 2) {
            at += 1;
            let (Some(x), Some(y)) = (Written::of(first, ir), Written::of(second, ir)) else {
                continue;
            };
            let placed = x.needs_its_place(ir) || y.needs_its_place(ir);
            if !placed
                && commute(x.rule, y.rule, x.only_decides() && y.only_decides())
                && rng.bool()
            {
                edits.replace(first.span, slice(&policy.text, second.span));
                edits.replace(second.span, slice(&policy.text, first.span));
                at += 1;
            }
        }
    }
    (!edits.is_empty()).then(|| edits.apply(&policy.text))
}

/// Whether no packet meets both rules, or those that do fare the same with either.
fn commute(x: &Rule, y: &Rule, only_decide: bool) -> bool {
    let alike = only_decide && (&x.verdict, x.admit) == (&y.verdict, y.admit);
    // Whether a key is in a dynamic set may change between the two.
    let plain = |cube: &Cube| Cube {
        atoms: BTreeMap::default(),
        ..cube.clone()
    };
    let apart = |c: &Cube| {
        y.cubes
            .iter()
            .all(|d| plain(c).intersection(&plain(d)).is_none())
    };
    alike || x.cubes.iter().all(apart)
}

/// Puts definitions anywhere between the blocks, and blocks of other stages elsewhere.
fn items(policy: &Compiled, rng: &mut Rng) -> Option<String> {
    let items = &policy.file.items;
    let mut keys: Vec<u64> = items.iter().map(|_| rng.u64(..)).collect();
    // The blocks of a stage stay in their order.
    for stage in ["guard", "egress", "others"] {
        let of: Vec<usize> = (0..items.len())
            .filter(|at| list(&items[*at].node, &policy.file) == Some(stage))
            .collect();
        let mut sorted: Vec<u64> = of.iter().map(|at| keys[*at]).collect();
        sorted.sort_unstable();
        of.iter().zip(sorted).for_each(|(at, key)| keys[*at] = key);
    }
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|at| keys[*at]);
    let texts = order.iter().map(|at| slice(&policy.text, items[*at].span));
    let text: Vec<&str> = texts.collect();
    (!order.is_sorted()).then(|| text.join("\n"))
}

/// Which list an item adds to; `None` for a definition.
fn list(item: &Item, file: &File) -> Option<&'static str> {
    match item {
        Item::Guard(_) => Some("guard"),
        Item::Egress(_) => Some("egress"),
        Item::Steer(_) | Item::Section(_) | Item::Default(_) => Some("others"),
        Item::Apply(apply) => {
            let mut templates = file.items.iter().filter_map(|item| match &item.node {
                Item::Template(template) => Some(template),
                _ => None,
            });
            let template = templates.find(|t| t.name == apply.name).unwrap();
            let TemplateNode::Item(item) = &template.body[0].node else {
                return Some("others");
            };
            list(item, file)
        }
        _ => None,
    }
}

#[test]
fn neighbours_that_commute_change_places() {
    let trial = Trial {
        policies: 80,
        floor: 50,
        may_cause: &[],
        moves_marks: true,
    };
    trial.run(neighbours);
}

#[test]
fn definitions_and_blocks_stand_anywhere() {
    let trial = Trial {
        policies: 50,
        floor: 90,
        may_cause: &[],
        moves_marks: false,
    };
    trial.run(items);
}

#[test]
fn rules_that_overlap_do_not_commute() {
    let text = |rules| format!("to host {{ {rules} default deny }}");
    let (allow, deny) = ("allow tcp/20-100", "deny tcp/80-200");
    control(
        &text(format!("{allow} {deny}")),
        &text(format!("{deny} {allow}")),
    );
    // The same verdict, but a packet of both takes a token only of the first.
    let (a, b) = (
        "allow tcp/80 within 1/h burst 1 as a",
        "allow tcp/80 from 10.0.0.0/8 as b",
    );
    let (before, after) = (text(format!("{b} {a}")), text(format!("{a} {b}")));
    let log = |text: &str| text.replace("as a", "log \"a\" as a");
    control(&log(&before), &log(&after));
}
