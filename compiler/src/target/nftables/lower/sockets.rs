//! What arrives for the sockets of proxies.

use polc_bundle::Family;

use crate::ir::Proxy;
use crate::packet::IntervalSet;
use crate::target::netfilter::steer::protocols;
use crate::target::nftables::action::mark_packet;
use crate::target::nftables::fields::{Address, L4PROTO, TH_DPORT, address, among};
use crate::target::nftables::matches::nfproto;
use crate::target::nftables::tree::{Match, Rule as Line, Values, Verdict as Then};

/// Delivers answers to connections that a proxy opened in a client's name: their destination is
/// the client, and a transparent socket of this host has it. Sockets bound to any address do not
/// count, or every packet to the proxy's port number would be taken; nor does UDP, where one open
/// socket would take the datagrams of other clients.
pub(super) fn divert(proxies: &[Proxy]) -> Vec<Line> {
    let first = |has: fn(&Proxy) -> bool| proxies.iter().find(|p| p.tcp && has(p));
    let (v4, v6) = (first(|p| p.v4.is_some()), first(|p| p.v6.is_some()));
    let owned = "meta l4proto tcp socket transparent 1 socket wildcard 0";
    let line = |proxy: &Proxy| Line {
        statements: vec![mark_packet(proxy.mark)],
        ..Line::text(owned, Then::Accept)
    };
    match (v4, v6) {
        (Some(v4), Some(v6)) if v4.mark == v6.mark => vec![line(v4)],
        // Each family needs a mark whose table delivers it.
        _ => [(Family::V4, v4), (Family::V6, v6)]
            .into_iter()
            .filter_map(|(family, proxy)| {
                let mut line = line(proxy?);
                line.matches.insert(0, nfproto(family));
                Some(line)
            })
            .collect(),
    }
}

/// Refuses connections from outside to the proxy's own socket.
pub(super) fn direct_access(proxy: &Proxy) -> Vec<Line> {
    let mut out = Vec::new();
    let mut line = |at: Vec<Match>, port: u16| {
        let ports = IntervalSet::one(u64::from(port));
        let mut matches = vec![
            among(L4PROTO, &protocols(proxy), 255),
            among(TH_DPORT, &ports, 0xffff),
        ];
        matches.extend(at);
        out.push(Line::new(matches, Then::Drop));
    };
    let local = |family| {
        vec![
            nfproto(family),
            Match::Text("fib daddr type local".to_owned()),
        ]
    };
    if let Some((addr, port)) = proxy.v4.filter(|(a, _)| !a.is_loopback()) {
        let own = Values::V4(IntervalSet::one(addr.into()));
        let own = Match::is(address(Address::Dest, Family::V4), own);
        line(
            if addr.is_unspecified() {
                local(Family::V4)
            } else {
                vec![own]
            },
            port,
        );
    }
    if let Some((addr, port)) = proxy.v6.filter(|(a, _)| !a.is_loopback()) {
        let own = Values::V6(IntervalSet::one(addr.into()));
        let own = Match::is(address(Address::Dest, Family::V6), own);
        line(
            if addr.is_unspecified() {
                local(Family::V6)
            } else {
                vec![own]
            },
            port,
        );
    }
    out
}
