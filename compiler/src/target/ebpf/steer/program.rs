//! The programs of steer: which flow a packet belongs to, where the flow goes, and what has to be done to the
//! packet for that.

use polc_bpf::asm::{AsmError, Assembler, Label, Program, SourceLine};
use polc_bpf::insn::Cond::{Eq, Ne};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R6, R10};
use polc_bpf::insn::Width::{DW, W};
use polc_bpf::insn::{AluOp, Helper};

use super::super::act::Actions;
use super::super::filter::begin::{Begin, Begun};
use super::super::filter::direction::{SKB_INGRESS, SKB_INTERFACE};
use super::super::filter::flows::Flows;
use super::super::filter::stack::Stack;
use super::super::hook::Hook;
use super::super::link::{Link, assembled};
use super::super::list::List;
use super::super::nat::{End, Rewrite};
use super::super::record::Item;
use super::aliases::{Aliases, Replaces};
use super::ends::Ends;
use super::proxy::Assign;
use super::reroute;
use crate::ir::Ir;

/// The map with the addresses of interfaces.
pub(in super::super) const ADDRESSES: &str = "addresses";
/// Where in its values the address of IPv6 is.
const ADDRESS6: i16 = 16;

/// What a program is written from.
pub(super) struct Steer<'s> {
    pub(super) ir: &'s Ir,
    pub(super) name: &'s str,
    pub(super) hook: Hook,
    pub(super) line: Option<SourceLine>,
    /// Whether only a SYN is asked about, of what opens connections.
    pub(super) strict: bool,
    /// The lists for IPv4 and IPv6; `None` where no new flow is asked about.
    pub(super) lists: Option<[List; 2]>,
    pub(super) actions: Actions,
    pub(super) flows: &'s Flows,
    pub(super) aliases: &'s Aliases,
    /// The mask of the numbers of targets.
    pub(super) targets: u32,
}

/// Where packets go.
#[derive(Clone, Copy)]
pub(super) struct Exit {
    /// It goes on.
    pub(super) next: Label,
    pub(super) drop: Label,
    /// It is one of a known flow, whose entry is in `R7`.
    pub(super) follows: Label,
    /// Its flow goes where it says; it is remembered if it has a mark.
    pub(super) direct: Label,
    /// Its flow goes to the end at [`Ends::to`].
    pub(super) translate: Label,
    /// Its flow is remembered, with the decision that was noted.
    pub(super) open: Label,
    /// To this host, by the loopback interface.
    pub(super) home: Label,
    /// By another way.
    pub(super) reroute: Label,
    /// To the proxy of the decision that was noted.
    pub(super) proxy: Label,
}

impl Steer<'_> {
    /// The program for such frames.
    pub(super) fn program(&self, link: Link) -> Result<Program, AsmError> {
        assembled(|| self.write(link))
    }

    fn write(&self, link: Link) -> Assembler {
        let mut program = Assembler::new(&link.program(self.name));
        let asm = &mut program;
        let mut label = |name| asm.label(name);
        let exit = Exit {
            next: label("goes_on"),
            drop: label("dropped"),
            follows: label("follows"),
            direct: label("direct"),
            translate: label("translate"),
            open: label("open"),
            home: label("home"),
            reroute: label("reroute"),
            proxy: label("proxy"),
        };
        let [unknown, decided] = ["judge", "decided"].map(&mut label);
        let lists: Vec<&List> = self.lists.iter().flatten().collect();
        let away = lists
            .iter()
            .flat_map(|list| list.wanted())
            .any(|item| item == Item::Away);
        let start = Begin {
            hook: self.hook,
            link,
            line: self.line.as_ref(),
            lists,
            flows: self.flows,
            area: 0,
            apart: Ends::size(self.flows.value()),
            tells: false,
            chooses: true,
        };
        let begun = start.write(asm, exit.next, exit.drop);
        if self.hook == Hook::Egress {
            // What goes through this host was steered where it came in.
            asm.load(W, R1, R6, SKB_INGRESS);
            asm.jump_if(Ne, R1, 0, exit.next);
            reroute::arrived(asm, exit.next);
        }
        let one = One {
            steer: self,
            link,
            begun: &begun,
            ends: Ends::new(&begun.stack, self.flows.value()),
            exit,
        };
        one.track(asm, unknown);
        one.follow(asm);
        asm.part("classify");
        asm.bind(unknown);
        one.classify(asm, away, decided);
        asm.part("act");
        one.act(asm, decided);
        program
    }
}

/// A program for one kind of frames.
pub(super) struct One<'o> {
    pub(super) steer: &'o Steer<'o>,
    pub(super) link: Link,
    pub(super) begun: &'o Begun,
    pub(super) ends: Ends,
    pub(super) exit: Exit,
}

impl One<'_> {
    /// The places on the stack.
    pub(super) fn stack(&self) -> &Stack {
        &self.begun.stack
    }

    /// What hands packets to proxies.
    pub(super) fn assign(&self) -> Assign<'_> {
        let stack = self.stack();
        Assign {
            stack,
            decision: stack.choice.unwrap_or(stack.kind),
            tuple: self.ends.scratch,
            next: self.exit.next,
            drop: self.exit.drop,
        }
    }

    /// Gives the packet the end at [`Ends::to`] for its destination, and the fragments behind it.
    pub(super) fn replace(&self, asm: &mut Assembler) {
        let aliases = self.steer.aliases;
        let end = (self.ends.to, Replaces::Destination);
        aliases.expect_fragments(asm, self.stack(), end, self.exit.drop);
        self.rewrite().packet(asm, End::Destination);
    }

    /// What gives packets the end at [`Ends::to`].
    pub(super) fn rewrite(&self) -> Rewrite<'_> {
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
}

/// `R1`, `R2 =` the halves of the address of the interface where the packet is; goes to `none` if it has none.
pub(in super::super) fn address_of_interface(asm: &mut Assembler, stack: &Stack, none: Label) {
    let [six, done] = ["own_ipv6", "own_address"].map(|name| asm.label(name));
    asm.load(W, R1, R6, SKB_INTERFACE);
    asm.store(W, R10, stack.index, R1);
    asm.load_map(R1, ADDRESSES);
    asm.mov(R2, R10);
    asm.add(R2, i32::from(stack.index));
    asm.call(Helper::MapLookupElem);
    asm.jump_if(Eq, R0, 0, none);
    stack.family.get(asm, R3);
    asm.jump_if(Ne, R3, 0, six);
    asm.load(DW, R1, R0, 0);
    asm.mov(R2, 0);
    asm.jump(done);
    asm.bind(six);
    asm.load(DW, R1, R0, ADDRESS6);
    asm.load(DW, R2, R0, ADDRESS6 + 8);
    asm.bind(done);
    asm.mov(R3, R1);
    asm.alu(AluOp::Or, R3, R2);
    asm.jump_if(Eq, R3, 0, none);
}
