//! `polc trace`

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;

use polc_compiler::inline::{Bench, Judged};
use polc_compiler::interpret::{Answer, Decision, Step, explain, render};
use polc_compiler::ir::Ir;
use polc_compiler::source::SourceMap;

use crate::exit::{Error, Outcome, Result};
use crate::out;
use crate::session::{CompileArgs, Session, report};

mod flow;
mod replay;

/// Show what a policy does with a packet, rule by rule, or with every packet of a capture.
///
/// A flow is written as in a test: `tcp 198.51.100.7:4000 -> host:22 in eth0`. Where it leaves an
/// interface open and the policy treats interfaces differently, each way is shown.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The policy
    policy: PathBuf,

    /// A flow, as a test has it
    #[arg(required_unless_present = "pcap", conflicts_with = "pcap")]
    flow: Option<String>,

    /// Judge the packets of a capture (pcap or pcapng), one after the other
    #[arg(long, value_name = "FILE", requires = "input")]
    pcap: Option<PathBuf>,

    /// The interface at which the capture was made
    #[arg(long = "in", value_name = "IF", id = "input", requires = "pcap")]
    input: Option<String>,

    /// The interface by which forwarded packets leave, unless a zone's `net` says
    #[arg(long = "out", value_name = "IF", requires = "pcap")]
    output: Option<String>,

    /// An address of this machine; without any, every packet of a capture is for this machine
    #[arg(long, value_name = "ADDR", requires = "pcap")]
    host: Vec<IpAddr>,

    /// Show every rule that was asked, or every packet of a capture
    #[arg(short, long)]
    verbose: bool,

    /// How to print it, on standard output
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,

    #[command(flatten)]
    compile: CompileArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Human,
    /// One JSON object
    Json,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut session = Session::open(&args.policy, &args.compile)?;
    let Some(ir) = session.compilation.ir.take() else {
        session.report();
        return Ok(Outcome::DoesNotCompile);
    };
    let bench = Bench::new(&session.compilation.policy, &ir, &session.options);
    let sources = &session.compilation.sources;
    if let Some(path) = &args.pcap {
        return replay::run(args, path, &bench, &ir, sources);
    }
    let text = args.flow.as_deref().unwrap_or_default();
    let cases = flow::parse(text).and_then(|given| flow::cases(&bench, text, &given));
    let cases = match cases {
        Ok(cases) => cases,
        Err(diagnostics) => {
            report(&diagnostics, &flow::sources(text));
            return Err(Error::Usage("this is no flow".to_owned()));
        }
    };
    let judged: Vec<Judged> = cases.iter().flat_map(|c| bench.judge(c)).collect();
    let ways = different(judged);
    let text = match args.format {
        Format::Human => human(&ways, &ir, sources, args.verbose),
        Format::Json => json(&ways, &ir, sources)?,
    };
    out::print(&text)?;
    Ok(Outcome::Clean)
}

/// Ways that are judged alike.
struct Way {
    /// Where the packet can come in, leave, and be steered to, of what the flow leaves open.
    chosen: Vec<String>,
    judged: Judged,
}

/// One way of each kind: those in which the same rules come to the same.
fn different(judged: Vec<Judged>) -> Vec<Way> {
    let mut ways: Vec<Way> = Vec::new();
    for judged in judged {
        let chosen = place(&judged);
        let same = |w: &&mut Way| {
            w.judged.asked == judged.asked && alike(&w.judged.decision, &judged.decision)
        };
        match ways.iter_mut().find(same) {
            Some(way) => way.chosen.push(chosen),
            None => ways.push(Way {
                chosen: vec![chosen],
                judged,
            }),
        }
    }
    ways
}

/// Whether the same rules came to the same, whatever kept the others from holding.
fn alike(a: &Decision, b: &Decision) -> bool {
    let plain = |step: &Step| match step {
        Step::Rule {
            rule,
            answer: Answer::No(_),
        } => (Some(*rule), Step::Stage(rule.stage)),
        step => (None, step.clone()),
    };
    let steps = |d: &Decision| d.trace.steps.iter().map(plain).collect::<Vec<_>>();
    let same = a.outcome == b.outcome && a.steered == b.steered && a.sourced == b.sourced;
    same && a.by == b.by && a.mark == b.mark && steps(a) == steps(b)
}

/// The interfaces of a way that the flow leaves open.
fn place(judged: &Judged) -> String {
    let chosen = &judged.chosen;
    let parts = [
        ("in", &chosen.input),
        ("out", &chosen.output),
        ("steered out", &chosen.detour),
    ];
    let said = parts.iter().filter_map(|(word, name)| {
        let name = name.as_ref()?;
        Some(format!("{word} {name}"))
    });
    said.collect::<Vec<_>>().join(" ")
}

fn human(ways: &[Way], ir: &Ir, sources: &SourceMap, full: bool) -> String {
    let mut text = String::new();
    for way in ways {
        if ways.len() > 1 {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{}:", way.chosen.join(", or "));
        }
        if !way.judged.asked {
            text.push_str("the flow that it answers is not admitted: ");
        }
        text.push_str(&render(&way.judged.decision, ir, sources, full));
        if ways.len() > 1 {
            text.push('\n');
        }
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn json(ways: &[Way], ir: &Ir, sources: &SourceMap) -> std::result::Result<String, Error> {
    let ways = ways.iter().map(|way| {
        serde_json::json!({
            "chosen": way.chosen.iter().filter(|c| !c.is_empty()).collect::<Vec<_>>(),
            "asked": way.judged.asked,
            "decision": explain(&way.judged.decision, ir, sources),
        })
    });
    print_json(&serde_json::json!({ "ways": ways.collect::<Vec<_>>() }))
}

fn print_json(value: &serde_json::Value) -> std::result::Result<String, Error> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::environment(&e))?;
    Ok(format!("{text}\n"))
}
