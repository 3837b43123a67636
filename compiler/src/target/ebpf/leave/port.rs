//! The port, or identifier, with which a flow leaves from another address.

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::Cond::{Eq, Ge, Le, Lt, Ne};
use polc_bpf::insn::Reg::{R0, R1, R2, R7, R9, R10};
use polc_bpf::insn::Width::{DW, H, W};
use polc_bpf::insn::{AluOp, Helper};

use super::super::filter::decision::{LEAVES_FROM, LEAVING_PORT, SNAT, SOURCED};
use super::super::filter::flows::{key, number};
use super::super::nat::End;
use super::super::record::Item;
use super::super::steer::ends::{self, END, PORT};
use super::program::One;
use crate::field::{ICMP, ICMPV6, SPORT};

const SCTP: i32 = 132;
const NODE_INFORMATION: i32 = 139;

/// How many ports are tried for a packet that opens a flow: with half of all in use, one packet in 4,096 finds none,
/// and the next one of its flow tries others. The verifier looks at each try, some ten thousand instructions.
const TRIES: i32 = 12;
/// At how many of the last ones, and at the first, another flow's port is taken over that is over.
const LAST_TRIES: i32 = 2;
/// Where in a key the ports are.
const PORTS_OF_KEY: i16 = 32;
/// Where in the scratch it stands by how many bits the source's port is shifted there, and what else is there.
const PLACE: i16 = 4;
const REST: i16 = 8;
/// The ports that are tried: those that need no privilege.
const FIRST_PORT: i32 = 1024;
const PORTS: i32 = 65_536 - FIRST_PORT;

impl One<'_> {
    /// Looks for a port with which nobody else leaves from the address at [`Ends::to`] to the same end, and
    /// gives the flow that source.
    ///
    /// Each try changes a key that was made before, of which the verifier knows nothing: it would look at each once
    /// for every kind of packets.
    pub(super) fn allocate(&self, asm: &mut Assembler) {
        let (stack, exit, ends) = (self.stack(), self.exit, self.ends);
        let (flows, aliases) = (self.leave.flows, self.leave.aliases);
        let [prepare, again, taken, lost, free, known, others] = [
            "prepare",
            "again",
            "taken",
            "anothers_flow",
            "free",
            "flow_of_source",
            "anothers",
        ]
        .map(|name| asm.label(name));
        ends::save(asm, stack, End::Source, ends.outer);
        self.count_tries(asm);
        asm.bind(prepare);
        for end in [ends.to, ends.outer] {
            ends::blur(asm, end);
        }
        ends::put(asm, stack, End::Source, ends.to);
        self.prepare(asm);
        // The flow that it would be found to be may be itself.
        asm.mov(R0, R10);
        asm.add(R0, i32::from(ends.outer));
        ends::same(asm, ends.to, R0, (0, PORT), again);
        asm.jump(free);
        asm.bind(again);
        self.put_port(asm);
        flows.find(asm, stack, taken, free);
        asm.bind(free);
        let mine = asm.label("source_is_mine");
        let places = (ends.outer, stack.value);
        aliases.take(asm, stack, places, (mine, others, taken));
        asm.bind(others);
        // To ask whether the other one is over takes long.
        let asked = asm.label("asked");
        stack.answer.get(asm, R1);
        asm.jump_if(Le, R1, LAST_TRIES, asked);
        asm.jump_if(Ne, R1, TRIES, taken);
        asm.bind(asked);
        self.inherit(asm, (mine, lost));
        for (label, next) in [(lost, prepare), (taken, again)] {
            asm.bind(label);
            self.next_port(asm);
            stack.answer.get(asm, R1);
            asm.add(R1, -1);
            stack.answer.set(asm, R1);
            asm.jump_if(Ne, R1, 0, next);
            asm.jump(exit.drop);
        }

        asm.bind(mine);
        // What is its own already needs no alias, by which it would be found the wrong way round, too.
        let another = asm.label("another_source");
        asm.mov(R0, R10);
        asm.add(R0, i32::from(ends.outer));
        ends::same(asm, ends.to, R0, (0, PORT), another);
        aliases.forget_fresh(asm, stack);
        asm.jump(exit.keep);
        asm.bind(another);
        ends::put(asm, stack, End::Source, ends.outer);
        key(asm, stack, &stack.record);
        flows.find(asm, stack, known, exit.drop);
        asm.bind(known);
        for half in [0, 8] {
            asm.load(DW, R1, R10, ends.to + half);
            asm.store(DW, R7, LEAVES_FROM + half, R1);
        }
        asm.load(H, R1, R10, ends.to + PORT);
        asm.store(H, R7, LEAVING_PORT, R1);
        self.note(asm, SNAT | SOURCED);
        self.replace(asm);
        asm.jump(exit.next);
    }

    /// The key is that of an alias of another end, which is where a value of the flow table would be: of the
    /// source of a flow, or of the destination of one from the address at [`Ends::to`]. If both are over, the
    /// flow of [`Ends::outer`] gets it.
    fn inherit(&self, asm: &mut Assembler, (mine, taken): (Label, Label)) {
        let (stack, ends, flows) = (self.stack(), self.ends, self.leave.flows);
        let [source_over, over, alive] =
            ["source_over", "over", "alive"].map(|name| asm.label(name));
        let (other, destination) = (stack.value, stack.value + END);
        ends::save(asm, stack, End::Destination, destination);
        ends::put(asm, stack, End::Source, other);
        key(asm, stack, &stack.record);
        flows.find(asm, stack, alive, source_over);
        asm.bind(source_over);
        ends::put(asm, stack, End::Source, ends.to);
        ends::put(asm, stack, End::Destination, other);
        key(asm, stack, &stack.record);
        flows.find(asm, stack, alive, over);
        asm.bind(alive);
        ends::put(asm, stack, End::Destination, destination);
        asm.jump(taken);
        asm.bind(over);
        ends::put(asm, stack, End::Destination, destination);
        key(asm, stack, &stack.record);
        let aliases = self.leave.aliases;
        aliases.take_over(asm, stack, (ends.outer, other), (mine, taken));
    }

    /// Notes how many ports are tried: one if there can be no other.
    fn count_tries(&self, asm: &mut Assembler) {
        let stack = self.stack();
        let [has, counted] = ["has_ports", "tries_counted"].map(|name| asm.label(name));
        let icmp_type = Item::Field(crate::field::ICMP_TYPE);
        stack.answer.set(asm, 1);
        // The checksum of SCTP is not of the kind that can be corrected.
        stack.record.get(asm, R1, Item::Protocol);
        asm.jump_if(Eq, R1, SCTP, counted);
        stack.record.get(asm, R1, Item::Field(SPORT));
        asm.jump_if(Lt, R1, 0x1_0000, has);
        stack.record.get(asm, R1, icmp_type);
        asm.jump_if(Ge, R1, 0x100, counted);
        // A question of ICMPv6 without an identifier.
        asm.jump_if(Eq, R1, NODE_INFORMATION, counted);
        asm.bind(has);
        stack.answer.set(asm, TRIES);
        asm.bind(counted);
    }

    /// Makes the key of the packet in the record, and notes it without the port of its source, and where that is.
    fn prepare(&self, asm: &mut Assembler) {
        let (stack, scratch) = (self.stack(), self.ends.scratch);
        let [first, placed, differ] =
            ["port_is_first", "port_placed", "ends_differ"].map(|name| asm.label(name));
        key(asm, stack, &stack.record);
        asm.mov(R1, R9);
        asm.alu(AluOp::Lsh, R1, 4);
        stack.record.get(asm, R2, Item::Protocol);
        for protocol in [ICMP, ICMPV6] {
            asm.jump_if(Eq, R2, number(protocol), first);
        }
        asm.jump(placed);
        asm.bind(first);
        self.leave.hook.zero(asm, R1);
        asm.bind(placed);
        asm.store(W, R10, scratch + PLACE, R1);
        asm.load_wide(R2, 0xffff);
        asm.alu(AluOp::Lsh, R2, R1);
        asm.alu(AluOp::Xor, R2, -1);
        asm.load(DW, R1, R10, stack.key + PORTS_OF_KEY);
        asm.alu(AluOp::And, R1, R2);
        for half in [0, 4] {
            asm.store(W, R10, scratch + REST + half, R1);
            asm.alu(AluOp::Rsh, R1, 32);
        }
        // Of two ends with one address, the port says which is the lower one.
        asm.load(DW, R1, R10, stack.key);
        asm.load(DW, R2, R10, stack.key + 16);
        asm.jump_if(Ne, R1, R2, differ);
        asm.load(DW, R1, R10, stack.key + 8);
        asm.load(DW, R2, R10, stack.key + 24);
        asm.jump_if(Ne, R1, R2, differ);
        stack.answer.set(asm, 1);
        asm.bind(differ);
    }

    /// Puts the port at [`Ends::to`] into the key.
    fn put_port(&self, asm: &mut Assembler) {
        let (stack, ends) = (self.stack(), self.ends);
        asm.load(H, R1, R10, ends.to + PORT);
        asm.load(W, R2, R10, ends.scratch + PLACE);
        asm.alu(AluOp::Lsh, R1, R2);
        asm.load(DW, R2, R10, ends.scratch + REST);
        asm.alu(AluOp::Or, R1, R2);
        asm.store(DW, R10, stack.key + PORTS_OF_KEY, R1);
    }

    /// Puts another port, or identifier, at [`Ends::to`].
    fn next_port(&self, asm: &mut Assembler) {
        asm.call(Helper::GetPrandomU32);
        asm.alu(AluOp::Mod, R0, PORTS);
        asm.add(R0, FIRST_PORT);
        asm.store(DW, R10, self.ends.to + PORT, R0);
    }
}
