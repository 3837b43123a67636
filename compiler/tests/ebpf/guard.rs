//! Guards.

use std::collections::BTreeMap;

use fastrand::Rng;
use polc_compiler::interpret::frame::{Frame, FrameError, Link, parse};
use polc_compiler::interpret::{Place, State, judge};
use polc_compiler::ir::{Ir, Stage};
use polc_compiler::packet::Pattern;
use polc_compiler::target::{
    self,
    ebpf::{self, Hook},
};
use polc_compiler::{Compilation, Files, Options, compile};
use polc_generator::{Feature, Shape, valid_policy};

use super::frames::{Pools, frame};
use super::kernel::{Loaded, possible};

/// No file can be read.
struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _path: &str) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

pub(crate) fn compiled(text: &str) -> Compilation {
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

fn shape(rules: usize) -> Shape {
    let shape = Shape {
        guard: rules,
        steer: 0,
        filter: 0,
        sections: 0,
        egress: 0,
        ..Shape::default()
    };
    let without = [
        Feature::Dynamic,
        Feature::Rates,
        Feature::Marks,
        Feature::Logs,
        Feature::Notrack,
    ];
    without.into_iter().fold(shape, Shape::without)
}

/// Whether the interpreter lets a frame pass guard.
fn passes(ir: &Ir, iface: &str, bytes: &[u8]) -> bool {
    let parsed = match parse(&Frame::whole(Link::Ethernet, bytes)) {
        Ok(parsed) => parsed,
        Err(FrameError::NotIp { .. }) => return true,
        Err(_) => return false,
    };
    let packet = parsed.packet(Place::Iface(iface.into()), Place::Host);
    let mut state = State::oracle(Vec::<bool>::new(), BTreeMap::new());
    let decision = judge(ir, &packet, &mut state, 0);
    decision.by.is_none_or(|id| id.stage != Stage::Guard)
}

/// A name that a program is for.
fn name_of(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Name(name) => name.clone(),
        Pattern::Prefix(prefix) => format!("{prefix}~"),
    }
}

#[test]
fn guards_in_the_kernel_judge_like_the_interpreter() {
    if !possible() {
        return;
    }
    let (policies, packets) = (number("POLC_POLICIES", 40), number("POLC_PACKETS", 2_000));
    let mut rng = Rng::with_seed(number("POLC_SEED", 1));
    let (mut judged, mut dropped, mut verified) = (0u64, 0u64, 0);
    for _ in 0..policies {
        let shape = shape(if rng.bool() { 8 } else { 40 });
        let able = |text: &str| {
            let made = compiled(text);
            let guard = |ir: &Ir| {
                ebpf::guard(ir, &made.sources, Hook::Xdp, &target::Options::default()).is_ok()
            };
            made.ir
                .as_ref()
                .is_some_and(|ir| !ir.guard.is_empty() && guard(ir))
        };
        let text = valid_policy(rng.u64(..), &shape, able).unwrap().text;
        let made = compiled(&text);
        let ir = made.ir.unwrap();
        let hook = if rng.bool() { Hook::Xdp } else { Hook::Ingress };
        let guard = ebpf::guard(&ir, &made.sources, hook, &target::Options::default()).unwrap();
        let programs: Vec<(&str, &Pattern)> = guard
            .programs
            .iter()
            .filter_map(|program| Some((program.name.as_deref()?, &program.pattern)))
            .collect();
        let loaded = Loaded::new(&guard.object, programs.iter().map(|(name, _)| *name));
        verified = verified.max(loaded.verified);
        let pools = Pools::of(&ir.guard);
        for at in 0..packets {
            let (name, pattern) = programs[rng.usize(..programs.len())];
            let iface = name_of(pattern);
            let bytes = frame(&mut rng, &pools);
            let expected = passes(&ir, &iface, &bytes);
            let Some(got) = loaded.passes(name, &bytes) else {
                assert_eq!(hook, Hook::Ingress);
                continue;
            };
            assert_eq!(
                got,
                expected,
                "packet {at} of {hook:?}, in {iface}: {bytes:02x?}\n{:?}\n{text}\n{}",
                parse(&Frame::whole(Link::Ethernet, &bytes)),
                guard.listing
            );
            judged += 1;
            dropped += u64::from(!got);
        }
    }
    eprintln!(
        "{policies} policies, {judged} frames, {dropped} dropped, 0 mismatches; the verifier \
         looked at up to {verified} instructions"
    );
    assert!(dropped > judged / 10 && dropped < judged * 9 / 10);
}
