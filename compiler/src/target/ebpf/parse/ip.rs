//! IP of both versions, and the IPv6 extension headers.

use polc_bpf::asm::Label;
use polc_bpf::insn::Cond::{Eq, Gt, Lt, Ne};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R7, R8, R9, R10};
use polc_bpf::insn::Width::{B, DW, H, W};
use polc_bpf::insn::{AluOp, SwapBits};

use super::super::record::Item;
use super::{MOST_EXTENSIONS, Parser};
use crate::field::{Field, IP_FRAGMENT, IP_LENGTH, IpBits, META_LENGTH, ip_bits};

const HOP_BY_HOP: i32 = 0;
const ROUTING: i32 = 43;
const FRAGMENT: i32 = 44;
const AUTHENTICATION: i32 = 51;
const DESTINATION: i32 = 60;

/// A bit for each of them.
const EXTENSIONS: u64 =
    1 << HOP_BY_HOP | 1 << ROUTING | 1 << FRAGMENT | 1 << AUTHENTICATION | 1 << DESTINATION;

impl Parser<'_> {
    /// IPv4, and what it carries.
    pub(super) fn ip4(&mut self, begin: Label) {
        let malformed = self.exits.malformed;
        self.asm.bind(begin);
        self.asm.note("ipv4");
        self.whole_length();
        self.read(20);
        self.version(4);
        self.asm.alu(AluOp::And, R0, 0x0f);
        self.asm.alu(AluOp::Lsh, R0, 2);
        self.asm.jump_if(Lt, R0, 20, malformed);
        self.length(2);
        self.asm.jump_if(Lt, R8, R0, malformed);
        self.put(IP_LENGTH, R8);
        self.bits(false);
        for (item, offset) in [(Item::Source, 12), (Item::Destination, 16)] {
            if self.record.has(item) {
                self.asm.load(W, R2, R1, offset);
                self.asm.to_be(SwapBits::B32, R2);
                self.record.put_address(self.asm, item, None, R2);
            }
        }
        if self.record.has(Item::FragmentId) {
            self.be16(R2, R1, 4);
            self.record.put(self.asm, Item::FragmentId, R2);
        }
        self.asm.load(B, R9, R1, 9);
        self.be16(R3, R1, 6);
        self.fragment4();
        self.asm.alu(AluOp::And, R3, 0x1fff);
        let [headless, later] = ["headless", "later"].map(|name| self.asm.label(name));
        self.hook.shorter(self.asm, R0, malformed);
        self.asm.jump_if(Ne, R3, 0, later);
        // A packet that is shorter than it says has no transport header.
        self.hook.shorter(self.asm, R8, headless);
        self.asm.add(R7, R0);
        self.asm.alu(AluOp::Sub, R8, R0);
        self.transport(false, headless);
        self.headless(headless, later);
        self.record.put(self.asm, Item::Protocol, R9);
        self.asm.jump(self.exits.v4);
    }

    /// `R8 =` the length in the header. Older verifiers, such as that of Linux 6.1, know no bound of a number whose
    /// bytes were swapped, and let none be added to a place in a packet that has none.
    fn length(&mut self, offset: i16) {
        self.be16(R8, R1, offset);
        self.asm.alu(AluOp::And, R8, 0xffff);
    }

    /// Where packets without transport header come together; that it is a `later` fragment is noted.
    fn headless(&mut self, headless: Label, later: Label) {
        if self.record.has(Item::Later) {
            self.asm.jump(headless);
            self.asm.bind(later);
            self.asm.mov(R2, 1);
            self.record.put(self.asm, Item::Later, R2);
        } else {
            self.asm.bind(later);
        }
        self.asm.bind(headless);
    }

    /// Whether it is a fragment: more follow, or some came before. The word is in `R3`.
    fn fragment4(&mut self) {
        if self.wants(IP_FRAGMENT) {
            let whole = self.asm.label("whole");
            self.asm.mov(R2, R3);
            self.asm.alu(AluOp::And, R2, 0x3fff);
            self.asm.jump_if(Eq, R2, 0, whole);
            self.asm.mov(R2, 1);
            self.asm.bind(whole);
            self.put(IP_FRAGMENT, R2);
        }
    }

    /// `R0 =` the first byte, whose upper half must be `version`.
    fn version(&mut self, version: i32) {
        self.asm.load(B, R0, R1, 0);
        self.asm.mov(R2, R0);
        self.asm.alu(AluOp::Rsh, R2, 4);
        self.asm.jump_if(Ne, R2, version, self.exits.malformed);
    }

    /// The fields that are bits of the header.
    fn bits(&mut self, v6: bool) {
        for (field, bits) in ip_bits() {
            if self.wants(field) {
                self.some_bits(field, bits, v6);
            }
        }
    }

    /// Reads as little as has all of the bits.
    fn some_bits(&mut self, field: Field, bits: IpBits, v6: bool) {
        let mut pieces = [
            (8, B, None),
            (16, H, Some(SwapBits::B16)),
            (32, W, Some(SwapBits::B32)),
        ]
        .into_iter();
        let found = pieces
            .find_map(|(bytes, width, order)| Some((bytes, width, order, bits.piece(v6, bytes)?)));
        debug_assert!(found.is_some(), "`{}` is in several words", field.name());
        let Some((size, width, order, (before, behind))) = found else {
            return;
        };
        self.asm.load(width, R2, R1, before.cast_signed());
        if let Some(order) = order {
            self.asm.to_be(order, R2);
        }
        if behind > 0 {
            self.asm.alu(AluOp::Rsh, R2, i32::from(behind));
        }
        if behind + bits.count < size {
            self.asm
                .alu(AluOp::And, R2, i32::try_from(bits.largest()).unwrap_or(-1));
        }
        self.put(field, R2);
    }

    /// How many bytes the packet has, whatever its header says.
    fn whole_length(&mut self) {
        if self.wants(META_LENGTH) {
            self.hook.length(self.asm);
            self.asm.alu(AluOp::Sub, R1, R7);
            self.put(META_LENGTH, R1);
        }
    }

    /// IPv6, and what it carries.
    pub(super) fn ip6(&mut self, begin: Label) {
        self.asm.bind(begin);
        self.asm.note("ipv6");
        self.whole_length();
        self.read(40);
        self.version(6);
        self.length(4);
        self.length6();
        self.bits(true);
        for (item, offset) in [(Item::Source, 8), (Item::Destination, 24)] {
            if self.record.has(item) {
                for (half, at) in [(R2, offset), (R3, offset + 8)] {
                    self.asm.load(DW, half, R1, at);
                    self.asm.to_be(SwapBits::B64, half);
                }
                self.record.put_address(self.asm, item, Some(R2), R3);
            }
        }
        self.asm.load(B, R9, R1, 6);
        if self.wants(IP_FRAGMENT) {
            self.hook.zero(self.asm, R2);
            self.put(IP_FRAGMENT, R2);
        }
        let headless = self.asm.label("headless");
        let later = self.asm.label("later");
        self.payload6();
        self.extensions(later);
        // A packet that is shorter than it says has no transport header.
        self.asm.load(W, R0, R10, self.complete);
        self.asm.jump_if(Eq, R0, 0, headless);
        self.transport(true, headless);
        self.headless(headless, later);
        self.record.put(self.asm, Item::Protocol, R9);
        self.asm.jump(self.exits.v6);
    }

    /// The longest packets are longer than the field's values.
    fn length6(&mut self) {
        if self.wants(IP_LENGTH) {
            let longer = self.asm.label("longer");
            self.asm.mov(R2, R8);
            self.asm.add(R2, 40);
            self.asm.jump_if(Gt, R2, 0xffff, longer);
            self.put(IP_LENGTH, R2);
            self.asm.bind(longer);
        }
    }

    /// `R8 =` how many bytes there are behind the header, of a packet that says how many; notes
    /// whether these are all. (To the verifier a stored 0 is some number, but no number is a 0: what it has looked at
    /// with the 1 that it meets first it does not look at with the 0 again.)
    fn payload6(&mut self) {
        let [short, rest, bounded] = ["short", "rest", "bounded"].map(|name| self.asm.label(name));
        self.asm.add(R7, 40);
        self.asm.store(W, R10, self.complete, 1);
        // A length of 0 is that of a jumbogram: all that is there.
        self.asm.jump_if(Eq, R8, 0, rest);
        self.hook.shorter(self.asm, R8, short);
        self.asm.jump(bounded);
        self.asm.bind(short);
        self.asm.store(W, R10, self.complete, 0);
        self.asm.bind(rest);
        self.hook.length(self.asm);
        self.asm.mov(R8, R1);
        self.asm.alu(AluOp::Sub, R8, R7);
        self.asm.bind(bounded);
    }

    /// Follows the extension headers. Goes to `later` with a later fragment.
    fn extensions(&mut self, later: Label) {
        let malformed = self.exits.malformed;
        let [next, authentication, fragment, step, done] = [
            "next_header",
            "authentication",
            "fragment",
            "step",
            "payload",
        ]
        .map(|name| self.asm.label(name));
        self.begin_loop(next);
        // A jump for each would have the verifier look at what follows once for each.
        self.asm.jump_if(Gt, R9, DESTINATION, done);
        self.asm.load_wide(R2, EXTENSIONS);
        self.asm.alu(AluOp::Rsh, R2, R9);
        self.asm.alu(AluOp::And, R2, 1);
        self.asm.jump_if(Eq, R2, 0, done);
        self.asm.jump_if(Lt, R8, 8, malformed);
        self.hook.read_seldom(self.asm, 8, self.scratch, malformed);
        self.asm.mov(R3, R9);
        self.asm.load(B, R9, R1, 0);
        self.asm.load(B, R2, R1, 1);
        self.asm.jump_if(Eq, R3, AUTHENTICATION, authentication);
        self.asm.jump_if(Eq, R3, FRAGMENT, fragment);
        self.asm.add(R2, 1);
        self.asm.alu(AluOp::Lsh, R2, 3);
        self.asm.jump(step);

        self.asm.bind(authentication);
        self.asm.add(R2, 2);
        self.asm.alu(AluOp::Lsh, R2, 2);
        self.asm.jump(step);

        self.asm.bind(fragment);
        if self.wants(IP_FRAGMENT) {
            self.asm.mov(R2, 1);
            self.put(IP_FRAGMENT, R2);
        }
        if self.record.has(Item::FragmentId) {
            self.asm.load(W, R2, R1, 4);
            self.asm.to_be(SwapBits::B32, R2);
            self.record.put(self.asm, Item::FragmentId, R2);
        }
        self.be16(R2, R1, 2);
        self.asm.alu(AluOp::Rsh, R2, 3);
        self.asm.jump_if(Ne, R2, 0, later);
        self.asm.mov(R2, 8);

        self.asm.bind(step);
        self.blur(R2);
        self.asm.jump_if(Gt, R2, R8, malformed);
        self.advance(MOST_EXTENSIONS, next);
        self.asm.jump(malformed);
        self.asm.bind(done);
    }
}
