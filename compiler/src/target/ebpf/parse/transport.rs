//! Transport headers: their fields are all there or none is.

use polc_bpf::asm::Label;
use polc_bpf::insn::AluOp;
use polc_bpf::insn::Cond::{Eq, Gt, Lt, Ne};
use polc_bpf::insn::Reg::{R0, R1, R2, R7, R8, R9};
use polc_bpf::insn::Width::B;

use super::super::record::Item;
use super::Parser;
use crate::field::{DPORT, ICMP, ICMP_CODE, ICMP_TYPE, ICMPV6, SPORT, TCP_FLAGS, TCP_MSS};

const TCP: i32 = 6;

/// Protocols with ports, and how many bytes their headers have at least.
const WITH_PORTS: [(i32, i32); 4] = [(17, 8), (136, 8), (33, 12), (132, 12)];

impl Parser<'_> {
    /// Reads the header of the protocol in `R9`, if it has one that somebody asks for, and goes to
    /// `done`, or on.
    pub(super) fn transport(&mut self, v6: bool, done: Label) {
        self.record.put(self.asm, Item::Transport, R7);
        let ports = self.record.has_any(&[SPORT, DPORT]);
        if ports || self.record.has_any(&[TCP_FLAGS, TCP_MSS]) {
            let other = self.asm.label("not_tcp");
            self.asm.jump_if(Ne, R9, TCP, other);
            self.tcp(done);
            self.asm.bind(other);
        }
        if ports {
            let [short, long, read] = ["short", "long", "ports"].map(|name| self.asm.label(name));
            for (number, size) in WITH_PORTS {
                let head = if size == 8 { short } else { long };
                self.asm.jump_if(Eq, R9, number, head);
            }
            let none = self.asm.label("no_ports");
            self.asm.jump(none);
            self.asm.bind(long);
            self.asm.jump_if(Lt, R8, 12, done);
            self.asm.bind(short);
            self.asm.jump_if(Lt, R8, 8, done);
            self.asm.bind(read);
            self.read(4);
            self.ports();
            self.asm.jump(done);
            self.asm.bind(none);
        }
        if self.record.has_any(&[ICMP_TYPE, ICMP_CODE]) {
            let number = if v6 { ICMPV6 } else { ICMP };
            self.asm
                .jump_if(Ne, R9, i32::try_from(number).unwrap_or(-1), done);
            self.asm.jump_if(Lt, R8, 8, done);
            let id = self.record.has(Item::EchoId);
            self.read(if id { 8 } else { 4 });
            self.asm.load(B, R2, R1, 0);
            self.put(ICMP_TYPE, R2);
            self.asm.load(B, R2, R1, 1);
            self.put(ICMP_CODE, R2);
            if id {
                self.be16(R2, R1, 4);
                self.record.put(self.asm, Item::EchoId, R2);
            }
        }
    }

    fn ports(&mut self) {
        for (field, offset) in [(SPORT, 0), (DPORT, 2)] {
            if self.wants(field) {
                self.be16(R2, R1, offset);
                self.put(field, R2);
            }
        }
    }

    /// Goes to `done`. The header counts when all of it is there, with its options.
    fn tcp(&mut self, done: Label) {
        self.asm.jump_if(Lt, R8, 20, done);
        self.read(20);
        self.asm.load(B, R0, R1, 12);
        self.asm.alu(AluOp::Rsh, R0, 4);
        self.asm.alu(AluOp::Lsh, R0, 2);
        self.asm.jump_if(Lt, R0, 20, done);
        self.asm.jump_if(Gt, R0, R8, done);
        self.ports();
        if self.wants(TCP_FLAGS) {
            self.asm.load(B, R2, R1, 13);
            self.put(TCP_FLAGS, R2);
        }
        if self.wants(TCP_MSS) {
            self.maximum_segment(done);
        } else {
            self.asm.jump(done);
        }
    }
}
