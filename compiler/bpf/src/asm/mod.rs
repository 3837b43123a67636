//! An assembler: labels, functions, and marks that say where instructions come from.
//!
//! ```
//! use polc_bpf::asm::{Assembler, Isa};
//! use polc_bpf::insn::{Cond::Eq, Reg::*, Width::W};
//!
//! # fn main() -> Result<(), polc_bpf::asm::AsmError> {
//! let mut asm = Assembler::new("only_icmp");
//! let pass = asm.label("pass");
//! asm.load(W, R2, R1, 16);
//! asm.jump_if(Eq, R2, 1, pass);
//! asm.mov(R0, 1);
//! asm.exit();
//! asm.bind(pass);
//! asm.mov(R0, 2);
//! asm.exit();
//! let program = asm.finish(Isa::V4)?;
//! assert!(program.to_string().contains("if r2 == 0x1 goto pass"));
//! # Ok(())
//! # }
//! ```
//!
//! Nothing fails while a program is being written: mistakes come to light in
//! [`Assembler::finish`], which also chooses how jumps are encoded. A conditional jump has 16 bits
//! for its distance. Where they do not reach, it becomes the inverse condition over a `gotol`,
//! which has 32:
//!
//! ```text
//! if r2 == 0x1 goto pass      →      if r2 != 0x1 goto +1
//!                                    gotol pass
//! ```

mod check;
mod error;
mod layout;
mod listing;
mod program;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::insn::{FunctionId, Insn};
pub use error::AsmError;
pub use program::{Comment, Function, Program, SourceLine};

/// The most slots that the kernel accepts in a program.
pub const MAX_SLOTS: usize = 1_000_000;

/// The size of a function's stack frame, in bytes. The frames of a chain of calls share it.
pub const STACK: i16 = 512;

/// Which instructions the kernel knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Linux before 6.6: no `gotol`, so that a function has to stay short, and no
    /// [`ByteOrder::Reversed`](crate::insn::ByteOrder::Reversed).
    V3,
    /// Linux since 6.6.
    #[default]
    V4,
}

/// A place to jump to, within one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(usize);

/// What is known of a label.
#[derive(Debug)]
struct LabelState {
    name: Arc<str>,
    /// The function, and the number of the instruction that follows.
    place: Option<(FunctionId, usize)>,
    bound_twice: bool,
}

/// A function that is being written.
#[derive(Debug)]
struct Draft {
    name: String,
    insns: Vec<Insn<Label>>,
    lines: Vec<(usize, SourceLine)>,
    comments: Vec<(usize, Comment)>,
}

impl Draft {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            insns: Vec::new(),
            lines: Vec::new(),
            comments: Vec::new(),
        }
    }
}

/// Writes a program.
#[derive(Debug)]
pub struct Assembler {
    entry: Draft,
    others: Vec<Draft>,
    current: FunctionId,
    labels: Vec<LabelState>,
    /// One copy of each name of a label, a map or data.
    names: BTreeMap<String, Arc<str>>,
    /// The first use of a label or function that another assembler made.
    foreign: Option<AsmError>,
}

impl Assembler {
    /// Begins a program with its entry function. The kernel shows 15 characters of its name.
    pub fn new(name: &str) -> Self {
        Self {
            entry: Draft::new(name),
            others: Vec::new(),
            current: FunctionId::ENTRY,
            labels: Vec::new(),
            names: BTreeMap::new(),
            foreign: None,
        }
    }

    /// Checks the program, chooses the encoding of its jumps, and resolves its labels.
    pub fn finish(self, isa: Isa) -> Result<Program, AsmError> {
        check::program(&self, isa)?;
        layout::program(self, isa)
    }

    /// Announces a function; its instructions follow its [`Self::begin`]. Its name in an object
    /// is that of the program, an underscore, and `name`.
    pub fn function(&mut self, name: &str) -> FunctionId {
        let name = format!("{}_{name}", self.entry.name);
        self.others.push(Draft::new(&name));
        FunctionId(self.others.len())
    }

    /// What follows belongs to `function`, after what it already has.
    pub fn begin(&mut self, function: FunctionId) {
        if function.0 <= self.others.len() {
            self.current = function;
        } else {
            self.refuse();
        }
    }

    /// Makes a label. Names need not be unique: the disassembler numbers them.
    pub fn label(&mut self, name: &str) -> Label {
        let name = self.intern(name);
        self.labels.push(LabelState {
            name,
            place: None,
            bound_twice: false,
        });
        Label(self.labels.len() - 1)
    }

    /// Puts a label before the next instruction.
    pub fn bind(&mut self, label: Label) {
        let place = (self.current, self.draft().insns.len());
        if let Some(state) = self.labels.get_mut(label.0) {
            state.bound_twice |= state.place.is_some();
            state.place = Some(place);
        } else {
            self.refuse();
        }
    }

    /// Makes a label and puts it before the next instruction.
    pub fn here(&mut self, name: &str) -> Label {
        let label = self.label(name);
        self.bind(label);
        label
    }

    /// What follows comes from that line of a source, until the next mark.
    pub fn at(&mut self, line: &SourceLine) {
        let draft = self.draft();
        let at = draft.insns.len();
        // A mark without instructions marks nothing.
        if draft.lines.last().is_some_and(|(index, _)| *index == at) {
            draft.lines.pop();
        }
        if draft.lines.last().is_none_or(|(_, last)| last != line) {
            draft.lines.push((at, line.clone()));
        }
    }

    /// Begins a part of the function. Only the disassembler shows it.
    pub fn part(&mut self, name: &str) {
        self.comment(Comment::Part(name.to_owned()));
    }

    /// Says something about what follows. Only the disassembler shows it.
    pub fn note(&mut self, text: &str) {
        self.comment(Comment::Note(text.to_owned()));
    }

    fn comment(&mut self, comment: Comment) {
        let draft = self.draft();
        draft.comments.push((draft.insns.len(), comment));
    }

    /// Adds an instruction.
    pub fn push(&mut self, insn: Insn<Label>) {
        self.draft().insns.push(insn);
    }

    /// Remembers that a label or function of another program was used here.
    fn refuse(&mut self) {
        let draft = self.draft();
        let (function, index) = (draft.name.clone(), draft.insns.len());
        self.foreign
            .get_or_insert(AsmError::Foreign { function, index });
    }

    /// The function being written.
    fn draft(&mut self) -> &mut Draft {
        match self.current.0.checked_sub(1) {
            None => &mut self.entry,
            Some(index) => self.others.get_mut(index).unwrap_or(&mut self.entry),
        }
    }

    fn drafts(&self) -> impl Iterator<Item = &Draft> {
        std::iter::once(&self.entry).chain(&self.others)
    }

    fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some(name) = self.names.get(name) {
            return name.clone();
        }
        let shared: Arc<str> = name.into();
        self.names.insert(name.to_owned(), shared.clone());
        shared
    }
}
