//! Policies by hand: a builder for IR values.

use std::net::IpAddr;

use crate::field::{DPORT, Field};
use crate::ir::{
    Block, Bucket, Cube, DynamicSet, Effects, Governs, Ir, Key, KeyKind, Limit, NatTarget, Proxy,
    Rate, Rule, Sense, Side, Stage, TimeUnit, Verdict,
};
use crate::packet::{AddrSet, Families, IfaceSet, IntervalSet, Pattern};
use crate::source::{SourceMap, Span};

/// Any place in the source.
pub(crate) fn span() -> Span {
    Span {
        file: SourceMap::default().add("", ""),
        start: 0,
        end: 0,
    }
}

/// Every packet.
pub(crate) fn any() -> Cube {
    Cube::any()
}

/// One target of NAT.
pub(crate) fn addr(text: &str, port: Option<u16>) -> NatTarget {
    NatTarget::Addr(text.parse().unwrap(), port)
}

/// A policy without rules that governs nothing.
pub(crate) fn policy() -> Ir {
    let block = |stage: Stage| Block {
        label: stage.name().into(),
        stage,
        scope: vec![Cube::any()],
        stateless: false,
        span: span(),
    };
    Ir {
        name: "p".into(),
        as_of: "2026-01-01".into(),
        guard: vec![],
        steer: vec![],
        filter: vec![],
        egress: vec![],
        blocks: Stage::ALL.map(block).to_vec(),
        buckets: vec![],
        dynamic: vec![],
        proxies: vec![],
        governs: Governs::default(),
        strict_icmp: false,
        strict_tcp: false,
        raw: vec![],
    }
}

/// A policy whose filter decides what is delivered to this host.
pub(crate) fn input(rules: Vec<Rule>) -> Ir {
    let mut ir = policy();
    ir.governs.input = true;
    ir.filter = rules;
    ir
}

/// A policy that steers only.
pub(crate) fn steer(rules: Vec<Rule>) -> Ir {
    let mut ir = policy();
    ir.steer = rules;
    ir
}

/// A rule of the block at `stage`'s place.
fn rule(name: &str, stage: Stage, cubes: Vec<Cube>, verdict: Option<Verdict>) -> Rule {
    Rule {
        name: name.into(),
        named: true,
        span: span(),
        block: Stage::ALL.iter().position(|s| *s == stage).unwrap(),
        is_default: false,
        cubes,
        limits: vec![],
        effects: Effects::default(),
        verdict,
        admit: false,
        owner: None,
        ticket: None,
        note: None,
    }
}

/// Shorthand for a filter rule.
pub(crate) fn filter(name: &str, cubes: Vec<Cube>, verdict: Verdict) -> Rule {
    rule(name, Stage::Filter, cubes, Some(verdict))
}

/// Shorthand for a rule of another stage.
pub(crate) fn at(stage: Stage, name: &str, cubes: Vec<Cube>, verdict: Verdict) -> Rule {
    rule(name, stage, cubes, Some(verdict))
}

/// A `match` rule.
pub(crate) fn effect(stage: Stage, name: &str, cubes: Vec<Cube>, effects: Effects) -> Rule {
    Rule {
        effects,
        ..rule(name, stage, cubes, None)
    }
}

/// The default of a stage.
pub(crate) fn default(stage: Stage, verdict: Verdict) -> Rule {
    Rule {
        is_default: true,
        ..rule("default", stage, vec![Cube::any()], Some(verdict))
    }
}

/// Changes of a rule, chained.
pub(crate) trait With: Sized {
    fn limit(self, sense: Sense, bucket: usize) -> Self;
    fn effects(self, effects: Effects) -> Self;
    fn admit(self) -> Self;
}

impl With for Rule {
    fn limit(mut self, sense: Sense, bucket: usize) -> Self {
        self.limits.push(Limit { sense, bucket });
        self
    }
    fn effects(self, effects: Effects) -> Self {
        Self { effects, ..self }
    }
    fn admit(self) -> Self {
        Self {
            admit: true,
            ..self
        }
    }
}

/// A set of addresses from prefixes and single addresses.
pub(crate) fn addrs(list: &[&str]) -> AddrSet {
    list.iter().fold(AddrSet::empty(), |set, text| {
        let (addr, len) = text.split_once('/').unwrap_or((text, ""));
        let addr: IpAddr = addr.parse().unwrap();
        let all = if addr.is_ipv4() { 32 } else { 128 };
        set.union(&AddrSet::prefix(addr, len.parse().unwrap_or(all)).unwrap())
    })
}

/// Interfaces by name or pattern.
pub(crate) fn ifaces(list: &[&str]) -> IfaceSet {
    IfaceSet::of(list.iter().map(|n| Pattern::parse(n)))
}

/// Numbers.
pub(crate) fn numbers(list: &[u64]) -> IntervalSet<u64> {
    list.iter().map(|n| (*n, *n)).collect()
}

/// Conditions, chained.
pub(crate) trait Where: Sized {
    fn from(self, set: &[&str]) -> Self;
    fn to(self, set: &[&str]) -> Self;
    fn in_by(self, names: &[&str]) -> Self;
    fn out_by(self, names: &[&str]) -> Self;
    fn sent_by_host(self) -> Self;
    fn for_host(self) -> Self;
    fn port(self, protocols: &[u64], ports: &[u64]) -> Self;
    fn value(self, field: Field, values: &[u64]) -> Self;
    fn only(self, families: Families) -> Self;
}

impl Where for Cube {
    fn from(self, set: &[&str]) -> Self {
        Self {
            saddr: addrs(set),
            ..self
        }
        .normal()
        .unwrap()
    }
    fn to(self, set: &[&str]) -> Self {
        Self {
            daddr: addrs(set),
            ..self
        }
        .normal()
        .unwrap()
    }
    fn in_by(self, names: &[&str]) -> Self {
        Self {
            ingress: Side::ifaces(ifaces(names)),
            ..self
        }
    }
    fn out_by(self, names: &[&str]) -> Self {
        Self {
            egress: Side::ifaces(ifaces(names)),
            ..self
        }
    }
    fn sent_by_host(self) -> Self {
        Self {
            ingress: Side::host(),
            ..self
        }
    }
    fn for_host(self) -> Self {
        Self {
            egress: Side::host(),
            ..self
        }
    }
    fn port(self, protocols: &[u64], ports: &[u64]) -> Self {
        self.with_proto(&numbers(protocols))
            .with_field(DPORT, &numbers(ports))
    }
    fn value(self, field: Field, values: &[u64]) -> Self {
        self.with_field(field, &numbers(values))
    }
    fn only(self, families: Families) -> Self {
        self.with_families(families).normal().unwrap()
    }
}

/// A bucket of packets a second.
pub(crate) fn bucket(name: &str, rate: Rate, key: Option<Key>, full: Sense) -> Bucket {
    Bucket {
        name: name.into(),
        rate,
        key,
        max: None,
        idle: None,
        full,
        span: span(),
    }
}

/// Ten a second, five at once.
pub(crate) const TEN: Rate = Rate::Packets {
    count: 10,
    per: TimeUnit::Second,
    burst: 5,
};

/// Whole source addresses.
pub(crate) const SOURCE: Key = Key {
    kind: KeyKind::Source,
    v4: 32,
    v6: 128,
};

/// A dynamic set of source addresses.
pub(crate) fn dynamic(name: &str) -> DynamicSet {
    DynamicSet {
        name: name.into(),
        key: KeyKind::Source,
        initial: AddrSet::empty(),
        idle: Some(600_000),
        max: Some(1000),
        span: span(),
    }
}

/// A dual-stack proxy on loopback for TCP and UDP.
pub(crate) fn proxy(name: &str) -> Proxy {
    Proxy {
        name: name.into(),
        tcp: true,
        udp: true,
        v4: Some(("127.0.0.1".parse().unwrap(), 12345)),
        v6: Some(("::1".parse().unwrap(), 12345)),
        mark: crate::ir::Mark {
            value: 1,
            mask: 0xff,
        },
        table: 100,
        bypass: vec![],
        down: crate::ir::Down::Deny,
        span: span(),
    }
}
