//! Conditions of `when`.

use super::fields::{
    FRAME, ICMP, IFACES, NETWORK, PROTOCOL, TCP, TRACKED, Table, UDP, UNCOMMON, asked,
};
use super::{End, Family, Proto, Scope, Stage, Writer};
use crate::shape::Feature;

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
        if scope.stage == Stage::Guard && self.uses(Feature::Uncommon, 15) {
            return "ip.fragment".to_owned();
        }
        let tracked = scope.stage != Stage::Guard;
        if tracked && self.dice.chance(6) {
            return self.ask(&[TRACKED]);
        }
        if scope.family != Family::Both && self.dice.chance(6) {
            let version = if scope.family == Family::V4 { 4 } else { 6 };
            return format!("ip.version == {version}");
        }
        if scope.ingress == End::Open && proto != Proto::Other && self.dice.chance(10) {
            return self.ask(&[IFACES]);
        }
        if scope.ingress == End::Wire && self.uses(Feature::Uncommon, 15) {
            return self.ask(&[FRAME]);
        }
        let oif = matches!(scope.stage, Stage::Filter | Stage::Egress) && scope.egress == End::Open;
        if oif && self.dice.chance(6) {
            return "meta.oif in { eth0, eth1 }".to_owned();
        }
        let special = match proto {
            Proto::Tcp => TCP,
            Proto::Udp => UDP,
            Proto::All => match self.dice.between(0, 3) {
                0 => ICMP,
                1 => UDP,
                _ => TCP,
            },
            Proto::Other => NETWORK,
        };
        if proto == Proto::Other || self.dice.chance(60) {
            self.ask(&[special])
        } else if proto == Proto::All {
            self.ask(&[NETWORK, PROTOCOL])
        } else {
            self.ask(&[NETWORK])
        }
    }

    /// One of the comparisons of these tables.
    fn ask(&mut self, tables: &[&Table]) -> String {
        let mut asked = asked(tables);
        if !self.has(Feature::Uncommon) {
            asked.retain(|(field, _)| !UNCOMMON.contains(field));
        }
        let (field, what) = self.dice.pick(&asked).copied().unwrap_or_default();
        format!("{field} {what}")
    }
}
