//! `polc remove`

use std::fmt::Write as _;

use polc_runtime_loader::remove;

use crate::apply::PlaceArgs;
use crate::exit::{Error, Outcome, Result};
use crate::out;

/// Take the policy away: the table, the chains, the programs, the routing rules and routes that polc owns, and
/// its state.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: PlaceArgs,
}

pub(crate) fn run(args: &Args) -> Result {
    let removed = remove(args.place.netns.as_deref(), args.place.state_dir.as_deref())
        .map_err(|e| Error::environment(&e).help(e.help()))?;
    if removed.is_empty() {
        out::print("there is nothing to remove\n")?;
        return Ok(Outcome::Clean);
    }
    let mut text = String::new();
    if removed.table {
        text.push_str("removed the table `inet polc`\n");
    }
    for table in &removed.chains {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "removed the chains `POLC-*` of `{table}`");
    }
    for interface in &removed.programs {
        let _ = writeln!(text, "removed the program at {interface}");
    }
    for entry in &removed.routing {
        let _ = writeln!(text, "removed {entry}");
    }
    out::print(&text)?;
    Ok(Outcome::Clean)
}
