//! How iptables reads each field.
//!
//! What a constraint of a field comes to are alternatives, no two of which hold for one packet. Fields of the
//! network header are read by `u32`, which takes several ranges at once and reads the same bytes in
//! both families but for the offset.

use polc_bundle::Family;

use super::tree::Test;
use crate::field::{Field, ICMP};
use crate::packet::{IntervalSet, addr::prefixes};
use crate::target::Capability;

/// What a constraint comes to.
#[derive(Debug)]
pub(super) enum Condition {
    /// Every packet satisfies it.
    Always,
    /// No packet does.
    Never,
    /// Those for which all tests of one alternative hold.
    OneOf(Vec<Vec<Test>>),
}

/// The most alternatives of one field.
const MOST: usize = 512;

/// The most ranges of one `u32` test.
const U32_RANGES: usize = 10;

/// The condition that a field's value is in `set`, for packets of `family`.
pub(super) fn condition(
    field: Field,
    set: &IntervalSet<u64>,
    family: Family,
) -> Result<Condition, Capability> {
    if set.is_empty() {
        return Ok(Condition::Never);
    }
    let name = field.name();
    let (max, v4) = (field.largest(), family == Family::V4);
    let network = |expr: &'static str, set: &IntervalSet<u64>| {
        if set.complement_below(max).is_empty() {
            Condition::Always
        } else {
            u32_test(expr, set, max)
        }
    };
    let found = match name {
        "ip.ttl" => network(if v4 { "8>>24" } else { "4&0xFF" }, set),
        "ip.dscp" => network(if v4 { "0>>18&0x3F" } else { "0>>22&0x3F" }, set),
        "ip.length" if v4 => network("0&0xFFFF", set),
        // The IPv6 header states the length of what follows it.
        "ip.length" if set.is_subset(&IntervalSet::range(0, 39)) => Condition::Never,
        "ip.length" => network("4>>16", &shift_down(set, 40)),
        "ip.fragment" => fragment(set, family),
        "tcp.flags" => tcp_flags(set),
        "tcp.mss" => ranges(set, |a, b| text(format!("-m tcpmss --mss {a}:{b}"))),
        "eth.saddr" => one_by_one(set, max, |negate, value| {
            text(format!("-m mac {}--mac-source {}", not(negate), mac(value)))
        })?,
        "meta.mark" => marks(set, "mark"),
        "ct.mark" => marks(set, "connmark"),
        "meta.length" => return Err(Capability::PacketLength),
        "meta.pkttype" => pkttype(set),
        "uid" | "gid" => {
            let set = set.intersection(&IntervalSet::range(0, LARGEST_ID));
            ranges(&set, |a, b| {
                let numbers = if a == b {
                    a.to_string()
                } else {
                    format!("{a}-{b}")
                };
                text(format!("-m owner --{name}-owner {numbers}"))
            })
        }
        "ct.state" => words(set, &CT_STATES, "-m conntrack --ctstate"),
        "ct.direction" => {
            let direction = if set.contains(0) { "ORIGINAL" } else { "REPLY" };
            Condition::OneOf(vec![vec![text(format!(
                "-m conntrack --ctdir {direction}"
            ))]])
        }
        "time.hour" => ranges(set, |a, b| {
            let span = format!("--timestart {a:02}:00:00 --timestop {b:02}:59:59");
            text(format!("-m time {span}"))
        }),
        "time.day" => words(set, &DAYS, "-m time --weekdays"),
        "eth.daddr" => return Err(Capability::DestEther),
        "vlan.id" | "vlan.pcp" => return Err(Capability::VlanTag),
        _ => return Err(Capability::EtherType),
    };
    let found = match found {
        Condition::OneOf(_) if set.complement_below(max).is_empty() && always_present(name) => {
            Condition::Always
        }
        found => found,
    };
    match found {
        Condition::OneOf(list) if list.len() > MOST => Err(Capability::ManyValues),
        Condition::OneOf(list) if list.is_empty() => Ok(Condition::Never),
        found => Ok(found),
    }
}

const CT_STATES: [&str; 4] = ["NEW", "ESTABLISHED", "RELATED", "UNTRACKED"];
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
/// `other` never gets as far as iptables.
const PKTTYPES: [&str; 3] = ["unicast", "broadcast", "multicast"];

/// The largest number that a user or group can have: the one behind it stands for none.
const LARGEST_ID: u64 = 0xffff_fffe;

/// Whether every packet has the field, so that a condition that every value satisfies is none.
fn always_present(name: &str) -> bool {
    name.starts_with("ip.") || name.starts_with("meta.") || name.starts_with("time.")
}

fn text(text: String) -> Test {
    Test::Text(text)
}

fn not(negate: bool) -> &'static str {
    if negate { "! " } else { "" }
}

/// One alternative for each range.
fn ranges(set: &IntervalSet<u64>, test: impl Fn(u64, u64) -> Test) -> Condition {
    let alternatives = set.ranges().iter();
    Condition::OneOf(alternatives.map(|(a, b)| vec![test(*a, *b)]).collect())
}

/// One test with all words of the set.
fn words(set: &IntervalSet<u64>, words: &[&str], option: &str) -> Condition {
    let named = words.iter().zip(0..).filter(|(_, n)| set.contains(*n));
    let list: Vec<&str> = named.map(|(word, _)| *word).collect();
    if list.is_empty() {
        return Condition::Never;
    }
    Condition::OneOf(vec![vec![text(format!("{option} {}", list.join(",")))]])
}

fn pkttype(set: &IntervalSet<u64>) -> Condition {
    if IntervalSet::range(0, 2).is_subset(set) {
        return Condition::Always;
    }
    let named = PKTTYPES.iter().zip(0..).filter(|(_, n)| set.contains(*n));
    let one = |(word, _): (&&str, u64)| vec![text(format!("-m pkttype --pkt-type {word}"))];
    Condition::OneOf(named.map(one).collect())
}

/// Values one by one, or those that are not in the set.
fn one_by_one(
    set: &IntervalSet<u64>,
    max: u64,
    test: impl Fn(bool, u64) -> Test,
) -> Result<Condition, Capability> {
    let rest = set.complement_below(max);
    let values = |set: &IntervalSet<u64>| -> Result<Vec<u64>, Capability> {
        if set.count() > MOST as u128 {
            return Err(Capability::ManyValues);
        }
        Ok(numbers(set).collect())
    };
    if rest.count() < set.count() {
        let tests = values(&rest)?.into_iter().map(|v| test(true, v)).collect();
        return Ok(Condition::OneOf(vec![tests]));
    }
    let alternatives = values(set)?.into_iter().map(|v| vec![test(false, v)]);
    Ok(Condition::OneOf(alternatives.collect()))
}

/// Bytes of the network header: a few ranges in one test.
fn u32_test(expr: &str, set: &IntervalSet<u64>, max: u64) -> Condition {
    let rest = set.complement_below(max);
    let list = |ranges: &[(u64, u64)]| {
        let range = |(a, b): &(u64, u64)| {
            if a == b {
                format!("{a:#x}")
            } else {
                format!("{a:#x}:{b:#x}")
            }
        };
        ranges.iter().map(range).collect::<Vec<_>>().join(",")
    };
    let test = |negate, ranges: &[(u64, u64)]| {
        text(format!(
            "-m u32 {}--u32 {expr}={}",
            not(negate),
            list(ranges)
        ))
    };
    if rest.ranges().len() < set.ranges().len() {
        let tests = rest.ranges().chunks(U32_RANGES).map(|c| test(true, c));
        return Condition::OneOf(vec![tests.collect()]);
    }
    let chunks = set.ranges().chunks(U32_RANGES);
    Condition::OneOf(chunks.map(|c| vec![test(false, c)]).collect())
}

fn shift_down(set: &IntervalSet<u64>, by: u64) -> IntervalSet<u64> {
    set.ranges()
        .iter()
        .filter(|(_, last)| *last >= by)
        .map(|(first, last)| (first.saturating_sub(by), last - by))
        .collect()
}

/// Whether the packet is a fragment: IPv4 has bits for it, IPv6 an extension header.
fn fragment(set: &IntervalSet<u64>, family: Family) -> Condition {
    let wanted = match (set.contains(0), set.contains(1)) {
        (true, true) => return Condition::Always,
        (_, one) => one,
    };
    Condition::OneOf(vec![vec![is_fragment(family, wanted)]])
}

/// The test that a packet is a fragment, or is not.
pub(super) fn is_fragment(family: Family, wanted: bool) -> Test {
    text(match family {
        Family::V4 => format!("-m u32 {}--u32 4&0x3FFF=0x0", not(wanted)),
        Family::V6 => format!("-m ipv6header {}--header frag --soft", not(!wanted)),
    })
}

/// Marks by their leading bits.
fn marks(set: &IntervalSet<u64>, module: &str) -> Condition {
    let max = u64::from(u32::MAX);
    let rest = set.complement_below(max);
    let parts = |set: &IntervalSet<u64>| -> Vec<(u128, u32)> {
        let ranges = set.ranges().iter();
        ranges.flat_map(|(a, b)| prefixes(*a, *b, 32)).collect()
    };
    let test = |negate, (value, len): (u128, u32)| {
        let mask = u32::MAX.checked_shl(32 - len).unwrap_or(0);
        text(format!(
            "-m {module} {}--mark {value:#x}/{mask:#x}",
            not(negate)
        ))
    };
    let (own, other) = (parts(set), parts(&rest));
    if !other.is_empty() && other.len() < own.len() {
        return Condition::OneOf(vec![other.into_iter().map(|p| test(true, p)).collect()]);
    }
    Condition::OneOf(own.into_iter().map(|p| vec![test(false, p)]).collect())
}

fn mac(value: u64) -> String {
    let bytes = [40, 32, 24, 16, 8, 0].map(|shift| format!("{:02x}", (value >> shift) & 0xff));
    bytes.join(":")
}

/// The six flags that `--tcp-flags` knows, lowest first, and the two that `ecn` does.
const TCP_FLAGS: [&str; 6] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];
const ECE: u64 = 0x40;
const CWR: u64 = 0x80;

/// All eight flags.
fn tcp_flags(set: &IntervalSet<u64>) -> Condition {
    let mut terms = Vec::new();
    ternary(set, &mut (0..8).collect(), 0, 0, &mut terms);
    Condition::OneOf(terms.into_iter().map(flags_test).collect())
}

/// The tests that `flags & mask == value`.
fn flags_test((mask, value): (u64, u64)) -> Vec<Test> {
    let names = |bits: u64| {
        let named = TCP_FLAGS.iter().enumerate();
        let list: Vec<&str> = named
            .filter(|(bit, _)| bits >> bit & 1 == 1)
            .map(|(_, name)| *name)
            .collect();
        if list.is_empty() {
            "NONE".to_owned()
        } else {
            list.join(",")
        }
    };
    // Without any of the six it asks whether there is a TCP header.
    let six = format!("-m tcp --tcp-flags {} {}", names(mask), names(value));
    let mut out = vec![text(six)];
    let more = [(ECE, "ece"), (CWR, "cwr")];
    let asked: Vec<String> = more
        .iter()
        .filter(|(bit, _)| mask & bit != 0)
        .map(|(bit, word)| format!("{}--ecn-tcp-{word}", not(value & bit == 0)))
        .collect();
    if !asked.is_empty() {
        out.push(text(format!("-m ecn {}", asked.join(" "))));
    }
    out
}

/// Writes `set`, of the numbers whose bits under `mask` are `value`, as terms of that form, no two of
/// which have a number in common. `free` are the bits that are not decided yet.
fn ternary(
    set: &IntervalSet<u64>,
    free: &mut Vec<u32>,
    mask: u64,
    value: u64,
    out: &mut Vec<(u64, u64)>,
) {
    let numbers = |free: &[u32]| -> Vec<u64> {
        free.iter().fold(vec![value], |list, bit| {
            let with = list.iter().map(|n| n | 1 << bit);
            list.iter().copied().chain(with).collect()
        })
    };
    let undecided = free.clone();
    // A bit that makes no difference is not asked about.
    free.retain(|bit| {
        let others: Vec<u32> = undecided.iter().copied().filter(|b| b != bit).collect();
        let same = |n: &u64| set.contains(*n) == set.contains(n | 1 << bit);
        !numbers(&others).iter().all(same)
    });
    let Some(bit) = free.pop() else {
        if set.contains(value) {
            out.push((mask, value));
        }
        return;
    };
    for wanted in [0, 1 << bit] {
        ternary(set, &mut free.clone(), mask | 1 << bit, value | wanted, out);
    }
}

/// The condition that an ICMP packet's type and code are among these, where they are asked for.
pub(super) fn icmp(
    types: Option<&IntervalSet<u64>>,
    codes: Option<&IntervalSet<u64>>,
    protocol: u64,
) -> Result<Condition, Capability> {
    let v4 = protocol == ICMP;
    let words = if v4 {
        ("-m icmp", "--icmp-type")
    } else {
        ("-m icmp6", "--icmpv6-type")
    };
    let test = |negate, what: String| {
        let (module, option) = words;
        text(format!("{module} {}{option} {what}", not(negate)))
    };
    let all = IntervalSet::range(0, 255);
    let types = types.unwrap_or(&all);
    let rest = types.complement_below(255);
    if let Some(codes) = codes.filter(|c| !c.complement_below(255).is_empty()) {
        let many = types.count().saturating_mul(codes.count()) > MOST as u128;
        // To iptables 255 is any type on IPv4.
        if many || v4 && types.contains(255) {
            return Err(Capability::ManyValues);
        }
        let pair = |n: u64| numbers(codes).map(move |code| format!("{n}/{code}"));
        let pairs = numbers(types).flat_map(pair);
        return Ok(Condition::OneOf(
            pairs.map(|p| vec![test(false, p)]).collect(),
        ));
    }
    if rest.is_empty() {
        // The type may be anything, but there must be one.
        let first = "0/0".to_owned();
        let either = [false, true].map(|negate| vec![test(negate, first.clone())]);
        return Ok(Condition::OneOf(either.into()));
    }
    if v4 && types.contains(255) {
        let tests = numbers(&rest).map(|n| test(true, n.to_string()));
        return Ok(Condition::OneOf(vec![tests.collect()]));
    }
    one_by_one(types, 255, |negate, n| test(negate, n.to_string()))
}

fn numbers(set: &IntervalSet<u64>) -> impl Iterator<Item = u64> {
    set.ranges().iter().flat_map(|(a, b)| *a..=*b)
}
