//! Mutations of policies in normal form.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fastrand::Rng;
use polc_compiler::field::{DPORT, SPORT};
use polc_compiler::ir::{
    Cube, Ir, Limit, Log, Mark, NatTarget, Rate, Reject, Rule, Sense, Side, Stage, Verdict,
};
use polc_compiler::packet::{AddrSet, IfaceSet, IntervalSet, Pattern};

/// Changes something, and says what.
pub(crate) fn mutate(ir: &mut Ir, rng: &mut Rng) -> &'static str {
    loop {
        if let Some(done) = attempt(ir, rng) {
            return done;
        }
    }
}

fn attempt(ir: &mut Ir, rng: &mut Rng) -> Option<&'static str> {
    match rng.u8(..24) {
        0 if rng.u8(..4) == 0 => {
            ir.strict_icmp = !ir.strict_icmp;
            return Some("strict icmp");
        }
        1 if rng.u8(..4) == 0 => {
            ir.strict_tcp = !ir.strict_tcp;
            return Some("strict tcp");
        }
        2 if rng.u8(..6) == 0 => {
            ir.governs.forward = !ir.governs.forward;
            return Some("governs");
        }
        3 if !ir.buckets.is_empty() => {
            let at = rng.usize(..ir.buckets.len());
            if let Rate::Packets { burst, .. } = &mut ir.buckets[at].rate {
                *burst += 1;
                return Some("burst");
            }
            return None;
        }
        4 if !ir.proxies.is_empty() => {
            let at = rng.usize(..ir.proxies.len());
            ir.proxies[at].v4 = Some((Ipv4Addr::new(10, 0, 0, 1), 12345));
            return Some("listen");
        }
        5 if !ir.dynamic.is_empty() => {
            let at = rng.usize(..ir.dynamic.len());
            ir.dynamic[at].idle = Some(ir.dynamic[at].idle.unwrap_or(0) + 1000);
            return Some("idle");
        }
        _ => {}
    }
    let stage = Stage::ALL[rng.usize(..4)];
    let count = ir.stage(stage).len();
    if count == 0 {
        return None;
    }
    let at = rng.usize(..count);
    match rng.u8(..10) {
        0 => {
            ir.stage_mut(stage).remove(at);
            return Some("drop");
        }
        1 if count > 1 => {
            let other = rng.usize(..count);
            ir.stage_mut(stage).swap(at, other);
            return (at != other).then_some("swap");
        }
        2 => {
            let mut rule = ir.stage(stage)[at].clone();
            rule.name = "inserted".into();
            change(ir, stage, &mut rule, rng);
            let to = rng.usize(..=count);
            ir.stage_mut(stage).insert(to, rule);
            return Some("insert");
        }
        _ => {}
    }
    let mut rule = ir.stage(stage)[at].clone();
    let done = change(ir, stage, &mut rule, rng);
    ir.stage_mut(stage)[at] = rule;
    done
}

fn change(ir: &Ir, stage: Stage, rule: &mut Rule, rng: &mut Rng) -> Option<&'static str> {
    match rng.u8(..9) {
        0 | 1 => {
            rule.verdict = Some(verdict(ir, stage, rng));
            Some("verdict")
        }
        2 => target(rule, rng),
        3 if !ir.buckets.is_empty() => {
            let sense = if rng.bool() {
                Sense::Within
            } else {
                Sense::Over
            };
            let bucket = rng.usize(..ir.buckets.len());
            if rule.limits.is_empty() || rng.bool() {
                rule.limits.push(Limit { sense, bucket });
            } else {
                rule.limits.pop();
            }
            Some("limit")
        }
        4 => {
            rule.effects.log = match rule.effects.log {
                Some(_) => None,
                None => Some(Log {
                    text: rng.bool().then(|| "text".to_owned()),
                    at: (!ir.buckets.is_empty()).then(|| rng.usize(..ir.buckets.len())),
                }),
            };
            Some("log")
        }
        5 if !matches!(
            rule.verdict,
            Some(Verdict::Proxy(_) | Verdict::Route { .. })
        ) =>
        {
            let value = [0x10, 0x20][rng.usize(..2)];
            rule.effects.mark = match rule.effects.mark {
                Some(_) if rng.bool() => None,
                _ => Some(Mark { value, mask: 0xf0 }),
            };
            Some("mark")
        }
        6 if stage == Stage::Steer && rule.verdict.is_some() => {
            rule.admit = !rule.admit;
            Some("and allow")
        }
        _ => {
            let at = rng.usize(..rule.cubes.len());
            let mut cube = rule.cubes[at].clone();
            let done = narrow(&mut cube, stage, rng)?;
            rule.cubes[at] = cube.normal()?;
            Some(done)
        }
    }
}

fn verdict(ir: &Ir, stage: Stage, rng: &mut Rng) -> Verdict {
    let list = match stage {
        Stage::Guard => vec![Verdict::Allow, Verdict::Deny, Verdict::Notrack],
        Stage::Filter => vec![
            Verdict::Allow,
            Verdict::Deny,
            Verdict::Reject(Reject::Default),
            Verdict::Reject(Reject::AdminProhibited),
        ],
        Stage::Steer => vec![
            Verdict::Direct,
            Verdict::Deny,
            Verdict::Redirect { port: None },
            Verdict::Route { table: 77 },
        ],
        Stage::Egress => vec![Verdict::Direct, Verdict::Masquerade],
    };
    let verdict = list[rng.usize(..list.len())].clone();
    if stage == Stage::Steer && !ir.proxies.is_empty() && rng.u8(..6) == 0 {
        return Verdict::Proxy(rng.usize(..ir.proxies.len()));
    }
    verdict
}

/// Another target.
fn target(rule: &mut Rule, rng: &mut Rng) -> Option<&'static str> {
    match &mut rule.verdict {
        Some(Verdict::Dnat(nat) | Verdict::Snat(nat)) => {
            let list = if rng.bool() { &mut nat.v4 } else { &mut nat.v6 };
            if list.is_empty() {
                return None;
            }
            let at = rng.usize(..list.len());
            list[at] = match list[at] {
                NatTarget::Addr(IpAddr::V4(addr), port) => {
                    NatTarget::Addr(Ipv4Addr::from(u32::from(addr) ^ 1).into(), port)
                }
                NatTarget::Addr(IpAddr::V6(addr), port) => {
                    NatTarget::Addr(Ipv6Addr::from(u128::from(addr) ^ 1).into(), port)
                }
                NatTarget::Prefix { from, len, .. } => NatTarget::Prefix {
                    from,
                    to: from,
                    len,
                },
            };
            Some("target")
        }
        Some(Verdict::Redirect { port }) => {
            *port = port.map_or(Some(80), |p| rng.bool().then_some(p ^ 1));
            Some("port of target")
        }
        Some(Verdict::Route { table }) => {
            *table += 1;
            Some("table")
        }
        _ => None,
    }
}

/// Other packets.
fn narrow(cube: &mut Cube, stage: Stage, rng: &mut Rng) -> Option<&'static str> {
    match rng.u8(..6) {
        0 => {
            let addr = Ipv4Addr::from(0x0a00_0000 | rng.u32(..0x2_0000));
            cube.saddr = AddrSet::prefix(addr.into(), rng.u8(8..=32))?
                .union(&cube.saddr.only(polc_compiler::packet::Families::V6));
            Some("source")
        }
        1 => {
            let inner = cube.daddr.v4.ranges().first().copied()?;
            let addr = Ipv4Addr::from(inner.0);
            let gone = AddrSet::prefix(addr.into(), rng.u8(8..=32))?;
            cube.daddr = cube.daddr.difference(&gone);
            Some("destination")
        }
        2 => {
            let field = if rng.u8(..4) == 0 { SPORT } else { DPORT };
            let protocols: IntervalSet<u64> =
                field.def().protocols.iter().map(|p| (*p, *p)).collect();
            if !cube.proto.is_subset(&protocols) {
                return None;
            }
            let port = [22, 53, 80, 443, 8080][rng.usize(..5)];
            cube.fields
                .insert(field, IntervalSet::range(port, port + rng.u64(..3)));
            Some("port")
        }
        3 => {
            cube.fields.remove(&DPORT)?;
            Some("any port")
        }
        4 => {
            let name = ["eth0", "eth1", "wan0"][rng.usize(..3)];
            let side = Side::ifaces(IfaceSet::of([Pattern::Name(name.to_owned())]));
            if stage == Stage::Filter && rng.bool() && !cube.egress.host {
                cube.egress = side;
            } else if !cube.ingress.host {
                cube.ingress = side;
            } else {
                return None;
            }
            Some("interface")
        }
        _ => {
            cube.families.v6 = false;
            Some("family")
        }
    }
}
