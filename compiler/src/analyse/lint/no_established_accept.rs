//! POL210

use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::field::{DPORT, ICMP_CODE, ICMP_TYPE, SPORT, TCP_FLAGS};
use crate::ir::{Cube, Stage, Verdict};
use crate::packet::cover::{Budget, Cover, cover};
use crate::packet::{IntervalSet, Region};

lint! {
    /// A `stateless` section allows requests, and nothing allows the answers.
    ///
    /// In such a section no flow is looked up, and none is remembered: each packet is judged for
    /// itself. Answers need a rule of their own in the other direction. Without it, the service that
    /// the rule opens works for nobody. TCP and UDP are looked at, but for ports to which one only
    /// sends, such as syslog's.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// stateless from 192.0.2.0/24 to host {
    ///   allow udp/53
    ///   default deny
    /// }
    /// to host   { default deny }
    /// from host { default deny }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// stateless from 192.0.2.0/24 to host {
    ///   allow udp/53
    ///   default deny
    /// }
    /// stateless from host to 192.0.2.0/24 {
    ///   allow udp when udp.sport == 53
    ///   default deny
    /// }
    /// to host   { default deny }
    /// from host { default deny }
    /// ```
    pub(super) static LINT: "POL210" "no-established-accept" Error, Default, Exact;
    "A stateless section allows requests, and nothing allows the answers."
}

/// Ports to which one sends and expects no answer: `snmp-trap`, `syslog`,
/// `netflow`, `ipfix`, `sflow`, statsd.
const ONE_WAY: [u64; 6] = [162, 514, 2055, 4739, 6343, 8125];

const TCP: u64 = 6;
const UDP: u64 = 17;

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let stateless = |block: usize| cx.ir.blocks.get(block).is_some_and(|b| b.stateless);
    for rule in cx.ir.filter.iter().filter(|rule| stateless(rule.block)) {
        if rule.verdict != Some(Verdict::Allow) {
            continue;
        }
        let Some(unanswered) = rule.cubes.iter().find(|c| is_unanswered(cx, c)) else {
            continue;
        };
        let what = example(cx, unanswered);
        let title = "nothing allows the answers to what this allows";
        let help = "allow them in a `stateless` section of the other direction, or leave out \
                    `stateless`";
        let diagnostic = LINT.report(title, rule.span).help(help);
        out.push(match what {
            Some(what) => diagnostic.note(format!("no answer can be given to {what}")),
            None => diagnostic,
        });
    }
}

fn example(cx: &Context, cube: &Cube) -> Option<String> {
    let view = crate::analyse::model::View::of(Stage::Filter);
    let regions = cx.model().regions(std::slice::from_ref(cube), view);
    let mut possible = cx.model().universe(Stage::Filter).into_iter();
    let region = possible.find_map(|way| regions.iter().find_map(|r| r.intersection(&way)))?;
    Some(cx.in_words(&region))
}

/// Whether there is a TCP or UDP service among the packets, and no answer to it is allowed.
fn is_unanswered(cx: &Context, cube: &Cube) -> bool {
    let answered: IntervalSet<u64> = [(TCP, TCP), (UDP, UDP)].into_iter().collect();
    let proto = cube.proto.intersection(&answered);
    let one_way = ONE_WAY.map(|port| (port, port)).into_iter().collect();
    let ports = cube.field(DPORT);
    if proto.is_empty() || ports.is_some_and(|ports| ports.is_subset(&one_way)) {
        return false;
    }
    let answers = mirrored(cube).with_proto(&proto);
    let governs = cx.ir.governs;
    let (from, to) = (&answers.ingress, &answers.egress);
    let through = !from.ifaces.is_empty() && !to.ifaces.is_empty();
    let free = (from.host && !governs.output)
        || (to.host && !governs.input)
        || (through && !governs.forward);
    !free && !is_allowed(cx, &answers)
}

/// The packets that answer those of a cube.
fn mirrored(cube: &Cube) -> Cube {
    let mut fields = cube.fields.clone();
    for field in [TCP_FLAGS, ICMP_TYPE, ICMP_CODE, SPORT, DPORT] {
        fields.remove(&field);
    }
    let ports = [(SPORT, DPORT), (DPORT, SPORT)].into_iter();
    let swapped = ports.filter_map(|(from, to)| Some((to, cube.field(from)?.clone())));
    fields.extend(swapped);
    Cube {
        ingress: cube.egress.clone(),
        egress: cube.ingress.clone(),
        saddr: cube.daddr.clone(),
        daddr: cube.saddr.clone(),
        original: crate::packet::AddrSet::full(),
        fields,
        ..cube.clone()
    }
}

/// Whether filter allows some of the packets; `true` when it is not known.
fn is_allowed(cx: &Context, cube: &Cube) -> bool {
    let Some(lines) = cx.world().filter() else {
        return true;
    };
    let view = crate::analyse::model::View::of(Stage::Filter);
    let regions = cx.model().regions(std::slice::from_ref(cube), view);
    let possible = cx.model().universe(Stage::Filter);
    let wanted = regions
        .iter()
        .flat_map(|r| possible.iter().filter_map(|way| r.intersection(way)));
    let mut budget = Budget::new(5_000);
    for wanted in wanted {
        for (at, region) in lines.earlier(usize::MAX, &wanted) {
            let rule = lines.lines.get(at).and_then(|line| line.rule()?.of(cx.ir));
            let allows = rule.is_some_and(|r| r.verdict == Some(Verdict::Allow));
            let Some(part) = region.intersection(&wanted).filter(|_| allows) else {
                continue;
            };
            let earlier = lines.earlier(at, &part).into_iter();
            let earlier: Vec<&Region> = earlier.map(|(_, r)| r).collect();
            match cover(&part, &earlier, &mut budget) {
                Ok(Cover::Whole(_)) => {}
                Ok(Cover::Hole(_)) | Err(_) => return true,
            }
        }
    }
    false
}
