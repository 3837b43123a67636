//! POL403

use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::ir::{Bucket, Rate, TimeUnit};

lint! {
    /// A rate limits nothing: no machine sees ten million packets or flows, or a hundred milliards
    /// of octets, in a second, or the burst is a thousand times the rate and more.
    ///
    /// A bucket starts full. Who is allowed 10 flows a second and a burst of 100,000 opens 100,000 at
    /// once, and waits nearly three hours for the next as many. Mostly a unit is wrong: `M` for `k`,
    /// octets for packets, `/s` for `/min`.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow https within 10/s burst 100k per source
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow https within 10/s burst 100 per source
    ///   default deny
    /// }
    /// ```
    pub(super) static LINT: "POL403" "limit-huge" Error, Default, Syntactic;
    "A rate is so large that it limits nothing."
}

/// The most packets or flows that a rate can mean, a second.
const MOST_PACKETS: u64 = 10_000_000;

/// The most octets that a rate can mean, a second.
const MOST_BYTES: u64 = 100_000_000_000;

/// How many times its rate a burst can be.
const LONGEST: u64 = 1000;

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    for bucket in &cx.ir.buckets {
        if let Some((title, help)) = problem(bucket) {
            out.push(LINT.report(title, bucket.span).help(help));
        }
    }
}

fn problem(bucket: &Bucket) -> Option<(String, String)> {
    let (count, burst, most, seconds) = match bucket.rate {
        Rate::Packets { count, per, burst } => (count, burst, MOST_PACKETS, seconds(per)),
        Rate::Bytes { count, burst } => (count, burst, MOST_BYTES, 1),
        Rate::Flows { .. } => return None,
    };
    if count / seconds > most {
        let help = format!("nothing comes faster than {most} a second: is the unit right?");
        return Some(("this rate is never reached".to_owned(), help));
    }
    (burst / LONGEST > count).then(|| {
        let title =
            format!("the burst of {burst} is more than {LONGEST} times the rate of {count}");
        let help = format!(
            "so many pass at once; `burst {}` is ten times the rate",
            10 * count
        );
        (title, help)
    })
}

fn seconds(per: TimeUnit) -> u64 {
    match per {
        TimeUnit::Second => 1,
        TimeUnit::Minute => 60,
        TimeUnit::Hour => 3600,
        TimeUnit::Day => 86_400,
    }
}
