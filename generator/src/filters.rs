//! Rules about five fields: source, destination, two ports, protocol.
//!
//! [`read`] reads the files that packet classifiers are measured with, one filter a line:
//!
//! ```text
//! @192.0.2.0/24  198.51.100.7/32  0 : 65535  80 : 80  0x06/0xFF
//! ```
//!
//! Columns behind the protocol are not part of the five fields and not read. The format has no
//! actions: [`policy`] is given them.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// A filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The source prefix.
    pub source: (Ipv4Addr, u8),
    /// The destination prefix.
    pub dest: (Ipv4Addr, u8),
    /// The first and last source port.
    pub sport: (u16, u16),
    /// The first and last destination port.
    pub dport: (u16, u16),
    /// The protocol; any when absent.
    pub proto: Option<u8>,
}

/// Every port.
pub const ALL_PORTS: (u16, u16) = (0, u16::MAX);

const TCP: u8 = 6;
const UDP: u8 = 17;

/// What is wrong with a line of a filter file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct FilterError {
    /// The number of the line, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// What can be wrong with a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It does not begin with `@`.
    #[error("a filter begins with `@`")]
    Start,
    /// A column is not there.
    #[error("the {0} is missing")]
    Missing(&'static str),
    /// A column cannot be read.
    #[error("`{text}` is not a {what}")]
    Malformed {
        /// What was expected.
        what: &'static str,
        /// What is there.
        text: String,
    },
    /// The last port of a range is smaller than the first.
    #[error("the ports {0} to {1} are in the wrong order")]
    Order(u16, u16),
    /// A part of the protocol's bits is compared.
    #[error("the protocol mask {0:#x} is neither 0 nor 0xff")]
    Mask(u8),
    /// Ports are asked of a protocol other than TCP and UDP.
    #[error("protocol {0} has no ports")]
    Ports(u8),
}

/// Reads a filter file. Empty lines are skipped.
pub fn read(text: &str) -> Result<Vec<Filter>, FilterError> {
    let numbered = (1..).zip(text.lines().map(str::trim));
    numbered
        .filter(|(_, line)| !line.is_empty())
        .map(|(line, text)| filter(text).map_err(|problem| FilterError { line, problem }))
        .collect()
}

fn filter(line: &str) -> Result<Filter, Problem> {
    let line = line.strip_prefix('@').ok_or(Problem::Start)?;
    let spaced = line.replace(':', " : ");
    let mut words = spaced.split_whitespace();
    let source = prefix(words.next().ok_or(Problem::Missing("source"))?)?;
    let dest = prefix(words.next().ok_or(Problem::Missing("destination"))?)?;
    let sport = ports(&mut words)?;
    let dport = ports(&mut words)?;
    let proto = protocol(words.next().ok_or(Problem::Missing("protocol"))?)?;
    if let Some(other) = proto.filter(|p| ![TCP, UDP].contains(p))
        && (sport, dport) != (ALL_PORTS, ALL_PORTS)
    {
        return Err(Problem::Ports(other));
    }
    Ok(Filter {
        source,
        dest,
        sport,
        dport,
        proto,
    })
}

fn malformed(what: &'static str, text: &str) -> Problem {
    Problem::Malformed {
        what,
        text: text.to_owned(),
    }
}

fn prefix(text: &str) -> Result<(Ipv4Addr, u8), Problem> {
    let read = || {
        let (addr, len) = text.split_once('/')?;
        let len: u8 = len.parse().ok().filter(|len| *len <= 32)?;
        Some((addr.parse().ok()?, len))
    };
    read()
        .map(|(addr, len)| (masked(addr, len), len))
        .ok_or_else(|| malformed("prefix", text))
}

/// The address without the bits beyond `len`.
pub(crate) fn masked(addr: Ipv4Addr, len: u8) -> Ipv4Addr {
    let host = u32::MAX.checked_shr(len.into()).unwrap_or(0);
    Ipv4Addr::from(u32::from(addr) & !host)
}

fn ports<'a>(words: &mut impl Iterator<Item = &'a str>) -> Result<(u16, u16), Problem> {
    let mut next = || words.next().ok_or(Problem::Missing("range of ports"));
    let port = |text: &str| text.parse::<u16>().map_err(|_| malformed("port", text));
    let first = port(next()?)?;
    let colon = next()?;
    if colon != ":" {
        return Err(malformed("colon", colon));
    }
    let last = port(next()?)?;
    if first > last {
        return Err(Problem::Order(first, last));
    }
    Ok((first, last))
}

fn protocol(text: &str) -> Result<Option<u8>, Problem> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => u8::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    let read = text.split_once('/');
    let read = read.and_then(|(value, mask)| Some((number(value)?, number(mask)?)));
    match read.ok_or_else(|| malformed("protocol", text))? {
        (_, 0) => Ok(None),
        (value, 0xff) => Ok(Some(value)),
        (_, mask) => Err(Problem::Mask(mask)),
    }
}

/// What a filter does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Let it pass.
    Allow,
    /// Drop it.
    Deny,
}

/// A policy with the filters as the rules of one section about forwarded traffic.
pub fn policy(name: &str, filters: impl IntoIterator<Item = (Action, Filter)>) -> String {
    let mut text = format!("policy {name}\n\nzone outside = eth0\nzone inside  = eth1\n\n");
    text.push_str("from outside to inside {\n");
    for (action, filter) in filters {
        let verb = match action {
            Action::Allow => "allow",
            Action::Deny => "deny",
        };
        let _ = writeln!(text, "  {verb}{}", clauses(&filter));
    }
    text.push_str("  default deny\n}\n\ndefault deny\n");
    text
}

/// The services and conditions of a filter, with a blank before them.
fn clauses(filter: &Filter) -> String {
    let mut text = services(filter);
    for (word, (addr, len)) in [("from", filter.source), ("to", filter.dest)] {
        match len {
            0 => {}
            32 => {
                let _ = write!(text, " {word} {addr}");
            }
            _ => {
                let _ = write!(text, " {word} {addr}/{len}");
            }
        }
    }
    if filter.sport != ALL_PORTS {
        let range = range(filter.sport);
        let asked = protocols(filter).map(|(word, _)| format!("{word}.sport in {{ {range} }}"));
        let asked: Vec<String> = asked.collect();
        let _ = write!(text, " when {}", asked.join(" or "));
    }
    if filter.source.1 == 0 && filter.dest.1 == 0 {
        text.push_str(" only v4");
    }
    text
}

/// The protocols with ports that a filter is about.
fn protocols(filter: &Filter) -> impl Iterator<Item = (&'static str, u8)> {
    let proto = filter.proto;
    let known = [("tcp", TCP), ("udp", UDP)].into_iter();
    known.filter(move |(_, number)| proto.is_none_or(|p| p == *number))
}

fn services(filter: &Filter) -> String {
    let whole = filter.dport == ALL_PORTS;
    if let Some(number) = filter.proto.filter(|p| ![TCP, UDP].contains(p)) {
        return format!(" proto/{number}");
    }
    if whole && filter.proto.is_none() && filter.sport == ALL_PORTS {
        return String::new();
    }
    let range = range(filter.dport);
    let list: Vec<String> = protocols(filter)
        .map(|(word, _)| {
            if whole {
                word.to_owned()
            } else {
                format!("{word}/{range}")
            }
        })
        .collect();
    format!(" {}", list.join(", "))
}

fn range((first, last): (u16, u16)) -> String {
    if first == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL_PORTS, Action, FilterError, Problem, policy, read};

    const TEXT: &str = "@192.0.2.77/24\t198.51.100.7/32\t0 : 65535\t80 : 90\t0x06/0xFF\t0x0/0x0\n\
                        \n\
                        @0.0.0.0/0 0.0.0.0/0 1024:65535 53:53 0/0\n\
                        @10.0.0.0/8 0.0.0.0/0 0 : 65535 0 : 65535 0x2f/0xff\n";

    #[test]
    fn filters_become_rules() {
        let filters = read(TEXT).unwrap();
        assert_eq!(filters[0].source, ("192.0.2.0".parse().unwrap(), 24));
        assert_eq!(filters[0].sport, ALL_PORTS);
        let rules = filters.into_iter().map(|f| (Action::Allow, f));
        let text = policy("test", rules);
        for rule in [
            "  allow tcp/80-90 from 192.0.2.0/24 to 198.51.100.7\n",
            "  allow tcp/53, udp/53 when tcp.sport in { 1024-65535 } or udp.sport in { 1024-65535 } only v4\n",
            "  allow proto/47 from 10.0.0.0/8\n",
        ] {
            assert!(text.contains(rule), "{text}");
        }
    }

    #[test]
    fn errors_say_where_and_what() {
        let problem = |text: &str| read(text).unwrap_err();
        let good = "@10.0.0.0/8 10.0.0.0/8 0 : 1 0 : 1 6/0xff";
        assert_eq!(
            problem(&format!("{good}\n\n10.0.0.0/8")),
            FilterError {
                line: 3,
                problem: Problem::Start
            }
        );
        for (text, expected) in [
            (
                "@10.0.0.0/33 10.0.0.0/8",
                "line 1: `10.0.0.0/33` is not a prefix",
            ),
            ("@10.0.0.0/8", "line 1: the destination is missing"),
            (
                "@10.0.0.0/8 10.0.0.0/8 9 : 1",
                "line 1: the ports 9 to 1 are in the wrong order",
            ),
            ("@10.0.0.0/8 10.0.0.0/8 9 - 1", "line 1: `-` is not a colon"),
            (
                "@10.0.0.0/8 10.0.0.0/8 0 : 1 0 : 70000",
                "line 1: `70000` is not a port",
            ),
            (
                "@10.0.0.0/8 10.0.0.0/8 0 : 1 0 : 1",
                "line 1: the protocol is missing",
            ),
            (
                "@10.0.0.0/8 10.0.0.0/8 0 : 1 0 : 1 6/0x0f",
                "line 1: the protocol mask 0xf is neither 0 nor 0xff",
            ),
            (
                "@10.0.0.0/8 10.0.0.0/8 0 : 1 0 : 1 1/0xff",
                "line 1: protocol 1 has no ports",
            ),
        ] {
            assert_eq!(problem(text).to_string(), expected);
        }
    }
}
