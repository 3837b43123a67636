//! A section's rules behind one test of its interfaces.
//!
//! Take a run of adjacent lines of one section that each begin with a test `-i` or `-o` for one name.
//! Where the names are the same, the run is one jump to a chain of the lines without the test: the
//! chain is entered exactly when the test holds, and a packet that nothing inside decides comes back
//! behind the run. Where there are several names, no two of which mean one interface, lines of
//! different ones may change places, so each name gets its own run, and runs that are equal share
//! the chain. Inside, the same is done with the next test.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::names;
use super::tree::{Chain, Line, Test, Then};
use crate::ir::Block;

/// A chain for fewer lines costs more than it saves.
const FEWEST: usize = 2;

/// Moves runs of lines of the chains that the kernel's own jump to, and of chains made in this way,
/// into chains of their own. Other chains are left: there `-g` leaves the chain.
pub(super) fn run(chains: &mut Vec<Chain>, blocks: &[Block]) {
    let mut whole: Vec<Chain> = std::mem::take(chains);
    let mut next: Vec<Chain> = Vec::new();
    for chain in whole.iter_mut().filter(|c| c.builtin.is_some()) {
        let lines = std::mem::take(&mut chain.lines);
        chain.lines = split(lines, &mut next, blocks);
    }
    let mut known: BTreeSet<Arc<str>> = whole.iter().map(|c| c.name.clone()).collect();
    while let Some(mut chain) = next.pop() {
        if known.insert(chain.name.clone()) {
            chain.lines = split(chain.lines, &mut next, blocks);
            whole.push(chain);
        }
    }
    *chains = whole;
}

/// The lines with runs replaced by jumps to the chains in `made`.
fn split(lines: Vec<Line>, made: &mut Vec<Chain>, blocks: &[Block]) -> Vec<Line> {
    let mut out = Vec::new();
    let mut run: Vec<Line> = Vec::new();
    for line in lines {
        let goes_on = match run.last() {
            None => true,
            Some(last) => last.block == line.block && run.iter().all(|other| fits(other, &line)),
        };
        if !goes_on {
            flush(&mut run, &mut out, made, blocks);
        }
        if first(&line).is_some() && line.block.is_some() {
            run.push(line);
        } else {
            flush(&mut run, &mut out, made, blocks);
            out.push(line);
        }
    }
    flush(&mut run, &mut out, made, blocks);
    out
}

/// The test of an interface that a line begins with.
fn first(line: &Line) -> Option<&Test> {
    line.tests.first().filter(|t| {
        matches!(
            t,
            Test::In { negate: false, .. } | Test::Out { negate: false, .. }
        )
    })
}

/// Whether the lines begin with the same test, or with tests that never hold for one packet.
fn fits(one: &Line, other: &Line) -> bool {
    match (first(one), first(other)) {
        (Some(Test::In { name: a, .. }), Some(Test::In { name: b, .. }))
        | (Some(Test::Out { name: a, .. }), Some(Test::Out { name: b, .. })) => {
            a == b || !meet(a, b)
        }
        _ => false,
    }
}

/// Whether an interface may have both names.
fn meet(a: &str, b: &str) -> bool {
    match (a.strip_suffix('+'), b.strip_suffix('+')) {
        (None, None) => a == b,
        (Some(prefix), None) => b.starts_with(prefix),
        (None, Some(prefix)) => a.starts_with(prefix),
        (Some(a), Some(b)) => a.starts_with(b) || b.starts_with(a),
    }
}

fn flush(run: &mut Vec<Line>, out: &mut Vec<Line>, made: &mut Vec<Chain>, blocks: &[Block]) {
    let lines = std::mem::take(run);
    let mut ways: Vec<Test> = Vec::new();
    for test in lines.iter().filter_map(first) {
        if !ways.contains(test) {
            ways.push(test.clone());
        }
    }
    if lines.len() < FEWEST * ways.len() || lines.len() < FEWEST {
        out.extend(lines);
        return;
    }
    let block = lines.first().and_then(|l| l.block);
    let label = block.and_then(|id| blocks.get(id));
    let wish: Arc<str> = label.map_or_else(|| "section".into(), |b| b.label.clone());
    for way in ways {
        let own = lines.iter().filter(|l| first(l) == Some(&way));
        let inner: Vec<Line> = own
            .map(|l| Line {
                tests: l.tests.iter().skip(1).cloned().collect(),
                ..l.clone()
            })
            .collect();
        let name = names::chain(&wish, &format!("{inner:?}"));
        // Nothing comes back from a chain whose last line takes everything.
        let then = if inner.last().is_some_and(Line::is_final) {
            Then::Goto(name.clone())
        } else {
            Then::Jump(name.clone())
        };
        let jump = Line::new(vec![way], then);
        out.push(Line { block, ..jump });
        made.push(Chain {
            name,
            builtin: None,
            lines: inner,
        });
    }
}
