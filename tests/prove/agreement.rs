//! On random policies, whatever is proven is confirmed by the interpreter on random packets, and
//! whatever is refuted is refuted by a packet that the interpreter judges so.

use polc_compiler::analyse::model::Model;
use polc_compiler::analyse::prove::{Effort, Proof, Prover, describe};
use polc_compiler::analyse::ways::Class;
use polc_compiler::ir::{Cube, Ir, Stage};
use polc_compiler::{Compilation, Files, Options, compile};
use polc_generator::{Feature, Shape, valid_policy};

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &str) -> std::io::Result<String> {
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

const CLASSES: [Class; 10] = [
    Class::Allow,
    Class::Deny,
    Class::Reject,
    Class::Direct,
    Class::Redirect,
    Class::Dnat,
    Class::Proxy,
    Class::Route,
    Class::Snat,
    Class::Masquerade,
];

/// Packets to make claims about: all, and those of some rules of filter.
fn subjects(ir: &Ir) -> Vec<Vec<Cube>> {
    let rules = ir.stage(Stage::Filter).iter().step_by(3);
    let mut subjects = vec![vec![Cube::any()]];
    subjects.extend(rules.map(|r| r.cubes.clone()).take(4));
    subjects
}

#[derive(Default, Debug)]
struct Tally {
    proven: u32,
    fails: u32,
    vacuous: u32,
    unknown: u32,
}

#[test]
fn proofs_agree_with_the_interpreter() {
    let number = |name: &str, otherwise| {
        let given = std::env::var(name).ok();
        given.and_then(|n| n.parse().ok()).unwrap_or(otherwise)
    };
    let (count, first) = (number("POLC_POLICIES", 40), number("POLC_SEED", 1));
    let effort = Effort {
        samples: 500,
        pieces: 200_000,
    };
    let shape = Shape::default().with(Feature::Stateless);
    let mut tally = Tally::default();
    for seed in first..first + count {
        let draw = valid_policy(seed, &shape, |text| compiled(text).ir.is_some());
        let text = draw.expect("a policy that compiles").text;
        let compilation = compiled(&text);
        let ir = compilation.ir.as_ref().expect("it compiles");
        let model = Model::new(&compilation.policy, ir);
        let Ok(prover) = Prover::new(&model, effort) else {
            tally.unknown += 1;
            continue;
        };
        for cubes in subjects(ir) {
            for class in CLASSES {
                for (kind, proof) in [
                    ("ensure", prover.ensure(class, &cubes)),
                    ("never", prover.never(class, &cubes)),
                ] {
                    match proof {
                        Proof::Proven => tally.proven += 1,
                        Proof::Fails(_) => tally.fails += 1,
                        Proof::Vacuous => tally.vacuous += 1,
                        Proof::Unknown(_) => tally.unknown += 1,
                        Proof::Defect(shown) => panic!(
                            "seed {seed}: {kind} {} {cubes:?}\nway {:?}\n{}\n{text}",
                            class.verb(),
                            shown.way,
                            describe(&shown, ir, &compilation.sources),
                        ),
                    }
                }
            }
        }
    }
    println!("{tally:?}");
    assert!(tally.proven > 100 && tally.fails > 100, "{tally:?}");
}
