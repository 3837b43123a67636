//! `polc remove`

use polc_runtime_loader::remove;

use crate::apply::PlaceArgs;
use crate::exit::{Error, Outcome, Result};

/// Take the policy away: the table, the routing rules and routes that polc owns, and its state.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: PlaceArgs,
}

pub(crate) fn run(args: &Args) -> Result {
    let removed = remove(args.place.netns.as_deref(), args.place.state_dir.as_deref())
        .map_err(|e| Error::environment(&e).help(e.help()))?;
    if removed.is_empty() {
        println!("there is nothing to remove");
        return Ok(Outcome::Clean);
    }
    if removed.table {
        println!("removed the table `inet polc`");
    }
    for entry in &removed.routing {
        println!("removed {entry}");
    }
    Ok(Outcome::Clean)
}
