//! The programs of steer: which flow a packet belongs to, where the flow goes, and what has to be done to the
//! packet for that.

use polc_bpf::asm::{AsmError, Assembler, Isa, Label, Program, SourceLine};
use polc_bpf::insn::Cond::{Eq, Ne, Set};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R6, R7, R9, R10};
use polc_bpf::insn::Width::{DW, H, W};
use polc_bpf::insn::{AluOp, Helper};

use super::super::act::{Actions, Outcome};
use super::super::choice;
use super::super::filter::begin::{Begin, Begun};
use super::super::filter::decision::{
    DECISION, DNAT, HOME, LEAVES_FROM, LEAVING_PORT, OPENED_PORT, OPENED_TO, OWN, PENDING, PROXY,
    PROXY_SHIFT, ROUTED, SNAT,
};
use super::super::filter::direction::{self, SKB_INGRESS, SKB_INTERFACE};
use super::super::filter::flows::{BY_HIGHER, Flows, key};
use super::super::filter::stack::Stack;
use super::super::filter::track::{self, Kind, Ways};
use super::super::filter::{FLAGS, Facts, either, facts, quote, undecided};
use super::super::hook::Hook;
use super::super::link::Link;
use super::super::list::List;
use super::super::nat::{End, Rewrite};
use super::super::record::Item;
use super::aliases::{Aliases, FRESH};
use super::ends::{self, Ends};
use super::proxy::Assign;
use super::reroute::Reroute;
use crate::ir::{Down, Ir, Mark};

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
struct Exit {
    /// It goes on.
    next: Label,
    drop: Label,
    /// It is one of a known flow, whose entry is in `R7`.
    follows: Label,
    /// Its flow goes where it says; it is remembered if it has a mark.
    direct: Label,
    /// Its flow goes to the end at [`Ends::to`].
    translate: Label,
    /// Its flow is remembered, with the decision that was noted.
    open: Label,
    /// To this host, by the loopback interface.
    home: Label,
    /// By another way.
    reroute: Label,
    /// To the proxy of the decision that was noted.
    proxy: Label,
}

impl Steer<'_> {
    /// The program for such frames.
    pub(super) fn program(&self, link: Link) -> Result<Program, AsmError> {
        match self.write(link).finish(Isa::V3) {
            Err(AsmError::TooFar { .. }) => self.write(link).finish(Isa::V4),
            other => other,
        }
    }

    fn write(&self, link: Link) -> Assembler {
        let mut asm = Assembler::new(&link.program(self.name));
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
            .flat_map(|l| l.wanted())
            .any(|i| i == Item::Away);
        let begin = Begin {
            hook: self.hook,
            link,
            line: self.line.as_ref(),
            lists,
            flows: self.flows,
            also: Vec::new(),
            area: 0,
            apart: Ends::size(self.flows.value()),
            tells: false,
            chooses: true,
        };
        let begun = begin.write(&mut asm, exit.next, exit.drop);
        let asm_ref = &mut asm;
        if self.hook == Hook::Egress {
            // What goes through this host was steered where it came in.
            asm_ref.load(W, R1, R6, SKB_INGRESS);
            asm_ref.jump_if(Ne, R1, 0, exit.next);
            super::reroute::arrived(asm_ref, exit.next);
        }
        let one = One {
            steer: self,
            link,
            begun: &begun,
            ends: Ends::new(&begun.stack, self.flows.value()),
            exit,
        };
        one.track(asm_ref, unknown);
        one.follow(asm_ref);
        asm_ref.part("classify");
        asm_ref.bind(unknown);
        one.classify(asm_ref, away, decided);
        asm_ref.part("act");
        one.act(asm_ref, decided);
        asm
    }
}

/// A program for one kind of frames.
struct One<'o> {
    steer: &'o Steer<'o>,
    link: Link,
    begun: &'o Begun,
    ends: Ends,
    exit: Exit,
}

impl One<'_> {
    fn stack(&self) -> &Stack {
        &self.begun.stack
    }

    /// Goes to `follows` with a packet of a known flow, to `unknown` with one that may open one, and on its
    /// way with everything else. The packet is known in the record as the filter sees it.
    fn track(&self, asm: &mut Assembler, unknown: Label) {
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
        };
        lookup.begin(asm);
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
        lookup.follow(asm, refused);
        asm.bind(refused);
        stack.answer.get(asm, R1);
        asm.jump_if(Eq, R1, 0, new);
        self.forget_alias(asm);
        asm.bind(new);
        lookup.can_open(asm, invalid);
        stack.kind.set(asm, Kind::New as i32);
        asm.jump(unknown);

        asm.bind(related);
        asm.note("error about another packet");
        let quoted = asm.label("quoted");
        quote::write(asm, steer.hook, stack, quoted, invalid);
        asm.bind(quoted);
        self.related(asm, invalid);
        asm.bind(later);
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
        let rewrite = self.rewrite();
        // The error itself has no port.
        rewrite.packet(asm, End::Destination);
        rewrite.quoted(asm, &stack.quoted, End::Source);
        asm.jump(self.exit.next);
    }

    /// Makes the key of the packet that is in the record, and notes which end has sent it.
    fn key(&self, asm: &mut Assembler) {
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
    fn follow(&self, asm: &mut Assembler) {
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
        asm.jump_if(Eq, polc_bpf::insn::Reg::R8, 0, stays);
        ends::put(asm, stack, End::Destination, ends.outer);
        self.key(asm);
        self.steer.aliases.settle(asm, stack, ends.to);
        asm.bind(stays);
        ends::put(asm, stack, End::Destination, ends.outer);
        self.rewrite().packet(asm, End::Destination);
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
        }
        asm.bind(answer);
        asm.jump(exit.next);
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

    /// Goes to `decided` with the answer of a new flow, or to `direct`.
    fn classify(&self, asm: &mut Assembler, away: bool, decided: Label) {
        let Some(lists) = &self.steer.lists else {
            asm.jump(self.exit.direct);
            return;
        };
        let stack = self.stack();
        let asks = Facts {
            sender: self.steer.hook == Hook::Egress,
            ingress: false,
        };
        facts(asm, self.steer.hook, stack, asks);
        if away {
            self.away(asm);
        }
        let places = self.begun.places(self.steer.hook, decided, self.exit.drop);
        either(asm, stack, &places, lists);
        undecided(asm, self.exit.direct, decided);
    }

    /// Notes whether the packet is for another machine, or for several.
    fn away(&self, asm: &mut Assembler) {
        let stack = self.stack();
        let [six, ask, group, noted] =
            ["ipv6", "ask", "not_here", "way_noted"].map(|n| asm.label(n));
        stack.family.get(asm, R1);
        asm.jump_if(Ne, R1, 0, six);
        stack.record.get_half(asm, R1, Item::Destination, false);
        asm.mov(R2, R1);
        asm.alu(AluOp::Rsh, R2, 28);
        asm.jump_if(Eq, R2, 0xe, group);
        asm.load_wide(R2, u64::from(u32::MAX));
        asm.jump_if(Eq, R1, R2, group);
        asm.jump(ask);
        asm.bind(six);
        stack.record.get_half(asm, R1, Item::Destination, true);
        asm.alu(AluOp::Rsh, R1, 56);
        asm.jump_if(Eq, R1, 0xff, group);
        asm.bind(ask);
        direction::arriving(asm, stack, group);
        self.steer.hook.zero(asm, R1);
        asm.jump(noted);
        asm.bind(group);
        asm.mov(R1, 1);
        asm.bind(noted);
        self.steer.hook.hide(asm, R1, R2);
        stack.record.put(asm, Item::Away, R1);
    }

    /// What follows from the answer in `R0`, and from what was found before.
    fn act(&self, asm: &mut Assembler, decided: Label) {
        let (steer, stack, exit) = (self.steer, self.stack(), self.exit);
        if steer.lists.is_some() {
            asm.bind(decided);
            let end = |asm: &mut Assembler, outcome| self.outcome(asm, outcome);
            steer.actions.write(asm, &stack.record, stack.index, &end);
        }
        asm.bind(exit.direct);
        asm.note("it goes where it says");
        stack.mark.get(asm, R1);
        asm.jump_if(Eq, R1, 0, exit.next);
        self.decide(asm, PENDING);
        asm.jump(exit.open);

        let mut outcomes = steer.actions.outcomes();
        if outcomes.any(|o| matches!(o, Outcome::Redirect | Outcome::Dnat { .. })) {
            asm.bind(exit.translate);
            asm.note("another destination");
            self.translate(asm);
        }

        asm.bind(exit.open);
        self.open(asm, exit.next);
        let noted = stack.choice.unwrap_or(stack.kind);
        noted.get(asm, R1);
        if steer.hook == Hook::Egress {
            asm.jump_if(Set, R1, PROXY | HOME, exit.home);
            asm.jump_if(Set, R1, DNAT | ROUTED, exit.reroute);
        } else {
            asm.jump_if(Set, R1, PROXY, exit.proxy);
        }
        for (label, verdict) in [
            (exit.next, steer.hook.pass()),
            (exit.drop, steer.hook.drop()),
        ] {
            asm.bind(label);
            asm.mov(R0, verdict);
            asm.exit();
        }
        let reroute = Reroute {
            ir: steer.ir,
            link: self.link,
            stack,
            decision: noted,
            scratch: self.ends.scratch,
            drop: exit.drop,
        };
        if steer.hook == Hook::Egress {
            asm.bind(exit.home);
            reroute.home(asm);
            asm.bind(exit.reroute);
            reroute.write(asm, exit.home);
        } else {
            let undone = asm.label("undone");
            asm.bind(exit.proxy);
            let assign = Assign {
                stack,
                decision: noted,
                tuple: self.ends.scratch,
                next: exit.next,
                drop: exit.drop,
                undone,
            };
            assign.write(asm, &steer.ir.proxies);
            if steer
                .ir
                .proxies
                .iter()
                .any(|proxy| proxy.down == Down::Direct)
            {
                asm.bind(undone);
                steer.flows.forget(asm, stack);
                asm.jump(exit.next);
            }
        }
    }

    /// Notes what is decided of the flow.
    fn decide(&self, asm: &mut Assembler, decision: i32) {
        let noted = self.stack().choice.unwrap_or(self.stack().kind);
        noted.set(asm, decision);
    }

    fn outcome(&self, asm: &mut Assembler, outcome: Outcome) {
        let (stack, exit) = (self.stack(), self.exit);
        let egress = self.steer.hook == Hook::Egress;
        let pending = |admit: bool| if admit { 0 } else { PENDING };
        // What is not tracked has no flow that could go elsewhere.
        let tracked = |asm: &mut Assembler| {
            stack.kind.get(asm, R1);
            asm.jump_if(Ne, R1, Kind::New as i32, exit.next);
        };
        match outcome {
            Outcome::Direct { admit: true } => {
                tracked(asm);
                self.strict(asm);
                self.decide(asm, 0);
                asm.jump(exit.open);
            }
            Outcome::Route { table: _, admit } if !egress => {
                tracked(asm);
                if admit {
                    self.strict(asm);
                }
                self.decide(asm, pending(admit));
                asm.jump(exit.open);
            }
            Outcome::Route { table, admit } => {
                tracked(asm);
                if admit {
                    self.strict(asm);
                }
                let number = super::reroute::number(self.steer.ir, table);
                self.decide(asm, ROUTED | pending(admit) | number << PROXY_SHIFT);
                asm.jump(exit.open);
            }
            Outcome::Dnat { admit } => {
                tracked(asm);
                if admit {
                    self.strict(asm);
                }
                ends::save(asm, stack, End::Destination, self.ends.to);
                self.choose(asm);
                let own = if egress { OWN } else { 0 };
                self.decide(asm, DNAT | own | pending(admit));
                asm.jump(exit.translate);
            }
            Outcome::Redirect => {
                tracked(asm);
                self.strict(asm);
                ends::save(asm, stack, End::Destination, self.ends.to);
                self.choose(asm);
                self.own_address(asm);
                self.decide(asm, DNAT | if egress { HOME } else { 0 });
                asm.jump(exit.translate);
            }
            Outcome::Proxy(proxy) => self.capture(asm, proxy),
            Outcome::Direct { admit: false } | Outcome::Pass => asm.jump(exit.direct),
            _ => asm.jump(exit.drop),
        }
    }

    /// Only a SYN opens a flow that the filter is not asked about, if the policy wants it so.
    fn strict(&self, asm: &mut Assembler) {
        if self.steer.ir.strict_tcp {
            track::only_syn(asm, self.stack(), self.exit.drop);
        }
    }

    fn capture(&self, asm: &mut Assembler, number: usize) {
        let exit = self.exit;
        let Some(proxy) = self.steer.ir.proxies.get(number) else {
            asm.jump(exit.drop);
            return;
        };
        self.stack().kind.get(asm, R1);
        asm.jump_if(Ne, R1, Kind::New as i32, exit.drop);
        self.strict(asm);
        let Mark { value, mask } = proxy.mark;
        let mark = self.stack().mark;
        mark.get(asm, R1);
        asm.alu32(AluOp::And, R1, (!mask).cast_signed());
        asm.alu32(AluOp::Or, R1, (value & mask).cast_signed());
        mark.set(asm, R1);
        let number = i32::try_from(number).unwrap_or(0);
        self.decide(asm, PROXY | number << PROXY_SHIFT);
        asm.jump(exit.open);
    }

    /// Replaces the end at [`Ends::to`] by the target that was chosen.
    fn choose(&self, asm: &mut Assembler) {
        if let Some(choice) = self.stack().choice {
            choice::target_of(asm, self.steer.targets, choice.at(), self.ends.to);
        }
    }

    /// Replaces the address at [`Ends::to`] by that of this host: loopback's for what it sends itself, that of
    /// the interface for what comes in. Drops what has none to go to.
    fn own_address(&self, asm: &mut Assembler) {
        let (stack, to) = (self.stack(), self.ends.to);
        if self.steer.hook == Hook::Egress {
            let done = asm.label("own_address");
            asm.load_wide(R1, 0x7f00_0001);
            asm.mov(R2, 0);
            stack.family.get(asm, R3);
            asm.jump_if(Eq, R3, 0, done);
            asm.mov(R1, 1);
            asm.bind(done);
        } else {
            address_of_interface(asm, stack, self.exit.drop);
        }
        asm.store(DW, R10, to, R1);
        asm.store(DW, R10, to + 8, R2);
    }

    /// The flow goes to the end at [`Ends::to`]: its outer side gets an alias, it an entry, and the packet another
    /// destination.
    fn translate(&self, asm: &mut Assembler) {
        let (stack, ends) = (self.stack(), self.ends);
        ends::save(asm, stack, End::Destination, ends.outer);
        let aliases = self.steer.aliases;
        aliases.open(asm, stack, (ends.to, false), self.exit.drop);
        self.rewrite().packet(asm, End::Destination);
        self.key(asm);
    }

    /// Writes the flow's entry: what was decided is noted, and where it was opened to is at [`Ends::outer`] if
    /// that is another end.
    fn open(&self, asm: &mut Assembler, next: Label) {
        let (stack, flows) = (self.stack(), self.steer.flows);
        let same = asm.label("same_end");
        stack.kind.get(asm, R1);
        asm.jump_if(Ne, R1, Kind::New as i32, next);
        track::first_timeout(asm, stack);
        asm.mov(R1, R0);
        stack.now.get(asm, R2);
        asm.add(R1, R2);
        stack.way.get(asm, R2);
        flows.begin(asm, stack);
        for word in (DECISION..flows.value()).step_by(8) {
            asm.store(DW, R10, stack.value + word, 0);
        }
        stack.choice.unwrap_or(stack.kind).get(asm, R1);
        asm.store(W, R10, stack.value + DECISION, R1);
        asm.alu(AluOp::And, R1, DNAT);
        asm.jump_if(Eq, R1, 0, same);
        for half in [0, 8] {
            asm.load(DW, R1, R10, self.ends.outer + half);
            asm.store(DW, R10, stack.value + OPENED_TO + half, R1);
        }
        asm.load(H, R1, R10, self.ends.outer + ends::PORT);
        asm.store(H, R10, stack.value + OPENED_PORT, R1);
        asm.bind(same);
        flows.decide(asm, stack, self.exit.drop);
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
