//! An assembled program.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::insn::{FunctionId, Insn, Wide};

/// A line of a source, which the kernel and its tools quote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceLine {
    /// The name of the file.
    pub file: Arc<str>,
    /// The number of the line, from 1. The kernel can tell 4,194,303 of them apart.
    pub line: u32,
    /// The column, from 1. The kernel can tell 1,023 of them apart.
    pub column: u32,
    /// What is written there.
    pub text: Arc<str>,
}

/// Something that only the disassembler shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Comment {
    /// The heading of a part.
    Part(String),
    /// A remark.
    Note(String),
}

/// A function of a program: its instructions, and what is known about them, by the number of the
/// instruction that follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    pub(crate) name: String,
    pub(crate) insns: Vec<Insn>,
    pub(crate) labels: BTreeMap<usize, String>,
    pub(crate) lines: Vec<(usize, SourceLine)>,
    pub(crate) comments: Vec<(usize, Comment)>,
}

impl Function {
    /// Its name. Names of functions other than the entry begin with that of the program and an
    /// underscore.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its instructions.
    pub fn insns(&self) -> &[Insn] {
        &self.insns
    }

    /// The names of its labels that are jumped to, by the number of the instruction that follows.
    pub fn labels(&self) -> &BTreeMap<usize, String> {
        &self.labels
    }

    /// Where instructions come from, by the number of the first, ascending.
    pub fn lines(&self) -> &[(usize, SourceLine)] {
        &self.lines
    }

    /// What was said about instructions, by the number of the one that follows, ascending.
    pub fn comments(&self) -> &[(usize, Comment)] {
        &self.comments
    }

    /// How many slots it takes.
    pub fn slots(&self) -> usize {
        self.insns.iter().map(Insn::slots).sum()
    }
}

/// An assembled program: its entry and the functions it calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub(crate) functions: Vec<Function>,
}

impl Program {
    /// Its name: that of its entry.
    pub fn name(&self) -> &str {
        self.functions.first().map_or("", Function::name)
    }

    /// Its functions, the entry first, in the order of their numbers.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// The function of that number.
    pub fn function(&self, id: FunctionId) -> Option<&Function> {
        self.functions.get(id.0)
    }

    /// How many maps it uses; read-only data is one.
    pub fn maps(&self) -> usize {
        let insns = self.functions.iter().flat_map(Function::insns);
        let map = |insn: &Insn| match insn {
            Insn::LoadWide { value, .. } => match value {
                Wide::Map(name) => Some(Some(name.clone())),
                Wide::Data { .. } => Some(None),
                Wide::Value(_) | Wide::Function(_) => None,
            },
            _ => None,
        };
        insns.filter_map(map).collect::<BTreeSet<_>>().len()
    }

    /// How many slots it takes.
    pub fn slots(&self) -> usize {
        self.functions.iter().map(Function::slots).sum()
    }
}
