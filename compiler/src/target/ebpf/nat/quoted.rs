//! The packet that an ICMP error quotes, mostly no more of it than its beginning.
//!
//! The checksum of the error covers every byte of the quote, and is corrected by each change. That of the
//! quoted IPv4 header makes up for the address.

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::Cond::{Eq, Gt, Le, Ne};
use polc_bpf::insn::Reg::{R0, R1, R2, R6, R7, R8, R9, R10};
use polc_bpf::insn::Width::{H, W};
use polc_bpf::insn::{AluOp, Reg, SwapBits};

use super::super::record::{Item, Record};
use super::checksum;
use super::rewrite::{
    End, ICMP_SUM, Kinds, Rewrite, TCP_SUM, UDP_SUM, WITH_ID, WITH_ID6, ZERO_IS_NONE, carries_id,
};
use crate::field::ICMP_TYPE;

/// An ICMP header.
const ICMP_HEADER: i32 = 8;

/// What is there of a quoted header at least.
const QUOTED: i32 = 8;

/// Where `struct __sk_buff` has the length of the frame.
const SKB_LENGTH: i16 = 0;

impl Rewrite<'_> {
    /// Gives the packet another end that the ICMP error quotes which is in the record. What is known of the
    /// quoted packet is in `quote`, where the error's own transport header begins in the record.
    ///
    /// Checksums are corrected as far as the quote has them: that of UDP stays 0 where it is.
    pub(in super::super) fn quoted(&self, asm: &mut Assembler, quote: &Record, end: End) {
        let [four, checksum, done] =
            ["ipv4", "quoted_checksum", "quote_rewritten"].map(|name| asm.label(name));
        asm.note("another end in the quote");
        checksum::addresses(asm, quote, end.address(), self.to);
        self.record.get(asm, R7, Item::Transport);
        asm.add(R7, ICMP_HEADER);
        self.address(asm, end, [0, 0]);
        asm.load(W, R1, R10, self.family);
        asm.jump_if(Eq, R1, 0, four);
        self.correct_error(asm, R8);
        asm.bind(four);
        self.packet_end(asm);
        self.quoted_transport(asm, quote, end, (checksum, done));

        asm.bind(checksum);
        asm.load(W, R2, R10, self.scratch + 12);
        asm.jump_if(Eq, R2, 0, done);
        asm.load(W, R1, R10, self.scratch + 8);
        self.correct(asm, R8, R1);
        // What comes into a checksum is what goes from the sum.
        asm.alu(AluOp::Xor, R8, 0xffff);
        self.correct_error(asm, R8);
        asm.bind(done);
    }

    /// Replaces a port or an identifier. Goes to `checksum` with the place of the quoted checksum in the
    /// scratch (0: there is none), and in `R8` the difference by which it is corrected.
    fn quoted_transport(
        &self,
        asm: &mut Assembler,
        quote: &Record,
        end: End,
        (checksum, done): (Label, Label),
    ) {
        let [port, id] = ["port", "identifier"].map(|name| asm.label(name));
        let (field, offset) = end.port();
        let kinds = Kinds::new(asm);
        quote.get(asm, R7, Item::Transport);
        quote.get(asm, R1, Item::Protocol);
        kinds.tell(asm);
        asm.jump(done);

        asm.bind(kinds.icmp);
        asm.load(W, R1, R10, self.family);
        asm.jump_if(Ne, R1, 0, done);
        self.holds_header(asm);
        self.checksum_at(asm, ICMP_SUM, 0);
        // There is no pseudo header.
        asm.mov(R8, 0);
        quote.get(asm, R1, Item::Field(ICMP_TYPE));
        carries_id(asm, &WITH_ID, id);
        asm.jump(done);

        asm.bind(kinds.icmp6);
        asm.load(W, R1, R10, self.family);
        asm.jump_if(Eq, R1, 0, done);
        self.holds_header(asm);
        self.checksum_at(asm, ICMP_SUM, 0);
        quote.get(asm, R1, Item::Field(ICMP_TYPE));
        carries_id(asm, &WITH_ID6, id);
        asm.jump(checksum);

        asm.bind(id);
        self.quoted_number(asm, quote, (Item::EchoId, 4));
        asm.jump(checksum);

        asm.bind(kinds.tcp);
        self.holds_header(asm);
        self.checksum_at(asm, TCP_SUM, 0);
        asm.mov(R1, R7);
        asm.add(R1, TCP_SUM + 2);
        asm.jump_if(Le, R1, R9, port);
        asm.store(W, R10, self.scratch + 12, 0);
        asm.jump(port);

        asm.bind(kinds.udp);
        self.holds_header(asm);
        self.checksum_at(asm, UDP_SUM, ZERO_IS_NONE);
        asm.load(W, R1, R10, self.scratch + 12);
        self.read(asm, R1);
        asm.jump_if(Ne, R0, 0, port);
        asm.store(W, R10, self.scratch + 12, 0);
        asm.jump(port);

        asm.bind(kinds.dccp);
        self.holds_header(asm);
        self.checksum_at(asm, UDP_SUM, 0);
        asm.bind(port);
        self.quoted_number(asm, quote, (Item::Field(field), offset));
    }

    /// Replaces a port or an identifier so many bytes into the header at `R7`, and adds what that changes
    /// to the difference in `R8`.
    fn quoted_number(&self, asm: &mut Assembler, quote: &Record, (item, offset): (Item, i32)) {
        quote.get(asm, R9, item);
        asm.load(H, R2, R10, self.to + 16);
        checksum::numbers(asm, R9);
        asm.to_be(SwapBits::B16, R2);
        asm.store(H, R10, self.scratch, R2);
        self.write(asm, offset, 2, 0);
        self.correct_error(asm, R9);
        asm.add(R8, R9);
        checksum::fold(asm, R8);
    }

    /// Notes that the checksum is so many bytes into the header at `R7`, and the flags with which it is
    /// corrected.
    fn checksum_at(&self, asm: &mut Assembler, offset: i32, flags: i32) {
        asm.mov(R1, R7);
        asm.add(R1, offset);
        asm.store(W, R10, self.scratch + 12, R1);
        asm.store(W, R10, self.scratch + 8, flags);
    }

    /// `R9 =` where the packet that is in the record ends. What follows in the frame is none of it.
    fn packet_end(&self, asm: &mut Assembler) {
        let [six, jumbo, known] = ["ipv6", "jumbo", "end_known"].map(|name| asm.label(name));
        let begin = self.link.size();
        asm.load(W, R1, R10, self.family);
        asm.jump_if(Ne, R1, 0, six);
        self.read(asm, begin + 2);
        asm.mov(R9, R0);
        asm.add(R9, begin);
        asm.jump(known);
        asm.bind(six);
        self.read(asm, begin + 4);
        asm.jump_if(Eq, R0, 0, jumbo);
        asm.mov(R9, R0);
        asm.add(R9, begin + 40);
        asm.jump(known);
        asm.bind(jumbo);
        asm.load(W, R9, R6, SKB_LENGTH);
        asm.bind(known);
    }

    /// Fails unless the error has the beginning of the header at `R7`; it ends at `R9`.
    fn holds_header(&self, asm: &mut Assembler) {
        asm.mov(R1, R7);
        asm.add(R1, QUOTED);
        asm.jump_if(Gt, R1, R9, self.fail);
    }

    /// Corrects the checksum of the error.
    fn correct_error(&self, asm: &mut Assembler, difference: Reg) {
        self.record.get(asm, R2, Item::Transport);
        asm.add(R2, ICMP_SUM);
        self.correct(asm, difference, 0);
    }
}
