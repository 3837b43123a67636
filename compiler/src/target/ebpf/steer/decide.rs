//! Where a new flow goes: what the rules decide of it, and what follows from that.

use polc_bpf::asm::Assembler;
use polc_bpf::insn::AluOp;
use polc_bpf::insn::Cond::{Eq, Ne, Set};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R7, R8, R10};
use polc_bpf::insn::Width::{DW, H, W};

use super::super::act::{self, Outcome};
use super::super::choice;
use super::super::filter::decision::{
    DECISION, DNAT, FOREIGN, HOME, OPENED_PORT, OPENED_TO, OWN, PENDING, PROXY, PROXY_SHIFT, ROUTED,
};
use super::super::filter::direction;
use super::super::filter::flows::{REJECTED, begin, number};
use super::super::filter::timeout;
use super::super::filter::track::Kind;
use super::super::filter::{FLAGS, Facts, either, facts};
use super::super::hook::Hook;
use super::super::nat::End;
use super::super::noted;
use super::super::record::Item;
use super::ends;
use super::program::{One, address_of_interface};
use super::proxy::with_bits;
use super::reroute::{self, LOOPBACK, NOT_FORWARDED, Reroute};
use crate::field::TCP;
use polc_bpf::asm::Label;

impl One<'_> {
    /// Goes to `decided` with the answer of a new flow, or to `direct`.
    pub(super) fn classify(&self, asm: &mut Assembler, away: bool, decided: Label) {
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
        // There may be no rule that decides.
        asm.load_wide(R0, u64::from(act::PASS));
        asm.jump(decided);
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
    pub(super) fn act(&self, asm: &mut Assembler, decided: Label) {
        let (steer, stack, exit) = (self.steer, self.stack(), self.exit);
        if steer.lists.is_some() {
            asm.bind(decided);
            let end = |asm: &mut Assembler, outcome| self.outcome(asm, outcome);
            steer.actions.write(asm, &stack.record, stack.index, &end);
        }
        if steer.hook == Hook::Ingress {
            asm.bind(exit.proxy);
            // What nobody takes goes its way, and is not admitted.
            let open = |asm: &mut Assembler, refused| {
                self.strict(asm, refused);
                self.open(asm, refused);
            };
            let proxies = &steer.ir.proxies;
            self.assign().write(asm, proxies, exit.direct, open);
        }
        asm.bind(exit.direct);
        asm.note("it goes where it says");
        let unmarked = asm.label("unmarked");
        stack.mark.get(asm, R1);
        asm.jump_if(Eq, R1, 0, unmarked);
        self.decide(asm, PENDING);
        asm.jump(exit.open);
        asm.bind(unmarked);
        if self.has_foreign_flows() {
            self.is_foreign(asm);
            self.decide(asm, PENDING | FOREIGN);
            asm.jump(exit.open);
        } else {
            asm.jump(exit.next);
        }

        let mut outcomes = steer.actions.outcomes();
        if outcomes.any(|o| matches!(o, Outcome::Redirect | Outcome::Dnat { .. })) {
            asm.bind(exit.translate);
            asm.note("another destination");
            self.translate(asm);
        }

        asm.bind(exit.open);
        stack.kind.get(asm, R1);
        asm.jump_if(Ne, R1, Kind::New as i32, exit.next);
        self.open(asm, exit.drop);
        let noted = stack.choice.unwrap_or(stack.kind);
        if steer.hook == Hook::Egress {
            noted.get(asm, R1);
            asm.jump_if(Set, R1, PROXY | HOME, exit.home);
            asm.jump_if(Set, R1, DNAT | ROUTED, exit.reroute);
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
            drop: exit.drop,
        };
        if steer.hook == Hook::Egress {
            let here = asm.label("sent_here");
            asm.bind(exit.home);
            reroute::home(asm, self.link, stack, (self.ends.scratch, exit.drop));
            asm.bind(exit.reroute);
            reroute.write(asm, here);
            asm.bind(here);
            if super::judged_before_home(steer.ir) {
                // The filter is asked here, where the packet leaves.
                noted.get(asm, R1);
                asm.alu(AluOp::And, R1, PENDING);
                asm.jump_if(Eq, R1, 0, exit.home);
                noted::put(asm, noted::HOMEWARD);
                asm.jump(exit.next);
            } else {
                asm.jump(exit.home);
            }
        }
    }

    /// Whether proxies of this host may open connections in the names of their clients.
    fn has_foreign_flows(&self) -> bool {
        let takes_tcp = self.steer.ir.proxies.iter().any(|proxy| proxy.tcp);
        self.steer.hook == Hook::Egress && takes_tcp
    }

    /// Goes on with a connection of this host that has another one's address, and to `next` with all else.
    fn is_foreign(&self, asm: &mut Assembler) {
        let (stack, next) = (self.stack(), self.exit.next);
        stack.kind.get(asm, R1);
        asm.jump_if(Ne, R1, Kind::New as i32, next);
        stack.record.get(asm, R1, Item::Protocol);
        asm.jump_if(Ne, R1, number(TCP), next);
        asm.mov(R1, LOOPBACK);
        direction::question(asm, stack);
        // Whose the source is.
        for word in [0, 8] {
            asm.load(DW, R1, R10, stack.area + 16 + word);
            asm.store(DW, R10, stack.area + 32 + word, R1);
        }
        asm.mov(R4, 0);
        direction::ask(asm, stack);
        asm.jump_if(Eq, R0, NOT_FORWARDED, next);
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
                self.strict(asm, exit.drop);
                self.decide(asm, 0);
                asm.jump(exit.open);
            }
            Outcome::Route { table: _, admit } if !egress => {
                tracked(asm);
                if admit {
                    self.strict(asm, exit.drop);
                }
                self.decide(asm, pending(admit));
                asm.jump(exit.open);
            }
            Outcome::Route { table, admit } => {
                let number = reroute::number(self.steer.ir, table);
                let flow = asm.label("has_flow");
                stack.kind.get(asm, R1);
                asm.jump_if(Eq, R1, Kind::New as i32, flow);
                self.decide(asm, ROUTED | number << PROXY_SHIFT);
                asm.jump(exit.reroute);
                asm.bind(flow);
                if admit {
                    self.strict(asm, exit.drop);
                }
                self.decide(asm, ROUTED | pending(admit) | number << PROXY_SHIFT);
                asm.jump(exit.open);
            }
            Outcome::Dnat { admit } => {
                tracked(asm);
                if admit {
                    self.strict(asm, exit.drop);
                }
                ends::save(asm, stack, End::Destination, self.ends.to);
                self.choose(asm);
                let own = if egress { OWN } else { 0 };
                self.decide(asm, DNAT | own | pending(admit));
                asm.jump(exit.translate);
            }
            Outcome::Redirect => {
                tracked(asm);
                self.strict(asm, exit.drop);
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

    /// Only a SYN opens a flow that the filter is not asked about, if the policy wants it so. Goes to `refused` with
    /// what does not.
    fn strict(&self, asm: &mut Assembler, refused: Label) {
        if self.steer.ir.strict_tcp {
            timeout::only_syn(asm, self.stack(), refused);
        }
    }

    fn capture(&self, asm: &mut Assembler, number: usize) {
        let exit = self.exit;
        let Some(proxy) = self.steer.ir.proxies.get(number) else {
            asm.jump(exit.drop);
            return;
        };
        let stack = self.stack();
        let number = i32::try_from(number).unwrap_or(0);
        self.decide(asm, PROXY | number << PROXY_SHIFT);
        if self.steer.hook == Hook::Ingress {
            // The proxy gets what is not tracked packet by packet, and the filter judges it.
            asm.jump(exit.proxy);
        } else {
            stack.kind.get(asm, R1);
            asm.jump_if(Ne, R1, Kind::New as i32, exit.drop);
            self.strict(asm, exit.drop);
            stack.mark.get(asm, R1);
            with_bits(asm, proxy.mark);
            stack.mark.set(asm, R1);
            asm.jump(exit.open);
        }
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
        // What is sent to where it goes anyway looks the same inside and outside.
        let other = asm.label("other_end");
        asm.mov(R0, R10);
        asm.add(R0, i32::from(ends.outer));
        ends::same(asm, ends.to, R0, (0, ends::PORT), other);
        asm.jump(self.exit.open);
        asm.bind(other);
        self.is_free_inside(asm);
        ends::put(asm, stack, End::Destination, ends.outer);
        self.key(asm);
        let aliases = self.steer.aliases;
        aliases.open(asm, stack, (ends.to, false), self.exit.drop);
        self.replace(asm);
        self.key(asm);
    }

    /// Drops the packet if a flow that was answered, and was opened to somewhere else, is the same inside as the one to
    /// the end at [`Ends::to`]: it would be pushed out.
    fn is_free_inside(&self, asm: &mut Assembler) {
        let (stack, ends) = (self.stack(), self.ends);
        let [live, free] = ["live_flow", "free_inside"].map(|name| asm.label(name));
        ends::put(asm, stack, End::Destination, ends.to);
        self.key(asm);
        // The flow is opened in the moment in which its rules were asked.
        self.steer.flows.look_up(asm, stack, live, free);
        asm.bind(live);
        asm.jump_if(Eq, R8, 0, free);
        asm.load(W, R1, R7, DECISION);
        asm.jump_if(Set, R1, PENDING, free);
        asm.load(W, R1, R7, FLAGS);
        asm.jump_if(Set, R1, REJECTED, free);
        ends::same(
            asm,
            ends.outer,
            R7,
            (OPENED_TO, OPENED_PORT),
            self.exit.drop,
        );
        asm.bind(free);
    }

    /// Writes the flow's entry, or goes to `full`: what was decided is noted, and where it was opened to is at
    /// [`Ends::outer`] if that is another end.
    fn open(&self, asm: &mut Assembler, full: Label) {
        let (stack, flows) = (self.stack(), self.steer.flows);
        let same = asm.label("same_end");
        timeout::first_timeout(asm, stack);
        asm.mov(R1, R0);
        stack.now.get(asm, R2);
        asm.add(R1, R2);
        stack.way.get(asm, R2);
        begin(asm, stack);
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
        flows.decide(asm, stack, full);
    }
}
