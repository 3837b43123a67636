//! The programs of egress.

use polc_bpf::asm::{AsmError, Assembler, Label, Program, SourceLine};
use polc_bpf::insn::AluOp;
use polc_bpf::insn::Cond::{Eq, Ne, Set};
use polc_bpf::insn::Reg::{R0, R1, R2, R6, R7, R9, R10};
use polc_bpf::insn::Width::{DW, H, W};

use super::super::act::{self, Actions, Outcome};
use super::super::choice;
use super::super::filter::begin::{Begin, Begun};
use super::super::filter::decision::{
    DECISION, DNAT, HOME, LEAVES_FROM, LEAVING_PORT, OPENED_PORT, OPENED_TO, OWN, PROXY, SNAT,
    SOURCED,
};
use super::super::filter::direction::SKB_INGRESS;
use super::super::filter::flows::{BY_HIGHER, Flows, MARK, key};
use super::super::filter::stack::Stack;
use super::super::filter::track::{self, Kind, Ways};
use super::super::filter::{FLAGS, Facts, either, facts, quote};
use super::super::hook::Hook;
use super::super::link::{Link, assembled};
use super::super::list::List;
use super::super::nat::{End, Rewrite};
use super::super::noted;
use super::super::record::Item;
use super::super::steer::ends::{self, Ends, PORT};
use super::super::steer::{Aliases, Replaces, address_of_interface, home, judged_before_home};
use crate::ir::Ir;

/// What a program is written from.
pub(super) struct Leave<'l> {
    pub(super) ir: &'l Ir,
    pub(super) name: &'l str,
    /// Where it runs: at ingress answers become what this host's own sockets wait for.
    pub(super) hook: Hook,
    pub(super) line: Option<SourceLine>,
    /// The lists for what this host sends, and for what goes through it.
    pub(super) lists: Vec<Option<[List; 2]>>,
    pub(super) actions: Actions,
    pub(super) flows: &'l Flows,
    pub(super) aliases: &'l Aliases,
    /// The mask of the numbers of targets.
    pub(super) targets: u32,
    /// Whether it stands at the loopback interface, where the filter judges what comes in.
    pub(super) loopback: bool,
}

/// Where packets go.
#[derive(Clone, Copy)]
pub(super) struct Exit {
    pub(super) next: Label,
    pub(super) drop: Label,
    /// Its flow keeps its source.
    pub(super) keep: Label,
    /// Its flow leaves from the end at [`Ends::to`], or one with another port.
    allocate: Label,
}

impl Leave<'_> {
    /// Whether flows that leave here keep their source for good.
    fn settles(&self) -> bool {
        self.hook == Hook::Egress && !self.loopback && !self.ir.egress.is_empty()
    }

    /// The program for such frames.
    pub(super) fn program(&self, link: Link) -> Result<Program, AsmError> {
        assembled(|| self.write(link))
    }

    fn write(&self, link: Link) -> Assembler {
        let mut asm = Assembler::new(&link.program(self.name));
        let [next, drop, keep, allocate] =
            ["goes_on", "dropped", "keep", "allocate"].map(|name| asm.label(name));
        let exit = Exit {
            next,
            drop,
            keep,
            allocate,
        };
        let start = Begin {
            hook: self.hook,
            link,
            line: self.line.as_ref(),
            lists: self.lists.iter().flatten().flatten().collect(),
            flows: self.flows,
            area: 0,
            apart: Ends::size(self.flows.value()),
            tells: false,
            chooses: true,
        };
        let begun = start.write(&mut asm, exit.next, exit.drop);
        let one = One {
            leave: self,
            link,
            begun: &begun,
            ends: Ends::new(&begun.stack, self.flows.value()),
            exit,
        };
        if self.hook == Hook::Egress && judged_before_home(self.ir) {
            one.go_home(&mut asm);
        }
        let asks = self.lists.iter().any(Option::is_some);
        one.track(&mut asm);
        if asks {
            asm.part("classify");
            let decided = asm.label("decided");
            one.classify(&mut asm, decided);
            asm.part("act");
            one.act(&mut asm, decided);
        }
        for (label, verdict) in [(exit.next, self.hook.pass()), (exit.drop, self.hook.drop())] {
            asm.bind(label);
            asm.mov(R0, verdict);
            asm.exit();
        }
        asm
    }
}

/// A program for one kind of frames.
pub(super) struct One<'o> {
    pub(super) leave: &'o Leave<'o>,
    link: Link,
    begun: &'o Begun,
    pub(super) ends: Ends,
    pub(super) exit: Exit,
}

impl One<'_> {
    pub(super) fn stack(&self) -> &Stack {
        &self.begun.stack
    }

    /// What is for this host itself goes there.
    fn go_home(&self, asm: &mut Assembler) {
        let leaves = asm.label("leaves");
        noted::unless(asm, noted::HOMEWARD, leaves);
        noted::put(asm, noted::NOTHING);
        home(
            asm,
            self.link,
            self.stack(),
            (self.ends.scratch, self.exit.drop),
        );
        asm.bind(leaves);
    }

    /// Packets of flows whose source is decided leave; goes on with those of others.
    fn track(&self, asm: &mut Assembler) {
        let (leave, stack, exit) = (self.leave, self.stack(), self.exit);
        let [later, related, found, answer, same, undecided] = [
            "later",
            "related",
            "found",
            "answer",
            "same_source",
            "undecided",
        ]
        .map(|name| asm.label(name));
        let lookup = track::Lookup {
            hook: leave.hook,
            ir: leave.ir,
            flows: leave.flows,
            stack,
            ways: Ways {
                follows: exit.next,
                passes: exit.next,
                unknown: exit.next,
            },
            loopback: false,
        };
        lookup.begin(asm);
        // What quotes a packet of a translated flow is for its sender, too big or not.
        lookup.special(asm, related, later);
        key(asm, stack, &stack.record);
        leave.flows.find(asm, stack, found, exit.next);

        asm.bind(related);
        asm.note("error about another packet");
        self.related(asm);
        asm.bind(later);
        asm.note("later fragment");
        let first = (self.ends.to, self.replaces());
        leave.aliases.find_fragment(asm, stack, first, exit.next);
        self.rewrite().packet(asm, End::Source);
        asm.jump(exit.next);

        asm.bind(found);
        asm.load(W, R1, R7, DECISION);
        self.is_here(asm);
        asm.load(W, R2, R7, FLAGS);
        asm.alu(AluOp::And, R2, BY_HIGHER);
        asm.jump_if(Ne, R2, R9, answer);
        if leave.hook == Hook::Egress {
            asm.mov(R2, R1);
            asm.alu(AluOp::And, R2, SNAT);
            asm.jump_if(Eq, R2, 0, same);
            self.load_end(asm, (LEAVES_FROM, LEAVING_PORT));
            self.replace(asm);
            asm.jump(exit.next);
            asm.bind(same);
        }
        if leave.lists.iter().any(Option::is_some) {
            asm.jump_if(Set, R1, SOURCED | PROXY | HOME, exit.next);
            asm.jump(undecided);
        } else if leave.settles() {
            // Another interface, to which its way may change, has rules: a flow is asked once.
            asm.jump_if(Set, R1, SOURCED, exit.next);
            asm.alu(AluOp::Or, R1, SOURCED);
            asm.store(W, R7, DECISION, R1);
            asm.jump(exit.next);
        } else {
            asm.jump(exit.next);
        }
        asm.bind(answer);
        asm.alu(AluOp::And, R1, DNAT);
        asm.jump_if(Eq, R1, 0, exit.next);
        self.load_end(asm, (OPENED_TO, OPENED_PORT));
        self.replace(asm);
        self.answers(asm);
        asm.jump(exit.next);
        if leave.lists.iter().any(Option::is_some) {
            asm.bind(undecided);
            lookup.opened(asm);
            stack.kind.set(asm, Kind::New as i32);
            asm.load(W, R1, R7, MARK);
            stack.mark.set(asm, R1);
        }
    }

    /// What comes in is rewritten only if it is of a flow that this host has opened; the decision is in `R1`. The
    /// rest goes on, to where it leaves. Changes `R2`.
    fn is_here(&self, asm: &mut Assembler) {
        if self.leave.hook == Hook::Ingress {
            asm.mov(R2, R1);
            asm.alu(AluOp::And, R2, OWN);
            asm.jump_if(Eq, R2, 0, self.exit.next);
        }
    }

    /// An error about a packet of a translated flow quotes what its sender has sent.
    fn related(&self, asm: &mut Assembler) {
        let (stack, exit) = (self.stack(), self.exit);
        let [quoted, about, answer, translated, other] = [
            "quoted",
            "about",
            "about_answer",
            "quote_translated",
            "of_another",
        ]
        .map(|name| asm.label(name));
        quote::write(asm, self.leave.hook, stack, quoted, exit.next);
        asm.bind(quoted);
        key(asm, stack, &stack.quoted);
        self.leave.flows.find(asm, stack, about, exit.next);
        asm.bind(about);
        asm.load(W, R1, R7, DECISION);
        self.is_here(asm);
        asm.load(W, R2, R7, FLAGS);
        asm.alu(AluOp::And, R2, BY_HIGHER);
        asm.jump_if(Ne, R2, R9, answer);
        asm.alu(AluOp::And, R1, DNAT);
        asm.jump_if(Eq, R1, 0, exit.next);
        self.load_end(asm, (OPENED_TO, OPENED_PORT));
        asm.jump(translated);
        asm.bind(answer);
        asm.alu(AluOp::And, R1, SNAT);
        asm.jump_if(Eq, R1, 0, exit.next);
        self.load_end(asm, (LEAVES_FROM, LEAVING_PORT));
        asm.bind(translated);
        // The end itself may have sent the error.
        for upper in [false, true] {
            stack.record.get_half(asm, R1, Item::Source, upper);
            stack.quoted.get_half(asm, R2, Item::Destination, upper);
            asm.jump_if(Ne, R1, R2, other);
        }
        self.rewrite().packet(asm, End::Source);
        asm.bind(other);
        self.rewrite().quoted(asm, &stack.quoted, End::Destination);
        self.answers(asm);
        asm.jump(exit.next);
    }

    /// By the loopback interface, the filter sees what the packet says outside.
    fn answers(&self, asm: &mut Assembler) {
        if self.leave.loopback {
            noted::put(asm, noted::ANSWER);
        }
    }

    /// Copies an end of the value in `R7`.
    fn load_end(&self, asm: &mut Assembler, (address, port): (i16, i16)) {
        for half in [0, 8] {
            asm.load(DW, R2, R7, address + half);
            asm.store(DW, R10, self.ends.to + half, R2);
        }
        asm.load(H, R2, R7, port);
        asm.store(DW, R10, self.ends.to + PORT, R2);
    }

    /// Gives the packet the end at [`Ends::to`] for its source, and the fragments behind it.
    pub(super) fn replace(&self, asm: &mut Assembler) {
        let aliases = self.leave.aliases;
        let end = (self.ends.to, self.replaces());
        aliases.expect_fragments(asm, self.stack(), end, self.exit.drop);
        self.rewrite().packet(asm, End::Source);
    }

    fn replaces(&self) -> Replaces {
        match self.leave.hook {
            Hook::Ingress => Replaces::Answer,
            _ => Replaces::Source,
        }
    }

    fn rewrite(&self) -> Rewrite<'_> {
        let stack = self.stack();
        Rewrite {
            link: self.link,
            record: &stack.record,
            family: stack.family.at(),
            to: self.ends.to,
            scratch: self.ends.scratch,
            fail: self.exit.drop,
        }
    }

    fn classify(&self, asm: &mut Assembler, decided: Label) {
        let (stack, exit) = (self.stack(), self.exit);
        let through = asm.label("through");
        asm.load(W, R1, R6, SKB_INGRESS);
        asm.jump_if(Ne, R1, 0, through);
        for (own, lists) in [true, false].into_iter().zip(&self.leave.lists) {
            if !own {
                asm.bind(through);
            }
            if let Some(lists) = lists {
                let asks = Facts {
                    sender: own,
                    ingress: !own,
                };
                facts(asm, Hook::Egress, stack, asks);
                let places = self.begun.places(Hook::Egress, decided, exit.drop);
                either(asm, stack, &places, lists);
                // There may be no rule that decides.
                asm.load_wide(R0, u64::from(act::PASS));
                asm.jump(decided);
            } else {
                asm.jump(exit.keep);
            }
        }
    }

    fn act(&self, asm: &mut Assembler, decided: Label) {
        let (stack, exit, ends) = (self.stack(), self.exit, self.ends);
        asm.bind(decided);
        let end = |asm: &mut Assembler, outcome| match outcome {
            Outcome::Snat => {
                ends::save(asm, stack, End::Source, ends.to);
                if let Some(choice) = stack.choice {
                    choice::target_of(asm, self.leave.targets, choice.at(), ends.to);
                }
                asm.jump(exit.allocate);
            }
            Outcome::Masquerade => {
                ends::save(asm, stack, End::Source, ends.to);
                address_of_interface(asm, stack, exit.drop);
                asm.store(DW, R10, ends.to, R1);
                asm.store(DW, R10, ends.to + 8, R2);
                asm.jump(exit.allocate);
            }
            Outcome::Pass | Outcome::Direct { .. } => asm.jump(exit.keep),
            _ => asm.jump(exit.drop),
        };
        let actions = &self.leave.actions;
        actions.write(asm, &stack.record, stack.index, &end);
        asm.bind(exit.keep);
        asm.note("it keeps its source");
        let kept = asm.label("kept");
        self.leave.flows.find(asm, stack, kept, exit.next);
        asm.bind(kept);
        self.note(asm, SOURCED);
        asm.jump(exit.next);
        let mut outcomes = actions.outcomes();
        if outcomes.any(|o| matches!(o, Outcome::Snat | Outcome::Masquerade)) {
            asm.bind(exit.allocate);
            asm.note("another source");
            self.allocate(asm);
        }
    }

    /// Notes in the value in `R7` what is decided, and the mark as rules have left it.
    pub(super) fn note(&self, asm: &mut Assembler, decided: i32) {
        asm.load(W, R1, R7, DECISION);
        asm.alu(AluOp::Or, R1, decided);
        asm.store(W, R7, DECISION, R1);
        self.stack().mark.get(asm, R1);
        asm.store(W, R7, MARK, R1);
    }
}
