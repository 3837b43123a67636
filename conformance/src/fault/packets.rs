//! Packets near what a policy asks about.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fastrand::Rng;
use polc_compiler::field::{
    DPORT, Field, Header, ICMP, ICMP_CODE, ICMP_TYPE, ICMPV6, IP_DSCP, IP_FRAGMENT, IP_LENGTH,
    IP_TTL, META_LENGTH, SPORT, TCP, TCP_FLAGS, UDP,
};
use polc_compiler::interpret::{Packet, Place};
use polc_compiler::ir::{Cube, Ir, Side};

/// Numbers at which a policy changes its mind, and packets made of them.
pub(super) struct Maker {
    rng: Rng,
    v4: Vec<u32>,
    v6: Vec<u128>,
    fields: BTreeMap<Field, Vec<u64>>,
    ifaces: Vec<String>,
    rules: Vec<Vec<Cube>>,
    /// The last packets, to repeat and to answer.
    last: Vec<Packet>,
}

impl Maker {
    pub(super) fn new(ir: &Ir, seed: u64) -> Self {
        let ports = vec![22, 53, 80, 443, 1024, 40_000];
        let mut maker = Self {
            rng: Rng::with_seed(seed),
            v4: vec![0xc633_6401],
            v6: vec![0x2001_0db8_00ff << 80 | 1],
            fields: [(SPORT, ports.clone()), (DPORT, ports)].into(),
            ifaces: vec!["eth0".to_owned(), "eth1".to_owned()],
            rules: ir.rules().map(|(_, rule)| rule.cubes.clone()).collect(),
            last: Vec::new(),
        };
        for (_, rule) in ir.rules() {
            rule.cubes.iter().for_each(|cube| maker.learn(cube));
        }
        maker
    }

    fn learn(&mut self, cube: &Cube) {
        for set in [&cube.saddr, &cube.daddr, &cube.original] {
            for (first, last) in set.v4.ranges() {
                let half = first + (last - first) / 2;
                let near = [first.wrapping_sub(1), *first, half, half + 1, *last];
                self.v4.extend(near);
            }
            for (first, last) in set.v6.ranges() {
                let half = first + (last - first) / 2;
                let near = [first.wrapping_sub(1), *first, half, half + 1, *last];
                self.v6.extend(near);
            }
        }
        for (field, set) in &cube.fields {
            let pool = self.fields.entry(*field).or_default();
            for (first, last) in set.ranges() {
                pool.extend([first.saturating_sub(1), *first, *last, last + 1]);
            }
            pool.retain(|value| *value <= field.largest());
        }
        for side in [&cube.ingress, &cube.egress] {
            let patterns = side.ifaces.include().into_iter().flatten();
            let names = patterns.map(|p| p.to_string().replace('*', "7"));
            let new: Vec<String> = names.filter(|n| !self.ifaces.contains(n)).collect();
            self.ifaces.extend(new);
        }
    }

    fn pick<T: Clone>(rng: &mut Rng, from: &[T]) -> T {
        from[rng.usize(..from.len())].clone()
    }

    /// A new packet, an earlier one again, or an answer to an earlier one.
    pub(super) fn packet(&mut self) -> Packet {
        if !self.last.is_empty() && self.rng.u8(..4) == 0 {
            let packet = Self::pick(&mut self.rng, &self.last);
            return if self.rng.bool() {
                packet
            } else {
                answer(packet)
            };
        }
        let packet = self.fresh();
        if self.last.len() == 16 {
            self.last.remove(0);
        }
        self.last.push(packet.clone());
        packet
    }

    /// A packet near a rule: each of its numbers is most often one that the rule asks for.
    fn fresh(&mut self) -> Packet {
        let rule = Self::pick(&mut self.rng, &self.rules);
        let cube = Self::pick(&mut self.rng, &rule);
        let v4 = cube.families.v4 && (!cube.families.v6 || self.rng.bool());
        let (saddr, daddr) = if v4 == (self.rng.u8(..16) != 0) {
            let s = Self::near(&mut self.rng, &self.v4, |a| cube.saddr.v4.contains(a));
            let d = Self::near(&mut self.rng, &self.v4, |a| cube.daddr.v4.contains(a));
            (IpAddr::from(Ipv4Addr::from(s)), Ipv4Addr::from(d).into())
        } else {
            let s = Self::near(&mut self.rng, &self.v6, |a| cube.saddr.v6.contains(a));
            let d = Self::near(&mut self.rng, &self.v6, |a| cube.daddr.v6.contains(a));
            (IpAddr::from(Ipv6Addr::from(s)), Ipv6Addr::from(d).into())
        };
        let icmp = if saddr.is_ipv4() { ICMP } else { ICMPV6 };
        let protocols = [TCP, TCP, TCP, UDP, UDP, icmp, 47, 132];
        let proto = Self::near(&mut self.rng, &protocols, |p| cube.proto.contains(p));
        let [ingress, egress, detour] = self.way(&cube);
        Packet {
            ingress,
            egress,
            detour,
            saddr,
            daddr,
            proto: u8::try_from(proto).unwrap(),
            fields: self.header(proto, &cube),
            principals: [].into(),
        }
    }

    /// One of some numbers: fifteen times of sixteen one that is asked for, if there is one.
    fn near<T: Copy>(rng: &mut Rng, from: &[T], asked: impl Fn(T) -> bool) -> T {
        let inside: Vec<T> = from.iter().copied().filter(|n| asked(*n)).collect();
        let pool = if inside.is_empty() || rng.u8(..16) == 0 {
            from
        } else {
            &inside
        };
        Self::pick(rng, pool)
    }

    fn way(&mut self, cube: &Cube) -> [Place; 3] {
        let rng = &mut self.rng;
        let mut side = |side: &Side, percent: u8| {
            if side.host && (side.ifaces.is_empty() || rng.u8(..100) < percent) {
                return Place::Host;
            }
            let asked = |name: &str| side.ifaces.contains(name);
            let names: Vec<&str> = self.ifaces.iter().map(String::as_str).collect();
            Place::Iface(Self::near(rng, &names, asked).into())
        };
        let ingress = side(&cube.ingress, 30);
        let egress = side(&cube.egress, 50);
        let detour = side(&Side::any(), 30);
        match (&ingress, &egress) {
            // What this host sends to itself passes by loopback.
            (Place::Host, Place::Host) => [detour.clone(), Place::Host, detour],
            _ if rng.bool() => [ingress, egress.clone(), egress],
            _ => [ingress, egress, detour],
        }
    }

    fn header(&mut self, proto: u64, cube: &Cube) -> BTreeMap<Field, u64> {
        let rng = &mut self.rng;
        let length = rng.u64(40..1500);
        let mut out = BTreeMap::from([
            (IP_LENGTH, length),
            (META_LENGTH, length),
            (IP_TTL, 64),
            (IP_DSCP, 0),
        ]);
        match proto {
            TCP => {
                let flags = [2, 2, 2, 0x10, 0x18, 0x12, 4, 0x11, 0x42, 0xc2, 0x22];
                let asked = |f| cube.field(TCP_FLAGS).is_none_or(|set| set.contains(f));
                out.insert(TCP_FLAGS, Self::near(rng, &flags, asked));
            }
            ICMP | ICMPV6 => {
                out.insert(ICMP_TYPE, Self::pick(rng, &[8, 8, 128, 128, 3, 0, 129]));
                out.insert(ICMP_CODE, 0);
            }
            _ => {}
        }
        for (field, pool) in &self.fields {
            let has = field.def().protocols;
            // Most flags are such as flows have.
            let keep = *field == TCP_FLAGS && rng.u8(..4) != 0;
            let lacks = field.def().header > Header::Transport && rng.bool();
            if !lacks && (has.is_empty() || has.contains(&proto)) && !keep && !pool.is_empty() {
                let asked = |n| cube.field(*field).is_none_or(|set| set.contains(n));
                out.insert(*field, Self::near(rng, pool, asked));
            }
        }
        out.insert(IP_FRAGMENT, 0);
        if rng.u8(..6) == 0 {
            out.insert(IP_FRAGMENT, 1);
            if rng.bool() {
                // A later one.
                out.retain(|field, _| field.def().protocols.is_empty());
            }
        }
        out
    }
}

/// The packet that goes back.
fn answer(packet: Packet) -> Packet {
    let mut fields = packet.fields.clone();
    for (to, from) in [(SPORT, DPORT), (DPORT, SPORT)] {
        if let Some(port) = packet.field(from) {
            fields.insert(to, port);
        }
    }
    if packet.field(TCP_FLAGS) == Some(2) {
        fields.insert(TCP_FLAGS, 0x12);
    }
    Packet {
        ingress: packet.egress,
        egress: packet.ingress.clone(),
        detour: packet.ingress,
        saddr: packet.daddr,
        daddr: packet.saddr,
        fields,
        ..packet
    }
}
