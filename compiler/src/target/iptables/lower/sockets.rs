//! What arrives for the sockets of proxies.

use std::net::IpAddr;

use polc_bundle::Family;

use super::for_protocols;
use crate::ir::{Down, Proxy};
use crate::target::Capability;
use crate::target::iptables::Build;
use crate::target::iptables::action::set_mark;
use crate::target::iptables::tree::{Line, Test, Then};
use crate::target::netfilter::label::ADMITTED;
use crate::target::netfilter::sides::Receiver;
use crate::target::netfilter::steer::protocols;

impl Build<'_> {
    /// The proxy's socket in this family.
    fn socket(&self, proxy: &Proxy) -> Option<(IpAddr, u16)> {
        match self.family {
            Family::V4 => proxy.v4.map(|(a, port)| (a.into(), port)),
            Family::V6 => proxy.v6.map(|(a, port)| (a.into(), port)),
        }
    }

    /// One chain for each proxy. `TPROXY` drops a packet for which there is no socket.
    pub(super) fn proxy_chains(&mut self) {
        self.proxy_chains.clear();
        let ir = self.ir;
        for proxy in &ir.proxies {
            if proxy.down == Down::Direct {
                self.unsupported(Capability::DownDirect, proxy.span);
            }
            let mut lines = Vec::new();
            if let Some((addr, port)) = self.socket(proxy) {
                self.features.add("TPROXY of IPv6", "2.6.37");
                // The target sets the packet's mark.
                lines.extend(set_mark(proxy.mark, true).into_iter().skip(1));
                lines.push(Line::label(ADMITTED));
                let (value, mask) = (proxy.mark.value & proxy.mark.mask, proxy.mark.mask);
                let target = format!(
                    "TPROXY --on-ip {addr} --on-port {port} --tproxy-mark {value:#x}/{mask:#x}"
                );
                let line = Line::new(vec![], Then::Final(target));
                lines.extend(for_protocols(&protocols(proxy), &line));
            }
            lines.push(Line::new(vec![], Then::Drop));
            let chain = self.chain(&proxy.name, lines);
            self.proxy_chains.push(chain);
        }
    }

    /// Delivers answers to connections that a proxy opened in a client's name: their destination is
    /// the client, and a transparent socket of this host has it. Sockets bound to any address do
    /// not count, which is what the match does by itself; nor does UDP, where one open socket would
    /// take the datagrams of other clients.
    pub(super) fn divert(&mut self) -> Vec<Line> {
        let ir = self.ir;
        let mut proxies = ir.proxies.iter();
        let Some(proxy) = proxies.find(|p| p.tcp && self.socket(p).is_some()) else {
            return vec![];
        };
        let mut lines: Vec<Line> = set_mark(proxy.mark, false);
        lines.push(Line::new(vec![], Then::Leave));
        let chain = self.chain("divert", lines);
        let owned = Test::Text("-m socket --transparent".to_owned());
        vec![Line::new(
            vec![Test::protocol(crate::field::TCP), owned],
            Then::Goto(chain),
        )]
    }

    /// Refuses connections from outside to the proxy's own socket.
    pub(super) fn direct_access(&mut self, proxy: &Proxy) -> Vec<Line> {
        let Some((addr, port)) = self.socket(proxy).filter(|(a, _)| !a.is_loopback()) else {
            return vec![];
        };
        let own = if addr.is_unspecified() {
            self.receiver(Receiver::Host)
        } else {
            vec![Test::Text(format!("-d {addr}"))]
        };
        let ports = Test::Text(format!("-m multiport --dports {port}"));
        let line = Line::new([vec![ports], own].concat(), Then::Drop);
        for_protocols(&protocols(proxy), &line)
    }
}
