//! Which flow a packet belongs to, and what becomes of packets of known flows.

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::AluOp;
use polc_bpf::insn::Cond::{Eq, Ne, Set};
use polc_bpf::insn::Reg::{R1, R2, R7, R8, R9};
use polc_bpf::insn::Width::W;

use super::super::filter::decision::{
    DECISION, DNAT, FOREIGN, HOME, LEAVES_FROM, LEAVING_PORT, OPENED_PORT, OPENED_TO, PENDING,
    PROXY, ROUTED, SNAT,
};
use super::super::filter::flows::{BY_HIGHER, key};
use super::super::filter::timeout;
use super::super::filter::track::{self, Kind, Ways};
use super::super::filter::{FLAGS, quote};
use super::super::hook::Hook;
use super::super::nat::End;
use super::aliases::{FRESH, Replaces};
use super::ends;
use super::program::One;

impl One<'_> {
    /// Goes to `follows` with a packet of a known flow, to `unknown` with one that may open one, and on its
    /// way with everything else. The packet is known in the record as the filter sees it.
    pub(super) fn track(&self, asm: &mut Assembler, unknown: Label) {
        let (steer, stack, exit) = (self.steer, self.stack(), self.exit);
        let [
            later,
            related,
            plain,
            checked,
            stale,
            found,
            refused,
            new,
            invalid,
        ] = [
            "later",
            "related",
            "no_alias",
            "alias_found",
            "stale",
            "found",
            "refused",
            "new",
            "invalid",
        ]
        .map(|name| asm.label(name));
        let lookup = track::Lookup {
            hook: steer.hook,
            ir: steer.ir,
            flows: steer.flows,
            stack,
            ways: Ways {
                follows: exit.follows,
                passes: exit.next,
                unknown,
            },
            loopback: false,
        };
        lookup.begin(asm);
        // What quotes a packet of a translated flow is for its sender, too big or not.
        lookup.special(asm, related, later);
        self.key(asm);
        steer
            .aliases
            .find(asm, stack, (self.ends.to, stack.answer), plain);
        ends::save(asm, stack, End::Destination, self.ends.outer);
        ends::put(asm, stack, End::Destination, self.ends.to);
        self.key(asm);
        steer.flows.find(asm, stack, checked, stale);
        asm.bind(checked);
        self.is_of(asm, stale);
        asm.jump(found);
        asm.bind(stale);
        self.forget_alias(asm);
        asm.bind(plain);
        steer.flows.find(asm, stack, found, new);

        asm.bind(found);
        asm.note("flow");
        is_its(asm, refused);
        lookup.follow(asm, refused);
        asm.bind(refused);
        stack.answer.get(asm, R1);
        asm.jump_if(Eq, R1, 0, new);
        self.forget_alias(asm);
        // The next flow of the same ends may have none.
        steer.aliases.forget(asm, stack);
        asm.bind(new);
        lookup.can_open(asm, invalid);
        if steer.strict {
            timeout::only_syn(asm, stack, exit.drop);
        }
        stack.kind.set(asm, Kind::New as i32);
        asm.jump(unknown);

        asm.bind(related);
        asm.note("error about another packet");
        let quoted = asm.label("quoted");
        quote::write(asm, steer.hook, stack, quoted, invalid);
        asm.bind(quoted);
        self.related(asm, invalid);
        asm.bind(later);
        asm.note("later fragment");
        let first = (self.ends.to, Replaces::Destination);
        steer.aliases.find_fragment(asm, stack, first, exit.next);
        self.rewrite().packet(asm, End::Destination);
        asm.jump(exit.next);
        asm.bind(invalid);
        asm.jump(exit.next);
    }

    /// An error about a packet of a translated flow goes to whoever has sent that packet.
    fn related(&self, asm: &mut Assembler, invalid: Label) {
        let (stack, steer) = (self.stack(), self.steer);
        key(asm, stack, &stack.quoted);
        steer
            .aliases
            .find(asm, stack, (self.ends.to, stack.answer), invalid);
        // The alias may be another end's: that of the sender of what is quoted is of packets to it.
        let about = asm.label("about");
        ends::save_quoted(asm, &stack.quoted, self.ends.outer);
        ends::put_quoted(asm, &stack.quoted, self.ends.to);
        key(asm, stack, &stack.quoted);
        steer.flows.find(asm, stack, about, invalid);
        asm.bind(about);
        asm.alu(AluOp::Xor, R9, 1);
        self.is_of(asm, invalid);
        ends::put_quoted(asm, &stack.quoted, self.ends.outer);
        let rewrite = self.rewrite();
        // The error itself has no port.
        rewrite.packet(asm, End::Destination);
        rewrite.quoted(asm, &stack.quoted, End::Source);
        asm.jump(self.exit.next);
    }

    /// Makes the key of the packet that is in the record, and notes which end has sent it.
    pub(super) fn key(&self, asm: &mut Assembler) {
        let stack = self.stack();
        key(asm, stack, &stack.record);
        self.steer.hook.hide(asm, R9, R1);
        stack.way.set(asm, R9);
    }

    /// Goes to `other` unless the flow in `R7` is the one whose outer end was replaced.
    fn is_of(&self, asm: &mut Assembler, other: Label) {
        let [reply, same] = ["alias_of_answer", "alias_holds"].map(|name| asm.label(name));
        asm.load(W, R1, R7, FLAGS);
        asm.alu(AluOp::And, R1, BY_HIGHER);
        asm.load(W, R2, R7, DECISION);
        asm.jump_if(Ne, R1, R9, reply);
        asm.alu(AluOp::And, R2, DNAT);
        asm.jump_if(Eq, R2, 0, other);
        ends::same(asm, self.ends.outer, R7, (OPENED_TO, OPENED_PORT), other);
        asm.jump(same);
        asm.bind(reply);
        asm.alu(AluOp::And, R2, SNAT);
        asm.jump_if(Eq, R2, 0, other);
        ends::same(asm, self.ends.outer, R7, (LEAVES_FROM, LEAVING_PORT), other);
        asm.bind(same);
    }

    /// The packet is what it says again.
    fn forget_alias(&self, asm: &mut Assembler) {
        let stack = self.stack();
        stack.answer.set(asm, 0);
        ends::put(asm, stack, End::Destination, self.ends.outer);
        self.key(asm);
    }

    /// A packet of a known flow: its entry is in `R7`, whether it has settled in `R8`, which end has sent it in
    /// `R9`.
    pub(super) fn follow(&self, asm: &mut Assembler) {
        let (stack, exit, ends) = (self.stack(), self.exit, self.ends);
        let [plain, answer] = ["as_it_is", "answer"].map(|name| asm.label(name));
        asm.bind(exit.follows);
        let choice = stack.choice.unwrap_or(stack.kind);
        asm.load(W, R1, R7, DECISION);
        choice.set(asm, R1);
        asm.load(W, R1, R7, FLAGS);
        asm.alu(AluOp::And, R1, BY_HIGHER);
        asm.alu(AluOp::Xor, R1, R9);
        self.steer.hook.hide(asm, R1, R2);
        stack.kind.set(asm, R1);
        stack.answer.get(asm, R1);
        asm.jump_if(Eq, R1, 0, plain);
        // The aliases of flows that have settled are kept apart, too.
        let stays = asm.label("alias_kept");
        asm.jump_if(Ne, R1, FRESH, stays);
        asm.jump_if(Eq, R8, 0, stays);
        ends::put(asm, stack, End::Destination, ends.outer);
        self.key(asm);
        self.steer.aliases.settle(asm, stack, ends.to);
        asm.bind(stays);
        ends::put(asm, stack, End::Destination, ends.outer);
        self.replace(asm);
        asm.bind(plain);
        // `R1` is the decision, `R2` 0 for a packet of the way of the first one.
        choice.get(asm, R1);
        stack.kind.get(asm, R2);
        asm.jump_if(Ne, R2, 0, answer);
        if self.steer.hook == Hook::Egress {
            asm.jump_if(Set, R1, PROXY | HOME, exit.home);
            let other = asm.label("not_routed");
            asm.mov(R2, R1);
            asm.alu(AluOp::And, R2, ROUTED);
            asm.jump_if(Eq, R2, 0, other);
            asm.jump(exit.reroute);
            asm.bind(other);
            stack.answer.get(asm, R2);
            asm.jump_if(Eq, R2, 0, answer);
            asm.jump(exit.reroute);
        } else {
            asm.jump_if(Set, R1, PROXY, exit.proxy);
            asm.jump(exit.next);
        }
        asm.bind(answer);
        if self.steer.hook == Hook::Ingress && self.steer.ir.proxies.iter().any(|p| p.tcp) {
            asm.mov(R2, R1);
            asm.alu(AluOp::And, R2, FOREIGN);
            asm.jump_if(Eq, R2, 0, exit.next);
            asm.note("answer to a socket with another one's address");
            self.assign().answer(asm, &self.steer.ir.proxies);
        } else {
            asm.jump(exit.next);
        }
    }
}

/// Goes to `other` with what looks like an answer to a flow that no filter has admitted.
fn is_its(asm: &mut Assembler, other: Label) {
    let its = asm.label("of_the_flow");
    asm.load(W, R1, R7, DECISION);
    asm.alu(AluOp::And, R1, PENDING);
    asm.jump_if(Eq, R1, 0, its);
    asm.load(W, R1, R7, FLAGS);
    asm.alu(AluOp::And, R1, BY_HIGHER);
    asm.jump_if(Ne, R1, R9, other);
    asm.bind(its);
}
