//! Conditions about a packet's way in nftables' words.

use super::fields::{FIB_OIFNAME, IIF, IIFNAME, Key, OIFNAME};
use super::tree::{Match, Values};
use crate::packet::IntervalSet;
use crate::target::netfilter::sides::{End, Receiver, SideTest};

/// The expression for the name of an interface.
pub(crate) fn end_key(end: End) -> Key {
    match end {
        End::In => IIFNAME,
        End::Out => OIFNAME,
        End::Routed => FIB_OIFNAME,
    }
}

/// The condition about a packet's way.
pub(crate) fn condition(test: &SideTest) -> Match {
    match test {
        SideTest::Names { end, negate, names } => Match::Test {
            key: end_key(*end),
            negate: *negate,
            values: Values::Names(names.clone()),
        },
        SideTest::Prefix {
            end,
            negate,
            prefix,
        } => Match::Test {
            key: end_key(*end),
            negate: *negate,
            values: Values::Prefix(prefix.clone()),
        },
        SideTest::Sent(here) => Match::Test {
            key: IIF,
            negate: !here,
            values: Values::Numbers(IntervalSet::one(0)),
        },
    }
}

/// The condition about who gets a packet.
pub(crate) fn receiver(receiver: Receiver) -> Match {
    let types = match receiver {
        Receiver::Host => "local",
        Receiver::NotHost => "!= local",
        Receiver::Delivered => "{ local, broadcast, multicast, anycast }",
        Receiver::Forwarded => "!= { local, broadcast, anycast }",
        Receiver::UnicastAway => "!= { local, broadcast, multicast, anycast }",
    };
    Match::Text(format!("fib daddr type {types}"))
}
