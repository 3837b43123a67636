//! Single packets, judged by one stage alone.

use std::net::IpAddr;

use polc_compiler::analyse::model::{Dim, Model, View, Witness};
use polc_compiler::analyse::reach::{Reach, Status};
use polc_compiler::field::{CT_MARK, Field, ICMP_CODE, ICMP_TYPE};
use polc_compiler::interpret::{self, Ask, Packet, Place, RuleId, State, Tokens, Towards, Track};
use polc_compiler::ir::{Cube, Ir, KeyKind, Rule, Sense, Stage, Verdict};
use polc_compiler::packet::{Region, Values};

/// Random packets for each policy.
const PACKETS: u64 = 10;

/// Checks that each packet that is shown for a rule is decided by it, and that dead rules decide
/// none of some random packets. How many packets that was.
pub(crate) fn check(model: &Model, found: &Reach, seed: u64, text: &str) -> u64 {
    let mut packets = 0;
    for rule in found.rules.iter().filter(|r| r.status == Status::Reached) {
        let at = model.plain(rule.sample.as_ref().unwrap());
        let shown = model.witness(&at);
        let mark = flow_mark(model, &at);
        let held =
            [false, true].map(|untracked| first(model.ir, rule.id, &shown, (untracked, mark)));
        let name = &rule.id.of(model.ir).unwrap().name;
        assert!(
            held.contains(&Some(rule.id)),
            "{name} {held:?} {shown:?}\n{text}"
        );
        packets += 1;
    }
    let mut random = fastrand::Rng::with_seed(seed);
    for stage in Stage::ALL {
        let regions: Vec<Region> = model
            .lines(View::of(stage))
            .unwrap_or_default()
            .into_iter()
            .flat_map(|line| line.regions)
            .collect();
        for _ in 0..PACKETS {
            let universe = model.universe(stage);
            let within = &universe[random.usize(..universe.len())];
            let at = point(&mut random, within, &regions);
            let packet = model.witness(&at);
            let mark = flow_mark(model, &at);
            for (index, rule) in model.ir.stage(stage).iter().enumerate() {
                let id = RuleId { stage, index };
                let dead = !matches!(
                    found.rule(id).unwrap().status,
                    Status::Reached | Status::Unknown
                );
                if dead {
                    let decided = first(model.ir, id, &packet, (false, mark));
                    assert_ne!(decided, Some(id), "{} {packet:?}\n{text}", rule.name);
                }
            }
            packets += 1;
        }
    }
    packets
}

/// A point of a region whose numbers are at the ends of what rules ask for, where they can be.
fn point(random: &mut fastrand::Rng, within: &Region, regions: &[Region]) -> Vec<u128> {
    let dims = within.dims().iter().enumerate();
    dims.map(|(at, values)| {
        let asked = (!regions.is_empty()).then(|| &regions[random.usize(..regions.len())]);
        let asked = asked.map_or(values, |region| &region.dims()[at]);
        let number = pick(random, asked);
        if values.contains(number) {
            number
        } else {
            pick(random, values)
        }
    })
    .collect()
}

fn pick(random: &mut fastrand::Rng, values: &Values) -> u128 {
    let ranges = values.ranges();
    let (first, last) = ranges[random.usize(..ranges.len())];
    if random.bool() { first } else { last }
}

/// Whether the language admits a packet before any rule of the stage: neighbour discovery and
/// packet-too-big.
fn admitted(ir: &Ir, stage: Stage, packet: &Packet) -> bool {
    let is = |field: Field, value: u64| packet.field(field) == Some(value);
    let asked = stage != Stage::Egress && !ir.strict_icmp;
    let discovery = [2, 133, 134, 135, 136].iter().any(|t| is(ICMP_TYPE, *t));
    asked
        && match (packet.saddr.is_ipv4(), packet.proto) {
            (true, 1) => is(ICMP_TYPE, 3) && is(ICMP_CODE, 4),
            (false, 58) => discovery,
            _ => false,
        }
}

/// The mark of the flow at a point.
fn flow_mark(model: &Model, point: &[u128]) -> u32 {
    let at = model.space.at(&Dim::Field(CT_MARK));
    at.map_or(0, |at| u32::try_from(point[at]).unwrap())
}

/// The first rule of the stage, up to `id`, that holds and decides, or that is `id`.
fn first(ir: &Ir, id: RuleId, witness: &Witness, (untracked, mark): (bool, u32)) -> Option<RuleId> {
    if admitted(ir, id.stage, &witness.packet) {
        return None;
    }
    let mut told = State::oracle(witness.within.clone(), witness.members.clone());
    let mut view = interpret::View::new(&witness.packet, id.stage, 0);
    // Before routing, nobody knows whether this host is among several receivers.
    let group = match witness.packet.daddr {
        IpAddr::V4(addr) => addr.is_multicast() || addr.is_broadcast(),
        IpAddr::V6(addr) => addr.is_multicast(),
    };
    if id.stage == Stage::Steer && group && view.egress == Towards::Host {
        view.egress = Towards::Elsewhere;
    }
    if untracked {
        view.track = Track::Untracked;
    } else if id.stage != Stage::Guard {
        view.track = Track::Flow {
            state: 0,
            mark,
            reply: false,
        };
    }
    let mut taken = vec![0; ir.buckets.len()];
    let mut within = |bucket: usize, at: Ask| {
        let answer = match witness.within[bucket] {
            Tokens::Enough => true,
            Tokens::Left(tokens) => taken[bucket] < tokens,
            Tokens::Until(end) => at < end,
        };
        taken[bucket] += u32::from(answer);
        answer
    };
    let mut holds = |id: RuleId, rule: &Rule| {
        let means = |cube: &Cube| {
            let holds = |c| interpret::holds(c, &view, &told).is_ok();
            let Some(Verdict::Proxy(proxy)) = rule.verdict else {
                return speaks(cube, &view) && holds(cube);
            };
            let bypass = &ir.proxies[proxy].bypass;
            let bypasses = witness.packet.ingress == Place::Host && bypass.iter().any(holds);
            let asked = cube.egress.host && cube.egress.ifaces.is_empty();
            let away = asked || leaves(&witness.packet);
            speaks(cube, &view) && holds(cube) && away && !bypasses
        };
        let mut ask = |nth, bucket| within(bucket, Ask { rule: id, nth });
        let mut limits = rule.limits.iter().enumerate();
        let holds = rule.cubes.iter().any(means)
            && limits.all(|(nth, l)| ask(nth, l.bucket) == (l.sense == Sense::Within));
        if let (true, Some(bucket)) = (holds, rule.effects.log.as_ref().and_then(|log| log.at)) {
            ask(rule.limits.len(), bucket);
        }
        if let (true, Some(set)) = (holds, rule.effects.add) {
            let own = ir.dynamic[set].key;
            let both = witness.packet.saddr == witness.packet.daddr;
            let mut members = witness.members.clone();
            for ((at, dest), member) in &mut members {
                let other = own
                    == if *dest {
                        KeyKind::Source
                    } else {
                        KeyKind::Dest
                    };
                *member |= *at == set && (!other || both);
            }
            told = State::oracle(witness.within.clone(), members);
        }
        holds
    };
    let rules = ir.stage(id.stage).iter().enumerate().take(id.index + 1);
    let ids = rules.map(|(index, rule)| (RuleId { index, ..id }, rule));
    let mut holding = ids.filter(|(id, rule)| holds(*id, rule));
    let decides = |(other, rule): &(RuleId, &Rule)| rule.verdict.is_some() || *other == id;
    holding.find(decides).map(|(id, _)| id)
}

/// Whether a cube speaks of a packet: of loopback traffic only when it names `lo`.
fn speaks(cube: &Cube, view: &interpret::View) -> bool {
    let side = match view.packet.ingress {
        Place::Host => &cube.egress,
        Place::Iface(_) => &cube.ingress,
    };
    !view.loopback || side.ifaces.include().is_some() && side.ifaces.contains("lo")
}

/// Whether a packet is for one other machine.
fn leaves(packet: &Packet) -> bool {
    let out = match &packet.egress {
        Place::Host => false,
        Place::Iface(name) => **name != *"lo",
    };
    let group = match packet.daddr {
        IpAddr::V4(addr) => addr.is_multicast() || addr.is_broadcast(),
        IpAddr::V6(addr) => addr.is_multicast(),
    };
    out && !group
}
