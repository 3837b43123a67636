//! What is defined before the rules.

use super::{Family, Writer};
use crate::shape::Feature;

impl Writer<'_> {
    pub(super) fn definitions(&mut self) {
        self.zones();
        self.sets();
        self.services();
        self.buckets();
        self.proxies();
        self.templates();
        let plain = self.world.proxies.is_empty() && !self.has(Feature::Routes);
        self.masks = !plain || self.dice.chance(80);
    }

    fn zones(&mut self) {
        if !self.has(Feature::Zones) {
            return;
        }
        let all = [
            ("wan", "eth0", ""),
            ("lan", "eth1, wg*", ""),
            ("dmz", "eth2", " net { 10.0.0.4/30, fd00::4/126 }"),
        ];
        for (name, ifaces, net) in all {
            if self.dice.chance(70) {
                self.line(&format!("zone {name} = {ifaces}{net}"));
                self.world.zones.push((name.to_owned(), !net.is_empty()));
            }
        }
    }

    fn sets(&mut self) {
        if self.has(Feature::Sets) {
            for at in 0..self.dice.between(0, 3) {
                let own = self.addresses(Family::Both, 4);
                let mut text = format!("set s{at} = {{ {own} }}");
                if let Some(other) = self.dice.pick(&self.world.sets).cloned()
                    && self.dice.chance(50)
                {
                    let op = self.dice.word(&["+", "-", "&"]);
                    text = format!("{text} {op} @{other}");
                }
                self.line(&text);
                self.world.sets.push(format!("s{at}"));
            }
        }
        if self.has(Feature::Dynamic) {
            for at in 0..self.dice.between(0, 2) {
                let keys = ["source", "source", "dest", "pair"];
                let key = self.common_word(&keys, &["pair"]);
                let begun = self.has(Feature::Uncommon);
                let start = if self.dice.chance(70) || key == "pair" || !begun {
                    "{}"
                } else {
                    "{ 10.0.0.7 }"
                };
                let text = format!("set d{at} as {key} = {start} dynamic idle 10m max 1000");
                self.line(&text);
                self.world.dynamic.push(format!("d{at}"));
            }
        }
    }

    fn services(&mut self) {
        if !self.has(Feature::Services) {
            return;
        }
        for at in 0..self.dice.between(0, 2) {
            let count = self.dice.between(1, 3);
            let list: Vec<String> = (0..count).map(|_| self.plain_service()).collect();
            self.line(&format!("service v{at} = {}", list.join(", ")));
            self.world.services.push(format!("v{at}"));
        }
    }

    fn buckets(&mut self) {
        if !self.has(Feature::Rates) {
            return;
        }
        for at in 0..self.dice.between(0, 2) {
            let count = self.dice.between(1, 50);
            let per = self.dice.word(&["s", "min"]);
            let keyed = [
                "",
                " per source",
                " per source/24,/56 max 100 idle 30s",
                " per dest max 100 full within",
                " per pair",
            ];
            let key = self.common_word(&keyed, &[keyed[3]]);
            self.line(&format!("bucket b{at} = {count}/{per} burst 9{key}"));
            self.world.buckets.push(format!("b{at}"));
        }
    }

    fn proxies(&mut self) {
        if !self.has(Feature::Proxies) || self.shape.steer == 0 {
            return;
        }
        for at in 0..self.dice.between(0, 2) {
            let bypass = self.dice.word(&[
                "",
                " bypass uid 13",
                " bypass user proxybox",
                " bypass cgroup \"p.slice\"",
            ]);
            let downs = ["", " down deny", " down direct"];
            let down = self.common_word(&downs, &[downs[2]]);
            let port = 12_345 + at;
            let (mark, table) = (at + 1, at + 100);
            self.line(&format!(
                "proxy p{at} {{ listen tcp, udp at 127.0.0.1:{port}, [::1]:{port} mark {mark:#x}/0xf \
                 table {table}{bypass}{down} }}"
            ));
            self.world.proxies.push(format!("p{at}"));
        }
    }

    fn templates(&mut self) {
        if !self.has(Feature::Templates) {
            return;
        }
        if self.dice.chance(40) {
            self.line("template opens(svc: service, who: set = { 10.0.0.0/30, fd00::/126 }) {");
            self.line("  allow svc from who");
            self.line("  deny svc");
            self.line("}");
            self.world.opens = Some("opens".to_owned());
        }
        if self.has(Feature::Nat) && self.shape.steer > 0 && self.dice.chance(40) {
            self.line("template publish(name: ident, svc: service, vip: set, server: set) {");
            self.line("  steer { dnat svc to vip => server and allow as name }");
            self.line("}");
            self.world.publishes = Some("publish".to_owned());
        }
    }
}
