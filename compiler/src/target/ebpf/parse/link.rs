//! Ethernet and VLAN tags, or nothing.

use polc_bpf::asm::Label;
use polc_bpf::insn::Cond::{Eq, Gt, Ne};
use polc_bpf::insn::Reg::{R0, R1, R2, R6, R7, R9};
use polc_bpf::insn::{AluOp, Width};

use super::super::hook::Hook;
use super::Parser;
use crate::field::{ETH_DADDR, ETH_SADDR, ETH_TYPE, Field, VLAN_ID, VLAN_PCP};

/// Tags of IEEE 802.1Q and 802.1ad, and one that was in use before them.
const TAGS: [i32; 3] = [0x8100, 0x88a8, 0x9100];

/// Those that the kernel takes out of frames.
const KERNEL_TAGS: [i32; 2] = [0x8100, 0x88a8];

/// The most tags of a frame.
const MOST_TAGS: i32 = 4;

const IPV4: i32 = 0x0800;
const IPV6: i32 = 0x86dd;

impl Parser<'_> {
    /// Reads up to the IP header, and goes to one of the labels that it returns, IPv4 and IPv6.
    pub(super) fn ethernet(&mut self) -> [Label; 2] {
        self.asm.note("ethernet");
        self.asm.mov(R7, 0);
        self.read(14);
        self.mac(ETH_DADDR, 0);
        self.mac(ETH_SADDR, 6);
        self.be16(R9, R1, 12);
        self.asm.mov(R7, 14);
        let untagged = self.asm.label("untagged");
        for number in 0..MOST_TAGS {
            let tagged = self.asm.label("tagged");
            for tag in TAGS {
                self.asm.jump_if(Eq, R9, tag, tagged);
            }
            self.asm.jump(untagged);
            self.asm.bind(tagged);
            self.read(4);
            if number == 0 {
                self.tag();
            }
            self.be16(R9, R1, 2);
            self.asm.add(R7, 4);
        }
        for tag in TAGS {
            self.asm.jump_if(Eq, R9, tag, self.exits.malformed);
        }
        self.asm.bind(untagged);
        self.blur(R7);
        self.asm
            .jump_if(Gt, R7, 14 + 4 * MOST_TAGS, self.exits.malformed);
        self.taken_tag();
        self.put(ETH_TYPE, R9);
        self.family()
    }

    /// As [`Parser::ethernet`], for the packet of an interface: what has a tag is another one's, and goes
    /// to `other`.
    pub(super) fn untagged(&mut self) -> [Label; 2] {
        self.asm.note("ethernet");
        self.asm.mov(R7, 0);
        self.read(14);
        self.be16(R9, R1, 12);
        self.asm.mov(R7, 14);
        if let Some((present, control)) = self.hook.tag() {
            let own = self.asm.label("own");
            self.asm.load(Width::W, R0, R6, present);
            self.asm.jump_if(Eq, R0, 0, own);
            if self.hook == Hook::Ingress {
                self.asm.load(Width::W, R0, R6, control);
                self.priority_tag(own);
            } else {
                self.asm.jump(self.exits.other);
            }
            self.asm.bind(own);
        }
        self.family()
    }

    /// Goes to `own` with a frame whose tag, in `R0`, has the number 0: the kernel gives it to the
    /// interface itself. It does so with several of these in a row, too, which nobody sends.
    fn priority_tag(&mut self, own: Label) {
        let inner = self.asm.label("inner_tag");
        self.asm.alu(AluOp::And, R0, 0x0fff);
        self.asm.jump_if(Ne, R0, 0, self.exits.other);
        for tag in KERNEL_TAGS {
            self.asm.jump_if(Eq, R9, tag, inner);
        }
        self.asm.jump(own);
        self.asm.bind(inner);
        self.read(4);
        self.be16(R0, R1, 0);
        self.asm.alu(AluOp::And, R0, 0x0fff);
        self.asm.jump_if(Ne, R0, 0, self.exits.other);
        self.asm.jump(self.exits.malformed);
    }

    /// Tells the families by the type in `R9`.
    fn family(&mut self) -> [Label; 2] {
        self.either([IPV4, IPV6], self.exits.other)
    }

    /// As [`Parser::ethernet`], where IP begins at once.
    pub(super) fn bare(&mut self) -> [Label; 2] {
        self.asm.note("no link header");
        self.asm.mov(R7, 0);
        self.read(1);
        self.asm.load(Width::B, R9, R1, 0);
        self.asm.alu(AluOp::Rsh, R9, 4);
        self.either([4, 6], self.exits.malformed)
    }

    /// Goes where the number in `R9` says, which stands for IPv4 or IPv6, or for neither.
    fn either(&mut self, [four, six]: [i32; 2], neither: Label) -> [Label; 2] {
        let families = [self.asm.label("ipv4"), self.asm.label("ipv6")];
        let [v4, v6] = families;
        self.asm.jump_if(Eq, R9, four, v4);
        self.asm.jump_if(Ne, R9, six, neither);
        self.asm.jump(v6);
        families
    }

    /// An address of 48 bits.
    fn mac(&mut self, field: Field, offset: i16) {
        if !self.wants(field) {
            return;
        }
        // Of bytes that were copied to the stack, the verifier lets only aligned ones be read at once.
        self.be16(R0, R1, offset);
        for at in [offset + 2, offset + 4] {
            self.asm.alu(AluOp::Lsh, R0, 16);
            self.be16(R2, R1, at);
            self.asm.alu(AluOp::Or, R0, R2);
        }
        self.put(field, R0);
    }

    /// The outermost tag is the one that counts.
    fn tag(&mut self) {
        if self.record.has_any(&[VLAN_ID, VLAN_PCP]) {
            self.be16(R0, R1, 0);
            self.put_tag();
        }
    }

    /// A tag that the kernel has taken out of the frame is the outermost.
    fn taken_tag(&mut self) {
        let asked = self.record.has_any(&[VLAN_ID, VLAN_PCP]);
        if let Some((present, control)) = self.hook.tag().filter(|_| asked) {
            let none = self.asm.label("no_tag_taken");
            self.asm.load(Width::W, R0, R6, present);
            self.asm.jump_if(Eq, R0, 0, none);
            self.asm.load(Width::W, R0, R6, control);
            self.put_tag();
            self.asm.bind(none);
        }
    }

    /// Notes the tag in `R0`.
    fn put_tag(&mut self) {
        self.asm.mov(R2, R0);
        self.asm.alu(AluOp::And, R0, 0x0fff);
        self.asm.alu(AluOp::Rsh, R2, 13);
        self.asm.alu(AluOp::And, R2, 7);
        self.put(VLAN_ID, R0);
        self.put(VLAN_PCP, R2);
    }
}
