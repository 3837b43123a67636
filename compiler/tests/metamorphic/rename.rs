//! Names: what a policy, its definitions and its rules are called is nobody's business but theirs.

use std::collections::BTreeMap;

use fastrand::Rng;
use polc_compiler::interpret::Packet;
use polc_grammar::ast::{File, Item, SetOption};

use super::edit::{Written, rules};
use super::judge::{Met, in_step};
use super::trial::{Compiled, Trial, control};

/// What can be called otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Policy,
    Set,
    Dynamic,
    Service,
    Zone,
    Bucket,
    Proxy,
    Template,
    Parameter,
    Rule,
}

impl Kind {
    /// Names that nothing has. A kind has its own: a set and a service can share one, a set can be
    /// called like a word of the language, and a service like one of the prelude.
    fn pool(self) -> &'static [&'static str] {
        match self {
            Self::Policy => &["other", "ssh"],
            Self::Set => &["ssh", "allow", "host", "web", "x-1"],
            Self::Dynamic => &["from", "deny", "dns"],
            Self::Service => &["ssh", "web", "dns", "x_2"],
            Self::Zone => &["web", "dns", "a-b", "z"],
            Self::Bucket => &["web", "slow", "z9"],
            Self::Proxy => &["web", "box", "z"],
            Self::Template => &["web", "dns", "ssh"],
            Self::Parameter => &["a", "b", "web", "p-q", "ssh", "z9"],
            Self::Rule => &[],
        }
    }
}

/// Every name that a policy gives.
fn names(policy: &Compiled) -> BTreeMap<Kind, Vec<String>> {
    let mut out: BTreeMap<Kind, Vec<String>> = BTreeMap::new();
    let mut add = |kind, name: &str| {
        let list = out.entry(kind).or_default();
        if !list.iter().any(|known| known == name) {
            list.push(name.to_owned());
        }
    };
    let File { items, .. } = &policy.file;
    for item in items {
        match &item.node {
            Item::Policy(policy) => add(Kind::Policy, &policy.name.node),
            Item::Set(set) => {
                let dynamic = set.options.iter().any(|o| o.node == SetOption::Dynamic);
                add(
                    if dynamic { Kind::Dynamic } else { Kind::Set },
                    &set.name.node,
                );
            }
            Item::Service(service) => add(Kind::Service, &service.name.node),
            Item::Zone(zone) => add(Kind::Zone, &zone.name.node),
            Item::Bucket(bucket) => add(Kind::Bucket, &bucket.name.node),
            Item::Proxy(proxy) => add(Kind::Proxy, &proxy.name.node),
            Item::Template(template) => {
                add(Kind::Template, &template.name.node);
                template
                    .params
                    .iter()
                    .for_each(|p| add(Kind::Parameter, &p.name.node));
            }
            _ => {}
        }
    }
    for name in rules(&policy.file, policy.ir())
        .iter()
        .filter_map(Written::name)
    {
        add(Kind::Rule, &policy.text[name.range()]);
    }
    out
}

/// Other names for all of these kinds: new ones, or each other's.
fn renamed(policy: &Compiled, rng: &mut Rng, kinds: impl Fn(Kind) -> bool) -> Option<String> {
    let mut new: BTreeMap<String, String> = BTreeMap::new();
    for (kind, old) in names(policy) {
        if !kinds(kind) {
            continue;
        }
        let mut pool: Vec<String> = kind.pool().iter().map(|name| (*name).to_owned()).collect();
        if pool.len() < old.len() {
            pool = old.iter().map(|name| format!("{name}-x")).collect();
        } else if rng.bool() && !matches!(kind, Kind::Bucket | Kind::Rule) {
            pool.clone_from(&old);
        }
        rng.shuffle(&mut pool);
        new.extend(old.into_iter().zip(pool));
    }
    let text = words(&policy.text, &new);
    (text != policy.text).then_some(text)
}

/// The text with some words in the place of others. No name that a random policy gives is also a
/// word of something else.
fn words(text: &str, new: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let inside = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let end = rest.find(|c| !inside(c)).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        out.push_str(new.get(word).map_or(word, String::as_str));
        let next = tail.find(inside).unwrap_or(tail.len());
        out.push_str(&tail[..next]);
        rest = &tail[next..];
    }
    out
}

#[test]
fn names_mean_nothing() {
    let trial = Trial {
        policies: 60,
        floor: 90,
        may_cause: &[],
        moves_marks: false,
    };
    trial.run(|policy, rng| renamed(policy, rng, |kind| kind != Kind::Dynamic));
}

/// The comparison knows the sets that packets fill by their names, as who fills them from outside
/// does. The interpreter does not.
#[test]
fn dynamic_sets_do_the_same_under_any_name() {
    let trial = Trial {
        policies: 100,
        floor: 25,
        may_cause: &[],
        moves_marks: false,
    };
    let same = |packet: &Packet| Some((packet.clone(), packet.clone()));
    let judge = |a: &Compiled, b: &Compiled, rng: &mut Rng| in_step(a, b, same, Met::clone, rng);
    trial.run_with(
        |policy, rng| renamed(policy, rng, |kind| kind == Kind::Dynamic),
        judge,
    );
}

#[test]
fn a_name_that_means_something_else_does() {
    let text = |set| {
        format!(
            "set s0 = {{ 10.0.0.0/30 }}\nset s1 = {{ 10.0.0.0/29 }}\n\
             to host {{ allow tcp/80 from @{set} default deny }}"
        )
    };
    control(&text("s0"), &text("s1"));
    let zone = |name| {
        format!("zone a = eth0 zone b = eth1 to host {{ allow ssh from {name} default deny }}")
    };
    control(&zone("a"), &zone("b"));
}
