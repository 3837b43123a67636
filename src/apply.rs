//! `polc apply`

use std::fmt::Write as _;
use std::path::PathBuf;

use polc_bundle::{Bundle, Object};
use polc_runtime_loader::watch::{End, Event, watch};
use polc_runtime_loader::{Applied, ApplyOptions, Stop, Variant, apply};

use crate::exit::{Error, Outcome, Result};
use crate::out;
use crate::progress::Progress;
use crate::session::{CompileArgs, Session};

/// Put a policy or a bundle in force: one transaction, read back, undone if anything fails.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A policy, or the directory of a bundle
    policy: PathBuf,

    /// What to compile a policy for
    #[arg(long, value_name = "NAME", default_value = "nftables")]
    target: String,

    /// Check everything and say what would change; change nothing
    #[arg(long)]
    dry_run: bool,

    /// Stay, and give programs to interfaces that appear or get another name, until SIGINT or SIGTERM
    #[arg(long, conflicts_with = "dry_run")]
    watch: bool,

    /// Which `iptables` takes a policy for that target (default: the one with a policy in force, else the one
    /// that the machine calls `iptables`)
    #[arg(long, value_enum, value_name = "WHICH")]
    iptables: Option<Iptables>,

    #[command(flatten)]
    place: PlaceArgs,

    #[command(flatten)]
    compile: CompileArgs,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Iptables {
    /// `iptables-legacy`
    Legacy,
    /// `iptables-nft`
    Nft,
}

impl From<Iptables> for Variant {
    fn from(which: Iptables) -> Self {
        match which {
            Iptables::Legacy => Self::Legacy,
            Iptables::Nft => Self::Nft,
        }
    }
}

/// Options of every command that looks into a kernel.
#[derive(clap::Args)]
pub(crate) struct PlaceArgs {
    /// The network namespace, by its name under `/run/netns` (default: this one)
    #[arg(long, value_name = "NAME")]
    pub(crate) netns: Option<String>,

    /// Where the loader keeps what it has applied (default: `/var/lib/polc`)
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result {
    // Before any thread is started: they all have to leave the signals alone.
    let stop = args.watch.then(Stop::on_signals).transpose();
    let stop = stop.map_err(|e| Error::environment(&e))?;
    let progress = Progress::new("compiling");
    let Some(bundle) = bundle(args)? else {
        return Ok(Outcome::DoesNotCompile);
    };
    if stop.is_some() && bundle.manifest().programs.is_empty() {
        return Err(Error::Usage(
            "`--watch` is for policies that are programs: nothing else is attached to interfaces"
                .to_owned(),
        ));
    }
    let options = ApplyOptions {
        netns: args.place.netns.clone(),
        dry_run: args.dry_run,
        state_dir: args.place.state_dir.clone(),
        clsact: false,
        iptables: args.iptables.map(Variant::from),
    };
    let applied = apply(&bundle, &options, &mut |step| progress.step(step))
        .map_err(|e| Error::environment(&e).help(e.help()))?;
    drop(progress);
    report(&bundle, &applied)?;
    if let Some(stop) = stop {
        stay(&options, &stop)?;
    }
    Ok(Outcome::Clean)
}

/// Looks after interfaces until it is stopped.
fn stay(options: &ApplyOptions, stop: &Stop) -> std::result::Result<(), Error> {
    let mut tell = |event: &Event| match event {
        Event::Applied(applied) => {
            warn(applied);
            // Whether anybody reads it does not matter to the interfaces.
            let _ = out::print(&changes(applied));
        }
        Event::Refused(error) => eprintln!("polc: warning: {error}"),
    };
    match watch(options, stop, &mut tell) {
        Ok(End::Stopped) => Ok(()),
        Ok(End::Over) => {
            eprintln!("polc: there are no programs in force any more");
            Ok(())
        }
        Err(error) => Err(Error::environment(&error).help(error.help())),
    }
}

/// The bundle to apply; `None` when the policy does not compile.
fn bundle(args: &Args) -> std::result::Result<Option<Bundle>, Error> {
    if args.policy.is_dir() {
        if !Bundle::is_bundle(&args.policy) {
            let path = args.policy.display();
            return Err(Error::Usage(format!(
                "`{path}` is neither a policy nor a bundle"
            )));
        }
        return Bundle::read(&args.policy)
            .map(Some)
            .map_err(|e| Error::environment(&e));
    }
    let mut session = Session::open(&args.policy, &args.compile)?;
    let bundle = session.emit(&args.target)?;
    session.report();
    Ok(bundle)
}

fn report(bundle: &Bundle, applied: &Applied) -> std::result::Result<(), Error> {
    warn(applied);
    let verb = if applied.dry_run {
        "would apply"
    } else {
        "applied"
    };
    let before = applied.previous.as_deref().unwrap_or("nothing");
    out::print(&format!(
        "{verb} `{}`, generation {}, in place of {before}\n{}",
        bundle.manifest().policy,
        applied.generation,
        changes(applied)
    ))
}

fn warn(applied: &Applied) {
    for warning in &applied.warnings {
        eprintln!("polc: warning: {warning}");
    }
}

/// What was changed beside the ruleset, one line each.
fn changes(applied: &Applied) -> String {
    let changes = &applied.changes;
    let lines = [
        ("+", &changes.routing_added),
        ("-", &changes.routing_removed),
        ("+", &changes.attached),
        ("-", &changes.detached),
        ("~", &changes.refilled),
    ];
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    for (sign, entries) in lines {
        for entry in entries {
            let _ = writeln!(text, "  {sign} {entry}");
        }
    }
    for Object { kind, name } in &changes.objects_removed {
        let _ = writeln!(text, "  - {} {name}", kind.word());
    }
    text
}
