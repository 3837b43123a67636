//! Judging the packets of a capture.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use polc_compiler::field::{DPORT, SPORT};
use polc_compiler::inline::{Bench, deciding, outcome_text};
use polc_compiler::interpret::frame::{self, Parsed};
use polc_compiler::interpret::{Decision, Outcome as Verdict, Packet, Place, Why, explain};
use polc_compiler::ir::Ir;
use polc_compiler::source::SourceMap;
use serde::Serialize;
use serde_json::json;

use super::{Args, Format, print_json};
use crate::capture;
use crate::exit::{Error, Outcome, Result};
use crate::out;

/// What the packets of one rule and outcome come to.
#[derive(Default)]
struct Sum {
    packets: u64,
    bytes: u64,
}

/// What came of a capture.
#[derive(Default)]
struct Summary {
    /// By what decided, in order of the stages and rules, and the outcome.
    sums: BTreeMap<(usize, String, &'static str), Sum>,
    /// Frames that hold no packet, by reason.
    unread: BTreeMap<String, u64>,
    /// Why the rest of the file cannot be read.
    broken: Option<String>,
    /// Each packet, if they are to be shown.
    packets: Vec<Line>,
}

pub(super) fn run(
    args: &Args,
    path: &Path,
    bench: &Bench<'_>,
    ir: &Ir,
    sources: &SourceMap,
) -> Result {
    let wrong =
        |e: &dyn std::fmt::Display| Error::Usage(format!("cannot read `{}`: {e}", path.display()));
    let bytes = std::fs::read(path).map_err(|e| wrong(&e))?;
    let capture = capture::read(&bytes).map_err(|e| wrong(&e))?;
    let mut summary = Summary {
        broken: capture.broken,
        ..Summary::default()
    };
    let mut state = bench.fresh();
    let mut now = 0;
    let first = capture.frames.first().map_or(0, |f| f.time);
    for captured in &capture.frames {
        // Time does not run backwards, whatever the capture says.
        now = captured.time.max(now);
        let parsed = match captured.frame.map(|f| frame::parse(&f)) {
            Ok(Ok(parsed)) => parsed,
            Ok(Err(error)) => {
                summary.unread(error.to_string());
                continue;
            }
            Err(link) => {
                summary.unread(format!("its link type, {}, is not known", link.0));
                continue;
            }
        };
        let (packet, quoted) = packets(args, bench, parsed);
        let (packet, decision) = bench.next(packet, quoted.as_ref(), &mut state, now);
        let length = u64::try_from(captured.length).unwrap_or(u64::MAX);
        let by = summary.add(ir, sources, &decision, length);
        if args.verbose {
            let outcome = format!("`{}` {by}", outcome_text(ir, &packet, &decision));
            let time = now.saturating_sub(first);
            summary.packets.push(Line::of(&packet, outcome, time));
        }
    }
    let text = match args.format {
        Format::Human => summary.human(),
        Format::Json => print_json(&summary.json())?,
    };
    out::print(&text)?;
    Ok(Outcome::Clean)
}

/// The packet of a frame, and the one that it quotes when it is an ICMP error.
fn packets(args: &Args, bench: &Bench<'_>, parsed: Parsed) -> (Packet, Option<Packet>) {
    let iface = |name: &Option<String>| name.as_deref().map(|n| Place::Iface(n.into()));
    let captured_at = iface(&args.input).unwrap_or(Place::Host);
    let own = |addr: &IpAddr| args.host.contains(addr);
    let to_many =
        |addr: IpAddr| addr.is_multicast() || matches!(addr, IpAddr::V4(a) if a.is_broadcast());
    let sent = parsed.sent || own(&parsed.saddr);
    let received = args.host.is_empty() || own(&parsed.daddr) || to_many(parsed.daddr);
    let (ingress, egress) = match (sent, received) {
        (true, _) => (Place::Host, captured_at),
        (false, true) => (captured_at, Place::Host),
        (false, false) => {
            let known = bench.way_out(parsed.daddr).or_else(|| iface(&args.output));
            (captured_at, known.unwrap_or_else(|| bench.unnamed()))
        }
    };
    let packet = parsed.packet(ingress, egress);
    let quoted = parsed.inner.map(|inner| Packet {
        saddr: inner.saddr,
        daddr: inner.daddr,
        proto: inner.proto,
        fields: inner.fields,
        ..packet.clone()
    });
    (packet, quoted)
}

/// One packet.
#[derive(Serialize)]
struct Line {
    /// Milliseconds since the first packet.
    time: u64,
    source: String,
    dest: String,
    proto: u8,
    /// What became of it.
    outcome: String,
}

impl Line {
    fn of(packet: &Packet, outcome: String, time: u64) -> Self {
        let port = |field| packet.field(field).and_then(|p| u16::try_from(p).ok());
        let end = |addr: IpAddr, field| match port(field) {
            Some(port) => SocketAddr::new(addr, port).to_string(),
            None => addr.to_string(),
        };
        Self {
            time,
            source: end(packet.saddr, SPORT),
            dest: end(packet.daddr, DPORT),
            proto: packet.proto,
            outcome,
        }
    }

    fn human(&self) -> String {
        let (seconds, millis) = (self.time / 1000, self.time % 1000);
        let Self {
            source,
            dest,
            proto,
            outcome,
            ..
        } = self;
        format!("{seconds:4}.{millis:03}  {source} -> {dest}  proto/{proto}  {outcome}")
    }
}

/// The last fact of the language that a decision rests on, in parentheses.
fn fact(decision: &Decision, ir: &Ir, sources: &SourceMap) -> String {
    let explained = explain(decision, ir, sources);
    let mut facts = explained.steps.iter().rev().filter_map(|step| match step {
        Why::Fact { name, .. } => Some(format!("({name})")),
        _ => None,
    });
    facts.next().unwrap_or_default()
}

impl Summary {
    fn unread(&mut self, reason: String) {
        *self.unread.entry(reason).or_default() += 1;
    }

    /// Counts a packet; the result says by what it was decided.
    fn add(&mut self, ir: &Ir, sources: &SourceMap, decision: &Decision, length: u64) -> String {
        let outcome = match decision.outcome {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
            Verdict::Reject(_) => "reject",
        };
        // Rules in the order of the pipeline, what no rule decides before them.
        let by = deciding(decision);
        let place = by.map_or(0, |by| {
            let before = ir.rules().take_while(|(stage, _)| *stage < by.stage);
            1 + before.count() + by.index
        });
        let (name, said) = if let Some(rule) = by.and_then(|id| id.of(ir)) {
            (rule.name.to_string(), format!("by rule `{}`", rule.name))
        } else {
            let fact = fact(decision, ir, sources);
            (fact.clone(), fact)
        };
        let sum = self.sums.entry((place, name, outcome)).or_default();
        sum.packets += 1;
        sum.bytes += length;
        said
    }

    fn human(&self) -> String {
        let mut text = String::new();
        for line in &self.packets {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{}", line.human());
        }
        if !self.packets.is_empty() {
            text.push('\n');
        }
        let names = self.sums.keys().map(|(_, name, _)| name.chars().count());
        let wide = names.max().unwrap_or(0).max(4);
        let _ = writeln!(
            text,
            "{:wide$}  outcome  {:>9}  {:>11}",
            "rule", "packets", "bytes"
        );
        for ((_, name, outcome), sum) in &self.sums {
            let Sum { packets, bytes } = sum;
            let _ = writeln!(text, "{name:wide$}  {outcome:7}  {packets:>9}  {bytes:>11}");
        }
        let unread: u64 = self.unread.values().sum();
        if unread > 0 {
            let _ = writeln!(text, "\nframes that hold no packet to judge: {unread}");
            for (reason, number) in &self.unread {
                let _ = writeln!(text, "  {number} × {reason}");
            }
        }
        if let Some(broken) = &self.broken {
            let _ = writeln!(text, "\nthe rest of the capture was not read: {broken}");
        }
        text
    }

    fn json(&self) -> serde_json::Value {
        let rules = self.sums.iter().map(|((place, name, outcome), sum)| {
            let key = if *place == 0 { "fact" } else { "rule" };
            json!({
                key: name,
                "outcome": outcome,
                "packets": sum.packets,
                "bytes": sum.bytes,
            })
        });
        let unread = self.unread.iter();
        let unread = unread.map(|(reason, n)| json!({ "reason": reason, "frames": n }));
        json!({
            "rules": rules.collect::<Vec<_>>(),
            "unread": unread.collect::<Vec<_>>(),
            "broken": self.broken,
            "packets": self.packets,
        })
    }
}
