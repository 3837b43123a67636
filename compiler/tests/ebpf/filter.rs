//! Filters: packets of all directions, their answers, and errors about them, in an order in which
//! flows come into being and go on.

use fastrand::Rng;
use polc_compiler::field::{ICMP_TYPE, IP_FRAGMENT, IP_TTL, META_PKTTYPE, TCP_FLAGS};
use polc_compiler::interpret::frame::{Frame, Link, Parsed, parse};
use polc_compiler::interpret::{Decision, Outcome, Packet, Place, State, judge, judge_related};
use polc_compiler::ir::Ir;
use polc_compiler::target::ebpf::{self, Hook, Programs};
use polc_compiler::{Compilation, target};
use polc_generator::{Feature, Shape, valid_policy};

use super::frames::{Pools, answer, either, error_about, frame, pick, time};
use super::guard::{compiled, large_set, name_of, number, timeless};
use super::kernel::{Loaded, names, possible, program_for};

fn shape(rules: usize) -> Shape {
    let shape = Shape {
        guard: 0,
        steer: 0,
        filter: rules,
        egress: 0,
        ..Shape::default()
    };
    [Feature::Senders].into_iter().fold(shape, Shape::without)
}

fn built(ir: &Ir, made: &Compilation) -> Option<Programs> {
    let options = target::Options {
        flows: 4096,
        large_set: large_set(&ir.filter),
        ..target::Options::default()
    };
    ebpf::filter(ir, &made.sources, &options).ok()
}

/// A way through the machine.
#[derive(Clone, Debug)]
enum Way {
    /// In by an interface, by the number of its class.
    In(usize),
    Out(usize),
    Through(usize, usize),
}

impl Way {
    fn random(rng: &mut Rng, classes: &[usize]) -> Self {
        let (one, other) = (pick(rng, classes), pick(rng, classes));
        match rng.u8(..3) {
            0 => Self::In(one),
            1 => Self::Out(one),
            _ => Self::Through(one, other),
        }
    }

    fn back(&self) -> Self {
        match *self {
            Self::In(class) => Self::Out(class),
            Self::Out(class) => Self::In(class),
            Self::Through(from, to) => Self::Through(to, from),
        }
    }
}

/// The number of the interface that stands for a class.
fn index_of(class: usize) -> u32 {
    1000 + u32::try_from(class).unwrap()
}

/// A policy in the kernel, and in the interpreter.
struct Bench<'b> {
    ir: &'b Ir,
    programs: &'b Programs,
    loaded: Loaded,
    names: Vec<String>,
    state: State,
}

impl<'b> Bench<'b> {
    fn new<'n>(ir: &'b Ir, programs: &'b Programs, names: impl Iterator<Item = &'n str>) -> Self {
        let mut loaded = Loaded::new(programs, names);
        for (class, (_, number)) in programs.classes.iter().enumerate() {
            loaded.set_interface(index_of(class), u32::try_from(*number).unwrap());
        }
        Self {
            ir,
            programs,
            loaded,
            names: programs.classes.iter().map(|(p, _)| name_of(p)).collect(),
            state: State::new(ir),
        }
    }

    /// What the program at the end of a way does with a frame, and which mark it has then.
    fn kernel(&self, way: &Way, frame: &Frame) -> Option<(u32, u32)> {
        let (hook, class, ingress) = match *way {
            Way::In(class) => (Hook::Ingress, class, 0),
            Way::Out(class) => (Hook::Egress, class, 0),
            Way::Through(from, to) => (Hook::Egress, to, index_of(from)),
        };
        let (pattern, _) = &self.programs.classes[class];
        let mut programs = self.programs.programs.iter();
        let program = programs.find(|p| p.hook == hook && p.pattern == *pattern)?;
        self.loaded
            .run_at(program_for(program, frame)?, frame.bytes, ingress)
    }

    fn packet(&self, way: &Way, parsed: &Parsed) -> Packet {
        let iface = |class: usize| Place::Iface(self.names[class].as_str().into());
        match *way {
            Way::In(class) => parsed.packet(iface(class), Place::Host),
            Way::Out(class) => parsed.packet(Place::Host, iface(class)),
            Way::Through(from, to) => {
                let mut packet = parsed.packet(iface(from), iface(to));
                // The frame is as it leaves: it came with one hop more.
                packet.fields.entry(IP_TTL).and_modify(|ttl| *ttl += 1);
                packet
            }
        }
    }

    fn interpreter(&mut self, way: &Way, (frame, parsed): (&Frame, &Parsed)) -> Decision {
        let mut packet = self.packet(way, parsed);
        packet.fields.insert(META_PKTTYPE, kind(frame));
        packet.fields.extend(time());
        let quoted = parsed.inner.as_ref().map(|inner| Packet {
            saddr: inner.saddr,
            daddr: inner.daddr,
            proto: inner.proto,
            fields: inner.fields.clone(),
            ..packet.clone()
        });
        match quoted {
            Some(quoted) => judge_related(self.ir, &packet, &quoted, &mut self.state, 0),
            None => judge(self.ir, &packet, &mut self.state, 0),
        }
    }
}

/// How the kernel's test of a program takes a frame to be addressed: it finds an Ethernet header in
/// whatever comes first, and the interface's address is all zeros.
fn kind(frame: &Frame) -> u64 {
    const MULTICAST: u64 = 2;
    const OTHER_HOST: u64 = 3;
    match frame.bytes.first() {
        Some(0) | None => 0,
        Some(first) if first & 1 == 1 => MULTICAST,
        Some(_) => OTHER_HOST,
    }
}

/// Whether a packet is one that both sides tell apart in the same way. The interpreter puts fragments
/// together, never ends a flow, and sees no tags.
fn is_common(bytes: &[u8], parsed: &Parsed) -> bool {
    let field = |field| parsed.fields.get(&field).copied();
    let ends = field(TCP_FLAGS).is_some_and(|flags| flags & 5 != 0 && flags & 0x10 != 0);
    let tagged = ![[0x08, 0x00], [0x86, 0xdd]].contains(&[bytes[12], bytes[13]]);
    // ICMP of the other family has no type.
    let odd =
        parsed.proto == 1 && parsed.saddr.is_ipv6() || parsed.proto == 58 && parsed.saddr.is_ipv4();
    // A stump is none of a connection's packets, or of a question and its answer, and gets no further in any kernel.
    let stump = match parsed.proto {
        6 => field(TCP_FLAGS).is_none(),
        1 | 58 => field(ICMP_TYPE).is_none(),
        _ => false,
    };
    field(IP_FRAGMENT) != Some(1) && !ends && !tagged && !odd && !stump
}

/// The next frame, and its way: any, or one that has passed, or an answer to it, or an error about it.
fn next(
    rng: &mut Rng,
    pools: &Pools,
    classes: &[usize],
    passed: &[(Way, Vec<u8>)],
) -> Option<(Way, Vec<u8>)> {
    let fresh = |rng: &mut Rng| (Way::random(rng, classes), frame(rng, pools));
    if passed.is_empty() {
        return Some(fresh(rng));
    }
    let (way, before) = &passed[rng.usize(..passed.len())];
    match rng.u8(..10) {
        0..4 => Some(fresh(rng)),
        4..6 => Some((way.clone(), before.clone())),
        6..9 => Some((way.back(), answer(rng, before)?)),
        _ => Some((way.back(), error_about(rng, before)?)),
    }
}

/// The programs' answers (include/uapi/linux/bpf.h, `enum tcx_action_base`).
const DROP: u32 = 2;
const NEXT: u32 = u32::MAX;
const REDIRECT: u32 = 7;

#[test]
fn filters_in_the_kernel_judge_like_the_interpreter() {
    if !possible() {
        return;
    }
    // Nothing is routed in a namespace of one's own: what comes in is for this host.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    let (policies, packets) = (number("POLC_POLICIES", 20), number("POLC_PACKETS", 1_500));
    let mut rng = Rng::with_seed(number("POLC_SEED", 1));
    let (mut judged, mut dropped, mut answered, mut verified) = (0u64, 0u64, 0u64, 0);
    let mut bare = 0u64;
    for _ in 0..policies {
        let shape = shape(if rng.bool() { 8 } else { 30 });
        let able = |text: &str| {
            let made = compiled(text);
            let able = |ir: &Ir| {
                let mut ir = ir.clone();
                timeless(&mut ir, &mut Rng::with_seed(1));
                built(&ir, &made).is_some()
            };
            made.ir
                .as_ref()
                .is_some_and(|ir| !ir.filter.is_empty() && able(ir))
        };
        let text = valid_policy(rng.u64(..), &shape, able).unwrap().text;
        let made = compiled(&text);
        let mut ir = made.ir.clone().unwrap();
        timeless(&mut ir, &mut rng);
        let programs = built(&ir, &made).unwrap();
        let mut bench = Bench::new(&ir, &programs, names(&programs));
        verified = verified.max(bench.loaded.verified);
        // What this machine sends to itself is not judged.
        let classes: Vec<usize> = (0..bench.names.len())
            .filter(|class| bench.names[*class] != "lo")
            .collect();
        let pools = Pools::of(&ir.filter);
        // Packets that have passed, and their ways.
        let mut passed: Vec<(Way, Vec<u8>)> = Vec::new();
        let mut history: Vec<String> = Vec::new();
        for at in 0..packets {
            let Some((way, mut bytes)) = next(&mut rng, &pools, &classes, &passed) else {
                continue;
            };
            // To whom the frame is addressed is nobody's question here.
            bytes[..6].fill(0);
            let frame = either(&mut rng, &bytes);
            let Ok(read) = parse(&frame) else {
                continue;
            };
            if !is_common(&bytes, &read) {
                continue;
            }
            let Some((got, mark)) = bench.kernel(&way, &frame) else {
                continue;
            };
            let decision = bench.interpreter(&way, (&frame, &read));
            history.push(format!(
                "{way:?} {read:?} -> {:?} / {got}",
                decision.outcome
            ));
            let expected: &[u32] = match decision.outcome {
                Outcome::Allow => &[NEXT],
                Outcome::Deny => &[DROP],
                // What is for many gets no answer.
                Outcome::Reject(_) => &[REDIRECT, DROP],
            };
            let same = expected.contains(&got) && (got != NEXT || mark == decision.mark);
            assert!(
                same,
                "packet {at}: {got}, mark {mark}, for {decision:?}\n{way:?} {frame:02x?}\n{read:?}\n\
                 {text}\n{}\n{}",
                history
                    .iter()
                    .rev()
                    .take(12)
                    .rev()
                    .cloned()
                    .collect::<Vec<_>>()
                    .join("\n"),
                programs.listing
            );
            bare += u64::from(frame.link == Link::Raw);
            if got == NEXT {
                if passed.len() < 40 {
                    passed.push((way, bytes));
                } else {
                    let place = rng.usize(..passed.len());
                    passed[place] = (way, bytes);
                }
            }
            judged += 1;
            dropped += u64::from(got == DROP);
            answered += u64::from(got == REDIRECT);
        }
    }
    eprintln!(
        "{policies} policies, {judged} packets, {bare} of them without Ethernet header, {dropped} dropped, {answered} answered, 0 \
         mismatches; the verifier looked at up to {verified} instructions"
    );
    assert!(
        bare > judged / 5 && dropped > judged / 20 && answered > 0 && dropped < judged * 9 / 10
    );
}
