//! Small random policies that use every part of the language.
//!
//! Addresses and ports are drawn from a few values, so that rules overlap a lot: only then do order,
//! shadowing and the joins of several rules matter.

mod clauses;
mod conditions;
mod definitions;
mod fields;
mod rules;

use std::fmt::Write as _;

pub(crate) use fields::fields;

use crate::dice::Dice;
use crate::shape::{Feature, Shape};

/// A random policy. Most of them compile; see [`valid_policy`] for those that do.
pub fn random_policy(seed: u64, shape: &Shape) -> String {
    Writer::new(seed, shape).policy()
}

/// A random policy that compiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Its text.
    pub text: String,
    /// How many were made up until one compiled.
    pub attempts: u32,
}

/// The most policies that are made up for one seed.
const MOST_ATTEMPTS: u32 = 1000;

/// The first random policy that compiles, of those of seeds derived from `seed`. Checks that look
/// at several rules at once refuse some of them. `None` when none of a thousand compiles.
pub fn valid_policy(
    seed: u64,
    shape: &Shape,
    mut compiles: impl FnMut(&str) -> bool,
) -> Option<Draw> {
    let mut seeds = Dice::new(seed);
    let mut next = seed;
    for attempts in 1..=MOST_ATTEMPTS {
        let text = random_policy(next, shape);
        if compiles(&text) {
            return Some(Draw { text, attempts });
        }
        next = seeds.seed();
    }
    None
}

/// A stage of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Guard,
    Steer,
    Filter,
    Egress,
}

/// Address families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Both,
    V4,
    V6,
}

/// What is known of one end of a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Nothing: it can be asked.
    Open,
    /// It is this host.
    Host,
    /// It is an interface.
    Wire,
}

/// What the blocks around a statement have asked already.
#[derive(Clone, Copy, Debug)]
struct Scope {
    stage: Stage,
    family: Family,
    ingress: End,
    egress: End,
    /// Whether source and destination addresses have been asked.
    from: bool,
    to: bool,
    depth: usize,
}

/// The protocols that a rule is about, as far as it matters to its clauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proto {
    /// All of them.
    All,
    /// TCP, all of it.
    Tcp,
    /// UDP, all of it.
    Udp,
    /// Some ports or types, or something else.
    Other,
}

/// The definitions that rules can use.
#[derive(Debug, Default)]
struct World {
    /// Zones, and whether they have a net.
    zones: Vec<(String, bool)>,
    /// Sets with addresses of both families.
    sets: Vec<String>,
    dynamic: Vec<String>,
    services: Vec<String>,
    buckets: Vec<String>,
    proxies: Vec<String>,
    /// A template of rules for sections, and one of a steer block.
    opens: Option<String>,
    publishes: Option<String>,
}

/// A policy in the making.
struct Writer<'s> {
    dice: Dice,
    shape: &'s Shape,
    world: World,
    out: String,
    indent: usize,
    named: usize,
    routes: u32,
    /// Whether marks have masks. Without proxies and routes they can do without.
    masks: bool,
}

impl<'s> Writer<'s> {
    fn new(seed: u64, shape: &'s Shape) -> Self {
        Self {
            dice: Dice::new(seed),
            shape,
            world: World::default(),
            out: String::new(),
            indent: 0,
            named: 0,
            routes: 0,
            masks: true,
        }
    }

    fn has(&self, feature: Feature) -> bool {
        self.shape.has(feature)
    }

    /// Whether to use a feature here, in so many of a hundred cases.
    fn uses(&mut self, feature: Feature, percent: u32) -> bool {
        self.has(feature) && self.dice.chance(percent)
    }

    /// One of the words; where policies are to be of what every target knows, none of the uncommon ones.
    fn common_word(&mut self, words: &[&'static str], uncommon: &[&str]) -> &'static str {
        if self.has(Feature::Uncommon) {
            return self.dice.word(words);
        }
        let common = words.iter().filter(|word| !uncommon.contains(word));
        let common: Vec<&'static str> = common.copied().collect();
        self.dice.word(&common)
    }

    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{:1$}{text}", "", 2 * self.indent);
    }

    fn open(&mut self, head: &str) {
        self.line(&format!("{head} {{"));
        self.indent += 1;
    }

    fn close(&mut self) {
        self.indent = self.indent.saturating_sub(1);
        self.line("}");
    }

    fn policy(mut self) -> String {
        self.line("policy drawn");
        if self.uses(Feature::Strict, 20) {
            self.line("strict icmp");
        }
        if self.uses(Feature::Strict, 20) {
            self.line("strict tcp");
        }
        self.definitions();
        self.guard();
        self.steer();
        self.egress();
        self.sections();
        self.out
    }

    fn guard(&mut self) {
        if self.shape.guard == 0 {
            return;
        }
        let on = if self.uses(Feature::Interfaces, 40) {
            format!(" on {}", self.ifaces())
        } else {
            String::new()
        };
        self.open(&format!("guard{on}"));
        let scope = Scope {
            ingress: if on.is_empty() { End::Open } else { End::Wire },
            egress: End::Wire,
            ..Scope::of(Stage::Guard)
        };
        self.statements(scope, self.shape.guard);
        let verb = self.dice.word(&["allow", "deny"]);
        self.default(verb, scope);
        self.close();
    }

    fn steer(&mut self) {
        if self.shape.steer == 0 {
            return;
        }
        if let Some(template) = self.world.publishes.clone()
            && self.dice.chance(50)
        {
            let service = self.dice.word(&["tcp/80", "udp/53", "tcp/{80, 443}"]);
            let vip = self.dice.word(&[
                "{ 10.0.0.1, fd00::1 }",
                "{ 10.0.0.0/30, fd00::/126 }",
                "10.0.0.2",
            ]);
            let server = self
                .dice
                .word(&["{ 10.0.0.3, fd00::3 }", "{ 10.0.0.3, 10.0.0.4, fd00::3 }"]);
            self.named += 1;
            let name = self.named;
            self.line(&format!(
                "apply {template}(r{name}, {service}, {vip}, {server})"
            ));
        }
        self.open("steer");
        let scope = Scope::of(Stage::Steer);
        self.statements(scope, self.shape.steer);
        if self.dice.chance(30) {
            self.default("direct", scope);
        }
        self.close();
    }

    fn egress(&mut self) {
        if self.shape.egress == 0 {
            return;
        }
        self.open("egress");
        let scope = Scope {
            egress: End::Open,
            ..Scope::of(Stage::Egress)
        };
        self.statements(scope, self.shape.egress);
        if self.dice.chance(20) {
            self.default("direct", scope);
        }
        self.close();
    }

    fn sections(&mut self) {
        if self.shape.sections == 0 || self.shape.filter == 0 {
            return;
        }
        if self.has(Feature::Partial) {
            return self.part();
        }
        for _ in 0..self.dice.between(1, self.shape.sections) {
            let (head, scope) = self.section_head();
            self.open(&head);
            self.statements(scope, self.shape.filter);
            if self.dice.chance(60) {
                let verb = self.dice.word(&["deny", "deny", "reject", "allow"]);
                self.default(verb, scope);
            }
            self.close();
        }
        let verb = self.dice.word(&["deny", "deny", "deny", "reject"]);
        self.default(verb, Scope::of(Stage::Filter));
    }

    /// Sections that are closed, and nothing about the other directions.
    fn part(&mut self) {
        let governed = self.dice.between(0, 3);
        for (bit, head, ingress, egress) in [
            (1, "to host", End::Open, End::Host),
            (2, "from host", End::Host, End::Open),
        ] {
            if governed & bit == 0 {
                continue;
            }
            let scope = Scope {
                ingress,
                egress,
                ..Scope::of(Stage::Filter)
            };
            self.open(head);
            self.statements(scope, self.shape.filter);
            let verb = self.dice.word(&["deny", "deny", "reject", "allow"]);
            self.default(verb, scope);
            self.close();
        }
    }

    fn section_head(&mut self) -> (String, Scope) {
        let mut scope = Scope::of(Stage::Filter);
        let mut head = match self.dice.between(0, 3) {
            0 => {
                scope.egress = End::Host;
                "to host".to_owned()
            }
            1 => {
                scope.ingress = End::Host;
                "from host".to_owned()
            }
            2 => match self.zone() {
                Some(zone) => {
                    scope.ingress = End::Wire;
                    if self.dice.chance(50) {
                        scope.egress = End::Host;
                        format!("from {zone} to host")
                    } else {
                        format!("from {zone}")
                    }
                }
                None => "from any".to_owned(),
            },
            _ => {
                scope.to = true;
                format!("to {}", self.ends(Family::Both))
            }
        };
        if self.uses(Feature::Families, 15) {
            scope.family = if self.dice.chance(60) {
                Family::V4
            } else {
                Family::V6
            };
            head.push_str(only(scope.family));
        }
        if self.uses(Feature::Stateless, 30) {
            head = format!("stateless {head}");
        }
        (head, scope)
    }

    fn default(&mut self, verb: &str, scope: Scope) {
        let mut text = format!("default {verb}");
        if self.uses(Feature::Logs, 30) {
            let log = self.log(scope.stage);
            text.push_str(&log);
        }
        self.line(&text);
    }
}

impl Scope {
    fn of(stage: Stage) -> Self {
        Self {
            stage,
            family: Family::Both,
            ingress: End::Open,
            egress: match stage {
                Stage::Filter => End::Open,
                _ => End::Wire,
            },
            from: false,
            to: false,
            depth: 0,
        }
    }
}

/// The clause for a family.
fn only(family: Family) -> &'static str {
    match family {
        Family::Both => "",
        Family::V4 => " only v4",
        Family::V6 => " only v6",
    }
}
