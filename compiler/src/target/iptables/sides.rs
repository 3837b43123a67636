//! Conditions about a packet's way in iptables' words.

use polc_bundle::Family;

use super::Build;
use super::matches::Alt;
use super::tree::Test;
use crate::ir::Rule;
use crate::target::Capability;
use crate::target::netfilter::sides::{End, Receiver, SideTest, Sides};

impl Build<'_> {
    /// The interfaces that a packet passes. A kernel rule asks for one name at each end: of several that
    /// a packet must not have, the others are excluded.
    pub(super) fn ways(&mut self, ways: &[Sides], rule: &Rule) -> Vec<Alt> {
        let mut out = Vec::new();
        for way in ways {
            let mut list = vec![Alt::default()];
            for test in &way.before {
                list = self.side(test, rule, &list);
            }
            out.extend(list);
        }
        out
    }

    /// `known`, and the test.
    fn side(&mut self, test: &SideTest, rule: &Rule, known: &[Alt]) -> Vec<Alt> {
        let (end, negate, names) = match test {
            SideTest::Names { end, negate, names } => {
                if names.iter().any(|n| n.ends_with('+')) {
                    self.unsupported(Capability::PlusInterface, rule.span);
                }
                (*end, *negate, names.iter().cloned().collect())
            }
            SideTest::Prefix {
                end,
                negate,
                prefix,
            } => (*end, *negate, vec![format!("{prefix}+")]),
            SideTest::Sent(here) => {
                let test = self.sent_by_host(*here);
                let with = |alt: &Alt| Alt {
                    tests: [alt.tests.as_slice(), std::slice::from_ref(&test)].concat(),
                    ..alt.clone()
                };
                return known.iter().map(with).collect();
            }
        };
        let mut out = Vec::new();
        for alt in known {
            if !negate {
                out.extend(names.iter().map(|name| {
                    let mut alt = alt.clone();
                    alt.tests.push(on(end, false, name));
                    alt
                }));
                continue;
            }
            let mut alt = alt.clone();
            for name in &names {
                if alt.tests.iter().any(|t| asks_at(t, end)) {
                    alt.excludes.push(on(end, false, name));
                } else {
                    alt.tests.push(on(end, true, name));
                }
            }
            out.push(alt);
        }
        out
    }

    /// Whether a packet is for this host. The kernel knows no broadcast on IPv6, and asks there for all
    /// of several types where one is multicast.
    pub(super) fn receiver(&self, receiver: Receiver) -> Vec<Test> {
        let v4 = self.family == Family::V4;
        let types = match receiver {
            Receiver::Host | Receiver::NotHost => vec!["LOCAL"],
            Receiver::UnicastAway if v4 => vec!["LOCAL,BROADCAST,MULTICAST,ANYCAST"],
            Receiver::UnicastAway => vec!["LOCAL,ANYCAST", "MULTICAST"],
            // What is asked by the routing table, which no chain of iptables does.
            Receiver::Delivered | Receiver::Forwarded if v4 => vec!["LOCAL,BROADCAST,ANYCAST"],
            Receiver::Delivered | Receiver::Forwarded => vec!["LOCAL,ANYCAST"],
        };
        let not = match receiver {
            Receiver::Host | Receiver::Delivered => "",
            Receiver::NotHost | Receiver::Forwarded | Receiver::UnicastAway => "! ",
        };
        let test = |types| Test::Text(format!("-m addrtype {not}--dst-type {types}"));
        types.into_iter().map(test).collect()
    }
}

/// The test that an interface has a name.
fn on(end: End, negate: bool, name: &str) -> Test {
    let name = name.to_owned();
    match end {
        End::In => Test::In { negate, name },
        End::Out | End::Routed => Test::Out { negate, name },
    }
}

/// Whether the test is of the name of the interface at `end`.
fn asks_at(test: &Test, end: End) -> bool {
    match test {
        Test::In { .. } => end == End::In,
        Test::Out { .. } => end != End::In,
        _ => false,
    }
}
