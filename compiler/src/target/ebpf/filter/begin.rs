//! How a program that knows flows begins: it reads the packet, and has its places on the stack.

use polc_bpf::asm::{Assembler, Label, SourceLine};
use polc_bpf::insn::Cond::Eq;
use polc_bpf::insn::Reg::{R1, R6, R10};
use polc_bpf::insn::Width::{DW, W};

use super::super::hook::Hook;
use super::super::limit::{self, Functions, Limit};
use super::super::link::Link;
use super::super::list::{List, Places};
use super::super::parse::{self, Exits, Tags};
use super::super::record::Record;
use super::super::table::Makers;
use super::direction;
use super::flows::{Flows, KEY};
use super::stack::{Place, Stack};

/// Where `struct __sk_buff` says how a frame was addressed.
pub(in super::super) const SKB_PKTTYPE: i16 = 4;
/// `PACKET_OTHERHOST`: to another machine of the network.
const OTHER_HOST: i32 = 3;

/// What the beginning is written from.
pub(in super::super) struct Begin<'b> {
    pub(in super::super) hook: Hook,
    pub(in super::super) link: Link,
    /// The line of instructions that are about no rule.
    pub(in super::super) line: Option<&'b SourceLine>,
    pub(in super::super) lists: Vec<&'b List>,
    pub(in super::super) flows: &'b Flows,
    /// How many bytes the area of the stack has at least.
    pub(in super::super) area: i16,
    /// How many bytes of it are beside what is known of a quoted packet.
    pub(in super::super) apart: i16,
    /// Whether rules can ask of the flows that packets belong to.
    pub(in super::super) tells: bool,
    /// Whether rules can choose among targets.
    pub(in super::super) chooses: bool,
}

/// What a program has when it has begun.
pub(in super::super) struct Begun {
    pub(in super::super) stack: Stack,
    pub(in super::super) makers: Makers,
    pub(in super::super) limits: Functions,
}

impl Begin<'_> {
    /// Goes on with a packet whose family is noted, to `next` with what is none, or for another machine, and
    /// to `drop` with what cannot be read.
    pub(in super::super) fn write(&self, asm: &mut Assembler, next: Label, drop: Label) -> Begun {
        let lists = || self.lists.iter().copied();
        let makers = Makers::write(asm, lists().flat_map(List::filled));
        if let Some(line) = self.line {
            asm.at(line);
        }
        let [v4, v6, packet] = ["v4", "v6", "packet"].map(|name| asm.label(name));
        let exits = Exits {
            v4,
            v6,
            other: next,
            malformed: drop,
        };
        let wanted = lists().flat_map(List::wanted);
        let record = Record::of(Stack::items(wanted));
        // What the parser keeps beside is nobody's any more when it is done.
        let kept = &mut record.clone();
        parse::frame(asm, (self.hook, self.link), Tags::Other, kept, exits);
        let stack = self.stack(record);
        let limits = lists().flat_map(List::limits);
        let limits = Functions::write(asm, limits, self.flows, stack.key - stack.area);

        asm.part("track");
        asm.bind(v4);
        self.hook.zero(asm, R1);
        stack.family.set(asm, R1);
        asm.jump(packet);
        asm.bind(v6);
        stack.family.set(asm, 1);
        asm.bind(packet);
        self.not_ours(asm, next);
        if !limits.is_empty() || self.flows.decides() {
            // What is never tracked has no key.
            self.hook.zero(asm, R1);
            for word in (0..KEY).step_by(8) {
                asm.store(DW, R10, stack.key + word, R1);
            }
        }
        Begun {
            stack,
            makers,
            limits,
        }
    }

    fn stack(&self, record: Record) -> Stack {
        let lists = || self.lists.iter().copied();
        let slots = lists().map(List::slots).max().unwrap_or(0);
        let limits = lists().flat_map(List::limits);
        let limits = limits.map(Limit::place_size).max().unwrap_or(0);
        let area = direction::LOOKUP.max(8 * i16::from(slots));
        let area = area.max(self.area).max(limits);
        let keys = lists().map(List::key_size).max().unwrap_or(8);
        Stack::new(
            record,
            (keys, self.flows.value(), area, self.apart),
            (self.tells, self.chooses),
        )
    }

    /// What an interface sees that is for another machine, which only link headers say.
    fn not_ours(&self, asm: &mut Assembler, next: Label) {
        if self.hook == Hook::Ingress && self.link == Link::Ethernet {
            asm.load(W, R1, R6, SKB_PKTTYPE);
            asm.jump_if(Eq, R1, OTHER_HOST, next);
        }
    }
}

impl Begun {
    /// Where lists find what they need. They go to `decided` with an answer, and to `closed` with what they
    /// cannot judge.
    pub(in super::super) fn places(&self, hook: Hook, decided: Label, closed: Label) -> Places<'_> {
        let stack = &self.stack;
        Places {
            hook,
            record: &stack.record,
            slots: stack.area,
            key: stack.index,
            answer: stack.answer.at(),
            flow_mark: Some(stack.mark.at()),
            choice: stack.choice.map(Place::at),
            makers: &self.makers,
            live: Some(limit::Asking {
                record: &stack.record,
                key: stack.area,
                flow: stack.key,
                way: stack.way.at(),
                functions: &self.limits,
            }),
            decided,
            closed,
        }
    }
}
