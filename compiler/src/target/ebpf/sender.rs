//! Who sends a packet: its user, its group, and its control group.
//!
//! What is known by a number is a field of the packet. A name is looked up by the loader, which puts
//! the number into an array, one place for each name; whether the packet's sender has it is looked up before
//! the rules that ask, and is to them a number of the packet like any other ([`Item::Sender`]).
//!
//! The number of a packet's group is with the socket that it comes from (`socket/create`).

use polc_bpf::asm::Assembler;
use polc_bpf::insn::Cond::{Eq, Ne};
use polc_bpf::insn::Helper;
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R6, R7, R10};
use polc_bpf::insn::Width::{DW, W};
use polc_bpf::map::{Map, MapType, Shape};
use polc_bundle::Unresolved;

use super::hook::Hook;
use super::list::Places;
use super::record::{Item, Record};
use super::socket::GROUPS;
use crate::field::{GID, UID};
use crate::ir::cube::PrincipalKind;
use crate::ir::{Atom, Cube};

/// The map with the numbers of senders that are known by name, each one more than it is: 0 is one that
/// nobody has looked up.
const PRINCIPALS: &str = "principals";

/// The number of the user whom nobody has.
const OVERFLOW_UID: i32 = 65534;

/// Where `struct __sk_buff` has the socket that a packet comes from.
pub(super) const SKB_SOCKET: i16 = 168;

/// The senders that rules ask for.
#[derive(Clone, Debug, Default)]
pub(super) struct Senders {
    /// Those that are known by name, in the order of their places.
    named: Vec<(PrincipalKind, String)>,
    /// Whether a rule asks for a group.
    groups: bool,
}

impl Senders {
    /// Notes those that cubes ask for. Returns all that there are by now.
    pub(super) fn note<'c>(&mut self, cubes: impl Iterator<Item = &'c Cube>) -> Self {
        for cube in cubes {
            self.groups |= cube.fields.contains_key(&GID);
            for atom in cube.atoms.keys() {
                if let Atom::Principal(kind, name) = atom
                    && self.place(*kind, name).is_none()
                {
                    self.groups |= *kind == PrincipalKind::Group;
                    self.named.push((*kind, name.clone()));
                }
            }
        }
        self.clone()
    }

    fn place(&self, kind: PrincipalKind, name: &str) -> Option<usize> {
        let mut named = self.named.iter();
        named.position(|(k, n)| *k == kind && n == name)
    }

    /// The item that the question for a sender is about.
    pub(super) fn item(&self, kind: PrincipalKind, name: &str) -> Option<Item> {
        let place = self.place(kind, name)?;
        Some(Item::Sender(u32::try_from(place).ok()?))
    }

    /// The lookup of an item, if it is one of a sender.
    pub(super) fn look(&self, item: Item) -> Option<Look> {
        let Item::Sender(place) = item else {
            return None;
        };
        let (kind, name) = self.named.get(usize::try_from(place).ok()?)?;
        Some(Look {
            item,
            place: i32::try_from(place).ok()?,
            asked: match kind {
                PrincipalKind::User | PrincipalKind::Uid => Asked::User,
                PrincipalKind::Group | PrincipalKind::Gid => Asked::Group,
                PrincipalKind::Cgroup => Asked::Cgroup(level(name)?),
            },
        })
    }

    /// Whether programs have to know the groups of packets.
    pub(super) fn groups(&self) -> bool {
        self.groups
    }

    /// The map of an object.
    pub(super) fn map(&self) -> Option<Map> {
        let entries = u32::try_from(self.named.len()).ok().filter(|n| *n > 0)?;
        let shape = Shape::new(MapType::Array, 4, 8, entries);
        Some(Map::new(PRINCIPALS, shape))
    }

    /// What a loader has to fill it with, by place.
    pub(super) fn unresolved(&self) -> Vec<Unresolved> {
        let entry = |(kind, name): &(PrincipalKind, String)| Unresolved {
            kind: match kind {
                PrincipalKind::User | PrincipalKind::Uid => "user",
                PrincipalKind::Group | PrincipalKind::Gid => "group",
                PrincipalKind::Cgroup => "cgroup",
            }
            .to_owned(),
            name: name.clone(),
        };
        self.named.iter().map(entry).collect()
    }
}

/// How deep a control group is below the root.
fn level(path: &str) -> Option<i32> {
    i32::try_from(path.trim_matches('/').split('/').count()).ok()
}

/// What a sender is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    User,
    Group,
    /// And how deep it is.
    Cgroup(i32),
}

/// A lookup of a packet's sender.
#[derive(Clone, Debug)]
pub(super) struct Look {
    item: Item,
    /// Its place in [`PRINCIPALS`].
    place: i32,
    asked: Asked,
}

impl Look {
    /// What it has to know.
    pub(super) fn items(&self) -> &'static [Item] {
        match self.asked {
            Asked::User => &[Item::Field(UID)],
            Asked::Group => &[Item::Field(GID)],
            Asked::Cgroup(_) => &[],
        }
    }

    /// Notes in the record whether the packet has this sender. What comes in has none. Changes `R0` to `R5`
    /// and `R7`.
    pub(super) fn write(&self, asm: &mut Assembler, places: &Places) {
        places.hook.zero(asm, R1);
        places.record.put(asm, self.item, R1);
        if places.hook != Hook::Egress {
            return;
        }
        let other = asm.label("other_sender");
        asm.store(W, R10, places.key, self.place);
        asm.load_map(R1, PRINCIPALS);
        asm.mov(R2, R10);
        asm.add(R2, i32::from(places.key));
        asm.call(Helper::MapLookupElem);
        asm.jump_if(Eq, R0, 0, places.closed);
        asm.load(DW, R7, R0, 0);
        asm.jump_if(Eq, R7, 0, places.closed);
        match self.asked {
            Asked::User => places.record.get(asm, R0, Item::Field(UID)),
            Asked::Group => places.record.get(asm, R0, Item::Field(GID)),
            Asked::Cgroup(level) => {
                asm.mov(R1, R6);
                asm.mov(R2, level);
                asm.call(Helper::SkbAncestorCgroupId);
            }
        }
        asm.add(R0, 1);
        asm.jump_if(Ne, R0, R7, other);
        asm.mov(R1, 1);
        places.record.put(asm, self.item, R1);
        asm.bind(other);
    }
}

/// Notes the user and the group of a packet that this host sends, if there is a place for them. Changes `R0`
/// to `R5` and `R7`.
pub(super) fn facts(asm: &mut Assembler, record: &Record) {
    if record.has(Item::Field(UID)) {
        let nobody = asm.label("nobody");
        asm.mov(R1, R6);
        asm.call(Helper::GetSocketUid);
        asm.jump32_if(Eq, R0, OVERFLOW_UID, nobody);
        record.put(asm, Item::Field(UID), R0);
        asm.bind(nobody);
    }
    if record.has(Item::Field(GID)) {
        let [nobody, known] = ["no_group", "socket"].map(|name| asm.label(name));
        asm.load(DW, R7, R6, SKB_SOCKET);
        asm.jump_if(Eq, R7, 0, nobody);
        asm.mov(R1, R7);
        asm.call(Helper::SkFullsock);
        asm.jump_if(Ne, R0, 0, known);
        // A connection that is being opened has no socket of its own yet.
        asm.mov(R1, R7);
        asm.call(Helper::GetListenerSock);
        asm.jump_if(Eq, R0, 0, nobody);
        asm.bind(known);
        asm.load_map(R1, GROUPS);
        asm.mov(R2, R0);
        asm.mov(R3, 0);
        asm.mov(R4, 0);
        asm.call(Helper::SkStorageGet);
        asm.jump_if(Eq, R0, 0, nobody);
        asm.load(W, R1, R0, 0);
        record.put(asm, Item::Field(GID), R1);
        asm.bind(nobody);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_one_place() {
        let asking = |kind, name: &str| {
            let mut cube = Cube::any();
            cube.atoms.insert(Atom::Principal(kind, name.into()), true);
            cube
        };
        let cubes = [
            asking(PrincipalKind::User, "alice"),
            asking(PrincipalKind::Cgroup, "/a/b/"),
            asking(PrincipalKind::User, "alice"),
        ];
        let mut senders = Senders::default();
        let first = senders.note(cubes.iter());
        assert!(!first.groups());
        let group = asking(PrincipalKind::Group, "alice");
        let all = senders.note([&group].into_iter());
        assert!(all.groups());
        assert_eq!(all.map().map(|map| map.shape.max_entries), Some(3));
        let asked = |kind, name| all.look(all.item(kind, name)?).map(|l| (l.place, l.asked));
        assert_eq!(asked(PrincipalKind::User, "alice"), Some((0, Asked::User)));
        let cgroup = asked(PrincipalKind::Cgroup, "/a/b/");
        assert_eq!(cgroup, Some((1, Asked::Cgroup(2))));
        assert_eq!(
            asked(PrincipalKind::Group, "alice"),
            Some((2, Asked::Group))
        );
        assert_eq!(asked(PrincipalKind::User, "bob"), None);
        let kinds: Vec<String> = all.unresolved().into_iter().map(|u| u.kind).collect();
        assert_eq!(kinds, ["user", "cgroup", "group"]);
    }

    #[test]
    fn a_group_by_number_is_a_group() {
        let cube = Cube::any().with_field(GID, &crate::packet::IntervalSet::one(7));
        let mut senders = Senders::default();
        assert!(senders.note([&cube].into_iter()).groups());
        assert!(senders.map().is_none());
    }
}
