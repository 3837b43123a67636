//! The lookups that answer a problem, and the bytes that they read.
//!
//! A [`Plan`] is a list of [`Step`]s without jumps backwards, and one blob with all tables. A
//! program that runs it needs a few registers, called slots, and the blob as the value of one map.
//!
//! For example, a port that is 22, and a protocol that is 6, of two rows `22 × any → 7` and
//! `any × 6 → 8`, each have two classes. The plan is
//!
//! ```text
//! s0 = T0[port]           64 K entries of a byte: 1 at 22
//! s1 = T1[protocol]       256 entries of a byte: 1 at 6
//! s2 = T2[s0 * 2 + s1]    4 entries of a byte: default, 8, 7, 7
//! answer s2
//! ```
//!
//! **Bounds.** The number of entries of a table is a power of two and every index is masked with
//! that number less one, so that a verifier sees that no read leaves the blob, whatever the slots
//! hold. Real entries can be fewer: the rest of a table, which no lookup reaches, may hold other
//! tables. All entries are little-endian; tables begin at multiples of 64 bytes.
//!
//! **Flags.** Tables of address lookups hold either a result or a reference to a place in the next
//! table. A reference has the highest bit of the entry's width set; results never have.

use super::strategy::Note;

/// How wide the entries of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Width {
    /// One byte.
    U8,
    /// Two bytes.
    U16,
    /// Four bytes.
    U32,
    /// Eight bytes.
    U64,
}

impl Width {
    /// How many bytes an entry has.
    pub fn bytes(self) -> u32 {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::U32 => 4,
            Self::U64 => 8,
        }
    }

    /// The highest bit of an entry.
    pub fn flag(self) -> u64 {
        1 << (self.bytes() * 8 - 1)
    }

    /// The narrowest that holds a number.
    pub fn holding(largest: u64) -> Self {
        match largest {
            0..=0xff => Self::U8,
            0x100..=0xffff => Self::U16,
            0x1_0000..=0xffff_ffff => Self::U32,
            _ => Self::U64,
        }
    }
}

/// The number of a table in its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u16);

/// Where a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// At which byte of the blob it begins.
    pub offset: u32,
    /// How wide its entries are.
    pub width: Width,
    /// What an index is masked with: a power of two less one.
    pub mask: u32,
}

/// A register of a plan: 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u8);

/// Some bits of a field: at most 64 of them, `field >> shift & (2^bits - 1)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The number of the field.
    pub field: u16,
    /// How many lower bits are left out.
    pub shift: u8,
    /// How many bits there are.
    pub bits: u8,
}

/// What an index is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// Bits of a field.
    Part(Part),
    /// A slot.
    Slot(Slot),
    /// The upper 32 bits of a slot.
    High(Slot),
    /// The lower 32 bits of a slot.
    Low(Slot),
}

/// An operand times a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// The operand.
    pub of: Operand,
    /// What it is multiplied with.
    pub times: u32,
}

impl Term {
    /// Bits of a field.
    pub fn part(part: Part) -> Self {
        Self::of(Operand::Part(part))
    }

    /// An operand as it is.
    pub fn of(of: Operand) -> Self {
        Self { of, times: 1 }
    }

    /// A slot times a constant.
    pub fn slot(slot: Slot, times: u32) -> Self {
        Self {
            of: Operand::Slot(slot),
            times,
        }
    }
}

/// What a field is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// The number of the field.
    pub field: u16,
    /// The ranges, both ends included, one of which has to contain it.
    pub ranges: Vec<(u128, u128)>,
}

/// One lookup. Sums and products are of 64 bits and wrap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `to = value`.
    Set {
        /// What is written.
        to: Slot,
        /// The constant.
        value: u32,
    },
    /// `to = table[Σ terms & mask]`.
    Load {
        /// What is written.
        to: Slot,
        /// What is read.
        table: TableId,
        /// The index: a sum.
        index: Vec<Term>,
    },
    /// If `slot` has the flag: `slot = table[(slot << part.bits | part) & mask]`.
    ///
    /// Without the flag nothing happens here nor in the following steps on the same slot, up to the
    /// next one that writes it without asking: a program may jump there.
    Descend {
        /// What is asked and written.
        slot: Slot,
        /// The bit asked for.
        flag: u64,
        /// Blocks of `2^part.bits` entries.
        table: TableId,
        /// The position in the block.
        part: Part,
    },
    /// If `slot` has the flag: a bit of a block. With `i = slot << part.bits | part`, it is bit
    /// `i & 63` of `table[i >> 6 & mask]`, an entry of 64 bits, and `slot` becomes `values[bit]`.
    Bit {
        /// What is asked and written.
        slot: Slot,
        /// The bit of the slot that is asked for.
        flag: u64,
        /// Blocks of `2^part.bits` bits.
        table: TableId,
        /// The position in the block: 6 bits or more.
        part: Part,
        /// The smaller value, and the larger one.
        values: [u32; 2],
    },
    /// Looks a number up in a tree of sorted keys: how many of them are smaller than it.
    ///
    /// The last level has nodes of [`LEAF`] keys, all others have nodes of [`NODE`], and that at the
    /// top can be smaller. The first key of a node is not compared. Of keys of 64 bits, all levels but
    /// the last have the upper 63, and these are compared; no two keys are equal, and so the next one
    /// at most is smaller as well. The value is `values[at]`, or, when there is no such table, `at & 1`.
    ///
    /// ```text
    /// at = 0
    /// for each level:  at = at * N + how many of level[at * N + 1], ... level[at * N + N - 1]
    ///                                are smaller than part
    /// at += 1 if last level[at + 1] is smaller than part
    /// ```
    ///
    /// The room of each level is that of the level above times its `N`: no position is beyond it.
    Tree {
        /// What is written.
        to: Slot,
        /// The keys of each level, the top first.
        levels: Vec<TableId>,
        /// The results, at the positions of the last level.
        values: Option<TableId>,
        /// What is looked for.
        part: Part,
    },
    /// If `slot` has the flag: a binary search in a chunk of sorted keys.
    ///
    /// The chunk begins at `base = slot & !flag`. With `n = keys[base] >> low`, its keys are
    /// `keys[base + 1] >> low` to `keys[base + n] >> low`, and `i` is the number of those that are
    /// not larger than `part`. Then `slot = values[base + i]`, or, when there is no such table, the
    /// lowest `low` bits of `keys[base + i]`.
    ///
    /// ```text
    /// at = 0; len = n + 1
    /// `rounds` times:  if len > 1 { half = len >> 1
    ///                               if keys[base + at + half] >> low <= part { at += half }
    ///                               len -= half }
    /// ```
    Search {
        /// What is asked and written.
        slot: Slot,
        /// The bit asked for.
        flag: u64,
        /// Chunks: the number of keys, then the keys.
        keys: TableId,
        /// How many lower bits of a key are not part of it.
        low: u8,
        /// The results, at the positions of their keys.
        values: Option<TableId>,
        /// What is looked for.
        part: Part,
        /// Enough for the largest chunk.
        rounds: u8,
    },
    /// Looks a key up in the one bucket where it can be: see [`hash`] for which that is.
    ///
    /// Bucket `b` has the entries `b * ways` to `b * ways + ways - 1`; word `j` of entry `e` is
    /// `keys[e * words.len() + j]`. When all words of an entry are equal to the key's, the result
    /// is `values[e]`, or `hit` without such a table; when no entry is, the result is `miss`.
    Bucket {
        /// What is written.
        to: Slot,
        /// The words of the key.
        words: Vec<Part>,
        /// The keys.
        keys: TableId,
        /// The results.
        values: Option<TableId>,
        /// How many entries a bucket has.
        ways: u8,
        /// The number of buckets less one: a power of two less one.
        buckets: u32,
        /// What the hash begins with.
        seed: u64,
        /// The result for keys that are there, when it is the same for all.
        hit: u32,
        /// The result for keys that are not there.
        miss: u32,
    },
    /// The position of the first bit that is set in all vectors; `none` when there is none.
    ///
    /// The vector of a source begins at `table[slot * stride]`. It has `summary` words of which
    /// bit `b` says whether its data word `b` has any bit, and then the data words, of which bit
    /// `i` of word `w` has the position `64 * w + i`. A data word is only read when the summaries
    /// of all sources have its bit: there are at most `64 * summary` such words.
    FirstCommon {
        /// What is written.
        to: Slot,
        /// Which vectors: the slot counts vectors of the table.
        sources: Vec<(Slot, TableId)>,
        /// How many words a vector has, with its summary.
        stride: u32,
        /// How many of these are the summary.
        summary: u32,
        /// The result without a common bit.
        none: u32,
    },
    /// `to =` the smallest of the slots.
    Least {
        /// What is written.
        to: Slot,
        /// What is compared: none of them has more than 31 bits.
        of: Vec<Slot>,
    },
    /// Ends with `answer` if all tests hold.
    Match {
        /// The tests.
        tests: Vec<Test>,
        /// The answer.
        answer: u32,
    },
    /// Ends with what is in the slot.
    Answer {
        /// Which slot.
        slot: Slot,
    },
}

/// How many keys a node of a tree has: one line of the cache, if they have 64 bits.
pub const NODE: usize = 8;

/// How many keys a node of a tree's last level has: one line of the cache or two.
pub const LEAF: usize = 16;

/// What the hash of a key multiplies with.
pub const HASH_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// How many lower bits of a product the hash of a key leaves out.
pub const HASH_SHIFT: i32 = 24;

/// The hash of a key's words; the bucket is `hash & buckets`.
pub fn hash(seed: u64, words: impl IntoIterator<Item = u64>) -> u64 {
    words.into_iter().fold(seed, |hash, word| {
        let mixed = (hash ^ word).wrapping_mul(HASH_FACTOR);
        (mixed ^ mixed >> 32).wrapping_mul(HASH_FACTOR) >> HASH_SHIFT
    })
}

/// Lookups and tables that answer a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The strategy that made it.
    pub strategy: &'static str,
    /// What is done, in order. The last one ends.
    pub steps: Vec<Step>,
    /// Where the tables are.
    pub tables: Vec<Table>,
    /// All tables.
    pub blob: Vec<u8>,
    /// How many slots the steps use.
    pub slots: u8,
    /// Why better strategies were not taken.
    pub notes: Vec<Note>,
}

impl Plan {
    /// A table.
    pub fn table(&self, id: TableId) -> Option<&Table> {
        self.tables.get(usize::from(id.0))
    }
}
