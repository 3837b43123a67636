//! Two engines, one answer: which rules of random policies are dead, by the regions of
//! `analyse::reach` and by binary decision diagrams over the bits of a packet, made from the IR
//! without the model; and every packet that the first one shows for a rule is decided by that rule.
//!
//! `POLC_POLICIES` says how many policies, `POLC_SEED` which.
//!
//! Left out is `to original`, which asks what steer does with a packet.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is wrong"
)]

mod encode;
mod judge;

use biodivine_lib_bdd::Bdd;
use encode::Encoder;
use polc_compiler::analyse::model::{Model, Source, View};
use polc_compiler::analyse::reach::{Reach, Redundant, RuleReach, Status, reach};
use polc_compiler::ir::{Ir, Rule, Stage};
use polc_compiler::{Compilation, Files, Options, compile};
use polc_generator::{Feature, Shape, valid_policy};

/// No file can be read.
struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _path: &str) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

fn compiled(text: &str) -> Compilation {
    let options = Options {
        as_of: "2026-01-01".to_owned(),
        ..Options::default()
    };
    compile("random.pol", text, &NoFiles, &options)
}

fn number(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name).ok();
    given
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

fn shape() -> Shape {
    Shape::default()
        .with(Feature::Stateless)
        .without(Feature::Original)
}

#[derive(Debug, Default)]
struct Totals {
    policies: u64,
    rules: u64,
    unmatchable: u64,
    unreachable: u64,
    jointly: u64,
    redundant: u64,
    unknown: u64,
    packets: u64,
}

#[test]
fn both_engines_find_the_same_dead_rules() {
    let (count, first) = (number("POLC_POLICIES", 2000), number("POLC_SEED", 1));
    let mut encoder = Encoder::new();
    let mut totals = Totals::default();
    for seed in first..first + count {
        let draw = valid_policy(seed, &shape(), |text| compiled(text).ir.is_some()).unwrap();
        let compilation = compiled(&draw.text);
        let ir = compilation.ir.as_ref().unwrap();
        let model = Model::new(&compilation.policy, ir);
        let found = reach(&model);
        for stage in Stage::ALL {
            let facts = facts(&model, stage);
            compare(
                &mut encoder,
                ir,
                stage,
                facts,
                &found,
                &mut totals,
                &draw.text,
            );
        }
        totals.packets += judge::check(&model, &found, seed, &draw.text);
        totals.policies += 1;
    }
    println!("{totals:#?}");
    assert!(
        totals.unreachable * 20 > totals.rules,
        "too few dead rules to tell anything"
    );
    // Nothing is claimed of stages where rules ask for an address at the other end than they add it.
    assert!(totals.unknown * 500 < totals.rules, "too much is unknown");
}

/// Whether facts of the language stand before the rules of a stage. What they mean is encoded
/// anew.
fn facts(model: &Model, stage: Stage) -> bool {
    // Of a stage that cannot be worked out, nothing is claimed.
    let lines = model.lines(View::of(stage)).unwrap_or_default();
    lines
        .iter()
        .any(|line| matches!(line.source, Source::Fact(_)))
}

fn compare(
    encoder: &mut Encoder,
    ir: &Ir,
    stage: Stage,
    facts: bool,
    found: &Reach,
    totals: &mut Totals,
    text: &str,
) {
    encoder.begin(ir, stage);
    let universe = encoder.universe();
    let matches: Vec<Bdd> = ir
        .stage(stage)
        .iter()
        .map(|rule| encoder.rule(ir, rule).and(&universe))
        .collect();
    let mut taken = if facts {
        encoder.unconditional_icmp()
    } else {
        encoder.nothing()
    };
    let rules: Vec<&RuleReach> = found.rules.iter().filter(|r| r.id.stage == stage).collect();
    assert_eq!(rules.len(), matches.len());
    for (at, (rule, own)) in ir.stage(stage).iter().zip(&matches).enumerate() {
        let left = own.and_not(&taken);
        let expected = match (own.is_false(), left.is_false(), rule.is_default) {
            (true, ..) => Status::Unmatchable,
            (_, true, true) => Status::Closed,
            (_, true, false) => Status::Unreachable,
            (_, false, _) => Status::Reached,
        };
        let reached = rules[at];
        totals.rules += 1;
        totals.unmatchable += u64::from(expected == Status::Unmatchable);
        totals.unreachable += u64::from(expected == Status::Unreachable);
        totals.jointly += u64::from(reached.blockers.len() > 1);
        if reached.status == Status::Unknown || reached.redundant == Redundant::Unknown {
            totals.unknown += 1;
        } else {
            assert_eq!(reached.status, expected, "{}\n{text}", rule.name);
            let removable = expected == Status::Reached
                && rule.limits.is_empty()
                && !rule.is_default
                && rule.verdict.is_some()
                && !changes(ir, stage, at, &left, &matches);
            totals.redundant += u64::from(removable);
            assert_eq!(
                reached.redundant == Redundant::Yes,
                removable,
                "{}\n{text}",
                rule.name
            );
        }
        if rule.verdict.is_some() {
            taken = taken.or(own);
        }
    }
}

/// Whether some of the packets that a rule decides come to something else without it.
fn changes(ir: &Ir, stage: Stage, at: usize, left: &Bdd, matches: &[Bdd]) -> bool {
    let mut left = left.clone();
    let rules = ir.stage(stage);
    for (later, own) in rules.iter().zip(matches).skip(at + 1) {
        if left.and(own).is_false() {
            continue;
        }
        if !same(ir, &rules[at], later) {
            return true;
        }
        left = left.and_not(own);
    }
    !left.is_false()
}

fn same(ir: &Ir, a: &Rule, b: &Rule) -> bool {
    let own_name =
        |r: &Rule| r.effects.count || r.effects.log.as_ref().is_some_and(|log| log.text.is_none());
    a.verdict == b.verdict
        && a.effects == b.effects
        && a.admit == b.admit
        && b.limits.is_empty()
        && !own_name(a)
        && ir.blocks[a.block].stateless == ir.blocks[b.block].stateless
}
