//! How maps are described to loaders.
//!
//! A map is a variable in the section `.maps`. Its type is a structure with a member for each
//! property; a number `n` is the type of a pointer to an array of `n` elements, so that the
//! section itself can be empty bytes:
//!
//! ```c
//! struct {
//!     int (*type)[BPF_MAP_TYPE_HASH];
//!     int (*key_size)[4];
//!     int (*value_size)[8];
//!     int (*max_entries)[1024];
//! } flows SEC(".maps");
//! ```
//!
//! The kernel wants to know the types of what is kept at sockets: such a map has members `key` and `value`,
//! pointers to the types, instead of their sizes.
//!
//! A map that holds maps has a last member `values`, an array of pointers to such a structure.

use super::{Btf, Member, TypeId};
use crate::map::{Map, MapType, Pinning, Shape};

/// The size of a pointer, in bytes.
const POINTER: usize = 8;

/// The type that describes a map, and its size in bytes.
pub(crate) fn describe(btf: &mut Btf, map: &Map) -> (TypeId, usize) {
    let mut members = properties(btf, &map.shape);
    if map.pinning == Pinning::ByName {
        const BY_NAME: u32 = 1;
        number(btf, &mut members, "pinning", BY_NAME);
    }
    let bytes = extent(&members);
    if let Some(inner) = &map.inner {
        let properties = properties(btf, inner);
        let inner = btf.structure("", extent(&properties), &properties);
        let pointer = btf.pointer(inner);
        members.push(Member {
            name: "values",
            kind: btf.array(pointer, 0),
            offset: bytes,
        });
    }
    (btf.structure("", bytes, &members), bytes)
}

/// What a map is like. Sizes of nothing are left out.
fn properties(btf: &mut Btf, shape: &Shape) -> Vec<Member> {
    let mut members = Vec::new();
    number(btf, &mut members, "type", shape.kind as u32);
    let typed = shape.kind == MapType::SkStorage;
    if typed {
        let value = btf.bytes(shape.value_size);
        for (name, kind) in [("key", btf.int()), ("value", value)] {
            let kind = btf.pointer(kind);
            let offset = extent(&members);
            members.push(Member { name, kind, offset });
        }
    }
    let size = |bytes| if typed { 0 } else { bytes };
    for (name, value) in [
        ("key_size", size(shape.key_size)),
        ("value_size", size(shape.value_size)),
        ("max_entries", shape.max_entries),
        ("map_flags", shape.flags.bits()),
    ] {
        if value != 0 {
            number(btf, &mut members, name, value);
        }
    }
    members
}

/// Adds a member that is a number.
fn number(btf: &mut Btf, members: &mut Vec<Member>, name: &'static str, value: u32) {
    let array = btf.array(btf.int(), value);
    members.push(Member {
        name,
        kind: btf.pointer(array),
        offset: extent(members),
    });
}

/// The size of a structure of pointers, in bytes.
fn extent(members: &[Member]) -> usize {
    members.len() * POINTER
}
