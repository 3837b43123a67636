//! Rules and groups.

use super::{End, Family, Proto, Scope, Stage, Writer, only};
use crate::shape::Feature;

impl Writer<'_> {
    /// Some statements of a block, at most `most`.
    pub(super) fn statements(&mut self, scope: Scope, most: usize) {
        for _ in 0..self.dice.between(1, most) {
            let nested = scope.depth < self.shape.depth;
            if nested && self.uses(Feature::Groups, 15) {
                self.group(scope, most);
            } else if scope.stage == Stage::Filter
                && let Some(template) = self.world.opens.clone()
                && self.dice.chance(8)
            {
                let (service, _) = self.service(Family::Both);
                let who = self.dice.word(&[
                    "",
                    ", { 10.0.0.1, fd00::1 }",
                    ", { 10.0.0.0/29, fd00::/64 }",
                ]);
                let service = service.split(',').next().unwrap_or("tcp").to_owned();
                let service = if service.contains('{') {
                    "tcp/80"
                } else {
                    &service
                };
                self.line(&format!("apply {template}({service}{who})"));
            } else {
                self.rule(scope);
            }
        }
    }

    fn group(&mut self, scope: Scope, most: usize) {
        let mut inner = scope;
        inner.depth += 1;
        let mut head = match self.dice.between(0, 3) {
            0 => self.from(&mut inner),
            1 => self.to(&mut inner),
            2 => {
                let mut condition = String::new();
                if self.has(Feature::Conditions) {
                    condition = self.when(inner, Proto::Other);
                }
                condition
            }
            _ => self.interfaces(&mut inner),
        };
        if head.is_empty() {
            " from any".clone_into(&mut head);
        }
        if self.uses(Feature::Except, 10) {
            head.push_str(" except tcp/22");
        }
        if self.uses(Feature::Logs, 10) {
            let log = self.log(inner.stage);
            head.push_str(&log);
        }
        if self.uses(Feature::Metadata, 10) {
            head.push_str(" owner ops");
        }
        self.open(head.trim_start());
        self.statements(inner, most.div_ceil(2));
        if self.dice.chance(20) {
            let verb = match inner.stage {
                Stage::Guard => self.dice.word(&["allow", "deny"]),
                Stage::Filter => self.dice.word(&["deny", "reject", "allow"]),
                Stage::Steer | Stage::Egress => "direct",
            };
            self.default(verb, inner);
        }
        self.close();
    }

    fn rule(&mut self, scope: Scope) {
        let verb = self.verb(scope.stage);
        let mut scope = scope;
        if scope.family == Family::Both && self.has(Feature::Families) {
            let families = [(60, Family::Both), (25, Family::V4), (15, Family::V6)];
            scope.family = self.dice.weighted(&families, Family::Both);
        }
        let (service, proto) = self.rule_service(verb, scope.family);
        let mut text = verb.to_owned();
        if !service.is_empty() {
            text = format!("{text} {service}");
        }
        let prefix_map = matches!(verb, "dnat" | "snat") && self.dice.chance(15);
        let (mapped, target) = if prefix_map {
            self.prefix_map(&mut scope)
        } else {
            ("", self.target(verb, proto))
        };
        text.push_str(&self.conditions_of(&mut scope, proto, mapped));
        text.push_str(&target);
        text.push_str(&self.limits(verb, scope.stage));
        text.push_str(&self.effects(verb, scope));
        if self.dice.chance(25) {
            self.named += 1;
            text = format!("{text} as r{}", self.named);
        }
        self.line(&text);
    }

    fn verb(&mut self, stage: Stage) -> &'static str {
        let on = |feature, weight: u32| if self.has(feature) { weight } else { 0 };
        let nat = on(Feature::Nat, 20);
        let proxy = if self.world.proxies.is_empty() { 0 } else { 20 };
        let effects = on(Feature::Match, 10);
        let verbs: &[(u32, &'static str)] = &match stage {
            Stage::Guard => [
                (35, "allow"),
                (45, "deny"),
                (effects, "match"),
                (on(Feature::Notrack, 10), "notrack"),
                (0, ""),
                (0, ""),
                (0, ""),
            ],
            Stage::Steer => [
                (20, "direct"),
                (nat, "redirect"),
                (nat, "dnat"),
                (proxy, "proxy"),
                (on(Feature::Routes, 10), "route"),
                (20, "deny"),
                (effects, "match"),
            ],
            Stage::Filter => [
                (45, "allow"),
                (30, "deny"),
                (15, "reject"),
                (effects, "match"),
                (0, ""),
                (0, ""),
                (0, ""),
            ],
            Stage::Egress => [
                (nat, "masquerade"),
                (nat, "snat"),
                (20, "direct"),
                (effects, "match"),
                (0, ""),
                (0, ""),
                (0, ""),
            ],
        };
        self.dice.weighted(verbs, "deny")
    }

    fn rule_service(&mut self, verb: &str, family: Family) -> (String, Proto) {
        match verb {
            "proxy" => {
                let service = self
                    .dice
                    .word(&["tcp", "udp", "tcp, udp", "tcp/80", "udp/53"]);
                (service.to_owned(), proto_of(service))
            }
            "redirect" | "dnat" => {
                let service = self.dice.word(&[
                    "tcp",
                    "udp/53",
                    "tcp/80",
                    "tcp/{80, 443}",
                    "udp/50-60",
                    "tcp/22",
                ]);
                (service.to_owned(), proto_of(service))
            }
            _ if self.dice.chance(40) => (String::new(), Proto::All),
            _ => self.service(family),
        }
    }

    /// What stands between the service and the target.
    fn conditions_of(&mut self, scope: &mut Scope, proto: Proto, mapped: &str) -> String {
        let mut text = String::new();
        let by = self.uses(Feature::Senders, 8)
            && scope.stage != Stage::Guard
            && scope.ingress != End::Wire;
        if by {
            text.push_str(self.dice.word(&[
                " by uid 0",
                " by uid 13, 14",
                " by gid 7",
                " by user alice",
                " by user alice, bob",
                " by group staff",
                " by cgroup \"a.slice\"",
                " by cgroup \"p.slice\"",
            ]));
            scope.ingress = End::Host;
        }
        let (from, to) = if mapped.is_empty() {
            (50, 45)
        } else {
            (20, 20)
        };
        text.push_str(mapped);
        let again = |asked: bool, percent: u32| if asked { percent / 5 } else { percent };
        if self.dice.chance(again(scope.from, from)) {
            text.push_str(&self.from(scope));
        }
        if self.dice.chance(again(scope.to, to)) {
            text.push_str(&self.to(scope));
        }
        if self.uses(Feature::Original, 6) && scope.stage == Stage::Filter {
            let ends = self.addresses(scope.family, 2);
            text = format!("{text} to original {ends}");
        }
        if self.dice.chance(15) {
            text.push_str(&self.interfaces(scope));
        }
        if self.uses(Feature::Conditions, 25) {
            text.push_str(&self.when(*scope, proto));
        }
        if proto != Proto::Other && self.uses(Feature::Except, 10) {
            text.push_str(match proto {
                Proto::Udp => " except udp/53",
                _ => self
                    .dice
                    .word(&[" except tcp/80", " except tcp/22, tcp/{80, 443}"]),
            });
        }
        // What the addresses have not said already.
        if scope.family != Family::Both && self.dice.chance(60) {
            text.push_str(only(scope.family));
        }
        text
    }

    /// One prefix, and the one that it is mapped to; with some, the other family has targets in turn.
    fn prefix_map(&mut self, scope: &mut Scope) -> (&'static str, String) {
        let leaves = scope.stage == Stage::Egress;
        let (family, from, to) = match self.dice.between(0, 3) {
            0 => (Family::V6, " from fd00::/126", " to fd00::/126"),
            1 => (
                Family::Both,
                " from 10.0.0.0/30, fd00::1",
                " to 10.0.0.0/30, fd00::1",
            ),
            _ => (Family::V4, " from 10.0.0.0/30", " to 10.0.0.0/30"),
        };
        scope.family = family;
        let v4 = if leaves {
            "192.0.2.0/30"
        } else {
            "10.0.1.0/30"
        };
        let target = match family {
            Family::V4 => format!(" => net {v4}"),
            Family::V6 => " => net fd00:1::/126".to_owned(),
            Family::Both => format!(" => net {v4}, fd00:1::1, fd00:1::2 balance roundrobin"),
        };
        if leaves {
            scope.from = true;
            (from, target)
        } else {
            scope.to = true;
            (to, target)
        }
    }

    fn target(&mut self, verb: &str, proto: Proto) -> String {
        let ported = matches!(proto, Proto::Tcp | Proto::Udp | Proto::Other);
        let text = match verb {
            "redirect" if ported && self.dice.chance(80) => {
                self.dice.word(&[" => :80", " => :8080", " => :53"])
            }
            "dnat" => self.dice.word(&[
                " => 10.0.0.1, fd00::1",
                " => 10.0.0.3:80, [fd00::3]:80",
                " => 10.0.0.3:8080, [fd00::3]:8080",
                " => 10.0.0.1, 10.0.0.2, fd00::1",
                " => 10.0.0.1, 10.0.0.2, fd00::1, fd00::2 balance roundrobin",
                " => 10.0.0.5:443, 10.0.0.6:80, [fd00::5]:443 balance source",
                " => 10.0.0.1, 10.0.0.2, 10.0.0.5, fd00::1, fd00::2 balance random",
                " => 10.0.0.5:443, 10.0.0.6:80, [fd00::5]:443, [fd00::2]:80 balance random",
            ]),
            "snat" => self.dice.word(&[
                " => 192.0.2.1, fd00:1::1",
                " => 192.0.2.1, 192.0.2.2, fd00:1::1",
                " => 192.0.2.1, 192.0.2.2, fd00:1::1, fd00:1::2 balance random",
            ]),
            "reject" if self.dice.chance(40) => {
                if proto == Proto::Tcp {
                    " with tcp-reset"
                } else {
                    self.dice.word(&[
                        " with port-unreachable",
                        " with host-unreachable",
                        " with admin-prohibited",
                        " with no-route",
                    ])
                }
            }
            "proxy" => {
                let name = self.dice.pick(&self.world.proxies).cloned();
                return format!(" via {}", name.unwrap_or_default());
            }
            "route" => {
                // Proxies have the first two.
                self.routes = self.routes % 13 + 1;
                return format!(
                    " via table {} mark {:#x}/0xf",
                    200 + self.routes,
                    self.routes + 2
                );
            }
            _ => "",
        };
        text.to_owned()
    }
}

fn proto_of(service: &str) -> Proto {
    match service {
        "tcp" => Proto::Tcp,
        "udp" => Proto::Udp,
        _ => Proto::Other,
    }
}
