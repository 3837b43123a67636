//! What is looked up before rules ask for it: whether the packet's keys are in sets, and who sends it.

use polc_bpf::asm::Assembler;

use super::list::Places;
use super::record::Item;
use super::sender::{self, Senders};
use super::sets::Known;
use super::state::State;
use super::table::{Table, key_items};
use super::{dynamic, sets};

/// A lookup, whose outcome is noted in the record.
pub(super) enum Look {
    /// In what packets have added to a dynamic set.
    Member(dynamic::Look),
    /// In a large set.
    Inside(sets::Look),
    /// Of who sends the packet.
    Sender(sender::Look),
}

impl Look {
    /// The lookup of an item; `None` for what is not looked up, and in a set that can have nothing.
    pub(super) fn new(
        item: Item,
        state: &mut State,
        (sets, senders): (&Known, &Senders),
        v6: bool,
    ) -> Option<Self> {
        match item {
            Item::Member { set, dest } => {
                dynamic::Look::new(state, set, dest, v6).map(Self::Member)
            }
            Item::Sender(_) => senders.look(item).map(Self::Sender),
            _ => sets.look(item).map(Self::Inside),
        }
    }

    /// Whether an item is one that is looked up.
    pub(super) fn is_for(item: Item) -> bool {
        matches!(
            item,
            Item::Member { .. } | Item::Inside { .. } | Item::Sender(_)
        )
    }

    /// The table of keys that it reads, if it does.
    pub(super) fn table(&self) -> Option<&Table> {
        match self {
            Self::Member(look) => Some(look.table()),
            Self::Inside(_) | Self::Sender(_) => None,
        }
    }

    /// What it has to know.
    pub(super) fn items(&self) -> &'static [Item] {
        match self {
            Self::Member(look) => key_items(look.table().key.kind),
            Self::Inside(look) => std::slice::from_ref(look.address()),
            Self::Sender(look) => look.items(),
        }
    }

    /// How many slots it needs.
    pub(super) fn slots(&self) -> u8 {
        match self {
            Self::Member(_) | Self::Sender(_) => 0,
            Self::Inside(look) => look.slots(),
        }
    }

    /// Looks, and notes the outcome. Changes all registers but `R6`.
    pub(super) fn write(&self, asm: &mut Assembler, places: &Places, v6: bool) {
        match self {
            Self::Member(look) => look.write(asm, places),
            Self::Inside(look) => look.write(asm, places, v6),
            Self::Sender(look) => look.write(asm, places),
        }
    }
}
