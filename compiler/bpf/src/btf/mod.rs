//! BTF: types, as the kernel and loaders read them from the sections `.BTF` and `.BTF.ext`.
//!
//! The format is that of the kernel's `Documentation/bpf/btf.rst`. [`maps`] describes maps to
//! loaders, [`ext`] says which function and which line of a source instructions belong to.

pub(crate) mod ext;
pub(crate) mod maps;

use std::collections::BTreeMap;

/// What both sections begin with: a magic number and version 1.
const PREAMBLE: [u8; 4] = [0x9f, 0xeb, 1, 0];

/// The size of the header of `.BTF`, in bytes.
const HEADER: u32 = 24;

/// The most bytes that the kernel accepts.
const MAX_SIZE: usize = 16 << 20;

/// The kinds of types.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Kind {
    Int = 1,
    Ptr = 2,
    Array = 3,
    Struct = 4,
    Func = 12,
    FuncProto = 13,
    Var = 14,
    Datasec = 15,
}

/// The number of a type. 0 is `void`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TypeId(u32);

impl TypeId {
    pub(crate) const VOID: Self = Self(0);
}

/// A place in the string table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StrId(u32);

/// A member of a structure.
pub(crate) struct Member {
    pub(crate) name: &'static str,
    pub(crate) kind: TypeId,
    /// In bytes.
    pub(crate) offset: usize,
}

/// A variable in a section.
#[derive(Clone, Copy)]
pub(crate) struct Variable {
    pub(crate) kind: TypeId,
    /// In bytes, from the start of the section.
    pub(crate) offset: u32,
    /// In bytes.
    pub(crate) size: u32,
}

/// Whether a function can be seen from elsewhere. The kernel verifies one that can on its own,
/// and one that cannot where it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Linkage {
    Static = 0,
    Global = 1,
}

/// Types and strings that are more than the kernel reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooBig;

/// Writes `.BTF`.
pub(crate) struct Btf {
    types: Vec<u8>,
    count: u32,
    strings: Vec<u8>,
    places: BTreeMap<String, StrId>,
    int: TypeId,
    byte: TypeId,
}

impl Btf {
    /// Types that everything needs: `int` and `unsigned char`.
    pub(crate) fn new() -> Self {
        const SIGNED: u32 = 1;
        let mut btf = Self {
            types: Vec::new(),
            count: 0,
            // The empty string has to be the first.
            strings: vec![0],
            places: BTreeMap::from([(String::new(), StrId(0))]),
            int: TypeId::VOID,
            byte: TypeId::VOID,
        };
        btf.int = btf.number("int", 4, SIGNED);
        btf.byte = btf.number("unsigned char", 1, 0);
        btf
    }

    /// A string; equal ones are kept once.
    pub(crate) fn string(&mut self, text: &str) -> StrId {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = StrId(size(self.strings.len()));
        self.strings.extend(text.as_bytes());
        self.strings.push(0);
        self.places.insert(text.to_owned(), place);
        place
    }

    /// `int`
    pub(crate) const fn int(&self) -> TypeId {
        self.int
    }

    /// `unsigned char[count]`
    pub(crate) fn bytes(&mut self, count: u32) -> TypeId {
        self.array(self.byte, count)
    }

    fn number(&mut self, name: &str, bytes: u32, encoding: u32) -> TypeId {
        let name = self.string(name);
        let id = self.kind(name, Kind::Int, 0, bytes);
        self.words([(encoding << 24) | (bytes * 8)]);
        id
    }

    pub(crate) fn pointer(&mut self, to: TypeId) -> TypeId {
        self.kind(StrId(0), Kind::Ptr, 0, to.0)
    }

    pub(crate) fn array(&mut self, of: TypeId, count: u32) -> TypeId {
        let id = self.kind(StrId(0), Kind::Array, 0, 0);
        self.words([of.0, self.int.0, count]);
        id
    }

    pub(crate) fn structure(&mut self, name: &str, bytes: usize, members: &[Member]) -> TypeId {
        let name = self.string(name);
        let names: Vec<StrId> = members.iter().map(|m| self.string(m.name)).collect();
        let id = self.kind(name, Kind::Struct, size(members.len()), size(bytes));
        for (member, name) in members.iter().zip(names) {
            self.words([name.0, member.kind.0, size(member.offset * 8)]);
        }
        id
    }

    /// A variable that can be seen from elsewhere.
    pub(crate) fn variable(&mut self, name: &str, kind: TypeId) -> TypeId {
        let name = self.string(name);
        let id = self.kind(name, Kind::Var, 0, kind.0);
        self.words([Linkage::Global as u32]);
        id
    }

    /// A section of variables.
    pub(crate) fn section(&mut self, name: &str, bytes: u32, variables: &[Variable]) -> TypeId {
        let name = self.string(name);
        let id = self.kind(name, Kind::Datasec, size(variables.len()), bytes);
        for variable in variables {
            self.words([variable.kind.0, variable.offset, variable.size]);
        }
        id
    }

    /// `int (*)(parameters)`
    pub(crate) fn prototype(&mut self, parameters: &[(&str, TypeId)]) -> TypeId {
        let names: Vec<StrId> = parameters.iter().map(|(n, _)| self.string(n)).collect();
        let id = self.kind(StrId(0), Kind::FuncProto, size(names.len()), self.int.0);
        for (name, (_, kind)) in names.into_iter().zip(parameters) {
            self.words([name.0, kind.0]);
        }
        id
    }

    pub(crate) fn function(&mut self, name: &str, prototype: TypeId, linkage: Linkage) -> TypeId {
        let name = self.string(name);
        self.kind(name, Kind::Func, linkage as u32, prototype.0)
    }

    /// Adds what every type begins with.
    fn kind(&mut self, name: StrId, kind: Kind, count: u32, size_or_type: u32) -> TypeId {
        self.words([name.0, (kind as u32) << 24 | count, size_or_type]);
        self.count += 1;
        TypeId(self.count)
    }

    fn words<const N: usize>(&mut self, words: [u32; N]) {
        self.types
            .extend(words.iter().flat_map(|w| w.to_le_bytes()));
    }

    /// The section.
    pub(crate) fn finish(self) -> Result<Vec<u8>, TooBig> {
        // Below this, none of the sizes was more than its 32 bits.
        if self.types.len() + self.strings.len() > MAX_SIZE {
            return Err(TooBig);
        }
        let (types, strings) = (size(self.types.len()), size(self.strings.len()));
        let mut bytes = PREAMBLE.to_vec();
        let header = [HEADER, 0, types, types, strings];
        bytes.extend(header.iter().flat_map(|w| w.to_le_bytes()));
        bytes.extend(self.types);
        bytes.extend(self.strings);
        Ok(bytes)
    }
}

/// A size as the format writes it. One of more than 32 bits ends up in [`TooBig`].
pub(crate) fn size(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_are_kept_once() {
        let mut btf = Btf::new();
        let first = btf.string("deny tcp");
        assert_eq!(btf.string("deny tcp"), first);
        assert_ne!(btf.string("deny udp"), first);
        assert_eq!(btf.string(""), StrId(0));
    }

    #[test]
    fn more_than_the_kernel_reads_is_an_error() {
        let mut btf = Btf::new();
        btf.string(&"x".repeat(MAX_SIZE));
        assert_eq!(btf.finish().unwrap_err(), TooBig);
    }
}
