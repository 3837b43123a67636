//! A packet becomes one of a socket of this host, whoever it is addressed to: of a connection that the proxy has
//! accepted, or of the socket on which it listens.

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::Cond::{Eq, Ne};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R10};
use polc_bpf::insn::Width::{DW, H, W};
use polc_bpf::insn::{AluOp, Helper, SwapBits};

use super::super::filter::decision::PROXY_SHIFT;
use super::super::filter::flows::number;
use super::super::filter::stack::{Place, Stack};
use super::super::filter::track::{Kind, SKB_MARK};
use super::super::nat::End;
use super::super::record::Item;
use super::ends;
use crate::field::{TCP, UDP};
use crate::ir::{Down, Mark, Proxy};

/// Where `struct bpf_sock` has the port of the other end, and the state (include/uapi/linux/bpf.h).
const OTHER_PORT: i16 = 48;
const STATE: i16 = 72;

/// States of TCP (`include/net/tcp_states.h`).
const TIME_WAIT: i32 = 6;
const LISTEN: i32 = 10;

/// The sizes of tuples (`struct bpf_sock_tuple`).
const TUPLE: i16 = 12;
const TUPLE6: i16 = 36;

/// Hands packets to proxies.
pub(super) struct Assign<'a> {
    pub(super) stack: &'a Stack,
    /// Where the number of the proxy is noted.
    pub(super) decision: Place,
    /// Bytes for a tuple.
    pub(super) tuple: i16,
    pub(super) next: Label,
    pub(super) drop: Label,
}

impl Assign<'_> {
    /// Hands the packet to the proxy that is noted. `open` writes the entry of a new flow that the proxy takes, whose
    /// socket is in `R8`, or goes to its label if it refuses it. A new flow goes to `direct` if nobody listens and the proxy lets it.
    pub(super) fn write(
        &self,
        asm: &mut Assembler,
        proxies: &[Proxy],
        direct: Label,
        open: impl FnOnce(&mut Assembler, Label),
    ) {
        if proxies.is_empty() {
            asm.jump(self.drop);
            return;
        }
        let [taken, known, refused] =
            ["taken", "known_before", "refused"].map(|name| asm.label(name));
        for (number, proxy) in proxies.iter().enumerate() {
            let other = asm.label("other_proxy");
            self.decision.get(asm, R1);
            asm.alu(AluOp::Rsh, R1, PROXY_SHIFT);
            asm.jump_if(Ne, R1, i32::try_from(number).unwrap_or(-1), other);
            asm.note(&format!("proxy {}", proxy.name));
            self.find(asm, proxy, (taken, direct));
            asm.bind(other);
        }
        asm.jump(self.drop);

        asm.bind(taken);
        self.stack.kind.get(asm, R1);
        asm.jump_if(Ne, R1, Kind::New as i32, known);
        open(asm, refused);
        asm.bind(known);
        self.give(asm);
        asm.bind(refused);
        asm.mov(R1, R8);
        asm.call(Helper::SkRelease);
        asm.jump(self.drop);
    }

    /// Delivers an answer to the socket that has opened the connection, by the mark of the first proxy of the family.
    pub(super) fn answer(&self, asm: &mut Assembler, proxies: &[Proxy]) {
        let six = asm.label("answer_ipv6");
        self.stack.family.get(asm, R1);
        asm.jump_if(Ne, R1, 0, six);
        for v6 in [false, true] {
            if v6 {
                asm.bind(six);
            }
            let listens = |p: &&Proxy| p.tcp && if v6 { p.v6.is_some() } else { p.v4.is_some() };
            let Some(proxy) = proxies.iter().find(listens) else {
                asm.jump(self.next);
                continue;
            };
            let taken = asm.label("socket_found");
            self.connection(asm, v6);
            self.look(asm, Helper::SkcLookupTcp, v6);
            asm.jump_if(Eq, R0, 0, self.next);
            asm.mov(R8, R0);
            asm.load(W, R1, R8, STATE);
            asm.jump_if(Ne, R1, LISTEN, taken);
            asm.mov(R1, R8);
            asm.call(Helper::SkRelease);
            asm.jump(self.next);
            asm.bind(taken);
            mark(asm, proxy.mark);
            self.give(asm);
        }
    }

    /// Goes to `taken` with a socket of the proxy in `R8`, and with its mark.
    fn find(&self, asm: &mut Assembler, proxy: &Proxy, (taken, direct): (Label, Label)) {
        let [six, down, found] =
            ["ipv6", "proxy_down", "proxy_listens"].map(|name| asm.label(name));
        self.stack.family.get(asm, R1);
        asm.jump_if(Ne, R1, 0, six);
        match proxy.v4 {
            Some((addr, port)) => {
                let addr = u128::from(u32::from(addr));
                self.family(asm, (proxy, false), (addr, port), (found, down));
            }
            None => asm.jump(down),
        }
        asm.bind(six);
        match proxy.v6 {
            Some((addr, port)) => {
                let listener = (u128::from(addr), port);
                self.family(asm, (proxy, true), listener, (found, down));
            }
            None => asm.jump(down),
        }
        asm.bind(found);
        mark(asm, proxy.mark);
        self.stack.mark.get(asm, R1);
        with_bits(asm, proxy.mark);
        self.stack.mark.set(asm, R1);
        asm.jump(taken);
        asm.bind(down);
        if proxy.down == Down::Direct {
            self.stack.kind.get(asm, R1);
            asm.jump_if(Eq, R1, Kind::New as i32, direct);
            asm.jump(self.next);
        } else {
            asm.jump(self.drop);
        }
    }

    /// Goes to `found` with the socket in `R8` of the packet's connection, or with one that listens at an address and
    /// port.
    fn family(
        &self,
        asm: &mut Assembler,
        (proxy, v6): (&Proxy, bool),
        listener: (u128, u16),
        (found, down): (Label, Label),
    ) {
        let [datagram, release, no_match] =
            ["datagram", "release", "no_connection"].map(|n| asm.label(n));
        self.stack.record.get(asm, R1, Item::Protocol);
        if proxy.udp {
            asm.jump_if(Eq, R1, number(UDP), datagram);
        }
        if proxy.tcp {
            asm.jump_if(Ne, R1, number(TCP), down);
            self.connection(asm, v6);
            self.look(asm, Helper::SkcLookupTcp, v6);
            asm.jump_if(Eq, R0, 0, no_match);
            asm.mov(R8, R0);
            asm.load(W, R1, R8, STATE);
            asm.jump_if(Eq, R1, LISTEN, release);
            asm.jump_if(Ne, R1, TIME_WAIT, found);
            asm.bind(release);
            asm.mov(R1, R8);
            asm.call(Helper::SkRelease);
            asm.bind(no_match);
            self.listener(asm, listener, v6);
            self.look(asm, Helper::SkcLookupTcp, v6);
            asm.jump_if(Eq, R0, 0, down);
            asm.mov(R8, R0);
            asm.jump(found);
        } else {
            asm.jump(down);
        }
        if proxy.udp {
            asm.bind(datagram);
            let [release, none] = ["release", "no_connection"].map(|n| asm.label(n));
            self.connection(asm, v6);
            self.look(asm, Helper::SkLookupUdp, v6);
            asm.jump_if(Eq, R0, 0, none);
            asm.mov(R8, R0);
            asm.load(H, R1, R8, OTHER_PORT);
            asm.jump_if(Ne, R1, 0, found);
            asm.bind(release);
            asm.mov(R1, R8);
            asm.call(Helper::SkRelease);
            asm.bind(none);
            self.listener(asm, listener, v6);
            self.look(asm, Helper::SkLookupUdp, v6);
            asm.jump_if(Eq, R0, 0, down);
            asm.mov(R8, R0);
            asm.jump(found);
        }
    }

    /// `R0 =` the socket of the tuple, or 0. Only a socket of this network namespace is one.
    fn look(&self, asm: &mut Assembler, helper: Helper, v6: bool) {
        asm.mov(R1, R6);
        asm.mov(R2, R10);
        asm.add(R2, i32::from(self.tuple));
        asm.mov(R3, i32::from(if v6 { TUPLE6 } else { TUPLE }));
        asm.mov(R4, -1);
        asm.mov(R5, 0);
        asm.call(helper);
    }

    /// The tuple of the packet itself.
    fn connection(&self, asm: &mut Assembler, v6: bool) {
        let addresses = [
            (Item::Source, 0),
            (Item::Destination, if v6 { 16 } else { 4 }),
        ];
        for (item, at) in addresses {
            let at = self.tuple + at;
            if v6 {
                for (upper, half) in [(true, 0), (false, 8)] {
                    self.stack.record.get_half(asm, R1, item, upper);
                    asm.to_be(SwapBits::B64, R1);
                    asm.store(DW, R10, at + half, R1);
                }
            } else {
                self.stack.record.get_half(asm, R1, item, false);
                asm.to_be(SwapBits::B32, R1);
                asm.store(W, R10, at, R1);
            }
        }
        let ports = self.tuple + if v6 { 32 } else { 8 };
        for (end, at) in [(End::Source, 0), (End::Destination, 2)] {
            ends::port(asm, self.stack, end, R1);
            asm.to_be(SwapBits::B16, R1);
            asm.store(H, R10, ports + at, R1);
        }
    }

    /// The tuple of a socket that listens.
    fn listener(&self, asm: &mut Assembler, (addr, port): (u128, u16), v6: bool) {
        let size = if v6 { TUPLE6 } else { TUPLE };
        for at in (0..size).step_by(4) {
            asm.store(W, R10, self.tuple + at, 0);
        }
        let octets = addr.to_be_bytes();
        let (octets, at) = if v6 {
            (octets.as_slice(), 16)
        } else {
            (octets.get(12..).unwrap_or_default(), 4)
        };
        for (word, at) in octets.chunks_exact(4).zip((at..).step_by(4)) {
            let word = word
                .iter()
                .rev()
                .fold(0u32, |word, byte| word << 8 | u32::from(*byte));
            asm.load_wide(R1, u64::from(word));
            asm.store(W, R10, self.tuple + at, R1);
        }
        let ports = self.tuple + if v6 { 32 } else { 8 };
        asm.store(H, R10, ports + 2, i32::from(port.to_be()));
    }

    /// The packet is one of the socket in `R8`.
    fn give(&self, asm: &mut Assembler) {
        asm.mov(R1, R6);
        asm.mov(R2, R8);
        asm.mov(R3, 0);
        asm.call(Helper::SkAssign);
        asm.mov(R7, R0);
        asm.mov(R1, R8);
        asm.call(Helper::SkRelease);
        asm.jump_if(Ne, R7, 0, self.drop);
        asm.jump(self.next);
    }
}

/// The packet gets a proxy's mark, by which it is routed here.
fn mark(asm: &mut Assembler, mark: Mark) {
    asm.load(W, R1, R6, SKB_MARK);
    with_bits(asm, mark);
    asm.store(W, R6, SKB_MARK, R1);
}

/// Sets the bits of a mark in `R1`.
pub(super) fn with_bits(asm: &mut Assembler, Mark { value, mask }: Mark) {
    asm.alu32(AluOp::And, R1, (!mask).cast_signed());
    asm.alu32(AluOp::Or, R1, (value & mask).cast_signed());
}
