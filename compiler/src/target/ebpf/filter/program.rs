//! The programs of a filter.

use polc_bpf::asm::{AsmError, Assembler, Label, Program, SourceLine};
use polc_bpf::insn::Cond::{Eq, Ne};
use polc_bpf::insn::Reg::{R0, R1, R2, R6, R10};
use polc_bpf::insn::Width::{DW, W};
use polc_bpf::insn::{AluOp, Helper};

use super::super::act::{self, Actions, Outcome};
use super::super::hook::Hook;
use super::super::link::{Link, assembled};
use super::super::list::{List, Places};
use super::super::noted;
use super::super::record::Item;
use super::super::sender::{self, SKB_SOCKET};
use super::begin::{Begin, Begun, SKB_PKTTYPE};
use super::flows::{BY_HIGHER, Flows};
use super::stack::Stack;
use super::track::{self, Kind, SKB_MARK, Ways};
use super::{direction, quote, reject, timeout};
use crate::field::{CT_DIRECTION, CT_MARK, CT_STATE, IP_FRAGMENT, META_MARK, META_PKTTYPE};
use crate::ir::{Ir, Mark};

/// One direction that a program judges.
pub(super) struct Direction {
    pub(super) name: &'static str,
    /// The lists for IPv4 and IPv6; `None` when the policy does not govern it.
    pub(super) lists: Option<[List; 2]>,
    /// What is judged packet by packet: the sections without flow lookup, for IPv4 and IPv6.
    pub(super) stateless: Option<[List; 2]>,
    /// Whether flows of this direction are remembered although nobody judges them, because their
    /// answers are of a direction that somebody judges.
    pub(super) remembers: bool,
    /// Whether what no rule decides goes on.
    pub(super) open: bool,
}

/// What a program is written from.
pub(super) struct Filter<'f> {
    pub(super) ir: &'f Ir,
    pub(super) name: &'f str,
    pub(super) hook: Hook,
    pub(super) line: Option<SourceLine>,
    /// At ingress: to this host. At egress: through it, and from it.
    pub(super) directions: Vec<Direction>,
    pub(super) actions: Actions,
    pub(super) flows: &'f Flows,
    /// Whether it stands at the loopback interface.
    pub(super) loopback: bool,
}

/// Where packets go.
#[derive(Clone, Copy)]
struct Exit {
    /// It goes on.
    next: Label,
    /// It goes on, and fragments behind it.
    admitted: Label,
    /// It goes on, and its flow is known from now on.
    remember: Label,
    /// It is dropped, and with it what steer has decided of it.
    deny: Label,
    drop: Label,
}

impl Filter<'_> {
    /// The program for such frames.
    pub(super) fn program(&self, link: Link) -> Result<Program, AsmError> {
        assembled(|| self.write(link))
    }

    fn lists(&self) -> impl Iterator<Item = &List> {
        let directions = self.directions.iter();
        directions.flat_map(|d| d.lists.iter().chain(&d.stateless).flatten())
    }

    fn write(&self, link: Link) -> Assembler {
        let mut asm = Assembler::new(&link.program(self.name));
        let [known, unknown, decided] = ["known", "judge", "decided"].map(|name| asm.label(name));
        let exit = Exit {
            next: asm.label("goes_on"),
            admitted: asm.label("admitted"),
            remember: asm.label("remember"),
            deny: asm.label("denied"),
            drop: asm.label("dropped"),
        };
        let rejects = self
            .actions
            .outcomes()
            .any(|o| matches!(o, Outcome::Reject(_)));
        let stateless = self.directions.iter().any(|d| d.stateless.is_some());
        let start = Begin {
            hook: self.hook,
            link,
            line: self.line.as_ref(),
            lists: self.lists().collect(),
            flows: self.flows,
            area: if rejects { reject::LONGEST } else { 0 },
            apart: 0,
            tells: stateless,
            chooses: false,
        };
        let begun = start.write(&mut asm, exit.next, exit.drop);
        let stack = &begun.stack;
        let lookup = track::Lookup {
            hook: self.hook,
            ir: self.ir,
            flows: self.flows,
            stack,
            ways: Ways {
                follows: if stateless { known } else { exit.admitted },
                passes: exit.admitted,
                unknown,
            },
            loopback: self.loopback,
        };
        let hook = self.hook;
        if self.loopback && hook == Hook::Ingress && self.flows.decides() {
            let other = asm.label("no_answer");
            noted::unless(&mut asm, noted::ANSWER, other);
            asm.jump(exit.next);
            asm.bind(other);
        }
        lookup.write(&mut asm, exit.next, |asm, quoted, invalid| {
            quote::write(asm, hook, stack, quoted, invalid);
        });
        asm.part("classify");
        if stateless {
            asm.bind(known);
            stack.kind.get(&mut asm, R1);
            asm.jump_if(Eq, R1, Kind::Admitted as i32, exit.admitted);
        }
        asm.bind(unknown);
        self.classify(&mut asm, &begun, decided, exit);
        asm.part("act");
        self.act(&mut asm, link, stack, decided, exit);
        asm
    }

    /// Which direction it is, and what its rules say.
    fn classify(&self, asm: &mut Assembler, begun: &Begun, decided: Label, exit: Exit) {
        let stack = &begun.stack;
        let places = begun.places(self.hook, decided, exit.deny);
        if self.hook == Hook::Ingress {
            let here = asm.label("to_this_host");
            if noted::untracks(self.ir) {
                self.captured(asm, here);
            }
            direction::arriving(asm, stack, exit.next);
            asm.bind(here);
        }
        let through = asm.label("through");
        for (place, direction) in self.directions.iter().enumerate() {
            asm.note(direction.name);
            if place + 1 < self.directions.len() {
                asm.load(W, R1, R6, direction::SKB_INGRESS);
                asm.jump_if(Ne, R1, 0, through);
            } else if self.directions.len() > 1 {
                asm.bind(through);
            }
            self.judge(asm, stack, direction, &places, exit);
        }
    }

    /// Goes to `here` with what a proxy has without a flow that would say so: it is a socket's, and has the proxy's
    /// mark. What comes out of another network namespace can still be the socket's that has sent it there.
    fn captured(&self, asm: &mut Assembler, here: Label) {
        if self.ir.proxies.is_empty() {
            return;
        }
        let free = asm.label("no_proxy_has_it");
        asm.load(DW, R1, R6, SKB_SOCKET);
        asm.jump_if(Eq, R1, 0, free);
        for proxy in &self.ir.proxies {
            let Mark { value, mask } = proxy.mark;
            asm.load(W, R1, R6, SKB_MARK);
            asm.alu32(AluOp::And, R1, mask.cast_signed());
            asm.jump32_if(Eq, R1, (value & mask).cast_signed(), here);
        }
        asm.bind(free);
    }

    fn judge(
        &self,
        asm: &mut Assembler,
        stack: &Stack,
        direction: &Direction,
        places: &Places,
        exit: Exit,
    ) {
        stack.kind.get(asm, R1);
        let Some(lists) = &direction.lists else {
            if direction.remembers {
                asm.jump_if(Eq, R1, Kind::New as i32, exit.remember);
            }
            asm.jump(exit.next);
            return;
        };
        asm.jump_if(Eq, R1, Kind::Orphan as i32, exit.drop);
        let asks = Facts {
            sender: direction.name == super::OUTPUT,
            ingress: direction.name == super::FORWARD,
        };
        facts(asm, self.hook, stack, asks);
        let judged = asm.label("judged_alone");
        if let Some(scopes) = &direction.stateless {
            asm.note("sections without flow lookup");
            let places = Places {
                decided: judged,
                ..*places
            };
            either(asm, stack, &places, scopes);
        }
        stack.kind.get(asm, R1);
        if stack.told.is_some() {
            asm.jump_if(Eq, R1, Kind::Known as i32, exit.admitted);
        }
        asm.jump_if(Eq, R1, Kind::Invalid as i32, exit.drop);
        if self.ir.strict_tcp {
            let alone = asm.label("no_flow");
            asm.jump_if(Ne, R1, Kind::New as i32, alone);
            timeout::only_syn(asm, stack, exit.deny);
            asm.bind(alone);
        }
        if direction.stateless.is_some() {
            asm.bind(judged);
        }
        either(asm, stack, places, lists);
        if direction.open {
            asm.load_wide(R0, u64::from(act::PASS));
            asm.jump(places.decided);
        } else {
            asm.jump(exit.deny);
        }
    }

    /// What follows from the answer in `R0`.
    fn act(&self, asm: &mut Assembler, link: Link, stack: &Stack, decided: Label, exit: Exit) {
        if self.lists().next().is_some() {
            asm.bind(decided);
            let rejects = self
                .actions
                .outcomes()
                .any(|o| matches!(o, Outcome::Reject(_)));
            let answer = asm.label("answer");
            let end = |asm: &mut Assembler, outcome| match outcome {
                Outcome::Reject(reject) => reject::choose(asm, stack, reject, answer),
                Outcome::Pass => {
                    stack.kind.get(asm, R1);
                    asm.jump_if(Eq, R1, Kind::New as i32, exit.remember);
                    asm.jump(exit.admitted);
                }
                // What a filter cannot decide never comes.
                _ => asm.jump(exit.deny),
            };
            self.actions.write(asm, &stack.record, stack.index, &end);
            if rejects {
                asm.bind(answer);
                let answer = reject::Answer {
                    hook: self.hook,
                    link,
                    flows: self.flows,
                    stack,
                    drop: exit.deny,
                    untracks: noted::untracks(self.ir),
                };
                answer.write(asm);
            }
        }
        if self.lists().next().is_some() {
            asm.bind(exit.deny);
            if self.flows.decides() {
                self.flows.forget_pending(asm, stack);
            }
            asm.jump(exit.drop);
        }
        asm.bind(exit.remember);
        timeout::first_timeout(asm, stack);
        asm.mov(R1, R0);
        stack.now.get(asm, R2);
        asm.add(R1, R2);
        stack.way.get(asm, R2);
        const { assert!(BY_HIGHER == 1, "the flag is the way of the first packet") }
        self.flows.open(asm, stack, exit.drop);
        asm.bind(exit.admitted);
        stack.record.get(asm, R1, Item::Field(IP_FRAGMENT));
        asm.jump_if(Eq, R1, 0, exit.next);
        if self.hook == Hook::Ingress && super::judges_answers(self.ir) {
            // A section may still refuse where it leaves what passes here.
            direction::arriving(asm, stack, exit.next);
        }
        self.flows.expect_fragments(asm, stack);
        for (label, verdict) in [(exit.next, self.hook.pass()), (exit.drop, self.hook.drop())] {
            asm.bind(label);
            asm.mov(R0, verdict);
            asm.exit();
        }
    }
}

/// The list of the packet's family; goes on with what nobody decides.
pub(in super::super) fn either(
    asm: &mut Assembler,
    stack: &Stack,
    places: &Places,
    [v4, v6]: &[List; 2],
) {
    let [six, undecided] = ["ipv6", "undecided"].map(|name| asm.label(name));
    stack.family.get(asm, R1);
    asm.jump_if(Ne, R1, 0, six);
    places.write(asm, v4);
    asm.jump(undecided);
    asm.bind(six);
    places.write(asm, v6);
    asm.bind(undecided);
}

/// What can be known besides what is in a packet.
#[derive(Clone, Copy)]
pub(in super::super) struct Facts {
    /// Who has sent it: it is this host's own.
    pub(in super::super) sender: bool,
    /// By which interface it has come in: it goes through this host.
    pub(in super::super) ingress: bool,
}

/// What rules ask that is not in the packet.
pub(in super::super) fn facts(asm: &mut Assembler, hook: Hook, stack: &Stack, known: Facts) {
    let record = &stack.record;
    let wants = |field| record.has(Item::Field(field));
    for (field, at) in [(META_MARK, SKB_MARK), (META_PKTTYPE, SKB_PKTTYPE)] {
        if wants(field) {
            asm.load(W, R1, R6, at);
            record.put(asm, Item::Field(field), R1);
        }
    }
    if record.has_any(&[CT_STATE, CT_MARK, CT_DIRECTION]) {
        tracked(asm, hook, stack);
    }
    if record.has(Item::Ingress) && known.ingress {
        ingress_class(asm, hook, stack);
    }
    if known.sender {
        sender::facts(asm, record);
    }
}

/// What the flow lookup says.
fn tracked(asm: &mut Assembler, hook: Hook, stack: &Stack) {
    let [new, known, told] = ["new", "known", "told"].map(|name| asm.label(name));
    let put = |asm: &mut Assembler, field, value: i32| {
        asm.mov(R2, value);
        hook.hide(asm, R2, R1);
        stack.record.put(asm, Item::Field(field), R2);
    };
    stack.kind.get(asm, R1);
    if stack.told.is_some() {
        asm.jump_if(Eq, R1, Kind::Known as i32, known);
        // What belongs to nothing is in no state.
        asm.jump_if(Eq, R1, Kind::Invalid as i32, told);
    }
    asm.jump_if(Ne, R1, Kind::Untracked as i32, new);
    put(asm, CT_STATE, 3);
    asm.jump(told);
    if let Some((state, reply)) = stack.told {
        asm.bind(known);
        let places = [
            (state, CT_STATE),
            (stack.mark, CT_MARK),
            (reply, CT_DIRECTION),
        ];
        for (place, field) in places {
            place.get(asm, R2);
            stack.record.put(asm, Item::Field(field), R2);
        }
        asm.jump(told);
    }
    asm.bind(new);
    for field in [CT_STATE, CT_DIRECTION] {
        put(asm, field, 0);
    }
    // Steer may have marked it.
    stack.mark.get(asm, R2);
    stack.record.put(asm, Item::Field(CT_MARK), R2);
    asm.bind(told);
}

/// The class of the interface that a forwarded packet has come in by; 0 if nobody knows it.
fn ingress_class(asm: &mut Assembler, hook: Hook, stack: &Stack) {
    let unknown = asm.label("unknown_iface");
    asm.load(W, R1, R6, direction::SKB_INGRESS);
    asm.store(W, R10, stack.index, R1);
    asm.load_map(R1, super::INTERFACES);
    asm.mov(R2, R10);
    asm.add(R2, i32::from(stack.index));
    asm.call(Helper::MapLookupElem);
    hook.zero(asm, R1);
    asm.jump_if(Eq, R0, 0, unknown);
    asm.load(W, R1, R0, 0);
    asm.bind(unknown);
    stack.record.put(asm, Item::Ingress, R1);
}
