//! The program of a guard: one for each class of interfaces that its rules tell apart.

use polc_bpf::asm::{AsmError, Assembler, Isa, Program, SourceLine};
use polc_bpf::insn::Cond::Ne;
use polc_bpf::insn::Reg::{R0, R1, R6};

use super::act::{self, Actions, Outcome};
use super::hook::Hook;
use super::iface::Classes;
use super::link::{Each, Link, assembled};
use super::list::{List, ListError, Maker, Places};
use super::noted;
use super::parse::{self, Exits, Tags};
use super::record::{Item, Record};
use super::state::State;
use super::table::Makers;
use crate::field::{ICMP, ICMP_CODE, ICMP_TYPE, ICMPV6, IP_FRAGMENT};
use crate::ir::{Cube, Ir, Rule, Side};
use crate::packet::{Families, IntervalSet};

/// Programs, and the data that they read.
pub(super) struct Guard {
    pub(super) programs: Each<Program>,
    pub(super) data: Vec<(String, Vec<u8>)>,
}

/// Where the kernel meets a program, and what it is called.
pub(super) struct Frame<'f> {
    pub(super) name: &'f str,
    pub(super) hook: Hook,
    /// The line of the policy that instructions are said to come from which are about no rule.
    pub(super) line: Option<SourceLine>,
    /// A rule's line.
    pub(super) line_of: &'f dyn Fn(&Rule) -> Option<SourceLine>,
}

/// The programs of these rules. `counter` gives a rule's counter.
///
/// They are such as kernels before 6.6 load, unless they are too long for that.
pub(super) fn program(
    state: &mut State,
    classes: &Classes,
    rules: &[(usize, Rule)],
    frame: &Frame,
    counter: &dyn Fn(usize) -> Option<u32>,
) -> Result<Guard, ListError> {
    let ir = state.ir();
    let mut maker = Maker {
        name: frame.name.to_owned(),
        own: false,
        classes,
        opened: false,
        counter,
        actions: Actions::default(),
        line: frame.line_of,
        state,
    };
    let unasked = unconditional();
    let unasked = if ir.strict_icmp { &[][..] } else { &unasked };
    let made = Made {
        lists: [
            maker.list(rules, unasked, false)?,
            maker.list(rules, unasked, true)?,
        ],
        actions: maker.actions,
        untracks: noted::untracks(ir),
    };
    let programs = Each::try_make(|link| assembled(|| made.write(frame, link)))?;
    let data = made.lists.into_iter().flat_map(List::into_data).collect();
    Ok(Guard { programs, data })
}

/// The programs for interfaces that no rule is about: what comes in has lost what was noted on it.
pub(super) fn unnoted(frame: &Frame) -> Result<Each<Program>, AsmError> {
    Each::try_make(|link| {
        let mut asm = Assembler::new(&link.program(frame.name));
        if let Some(line) = &frame.line {
            asm.at(line);
        }
        asm.mov(R6, R1);
        noted::track(&mut asm);
        asm.mov(R0, frame.hook.pass());
        asm.exit();
        asm.finish(Isa::V3)
    })
}

/// What a program is written from.
struct Made {
    lists: [List; 2],
    actions: Actions,
    /// Whether there are packets that are not tracked.
    untracks: bool,
}

impl Made {
    fn write(&self, frame: &Frame, link: Link) -> Assembler {
        let hook = frame.hook;
        let wanted = self.lists.iter().flat_map(List::wanted);
        let fragment = self.untracks.then_some(Item::Field(IP_FRAGMENT));
        let mut record = Record::of(wanted.chain(fragment));
        let mut asm = Assembler::new(&link.program(frame.name));
        let makers = Makers::write(&mut asm, self.lists.iter().flat_map(List::filled));
        if let Some(line) = &frame.line {
            asm.at(line);
        }
        let [v4, v6, other, malformed, decided] =
            ["v4", "v6", "other", "malformed", "decided"].map(|name| asm.label(name));
        let exits = Exits {
            v4,
            v6,
            other,
            malformed,
        };
        parse::frame(&mut asm, (hook, link), Tags::Read, &mut record, exits);
        let most = self.lists.iter().map(List::slots).max().unwrap_or(0);
        let slots = record.reserve(8 * i16::from(most));
        let keys = self.lists.iter().map(List::key_size).max();
        let key = record.reserve(keys.unwrap_or(8));
        let remembers = self.lists.iter().any(List::remembers);
        let answer = record.reserve(if remembers { 8 } else { 0 });
        let places = Places {
            hook,
            record: &record,
            slots,
            key,
            answer,
            flow_mark: None,
            choice: None,
            makers: &makers,
            live: None,
            decided,
            closed: malformed,
        };
        asm.part("classify");
        for (list, label) in self.lists.iter().zip([v4, v6]) {
            asm.bind(label);
            places.write(&mut asm, list);
            if let Some(line) = &frame.line {
                asm.at(line);
            }
            asm.load_wide(R0, u64::from(act::PASS));
            asm.jump(decided);
        }
        asm.part("act");
        asm.bind(decided);
        let end = |asm: &mut Assembler, outcome| {
            let passes = matches!(outcome, Outcome::Pass | Outcome::Untrack);
            if passes && self.untracks {
                noted::track(asm);
            }
            if outcome == Outcome::Untrack {
                // Fragments stay tracked: later ones are told by their first.
                let fragment = asm.label("fragment");
                record.get(asm, R1, Item::Field(IP_FRAGMENT));
                asm.jump_if(Ne, R1, 0, fragment);
                noted::put(asm, noted::UNTRACKED);
                asm.bind(fragment);
            }
            // A guard answers nothing, and sends nothing anywhere.
            asm.mov(R0, if passes { hook.pass() } else { hook.drop() });
            asm.exit();
        };
        self.actions.write(&mut asm, &record, key, &end);
        // Without a link header, nothing is said to be something else than IP.
        if link == Link::Ethernet {
            asm.bind(other);
            end(&mut asm, Outcome::Pass);
        }
        asm.bind(malformed);
        end(&mut asm, Outcome::Drop);
        asm
    }
}

/// The rules that can hold for packets that come in by an interface, with their places; each
/// with the cubes that can.
pub(super) fn rules(ir: &Ir, iface: &str) -> Vec<(usize, Rule)> {
    let numbered = ir.guard.iter().enumerate();
    let of = |(index, rule): (usize, &Rule)| {
        let mut rule = rule.clone();
        rule.cubes
            .retain(|cube| cube.ingress.ifaces.contains(iface));
        for cube in &mut rule.cubes {
            cube.ingress = Side::any();
        }
        (!rule.cubes.is_empty()).then_some((index, rule))
    };
    numbered.filter_map(of).collect()
}

/// Neighbour discovery, packet-too-big and fragmentation-needed, which pass unasked.
pub(super) fn unconditional() -> [Cube; 2] {
    let of = |families, protocol, types: &[(u64, u64)]| {
        let any = Cube::any().with_families(families);
        let cube = any.with_proto(&IntervalSet::one(protocol));
        cube.with_field(ICMP_TYPE, &types.iter().copied().collect())
    };
    let needed = of(Families::V4, ICMP, &[(3, 3)]);
    [
        needed.with_field(ICMP_CODE, &IntervalSet::one(4)),
        of(Families::V6, ICMPV6, &[(2, 2), (133, 136)]),
    ]
}
