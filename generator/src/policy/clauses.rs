//! Ends, interfaces, services, rates and effects.

use super::{End, Family, Proto, Scope, Stage, Writer};
use crate::shape::Feature;

const V4: [&str; 14] = [
    "10.0.0.0",
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
    "10.0.0.5",
    "10.0.0.0/29",
    "10.0.0.0/30",
    "10.0.0.4/30",
    "10.0.0.2/31",
    "10.0.0.1-10.0.0.5",
    "10.0.0.3-10.0.0.6",
    "10.0.0.0/24",
    "10.0.0.0/8",
    "192.0.2.0/24",
];
const V6: [&str; 12] = [
    "fd00::1",
    "fd00::2",
    "fd00::5",
    "fd00::/125",
    "fd00::/126",
    "fd00::4/126",
    "fd00::1-fd00::5",
    "fd00::/64",
    "fd00::/8",
    "2001:db8::/32",
    "64:ff9b::/96",
    "64:ff9b::201",
];

impl Writer<'_> {
    /// Some addresses of a family, separated by commas; of both families, some of each.
    pub(super) fn addresses(&mut self, family: Family, most: usize) -> String {
        let mut list = Vec::new();
        if family != Family::V6 {
            let count = self.dice.between(1, most);
            list.extend((0..count).map(|_| self.dice.word(&V4)));
        }
        if family != Family::V4 && self.has(Feature::Families) {
            let count = self.dice.between(1, most);
            list.extend((0..count).map(|_| self.dice.word(&V6)));
        }
        list.join(", ")
    }

    /// A list of ends of a family: sets and addresses.
    pub(super) fn ends(&mut self, family: Family) -> String {
        let set = self.dice.pick(&self.world.sets).cloned();
        match set {
            Some(set) if self.dice.chance(35) => {
                if self.dice.chance(30) {
                    format!("@{set}, {}", self.addresses(family, 1))
                } else {
                    format!("@{set}")
                }
            }
            _ if self.uses(Feature::Sets, 10) => "@private".to_owned(),
            _ if self.dice.chance(20) => format!("{{ {} }}", self.addresses(family, 3)),
            _ => self.addresses(family, 2),
        }
    }

    pub(super) fn zone(&mut self) -> Option<String> {
        let zone = self.dice.pick(&self.world.zones);
        zone.map(|(name, _)| name.clone())
    }

    /// A `from` clause.
    pub(super) fn from(&mut self, scope: &mut Scope) -> String {
        if scope.ingress == End::Open && self.dice.chance(25) {
            if scope.stage != Stage::Guard && self.dice.chance(30) {
                scope.ingress = End::Host;
                return " from host".to_owned();
            }
            if let Some(zone) = self.zone() {
                scope.ingress = End::Wire;
                let mixed = scope.stage == Stage::Filter && self.dice.chance(15);
                if mixed {
                    return format!(" from {zone}, {}", self.addresses(scope.family, 1));
                }
                return format!(" from {}{zone}", self.not(15));
            }
        }
        if let Some(set) = self.dice.pick(&self.world.dynamic).cloned()
            && self.dice.chance(15)
        {
            return format!(" from {}@{set}", self.not(30));
        }
        scope.from = true;
        format!(" from {}{}", self.not(15), self.ends(scope.family))
    }

    /// A `to` clause.
    pub(super) fn to(&mut self, scope: &mut Scope) -> String {
        let netless = matches!(scope.stage, Stage::Guard | Stage::Steer);
        if self.dice.chance(25) {
            if netless {
                let zones = self.world.zones.clone();
                let netted: Vec<&(String, bool)> = zones.iter().filter(|(_, net)| *net).collect();
                if scope.stage == Stage::Steer && self.dice.chance(30) {
                    scope.egress = End::Host;
                    return " to host".to_owned();
                }
                if let Some((zone, _)) = self.dice.pick(&netted) {
                    scope.to = true;
                    return format!(" to {zone}");
                }
            } else if scope.egress == End::Open {
                if scope.stage == Stage::Filter && self.dice.chance(20) {
                    scope.egress = End::Host;
                    return " to host".to_owned();
                }
                if let Some(zone) = self.zone() {
                    scope.egress = End::Wire;
                    return format!(" to {}{zone}", self.not(15));
                }
            }
        }
        scope.to = true;
        format!(" to {}{}", self.not(15), self.ends(scope.family))
    }

    fn not(&mut self, percent: u32) -> &'static str {
        if self.uses(Feature::Not, percent) {
            "not "
        } else {
            ""
        }
    }

    /// A list of interfaces.
    pub(super) fn ifaces(&mut self) -> String {
        let not = self.not(20);
        let list = self.dice.word(&[
            "eth0",
            "eth1",
            "eth*",
            "wg*",
            "eth0, eth1",
            "eth2, wg*",
            "wg0",
        ]);
        format!("{not}{list}")
    }

    /// An `in` or `out` clause; empty where there is nothing to ask.
    pub(super) fn interfaces(&mut self, scope: &mut Scope) -> String {
        if !self.has(Feature::Interfaces) {
            return String::new();
        }
        let leaves = match scope.stage {
            Stage::Guard => false,
            Stage::Steer => scope.ingress == End::Host,
            Stage::Filter | Stage::Egress => scope.egress == End::Open,
        };
        if leaves && self.dice.chance(40) {
            scope.egress = End::Wire;
            return format!(" out {}", self.ifaces());
        }
        if scope.ingress == End::Open {
            scope.ingress = End::Wire;
            return format!(" in {}", self.ifaces());
        }
        String::new()
    }

    /// One entry of a service.
    pub(super) fn plain_service(&mut self) -> String {
        let word = self.dice.word(&[
            "tcp",
            "udp",
            "tcp/22",
            "tcp/80",
            "tcp/443",
            "tcp/{22, 80}",
            "tcp/{80, 443, 8080}",
            "tcp/20-100",
            "tcp/50-500",
            "tcp/0-1023",
            "udp/53",
            "udp/{53, 443}",
            "udp/50-60",
            "udp/1024-65535",
            "icmp",
            "icmp/echo-request",
            "icmp/{echo-request, 3}",
            "esp",
            "gre",
            "proto/99",
            "sctp/80",
        ]);
        word.to_owned()
    }

    /// The services of a rule.
    pub(super) fn service(&mut self, family: Family) -> (String, Proto) {
        if let Some(name) = self.dice.pick(&self.world.services).cloned()
            && self.dice.chance(20)
        {
            return (name, Proto::Other);
        }
        if family == Family::V6 && self.dice.chance(10) {
            return ("icmpv6/{133, 135}".to_owned(), Proto::Other);
        }
        let first = self.plain_service();
        match first.as_str() {
            "tcp" => (first, Proto::Tcp),
            "udp" => (first, Proto::Udp),
            _ if self.dice.chance(25) => {
                let second = self.plain_service();
                (format!("{first}, {second}"), Proto::Other)
            }
            _ => (first, Proto::Other),
        }
    }

    /// The rates of a rule.
    pub(super) fn limits(&mut self, verb: &str, stage: Stage) -> String {
        if !self.uses(Feature::Rates, 15) {
            return String::new();
        }
        let sense = match verb {
            "deny" | "reject" => self.dice.word(&["over", "over", "within"]),
            _ => self.dice.word(&["within", "within", "over"]),
        };
        format!(" {sense} {}", self.rate(stage))
    }

    fn rate(&mut self, stage: Stage) -> String {
        if let Some(name) = self.dice.pick(&self.world.buckets).cloned()
            && self.dice.chance(60)
        {
            return name;
        }
        let rates: &[&'static str] = if stage == Stage::Guard {
            &[
                "10/s",
                "100 packets/s burst 20",
                "10k bytes/s",
                "50 packets/s burst 9 per source",
            ]
        } else {
            &[
                "10/s",
                "6/min burst 9 per source",
                "20 flows per source",
                "5 flows",
                "10 flows/s per dest",
            ]
        };
        let uncommon = ["10k bytes/s", "20 flows per source", "5 flows"];
        self.common_word(rates, &uncommon).to_owned()
    }

    /// A `log` clause.
    pub(super) fn log(&mut self, stage: Stage) -> String {
        let text = self
            .dice
            .word(&[" log", " log \"seen\"", " log \"seen\" at 3/s", " count"]);
        let named = self.dice.pick(&self.world.buckets).cloned();
        match named {
            Some(bucket) if stage == Stage::Filter && self.dice.chance(10) => {
                format!(" log at {bucket}")
            }
            _ => text.to_owned(),
        }
    }

    /// What a rule does besides deciding.
    pub(super) fn effects(&mut self, verb: &str, scope: Scope) -> String {
        let mut text = String::new();
        let loud = verb == "match";
        if self.uses(Feature::Logs, if loud { 50 } else { 15 }) {
            text.push_str(&self.log(scope.stage));
        }
        let marks = !matches!(verb, "deny" | "reject" | "route");
        if marks && self.uses(Feature::Marks, if loud { 50 } else { 8 }) {
            let value = self.dice.between(1, 3) * 16;
            let mask = if self.masks { "/0xf0" } else { "" };
            text = format!("{text} mark {value:#x}{mask}");
        }
        if let Some(set) = self.dice.pick(&self.world.dynamic).cloned()
            && self.dice.chance(8)
        {
            text = format!("{text} add @{set}");
        }
        if scope.stage == Stage::Steer
            && matches!(verb, "direct" | "dnat" | "redirect" | "route")
            && self.dice.chance(20)
        {
            text.push_str(" and allow");
        }
        if self.uses(Feature::Metadata, 5) {
            text.push_str(self.dice.word(&[
                " note \"why\"",
                " owner ops",
                " ticket T-1",
                " expires 2090-01-01",
                " review 2090-01-01",
            ]));
        }
        text
    }
}
