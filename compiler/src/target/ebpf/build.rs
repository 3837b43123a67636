//! The object: programs of all stages, their tables and their maps.

use std::fmt::Write as _;
use std::sync::Arc;

use polc_bpf::asm::{AsmError, Program, SourceLine};
use polc_bpf::map::{Map, MapType, Shape};
use polc_bpf::object::{Object, Section};
use polc_bundle::{ProgramHook, ProgramStage};

use super::iface::Classes;
use super::link::{Each, Link};
use super::state::State;
use super::{
    Attached, ForSockets, Hook, Need, Needs, Programs, act, failed, filter, guard, leave, log,
    noted, socket, steer,
};
use crate::diagnostic::Diagnostic;
use crate::ir::{Ir, Rule, Stage};
use crate::packet::Pattern;
use crate::source::{SourceMap, Span};
use crate::target::Options;

/// The most maps that the kernel lets a program use (`MAX_USED_MAPS` of
/// `include/linux/bpf_verifier.h`).
const MOST_MAPS: usize = 64;

/// A program that the kernel would not take.
#[derive(Debug, thiserror::Error)]
#[error(
    "one program would use {0} maps of buckets, sets and flows, and the kernel allows {MOST_MAPS}: rules \
     can share a `bucket`"
)]
struct TooManyMaps(usize);

/// Programs in the making.
pub(super) struct Build<'b> {
    ir: &'b Ir,
    sources: &'b SourceMap,
    object: Object,
    /// The rules that count, in the order of their counters.
    counted: Vec<(Stage, usize)>,
    programs: Vec<Attached>,
    listing: String,
    needs: Needs,
    options: &'b Options,
    state: State<'b>,
    flows: Vec<String>,
    classes: Vec<(Pattern, u64)>,
    sockets: Vec<ForSockets>,
}

impl<'b> Build<'b> {
    /// Nothing yet.
    pub(super) fn new(ir: &'b Ir, sources: &'b SourceMap, options: &'b Options) -> Self {
        let counting = |stage: Stage| {
            let numbered = ir.stage(stage).iter().enumerate();
            let counting = numbered.filter(|(_, rule)| rule.effects.count);
            counting.map(move |(place, _)| (stage, place))
        };
        Self {
            ir,
            sources,
            object: Object::new(),
            counted: Stage::ALL.into_iter().flat_map(counting).collect(),
            programs: Vec::new(),
            listing: String::new(),
            needs: Needs::default(),
            options,
            state: State::new(ir, options),
            flows: Vec::new(),
            classes: Vec::new(),
            sockets: Vec::new(),
        }
    }

    /// Adds the programs of the guard.
    pub(super) fn guard(&mut self, hook: Hook) -> Result<(), Vec<Diagnostic>> {
        let ir = self.ir;
        if ir.guard.is_empty() {
            return Ok(());
        }
        let untracks = noted::untracks(ir);
        let own = untracks.then(|| Pattern::Name(filter::LOOPBACK.to_owned()));
        let classes = Classes::of(&ir.guard, &[|cube| &cube.ingress], own);
        for (number, (_, pattern, iface)) in classes.iter().enumerate() {
            let rules = iface.map_or_else(Vec::new, |iface| guard::rules(ir, iface));
            let first = rules.first().map(|(_, rule)| rule);
            if first.is_none() && (iface.is_none() || !untracks) {
                self.attach(None, (hook, ProgramStage::Guard), pattern);
                continue;
            }
            let name = format!("guard_{number}");
            let frame = guard::Frame {
                name: &name,
                hook,
                line: first
                    .or(ir.guard.first())
                    .and_then(|rule| block_line(ir, rule, self.sources)),
                line_of: &|rule| line(rule.span, self.sources),
            };
            if rules.is_empty() {
                let programs = guard::unnoted(&frame).map_err(|error| vec![failed(&error, ir)])?;
                self.add(hook, &programs, Vec::new())?;
                self.attach(Some(name), (hook, ProgramStage::Guard), pattern);
                continue;
            }
            let counter = |rule| counter(&self.counted, Stage::Guard, rule);
            let made = guard::program(&mut self.state, &classes, &rules, &frame, &counter);
            let made = made.map_err(|error| vec![failed(&error, ir)])?;
            self.add(hook, &made.programs, made.data)?;
            self.attach(Some(name), (hook, ProgramStage::Guard), pattern);
        }
        Ok(())
    }

    /// Adds the programs of steer, filter and egress.
    pub(super) fn flows(&mut self) -> Result<(), Vec<Diagnostic>> {
        let ir = self.ir;
        let steps = Step::all(ir);
        if steps.is_empty() {
            return Ok(());
        }
        let classes = filter::classes(ir);
        let maps = filter::Maps::new(ir, self.options.flows);
        let aliases = steer::Aliases::new(self.options.flows);
        for step in steps {
            for (number, (_, pattern, iface)) in classes.iter().enumerate() {
                let judged = |name: &&str| {
                    step.stage != ProgramStage::Filter
                        || *name != filter::LOOPBACK
                        || filter::names_loopback(ir, step.hook)
                };
                let Some(iface) = iface.filter(judged) else {
                    self.attach(None, (step.hook, step.stage), pattern);
                    continue;
                };
                let name = format!("{}_{number}", step.prefix);
                let stage = step.rules();
                let asked = filter::Asked {
                    classes: &classes,
                    maps: &maps,
                    hook: step.hook,
                    name: &name,
                    line: ir
                        .stage(stage)
                        .first()
                        .and_then(|rule| block_line(ir, rule, self.sources)),
                    line_of: &|rule| line(rule.span, self.sources),
                    iface,
                    counter: &|rule| counter(&self.counted, stage, rule),
                };
                let made = match step.stage {
                    ProgramStage::Steer => steer::program(&mut self.state, &asked, &aliases),
                    ProgramStage::Egress => leave::program(&mut self.state, &asked, &aliases),
                    _ => filter::program(&mut self.state, &asked),
                };
                let made = made.map_err(|error| vec![failed(&error, ir)])?;
                self.add(step.hook, &made.programs, made.data)?;
                self.attach(Some(name), (step.hook, step.stage), pattern);
            }
        }
        if steer::routes_own(ir) {
            self.needs.add(Need::Tables);
        }
        let mut state = Vec::from(maps.state());
        if filter::translates(ir) {
            state.extend(aliases.maps());
            let shape = Shape::new(MapType::Hash, 4, 32, filter::MOST_INTERFACES);
            self.object.map(Map::new(steer::ADDRESSES, shape));
        }
        if socket::answers_are_needed(ir) {
            let program = socket::original("getsockopt", maps.flows().names());
            let at = (ProgramHook::GetSockOpt, ProgramStage::Filter);
            self.for_sockets(program, at)?;
            self.needs.add(Need::SocketOptions);
        }
        for map in state {
            self.flows.push(map.name.clone());
            self.object.map(map);
        }
        for map in filter::Maps::others() {
            self.object.map(map);
        }
        let numbered = classes.iter().map(|(number, p, _)| (p.clone(), number));
        self.classes = numbered.collect();
        Ok(())
    }

    /// The object with all of it.
    pub(super) fn finish(mut self) -> Result<Programs, Vec<Diagnostic>> {
        if let Ok(entries @ 1..) = u32::try_from(self.counted.len()) {
            let shape = Shape::new(MapType::PercpuArray, 4, 16, entries);
            self.object.map(Map::new(act::COUNTERS, shape));
        }
        if self.state.all_senders().groups() {
            let at = (ProgramHook::SockCreate, ProgramStage::Filter);
            self.for_sockets(socket::create("sock_create"), at)?;
            self.needs.add(Need::SocketGroups);
        }
        if !self.sockets.is_empty() {
            self.object.map(socket::netns());
        }
        let sets = self.state.set_data();
        let unresolved = self.state.all_senders().unresolved();
        let mut state = self.state.write(&mut self.object);
        state.extend(self.flows);
        let object = self.object.write();
        Ok(Programs {
            object: object.map_err(|error| vec![failed(&error, self.ir)])?,
            programs: self.programs,
            counted: self.counted,
            listing: self.listing,
            needs: self.needs,
            state,
            sets,
            log_ids: log::ids(self.ir),
            classes: self.classes,
            sockets: self.sockets,
            unresolved,
        })
    }

    /// Adds a program for sockets.
    fn for_sockets(
        &mut self,
        program: Result<Program, AsmError>,
        (hook, stage): (ProgramHook, ProgramStage),
    ) -> Result<(), Vec<Diagnostic>> {
        let program = program.map_err(|error| vec![failed(&error, self.ir)])?;
        self.listing.push_str(&program.to_string());
        self.needs.note(&program);
        self.sockets.push(ForSockets {
            name: program.name().to_owned(),
            hook,
            stage,
        });
        let section = match hook {
            ProgramHook::SockCreate => Section::SockCreate,
            _ => Section::GetSockOpt,
        };
        self.object.program(section, program);
        Ok(())
    }

    fn add(
        &mut self,
        hook: Hook,
        programs: &Each<Program>,
        data: Vec<(String, Vec<u8>)>,
    ) -> Result<(), Vec<Diagnostic>> {
        let Each { ethernet, bare } = programs;
        let maps = ethernet.maps().max(bare.maps());
        if maps > MOST_MAPS {
            return Err(vec![failed(&TooManyMaps(maps), self.ir)]);
        }
        self.listing.push_str(&ethernet.to_string());
        let [name, other] = [ethernet, bare].map(Program::name);
        let _ = writeln!(
            self.listing,
            "{other}(): as {name}, for frames without Ethernet header"
        );
        for (name, bytes) in data {
            self.object.data(name, bytes);
        }
        for program in [ethernet, bare] {
            self.needs.note(program);
            self.object.program(hook.section(), program.clone());
        }
        Ok(())
    }

    fn attach(
        &mut self,
        name: Option<String>,
        (hook, stage): (Hook, ProgramStage),
        pattern: &Pattern,
    ) {
        self.programs.push(Attached {
            bare: name.as_deref().map(|name| Link::Bare.program(name)),
            name,
            hook,
            stage,
            pattern: pattern.clone(),
        });
    }
}

/// A program of each class of interfaces.
#[derive(Clone, Copy)]
struct Step {
    hook: Hook,
    stage: ProgramStage,
    /// What names begin with.
    prefix: &'static str,
}

impl Step {
    /// Those that a policy needs.
    fn all(ir: &Ir) -> Vec<Self> {
        let step = |hook, stage, prefix| Self {
            hook,
            stage,
            prefix,
        };
        let all = [
            step(Hook::Ingress, ProgramStage::Steer, "sin"),
            step(Hook::Ingress, ProgramStage::Filter, "in"),
            step(Hook::Ingress, ProgramStage::Egress, "back"),
            step(Hook::Egress, ProgramStage::Steer, "sout"),
            step(Hook::Egress, ProgramStage::Filter, "out"),
            step(Hook::Egress, ProgramStage::Egress, "nat"),
        ];
        let needed = |step: &Self| match step.stage {
            ProgramStage::Filter => filter::is_needed(ir, step.hook),
            ProgramStage::Egress if step.hook == Hook::Ingress => leave::comes_back(ir),
            _ => filter::translates(ir),
        };
        all.into_iter().filter(needed).collect()
    }

    /// The stage whose rules it asks.
    fn rules(self) -> Stage {
        match self.stage {
            ProgramStage::Steer => Stage::Steer,
            ProgramStage::Egress => Stage::Egress,
            _ => Stage::Filter,
        }
    }
}

/// The counter of a rule.
fn counter(counted: &[(Stage, usize)], stage: Stage, rule: usize) -> Option<u32> {
    let place = counted.binary_search(&(stage, rule)).ok()?;
    u32::try_from(place).ok()
}

/// The line on which the block of a rule begins.
fn block_line(ir: &Ir, rule: &Rule, sources: &SourceMap) -> Option<SourceLine> {
    let span = ir.blocks.get(rule.block).map_or(rule.span, |b| b.span);
    line(span, sources)
}

fn line(span: Span, sources: &SourceMap) -> Option<SourceLine> {
    let place = sources.describe_from_home(span);
    let (file, _) = place.rsplit_once(':')?;
    let (line, column) = sources.position(span);
    let text = sources.get(span.file)?.text.lines().nth(line - 1)?;
    Some(SourceLine {
        file: Arc::from(file),
        line: u32::try_from(line).ok()?,
        column: u32::try_from(column).ok()?,
        text: Arc::from(text.trim_end()),
    })
}
