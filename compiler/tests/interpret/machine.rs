//! A policy at work, and packets to give to it.

use std::net::{IpAddr, SocketAddr};

use polc_compiler::diagnostic::human::{self, Style};
use polc_compiler::field::{
    DPORT, Field, ICMP, ICMP_CODE, ICMP_TYPE, ICMPV6, IP_FRAGMENT, SPORT, TCP, TCP_FLAGS, UDP, UID,
};
use polc_compiler::interpret::{
    Decision, Packet, Place, State, Step, explain, judge, judge_related,
};
use polc_compiler::ir::Ir;
use polc_compiler::ir::cube::PrincipalKind;
use polc_compiler::source::SourceMap;
use polc_compiler::{Compilation, Files, Options, compile};

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, path: &str) -> std::io::Result<String> {
        Err(std::io::Error::new(std::io::ErrorKind::NotFound, path))
    }
}

/// A policy at work.
pub(crate) struct Machine {
    pub(crate) ir: Ir,
    pub(crate) sources: SourceMap,
    pub(crate) state: State,
    /// Milliseconds.
    pub(crate) now: u64,
}

pub(crate) fn compiled(text: &str) -> Compilation {
    let options = Options {
        as_of: "2026-11-21".to_owned(),
        ..Options::default()
    };
    compile("test.pol", text, &NoFiles, &options)
}

impl Machine {
    pub(crate) fn new(text: &str) -> Self {
        let result = compiled(text);
        let style = Style {
            colour: false,
            width: 100,
        };
        let shown: String = result
            .diagnostics
            .iter()
            .map(|d| human::render(d, &result.sources, style))
            .collect();
        assert!(result.ir.is_some(), "{shown}");
        let ir = result.ir.unwrap();
        let mut state = State::new(&ir);
        state.trace = true;
        Self {
            ir,
            sources: result.sources,
            state,
            now: 0,
        }
    }

    pub(crate) fn judge(&mut self, packet: &Packet) -> Decision {
        judge(&self.ir, packet, &mut self.state, self.now)
    }

    pub(crate) fn judge_error(&mut self, packet: &Packet, about: &Packet) -> String {
        let decision = judge_related(&self.ir, packet, about, &mut self.state, self.now);
        self.short(&decision)
    }

    /// The outcome and the rule that decided it, or the last fact where no rule did: `allow ssh`,
    /// `allow (established)`.
    pub(crate) fn says(&mut self, packet: &Packet) -> String {
        let decision = self.judge(packet);
        self.short(&decision)
    }

    /// As [`Self::says`], when the packet is the first that this machine sees.
    pub(crate) fn alone(&self, packet: &Packet) -> String {
        let mut state = State::new(&self.ir);
        state.trace = true;
        self.short(&judge(&self.ir, packet, &mut state, self.now))
    }

    pub(crate) fn short(&self, decision: &Decision) -> String {
        let shown = explain(decision, &self.ir, &self.sources);
        let outcome = shown.outcome;
        if let Some(rule) = &shown.rule {
            return format!("{outcome} {}", rule.name);
        }
        let fact = decision.trace.steps.iter().rev().find_map(|s| match s {
            Step::Fact(fact) => Some(format!("{fact:?}").to_lowercase()),
            _ => None,
        });
        format!("{outcome} ({})", fact.unwrap_or_default())
    }

    /// Where steer sends the packet.
    pub(crate) fn goes(&mut self, packet: &Packet) -> String {
        let decision = self.judge(packet);
        explain(&decision, &self.ir, &self.sources)
            .steered
            .unwrap_or_else(|| "nowhere".to_owned())
    }

    /// From which source the packet leaves.
    pub(crate) fn leaves(&mut self, packet: &Packet) -> String {
        let decision = self.judge(packet);
        explain(&decision, &self.ir, &self.sources)
            .sourced
            .unwrap_or_else(|| "not".to_owned())
    }
}

/// How to make packets from others.
pub(crate) trait Build: Sized {
    fn set(self, field: Field, value: u64) -> Self;
    fn flags(self, flags: u64) -> Self;
    fn way(self, from: &str, to: &str) -> Self;
    fn detour(self, to: &str) -> Self;
    fn by(self, kind: PrincipalKind, name: &str) -> Self;
    fn uid(self, uid: u64) -> Self;
    fn later_fragment(self) -> Self;
    fn answer(&self) -> Self;
}

pub(crate) const FIN: u64 = 1;
pub(crate) const SYN: u64 = 2;
pub(crate) const RST: u64 = 4;
pub(crate) const ACK: u64 = 16;

fn place(name: &str) -> Place {
    if name == "host" {
        Place::Host
    } else {
        Place::Iface(name.into())
    }
}

impl Build for Packet {
    fn set(mut self, field: Field, value: u64) -> Self {
        self.fields.insert(field, value);
        self
    }

    fn flags(self, flags: u64) -> Self {
        self.set(TCP_FLAGS, flags)
    }

    fn way(mut self, from: &str, to: &str) -> Self {
        self.ingress = place(from);
        self.egress = place(to);
        self.detour = place(to);
        self
    }

    fn detour(mut self, to: &str) -> Self {
        self.detour = place(to);
        self
    }

    fn by(mut self, kind: PrincipalKind, name: &str) -> Self {
        self.principals.insert((kind, name.to_owned()));
        self
    }

    fn uid(self, uid: u64) -> Self {
        self.set(UID, uid)
    }

    fn later_fragment(mut self) -> Self {
        for field in [SPORT, DPORT, TCP_FLAGS, ICMP_TYPE, ICMP_CODE] {
            self.fields.remove(&field);
        }
        self.set(IP_FRAGMENT, 1)
    }

    /// The answer, before any translation: ends and ports are swapped.
    fn answer(&self) -> Self {
        let mut answer = Self {
            ingress: self.egress.clone(),
            egress: self.ingress.clone(),
            detour: self.ingress.clone(),
            saddr: self.daddr,
            daddr: self.saddr,
            ..self.clone()
        };
        if let (Some(s), Some(d)) = (self.field(SPORT), self.field(DPORT)) {
            answer = answer.set(SPORT, d).set(DPORT, s);
        }
        match self.field(ICMP_TYPE) {
            Some(8) => answer.set(ICMP_TYPE, 0),
            Some(128) => answer.set(ICMP_TYPE, 129),
            _ if answer.field(TCP_FLAGS) == Some(SYN) => answer.flags(SYN | ACK),
            _ => answer,
        }
    }
}

/// A packet of a protocol by number, from `eth0` to the host.
pub(crate) fn proto(number: u8, from: &str, to: &str) -> Packet {
    let addr = |text: &str| text.parse::<IpAddr>().unwrap();
    Packet {
        ingress: place("eth0"),
        egress: Place::Host,
        detour: Place::Host,
        saddr: addr(from),
        daddr: addr(to),
        proto: number,
        fields: [].into(),
        principals: [].into(),
    }
}

fn ported(number: u64, from: &str, to: &str) -> Packet {
    let [from, to] = [from, to].map(|s| s.parse::<SocketAddr>().unwrap());
    let number = u8::try_from(number).unwrap();
    proto(number, &from.ip().to_string(), &to.ip().to_string())
        .set(SPORT, from.port().into())
        .set(DPORT, to.port().into())
}

/// A SYN from `eth0` to the host.
pub(crate) fn tcp(from: &str, to: &str) -> Packet {
    ported(TCP, from, to).flags(SYN)
}

/// A datagram from `eth0` to the host.
pub(crate) fn udp(from: &str, to: &str) -> Packet {
    ported(UDP, from, to)
}

/// An ICMP message from `eth0` to the host.
pub(crate) fn icmp(kind: u64, code: u64, from: &str, to: &str) -> Packet {
    let number = if from.contains(':') { ICMPV6 } else { ICMP };
    proto(u8::try_from(number).unwrap(), from, to)
        .set(ICMP_TYPE, kind)
        .set(ICMP_CODE, code)
}
