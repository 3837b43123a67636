//! Steer, filter and egress: packets on their ways through the programs of all hooks, which are steered and
//! translated; their answers, the ends of their flows, and errors about them.

mod bench;
mod journey;
mod limits;
mod net;
mod regressions;
mod shot;
mod table;

use fastrand::Rng;
use polc_compiler::ir::Ir;
use polc_compiler::target::ebpf::{self, Programs};
use polc_compiler::{Compilation, target};
use polc_generator::{Feature, Shape, valid_policy};

use self::bench::{Attempt, Bench};
use self::journey::Way;
use self::net::Net;
use self::shot::{ACK, End, FIN, RST, SYN, Shot, TCP, UDP, icmp_of};
use self::table::Flow;
use super::frames::pick;
pub(super) use super::guard::name_of;
use super::guard::{compiled, large_set, number, timeless};
use super::kernel::possible;

fn shape(rules: usize) -> Shape {
    let shape = Shape {
        guard: 0,
        steer: rules,
        filter: rules,
        egress: rules,
        ..Shape::default()
    };
    let without = [Feature::Senders, Feature::Original, Feature::Notrack];
    without.into_iter().fold(shape, Shape::without)
}

fn built(ir: &Ir, made: &Compilation) -> Option<Programs> {
    let options = target::Options {
        flows: 4096,
        large_set: large_set(&ir.filter),
        ..target::Options::default()
    };
    ebpf::flows(ir, &made.sources, &options).ok()
}

/// Makes up packets.
struct Maker<'m> {
    net: &'m Net,
    /// The classes of the interfaces but loopback.
    classes: Vec<usize>,
}

const PORTS: [u16; 9] = [22, 53, 80, 443, 8080, 55, 100, 1000, 12_345];

impl Maker<'_> {
    fn address(&self, rng: &mut Rng, v6: bool, own: Option<bool>) -> std::net::IpAddr {
        let fits = |addr: &std::net::IpAddr| {
            addr.is_ipv6() == v6 && own.is_none_or(|own| self.net.is_own(*addr) == own)
        };
        let addresses: Vec<_> = self.net.addresses().into_iter().filter(fits).collect();
        pick(rng, &addresses)
    }

    fn way(&self, rng: &mut Rng) -> Way {
        let (one, other) = (pick(rng, &self.classes), pick(rng, &self.classes));
        if rng.u8(..) < 150 {
            Way::In(one, other)
        } else {
            Way::Out(one, other)
        }
    }

    /// A packet of no flow, and its way.
    fn fresh(&self, rng: &mut Rng) -> Attempt {
        let (way, v6) = (self.way(rng), rng.bool());
        let (from, to) = match way {
            Way::In(..) => (Some(false), None),
            _ => (Some(true), Some(false)),
        };
        let source = self.address(rng, v6, from);
        let dest = self.address(rng, v6, to);
        let icmp = icmp_of(source);
        let proto = pick(
            rng,
            &[TCP, TCP, TCP, UDP, UDP, UDP, icmp, 132, 33, 136, 47, 99, 50],
        );
        let port = |rng: &mut Rng| match rng.u8(..) {
            0..40 => pick(rng, &PORTS),
            40..90 => 2000 + rng.u16(..4),
            _ => rng.u16(1024..),
        };
        let mut ends = [
            End {
                addr: source,
                port: 0,
            },
            End {
                addr: dest,
                port: 0,
            },
        ];
        let mut kind = [0; 2];
        if proto == icmp {
            let types: &[u8] = if v6 {
                &[128, 128, 128, 129, 139, 133, 135, 130, 1, 200]
            } else {
                &[8, 8, 8, 13, 0, 3, 5, 200]
            };
            kind = [pick(rng, types), 0];
            // The interpreter tells no identifiers apart.
            let id = ends.map(|end| match end.addr {
                std::net::IpAddr::V4(addr) => u16::from(addr.octets()[3]),
                std::net::IpAddr::V6(addr) => addr.segments()[7],
            });
            let id = if carries_id(v6, kind[0]) {
                2000 + id[0] * 7 + id[1]
            } else {
                0
            };
            for end in &mut ends {
                end.port = id;
            }
        } else if Shot::has_ports(proto) {
            ends[0].port = port(rng);
            ends[1].port = if rng.u8(..) < 230 {
                pick(rng, &PORTS)
            } else {
                rng.u16(1..)
            };
        }
        let shot = Shot {
            source: ends[0],
            dest: ends[1],
            proto,
            kind,
            flags: match rng.u8(..) {
                0..200 => SYN,
                200..235 => ACK,
                235..245 => SYN | ACK,
                _ => rng.u8(..64),
            },
            options: if rng.u8(..) < 30 { rng.u8(1..4) } else { 0 },
            unsummed: rng.u8(..) < 60,
            payload: 16 + rng.usize(..12),
            quote: None,
        };
        Attempt {
            shot,
            way,
            part: None,
        }
    }

    /// A packet of a flow.
    fn part(&self, rng: &mut Rng, id: u64, flow: &Flow) -> Option<Attempt> {
        let flags = match rng.u8(..) {
            0..10 => FIN | ACK,
            10..14 => RST,
            14..18 => RST | ACK,
            18..30 if !flow.is_over() => SYN,
            _ => pick(rng, &[ACK, ACK | 8]),
        };
        let attempt = |(shot, expected), way, answer| Attempt {
            shot,
            way,
            part: Some((id, expected, answer)),
        };
        Some(match rng.u8(..100) {
            0..35 => attempt(flow.forth(flags), flow.there, false),
            35..80 => {
                let flags = if flags == SYN { SYN | ACK } else { flags };
                attempt(flow.answer(flags), flow.back, true)
            }
            _ => {
                let (shot, expected, way) = self.error(rng, flow)?;
                attempt((shot, expected), way, false)
            }
        })
    }

    /// An error about a packet of a flow: what it is, what it is to be, and its way.
    fn error(&self, rng: &mut Rng, flow: &Flow) -> Option<(Shot, Shot, Way)> {
        if flow.captured || flow.home {
            return None;
        }
        let forth = rng.bool();
        let (quoted, original, way) = if forth {
            let (sent, left) = flow.forth(ACK);
            (left, sent, flow.back)
        } else {
            let (sent, left) = flow.answer(ACK);
            (left, sent, flow.there)
        };
        let v6 = quoted.source.addr.is_ipv6();
        let by_end = rng.bool();
        let none = |addr| End { addr, port: 0 };
        // From the end itself, or from a station before it.
        let (source, expected_source) = if by_end {
            (quoted.dest.addr, original.dest.addr)
        } else {
            let own = !matches!(way, Way::In(..));
            let addr = self.address(rng, v6, Some(own));
            if addr == quoted.dest.addr {
                return None;
            }
            (addr, addr)
        };
        let kinds: &[[u8; 2]] = if v6 {
            &[[1, 0], [1, 3], [1, 4], [3, 0], [4, 1], [2, 0]]
        } else {
            &[[3, 0], [3, 1], [3, 3], [3, 13], [11, 0], [12, 0], [3, 4]]
        };
        let size = pick(rng, &[8, 12, 20, 200]);
        let shot = Shot {
            source: none(source),
            dest: none(quoted.source.addr),
            proto: icmp_of(source),
            kind: pick(rng, kinds),
            flags: 0,
            options: 0,
            unsummed: false,
            payload: 0,
            quote: Some((Box::new(quoted), size)),
        };
        let expected = Shot {
            source: none(expected_source),
            dest: none(original.source.addr),
            quote: Some((Box::new(original), size)),
            ..shot.clone()
        };
        Some((shot, expected, way))
    }
}

/// Whether a message of ICMP has an identifier.
fn carries_id(v6: bool, kind: u8) -> bool {
    if v6 {
        [128, 129].contains(&kind)
    } else {
        [0, 8, 13].contains(&kind)
    }
}

impl Bench<'_> {
    /// One packet, of a flow or of none.
    fn turn(&mut self, rng: &mut Rng, maker: &Maker) -> Result<(), String> {
        let ids: Vec<u64> = self.table.flows.keys().copied().collect();
        if ids.is_empty() || rng.u8(..) < 110 {
            let attempt = maker.fresh(rng);
            if !self.table.is_free(attempt.shot.pair()) {
                return Ok(());
            }
            return self.judge(rng, &attempt);
        }
        let id = ids[rng.usize(..ids.len())];
        let flow = self.table.flows[&id].clone();
        match rng.u8(..40) {
            0 if !flow.first.is_icmp() => {
                self.expire(id)?;
                self.again(rng, &flow)
            }
            1..4 if flow.is_over() => {
                self.forget(&flow.first, flow.there);
                self.table.remove(id);
                self.again(rng, &flow)
            }
            _ => match maker.part(rng, id, &flow) {
                Some(attempt) => self.judge(rng, &attempt),
                None => Ok(()),
            },
        }
    }

    /// The ends of a flow that is over begin another one.
    fn again(&mut self, rng: &mut Rng, flow: &Flow) -> Result<(), String> {
        let attempt = Attempt {
            shot: flow.forth(SYN).0,
            way: flow.there,
            part: None,
        };
        self.judge(rng, &attempt)?;
        let opened = !self.table.is_free(attempt.shot.pair());
        if !opened {
            // The programs still know the old one, whose packets they judge if it was not refused.
            self.table.avoid(attempt.shot.pair());
            for (one, other) in [flow.inner, flow.outer] {
                self.table.avoid(flow.first.between(one, other).pair());
            }
        }
        Ok(())
    }
}

#[test]
fn programs_steer_and_translate_like_the_interpreter() {
    if !possible() {
        return;
    }
    let net = Net::new();
    let (policies, packets) = (number("POLC_POLICIES", 3), number("POLC_PACKETS", 1_500));
    let seed = number("POLC_SEED", 1);
    let (mut verified, mut complaints) = (0, 0);
    let mut totals = bench::Totals::default();
    for policy in 0..policies {
        let mut rng = Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(policy));
        let shape = shape(if rng.bool() { 4 } else { 10 });
        let able = |text: &str| {
            let made = compiled(text);
            let able = |ir: &Ir| {
                let mut ir = ir.clone();
                timeless(&mut ir, &mut Rng::with_seed(1));
                built(&ir, &made).is_some()
            };
            made.ir.as_ref().is_some_and(able)
        };
        let text = valid_policy(rng.u64(..), &shape, able).unwrap().text;
        let made = compiled(&text);
        let mut ir = made.ir.clone().unwrap();
        timeless(&mut ir, &mut rng);
        let programs = built(&ir, &made).unwrap();
        let mut bench = Bench::new(&ir, &programs, &net, &mut rng);
        verified = verified.max(bench.machine.loaded.verified);
        let classes = (0..bench.names.len())
            .filter(|class| bench.names[*class] != "lo" && bench.machine.has_programs(*class));
        let maker = Maker {
            net: &net,
            classes: classes.collect(),
        };
        for at in 0..packets {
            if let Err(complaint) = bench.turn(&mut rng, &maker) {
                complaints += 1;
                eprintln!("policy {policy}, packet {at}: {complaint}\n{text}");
                break;
            }
        }
        totals.add(&bench.totals);
    }
    eprintln!(
        "{policies} policies, {totals:?}, {complaints} mismatches; the verifier looked at up to {verified} instructions"
    );
    assert_eq!(complaints, 0);
    assert!(totals.flows > 0 && totals.translated > 0 && totals.errors > 0);
    // Few policies may have no proxy that something goes to.
    assert!(policies < 12 || totals.captured > 0);
}
