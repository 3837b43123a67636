//! Playing the steps of a policy on a target.

use std::collections::{BTreeMap, BTreeSet};

use polc_bundle::Bundle;
use polc_compiler::inline::Bench;
use polc_compiler::inline::live::{Play, Report, Sender, asks_who_sends};
use polc_compiler::target;
use polc_runtime_loader::lab::SiteSpec;

use super::machine::{Machine, spec};
use super::{Cell, Column, Setup, agreed, plays};
use crate::exit::Error;
use crate::progress::Progress;
use crate::test::Tested;

/// How often flows that are counted are sent again when the counts are not right: a busy machine
/// can be late.
const ATTEMPTS: usize = 3;

/// A play, and the step to which it belongs.
struct Part<'p> {
    test: usize,
    step: usize,
    play: &'p Play,
}

/// What a play came to: what is wrong, if anything is.
type Wrong = Option<String>;

/// Plays the tests of a policy on every target.
pub(crate) fn play(
    tested: &Tested,
    setup: &Setup,
    progress: &Progress,
) -> Result<Vec<Column>, Error> {
    let session = &tested.session;
    let bench = Bench::new(&session.compilation.policy, &tested.ir, &session.options);
    let plays = plays(tested, &bench);
    let mut columns = Vec::new();
    for target in &setup.targets {
        progress.step(&format!("testing `{}` on {target}", tested.path));
        let column = Run {
            tested,
            setup,
            bench: &bench,
            target,
        };
        let column = column.column(&plays);
        // Programs that the last one needed may have been ended too.
        setup.go_on()?;
        columns.push(column?);
    }
    Ok(columns)
}

struct Run<'r> {
    tested: &'r Tested,
    setup: &'r Setup,
    bench: &'r Bench<'r>,
    target: &'static str,
}

impl Run<'_> {
    fn column(&self, plays: &super::Plays) -> Result<Column, Error> {
        let mut tests: Vec<Vec<Cell>> = Vec::new();
        let mut parts = Vec::new();
        let bundle = self.bundle();
        for (test, steps) in plays.iter().enumerate() {
            let mut cells = Vec::new();
            for (step, plays) in steps.iter().enumerate() {
                let why_not = match (&bundle, plays) {
                    (Err(reason), _) => Some(reason.clone()),
                    (_, Err(reason)) => Some(reason.0.clone()),
                    (_, Ok(plays)) => self.impossible(plays),
                };
                if let (None, Ok(plays)) = (&why_not, plays) {
                    let part = |play| Part { test, step, play };
                    parts.extend(plays.iter().map(part));
                }
                cells.push(match (why_not, self.result(test, step)) {
                    (Some(reason), _) => Cell::Untried(reason),
                    (None, Some(result)) => agreed(result),
                    (None, None) => Cell::Untried("there is no such step".to_owned()),
                });
            }
            tests.push(cells);
        }
        let Ok(bundle) = bundle else {
            return Ok(self.columned(tests));
        };
        for (part, wrong) in self.rounds(&bundle, &parts)? {
            let cells = tests.get_mut(part.test);
            if let (Some(cell), Some(wrong)) =
                (cells.and_then(|c| c.get_mut(part.step)), wrong)
                // The first of several is told.
                && (*cell == Cell::Passed || self.is_agreed(part, cell))
            {
                *cell = Cell::Failed(wrong);
            }
        }
        Ok(self.columned(tests))
    }

    fn columned(&self, tests: Vec<Vec<Cell>>) -> Column {
        Column {
            target: self.target,
            tests,
        }
    }

    fn is_agreed(&self, part: &Part<'_>, cell: &Cell) -> bool {
        let result = self.result(part.test, part.step);
        result.is_some_and(|r| agreed(r) == *cell)
    }

    fn result(&self, test: usize, step: usize) -> Option<&polc_compiler::inline::StepResult> {
        self.tested.results.get(test)?.steps.get(step)
    }

    /// The bundle, or why there is none.
    fn bundle(&self) -> Result<Bundle, String> {
        if self.target == "ebpf" && !self.setup.root {
            return Err("programs of target `ebpf` can only be loaded by root".to_owned());
        }
        if self.target == "iptables" && !self.setup.root && asks_who_sends(&self.tested.ir) {
            let reason = "only root can load rules of iptables that ask for users or groups";
            return Err(reason.to_owned());
        }
        let target = target::find(self.target).ok_or("there is no such target")?;
        let options = target::Options {
            count_all: true,
            ..self.tested.session.target_options()
        };
        let sources = &self.tested.session.compilation.sources;
        target
            .emit(&self.tested.ir, sources, &options)
            .map_err(|found| match found.first() {
                Some(first) => match first.labels.first() {
                    Some(label) => {
                        let place = sources.describe(label.span);
                        format!("{} ({place})", first.title)
                    }
                    None => first.title.clone(),
                },
                None => format!("target `{}` cannot express it", self.target),
            })
    }

    /// Why a step cannot be played by this process.
    fn impossible(&self, plays: &[Play]) -> Option<String> {
        let somebody = plays.iter().flat_map(Play::shots).any(|shot| {
            let Sender::Host { uid, gid } = &shot.sender else {
                return false;
            };
            [uid, gid].into_iter().flatten().any(|id| *id != 0)
        });
        let reason = "only root can send as another user or group";
        (somebody && !self.setup.root).then(|| reason.to_owned())
    }

    /// Plays everything, on as few machines as do.
    fn rounds<'p>(
        &self,
        bundle: &Bundle,
        parts: &'p [Part<'p>],
    ) -> Result<Vec<(&'p Part<'p>, Wrong)>, Error> {
        let all: Vec<&Play> = parts.iter().map(|p| p.play).collect();
        let spec = spec(&self.tested.ir, self.bench, bundle, &all);
        let mut results = Vec::new();
        for round in self.bench.rounds(&all) {
            let parts = round.iter().filter_map(|index| parts.get(*index));
            let machine = match self.machine(bundle, &spec)? {
                Ok(machine) => machine,
                Err(reason) => {
                    results.extend(parts.map(|p| (p, Some(reason.clone()))));
                    continue;
                }
            };
            let mut first = true;
            for part in parts {
                let mut wrong = self.once(&machine, part.play)?;
                let attempts = if part.play.is_counted() { ATTEMPTS } else { 1 };
                // What comes first on a machine is its own judge; the rest has another one.
                let again = attempts - usize::from(first);
                for _ in 0..again {
                    if wrong.is_none() {
                        break;
                    }
                    if let Ok(fresh) = self.machine(bundle, &spec)? {
                        wrong = self.once(&fresh, part.play)?;
                    }
                }
                first = false;
                results.push((part, wrong));
            }
        }
        Ok(results)
    }

    fn machine(&self, bundle: &Bundle, spec: &SiteSpec) -> Result<Result<Machine, String>, Error> {
        self.setup.go_on()?;
        Machine::new(bundle, spec, self.setup)
    }

    /// Plays a play; what is wrong.
    fn once(&self, machine: &Machine, play: &Play) -> Result<Wrong, Error> {
        let before = match &play.rule {
            Some(rule) => machine.counted(rule)?,
            None => None,
        };
        for volley in &play.volleys {
            self.setup.go_on()?;
            let right = |report: &Report| self.bench.disagreement(volley, report).is_none();
            let report = machine.throw(play, volley, &right)?;
            if let Some(wrong) = self.bench.disagreement(volley, &report) {
                return Ok(Some(wrong));
            }
        }
        let Some(rule) = &play.rule else {
            return Ok(None);
        };
        let after = machine.counted(rule)?;
        Ok(match (before, after) {
            (Some(before), Some(after)) if after > before => None,
            (Some(_), Some(_)) => Some(format!("the counter of rule `{rule}` has not moved")),
            _ => Some(format!("rule `{rule}` has no counter in the kernel")),
        })
    }
}

/// The interfaces, and the protocols by family, of plays.
pub(super) fn extent(plays: &[&Play]) -> (BTreeSet<String>, BTreeSet<(bool, u8)>) {
    let interfaces = plays.iter().flat_map(|p| p.interfaces());
    let shots = plays.iter().flat_map(|p| p.shots());
    let protocols = shots.flat_map(|s| {
        let v6 = s.is_v6();
        // Refusals are ICMP.
        [(v6, s.protocol()), (v6, if v6 { 58 } else { 1 })]
    });
    (
        interfaces.map(|name| name.to_string()).collect(),
        protocols.collect(),
    )
}

/// Counters by rule's name; rules of one name are counted together.
pub(super) fn by_name(rules: &[polc_runtime_loader::RuleStatus]) -> BTreeMap<&str, u64> {
    let mut counters = BTreeMap::new();
    for rule in rules {
        if let Some(counter) = &rule.counter {
            *counters.entry(rule.name.as_str()).or_default() += counter.packets;
        }
    }
    counters
}
