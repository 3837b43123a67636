//! `polc matrix`

use std::fmt::Write as _;
use std::path::PathBuf;

use polc_compiler::analyse::matrix::{Cell, Matrix, matrix};
use polc_compiler::analyse::model::Model;
use polc_compiler::analyse::prove::{Effort, Prover, packet};
use polc_compiler::ir::{Cube, Ir};
use serde::Serialize;

use crate::exit::{Error, Outcome, Result};
use crate::out;
use crate::query::defect;
use crate::session::{CompileArgs, Session};

/// Show who may reach whom, proven over all packets.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The policy
    policy: PathBuf,

    /// Only packets of these services, as a rule has them: `ssh`, `tcp/{80, 443}, ping`
    #[arg(long, value_name = "SERVICES")]
    service: Option<String>,

    /// How to print the table, on standard output
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,

    #[command(flatten)]
    compile: CompileArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Human,
    /// One JSON object, with a packet of each kind where it depends
    Json,
    /// A table of Markdown
    Markdown,
}

const LEGEND: &str = "always: every packet is allowed while rates last; never: none is; depends: some are; \
                      -: there are none; unknown: could not be worked out";

#[derive(Serialize)]
struct Entry<'a> {
    from: &'a str,
    to: &'a str,
    allowed: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_packet: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_packet: Option<String>,
}

#[derive(Serialize)]
struct Report<'a> {
    legend: &'static str,
    service: Option<&'a str>,
    cells: Vec<Entry<'a>>,
}

pub(crate) fn run(args: &Args) -> Result {
    let session = match &args.service {
        Some(services) => Session::ask(&args.policy, &format!("allow {services}"), &args.compile)?,
        None => Session::open(&args.policy, &args.compile)?,
    };
    let compilation = &session.compilation;
    let Some(ir) = &compilation.ir else {
        session.report();
        return Ok(Outcome::DoesNotCompile);
    };
    let all = vec![Cube::any()];
    let services = match (&args.service, compilation.policy.claims.last()) {
        (Some(_), Some(claim)) => &claim.cubes,
        _ => &all,
    };
    let model = Model::new(&compilation.policy, ir);
    let prover = Prover::new(&model, Effort::default()).map_err(|e| Error::environment(&e))?;
    let table = matrix(&compilation.policy, ir, &prover, services);
    if let Some(Cell::Defect(shown)) = table.cells.iter().flatten().find(|c| c.word() == "defect") {
        return Err(defect(shown, ir, &session));
    }
    out::print(&match args.format {
        Format::Human => human(&table),
        Format::Markdown => markdown(&table),
        Format::Json => json(&table, args.service.as_deref(), ir)?,
    })?;
    Ok(Outcome::Clean)
}

/// The rows with their heads, below a row of heads.
fn rows(table: &Matrix) -> Vec<Vec<&str>> {
    let mut head = vec!["from \\ to"];
    head.extend(table.to.iter().map(String::as_str));
    let mut rows = vec![head];
    for (from, cells) in table.from.iter().zip(&table.cells) {
        let mut row = vec![from.as_str()];
        for cell in cells {
            row.push(cell.word());
        }
        rows.push(row);
    }
    rows
}

fn human(table: &Matrix) -> String {
    let rows = rows(table);
    let columns = table.to.len() + 1;
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|r| r.get(at));
        cells.map(|c| c.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        let _ = writeln!(text, "{}", line.join("  ").trim_end());
    }
    format!("{text}\n{LEGEND}\n")
}

fn markdown(table: &Matrix) -> String {
    let mut text = String::new();
    for (at, row) in rows(table).iter().enumerate() {
        let _ = writeln!(text, "| {} |", row.join(" | "));
        if at == 0 {
            let _ = writeln!(text, "|{}", "---|".repeat(row.len()));
        }
    }
    format!("{text}\n{LEGEND}\n")
}

fn json(table: &Matrix, service: Option<&str>, ir: &Ir) -> std::result::Result<String, Error> {
    let mut cells = Vec::new();
    for (from, row) in table.from.iter().zip(&table.cells) {
        for (to, cell) in table.to.iter().zip(row) {
            let (allowed, refused) = match cell {
                Cell::Depends { allowed, refused } => (Some(allowed), Some(refused)),
                _ => (None, None),
            };
            cells.push(Entry {
                from,
                to,
                allowed: if matches!(cell, Cell::Nothing) {
                    "nothing"
                } else {
                    cell.word()
                },
                reason: match cell {
                    Cell::Unknown(why) => Some(why),
                    _ => None,
                },
                allowed_packet: allowed.map(|s| packet(s, ir)),
                refused_packet: refused.map(|s| packet(s, ir)),
            });
        }
    }
    let report = Report {
        legend: LEGEND,
        service,
        cells,
    };
    let text = serde_json::to_string_pretty(&report).map_err(|e| Error::environment(&e))?;
    Ok(format!("{text}\n"))
}
