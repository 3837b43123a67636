//! A policy as sets of packets.
//!
//! A [`Model`] turns the rules of each stage into [`Line`]s: lists of [`Region`](crate::packet::Region)s of one [`Space`],
//! whose points are packets as they enter the machine. What steer does to a packet is taken into
//! account by looking backwards: the regions of a filter rule, for flows that a `dnat` rule sends
//! to 10.1.0.80, are the packets that the filter rule means once their destination is 10.1.0.80.
//!
//! What a packet is asked besides its bytes is a dimension, too: whether a bucket has tokens for
//! it, whether a dynamic set has its key, which of several targets it gets. So a statement about
//! every point is one about every state of buckets and dynamic sets. `supply` says what that is
//! for a bucket that several rules ask.
//!
//! # What is not in the model
//!
//! * Packets of known flows, and ICMP errors that belong to them: they follow their flow.
//! * Proxies that do not listen: the model's proxies do.
//! * Marks and keys of dynamic sets that a rule of one stage leaves for one of a later stage, where
//!   a packet may meet both: [`Model::blind`] tells, and nothing is claimed of such a policy. Who
//!   follows a packet from stage to stage, as the comparison of two policies does, can carry them
//!   along as a `Memory`.
//! * Rates by destination that are asked before and behind `dnat`, and buckets that hold fewer tokens
//!   than rules ask them for: as above.
//! * `raw` text.

mod asked;
mod facts;
mod ifaces;
mod lines;
mod memory;
mod outline;
mod phase;
mod space;
mod supply;
mod universe;
mod view;
mod ways;
mod witness;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use asked::Asked;
pub use ifaces::Classes;
pub(crate) use ifaces::HOST;
pub use lines::{Line, Source};
pub(crate) use memory::{Asks, Memory};
pub(crate) use outline::{Extent, Outline};
pub(crate) use phase::{Ending, FactLine, Phase};
pub use space::{Dim, Space, V4, V6};
pub(crate) use space::{alike, same_set};
pub use view::{Moved, View};
pub use witness::Witness;

use crate::interpret::Ask;
use crate::ir::{BucketId, Ir};
use crate::policy::Policy;

/// A policy as sets of packets.
#[derive(Clone)]
pub struct Model<'a> {
    /// What packets can differ in.
    pub space: Arc<Space>,
    /// The typed policy.
    pub policy: &'a Policy,
    /// Its normal form.
    pub ir: &'a Ir,
    /// Which of the policies of the space it is, from 0.
    side: usize,
    /// Which of the places that ask a shared bucket one is, from 0.
    places: BTreeMap<Ask, u128>,
}

impl<'a> Model<'a> {
    /// The model of one policy.
    pub fn new(policy: &'a Policy, ir: &'a Ir) -> Self {
        let space = Arc::new(Space::of(policy, ir));
        let mut model = Self {
            space,
            policy,
            ir,
            side: 0,
            places: BTreeMap::new(),
        };
        model.number_places();
        model
    }

    /// The models of two policies, whose packets are the same.
    pub fn pair(a: (&'a Policy, &'a Ir), b: (&'a Policy, &'a Ir)) -> (Self, Self) {
        let asked = [a, b].map(|(policy, ir)| Asked::of(policy, ir));
        Self::pair_with_alike(a, b, &asked, &BTreeMap::new())
    }

    /// The models of two policies that have been compared, in the space of the comparison.
    pub fn pair_in(
        space: &Arc<Space>,
        a: (&'a Policy, &'a Ir),
        b: (&'a Policy, &'a Ir),
    ) -> (Self, Self) {
        let of = |side, (policy, ir)| Self {
            space: Arc::clone(space),
            policy,
            ir,
            side,
            places: BTreeMap::new(),
        };
        (of(0, a), of(1, b))
    }

    /// As [`Model::pair`], with what the two ask. `alike` says of buckets of the second policy which
    /// ones of the first they are.
    pub(crate) fn pair_with_alike(
        a: (&'a Policy, &'a Ir),
        b: (&'a Policy, &'a Ir),
        [from, to]: &[Asked; 2],
        alike: &BTreeMap<BucketId, BucketId>,
    ) -> (Self, Self) {
        let space = Arc::new(Space::with_alike(&[(a.1, from), (b.1, to)], alike));
        Self::pair_in(&space, a, b)
    }
}
