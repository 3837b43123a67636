//! Regions in the words of a policy.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::model::{Dim, HOST, Space, V4};
use crate::field::{
    CT_DIRECTION, CT_MARK, CT_STATE, DPORT, Field, Header, ICMP, ICMP_CODE, ICMP_TYPE, ICMPV6,
    IP_FRAGMENT, PROTOCOLS, SPORT, type_names, type_numbers,
};
use crate::ir::NatTarget;
use crate::ir::cube::PrincipalKind;
use crate::ir::print::field_values;
use crate::packet::addr::{range4, range6};
use crate::packet::{AddrSet, IntervalSet, Region, Values};
use crate::policy::{Policy, Value};
use crate::resolve::PRELUDE_TEXT;

/// The most ranges that are written out.
const SHOWN: usize = 6;

/// Says what regions of a space are, in the words of the policies that it is made of.
pub struct Words<'a> {
    space: &'a Space,
    /// Sets with names.
    sets: Vec<(&'a str, &'a AddrSet)>,
}

impl<'a> Words<'a> {
    /// In the words of these policies.
    pub fn new(space: &'a Space, policies: &[&'a Policy]) -> Self {
        let definitions = policies.iter().flat_map(|p| &p.definitions);
        let sets = definitions.filter_map(|d| match &d.value {
            Value::Set(set) => Some((d.name.as_str(), set)),
            _ => None,
        });
        Self {
            space,
            sets: sets.collect(),
        }
    }

    /// A region, such as `ssh from 10.0.0.0/8 to host in eth0`.
    pub fn region(&self, region: &Region) -> String {
        let mut parts = vec![self.services(region)];
        parts.extend(self.ends(region));
        parts.extend(self.conditions(region));
        parts.extend(self.answers(region));
        parts.join(" ")
    }

    fn values<'r>(&self, region: &'r Region, dim: &Dim) -> Option<&'r Values> {
        let values = self.space.values(region, dim)?;
        let full = self.space.full(dim, self.space.family(region));
        (*values != full).then_some(values)
    }

    /// The protocols, with ports or types.
    fn services(&self, region: &Region) -> String {
        let numbers = |dim: &Dim| self.values(region, dim).map(narrow);
        let protocols = numbers(&Dim::Protocol);
        let ports = numbers(&Dim::Field(DPORT));
        let types = numbers(&Dim::Field(ICMP_TYPE));
        let later = self.space.values(region, &Dim::Header(Header::Transport));
        let later = later.is_some_and(|v| !v.contains(1));
        let text = match protocols {
            None => "all traffic".to_owned(),
            Some(set) => {
                let rest = IntervalSet::range(0, 255).difference(&set);
                if set.count() > 8 && rest.count() < set.count() {
                    let names: Vec<String> = numbers_of(&rest).map(protocol).collect();
                    format!("all but {}", shorten(names))
                } else {
                    let each = numbers_of(&set).map(|p| service(p, ports.as_ref(), types.as_ref()));
                    shorten(each.collect())
                }
            }
        };
        if later {
            format!("later fragments of {text}")
        } else {
            text
        }
    }

    /// Where it comes from and goes to.
    fn ends(&self, region: &Region) -> Vec<String> {
        let mut out = Vec::new();
        let family = self.space.family(region);
        let host = Values::one(HOST);
        let side = |dim: &Dim| {
            self.space
                .values(region, dim)
                .cloned()
                .unwrap_or(Values::one(0))
        };
        let (ingress, egress) = (side(&Dim::Ingress), side(&Dim::Egress));
        let source = self.values(region, &Dim::Source);
        let dest = self.values(region, &Dim::Destination);
        let own = |values: &Values| *values == host;
        match (source, own(&ingress)) {
            (None, true) => out.push("from host".to_owned()),
            (None, false) => {}
            (Some(values), true) => {
                out.push(format!(
                    "from {} of this host",
                    self.addresses(values, family)
                ));
            }
            (Some(values), false) => out.push(format!("from {}", self.addresses(values, family))),
        }
        match (dest, own(&egress)) {
            (None, true) => out.push("to host".to_owned()),
            (None, false) => {}
            (Some(values), true) => {
                out.push(format!(
                    "to {} on this host",
                    self.addresses(values, family)
                ));
            }
            (Some(values), false) => out.push(format!("to {}", self.addresses(values, family))),
        }
        if source.is_none() && dest.is_none() {
            out.push(if family == V4 { "only v4" } else { "only v6" }.to_owned());
        }
        out.extend(self.interfaces("in", &ingress));
        out.extend(self.interfaces("out", &egress));
        if let Some(detour) = self.values(region, &Dim::Detour) {
            if own(detour) {
                out.push("led to this host".to_owned());
            } else {
                out.extend(self.interfaces("led out", detour));
            }
        }
        out
    }

    /// Interfaces, when they are not all.
    fn interfaces(&self, word: &str, values: &Values) -> Option<String> {
        let classes = &self.space.ifaces;
        let largest = self.space.full(&Dim::Ingress, V4).bounds().1;
        let label = |n: &u128| classes.label(*n).to_owned();
        let lo = classes.loopback();
        let inside: Vec<u128> = (1..=largest).filter(|n| values.contains(*n)).collect();
        let missing: Vec<u128> = (1..=largest)
            .filter(|n| *n != lo && !values.contains(*n))
            .collect();
        if inside.is_empty() || missing.is_empty() {
            return None;
        }
        // The last class is every name that no policy speaks of.
        if values.contains(largest) {
            let names: Vec<String> = missing.iter().map(label).collect();
            return Some(format!("{word} not {}", shorten(names)));
        }
        let names: Vec<String> = inside.iter().map(label).collect();
        Some(format!("{word} {}", shorten(names)))
    }

    /// Addresses of a family: a set's name, or prefixes and ranges.
    pub fn addresses(&self, values: &Values, family: u128) -> String {
        let of_family = |set: &AddrSet| match family {
            V4 => Values::of(&set.v4),
            _ => Values::of(&set.v6),
        };
        let full = self.space.full(&Dim::Source, family);
        let large = |set: &AddrSet| set.range_count() > 1;
        for (name, set) in self.sets.iter().filter(|(_, set)| large(set)) {
            let own = of_family(set);
            if own.as_ref() == Some(values) {
                return format!("@{name}");
            }
            if own.and_then(|own| full.difference(&own)).as_ref() == Some(values) {
                return format!("not @{name}");
            }
        }
        let rest = full.difference(values);
        if let Some(rest) = rest.filter(|r| r.ranges().len() < values.ranges().len()) {
            return format!("not {}", ranges(&rest, family));
        }
        ranges(values, family)
    }

    /// What else is asked of its headers.
    fn conditions(&self, region: &Region) -> Vec<String> {
        let mut out = Vec::new();
        for dim in &self.space.dims {
            let Some(values) = self.values(region, dim) else {
                continue;
            };
            let Dim::Field(field) = dim else { continue };
            let told = [DPORT, ICMP_TYPE, CT_STATE, CT_MARK, CT_DIRECTION].contains(field);
            let later = *field == IP_FRAGMENT
                && self
                    .values(region, &Dim::Header(Header::Transport))
                    .is_some();
            if told || later || *field == IP_FRAGMENT && values.contains(0) {
                continue;
            }
            out.push(condition(*field, values));
        }
        if out.is_empty() {
            out
        } else {
            vec![format!("when {}", out.join(" and "))]
        }
    }

    /// Its sender, and the answers of buckets, dynamic sets and balancing.
    pub fn answers(&self, region: &Region) -> Vec<String> {
        let (mut out, mut rates) = (Vec::new(), Vec::<String>::new());
        for dim in &self.space.dims {
            let Some(values) = self.values(region, dim) else {
                continue;
            };
            let yes = values.contains(1);
            match dim {
                Dim::Member(name, dest) => {
                    let end = if *dest {
                        "its destination"
                    } else {
                        "its source"
                    };
                    let word = if yes { "is" } else { "is not" };
                    out.push(format!("and {end} {word} in `@{name}`"));
                }
                Dim::Cgroup(name) => {
                    out.push(format!(
                        "{}by cgroup {name:?}",
                        if yes { "" } else { "not " }
                    ));
                }
                Dim::Principal(kind) => out.push(self.principals(*kind, values)),
                Dim::Tokens(at) => {
                    rates.push(self.rate(*at, values));
                }
                Dim::Choice(at) => {
                    let targets = self.space.choices.get(*at).map_or(&[][..], Vec::as_slice);
                    let chosen = targets.iter().enumerate();
                    let chosen = chosen.filter(|(n, _)| values.contains(*n as u128));
                    let names: Vec<String> = chosen.map(|(_, t)| target(*t)).collect();
                    out.push(format!("when the choice falls on {}", shorten(names)));
                }
                _ => {}
            }
        }
        if !rates.is_empty() {
            out.push(format!("while {}", rates.join(" and ")));
        }
        out
    }

    /// What a bucket has.
    fn rate(&self, at: usize, values: &Values) -> String {
        let name = self.bucket(at);
        let (first, last) = values.bounds();
        let (_, most) = self.space.full(&Dim::Tokens(at), V4).bounds();
        let tokens = |n: u128| if n == 1 { "token" } else { "tokens" };
        if self.space.is_shared(at) && self.space.counts_tokens() && last > 0 {
            return if last == most {
                format!("{name} has {first} {} or more", tokens(first))
            } else if first == last {
                format!("{name} has {first} {}", tokens(first))
            } else {
                format!("{name} has {first} to {last} tokens")
            };
        }
        if !self.space.is_shared(at) || last == 0 || first == most {
            let word = if values.contains(0) { "over" } else { "within" };
            return format!("{word} {name}");
        }
        let place = |number: u128| self.space.place(at, number).unwrap_or("?");
        let up_to = (first > 0).then(|| format!("within {name} up to `{}`", place(first)));
        let from = (last < most).then(|| format!("over {name} from `{}` on", place(last + 1)));
        let both: Vec<String> = up_to.into_iter().chain(from).collect();
        both.join(" and ")
    }

    /// A bucket's name; of two that share one, the old policy's comes first.
    fn bucket(&self, at: usize) -> String {
        let buckets = &self.space.buckets;
        let name = buckets.get(at).map_or("?", |b| &b.name);
        let mut sharing = buckets.iter().enumerate().filter(|(_, b)| &*b.name == name);
        match (sharing.next(), sharing.next()) {
            (Some((first, _)), Some(_)) if first == at => format!("the old `{name}`"),
            (Some(_), Some(_)) => format!("the new `{name}`"),
            _ => format!("`{name}`"),
        }
    }

    fn principals(&self, kind: PrincipalKind, values: &Values) -> String {
        let word = match kind {
            PrincipalKind::Group | PrincipalKind::Gid => "group",
            _ => "user",
        };
        let names = self
            .space
            .principals
            .get(&kind)
            .map_or(&[][..], Vec::as_slice);
        let listed = |inside: bool| -> Vec<String> {
            let numbered = (1..).zip(names);
            let some = numbered.filter(|(n, _)| values.contains(*n) == inside);
            some.map(|(_, name)| name.clone()).collect()
        };
        if values.contains(0) {
            format!("not by {word} {}", shorten(listed(false)))
        } else {
            format!("by {word} {}", shorten(listed(true)))
        }
    }
}

/// A target of NAT.
pub fn target(target: NatTarget) -> String {
    match target {
        NatTarget::Addr(addr, None) => addr.to_string(),
        NatTarget::Addr(addr, Some(port)) => std::net::SocketAddr::new(addr, port).to_string(),
        NatTarget::Prefix { to, len, .. } => format!("net {to}/{len}"),
    }
}

/// A protocol's name.
pub fn protocol(number: u64) -> String {
    let name = PROTOCOLS.iter().find(|(_, n)| *n == number);
    name.map_or_else(|| format!("proto/{number}"), |(name, _)| (*name).to_owned())
}

/// A protocol with the ports or types that are asked of it.
fn service(
    number: u64,
    ports: Option<&IntervalSet<u64>>,
    types: Option<&IntervalSet<u64>>,
) -> String {
    let name = protocol(number);
    if let Some(ports) = ports.filter(|_| DPORT.def().protocols.contains(&number)) {
        if let [(first, last)] = ports.ranges()
            && let Some(service) = PRELUDE.get(&(number, *first, *last))
        {
            return service.clone();
        }
        let rest = ports.complement_below(DPORT.largest());
        if rest.ranges().len() < ports.ranges().len() {
            return format!("{name} except {name}/{}", list(&rest));
        }
        return format!("{name}/{}", list(ports));
    }
    match types.filter(|_| [ICMP, ICMPV6].contains(&number)) {
        Some(types) => {
            let word = |n: u64| icmp_type(number, n);
            match types.ranges() {
                [(a, b)] if a == b => format!("{name}/{}", word(*a)),
                _ if types.count() > SHOWN as u128 => format!("{name}/{}", list(types)),
                _ => {
                    let names: Vec<String> = numbers_of(types).map(word).collect();
                    format!("{name}/{{ {} }}", names.join(", "))
                }
            }
        }
        None => name,
    }
}

/// The name of an ICMP type, or its number.
pub fn icmp_type(protocol: u64, number: u64) -> String {
    let found = type_names().find(|name| {
        let numbers = type_numbers(name);
        numbers.is_some_and(|(v4, v6)| (if protocol == ICMP { v4 } else { v6 }) == Some(number))
    });
    found.map_or_else(|| number.to_string(), str::to_owned)
}

fn condition(field: Field, values: &Values) -> String {
    let set = narrow(values);
    let name = match field {
        f if f == SPORT => "source port".to_owned(),
        f if f == ICMP_CODE => "icmp.code".to_owned(),
        f => f.name().to_owned(),
    };
    if field == IP_FRAGMENT {
        return name;
    }
    if set.ranges().len() > 4 * SHOWN {
        return format!("{name} is one of {} values", set.count());
    }
    let text = field_values(field, &set);
    match text.strip_prefix("not ") {
        Some(text) => format!("{name} is not {text}"),
        None => format!("{name} is {text}"),
    }
}

fn ranges(values: &Values, family: u128) -> String {
    let text = |(a, b): (u128, u128)| match (family, u32::try_from(a), u32::try_from(b)) {
        (V4, Ok(a), Ok(b)) => range4(a, b),
        _ => range6(a, b),
    };
    let all: Vec<String> = values.ranges().into_iter().map(text).collect();
    match all.as_slice() {
        [one] => one.clone(),
        _ => format!("{{ {} }}", shorten(all)),
    }
}

/// The first few, and how many there are.
fn shorten(mut names: Vec<String>) -> String {
    let count = names.len();
    if count > SHOWN + 1 {
        names.truncate(SHOWN);
        names.push(format!("and {} more", count - SHOWN));
    }
    names.join(", ")
}

fn list(set: &IntervalSet<u64>) -> String {
    let text = |(a, b): &(u64, u64)| {
        if a == b {
            a.to_string()
        } else {
            format!("{a}-{b}")
        }
    };
    let all: Vec<String> = set.ranges().iter().map(text).collect();
    match all.as_slice() {
        [one] => one.clone(),
        _ => format!("{{{}}}", shorten(all)),
    }
}

fn numbers_of(set: &IntervalSet<u64>) -> impl Iterator<Item = u64> + '_ {
    set.ranges().iter().flat_map(|(a, b)| *a..=*b)
}

/// Numbers of a field.
fn narrow(values: &Values) -> IntervalSet<u64> {
    let number = |n: u128| u64::try_from(n).unwrap_or(u64::MAX);
    values
        .ranges()
        .into_iter()
        .map(|(a, b)| (number(a), number(b)))
        .collect()
}

/// The prelude's services of one protocol and one range of ports.
static PRELUDE: LazyLock<BTreeMap<(u64, u64, u64), String>> = LazyLock::new(|| {
    let mut out = BTreeMap::new();
    for line in PRELUDE_TEXT.lines() {
        let Some((name, meaning)) = line
            .strip_prefix("service ")
            .and_then(|rest| rest.split_once('='))
        else {
            continue;
        };
        let meaning = meaning.split('#').next().unwrap_or_default().trim();
        let Some((protocol, port)) = meaning.split_once('/') else {
            continue;
        };
        let (first, last) = port.split_once('-').unwrap_or((port, port));
        let number = PROTOCOLS
            .iter()
            .find(|(n, _)| *n == protocol)
            .map(|(_, n)| *n);
        if let (Some(number), Ok(first), Ok(last)) = (number, first.parse(), last.parse()) {
            out.entry((number, first, last))
                .or_insert_with(|| name.trim().to_owned());
        }
    }
    out
});

#[cfg(test)]
mod tests {
    use super::PRELUDE;

    #[test]
    fn the_services_of_the_prelude_have_names() {
        assert_eq!(PRELUDE.get(&(6, 22, 22)).map(String::as_str), Some("ssh"));
        assert_eq!(
            PRELUDE.get(&(17, 33434, 33534)).map(String::as_str),
            Some("traceroute")
        );
        // Part of `dns`, which is more.
        assert_eq!(PRELUDE.get(&(6, 53, 53)), None);
    }
}
