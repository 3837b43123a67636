//! An object: programs, maps and data in one ELF file.
//!
//! It is laid out so that libbpf (which bpftool and iproute2 use) and aya read it:
//!
//! - each program lies in the section that says what it is ([`Section`]), under a global symbol;
//! - functions that programs call lie in `.text`, and each call is a relocation: loaders copy
//!   what is called behind the program;
//! - `.maps` holds a variable for each map, and `.rodata` the data;
//! - `.BTF` describes both, and the functions; `.BTF.ext` says which lines of the source
//!   instructions come from, if any are known;
//! - `license` is [`LICENSE`].
//!
//! Relocations are those of the kernel's `Documentation/bpf/llvm_reloc.rst`; what sections mean
//! to loaders is libbpf's convention. The same object gives the same bytes.

mod check;
mod section;
mod writer;

pub use section::Section;

use crate::asm::Program;
use crate::insn::EncodeError;
use crate::map::{Map, MapError};

/// The licence that programs tell the kernel, which lets them call helpers reserved to the GPL.
pub const LICENSE: &str = "Dual MIT/GPL";

/// Bytes that programs read and nobody writes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Data {
    name: String,
    bytes: Vec<u8>,
}

/// What goes into one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    maps: Vec<Map>,
    data: Vec<Data>,
    programs: Vec<(Section, Program)>,
}

/// Why an object cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// A name is none in C, which the kernel insists on.
    #[error("`{0}` is not a name: letters, digits and underscores make one")]
    Name(String),
    /// Maps, data, programs and functions have one space of names.
    #[error("two things are called `{0}`")]
    Duplicate(String),
    /// A program uses a map that is not there.
    #[error("`{function}` uses the map `{map}`, which the object lacks")]
    UnknownMap {
        /// The function that uses it.
        function: String,
        /// The name of the map.
        map: String,
    },
    /// A program uses data that is not there, or a byte behind its end.
    #[error("`{function}` uses byte {offset} of the data `{data}`, which the object lacks")]
    UnknownData {
        /// The function that uses it.
        function: String,
        /// The name of the data.
        data: String,
        /// The byte.
        offset: u32,
    },
    /// Data has no bytes.
    #[error("the data `{0}` is empty")]
    EmptyData(String),
    /// A map is wrong.
    #[error(transparent)]
    Map(#[from] MapError),
    /// An instruction cannot be encoded.
    #[error("`{function}` cannot be encoded: {source}")]
    Encode {
        /// The function.
        function: String,
        /// Why.
        source: EncodeError,
    },
    /// Types and lines of the source are more than the kernel reads.
    #[error("names and source lines of the object take more than 16 MiB")]
    TooMuchText,
    /// The file cannot be written.
    #[error("cannot write the object: {0}")]
    Elf(#[from] ::object::write::Error),
}

impl Object {
    /// An object without anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a map.
    pub fn map(&mut self, map: Map) {
        self.maps.push(map);
    }

    /// Adds data that programs read ([`Assembler::load_data`]), aligned to eight bytes.
    ///
    /// [`Assembler::load_data`]: crate::asm::Assembler::load_data
    pub fn data(&mut self, name: impl Into<String>, bytes: Vec<u8>) {
        let name = name.into();
        self.data.push(Data { name, bytes });
    }

    /// Adds a program.
    pub fn program(&mut self, section: Section, program: Program) {
        self.programs.push((section, program));
    }

    /// The file.
    pub fn write(&self) -> Result<Vec<u8>, ObjectError> {
        check::object(self)?;
        writer::write(self)
    }
}
