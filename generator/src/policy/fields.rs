//! What is asked about each field: one table for each kind of packets.

/// Fields, and what is asked about them.
pub(super) type Table = [(&'static str, &'static [&'static str])];

/// Every packet.
pub(super) const NETWORK: &Table = &[
    (
        "ip.ttl",
        &["< 5", "== 64", "in { 1, 64, 255 }", ">= 3", "== 32"],
    ),
    (
        "ip.dscp",
        &["== ef", "!= cs0", "in { af11, af21, 40-50 }", "== cs6"],
    ),
    ("ip.ecn", &["== ce", "!= not-ect", "in { ect0, ect1 }"]),
    ("ip.length", &["> 100", "<= 1500", "in { 600-1000 }"]),
    ("meta.length", &["< 128"]),
    ("meta.mark", &["== 0x10", "!= 0x0", "in { 0x10, 0x20 }"]),
    ("meta.pkttype", &["== broadcast", "in { host, multicast }"]),
    ("time.hour", &[">= 8", "in { 8-17 }"]),
    ("time.day", &["in { saturday, sunday }"]),
];

/// Packets of any protocol.
pub(super) const PROTOCOL: &Table = &[("ip.protocol", &["in { tcp, udp }", "!= gre", "== esp"])];

/// Packets that come in by an interface.
pub(super) const FRAME: &Table = &[
    (
        "eth.saddr",
        &["== 02:00:00:00:00:01", "!= 02:00:00:00:00:01"],
    ),
    ("eth.daddr", &["== 02:00:00:00:00:02"]),
    ("eth.type", &["in { ip, ip6 }"]),
    ("vlan.id", &["== 30", "in { 10-40 }", "!= 30"]),
    ("vlan.pcp", &["< 3"]),
];

pub(super) const TCP: &Table = &[
    (
        "tcp.flags",
        &[
            "== syn",
            "has syn",
            "!= syn+ack",
            "in { none, syn+fin, syn+rst }",
            "has ack",
            "has ece",
            "== syn+ece+cwr",
        ],
    ),
    ("tcp.mss", &["< 500", "!= 1460", "== 900"]),
    ("tcp.sport", &["== 80", ">= 1024"]),
    ("tcp.dport", &["in { 22, 80-90 }", "!= 80", "< 1024"]),
];

pub(super) const UDP: &Table = &[
    ("udp.sport", &["== 53", "in { 53, 123 }"]),
    ("udp.dport", &[">= 50", "!= 53"]),
];

pub(super) const ICMP: &Table = &[
    (
        "icmp.type",
        &[
            "== echo-request",
            "in { echo-request, echo-reply, 3 }",
            "!= 8",
            "in { 10-20, 130-140 }",
        ],
    ),
    ("icmp.code", &["== 0", "in { 1, 3-9 }"]),
];

/// Packets of flows.
pub(super) const TRACKED: &Table = &[
    ("ct.state", &["== new", "in { new, untracked }"]),
    ("ct.mark", &["== 0x0", "in { 0x0, 0x10 }"]),
    ("ct.direction", &["== original"]),
];

/// Packets that may have come in by any interface.
pub(super) const IFACES: &Table = &[("meta.iif", &["== eth0", "!= eth1", "in { eth0, wg* }"])];

/// Fields that not every target knows at every stage.
pub(super) const UNCOMMON: [&str; 3] = ["meta.length", "meta.mark", "meta.pkttype"];

/// Fields about which there is one thing to ask, which depends on what else is asked.
const OTHERS: [&str; 3] = ["ip.fragment", "ip.version", "meta.oif"];

/// The names of all fields.
pub(crate) fn fields() -> impl Iterator<Item = &'static str> {
    let tables = [NETWORK, PROTOCOL, FRAME, TCP, UDP, ICMP, TRACKED, IFACES];
    let named = tables.into_iter().flatten().map(|(name, _)| *name);
    named.chain(OTHERS)
}

/// Each thing that tables ask about a field.
pub(super) fn asked(tables: &[&Table]) -> Vec<(&'static str, &'static str)> {
    let rows = tables.iter().copied().flatten();
    rows.flat_map(|(name, all)| all.iter().map(|what| (*name, *what)))
        .collect()
}
