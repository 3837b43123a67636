//! A sieve changes no decision.

use std::sync::Arc;

use polc_compiler::analyse::model::{Model, View};
use polc_compiler::interpret::{Sieve, State, judge};
use polc_compiler::ir::Stage;
use polc_compiler::packet::{Region, Values};
use polc_generator::{Shape, valid_policy};

use super::machine::compiled;

const POLICIES: u64 = 150;

/// The corners of a region: its smallest and its largest numbers.
fn corners(region: &Region) -> [Vec<u128>; 2] {
    let numbers = |pick: fn((u128, u128)) -> u128| {
        let bounds = region.dims().iter().map(Values::bounds);
        bounds.map(pick).collect()
    };
    [numbers(|b| b.0), numbers(|b| b.1)]
}

#[test]
fn decisions_are_the_same_with_a_sieve_and_without() {
    let mut judged = 0;
    for seed in 0..POLICIES {
        let draw = valid_policy(seed, &Shape::default(), |text| compiled(text).ir.is_some());
        let compilation = compiled(&draw.unwrap().text);
        let ir = compilation.ir.as_ref().unwrap();
        let model = Model::new(&compilation.policy, ir);
        let sieve = Arc::new(Sieve::new(ir));
        for stage in Stage::ALL {
            let lines = model.lines(View::of(stage)).unwrap();
            let regions = lines.iter().flat_map(|line| &line.regions);
            for point in regions.flat_map(corners) {
                let witness = model.witness(&point);
                let mut plain = State::oracle(witness.within.clone(), witness.members.clone());
                let mut quick = plain.clone();
                quick.sieve = Some(Arc::clone(&sieve));
                let slow = judge(ir, &witness.packet, &mut plain, 0);
                assert_eq!(judge(ir, &witness.packet, &mut quick, 0), slow);
                judged += 1;
            }
        }
    }
    assert!(judged > 10_000, "{judged} packets are too few");
}
