//! From the bytes of a frame to a [`Record`].
//!
//! It reads what the interpreter's frame reader reads, and skips what nobody asks. A frame that
//! carries something else than IP is none of a policy's business; one whose headers cannot be read,
//! or whose chain of extension headers is longer than [`MOST_EXTENSIONS`], has no packet that
//! could be judged, and is dropped.
//!
//! Registers: `R6` is the context, `R7` where in the frame the next header begins, `R8` how many
//! bytes the packet has from there on, `R9` the protocol.

mod ip;
mod link;
mod options;
mod time;
mod transport;

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::Cond::{Gt, Lt};
use polc_bpf::insn::Reg::{R1, R2, R6, R7, R8, R10};
use polc_bpf::insn::{AluOp, Reg, SwapBits, Width};

use super::hook::Hook;
use super::link::Link;
use super::record::{Item, Record};
use crate::field::{
    DPORT, ETH_DADDR, ETH_SADDR, ETH_TYPE, Field, ICMP_CODE, ICMP_TYPE, IP_FRAGMENT, IP_LENGTH,
    META_LENGTH, SPORT, TCP_FLAGS, TCP_MSS, TIME_DAY, TIME_HOUR, VLAN_ID, VLAN_PCP,
};

/// The most IPv6 extension headers of a packet.
const MOST_EXTENSIONS: i32 = 16;

/// No header of a frame begins behind this.
const FARTHEST: i32 = 0x3fff;

/// The fields that are read, beside those that are bits of the IP header.
const READ: &[Field] = &[
    SPORT,
    DPORT,
    TCP_FLAGS,
    ICMP_TYPE,
    ICMP_CODE,
    IP_LENGTH,
    IP_FRAGMENT,
    ETH_SADDR,
    ETH_DADDR,
    ETH_TYPE,
    VLAN_ID,
    VLAN_PCP,
    META_LENGTH,
    TCP_MSS,
    TIME_HOUR,
    TIME_DAY,
];

/// Whether a field can be read from a frame.
pub(super) fn reads(field: Field) -> bool {
    field.def().bits.is_some() || READ.contains(&field)
}

/// Where a program goes from the parser.
#[derive(Clone, Copy)]
pub(super) struct Exits {
    /// With an IPv4 packet.
    pub(super) v4: Label,
    /// With an IPv6 packet.
    pub(super) v6: Label,
    /// With something else.
    pub(super) other: Label,
    /// With a frame that cannot be read.
    pub(super) malformed: Label,
}

/// The parser of one program.
struct Parser<'p> {
    asm: &'p mut Assembler,
    hook: Hook,
    record: &'p Record,
    exits: Exits,
    /// Where bytes are copied to: as many as the longest header that is read at once.
    scratch: i16,
    /// Half a place for whether a packet is as long as it says.
    complete: i16,
    /// A place that is used at once.
    spare: i16,
    /// A place for the number of extension headers.
    count: i16,
}

/// What the parser takes for a packet, of frames that can have tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tags {
    /// What is behind VLAN tags, too.
    Read,
    /// Only frames without: those with a tag are the packets of another interface.
    Other,
}

/// Writes the parser of a frame. The context is in `R1`.
pub(super) fn frame(
    asm: &mut Assembler,
    (hook, link): (Hook, Link),
    tags: Tags,
    record: &mut Record,
    exits: Exits,
) {
    let scratch = record.reserve(40);
    let [complete, spare, count] = [(); 3].map(|()| record.reserve(8));
    asm.part("parse");
    asm.mov(R6, R1);
    record.clear(asm, |asm, dst| hook.zero(asm, dst));
    let mut parser = Parser {
        asm,
        hook,
        record,
        exits,
        scratch,
        complete: complete + 4,
        spare,
        count,
    };
    parser.time();
    let [v4, v6] = match (link, tags) {
        (Link::Ethernet, Tags::Read) => parser.ethernet(),
        (Link::Ethernet, Tags::Other) => parser.untagged(),
        (Link::Bare, _) => parser.bare(),
    };
    parser.ip4(v4);
    parser.ip6(v6);
}

impl Parser<'_> {
    /// `R1 =` a pointer to the next `size` bytes.
    fn read(&mut self, size: i32) {
        self.hook
            .read(self.asm, size, self.scratch, self.exits.malformed);
    }

    /// `dst =` a number of 16 bits behind `base`.
    fn be16(&mut self, dst: Reg, base: Reg, offset: i16) {
        self.asm.load(Width::H, dst, base, offset);
        self.asm.to_be(SwapBits::B16, dst);
    }

    /// Makes the verifier forget what it knows of a number of 32 bits: it would look at what follows
    /// once for every way in which headers can add up. Half of a place on the stack is no more to it
    /// than some bytes.
    fn blur(&mut self, number: Reg) {
        let half = self.spare + 4;
        self.asm.store(Width::W, R10, half, number);
        self.asm.load(Width::W, number, R10, half);
    }

    /// Begins a loop over headers or options.
    fn begin_loop(&mut self, next: Label) {
        // The verifier knows what is in a whole place on the stack, and so that the loop ends.
        self.asm.mov(R2, 0);
        self.asm.store(Width::DW, R10, self.count, R2);
        self.asm.bind(next);
    }

    /// Goes `R2` bytes further, and to `next`, unless it has been there `most` times.
    fn advance(&mut self, most: i32, next: Label) {
        self.asm.alu(AluOp::Sub, R8, R2);
        self.asm.add(R7, R2);
        self.blur(R7);
        self.asm.jump_if(Gt, R7, FARTHEST, self.exits.malformed);
        self.blur(R8);
        self.asm.load(Width::DW, R2, R10, self.count);
        self.asm.add(R2, 1);
        self.asm.store(Width::DW, R10, self.count, R2);
        self.asm.jump_if(Lt, R2, most, next);
    }

    fn wants(&self, field: Field) -> bool {
        self.record.has(Item::Field(field))
    }

    fn put(&mut self, field: Field, value: Reg) {
        self.record.put(self.asm, Item::Field(field), value);
    }
}
