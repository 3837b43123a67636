//! Names that the kernel and its tool accept.

use std::collections::BTreeSet;
use std::sync::Arc;

use polc_bundle::ObjectKind;

use crate::target::netfilter::text::quotable;

/// Words of nft's own language that cannot stand as a name. Units and words of newer versions are
/// among them.
const RESERVED: &[&str] = &[
    "accept",
    "add",
    "ah",
    "all",
    "and",
    "arp",
    "bridge",
    "burst",
    "bytes",
    "cgroup",
    "cgroupv2",
    "chain",
    "comment",
    "comp",
    "constant",
    "continue",
    "counter",
    "cpu",
    "create",
    "ct",
    "d",
    "day",
    "dccp",
    "define",
    "delete",
    "describe",
    "destroy",
    "device",
    "devices",
    "dnat",
    "drop",
    "dst",
    "dup",
    "dynamic",
    "ecn",
    "egress",
    "element",
    "elements",
    "eq",
    "esp",
    "ether",
    "exists",
    "expires",
    "export",
    "exthdr",
    "fib",
    "flags",
    "flow",
    "flowtable",
    "flush",
    "frag",
    "fwd",
    "ge",
    "geneve",
    "get",
    "goto",
    "gre",
    "gretap",
    "gt",
    "h",
    "handle",
    "hbh",
    "hook",
    "hour",
    "ibriport",
    "ibrname",
    "icmp",
    "icmpv6",
    "igmp",
    "iif",
    "iifgroup",
    "iifname",
    "iiftype",
    "import",
    "include",
    "index",
    "inet",
    "inner",
    "insert",
    "interval",
    "ip",
    "ip6",
    "ipsec",
    "jhash",
    "jump",
    "last",
    "le",
    "limit",
    "list",
    "log",
    "lshift",
    "lt",
    "m",
    "map",
    "mark",
    "masquerade",
    "meta",
    "meter",
    "mh",
    "minute",
    "missing",
    "monitor",
    "name",
    "ne",
    "netdev",
    "nftrace",
    "not",
    "notrack",
    "ns",
    "numgen",
    "obriport",
    "obrname",
    "offload",
    "oif",
    "oifgroup",
    "oifname",
    "oiftype",
    "or",
    "osf",
    "over",
    "packets",
    "persist",
    "pkttype",
    "policy",
    "position",
    "priority",
    "queue",
    "quota",
    "random",
    "rate",
    "redefine",
    "redirect",
    "reject",
    "rename",
    "replace",
    "reset",
    "return",
    "rshift",
    "rt",
    "rt0",
    "rt2",
    "rtclassid",
    "rule",
    "ruleset",
    "s",
    "sctp",
    "secmark",
    "second",
    "set",
    "size",
    "skgid",
    "skuid",
    "snat",
    "socket",
    "srh",
    "symhash",
    "synproxy",
    "table",
    "tcp",
    "th",
    "time",
    "timeout",
    "tproxy",
    "tunnel",
    "type",
    "typeof",
    "udp",
    "udplite",
    "undefine",
    "update",
    "vlan",
    "vmap",
    "vxlan",
    "week",
    "xor",
    "xt",
];

/// The longest name given, before what makes it unique.
const LONGEST: usize = 40;

/// The longest comment of a kernel rule, in bytes.
const COMMENT: usize = 127;

/// Hands out names that are unique within their kind.
#[derive(Debug, Default)]
pub(crate) struct Names {
    used: BTreeSet<(ObjectKind, String)>,
}

impl Names {
    /// Takes a name that is given from outside.
    pub(crate) fn reserve(&mut self, kind: ObjectKind, name: &str) {
        self.used.insert((kind, name.to_owned()));
    }

    /// A name as near to `wish` as can be.
    pub(crate) fn unique(&mut self, kind: ObjectKind, wish: &str) -> Arc<str> {
        let base = mangle(wish);
        let mut name = base.clone();
        let mut n = 2;
        while !self.used.insert((kind, name.clone())) {
            name = format!("{base}_{n}");
            n += 1;
        }
        name.into()
    }
}

/// `wish` with every character that a name cannot have replaced.
pub(crate) fn mangle(wish: &str) -> String {
    let mut name = String::with_capacity(wish.len());
    for c in wish.chars().take(LONGEST) {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.ends_with('_') {
            name.push('_');
        }
    }
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name.insert_str(0, "n_");
    }
    if RESERVED.contains(&name.as_str()) {
        name.push('_');
    }
    name
}

/// The comment that the kernel rules of a policy's rule carry.
pub(crate) fn comment(rule: &str) -> Arc<str> {
    quotable(rule, COMMENT).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_mangled_and_unique() {
        let mut names = Names::default();
        let mut chain = |wish| names.unique(ObjectKind::Chain, wish).to_string();
        assert_eq!(chain("wan-to-host#3"), "wan_to_host_3");
        assert_eq!(chain("wan_to.host 3"), "wan_to_host_3_2");
        assert_eq!(chain("drop"), "drop_");
        assert_eq!(chain("443"), "n_443");
        assert_eq!(chain("ü"), "n__");
        assert_eq!(chain(""), "n_");
        assert_eq!(
            names.unique(ObjectKind::Set, "wan-to-host#3").as_ref(),
            "wan_to_host_3"
        );
    }

    #[test]
    fn comments_fit() {
        assert_eq!(comment(&"x".repeat(500)).len(), 127);
    }
}
