//! The flow lookup: what a packet is to the flows that are known.

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::Cond::{Eq, Gt, Lt, Ne, Set};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R6, R7, R8, R9};
use polc_bpf::insn::Width::{DW, W};
use polc_bpf::insn::{AluOp, AtomicOp, Bits, Reg};

use super::super::hook::Hook;
use super::super::noted;
use super::super::record::{Item, Record};
use super::decision::{DECISION, DNAT, OPENED_TO, PENDING};
use super::flows::{
    BY_HIGHER, FILTERED, FLAGS, Flows, MARK, REJECTED, REPLIED, UNTIL, key, number,
};
use super::stack::Stack;
use super::timeout::{OPENING, RST, datagram, one_of};
use crate::field::{ICMP, ICMP_TYPE, ICMPV6, TCP, TCP_FLAGS};
use crate::ir::{Ir, Mark, Stage, Verdict};

/// The types of ICMP errors (RFC 792), and the first type of ICMPv6 that is none (RFC 4443, 2.1).
pub(super) const ICMP_ERRORS: [i32; 5] = [3, 4, 5, 11, 12];
pub(super) const FIRST_QUESTION: i32 = 128;

/// Where `struct __sk_buff` has the packet's mark.
pub(in super::super) const SKB_MARK: i16 = 8;

/// What a packet is to the flow table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(in super::super) enum Kind {
    /// It can open a flow.
    New = 1,
    /// It belongs to nothing, and can open nothing.
    Invalid = 2,
    /// It is a fragment whose first has not passed.
    Orphan = 3,
    /// It is never tracked.
    Untracked = 4,
    /// It belongs to a flow.
    Known = 5,
    /// It has left by the loopback interface and comes in by it, and nobody has answered its flow yet.
    Returned = 6,
    /// It belongs to a flow that steer has admitted: no section judges it.
    Admitted = 7,
}

/// Where a packet goes from the lookup.
#[derive(Clone, Copy)]
pub(in super::super) struct Ways {
    /// It belongs to an admitted flow.
    pub(in super::super) follows: Label,
    /// It passes whatever the rules say.
    pub(in super::super) passes: Label,
    /// It has to be judged; the kind is noted.
    pub(in super::super) unknown: Label,
}

/// The lookup of a program.
pub(in super::super) struct Lookup<'l> {
    pub(in super::super) hook: Hook,
    pub(in super::super) ir: &'l Ir,
    pub(in super::super) flows: &'l Flows,
    pub(in super::super) stack: &'l Stack,
    pub(in super::super) ways: Ways,
    /// Whether it is the filter's at the loopback interface, where packets keep their marks, and come in that the
    /// filter has seen leave.
    pub(in super::super) loopback: bool,
}

impl Lookup<'_> {
    /// The packet is known in the record. Fragments behind one that has passed go to `expected`.
    pub(in super::super) fn write(
        &self,
        asm: &mut Assembler,
        expected: Label,
        quote: impl FnOnce(&mut Assembler, Label, Label),
    ) {
        let [later, related, found, unknown, invalid] =
            ["later", "related", "found", "unknown", "invalid"].map(|name| asm.label(name));
        self.begin(asm);
        self.special(asm, related, later);
        key(asm, self.stack, &self.stack.record);
        self.hook.hide(asm, R9, R1);
        self.stack.way.set(asm, R9);
        self.flows.find(asm, self.stack, found, unknown);

        asm.bind(later);
        asm.note("later fragment");
        self.flows.is_expected(asm, self.stack, expected);
        self.goes_on(asm, Kind::Orphan);

        asm.bind(related);
        asm.note("error about another packet");
        let [quoted, about] = ["quoted", "about"].map(|name| asm.label(name));
        quote(asm, quoted, invalid);
        asm.bind(quoted);
        self.is_for_its_sender(asm, invalid);
        key(asm, self.stack, &self.stack.quoted);
        self.flows.find(asm, self.stack, about, invalid);
        asm.bind(about);
        if self.flows.decides() {
            asm.load(W, R1, R7, DECISION);
            asm.jump_if(Set, R1, PENDING, invalid);
        }
        self.tell_related(asm);
        // The error goes the other way.
        asm.alu(AluOp::Xor, R9, 1);
        self.restore(asm);
        self.too_big(asm);
        asm.jump(self.ways.follows);

        asm.bind(found);
        asm.note("flow");
        self.is_admitted(asm, unknown);
        if self.loopback && self.hook == Hook::Ingress {
            self.comes_back(asm, unknown);
        } else {
            self.follow(asm, unknown);
        }

        asm.bind(unknown);
        self.can_open(asm, invalid);
        self.goes_on(asm, Kind::New);
        asm.bind(invalid);
        self.too_big(asm);
        self.goes_on(asm, Kind::Invalid);
    }

    /// What says that a packet was too big passes whatever the rules say, if nothing else is wanted.
    fn too_big(&self, asm: &mut Assembler) {
        if self.ir.strict_icmp {
            return;
        }
        let record = &self.stack.record;
        let [six, other] = ["six", "not_too_big"].map(|name| asm.label(name));
        record.get(asm, R1, Item::Protocol);
        record.get(asm, R2, Item::Field(ICMP_TYPE));
        self.stack.family.get(asm, R3);
        asm.jump_if(Ne, R3, 0, six);
        asm.jump_if(Ne, R1, number(ICMP), other);
        asm.jump_if(Ne, R2, 3, other);
        record.get(asm, R3, Item::Field(crate::field::ICMP_CODE));
        asm.jump_if(Eq, R3, 4, self.ways.passes);
        asm.jump(other);
        asm.bind(six);
        asm.jump_if(Ne, R1, number(ICMPV6), other);
        asm.jump_if(Eq, R2, 2, self.ways.passes);
        asm.bind(other);
    }

    /// Nothing is known of the packet's flow.
    pub(in super::super) fn begin(&self, asm: &mut Assembler) {
        self.hook.zero(asm, R1);
        for place in [self.stack.mark, self.stack.way, self.stack.now] {
            place.set(asm, R1);
        }
        let record = &self.stack.record;
        if record.has(Item::Opened) {
            record.get_half(asm, R1, Item::Destination, false);
            record.get_half(asm, R2, Item::Destination, true);
            record.put_address(asm, Item::Opened, Some(R2), R1);
        }
    }

    /// Notes where the flow in `R7` was opened to, if rules ask and steer has made another destination of it. Changes
    /// `R0` and `R1`.
    pub(in super::super) fn opened(&self, asm: &mut Assembler) {
        let record = &self.stack.record;
        if record.has(Item::Opened) && self.flows.decides() {
            let same = asm.label("opened_here");
            asm.load(W, R1, R7, DECISION);
            asm.alu(AluOp::And, R1, DNAT);
            asm.jump_if(Eq, R1, 0, same);
            asm.load(DW, R0, R7, OPENED_TO);
            asm.load(DW, R1, R7, OPENED_TO + 8);
            record.put_address(asm, Item::Opened, Some(R1), R0);
            asm.bind(same);
        }
    }

    /// Goes to `unknown` with the flow in `R7` that steer has decided, and the filter has not. Its mark is noted.
    fn is_admitted(&self, asm: &mut Assembler, unknown: Label) {
        if !self.flows.decides() {
            return;
        }
        let admitted = asm.label("admitted_before");
        asm.load(W, R1, R7, DECISION);
        asm.alu(AluOp::And, R1, PENDING);
        asm.jump_if(Eq, R1, 0, admitted);
        asm.load(W, R1, R7, MARK);
        self.stack.mark.set(asm, R1);
        self.opened(asm);
        asm.jump(unknown);
        asm.bind(admitted);
    }

    /// As [`Lookup::follow`], but what the filter has let leave by the loopback interface is judged as it comes in,
    /// until somebody answers.
    fn comes_back(&self, asm: &mut Assembler, unknown: Label) {
        let back = asm.label("came_back");
        let ways = Ways {
            follows: back,
            ..self.ways
        };
        Self { ways, ..*self }.follow(asm, unknown);
        asm.bind(back);
        asm.load(W, R1, R7, FLAGS);
        asm.jump_if(Set, R1, REPLIED, self.ways.follows);
        asm.alu(AluOp::And, R1, FILTERED);
        asm.jump_if(Eq, R1, 0, self.ways.follows);
        asm.load(W, R1, R7, MARK);
        self.stack.mark.set(asm, R1);
        self.opened(asm);
        self.goes_on(asm, Kind::Returned);
    }

    /// An error goes to whoever has sent what it is about: a known flow is no way to anybody else.
    pub(in super::super) fn is_for_its_sender(&self, asm: &mut Assembler, invalid: Label) {
        for upper in [false, true] {
            self.stack.quoted.get_half(asm, R1, Item::Source, upper);
            self.stack
                .record
                .get_half(asm, R2, Item::Destination, upper);
            asm.jump_if(Ne, R1, R2, invalid);
        }
    }

    fn goes_on(&self, asm: &mut Assembler, kind: Kind) {
        self.stack.kind.set(asm, kind as i32);
        asm.jump(self.ways.unknown);
    }

    /// What is no packet of a flow: messages that conduct a network, errors, later fragments.
    pub(in super::super) fn special(&self, asm: &mut Assembler, related: Label, later: Label) {
        let record = &self.stack.record;
        let [six, untracked, error, usual, flow] =
            ["six", "untracked", "error", "usual", "of_a_flow"].map(|name| asm.label(name));
        record.get(asm, R1, Item::Later);
        asm.jump_if(Ne, R1, 0, later);
        record.get(asm, R1, Item::Protocol);
        record.get(asm, R2, Item::Field(ICMP_TYPE));
        self.stack.family.get(asm, R3);
        asm.jump_if(Ne, R3, 0, six);
        asm.jump_if(Ne, R1, number(ICMP), usual);
        for number in ICMP_ERRORS {
            asm.jump_if(Eq, R2, number, error);
        }
        asm.jump(usual);
        asm.bind(six);
        asm.jump_if(Ne, R1, number(ICMPV6), usual);
        let discovery = if self.ir.strict_icmp {
            untracked
        } else {
            self.ways.passes
        };
        for kind in 133..=136 {
            asm.jump_if(Eq, R2, kind, discovery);
        }
        for kind in [130, 131, 132, 143, 151] {
            asm.jump_if(Eq, R2, kind, untracked);
        }
        asm.jump_if(Lt, R2, FIRST_QUESTION, error);
        asm.jump(usual);
        let tracked = |asm: &mut Assembler| {
            if noted::untracks(self.ir) {
                noted::is_untracked(asm, self.hook, untracked);
            }
        };
        asm.bind(error);
        tracked(asm);
        asm.jump(related);
        asm.bind(usual);
        tracked(asm);
        asm.jump(flow);
        asm.bind(untracked);
        self.goes_on(asm, Kind::Untracked);
        asm.bind(flow);
    }

    /// The flow is in `R7`, whether it has settled in `R8`, whether the source is the higher end in
    /// `R9`. Goes to `unknown` if the packet does not go on with it.
    pub(in super::super) fn follow(&self, asm: &mut Assembler, unknown: Label) {
        let [live, reply, known, tcp, late] =
            ["live", "reply", "known", "tcp", "late"].map(|name| asm.label(name));
        asm.load(W, R2, R7, FLAGS);
        // `R3 =` 1 for an answer.
        asm.mov(R3, R2);
        asm.alu(AluOp::And, R3, BY_HIGHER);
        asm.alu(AluOp::Xor, R3, R9);
        asm.mov(R4, R2);
        asm.alu(AluOp::And, R4, REJECTED);
        asm.jump_if(Eq, R4, 0, live);
        // The answer to a rejected flow is a reset, or an error, which is found by what it quotes.
        asm.jump_if(Eq, R3, 0, unknown);
        self.refusal(asm, unknown);
        asm.bind(live);
        asm.mov(R4, R2);
        asm.jump_if(Eq, R3, 0, reply);
        asm.alu(AluOp::Or, R4, REPLIED);
        asm.bind(reply);
        self.stack.record.get(asm, R1, Item::Protocol);
        asm.jump_if(Eq, R1, number(TCP), tcp);
        datagram(asm, late, known);
        asm.bind(tcp);
        self.segment(asm, unknown, late, known);

        // `R0` is for how long it is known from now on, `R4` its flags. What is told is only told of packets that are
        // part of it.
        for (label, settles) in [(late, true), (known, false)] {
            asm.bind(label);
            self.keep(asm);
            self.tell(asm);
            self.restore(asm);
            if settles {
                asm.jump_if(Ne, R8, 0, self.ways.follows);
                self.flows.settle(asm, self.stack);
            }
            asm.jump(self.ways.follows);
        }
    }

    /// Of the answers to a rejected packet, a reset passes. Errors are told by what they quote.
    fn refusal(&self, asm: &mut Assembler, unknown: Label) {
        self.stack.record.get(asm, R1, Item::Protocol);
        asm.jump_if(Ne, R1, number(TCP), unknown);
        self.stack.record.get(asm, R1, Item::Field(TCP_FLAGS));
        asm.jump_if(Gt, R1, 0xff, unknown);
        asm.jump_if(Set, R1, RST, self.ways.passes);
        asm.jump(unknown);
    }

    /// Notes what rules can ask of the flow in `R7`, whose flags are in `R4`.
    fn tell(&self, asm: &mut Assembler) {
        if let Some((state, reply)) = self.stack.told {
            const { assert!(REPLIED == 2, "the flag is the state, shifted") }
            asm.mov(R3, R4);
            asm.alu(AluOp::And, R3, BY_HIGHER);
            asm.alu(AluOp::Xor, R3, R9);
            reply.set(asm, R3);
            asm.mov(R1, R4);
            asm.alu(AluOp::And, R1, REPLIED);
            asm.alu(AluOp::Rsh, R1, 1);
            state.set(asm, R1);
            asm.load(W, R1, R7, MARK);
            self.stack.mark.set(asm, R1);
            asm.mov(R1, R4);
            self.tell_who(asm);
            let record = &self.stack.record;
            self.tell_opened(asm, R3, (record, Item::Source));
        }
    }

    /// Notes whether the filter or steer has admitted the flow whose flags are in `R1`.
    fn tell_who(&self, asm: &mut Assembler) {
        let filtered = asm.label("filtered");
        self.stack.kind.set(asm, Kind::Known as i32);
        asm.jump_if(Set, R1, FILTERED, filtered);
        self.stack.kind.set(asm, Kind::Admitted as i32);
        asm.bind(filtered);
    }

    /// Notes where the flow in `R7` was opened to, if rules ask. If the packet goes against the way of the first one
    /// (`reply` is 1), that is the address at `far`, unless steer has made another of it. Changes `R0` and `R1`.
    fn tell_opened(&self, asm: &mut Assembler, reply: Reg, (record, far): (&Record, Item)) {
        let own = &self.stack.record;
        if own.has(Item::Opened) {
            let forth = asm.label("goes_forth");
            asm.jump_if(Eq, reply, 0, forth);
            record.get_half(asm, R0, far, false);
            record.get_half(asm, R1, far, true);
            own.put_address(asm, Item::Opened, Some(R1), R0);
            asm.bind(forth);
            self.opened(asm);
        }
    }

    /// The same of an error about a packet of the flow, which it travels against.
    fn tell_related(&self, asm: &mut Assembler) {
        if let Some((state, reply)) = self.stack.told {
            asm.load(W, R1, R7, FLAGS);
            asm.alu(AluOp::And, R1, BY_HIGHER);
            asm.alu(AluOp::Xor, R1, R9);
            asm.alu(AluOp::Xor, R1, 1);
            reply.set(asm, R1);
            let quoted = &self.stack.quoted;
            self.tell_opened(asm, R1, (quoted, Item::Destination));
            state.set(asm, 2);
            asm.load(W, R1, R7, MARK);
            self.stack.mark.set(asm, R1);
            asm.load(W, R1, R7, FLAGS);
            self.tell_who(asm);
        }
    }

    /// Keeps a flow for the time in `R0`, with the flags in `R4`; they were those in `R2`.
    fn keep(&self, asm: &mut Assembler) {
        let same = asm.label("same_flags");
        self.stack.now.get(asm, R1);
        asm.add(R1, R0);
        asm.store(DW, R7, UNTIL, R1);
        asm.jump_if(Eq, R2, R4, same);
        asm.atomic(AtomicOp::Or, Bits::B32, R7, FLAGS, R4);
        asm.bind(same);
    }

    /// Goes to `invalid` with what can open no flow.
    pub(in super::super) fn can_open(&self, asm: &mut Assembler, invalid: Label) {
        let record = &self.stack.record;
        let [can, tcp, six, echo, echo6] =
            ["can_open", "tcp", "six", "echo", "echo"].map(|name| asm.label(name));
        record.get(asm, R1, Item::Protocol);
        asm.jump_if(Eq, R1, number(TCP), tcp);
        record.get(asm, R2, Item::Field(ICMP_TYPE));
        self.stack.family.get(asm, R3);
        asm.jump_if(Ne, R3, 0, six);
        asm.jump_if(Eq, R1, number(ICMP), echo);
        asm.jump(can);
        asm.bind(six);
        asm.jump_if(Eq, R1, number(ICMPV6), echo6);
        asm.jump(can);
        asm.bind(echo);
        for question in [8, 13, 15, 17, 256] {
            asm.jump_if(Eq, R2, question, can);
        }
        asm.jump(invalid);
        asm.bind(echo6);
        for question in [128, 139, 256] {
            asm.jump_if(Eq, R2, question, can);
        }
        asm.jump(invalid);
        asm.bind(tcp);
        record.get(asm, R3, Item::Field(TCP_FLAGS));
        asm.jump_if(Gt, R3, 0xff, can);
        one_of(asm, &OPENING, invalid);
        asm.bind(can);
    }

    /// The packet gets again what rules have set of its flow's mark. The flow is in `R7`, whether the source
    /// is the higher end in `R9`.
    pub(in super::super) fn restore(&self, asm: &mut Assembler) {
        let marks = restored(self.ir);
        if self.loopback || marks.is_empty() {
            return;
        }
        asm.load(W, R1, R7, MARK);
        for restored in marks {
            let Mark { value, mask } = restored.mark;
            let other = asm.label("other_mark");
            if restored.original {
                asm.load(W, R2, R7, FLAGS);
                asm.alu(AluOp::And, R2, BY_HIGHER);
                asm.jump_if(Ne, R2, R9, other);
            }
            asm.mov32(R2, R1);
            asm.alu32(AluOp::And, R2, mask.cast_signed());
            asm.load_wide(R3, u64::from(value));
            asm.jump_if(Ne, R2, R3, other);
            asm.load(W, R2, R6, SKB_MARK);
            asm.alu32(AluOp::And, R2, (!mask).cast_signed());
            asm.alu32(AluOp::Or, R2, R3);
            asm.store(W, R6, SKB_MARK, R2);
            asm.bind(other);
        }
    }
}

/// A mark that later packets of a flow get again.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Restored {
    mark: Mark,
    /// Only in the direction of the first packet.
    original: bool,
}

/// The marks that later packets of a flow get again.
fn restored(ir: &Ir) -> Vec<Restored> {
    let rules = ir.rules().filter(|(stage, _)| *stage != Stage::Guard);
    let marks = rules.filter_map(|(_, rule)| {
        let Mark { value, mask } = rule.effects.mark?;
        let value = value & mask;
        (value != 0).then_some(Restored {
            mark: Mark { value, mask },
            original: matches!(rule.verdict, Some(Verdict::Route { .. })),
        })
    });
    let mut marks: Vec<Restored> = marks.collect();
    marks.sort_unstable();
    marks.dedup();
    marks
}
