//! Conditions of `when`.

use super::{End, Family, Proto, Scope, Stage, Writer};

const NETWORK: [&str; 21] = [
    "ip.ttl < 5",
    "ip.ttl == 64",
    "ip.ttl in { 1, 64, 255 }",
    "ip.ttl >= 3",
    "ip.dscp == ef",
    "ip.dscp != cs0",
    "ip.dscp in { af11, af21, 40-50 }",
    "ip.length > 100",
    "ip.length <= 1500",
    "meta.length < 128",
    "meta.mark == 0x10",
    "meta.mark != 0x0",
    "meta.mark in { 0x10, 0x20 }",
    "meta.pkttype == broadcast",
    "meta.pkttype in { host, multicast }",
    "time.hour >= 8",
    "time.hour in { 8-17 }",
    "time.day in { saturday, sunday }",
    "ip.protocol in { tcp, udp }",
    "ip.protocol != gre",
    "ip.protocol == esp",
];
const FRAME: [&str; 8] = [
    "eth.saddr == 02:00:00:00:00:01",
    "eth.saddr != 02:00:00:00:00:01",
    "eth.daddr == 02:00:00:00:00:02",
    "eth.type in { ip, ip6 }",
    "vlan.id == 30",
    "vlan.id in { 10-40 }",
    "vlan.id != 30",
    "vlan.pcp < 3",
];
const TCP: [&str; 12] = [
    "tcp.flags == syn",
    "tcp.flags has syn",
    "tcp.flags != syn+ack",
    "tcp.flags in { none, syn+fin, syn+rst }",
    "tcp.flags has ack",
    "tcp.mss < 500",
    "tcp.mss != 1460",
    "tcp.sport == 80",
    "tcp.sport >= 1024",
    "tcp.dport in { 22, 80-90 }",
    "tcp.dport != 80",
    "tcp.dport < 1024",
];
const UDP: [&str; 4] = [
    "udp.sport == 53",
    "udp.sport in { 53, 123 }",
    "udp.dport >= 50",
    "udp.dport != 53",
];
const ICMP: [&str; 4] = [
    "icmp.type == echo-request",
    "icmp.type in { echo-request, echo-reply, 3 }",
    "icmp.type != 8",
    "icmp.code == 0",
];
const TRACKED: [&str; 5] = [
    "ct.state == new",
    "ct.state in { new, untracked }",
    "ct.mark == 0x0",
    "ct.mark in { 0x0, 0x10 }",
    "ct.direction == original",
];
const IFACES: [&str; 3] = [
    "meta.iif == eth0",
    "meta.iif != eth1",
    "meta.iif in { eth0, wg* }",
];

impl Writer<'_> {
    /// A `when` clause that some packets of the scope and the protocol satisfy.
    pub(super) fn when(&mut self, scope: Scope, proto: Proto) -> String {
        let first = self.comparison(scope, proto);
        let expr = match self.dice.between(0, 7) {
            0 => format!("{first} and {}", self.comparison(scope, Proto::Other)),
            1 | 2 => format!("{first} or {}", self.comparison(scope, proto)),
            3 => format!("not {first}"),
            4 => {
                let (a, b) = (self.comparison(scope, proto), self.comparison(scope, proto));
                format!("{first} or not ({a} or {b})")
            }
            _ => first,
        };
        format!(" when {expr}")
    }

    fn comparison(&mut self, scope: Scope, proto: Proto) -> String {
        if scope.stage == Stage::Guard && self.dice.chance(15) {
            return "ip.fragment".to_owned();
        }
        let tracked = scope.stage != Stage::Guard;
        if tracked && self.dice.chance(6) {
            return self.dice.word(&TRACKED).to_owned();
        }
        if scope.family != Family::Both && self.dice.chance(6) {
            let version = if scope.family == Family::V4 { 4 } else { 6 };
            return format!("ip.version == {version}");
        }
        if scope.ingress == End::Open && proto != Proto::Other && self.dice.chance(10) {
            return self.dice.word(&IFACES).to_owned();
        }
        if scope.ingress == End::Wire && self.dice.chance(15) {
            return self.dice.word(&FRAME).to_owned();
        }
        let oif = matches!(scope.stage, Stage::Filter | Stage::Egress) && scope.egress == End::Open;
        if oif && self.dice.chance(6) {
            return "meta.oif in { eth0, eth1 }".to_owned();
        }
        let special: &[&str] = match proto {
            Proto::Tcp => &TCP,
            Proto::Udp => &UDP,
            Proto::All => match self.dice.between(0, 3) {
                0 => &ICMP,
                1 => &UDP,
                _ => &TCP,
            },
            Proto::Other => &NETWORK[..18],
        };
        let special: Vec<&'static str> = special.to_vec();
        if proto == Proto::Other || self.dice.chance(60) {
            self.dice.word(&special).to_owned()
        } else if proto == Proto::All {
            self.dice.word(&NETWORK).to_owned()
        } else {
            self.dice.word(&NETWORK[..18]).to_owned()
        }
    }
}
