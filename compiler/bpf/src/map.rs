//! Definitions of maps.
//!
//! A definition says what a map is, not what is in it: whoever loads an object fills its maps
//! before it attaches the programs. That is how sets can be exchanged without a new program, and
//! it is all that there is in the format: of contents, `.maps` can express only other maps.
//!
//! What is fixed when a program is written goes into the object's read-only data instead
//! ([`Object::data`]). Loaders make an array map of it, fill it, and freeze it; a program reaches
//! it with one instruction ([`Assembler::load_data`]) and no lookup, and the verifier knows its
//! contents as constants.
//!
//! [`Object::data`]: crate::object::Object::data
//! [`Assembler::load_data`]: crate::asm::Assembler::load_data

use std::ops::BitOr;

/// What a map is, by `enum bpf_map_type` in `include/uapi/linux/bpf.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum MapType {
    /// A hash table.
    Hash = 1,
    /// An array, all of whose entries exist and begin as zeroes.
    Array = 2,
    /// Programs to go on with ([`TailCall`](crate::insn::Helper::TailCall)).
    ProgArray = 3,
    /// A hash table whose values exist once for each processor.
    PercpuHash = 5,
    /// An array whose values exist once for each processor.
    PercpuArray = 6,
    /// A hash table that forgets what was not used for long.
    LruHash = 9,
    /// The same with values for each processor.
    LruPercpuHash = 10,
    /// A trie of prefixes: the longest that matches is found. A key is the length of the prefix
    /// in bits, in four bytes of the machine's order, and its data.
    LpmTrie = 11,
    /// An array of maps.
    ArrayOfMaps = 12,
    /// A hash table of maps.
    HashOfMaps = 13,
    /// Interfaces to redirect frames to.
    DevMap = 14,
    /// Sockets, by index.
    SockMap = 15,
    /// Sockets, by key.
    SockHash = 18,
    /// A value for each socket that has one, which goes with the socket. Its definition has no number
    /// of entries.
    SkStorage = 24,
    /// Interfaces to redirect frames to, by key.
    DevMapHash = 25,
    /// A ring of records for user space. `max_entries` is its size in bytes.
    RingBuf = 27,
}

impl MapType {
    /// Whether its values are maps.
    pub const fn holds_maps(self) -> bool {
        matches!(self, Self::ArrayOfMaps | Self::HashOfMaps)
    }

    /// Whether its keys are indices of four bytes.
    const fn is_indexed(self) -> bool {
        matches!(
            self,
            Self::Array
                | Self::ProgArray
                | Self::PercpuArray
                | Self::ArrayOfMaps
                | Self::DevMap
                | Self::SockMap
        )
    }
}

/// Flags of a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MapFlags(u32);

impl MapFlags {
    /// Entries of a hash table take memory when they are made. A trie has to have this.
    pub const NO_PREALLOC: Self = Self(1);
    /// Each processor keeps its own list of what was used.
    pub const NO_COMMON_LRU: Self = Self(1 << 1);
    /// Programs may not write to it.
    pub const RDONLY_PROG: Self = Self(1 << 7);
    /// Programs may not read from it.
    pub const WRONLY_PROG: Self = Self(1 << 8);
    /// User space can map it into memory.
    pub const MMAPABLE: Self = Self(1 << 10);
    /// A connection that a socket accepts gets a copy of the socket's value ([`MapType::SkStorage`]).
    pub const CLONE: Self = Self(1 << 9);
    /// As an inner map, an array may have another number of entries than the definition says.
    pub const INNER_MAP: Self = Self(1 << 12);

    /// The number that the kernel reads.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether it has all of `other`.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for MapFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Whether a loader keeps a map in the file system for BPF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pinning {
    /// No.
    #[default]
    None,
    /// Under its name, in the directory the loader was given; a map that is there already is
    /// used.
    ByName,
}

/// What a map is like, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shape {
    /// What it is.
    pub kind: MapType,
    /// The size of a key, in bytes.
    pub key_size: u32,
    /// The size of a value, in bytes.
    pub value_size: u32,
    /// How many entries it can hold.
    pub max_entries: u32,
    /// Its flags.
    pub flags: MapFlags,
}

impl Shape {
    /// A map without flags.
    pub fn new(kind: MapType, key_size: u32, value_size: u32, max_entries: u32) -> Self {
        Self {
            kind,
            key_size,
            value_size,
            max_entries,
            flags: MapFlags::default(),
        }
    }

    /// The same with flags.
    #[must_use]
    pub fn with_flags(self, flags: MapFlags) -> Self {
        Self { flags, ..self }
    }

    /// A value of so many bytes for each socket, of which those that are accepted inherit it.
    pub fn of_sockets(value_size: u32) -> Self {
        let flags = MapFlags::NO_PREALLOC | MapFlags::CLONE;
        Self::new(MapType::SkStorage, 4, value_size, 0).with_flags(flags)
    }

    /// A ring of records, of a size in bytes.
    pub fn ring(bytes: u32) -> Self {
        Self::new(MapType::RingBuf, 0, 0, bytes)
    }
}

/// The definition of a map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Map {
    /// Its name: an identifier of at most 15 characters, so that the kernel shows all of it.
    pub name: String,
    /// What it is like.
    pub shape: Shape,
    /// What the maps in it are like, where it holds maps.
    pub inner: Option<Shape>,
    /// Whether a loader keeps it.
    pub pinning: Pinning,
}

/// Why a definition is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The kernel shows 15 characters of a name.
    #[error("the name of map `{0}` is longer than 15 characters")]
    LongName(String),
    /// No map is for nothing, and only sockets say how many values of sockets there can be.
    #[error("map `{0}` should say how many entries it has exactly if it is not one of sockets")]
    Entries(String),
    /// The sizes of keys and values do not suit the type.
    #[error(
        "map `{name}`, of type {kind:?}, has keys of {key_size} and values of {value_size} bytes"
    )]
    Sizes {
        /// The map.
        name: String,
        /// Its type, or that of its inner map.
        kind: MapType,
        /// The size of its keys.
        key_size: u32,
        /// The size of its values.
        value_size: u32,
    },
    /// The size of a ring has to be a power of two, and a multiple of the size of a page.
    #[error("map `{name}` is a ring of {bytes} bytes: it takes a power of two, at least 4096")]
    RingSize {
        /// The map.
        name: String,
        /// Its size.
        bytes: u32,
    },
    /// Tries and values of sockets have to have [`MapFlags::NO_PREALLOC`].
    #[error(
        "map `{0}` has entries that are made when they are needed, and lacks the flag `NO_PREALLOC`"
    )]
    Preallocated(String),
    /// Maps that hold maps, and no others, say what those are like; they do not hold such again.
    #[error("map `{0}` should say what the maps in it are like exactly if it holds maps")]
    Inner(String),
}

impl Map {
    /// A map that is not pinned and holds no maps.
    pub fn new(name: impl Into<String>, shape: Shape) -> Self {
        Self {
            name: name.into(),
            shape,
            inner: None,
            pinning: Pinning::None,
        }
    }

    /// The same, holding maps like `inner`.
    #[must_use]
    pub fn of(self, inner: Shape) -> Self {
        Self {
            inner: Some(inner),
            ..self
        }
    }

    /// The same, kept by the loader under its name.
    #[must_use]
    pub fn pinned(self) -> Self {
        Self {
            pinning: Pinning::ByName,
            ..self
        }
    }

    /// Checks what the kernel would refuse.
    pub fn check(&self) -> Result<(), MapError> {
        if self.name.len() > 15 {
            return Err(MapError::LongName(self.name.clone()));
        }
        let nested = self.inner.is_some_and(|inner| inner.kind.holds_maps());
        if self.inner.is_some() != self.shape.kind.holds_maps() || nested {
            return Err(MapError::Inner(self.name.clone()));
        }
        self.check_shape(&self.shape)?;
        self.inner
            .as_ref()
            .map_or(Ok(()), |inner| self.check_shape(inner))
    }

    fn check_shape(&self, shape: &Shape) -> Result<(), MapError> {
        let Shape {
            kind,
            key_size,
            value_size,
            max_entries,
            flags,
        } = *shape;
        let name = self.name.clone();
        let fit = match kind {
            MapType::RingBuf => key_size == 0 && value_size == 0,
            // A key is the length and at least one byte.
            MapType::LpmTrie => key_size > 4 && value_size > 0,
            // A socket's number in a process is its key.
            MapType::SkStorage => key_size == 4 && value_size > 0,
            kind if kind.is_indexed() => key_size == 4 && value_size > 0,
            _ => key_size > 0 && value_size > 0,
        };
        if !fit || (kind.holds_maps() && value_size != 4) {
            return Err(MapError::Sizes {
                name,
                kind,
                key_size,
                value_size,
            });
        }
        let counted = kind != MapType::SkStorage;
        if counted == (max_entries == 0) {
            return Err(MapError::Entries(name));
        }
        if kind == MapType::RingBuf && !(max_entries.is_power_of_two() && max_entries >= 4096) {
            let bytes = max_entries;
            return Err(MapError::RingSize { name, bytes });
        }
        let lazy = matches!(kind, MapType::LpmTrie | MapType::SkStorage);
        if lazy && !flags.contains(MapFlags::NO_PREALLOC) {
            return Err(MapError::Preallocated(name));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(kind: MapType, key: u32, value: u32) -> Map {
        Map::new("m", Shape::new(kind, key, value, 4096))
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused() {
        let inner = Shape::new(MapType::Hash, 4, 4, 1);
        let outer = map(MapType::ArrayOfMaps, 4, 4);
        let trie = Shape::new(MapType::LpmTrie, 8, 4, 1);
        let cases = [
            (map(MapType::Array, 8, 4), "keys of 8"),
            (map(MapType::Hash, 0, 4), "keys of 0"),
            (map(MapType::RingBuf, 0, 4), "values of 4"),
            (Map::new("r", Shape::ring(5000)), "power of two"),
            (Map::new("t", trie), "NO_PREALLOC"),
            (outer.clone(), "exactly if"),
            (map(MapType::Hash, 4, 4).of(inner), "exactly if"),
            (outer.clone().of(outer.shape), "exactly if"),
            (
                outer.clone().of(Shape {
                    key_size: 0,
                    ..inner
                }),
                "type Hash, has keys of 0",
            ),
            (Map::new("abcdefghijklmnop", inner), "longer than 15"),
            (
                Map::new(
                    "m",
                    Shape {
                        max_entries: 0,
                        ..inner
                    },
                ),
                "how many entries",
            ),
            (
                Map::new(
                    "m",
                    Shape {
                        max_entries: 1,
                        ..Shape::of_sockets(8)
                    },
                ),
                "how many entries",
            ),
            (
                Map::new(
                    "m",
                    Shape {
                        flags: MapFlags::CLONE,
                        ..Shape::of_sockets(8)
                    },
                ),
                "NO_PREALLOC",
            ),
            (Map::new("m", Shape::of_sockets(0)), "values of 0"),
        ];
        for (map, expected) in cases {
            let error = map.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        outer.of(inner).check().unwrap();
        Map::new("r", Shape::ring(4096)).check().unwrap();
        Map::new("s", Shape::of_sockets(4)).check().unwrap();
        Map::new("t", trie.with_flags(MapFlags::NO_PREALLOC))
            .check()
            .unwrap();
    }
}
