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
    Attached, ForSockets, Hook, Need, Needs, Programs, act, failed, filter, guard, log, socket,
};
use crate::diagnostic::Diagnostic;
use crate::ir::{Ir, Rule, Stage};
use crate::packet::Pattern;
use crate::source::{SourceMap, Span};
use crate::target::Options;

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
        let classes = Classes::of(&ir.guard, &[|cube| &cube.ingress]);
        for (number, (_, pattern, iface)) in classes.iter().enumerate() {
            let rules = iface.map_or_else(Vec::new, |iface| guard::rules(ir, iface));
            let Some((_, first)) = rules.first() else {
                self.attach(None, (hook, ProgramStage::Guard), pattern);
                continue;
            };
            let name = format!("guard_{number}");
            let frame = guard::Frame {
                name: &name,
                hook,
                line: block_line(ir, first, self.sources),
                line_of: &|rule| line(rule.span, self.sources),
            };
            let counter = |rule| counter(&self.counted, Stage::Guard, rule);
            let made = guard::program(&mut self.state, &classes, &rules, &frame, &counter);
            let made = made.map_err(|error| vec![failed(&error, ir)])?;
            self.add(hook, &made.programs, made.data);
            self.attach(Some(name), (hook, ProgramStage::Guard), pattern);
        }
        Ok(())
    }

    /// Adds the programs of the filter.
    pub(super) fn filter(&mut self) -> Result<(), Vec<Diagnostic>> {
        let ir = self.ir;
        let hooks = [(Hook::Ingress, "in"), (Hook::Egress, "out")];
        let needed: Vec<_> = hooks
            .into_iter()
            .filter(|(hook, _)| filter::is_needed(ir, *hook))
            .collect();
        if needed.is_empty() {
            return Ok(());
        }
        let classes = filter::classes(ir);
        let maps = filter::Maps::new(self.options.flows);
        for (hook, prefix) in needed {
            for (number, (_, pattern, iface)) in classes.iter().enumerate() {
                let Some(iface) = iface.filter(|name| *name != "lo") else {
                    self.attach(None, (hook, ProgramStage::Filter), pattern);
                    continue;
                };
                let name = format!("{prefix}_{number}");
                let asked = filter::Asked {
                    classes: &classes,
                    maps: &maps,
                    hook,
                    name: &name,
                    line: ir
                        .filter
                        .first()
                        .and_then(|rule| block_line(ir, rule, self.sources)),
                    line_of: &|rule| line(rule.span, self.sources),
                    iface,
                    counter: &|rule| counter(&self.counted, Stage::Filter, rule),
                };
                let made = filter::program(&mut self.state, &asked)
                    .map_err(|error| vec![failed(&error, ir)])?;
                self.add(hook, &made.programs, made.data);
                self.attach(Some(name), (hook, ProgramStage::Filter), pattern);
            }
        }
        if socket::answers_are_needed(ir) {
            let program = socket::original("getsockopt", maps.flows());
            let at = (ProgramHook::GetSockOpt, ProgramStage::Filter);
            self.for_sockets(program, at)?;
            self.needs.add(Need::SocketOptions);
        }
        for map in maps.state() {
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

    fn add(&mut self, hook: Hook, programs: &Each<Program>, data: Vec<(String, Vec<u8>)>) {
        let Each { ethernet, bare } = programs;
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
