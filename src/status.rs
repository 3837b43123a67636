//! `polc status`

use polc_runtime_loader::{Status, status};

use crate::apply::PlaceArgs;
use crate::exit::{Error, Outcome, Result};

/// Show what is in force: generation, rules with their counters, routing.
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
        Format::Human => print(&status),
        Format::Json => {
            let text = serde_json::to_string_pretty(&status).map_err(|e| Error::environment(&e))?;
            println!("{text}");
        }
    }
    let differs = args.exit_code && !status.in_step;
    Ok(if differs {
        Outcome::Findings
    } else {
        Outcome::Clean
    })
}

fn print(status: &Status) {
    if !status.table && status.committed.is_none() {
        println!("no policy is in force");
        return;
    }
    println!(
        "policy      {}",
        status.policy.as_deref().unwrap_or("unknown")
    );
    println!(
        "generation  {}",
        status.generation.as_deref().unwrap_or("none")
    );
    if status.generation != status.committed {
        println!(
            "applied     {}",
            status.committed.as_deref().unwrap_or("none")
        );
    }
    println!(
        "in step     {}",
        if status.in_step {
            "yes"
        } else {
            "NO: the kernel differs"
        }
    );
    if !status.rules.is_empty() {
        print_rules(status);
    }
    if !status.routing.is_empty() || !status.routing_left_over.is_empty() {
        println!("\nrouting");
    }
    for entry in &status.routing {
        println!(
            "  {}{}",
            if entry.present { "" } else { "MISSING " },
            entry.what
        );
    }
    for entry in &status.routing_left_over {
        println!("  LEFT OVER {entry}");
    }
}

fn print_rules(status: &Status) {
    let width = status
        .rules
        .iter()
        .map(|r| r.name.chars().count())
        .max()
        .unwrap_or(0)
        .max(4);
    println!(
        "\n{:width$}  {:8}{:12}{:>12}{:>16}  source",
        "rule", "stage", "verdict", "packets", "bytes"
    );
    for rule in &status.rules {
        let (packets, bytes) = match &rule.counter {
            Some(counter) => (counter.packets.to_string(), counter.bytes.to_string()),
            None => ("-".to_owned(), "-".to_owned()),
        };
        println!(
            "{:width$}  {:8}{:12}{packets:>12}{bytes:>16}  {}",
            rule.name, rule.stage, rule.verdict, rule.source
        );
    }
}
