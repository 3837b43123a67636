//! From a rule's cubes to the tests of kernel rules.

use polc_bundle::{Family, Unresolved};

use super::Build;
use super::fields::{self, Condition};
use super::sets::Addr;
use super::tree::Test;
use crate::diagnostic::{Code, Diagnostic};
use crate::field::{DPORT, Field, GID, Header, ICMP_CODE, ICMP_TYPE, IP_FRAGMENT, SPORT, TCP, UID};
use crate::ir::cube::{PrincipalKind, protocols};
use crate::ir::{Atom, Cube, Rule, Verdict};
use crate::packet::addr::prefixes;
use crate::packet::{AddrSet, IntervalSet};
use crate::target::Capability;
use crate::target::netfilter::check;
use crate::target::netfilter::sides::{Hook, Place, Receiver, principals, sides};
use crate::target::netfilter::text::quotable;

/// The tests of one kernel rule.
#[derive(Clone, Debug, Default)]
pub(super) struct Alt {
    pub(super) tests: Vec<Test>,
    /// It does not hold where one of these does.
    pub(super) excludes: Vec<Test>,
}

/// The kernel rules that together hold where a policy's rule does.
#[derive(Debug, Default)]
pub(super) struct Alts {
    pub(super) list: Vec<Alt>,
    /// Whether no packet satisfies two of them.
    pub(super) exclusive: bool,
}

/// The most cubes that are compared with one another to find that none overlap.
const COMPARED: usize = 6;

/// The most kernel rules of one cube.
const MOST: usize = 4096;

/// The most prefixes of an original destination, for which there are no sets.
const ORIGINALS: usize = 64;

/// Alternatives, each of some tests.
type Ways = Vec<Vec<Test>>;

impl Build<'_> {
    /// What to ask for `rule` at `place`; nothing when its packets do not pass there.
    pub(super) fn alternatives(&mut self, rule: &Rule, place: Place) -> Alts {
        let family = self.family;
        let (mut list, mut used) = (Vec::new(), Vec::new());
        for cube in rule.cubes.iter().filter(|c| is_of(c, family)) {
            let before = list.len();
            self.cube(&mut list, rule, cube, place);
            if list.len() > before {
                used.push(cube);
            }
        }
        let overlap = |a: &Cube, b: &Cube| {
            let common = a.intersection(b);
            common.is_some_and(|c| is_of(&c, family))
        };
        let exclusive = used.len() <= COMPARED
            && used
                .iter()
                .enumerate()
                .all(|(i, a)| used.iter().skip(i + 1).all(|b| !overlap(a, b)));
        Alts { list, exclusive }
    }

    fn cube(&mut self, out: &mut Vec<Alt>, rule: &Rule, cube: &Cube, place: Place) {
        let Some(senders) = principals(cube, place.hook) else {
            return;
        };
        let ways = match sides(cube, place) {
            Ok(Some(ways)) => ways,
            Ok(None) => return,
            Err(capability) => return self.unsupported(capability, rule.span),
        };
        if place.hook.is_local() && cube.fields.keys().any(|f| f.name().starts_with("eth.")) {
            // What this host sends has no Ethernet header yet, so the comparison is false.
            if cube.ingress.ifaces.is_empty() || place.hook == Hook::Post {
                self.unsupported(Capability::LocalEther, rule.span);
            }
            return;
        }
        if place.hook == Hook::Guard && cube.field(IP_FRAGMENT).is_some() {
            return self.unsupported_field(Capability::GuardFragments, IP_FRAGMENT, rule);
        }
        let (mut excludes, mut asked) = (Vec::new(), Vec::new());
        for (principal, answer) in senders {
            let test = self.principal(principal);
            if answer { &mut asked } else { &mut excludes }.push(test);
        }
        let Some((first, more)) = self.protocol(rule, cube) else {
            return;
        };
        excludes.extend(more);
        let captures = matches!(rule.verdict, Some(Verdict::Proxy(_)));
        let passed = self.ways(&ways, rule);
        let mut product = vec![first];
        product.extend(self.addresses(rule, cube));
        let Some(fields) = self.fields(rule, cube) else {
            return;
        };
        product.extend(fields);
        for (atom, answer) in &cube.atoms {
            if let Atom::Dynamic { set, dest } = atom {
                let Some(test) = self.in_dynamic(*set, *dest, *answer) else {
                    return;
                };
                product.push(vec![vec![test]]);
            }
        }
        product.push(vec![asked]);
        let receivers = ways.iter().map(|w| match w.after {
            Some(Receiver::Host) => Some(Receiver::Host),
            _ if captures => Some(Receiver::UnicastAway),
            after => after,
        });
        // Every way of a cube asks the same of the receiver, but for those that ask nothing.
        if let Some(receiver) = receivers.flatten().next() {
            product.push(vec![self.receiver(receiver)]);
        }
        let each = product.iter().map(Vec::len);
        let count = each.fold(passed.len(), usize::saturating_mul);
        if count > MOST {
            let title = format!("rule `{}` needs more than {MOST} kernel rules", rule.name);
            let error = Diagnostic::error(Code::TooComplex, title, rule.span);
            self.errors.push(error);
            return;
        }
        let list = combined(&product);
        for way in &passed {
            out.extend(list.iter().map(|tests| Alt {
                tests: [way.tests.as_slice(), tests].concat(),
                excludes: [way.excludes.as_slice(), &excludes].concat(),
            }));
        }
    }

    /// The protocol, ports and what else stands behind the network header; and protocols that the
    /// packet must not have.
    fn protocol(&mut self, rule: &Rule, cube: &Cube) -> Option<(Ways, Vec<Test>)> {
        let asks = cube.fields.keys().any(|field| behind_ip(*field));
        let all = protocols();
        if !asks && cube.proto == all {
            return Some((vec![vec![]], vec![]));
        }
        if !asks && let Some((one, rest)) = Self::negated(cube) {
            return Some((vec![one], rest));
        }
        let mut out = Vec::new();
        for number in cube.proto.ranges().iter().flat_map(|(a, b)| *a..=*b) {
            let mut product = vec![vec![vec![Test::protocol(number)]]];
            for field in [SPORT, DPORT] {
                if let Some(ports) = cube.field(field) {
                    product.push(self.ports(field, ports, number));
                }
            }
            let types = (cube.field(ICMP_TYPE), cube.field(ICMP_CODE));
            if types.0.or(types.1).is_some() {
                let found = fields::icmp(types.0, types.1, number);
                product.push(self.listed(found, ICMP_TYPE, rule)?);
            }
            for (field, set) in &cube.fields {
                let together = [SPORT, DPORT, ICMP_TYPE, ICMP_CODE].contains(field);
                if behind_ip(*field) && !together {
                    let found = fields::condition(*field, set, self.family);
                    product.push(self.listed(found, *field, rule)?);
                }
            }
            out.extend(combined(&product));
        }
        (!out.is_empty()).then_some((out, vec![]))
    }

    /// Protocols by those that are not among them. To iptables the number 0 is any protocol, so a set
    /// with it can only be told in this way, and one without it by its own numbers as well.
    fn negated(cube: &Cube) -> Option<(Vec<Test>, Vec<Test>)> {
        let rest = cube.proto.complement_below(255);
        if let Some(number) = rest.single().filter(|n| *n != 0) {
            return Some((
                vec![Test::Protocol {
                    negate: true,
                    number,
                }],
                vec![],
            ));
        }
        let numbers = rest.ranges().iter().flat_map(|(a, b)| *a..=*b);
        cube.proto
            .contains(0)
            .then(|| (vec![], numbers.map(Test::protocol).collect()))
    }

    /// The alternatives of a condition that is not `Never`, which cannot be of a cube.
    fn listed(
        &mut self,
        found: Result<Condition, Capability>,
        field: Field,
        rule: &Rule,
    ) -> Option<Ways> {
        match found {
            Ok(Condition::Always) => Some(vec![vec![]]),
            Ok(Condition::Never) => None,
            Ok(Condition::OneOf(list)) => Some(list),
            Err(capability) => {
                self.unsupported_field(capability, field, rule);
                None
            }
        }
    }

    /// Ports of one protocol: one range, up to fifteen, or a set.
    fn ports(&mut self, field: Field, set: &IntervalSet<u64>, protocol: u64) -> Ways {
        let source = field == SPORT;
        let rest = set.complement_below(field.largest());
        let negate = !rest.is_empty() && rest.ranges().len() < set.ranges().len();
        let shown = if negate { &rest } else { set };
        let not = if negate { "! " } else { "" };
        let option = if source { "sport" } else { "dport" };
        let own = match protocol {
            6 => Some("tcp"),
            17 => Some("udp"),
            33 => Some("dccp"),
            132 => Some("sctp"),
            _ => None,
        };
        let range = |(a, b): &(u64, u64)| {
            if a == b {
                a.to_string()
            } else {
                format!("{a}:{b}")
            }
        };
        let one = |text: String| vec![vec![Test::Text(text)]];
        if let ([only], Some(module)) = (shown.ranges(), own) {
            return one(format!("-m {module} {not}--{option} {}", range(only)));
        }
        let slots = |r: &(u64, u64)| if r.0 == r.1 { 1 } else { 2 };
        let list = |ranges: &[(u64, u64)]| {
            let list: Vec<String> = ranges.iter().map(range).collect();
            format!("-m multiport {not}--{option}s {}", list.join(","))
        };
        if shown.ranges().iter().map(slots).sum::<usize>() <= SLOTS {
            return one(list(shown.ranges()));
        }
        // ipset reads the ports of these.
        if [TCP, 17, 132, 136].contains(&protocol) {
            // Not by its complement: a packet without ports is in no set.
            let name = self.pool.ports(set);
            let end = if source { "src" } else { "dst" };
            return one(format!("-m set --match-set {name} {end}"));
        }
        let chunks = shown
            .ranges()
            .chunks(SLOTS / 2)
            .map(|c| Test::Text(list(c)));
        if negate {
            vec![chunks.collect()]
        } else {
            chunks.map(|t| vec![t]).collect()
        }
    }

    fn addresses(&mut self, rule: &Rule, cube: &Cube) -> Vec<Ways> {
        match self.family {
            Family::V4 => self.addresses_of(rule, cube, |set| &set.v4),
            Family::V6 => self.addresses_of(rule, cube, |set| &set.v6),
        }
    }

    fn addresses_of<T: Addr>(
        &mut self,
        rule: &Rule,
        cube: &Cube,
        part: fn(&AddrSet) -> &IntervalSet<T>,
    ) -> Vec<Ways> {
        let source = self.address(true, part(&cube.saddr), &cube.saddr);
        let dest = self.address(false, part(&cube.daddr), &cube.daddr);
        let Some(originals) = originals(part(&cube.original)) else {
            self.unsupported(Capability::ManyOriginals, rule.span);
            return vec![];
        };
        let mut dests = combined(&[vec![dest.into_iter().collect()], originals]);
        let own = cube.daddr.intersection(&cube.original);
        if check::may_lack_flow(self.ir, cube, self.family) && !part(&own).is_empty() {
            // A packet without a flow was sent to where it says.
            let none = Test::Text("-m conntrack --ctstate INVALID,UNTRACKED".to_owned());
            let test = self.address(false, part(&own), &own);
            dests.push([none].into_iter().chain(test).collect());
        }
        vec![vec![source.into_iter().collect()], dests]
    }

    /// The test that an address is in `set`; `None` when every one is.
    fn address<T: Addr>(
        &mut self,
        source: bool,
        set: &IntervalSet<T>,
        named: &AddrSet,
    ) -> Option<Test> {
        if set.is_full() {
            return None;
        }
        let rest = set.complement();
        let negate = rest.ranges().len() < set.ranges().len() && !rest.is_empty();
        let shown = if negate { &rest } else { set };
        let not = if negate { "! " } else { "" };
        if let [(first, last)] = shown.ranges() {
            let text = T::range(*first, *last);
            let option = if source { "src" } else { "dst" };
            return Some(Test::Text(if text.contains('-') {
                format!("-m iprange {not}--{option}-range {text}")
            } else {
                format!("{not}-{} {text}", &option[..1])
            }));
        }
        let label = match named.label.as_deref() {
            Some(label) if negate => label.strip_prefix("not-"),
            label => label,
        };
        let name = self.pool.nets(shown, label);
        let end = if source { "src" } else { "dst" };
        Some(Test::Text(format!("-m set {not}--match-set {name} {end}")))
    }

    /// Fields of the network header and of what the kernel knows beside the packet's bytes.
    fn fields(&mut self, rule: &Rule, cube: &Cube) -> Option<Vec<Ways>> {
        let mut out = Vec::new();
        for (field, set) in &cube.fields {
            if behind_ip(*field) {
                continue;
            }
            let found = fields::condition(*field, set, self.family);
            out.push(self.listed(found, *field, rule)?);
        }
        Some(out)
    }

    fn principal(&mut self, principal: (&PrincipalKind, &str)) -> Test {
        let (kind, name) = principal;
        let quoted = quotable(name, 255);
        let (kind, text) = match kind {
            PrincipalKind::User => ("user", format!("-m owner --uid-owner \"{quoted}\"")),
            PrincipalKind::Group => ("group", format!("-m owner --gid-owner \"{quoted}\"")),
            PrincipalKind::Uid => return Test::Text(format!("-m owner --uid-owner {quoted}")),
            PrincipalKind::Gid => return Test::Text(format!("-m owner --gid-owner {quoted}")),
            PrincipalKind::Cgroup => {
                self.features.add("cgroup match by path", "4.5");
                let path = quoted.trim_matches('/');
                ("cgroup", format!("-m cgroup --path \"{path}\""))
            }
        };
        self.unresolved.insert(Unresolved {
            kind: kind.to_owned(),
            name: name.to_owned(),
        });
        Test::Text(text)
    }

    /// Alternatives for the senders that `cube` describes.
    pub(super) fn sender(&mut self, cube: &Cube) -> Ways {
        let mut tests = Vec::new();
        for (principal, _) in principals(cube, Hook::SteerOut).into_iter().flatten() {
            tests.push(self.principal(principal));
        }
        let mut product = vec![vec![tests]];
        for field in [UID, GID] {
            if let Some(set) = cube.field(field)
                && let Ok(Condition::OneOf(ways)) = fields::condition(field, set, self.family)
            {
                product.push(ways);
            }
        }
        combined(&product)
    }

    fn unsupported_field(&mut self, capability: Capability, field: Field, rule: &Rule) {
        self.unsupported(capability, rule.span);
        if let Some(label) = self.errors.last_mut().and_then(|d| d.labels.first_mut()) {
            label.text = format!("`{}` is asked for here", field.name());
        }
    }
}

/// Whether a field stands in the header behind that of IP.
fn behind_ip(field: Field) -> bool {
    matches!(field.def().header, Header::Transport | Header::Mss)
}

/// Whether a cube has packets of a family.
pub(super) fn is_of(cube: &Cube, family: Family) -> bool {
    match family {
        Family::V4 => cube.families.v4,
        Family::V6 => cube.families.v6,
    }
}

/// One alternative of each.
fn combined(product: &[Ways]) -> Ways {
    let mut list: Ways = vec![vec![]];
    for ways in product {
        let with = |tests: &Vec<Test>| {
            let tests = tests.clone();
            ways.iter().map(move |way| [tests.as_slice(), way].concat())
        };
        list = list.iter().flat_map(with).collect();
    }
    list
}

/// The most slots of one `multiport` test; a range takes two.
const SLOTS: usize = 15;

/// The destination before steer, of which there are no sets; `None` when there are too many.
fn originals<T: Addr>(set: &IntervalSet<T>) -> Option<Ways> {
    if set.is_full() {
        return Some(vec![vec![]]);
    }
    let parts = |set: &IntervalSet<T>| -> Vec<String> {
        let ranges = set.ranges().iter();
        ranges
            .flat_map(|(a, b)| prefixes(*a, *b, T::BITS))
            .map(|(at, len)| T::prefix(at, len))
            .collect()
    };
    let test = |not, prefix| Test::Text(format!("-m conntrack {not}--ctorigdst {prefix}"));
    let (own, other) = (parts(set), parts(&set.complement()));
    if own.len().min(other.len()) > ORIGINALS {
        return None;
    }
    Some(if other.len() < own.len() {
        vec![other.into_iter().map(|p| test("! ", p)).collect()]
    } else {
        own.into_iter().map(|p| vec![test("", p)]).collect()
    })
}
