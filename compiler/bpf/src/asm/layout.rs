//! Where instructions lie, and how far jumps go.
//!
//! Every jump begins short. Those that do not reach their target become long, which moves what
//! follows, so that others may no longer reach: this is repeated until all do. A jump never
//! becomes short again, so there is an end; and each round makes jumps long that would just about
//! reach, so that a few linear rounds are enough.

use std::collections::{BTreeMap, BTreeSet};

use super::{AsmError, Assembler, Draft, Function, Isa, Label, LabelState, MAX_SLOTS, Program};
use crate::insn::{Bits, Cond, Insn, Operand, Reg};

/// How far a jump of 16 bits goes when there is a longer one, in slots.
///
/// The kernel replaces instructions by longer sequences (accesses to the context, helpers that it
/// inlines) and gives up ("cannot be patched due to 16-bit range") when a jump of 16 bits no longer
/// reaches. An eighth of what the encoding allows leaves room for that: an access to the context
/// becomes up to four instructions, an inlined lookup about eight.
const SAFE_REACH: i32 = 4095;

/// How much less far than in the round before a jump may go and stay short.
const LESS_EACH_ROUND: usize = 256;

/// Lays out a program that was checked.
pub(super) fn program(asm: Assembler, isa: Isa) -> Result<Program, AsmError> {
    let labels = asm.labels;
    let functions: Vec<Function> = std::iter::once(asm.entry)
        .chain(asm.others)
        .map(|draft| function(draft, &labels, isa))
        .collect::<Result<_, _>>()?;
    let program = Program { functions };
    match program.slots() {
        slots if slots > MAX_SLOTS => Err(AsmError::TooLong { slots }),
        _ => Ok(program),
    }
}

fn function(draft: Draft, labels: &[LabelState], isa: Isa) -> Result<Function, AsmError> {
    let targets: Vec<Option<usize>> = draft
        .insns
        .iter()
        .map(|insn| place(labels, *insn.target()?))
        .collect();
    let mut layout = Layout {
        targets,
        long: vec![false; draft.insns.len()],
        starts: Vec::new(),
    };
    match isa {
        Isa::V3 => {
            layout.place(&draft.insns);
            layout.within_reach(&draft, labels)?;
        }
        Isa::V4 => layout.settle(&draft.insns),
    }
    let (insns, moved) = layout.emit(&draft.insns);
    let moved = |index: usize| moved.get(index).copied().unwrap_or(insns.len());
    Ok(Function {
        labels: names(&draft.insns, labels, moved),
        lines: re_index(draft.lines, moved)
            .filter(|(index, _)| *index < insns.len())
            .collect(),
        comments: re_index(draft.comments, moved).collect(),
        name: draft.name,
        insns,
    })
}

/// The number of the instruction that a label precedes.
fn place(labels: &[LabelState], label: Label) -> Option<usize> {
    let (_, index) = labels.get(label.0)?.place?;
    Some(index)
}

fn re_index<T>(
    marks: Vec<(usize, T)>,
    moved: impl Fn(usize) -> usize,
) -> impl Iterator<Item = (usize, T)> {
    marks
        .into_iter()
        .map(move |(index, mark)| (moved(index), mark))
}

/// Where the instructions of a function lie.
struct Layout {
    /// The instruction that each jumps to, if it does.
    targets: Vec<Option<usize>>,
    /// Whether each is a long jump.
    long: Vec<bool>,
    /// The slot that each begins at.
    starts: Vec<i32>,
}

impl Layout {
    /// Makes jumps long until all reach their targets.
    fn settle(&mut self, insns: &[Insn<Label>]) {
        for reach in (0..=SAFE_REACH).rev().step_by(LESS_EACH_ROUND) {
            self.place(insns);
            if self.beyond(SAFE_REACH).next().is_none() {
                return;
            }
            let too_far: Vec<usize> = self.beyond(reach).collect();
            for index in too_far {
                if let Some(long) = self.long.get_mut(index) {
                    *long = true;
                }
            }
        }
        // What is short now went over few slots in the last round, which at most tripled.
        self.place(insns);
    }

    /// The short jumps whose targets are farther away than `reach`.
    fn beyond(&self, reach: i32) -> impl Iterator<Item = usize> {
        let jumps = self.long.iter().enumerate();
        jumps.filter_map(move |(index, long)| {
            (!long && self.distance(index)?.abs() > reach).then_some(index)
        })
    }

    /// Computes the slots at which instructions begin.
    fn place(&mut self, insns: &[Insn<Label>]) {
        self.starts.clear();
        let mut next = 0;
        for (insn, long) in insns.iter().zip(&self.long) {
            self.starts.push(next);
            next += size(insn, *long);
        }
    }

    /// How many slots the jump at `index` would skip if it were short.
    fn distance(&self, index: usize) -> Option<i32> {
        let target = (*self.targets.get(index)?)?;
        Some(self.starts.get(target)? - self.starts.get(index)? - 1)
    }

    /// That 16 bits are enough for every jump.
    fn within_reach(&self, draft: &Draft, labels: &[LabelState]) -> Result<(), AsmError> {
        for (index, insn) in draft.insns.iter().enumerate() {
            let slots = self.distance(index).unwrap_or(0);
            if i16::try_from(slots).is_err() {
                let label = insn.target().and_then(|label| labels.get(label.0));
                return Err(AsmError::TooFar {
                    function: draft.name.clone(),
                    index,
                    label: label
                        .map(|label| label.name.to_string())
                        .unwrap_or_default(),
                    slots,
                });
            }
        }
        Ok(())
    }

    /// The instructions with distances for labels, and the new number of each.
    fn emit(&self, insns: &[Insn<Label>]) -> (Vec<Insn>, Vec<usize>) {
        let mut emitted = Vec::with_capacity(insns.len());
        let mut moved = Vec::with_capacity(insns.len());
        for ((index, insn), long) in insns.iter().enumerate().zip(&self.long) {
            moved.push(emitted.len());
            let distance = self.distance(index).unwrap_or(0);
            match insn {
                Insn::Jump { .. } if *long => emitted.push(Insn::JumpFar { target: distance }),
                Insn::JumpIf {
                    cond,
                    bits,
                    left,
                    right,
                    ..
                } if *long => {
                    over(&mut emitted, (*cond, *bits, *left, *right));
                    // The jump itself is the last of the sequence.
                    let target = distance + 1 - size(insn, true);
                    emitted.push(Insn::JumpFar { target });
                }
                insn => emitted.push(insn.clone().retarget(|_| distance)),
            }
        }
        (emitted, moved)
    }
}

/// How many slots an instruction takes.
const fn size(insn: &Insn<Label>, long: bool) -> i32 {
    match insn {
        Insn::JumpIf {
            cond: Cond::Set, ..
        } if long => 3,
        Insn::JumpIf { .. } if long => 2,
        Insn::LoadWide { .. } => 2,
        _ => 1,
    }
}

/// Adds what skips one instruction unless the condition holds.
fn over(emitted: &mut Vec<Insn>, (cond, bits, left, right): (Cond, Bits, Reg, Operand)) {
    let skip_if = |cond| Insn::JumpIf {
        cond,
        bits,
        left,
        right,
        target: 1,
    };
    if let Some(inverse) = cond.inverse() {
        emitted.push(skip_if(inverse));
    } else {
        emitted.push(skip_if(cond));
        emitted.push(Insn::Jump { target: 1 });
    }
}

/// The names of labels that are jumped to, by the number of the instruction that follows. Equal
/// names are numbered in the order of their labels.
fn names(
    insns: &[Insn<Label>],
    labels: &[LabelState],
    moved: impl Fn(usize) -> usize,
) -> BTreeMap<usize, String> {
    let used: BTreeSet<Label> = insns.iter().filter_map(Insn::target).copied().collect();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    let mut names = BTreeMap::new();
    for label in used {
        let (Some(state), Some(place)) = (labels.get(label.0), place(labels, label)) else {
            continue;
        };
        let times = times.entry(&state.name).or_default();
        *times += 1;
        let name = match *times {
            1 => state.name.to_string(),
            number => format!("{}.{number}", state.name),
        };
        names.entry(moved(place)).or_insert(name);
    }
    names
}
