//! What headers hold besides addresses and ports: what is usual, and what a policy asks about.

use std::collections::BTreeSet;

use fastrand::Rng;
use polc_compiler::field::{
    Field, ICMP_CODE, ICMP_TYPE, IP_DSCP, IP_LENGTH, IP_TTL, META_LENGTH, TCP_FLAGS, TCP_MSS,
};
use polc_compiler::ir::{Ir, Verdict};

use crate::net::ends;

/// The longest packet, and the shortest that has a number, in bytes.
pub(crate) const LONGEST: usize = 1500;
const SHORTEST: u64 = 28;

/// The most values of a field that the policy asks about.
const MOST: usize = 48;

/// Nothing that came with less is sent on.
const LEAST_TTL: u8 = 2;

/// The usual values of what every packet has.
const TTLS: [u8; 9] = [64, 64, 64, 255, 128, 5, 4, 3, 2];
const DSCPS: [u8; 7] = [0, 0, 0, 46, 10, 18, 40];
const ECNS: [u8; 6] = [0, 0, 0, 1, 2, 3];
const MSSES: [u16; 5] = [499, 500, 536, 1220, 1460];

/// The usual types of ICMP over IPv4 and IPv6, and codes.
const KINDS4: [u8; 8] = [8, 8, 8, 8, 0, 9, 10, 200];
const KINDS6: [u8; 9] = [128, 128, 128, 128, 129, 133, 135, 136, 200];
const CODES: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 1];

/// Types of IPv4 that stand for no packet of their own: errors, and the question for the time, which the kernel
/// answers. Over IPv6, errors are what is below a number.
const NOT_ALONE4: [u8; 6] = [3, 4, 5, 11, 12, 13];
const ALONE6: u8 = 128;

/// Values of header fields.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    ttl: Choice<u8>,
    dscp: Choice<u8>,
    ecn: Choice<u8>,
    mss: Choice<u16>,
    kinds4: Choice<u8>,
    kinds6: Choice<u8>,
    codes: Choice<u8>,
    flags: Choice<u8>,
    lengths: Choice<usize>,
    /// Whether packets for this host go nowhere else.
    stays: bool,
}

impl Values {
    /// Those that packets have which a policy judges.
    pub(crate) fn around(ir: &Ir, rng: &mut Rng) -> Self {
        let elsewhere = |verdict: &Option<Verdict>| {
            matches!(verdict, Some(Verdict::Dnat(_) | Verdict::Route { .. }))
        };
        let of = |field: Field| ends(ir, field.name(), (0, field.largest()));
        // Of what is sent on, filter and egress see one less.
        let ttl: BTreeSet<u64> = of(IP_TTL).into_iter().flat_map(|n| [n, n + 1]).collect();
        let kinds = of(ICMP_TYPE);
        let alone = |n: &u64| !NOT_ALONE4.iter().any(|not| *n == u64::from(*not));
        let kinds4 = kinds.iter().copied().filter(alone);
        let kinds6 = kinds.iter().copied().filter(|n| *n >= ALONE6.into());
        let length = |field: Field| ends(ir, field.name(), (SHORTEST, LONGEST as u64));
        let lengths = length(IP_LENGTH)
            .union(&length(META_LENGTH))
            .copied()
            .collect();
        Self {
            ttl: Choice::new(&TTLS, ttl, rng),
            dscp: Choice::new(&DSCPS, of(IP_DSCP), rng),
            ecn: Choice::new(&ECNS, ends(ir, "ip.ecn", (0, 3)), rng),
            mss: Choice::new(&MSSES, of(TCP_MSS), rng),
            kinds4: Choice::new(&KINDS4, kinds4.collect(), rng),
            kinds6: Choice::new(&KINDS6, kinds6.collect(), rng),
            codes: Choice::new(&CODES, of(ICMP_CODE), rng),
            flags: Choice::new(&[], of(TCP_FLAGS), rng),
            lengths: Choice::new(&[], lengths, rng),
            stays: !ir.steer.iter().any(|rule| elsewhere(&rule.verdict)),
        }
    }

    /// A time to live of a packet that is sent on, or is for this host or from it.
    pub(crate) fn ttl(&self, rng: &mut Rng, here: bool) -> u8 {
        let least = if here && self.stays { 1 } else { LEAST_TTL };
        let ttl = self.ttl.draw(rng);
        ttl.filter(|ttl| *ttl >= least).unwrap_or(64)
    }

    /// DSCP and ECN.
    pub(crate) fn service(&self, rng: &mut Rng) -> u8 {
        let (dscp, ecn) = (self.dscp.draw(rng), self.ecn.draw(rng));
        dscp.unwrap_or(0) << 2 | ecn.unwrap_or(0)
    }

    /// The largest segment that a TCP packet asks for.
    pub(crate) fn mss(&self, rng: &mut Rng) -> Option<u16> {
        let often = if self.mss.asked.is_empty() { 60 } else { 120 };
        let mss = self.mss.draw(rng);
        mss.filter(|_| rng.u8(..) < often)
    }

    /// Flags of TCP that the policy asks about.
    pub(crate) fn flags(&self, rng: &mut Rng) -> Option<u8> {
        rng.choice(&self.flags.asked).copied()
    }

    /// Type and code of a message of ICMP that is no error.
    pub(crate) fn message(&self, rng: &mut Rng, v6: bool) -> [u8; 2] {
        let kinds = if v6 { &self.kinds6 } else { &self.kinds4 };
        let question = if v6 { 128 } else { 8 };
        [
            kinds.draw(rng).unwrap_or(question),
            self.codes.draw(rng).unwrap_or(0),
        ]
    }

    /// The code of an error, if the policy asks about codes.
    pub(crate) fn code(&self, rng: &mut Rng) -> Option<u8> {
        rng.choice(&self.codes.asked).copied()
    }

    /// How long a packet is from its header of IP on, if the policy asks about that.
    pub(crate) fn length(&self, rng: &mut Rng) -> Option<usize> {
        self.lengths.draw(rng)
    }
}

/// Values of one field.
#[derive(Clone, Debug)]
struct Choice<T: 'static> {
    usual: &'static [T],
    asked: Vec<T>,
}

impl<T: Copy + TryFrom<u64>> Choice<T> {
    fn new(usual: &'static [T], asked: BTreeSet<u64>, rng: &mut Rng) -> Self {
        let asked = asked.into_iter().filter_map(|n| T::try_from(n).ok());
        let mut asked: Vec<T> = asked.collect();
        rng.shuffle(&mut asked);
        asked.truncate(MOST);
        Self { usual, asked }
    }

    /// One that the policy asks about, or a usual one.
    fn draw(&self, rng: &mut Rng) -> Option<T> {
        let asked = if rng.bool() {
            rng.choice(&self.asked)
        } else {
            None
        };
        asked.or_else(|| rng.choice(self.usual)).copied()
    }
}

#[cfg(test)]
mod tests {
    use polc_compiler::interpret::frame::{Frame, Link, parse};

    use super::*;
    use crate::net::Net;
    use crate::subject::Subject;
    use crate::table::Table;
    use crate::traffic::Maker;

    /// How many packets of some have a value of a field in this range.
    fn count(policy: &str, name: &str, (first, last): (u64, u64)) -> usize {
        let subject = Subject::new(policy).unwrap();
        let mut rng = Rng::with_seed(7);
        let net = Net::around(&subject.ir, &mut rng);
        let packets = Maker {
            net: &net,
            cutter: None,
        }
        .salvo(&mut rng, &Table::default(), 2_000);
        let values = packets.iter().filter_map(|attempt| {
            let bytes = attempt.shot.bytes();
            let parsed = parse(&Frame::whole(Link::Raw, &bytes)).unwrap();
            let mut fields = parsed.fields.into_iter();
            fields.find_map(|(field, value)| (field.name() == name).then_some(value))
        });
        values
            .filter(|value| (first..=last).contains(value))
            .count()
    }

    #[test]
    fn packets_have_what_a_policy_asks_about() {
        for (asked, name, range) in [
            ("allow when ip.dscp == cs6", "ip.dscp", (48, 48)),
            ("allow when ip.dscp == cs6", "ip.dscp", (49, 49)),
            ("allow when ip.ecn == ce", "ip.ecn", (3, 3)),
            ("allow when ip.ttl == 32", "ip.ttl", (32, 32)),
            // What is sent on has one less when filter is asked.
            ("allow when ip.ttl == 32", "ip.ttl", (33, 33)),
            ("allow when ip.ttl == 1", "ip.ttl", (1, 1)),
            ("allow tcp when tcp.mss == 900", "tcp.mss", (900, 900)),
            (
                "allow tcp when tcp.flags == ece+cwr",
                "tcp.flags",
                (0xc0, 0xc0),
            ),
            ("allow when ip.length > 600", "ip.length", (601, 1500)),
            ("allow when ip.length > 600", "ip.length", (600, 600)),
            ("allow when meta.length < 1000", "ip.length", (1000, 1000)),
            ("allow icmp/timestamp-reply", "icmp.type", (14, 14)),
            ("allow when icmp.code == 9", "icmp.code", (9, 9)),
        ] {
            let policy = format!("policy values\nfrom any {{\n  {asked}\n}}\ndefault deny\n");
            assert!(count(&policy, name, range) > 5, "{asked}: {name} {range:?}");
        }
    }

    #[test]
    fn nothing_is_too_short_or_too_long_to_be_sent_on() {
        let policy = "policy values\nfrom any {\n  allow when ip.ttl < 2 or ip.length > 1400\n}\ndefault deny\n";
        let subject = Subject::new(policy).unwrap();
        let mut rng = Rng::with_seed(3);
        let net = Net::around(&subject.ir, &mut rng);
        for attempt in (Maker {
            net: &net,
            cutter: None,
        })
        .salvo(&mut rng, &Table::default(), 2_000)
        {
            let shot = &attempt.shot;
            assert!(shot.bytes().len() <= 1500, "{shot:?}");
            let forwarded = !net.is_own(shot.source.addr) && !net.is_own(shot.dest.addr);
            assert!(!forwarded || shot.ttl > 1, "{shot:?}");
        }
    }
}
