//! Guards.

use std::collections::BTreeMap;
use std::sync::Arc;

use fastrand::Rng;
use polc_compiler::diagnostic::Diagnostic;
use polc_compiler::field::{DPORT, META_LENGTH, SPORT};
use polc_compiler::interpret::frame::{Frame, FrameError, Link, parse};
use polc_compiler::interpret::{Place, State, judge};
use polc_compiler::ir::{Balance, Ir, Rate, Rule, Stage, TimeUnit, Verdict};
use polc_compiler::packet::Pattern;
use polc_compiler::target::{
    self,
    ebpf::{self, Attached, Hook, Programs},
};
use polc_compiler::{Compilation, Files, Options, compile};
use polc_generator::{Feature, Shape, valid_policy};

use super::frames::{Pools, either, frame, time};
use super::kernel::{Entry, LEAST, Loaded, names, possible, program_for};

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

pub(crate) fn number(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name).ok();
    given
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

fn shape(rules: usize, hook: Hook) -> Shape {
    let shape = Shape {
        guard: rules,
        steer: 0,
        filter: 0,
        sections: 0,
        egress: 0,
        ..Shape::default()
    };
    let shape = shape.without(Feature::Marks);
    match hook {
        Hook::Xdp => shape.without(Feature::Notrack),
        _ => shape,
    }
}

/// Makes of a policy one to which it makes no difference how late it is: tokens come by the day, and
/// what is idle stays so long. Buckets, sets and their tables are so small that packets find them
/// empty and full. Nor is anything left to chance: targets go by the source.
pub(crate) fn timeless(ir: &mut Ir, rng: &mut Rng) {
    for bucket in &mut ir.buckets {
        bucket.rate = Rate::Packets {
            count: rng.u64(1..4),
            per: TimeUnit::Day,
            burst: rng.u64(0..20),
        };
        bucket.idle = None;
        bucket.max = rng.bool().then(|| rng.u32(1..6));
    }
    for set in &mut ir.dynamic {
        set.idle = (set.initial.is_empty() && rng.bool()).then_some(86_400_000);
        let first = set.initial.v4.count() + set.initial.v6.count();
        let first = u32::try_from(first).unwrap_or(u32::MAX);
        set.max = rng.bool().then(|| first.saturating_add(rng.u32(1..6)));
    }
    for rule in ir.steer.iter_mut().chain(&mut ir.egress) {
        if let Some(Verdict::Dnat(nat) | Verdict::Snat(nat)) = &mut rule.verdict
            && nat.balance == Some(Balance::Random)
        {
            nat.balance = Some(Balance::Source);
        }
    }
}

/// What guard does with a packet.
#[derive(Debug, PartialEq, Eq)]
struct Judged {
    passes: bool,
    /// The numbers of the rules that log it.
    logged: Vec<u32>,
}

/// What the interpreter does with a frame.
fn judged(
    ir: &Ir,
    (state, ids): (&mut State, &BTreeMap<Arc<str>, u32>),
    (iface, frame): (&str, &Frame),
) -> Judged {
    let unjudged = |passes| Judged {
        passes,
        logged: Vec::new(),
    };
    let parsed = match parse(frame) {
        Ok(parsed) => parsed,
        Err(FrameError::NotIp { .. }) => return unjudged(true),
        Err(_) => return unjudged(false),
    };
    let mut packet = parsed.packet(Place::Iface(iface.into()), Place::Host);
    packet.fields.extend(time());
    let decision = judge(ir, &packet, state, 0);
    let by_guard = decision.logged.iter().filter(|id| id.stage == Stage::Guard);
    Judged {
        passes: decision.by.is_none_or(|id| id.stage != Stage::Guard),
        logged: by_guard.map(|id| ids[&ir.guard[id.index].name]).collect(),
    }
}

/// A name that a program is for.
pub(crate) fn name_of(pattern: &Pattern) -> String {
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
    let (mut count, mut dropped, mut logged, mut verified) = (0u64, 0u64, 0, 0);
    let (mut maps, mut sets, mut bare) = (0, 0, 0u64);
    for _ in 0..policies {
        let hook = if rng.bool() { Hook::Xdp } else { Hook::Ingress };
        let shape = shape(if rng.bool() { 8 } else { 40 }, hook);
        let seed = rng.u64(..);
        let timeless = |ir: &Ir| {
            let mut ir = ir.clone();
            timeless(&mut ir, &mut Rng::with_seed(seed));
            ir
        };
        let able = |text: &str| {
            let made = compiled(text);
            let guard = |ir: &Ir| guarded(&timeless(ir), &made, hook).is_ok();
            made.ir
                .as_ref()
                .is_some_and(|ir| !ir.guard.is_empty() && guard(ir))
        };
        let text = valid_policy(rng.u64(..), &shape, able).unwrap().text;
        let made = compiled(&text);
        let ir = timeless(made.ir.as_ref().unwrap());
        let guard = guarded(&ir, &made, hook).unwrap();
        let asked = |entry: &&Attached| {
            let iface = name_of(&entry.pattern);
            let mut cubes = ir.guard.iter().flat_map(|rule| &rule.cubes);
            entry.name.is_some() && cubes.any(|cube| cube.ingress.ifaces.contains(&iface))
        };
        let programs = guard.programs.iter().filter(asked);
        let programs: Vec<&Attached> = programs.collect();
        let loaded = Loaded::new(&guard, names(&guard));
        verified = verified.max(loaded.verified);
        maps += guard.state.len();
        sets += guard.sets.len();
        let pools = Pools::of(&ir.guard);
        let mut state = State::new(&ir);
        for at in 0..packets {
            let entry = programs[rng.usize(..programs.len())];
            let iface = name_of(&entry.pattern);
            let bytes = frame(&mut rng, &pools);
            let frame = either(&mut rng, &bytes);
            let name = program_for(entry, &frame).unwrap();
            let Some(passes) = loaded.passes(name, frame.bytes) else {
                assert!(hook == Hook::Ingress || frame.length < LEAST);
                continue;
            };
            let entries = loaded.logged();
            let got = Judged {
                passes,
                logged: entries.iter().map(|entry| entry.id).collect(),
            };
            let expected = judged(&ir, (&mut state, &guard.log_ids), (&iface, &frame));
            assert_eq!(
                got,
                expected,
                "packet {at} of {hook:?}, in {iface}, by {name}: {bytes:02x?}\n{:?}\n{:?}\n{:?}\n{text}\n{}",
                parse(&frame),
                ir.buckets,
                ir.dynamic,
                guard.listing
            );
            for entry in entries {
                describes(&entry, &frame);
            }
            count += 1;
            dropped += u64::from(!got.passes);
            logged += got.logged.len();
            bare += u64::from(frame.link == Link::Raw);
        }
    }
    eprintln!(
        "{policies} policies with {maps} maps of state and {sets} tables of sets, {count} frames, {bare} of them without Ethernet \
         header, {dropped} dropped, {logged} log entries, 0 mismatches; the verifier looked at up to {verified} instructions"
    );
    assert!(dropped > count / 10 && dropped < count * 9 / 10);
    assert!(sets > 0 && bare > count / 10);
}

fn guarded(ir: &Ir, made: &Compilation, hook: Hook) -> Result<Programs, Vec<Diagnostic>> {
    let options = target::Options {
        large_set: large_set(&ir.guard),
        ..target::Options::default()
    };
    ebpf::guard(ir, &made.sources, hook, &options)
}

/// Every other policy has tables for all of its sets.
pub(crate) fn large_set(rules: &[Rule]) -> usize {
    if rules.len().is_multiple_of(2) {
        2
    } else {
        target::Options::default().large_set
    }
}

/// Whether a log entry is about a frame.
fn describes(entry: &Entry, frame: &Frame) {
    let parsed = parse(frame).unwrap();
    let packet = parsed.packet(Place::Host, Place::Host);
    let field = |field| packet.field(field).unwrap_or(0);
    let [_, family, protocol, _] = entry.numbers;
    assert_eq!(family == 4, packet.saddr.is_ipv4());
    assert_eq!(protocol, packet.proto);
    assert_eq!((entry.source, entry.dest), (packet.saddr, packet.daddr));
    assert_eq!(entry.ports.map(u64::from), [field(SPORT), field(DPORT)]);
    assert_eq!(u64::from(entry.bytes), field(META_LENGTH));
}

/// The repository's files.
struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> std::io::Result<String> {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        std::fs::read_to_string(std::path::Path::new(root).join(path))
    }
}

#[test]
fn a_front_line_with_everything_judges_like_the_interpreter() {
    if !possible() {
        return;
    }
    let options = Options {
        as_of: "2026-01-01".to_owned(),
        ..Options::default()
    };
    for path in [
        "policies/ddos.pol",
        "compiler/tests/ebpf/policies/front-line.pol",
    ] {
        front_line(path, &options);
    }
}

fn front_line(path: &str, options: &Options) {
    let made = compile(path, &Disk.read(path).unwrap(), &Disk, options);
    let ir = made.ir.as_ref().unwrap();
    let mut rng = Rng::with_seed(3);
    let pools = Pools::of(&ir.guard);
    for hook in [Hook::Xdp, Hook::Ingress] {
        let guard = guarded(ir, &made, hook).unwrap();
        let loaded = Loaded::new(&guard, names(&guard));
        let mut state = State::new(ir);
        let mut dropped = 0;
        for _ in 0..number("POLC_PACKETS", 2_000) {
            let bytes = frame(&mut rng, &pools);
            let frame = either(&mut rng, &bytes);
            let mut programs = guard.programs.iter();
            let program = programs.find_map(|attached| program_for(attached, &frame));
            let Some(passes) = loaded.passes(program.unwrap(), frame.bytes) else {
                continue;
            };
            let ids = &guard.log_ids;
            let expected = judged(ir, (&mut state, ids), ("eth0", &frame));
            assert_eq!(passes, expected.passes, "{bytes:02x?}");
            dropped += u32::from(!passes);
        }
        eprintln!(
            "{hook:?}: {dropped} dropped; the verifier looked at {} instructions",
            loaded.verified
        );
        assert!(dropped > 100);
    }
}
