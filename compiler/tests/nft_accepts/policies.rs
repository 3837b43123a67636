//! Policies by hand.

use polc_compiler::field::{DPORT, TCP, UDP};
use polc_compiler::ir::{
    Block, Cube, Down, Effects, Governs, Ir, Mark, Proxy, Rule, Side, Stage, Verdict,
};
use polc_compiler::packet::{IfaceSet, IntervalSet, Pattern};
use polc_compiler::source::{SourceMap, Span};
use polc_compiler::target::{self, Options};

fn span() -> Span {
    Span {
        file: SourceMap::default().add("", ""),
        start: 0,
        end: 0,
    }
}

/// A policy without rules.
pub(crate) fn policy(governs: Governs) -> Ir {
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
        governs,
        strict_icmp: false,
        strict_tcp: false,
        raw: vec![],
    }
}

/// A counting rule.
pub(crate) fn rule(stage: Stage, name: &str, cube: Cube, verdict: Verdict) -> Rule {
    Rule {
        name: name.into(),
        named: true,
        span: span(),
        block: Stage::ALL.iter().position(|s| *s == stage).unwrap(),
        is_default: false,
        cubes: vec![cube],
        limits: vec![],
        effects: Effects {
            count: true,
            ..Effects::default()
        },
        verdict: Some(verdict),
        admit: false,
        owner: None,
        ticket: None,
        note: None,
    }
}

pub(crate) fn iface(name: &str) -> Side {
    Side::ifaces(IfaceSet::of([Pattern::parse(name)]))
}

/// UDP to a port.
pub(crate) fn udp(port: u64) -> Cube {
    Cube::any()
        .with_proto(&IntervalSet::one(UDP))
        .with_field(DPORT, &IntervalSet::one(port))
}

/// A proxy for UDP and TCP over IPv4 that nobody runs.
pub(crate) fn absent_proxy() -> Proxy {
    Proxy {
        name: "absent".into(),
        tcp: true,
        udp: true,
        v4: Some(("127.0.0.1".parse().unwrap(), 12345)),
        v6: None,
        mark: Mark {
            value: 1,
            mask: 0xff,
        },
        table: 100,
        bypass: vec![],
        down: Down::Deny,
        span: span(),
    }
}

/// What a proxy can take.
pub(crate) fn proxied(cube: Cube) -> Cube {
    let protocols = [(TCP, TCP), (UDP, UDP)].into_iter().collect();
    cube.with_families(polc_compiler::packet::Families::V4)
        .with_proto(&protocols)
}

/// The script for a policy.
pub(crate) fn script(ir: &Ir) -> String {
    let target = target::find("nftables").unwrap();
    let bundle = target.emit(ir, &SourceMap::default(), &Options::default());
    bundle.unwrap().file("policy.nft").unwrap().to_owned()
}
