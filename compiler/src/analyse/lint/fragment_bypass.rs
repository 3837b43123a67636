//! POL218

use super::admitting::is_pass;
use super::{Context, lint};
use crate::analyse::model::{Dim, Space};
use crate::diagnostic::Diagnostic;
use crate::field::{DPORT, Header, IP_FRAGMENT, SPORT};
use crate::ir::{Rule, Stage, Verdict};
use crate::packet::{Region, Values};

lint! {
    /// A rule of guard denies by port, and lets the later fragments of what it denies go on.
    ///
    /// Guard sees packets before they are put together, and only the first fragment of one has ports. A
    /// flood of large datagrams, such as the answers that a reflection attack provokes, consists mostly
    /// of later fragments: they pass, use up the link, and fill the memory in which the kernel waits for
    /// their first fragments.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// guard on eth0 {
    ///   deny udp when udp.sport in { 19, 1900, 11211 }
    ///   default allow
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// guard on eth0 {
    ///   deny udp when udp.sport in { 19, 1900, 11211 }
    ///   deny udp when ip.fragment
    ///   default allow
    /// }
    /// ```
    pub(super) static LINT: "POL218" "fragment-bypass" Warning, Default, Exact;
    "Guard denies by port, and later fragments pass."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let guard = cx.ir.guard.iter().enumerate();
    for (at, rule) in guard.filter(|(_, rule)| denies_by_port(rule)) {
        let regions = cx.regions(Stage::Guard, &rule.cubes);
        let space = &cx.model().space;
        let later: Vec<Region> = regions.iter().filter_map(|r| later(space, r)).collect();
        // What an earlier rule hands on, it hands on whole.
        if let Ok(Some((id, opening))) = cx.first_of_guard(&later, at, is_pass)
            && let Some(passes) = id.of(cx.ir)
        {
            let title = "later fragments of what this denies pass";
            let help = format!(
                "deny them, too: `when ip.fragment`; for example, `{}` hands on a later fragment of \
                 {}",
                passes.name, opening.example
            );
            let diagnostic = LINT.report(title, rule.span).help(help);
            out.push(diagnostic.related(passes.span, "this rule hands them on"));
        }
    }
}

fn denies_by_port(rule: &Rule) -> bool {
    let mut cubes = rule.cubes.iter();
    let by_port = cubes.any(|c| c.field(SPORT).is_some() || c.field(DPORT).is_some());
    rule.verdict == Some(Verdict::Deny) && by_port
}

/// Later fragments of packets: they have nothing of the header behind IP.
fn later(space: &Space, region: &Region) -> Option<Region> {
    let mut out = region.clone();
    let family = space.family(region);
    for (at, dim) in space.dims.iter().enumerate() {
        let values = match dim {
            Dim::Header(Header::Transport | Header::Mss) => Values::one(0),
            Dim::Field(field) if *field == IP_FRAGMENT => {
                out = out.narrowed(at, &Values::one(1))?;
                continue;
            }
            Dim::Field(field) if field.def().header == Header::Transport => space.full(dim, family),
            _ => continue,
        };
        out = out.with(at, values);
    }
    Some(out)
}
