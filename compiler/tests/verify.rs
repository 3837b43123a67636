//! What the IR's verifier must find: each invariant, broken on purpose.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail loudly"
)]

use polc_compiler::diagnostic::Code;
use polc_compiler::field::DPORT;
use polc_compiler::ir::verify::verify;
use polc_compiler::ir::{Cube, Ir, Limit, Sense, Side, Verdict};
use polc_compiler::packet::{AddrSet, Families, IntervalSet};
use polc_compiler::{Files, Options, compile};

/// There are no files here.
struct NoFiles;

impl Files for NoFiles {
    fn read(&self, path: &str) -> std::io::Result<String> {
        Err(std::io::Error::other(path.to_owned()))
    }
}

/// Steer, filter and egress with a rule each, and the defaults.
fn sample() -> Ir {
    let text = "guard { default allow }\n\
                steer { dnat tcp/80 from wan to 192.0.2.1 => 10.0.0.1 as web }\n\
                zone wan = eth0\n\
                egress { masquerade from wan as nat }\n\
                to host { allow tcp/22 within 3/s as ssh  default deny }\n";
    let options = Options {
        as_of: "2026-01-01".to_owned(),
        ..Options::default()
    };
    let compilation = compile("sample.pol", text, &NoFiles, &options);
    assert_eq!(compilation.diagnostics, []);
    compilation.ir.unwrap()
}

/// What the verifier says of the sample after `spoil`.
fn found(spoil: impl FnOnce(&mut Ir)) -> Vec<String> {
    let mut ir = sample();
    spoil(&mut ir);
    let mut diagnostics = Vec::new();
    verify(&ir, &mut diagnostics);
    assert!(diagnostics.iter().all(|d| d.code == Code::Internal));
    diagnostics.into_iter().map(|d| d.title).collect()
}

/// The verifier finds exactly one thing, whose text ends so.
fn finds(ending: &str, spoil: impl FnOnce(&mut Ir)) {
    let found = found(spoil);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with(ending), "{found:?}");
}

#[test]
fn nothing_is_wrong_with_what_the_compiler_makes() {
    assert_eq!(found(|_| {}), [""; 0]);
}

#[test]
fn rules_have_names_and_cubes() {
    finds("its name is taken", |ir| {
        let first = ir.filter[0].name.clone();
        ir.filter[1].name = first;
    });
    finds("it has no cube", |ir| ir.filter[0].cubes.clear());
}

#[test]
fn indices_point_at_something() {
    let there = "it points at something that is not there";
    finds(there, |ir| {
        let (sense, bucket) = (Sense::Over, ir.buckets.len());
        ir.filter[0].limits.push(Limit { sense, bucket });
    });
    finds(there, |ir| ir.filter[0].effects.add = Some(0));
    finds(there, |ir| ir.filter[0].block = ir.blocks.len());
    finds(there, |ir| ir.steer[0].verdict = Some(Verdict::Proxy(0)));
}

#[test]
fn verdicts_belong_to_their_stage() {
    let other = "its verdict is of another stage";
    finds(other, |ir| ir.filter[0].verdict = Some(Verdict::Masquerade));
    finds(other, |ir| ir.guard[0].verdict = Some(Verdict::Direct));
    finds(other, |ir| ir.egress[0].verdict = Some(Verdict::Allow));
    finds("a default decides nothing", |ir| {
        ir.filter[1].verdict = None;
    });
}

#[test]
fn every_family_has_a_target() {
    finds("a family has no target of its own", |ir| {
        let Some(Verdict::Dnat(nat)) = &mut ir.steer[0].verdict else {
            return;
        };
        nat.v4.clear();
    });
}

#[test]
fn cubes_are_in_normal_form() {
    let normal = "a cube is empty or has addresses of a family that it lacks";
    finds(normal, |ir| ir.filter[0].cubes[0].saddr = AddrSet::empty());
    finds(normal, |ir| {
        ir.filter[0].cubes[0].families = Families::NONE;
    });
    finds("a field is asked of protocols that do not have it", |ir| {
        let any = Cube::any();
        ir.filter[0].cubes[0] = any.with_field(DPORT, &IntervalSet::one(22));
    });
    finds("a field has a value that does not exist", |ir| {
        let cube = &mut ir.filter[0].cubes[0];
        cube.fields.insert(DPORT, IntervalSet::one(70_000));
    });
}

#[test]
fn sides_are_those_that_the_stage_sees() {
    let unseen = "it asks for a side that its stage cannot see";
    finds(unseen, |ir| ir.guard[0].cubes[0].ingress = Side::any());
    finds(unseen, |ir| ir.steer[0].cubes[0].ingress.host = true);
    finds(unseen, |ir| ir.egress[0].cubes[0].egress = Side::any());
}
