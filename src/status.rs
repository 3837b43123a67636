//! `polc status`

use polc_runtime_loader::{ProgramStatus, Status, status};

use crate::apply::PlaceArgs;
use crate::exit::{Error, Outcome, Result};
use crate::out;

/// Show what is in force: generation, rules with their counters, programs, routing.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Exit with 1 if the kernel does not have what was applied last
    #[arg(long)]
    exit_code: bool,

    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,

    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Human,
    Json,
}

pub(crate) fn run(args: &Args) -> Result {
    let status = status(args.place.netns.as_deref(), args.place.state_dir.as_deref())
        .map_err(|e| Error::environment(&e).help(e.help()))?;
    match args.format {
        Format::Human => out::print(&describe(&status))?,
        Format::Json => {
            let text = serde_json::to_string_pretty(&status).map_err(|e| Error::environment(&e))?;
            out::print(&format!("{text}\n"))?;
        }
    }
    let differs = args.exit_code && !status.in_step;
    Ok(if differs {
        Outcome::Findings
    } else {
        Outcome::Clean
    })
}

fn describe(status: &Status) -> String {
    if !status.table && status.programs.is_empty() && status.committed.is_none() {
        return "no policy is in force\n".to_owned();
    }
    let or = |text: &Option<String>, other: &str| text.clone().unwrap_or_else(|| other.to_owned());
    let mut lines = vec![
        format!("policy      {}", or(&status.policy, "unknown")),
        format!("generation  {}", or(&status.generation, "none")),
    ];
    if status.generation != status.committed {
        lines.push(format!("applied     {}", or(&status.committed, "none")));
    }
    if let Some(variant) = status.iptables {
        lines.push(format!("tool        iptables-{}", variant.name()));
    }
    let in_step = if status.in_step {
        "yes"
    } else {
        "NO: the kernel differs"
    };
    lines.push(format!("in step     {in_step}"));
    if !status.rules.is_empty() {
        lines.push(String::new());
        describe_rules(status, &mut lines);
    }
    if !status.programs.is_empty() {
        lines.extend([String::new(), "programs".to_owned()]);
    }
    lines.extend(status.programs.iter().map(describe_program));
    if !status.routing.is_empty() || !status.routing_left_over.is_empty() {
        lines.extend([String::new(), "routing".to_owned()]);
    }
    for entry in &status.routing {
        let missing = if entry.present { "" } else { "MISSING " };
        lines.push(format!("  {missing}{}", entry.what));
    }
    for entry in &status.routing_left_over {
        lines.push(format!("  LEFT OVER {entry}"));
    }
    lines.join("\n") + "\n"
}

fn describe_program(program: &ProgramStatus) -> String {
    let name = program.name.as_deref().unwrap_or("unknown");
    let (interface, hook) = (&program.interface, &program.hook);
    match (&program.mode, program.id, &program.tag) {
        (Some(mode), Some(id), tag) => {
            let tag = tag.as_deref().unwrap_or("unknown");
            format!("  {interface:16}{hook:12}{name:12}{mode:10}id {id}  tag {tag}")
        }
        _ => format!("  MISSING {interface:16}{hook:12}{name}"),
    }
}

fn describe_rules(status: &Status, lines: &mut Vec<String>) {
    let names = status.rules.iter().map(|r| r.name.chars().count());
    let width = names.max().unwrap_or(0).max(4);
    let row = |rule: &str, stage: &str, verdict: &str, packets: &str, bytes: &str, source: &str| {
        format!("{rule:width$}  {stage:8}{verdict:12}{packets:>12}{bytes:>16}  {source}")
    };
    lines.push(row(
        "rule", "stage", "verdict", "packets", "bytes", "source",
    ));
    for rule in &status.rules {
        let (packets, bytes) = match &rule.counter {
            Some(counter) => (counter.packets.to_string(), counter.bytes.to_string()),
            None => ("-".to_owned(), "-".to_owned()),
        };
        let (stage, verdict) = (&rule.stage, &rule.verdict);
        lines.push(row(
            &rule.name,
            stage,
            verdict,
            &packets,
            &bytes,
            &rule.source,
        ));
    }
}
