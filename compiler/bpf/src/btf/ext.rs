//! Which function, and which line of a source, instructions belong to.
//!
//! With it, a verifier's complaint and `bpftool prog dump xlated linum` quote the source. Both
//! tables have one subsection for each section of the object that holds code.

use super::{PREAMBLE, StrId, TypeId, size};

/// The size of the header of `.BTF.ext`, in bytes.
const HEADER: u32 = 32;
/// The size of a record that says where a function begins, in bytes.
const FUNCTION: u32 = 8;
/// The size of a record that says where a line begins, in bytes.
const LINE: u32 = 16;

/// The highest number of a line, and of a column: they share 32 bits.
const MAX_LINE: u32 = (1 << 22) - 1;
const MAX_COLUMN: u32 = (1 << 10) - 1;

/// Where a line begins.
pub(crate) struct Line {
    /// In bytes, from the start of the section.
    pub(crate) offset: u32,
    pub(crate) file: StrId,
    pub(crate) text: StrId,
    pub(crate) number: u32,
    pub(crate) column: u32,
}

/// What is known about the code in a section.
pub(crate) struct Section {
    pub(crate) name: StrId,
    /// Where functions begin, in bytes from the start of the section, and their types.
    pub(crate) functions: Vec<(u32, TypeId)>,
    /// Where lines begin, ascending.
    pub(crate) lines: Vec<Line>,
}

/// Writes `.BTF.ext`.
pub(crate) fn write(sections: &[Section]) -> Vec<u8> {
    let functions = table(FUNCTION, sections, |section| {
        let record = |(offset, kind): &(u32, TypeId)| vec![*offset, kind.0];
        section.functions.iter().map(record).collect()
    });
    let lines = table(LINE, sections, |section| {
        section.lines.iter().map(line).collect()
    });
    let (functions_size, lines_size) = (size(functions.len() * 4), size(lines.len() * 4));
    let end = functions_size + lines_size;
    let header = [
        HEADER,
        0,
        functions_size,
        functions_size,
        lines_size,
        // There are no relocations for types of the kernel.
        end,
        0,
    ];
    let words = header.iter().chain(&functions).chain(&lines);
    PREAMBLE
        .into_iter()
        .chain(words.flat_map(|word| word.to_le_bytes()))
        .collect()
}

fn line(line: &Line) -> Vec<u32> {
    let place = line.number.min(MAX_LINE) << 10 | line.column.min(MAX_COLUMN);
    vec![line.offset, line.file.0, line.text.0, place]
}

/// A table: the size of its records, then subsections. It is empty if there are no records:
/// loaders refuse one without.
fn table(
    record: u32,
    sections: &[Section],
    records: impl Fn(&Section) -> Vec<Vec<u32>>,
) -> Vec<u32> {
    let mut words = Vec::new();
    for section in sections {
        let records = records(section);
        if records.is_empty() {
            continue;
        }
        if words.is_empty() {
            words.push(record);
        }
        words.extend([section.name.0, size(records.len())]);
        words.extend(records.into_iter().flatten());
    }
    words
}
