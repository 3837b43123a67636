//! Rules as binary decision diagrams over the bits of a packet.

use std::collections::{BTreeMap, HashMap};

use biodivine_lib_bdd::{Bdd, BddVariable, BddVariableSet};
use polc_compiler::field::{
    CT_DIRECTION, CT_MARK, CT_STATE, Field, Header, ICMP_CODE, ICMP_TYPE, IP_FRAGMENT, IP_TTL,
};
use polc_compiler::ir::cube::PrincipalKind;
use polc_compiler::ir::{
    Atom, BucketId, Cube, DynamicId, Ir, KeyKind, ProxyId, Rate, Rule, Sense, Side, Stage, Verdict,
};
use polc_compiler::packet::{AddrSet, IfaceSet, IntervalSet, Pattern};

/// Some adjacent variables: the bits of a number, the highest first.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Bits {
    first: u16,
    width: u16,
}

const FAMILY: Bits = bits(0, 1);
const INGRESS: Bits = bits(1, 5);
const EGRESS: Bits = bits(6, 5);
const PROTO: Bits = bits(11, 8);
const HEADERS: Bits = bits(19, 5);
const TOKENS: Bits = bits(24, 64 * COUNT);
const ATOMS: Bits = bits(24 + 64 * COUNT, 32);
const SOURCE: Bits = bits(56 + 64 * COUNT, 128);
const DEST: Bits = bits(184 + 64 * COUNT, 128);
const FIELDS: u16 = 312 + 64 * COUNT;

/// The bits of the number of tokens in a bucket.
const COUNT: u16 = 4;

/// This machine, among the numbers of interfaces.
const HOST: u128 = 0;

const fn bits(first: u16, width: u16) -> Bits {
    Bits { first, width }
}

impl Bits {
    fn one(self, at: usize) -> Self {
        let at = u16::try_from(at).unwrap();
        assert!(
            at < self.width,
            "too many for the variables that are set aside"
        );
        bits(self.first + at, 1)
    }
}

pub(crate) struct Encoder {
    all: BddVariableSet,
    /// Ranges are the same over and over.
    ranges: HashMap<(Bits, u128, u128), Bdd>,
    fields: BTreeMap<Field, Bits>,
    next: u16,
    // Of the stage at hand.
    stage: Stage,
    names: Vec<String>,
    atoms: Vec<Atom>,
    untracked: bool,
    /// By bucket, the packets that have taken none, one, two … of its tokens.
    taken: BTreeMap<BucketId, Vec<Bdd>>,
    /// By dynamic set, the packets of which rules have added the key.
    added: BTreeMap<DynamicId, Bdd>,
    /// What marks a flow can have when it comes to the stage.
    marks: Vec<u32>,
    /// The kinds of dynamic sets.
    kinds: Vec<KeyKind>,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self {
            all: BddVariableSet::new_anonymous(1600),
            ranges: HashMap::new(),
            fields: BTreeMap::new(),
            next: FIELDS,
            stage: Stage::Guard,
            names: Vec::new(),
            atoms: Vec::new(),
            untracked: false,
            taken: BTreeMap::new(),
            added: BTreeMap::new(),
            marks: Vec::new(),
            kinds: Vec::new(),
        }
    }

    /// Turns to a stage of a policy.
    pub(crate) fn begin(&mut self, ir: &Ir, stage: Stage) {
        self.stage = stage;
        self.taken.clear();
        self.added.clear();
        self.marks = marks(ir, stage);
        self.kinds = ir.dynamic.iter().map(|set| set.key).collect();
        let bypass = ir.proxies.iter().flat_map(|p| &p.bypass);
        let cubes = ir.rules().flat_map(|(_, rule)| &rule.cubes);
        let cubes: Vec<&Cube> = cubes.chain(bypass).collect();
        let mut patterns = vec![Pattern::Name("lo".to_owned())];
        for set in cubes
            .iter()
            .flat_map(|c| [&c.ingress.ifaces, &c.egress.ifaces])
        {
            patterns.extend(set.include().into_iter().flatten().cloned());
            patterns.extend(set.exclude().iter().cloned());
        }
        patterns.sort();
        patterns.dedup();
        self.names = vec![String::new(), "unheard-of".to_owned()];
        for pattern in patterns {
            self.names.push(match pattern {
                Pattern::Name(name) => name,
                Pattern::Prefix(prefix) => format!("{prefix}77"),
            });
        }
        assert!(self.names.len() <= 1 << INGRESS.width);
        self.atoms = cubes.iter().flat_map(|c| c.atoms.keys().cloned()).collect();
        self.atoms.sort();
        self.atoms.dedup();
        self.untracked = stage != Stage::Egress;
    }

    pub(crate) fn nothing(&self) -> Bdd {
        self.all.mk_false()
    }

    fn bit(&self, bits: Bits, at: usize) -> Bdd {
        self.all
            .mk_var(BddVariable::from_index(bits.one(at).first.into()))
    }

    /// Numbers of some bits from `first` to `last`.
    fn range(&mut self, bits: Bits, first: u128, last: u128) -> Bdd {
        if let Some(known) = self.ranges.get(&(bits, first, last)) {
            return known.clone();
        }
        let (mut floor, mut ceiling) = (self.all.mk_true(), self.all.mk_true());
        for at in 0..usize::from(bits.width) {
            let bit = self.bit(bits, usize::from(bits.width) - 1 - at);
            let set = |number: u128| number >> at & 1 == 1;
            floor = if set(first) {
                bit.and(&floor)
            } else {
                bit.or(&floor)
            };
            ceiling = if set(last) {
                bit.not().or(&ceiling)
            } else {
                bit.not().and(&ceiling)
            };
        }
        let range = floor.and(&ceiling);
        self.ranges.insert((bits, first, last), range.clone());
        range
    }

    fn equal(&mut self, bits: Bits, number: u128) -> Bdd {
        self.range(bits, number, number)
    }

    fn any(&mut self, bits: Bits, ranges: impl IntoIterator<Item = (u128, u128)>) -> Bdd {
        let mut out = self.nothing();
        for (first, last) in ranges {
            out = out.or(&self.range(bits, first, last));
        }
        out
    }

    /// A packet of a family whose address is among the set's of that family.
    fn address(&mut self, bits: Bits, set: &AddrSet) -> Bdd {
        // The bits of an IPv4 address are the first ones.
        let v4 = Bits { width: 32, ..bits };
        let low = set
            .v4
            .ranges()
            .iter()
            .map(|(a, b)| (u128::from(*a), u128::from(*b)));
        let low = self.any(v4, low.collect::<Vec<_>>());
        let high = self.any(bits, set.v6.ranges().to_vec());
        let six = self.bit(FAMILY, 0);
        Bdd::if_then_else(&six, &high, &low)
    }

    fn side(&mut self, bits: Bits, side: &Side) -> Bdd {
        let named = side.ifaces.include().is_some() && side.ifaces.contains("lo");
        let speaks = |name: &str, set: &IfaceSet| set.contains(name) && (named || name != "lo");
        let numbers = (0u128..).zip(&self.names);
        let numbers = numbers.filter(|(number, name)| match *number {
            HOST => side.host,
            _ => speaks(name, &side.ifaces),
        });
        let numbers: Vec<(u128, u128)> = numbers.map(|(n, _)| (n, n)).collect();
        self.any(bits, numbers)
    }

    fn number(&self, name: &str) -> u128 {
        self.names.iter().position(|n| n == name).unwrap() as u128
    }

    fn header(&mut self, header: Header) -> Bdd {
        match header {
            Header::Network => self.all.mk_true(),
            Header::Transport => self.bit(HEADERS, 0),
            Header::Mss => self.bit(HEADERS, 0).and(&self.bit(HEADERS, 1)),
            Header::Ethernet => self.bit(HEADERS, 2),
            Header::Vlan => self.bit(HEADERS, 3),
            Header::Owner => self.bit(HEADERS, 4),
        }
    }

    fn field_bits(&mut self, field: Field) -> Bits {
        if let Some(known) = self.fields.get(&field) {
            return *known;
        }
        let width = u16::try_from(64 - field.largest().leading_zeros())
            .unwrap()
            .max(1);
        let own = bits(self.next, width);
        self.next += width;
        self.fields.insert(field, own);
        own
    }

    /// A packet that has the field, with a value of the set.
    fn field(&mut self, field: Field, set: &IntervalSet<u64>) -> Bdd {
        let own = self.field_bits(field);
        let ranges = set
            .ranges()
            .iter()
            .map(|(a, b)| (u128::from(*a), u128::from(*b)));
        let mut out = self.any(own, ranges.collect::<Vec<_>>());
        out = out.and(&self.header(field.def().header));
        let protocols = field.def().protocols;
        if !protocols.is_empty() {
            let numbers = protocols.iter().map(|p| (u128::from(*p), u128::from(*p)));
            out = out.and(&self.any(PROTO, numbers.collect::<Vec<_>>()));
        }
        if [CT_MARK, CT_DIRECTION].contains(&field) {
            // What belongs to no flow has neither.
            let state = self.field_bits(CT_STATE);
            out = out.and_not(&self.equal(state, 3));
        }
        out
    }

    fn cube(&mut self, cube: &Cube) -> Bdd {
        let six = self.bit(FAMILY, 0);
        let mut out = match (cube.families.v4, cube.families.v6) {
            (true, true) => self.all.mk_true(),
            (true, false) => six.not(),
            (false, true) => six,
            (false, false) => self.nothing(),
        };
        out = out.and(&self.side(INGRESS, &cube.ingress));
        // Guard does not know where a packet goes.
        if self.stage != Stage::Guard {
            out = out.and(&self.side(EGRESS, &cube.egress));
        }
        out = out.and(&self.address(SOURCE, &cube.saddr));
        out = out.and(&self.address(DEST, &cube.daddr));
        out = out.and(&self.address(DEST, &cube.original));
        let protocols = cube.proto.ranges().iter();
        let protocols = protocols.map(|(a, b)| (u128::from(*a), u128::from(*b)));
        out = out.and(&self.any(PROTO, protocols.collect::<Vec<_>>()));
        for (field, set) in &cube.fields {
            out = out.and(&self.field(*field, set));
        }
        for (atom, answer) in &cube.atoms {
            let at = self.atoms.iter().position(|a| a == atom).unwrap();
            let mut bit = self.bit(ATOMS, at);
            if let Atom::Dynamic { set, dest } = atom
                && let Some(added) = self.added.get(set).cloned()
            {
                let other = if *dest {
                    KeyKind::Source
                } else {
                    KeyKind::Dest
                };
                if self.kinds[*set] != other {
                    bit = bit.or(&added);
                }
            }
            out = out.and(&if *answer { bit } else { bit.not() });
        }
        out
    }

    /// The packets that a rule means, with its rates. It takes their tokens, and that of its log
    /// entries: to be asked rule by rule.
    pub(crate) fn rule(&mut self, ir: &Ir, rule: &Rule) -> Bdd {
        let mut out = self.nothing();
        for cube in &rule.cubes {
            let mut own = self.cube(cube);
            if let Some(Verdict::Proxy(id)) = rule.verdict {
                own = own.and(&self.captured(ir, id, cube));
            }
            out = out.or(&own);
        }
        for limit in &rule.limits {
            let within = self.take(ir, limit.bucket, &out);
            out = match limit.sense {
                Sense::Within => out.and(&within),
                Sense::Over => out.and_not(&within),
            };
        }
        // Behind a rule that decides, nothing of the stage is asked.
        if let (Some(set), None) = (rule.effects.add, &rule.verdict) {
            let nothing = self.nothing();
            let added = self.added.entry(set).or_insert(nothing);
            *added = added.or(&out);
        }
        if let Some(bucket) = rule.effects.log.as_ref().and_then(|log| log.at) {
            self.take(ir, bucket, &out);
        }
        out
    }

    /// What a proxy takes of what a rule's cube means: nothing from the senders that it lets bypass,
    /// and nothing that is for this machine or for several, unless the rule says `to host`.
    fn captured(&mut self, ir: &Ir, id: ProxyId, cube: &Cube) -> Bdd {
        let mut out = self.all.mk_true();
        if !(cube.egress.host && cube.egress.ifaces.is_empty()) {
            let lo = self.number("lo");
            let here = self.any(EGRESS, [(HOST, HOST), (lo, lo)]);
            let groups = [("224.0.0.0", 4), ("255.255.255.255", 32), ("ff00::", 8)];
            let groups = groups.map(|(addr, len)| AddrSet::prefix(addr.parse().unwrap(), len));
            let groups = groups.into_iter().map(Option::unwrap);
            let groups = groups.reduce(|a, b| a.union(&b)).unwrap();
            let groups = self.address(DEST, &groups);
            out = out.and_not(&here).and_not(&groups);
        }
        let local = self.equal(INGRESS, HOST);
        for sender in &ir.proxies[id].bypass {
            let mut bypass = local.clone();
            for (atom, answer) in &sender.atoms {
                let at = self.atoms.iter().position(|a| a == atom).unwrap();
                let bit = self.bit(ATOMS, at);
                bypass = bypass.and(&if *answer { bit } else { bit.not() });
            }
            for (field, set) in &sender.fields {
                bypass = bypass.and(&self.field(*field, set));
            }
            out = out.and_not(&bypass);
        }
        out
    }

    /// The packets for which a bucket has a token. Those of `asking` take it.
    fn take(&mut self, ir: &Ir, bucket: BucketId, asking: &Bdd) -> Bdd {
        let first = TOKENS.first + u16::try_from(bucket).unwrap() * COUNT;
        let tokens = bits(first, COUNT);
        assert!(first + COUNT <= TOKENS.first + TOKENS.width);
        let most = (1 << COUNT) - 1;
        let fresh = vec![self.all.mk_true()];
        let taken = self.taken.get(&bucket).cloned().unwrap_or(fresh);
        // By how many tokens they have taken so far.
        let mut next = vec![self.nothing(); taken.len() + 1];
        let mut out = self.nothing();
        for (count, packets) in taken.iter().enumerate() {
            assert!((count as u128) < most, "too many rules ask this bucket");
            let within = packets.and(&self.range(tokens, count as u128 + 1, most));
            let asked = within.and(asking);
            next[count] = next[count].or(&packets.and_not(&asked));
            next[count + 1] = asked;
            out = out.or(&within);
        }
        while next.last().is_some_and(Bdd::is_false) {
            next.pop();
        }
        if !matches!(ir.buckets[bucket].rate, Rate::Flows { .. }) {
            self.taken.insert(bucket, next);
        }
        out
    }

    /// Neighbour discovery and packet-too-big.
    pub(crate) fn unconditional_icmp(&mut self) -> Bdd {
        let six = self.bit(FAMILY, 0);
        let v4 = self
            .equal(PROTO, 1)
            .and(&self.field(ICMP_TYPE, &IntervalSet::one(3)))
            .and(&self.field(ICMP_CODE, &IntervalSet::one(4)));
        let types = [(2, 2), (133, 136)].into_iter().collect();
        let v6 = self.equal(PROTO, 58).and(&self.field(ICMP_TYPE, &types));
        Bdd::if_then_else(&six, &v6, &v4)
    }

    /// The packets that there can be.
    pub(crate) fn universe(&mut self) -> Bdd {
        let lo = self.number("lo");
        let last = self.names.len() as u128 - 1;
        let local = self.equal(INGRESS, HOST);
        let mut out = self
            .range(INGRESS, 0, last)
            .and(&self.range(EGRESS, 0, last));
        let (in_lo, out_lo) = (self.equal(INGRESS, lo), self.equal(EGRESS, lo));
        let here = self.equal(EGRESS, HOST);
        // What this machine sends goes out, what comes in by `lo` is for it, and nothing else
        // leaves by `lo`.
        out = out.and(&local.imp(&here.not())).and(&in_lo.imp(&here));
        out = out.and(&out_lo.imp(&local));
        if self.stage == Stage::Guard {
            out = out.and_not(&local);
        } else {
            out = out.and(&self.header(Header::Transport));
            for (field, value) in [(IP_FRAGMENT, 0), (CT_DIRECTION, 0)] {
                let own = self.field_bits(field);
                out = out.and(&self.equal(own, value));
            }
            let own = self.field_bits(CT_MARK);
            let marks = self.marks.iter().map(|m| (u128::from(*m), u128::from(*m)));
            let marks = self.any(own, marks.collect::<Vec<_>>());
            out = out.and(&marks);
            let state = self.field_bits(CT_STATE);
            let mut states = self.equal(state, 0);
            if self.untracked {
                states = states.or(&self.equal(state, 3));
            }
            out = out.and(&states);
        }
        if matches!(self.stage, Stage::Filter | Stage::Egress) {
            // What this machine sends on has lost one of its hops, of 255 at most.
            let ttl = self.field_bits(IP_TTL);
            let lowered = self.range(ttl, 0, 254);
            out = out.and(&local.or(&here).or(&lowered));
        }
        for header in [Header::Ethernet, Header::Vlan] {
            out = out.and(&local.imp(&self.header(header).not()));
        }
        let owner = self.header(Header::Owner);
        out = out.and(&owner.imp(&local));
        self.senders(out, &local)
    }

    /// Only what this machine sends has a sender, and it has one user and one group.
    fn senders(&self, mut out: Bdd, local: &Bdd) -> Bdd {
        let kind = |atom: &Atom| match atom {
            Atom::Principal(kind, _) => Some(*kind),
            Atom::Dynamic { .. } => None,
        };
        for (at, atom) in self.atoms.iter().enumerate() {
            let Some(own) = kind(atom) else { continue };
            let bit = self.bit(ATOMS, at);
            out = out.and(&bit.imp(local));
            for (other, another) in self.atoms.iter().enumerate().take(at) {
                if own != PrincipalKind::Cgroup && kind(another) == Some(own) {
                    out = out.and_not(&bit.and(&self.bit(ATOMS, other)));
                }
            }
        }
        out
    }
}

/// The marks that rules of steer and filter before a stage leave of a flow without one.
fn marks(ir: &Ir, stage: Stage) -> Vec<u32> {
    let mut known = vec![0u32];
    let before = [Stage::Steer, Stage::Filter]
        .into_iter()
        .filter(|s| *s < stage);
    for rule in before.flat_map(|s| ir.stage(s)).cycle().take(200) {
        let Some(mark) = rule.effects.mark else {
            continue;
        };
        for at in 0..known.len() {
            let new = known[at] & !mark.mask | mark.value;
            if !known.contains(&new) {
                known.push(new);
            }
        }
    }
    known
}
