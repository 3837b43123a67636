//! Writes an object that was checked.

use std::collections::BTreeMap;

use ::object::write::{
    Object as Elf, Relocation as ElfRelocation, SectionId, Symbol as ElfSymbol, SymbolId,
    SymbolSection,
};
use ::object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind,
    SymbolScope, elf,
};

use super::{LICENSE, Object, ObjectError};
use crate::asm::{Function, Program, SourceLine};
use crate::btf::ext::{self, Line};
use crate::btf::{Btf, Linkage, TooBig, TypeId, Variable, maps, size};
use crate::insn::{FunctionId, Insn, Relocation, SLOT, Symbol, encode};

/// Where functions lie that programs call.
const TEXT: &str = ".text";

/// Slots, pointers in definitions of maps, and data begin at multiples of eight bytes.
const ALIGNMENT: u64 = 8;

/// A file that is being written.
struct Writer<'a> {
    elf: Elf<'static>,
    btf: Btf,
    /// Maps, data and functions, whose names are all different.
    symbols: BTreeMap<&'a str, SymbolId>,
    /// The sections with code, by name.
    code: BTreeMap<&'static str, (SectionId, ext::Section)>,
    placed: Vec<Placed<'a>>,
}

/// A function that has found its place.
struct Placed<'a> {
    program: &'a Program,
    section: SectionId,
    /// In bytes, from the start of the section.
    offset: u64,
    relocations: Vec<Relocation>,
}

/// Writes an object.
pub(super) fn write(object: &Object) -> Result<Vec<u8>, ObjectError> {
    let mut writer = Writer {
        elf: Elf::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little),
        btf: Btf::new(),
        symbols: BTreeMap::new(),
        code: BTreeMap::new(),
        placed: Vec::new(),
    };
    writer.license();
    writer.maps(object);
    writer.data(object);
    writer.programs(object)?;
    writer.relocate()?;
    writer.finish()
}

impl<'a> Writer<'a> {
    fn license(&mut self) {
        let section = self.section("license", SectionKind::Data);
        let bytes = [LICENSE.as_bytes(), &[0]].concat();
        self.define(section, "_license", &bytes, SymbolKind::Data);
    }

    fn maps(&mut self, object: &'a Object) {
        let variables = object.maps.iter().map(|map| {
            let (kind, bytes) = maps::describe(&mut self.btf, map);
            (map.name.as_str(), kind, vec![0; bytes])
        });
        let variables = variables.collect();
        self.variables(".maps", SectionKind::Data, variables);
    }

    fn data(&mut self, object: &'a Object) {
        let variables = object.data.iter().map(|data| {
            let kind = self.btf.bytes(size(data.bytes.len()));
            (data.name.as_str(), kind, data.bytes.clone())
        });
        let variables = variables.collect();
        self.variables(".rodata", SectionKind::ReadOnlyData, variables);
    }

    /// Adds a section of variables: their names, types and bytes. Loaders refuse an empty one.
    fn variables(
        &mut self,
        section_name: &str,
        kind: SectionKind,
        variables: Vec<(&'a str, TypeId, Vec<u8>)>,
    ) {
        if variables.is_empty() {
            return;
        }
        let section = self.section(section_name, kind);
        let mut described = Vec::new();
        for (name, kind, bytes) in variables {
            let (symbol, offset) = self.define(section, name, &bytes, SymbolKind::Data);
            self.symbols.insert(name, symbol);
            described.push(Variable {
                kind: self.btf.variable(name, kind),
                offset: low(offset),
                size: size(bytes.len()),
            });
        }
        let end = described.last().map_or(0, |last| last.offset + last.size);
        self.btf.section(section_name, end, &described);
    }

    fn programs(&mut self, object: &'a Object) -> Result<(), ObjectError> {
        let context = self.btf.pointer(TypeId::VOID);
        let entry = self.btf.prototype(&[("ctx", context)]);
        let callee = self.btf.prototype(&[]);
        // The kernel wants a line for every function, if it gets any.
        let with_lines = object
            .programs
            .iter()
            .flat_map(|(_, program)| program.functions())
            .any(|function| !function.lines().is_empty());
        for (section, program) in &object.programs {
            for (number, function) in program.functions().iter().enumerate() {
                let (section, prototype, linkage) = match number {
                    0 => (section.name(), entry, Linkage::Global),
                    _ => (TEXT, callee, Linkage::Static),
                };
                let kind = self.btf.function(function.name(), prototype, linkage);
                let offset = self.function(section, program, function)?;
                self.mark(section, function, (offset, kind), with_lines);
            }
        }
        Ok(())
    }

    /// Adds the code of a function to a section, and returns where.
    fn function(
        &mut self,
        section: &'static str,
        program: &'a Program,
        function: &'a Function,
    ) -> Result<u64, ObjectError> {
        let code = encode(function.insns()).map_err(|source| ObjectError::Encode {
            function: function.name().to_owned(),
            source,
        })?;
        let section = self.code_section(section);
        let kind = SymbolKind::Text;
        let (symbol, offset) = self.define(section, function.name(), &code.bytes, kind);
        self.symbols.insert(function.name(), symbol);
        self.placed.push(Placed {
            program,
            section,
            offset,
            relocations: code.relocations,
        });
        Ok(offset)
    }

    /// The section of that name, for code.
    fn code_section(&mut self, name: &'static str) -> SectionId {
        if let Some((id, _)) = self.code.get(name) {
            return *id;
        }
        let id = self.section(name, SectionKind::Text);
        let known = ext::Section {
            name: self.btf.string(name),
            functions: Vec::new(),
            lines: Vec::new(),
        };
        self.code.insert(name, (id, known));
        id
    }

    /// Notes what a function is, and which lines of the source its instructions come from.
    fn mark(
        &mut self,
        section: &'static str,
        function: &Function,
        (offset, kind): (u64, TypeId),
        with_lines: bool,
    ) {
        let Some((_, known)) = self.code.get_mut(section) else {
            return;
        };
        let start = low(offset);
        known.functions.push((start, kind));
        if !with_lines {
            return;
        }
        let lines = function.lines();
        if lines.first().is_none_or(|(index, _)| *index > 0) {
            // Its own beginning comes from no line.
            known.lines.push(Line {
                offset: start,
                file: self.btf.string(""),
                text: self.btf.string(function.name()),
                number: 0,
                column: 0,
            });
        }
        for (slot, line) in by_slot(function.insns(), lines) {
            known.lines.push(Line {
                offset: start + size(slot * SLOT),
                file: self.btf.string(&line.file),
                text: self.btf.string(&line.text),
                number: line.line,
                column: line.column,
            });
        }
    }

    /// Says in each function what its instructions refer to.
    fn relocate(&mut self) -> Result<(), ObjectError> {
        for placed in std::mem::take(&mut self.placed) {
            for Relocation { slot, symbol } in placed.relocations {
                let (name, r_type) = match &symbol {
                    Symbol::Map(name) | Symbol::Data(name) => (Some(&**name), elf::R_BPF_64_64),
                    Symbol::Function(id) => (name_of(placed.program, *id), elf::R_BPF_64_64),
                    Symbol::Call(id) => (name_of(placed.program, *id), elf::R_BPF_64_32),
                };
                // The object was checked, and functions come from the assembler.
                let Some(known) = name.and_then(|name| self.symbols.get(name)) else {
                    continue;
                };
                let offset = placed.offset + (slot * SLOT) as u64;
                self.elf.add_relocation(
                    placed.section,
                    ElfRelocation {
                        offset,
                        symbol: *known,
                        addend: 0,
                        flags: RelocationFlags::Elf { r_type },
                    },
                )?;
            }
        }
        Ok(())
    }

    fn section(&mut self, name: &str, kind: SectionKind) -> SectionId {
        let no_segment = Vec::new();
        self.elf.add_section(no_segment, name.into(), kind)
    }

    /// Adds bytes to a section under a name, and returns where.
    fn define(
        &mut self,
        section: SectionId,
        name: &str,
        bytes: &[u8],
        kind: SymbolKind,
    ) -> (SymbolId, u64) {
        let value = self.elf.append_section_data(section, bytes, ALIGNMENT);
        let symbol = self.elf.add_symbol(ElfSymbol {
            name: name.into(),
            value,
            size: bytes.len() as u64,
            kind,
            scope: SymbolScope::Dynamic,
            weak: false,
            section: SymbolSection::Section(section),
            flags: SymbolFlags::None,
        });
        (symbol, value)
    }

    fn finish(mut self) -> Result<Vec<u8>, ObjectError> {
        let sections: Vec<ext::Section> = self.code.into_values().map(|(_, known)| known).collect();
        let ext = ext::write(&sections);
        let btf = self
            .btf
            .finish()
            .map_err(|TooBig| ObjectError::TooMuchText)?;
        for (name, bytes) in [(".BTF", btf), (".BTF.ext", ext)] {
            let section = self
                .elf
                .add_section(Vec::new(), name.into(), SectionKind::Metadata);
            self.elf.append_section_data(section, &bytes, ALIGNMENT);
        }
        Ok(self.elf.write()?)
    }
}

fn name_of(program: &Program, function: FunctionId) -> Option<&str> {
    program.function(function).map(Function::name)
}

/// The slots at which lines begin.
fn by_slot<'l>(
    insns: &[Insn],
    lines: &'l [(usize, SourceLine)],
) -> impl Iterator<Item = (usize, &'l SourceLine)> {
    let starts: Vec<usize> = insns
        .iter()
        .scan(0, |next, insn| {
            let start = *next;
            *next += insn.slots();
            Some(start)
        })
        .collect();
    lines
        .iter()
        .filter_map(move |(index, line)| Some((*starts.get(*index)?, line)))
}

/// A place in a section as BTF writes it. Sections with more than 32 bits of code hold more than
/// any kernel accepts.
fn low(offset: u64) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}
