//! `polc verify`

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use polc_compiler::Files as _;
use polc_conformance::{
    Backend, Difference, Found, Origin, Report, Settings, Subject, campaign, campaign_of,
};
use polc_runtime_loader::Stop;
use polc_runtime_loader::lab::running_as_root;

use crate::exit::{Error, Outcome, Result};
use crate::out;
use crate::paths;
use crate::progress::Progress;
use crate::session::{CompileArgs, Disk, Session};

/// Send packets through policies on the live kernel, and compare what becomes of them with what the
/// language says.
///
/// Without paths, the policies are random ones. Directories are searched for `.pol` files.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Policies, or directories of policies
    paths: Vec<PathBuf>,

    /// How many random policies on each target; those that it cannot express do not count
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100,
        value_parser = clap::value_parser!(u64).range(1..),
        conflicts_with = "paths"
    )]
    policies: u64,

    /// How many packets of each policy and target
    #[arg(
        long,
        value_name = "N",
        default_value_t = 2000,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    packets: u64,

    /// The seed of the first policy, the others follow; of given policies, that of the network and the packets
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Targets or, of iptables, its variants, separated by commas; all of them if not given
    #[arg(long, value_name = "TARGET", value_delimiter = ',')]
    target: Vec<String>,

    /// How many policies at once; most of their time they wait for the kernel (default: three for each processor)
    #[arg(long, value_name = "N", conflicts_with = "paths")]
    jobs: Option<usize>,

    /// How many smaller policies are tried where a mismatch is found; 0 leaves it as it is
    #[arg(
        long,
        value_name = "N",
        default_value_t = 150,
        conflicts_with = "paths"
    )]
    smaller: usize,

    /// Print how often policies used each word of the language
    #[arg(long)]
    coverage: bool,

    /// Write the smallest policy found for each mismatch, and the mismatch, to this directory
    #[arg(long, value_name = "DIR", conflicts_with = "paths")]
    cases: Option<PathBuf>,

    #[command(flatten)]
    compile: CompileArgs,
}

/// Policies at once for each processor.
const JOBS: usize = 3;

const DIFFERENCES: [(Difference, &str); 6] = [
    (Difference::FalseAllow, "false allow"),
    (Difference::FalseDeny, "false deny"),
    (Difference::Form, "other packet"),
    (Difference::Answer, "other answer"),
    (Difference::Count, "other count"),
    (Difference::Refused, "refused"),
];

pub(crate) fn run(args: &Args) -> Result {
    // Before any thread is started: they all have to leave the signals alone.
    let stop = Stop::on_signals().map_err(|error| Error::environment(&error))?;
    let backends = backends(&args.target)?;
    if !running_as_root() {
        let problem = "only root can try all targets".to_owned();
        return Err(Error::Environment(problem));
    }
    let settings = Settings {
        backends,
        policies: args.policies,
        packets: args.packets,
        seed: args.seed,
        calls: args.smaller,
        workers: args.jobs.unwrap_or_else(|| {
            JOBS * std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
        }),
    };
    let (report, left_out) = if args.paths.is_empty() {
        (random(&settings, &stop)?, 0)
    } else {
        match given(args, &settings, &stop)? {
            Some(report) => report,
            None => return Ok(Outcome::DoesNotCompile),
        }
    };
    let mut text = table(&settings, &report);
    if args.coverage {
        let _ = write!(text, "\n{}", report.coverage);
    }
    for found in &report.found {
        let _ = write!(text, "\n{}", shown(found));
    }
    out::print(&text)?;
    if let Some(directory) = &args.cases {
        for found in &report.found {
            keep(directory, found)?;
        }
    }
    match incomplete(&settings, &report, left_out) {
        Some(problem) if report.found.is_empty() => return Err(Error::Environment(problem)),
        Some(problem) => eprintln!("polc: {problem}"),
        None if report.found.is_empty() => return Ok(Outcome::Clean),
        None => {}
    }
    Ok(Outcome::Findings)
}

/// Why not everything was tried that was to be, if so.
fn incomplete(settings: &Settings, report: &Report, left_out: usize) -> Option<String> {
    if let Some((_, polc_conformance::Error::Stopped)) = &report.failed {
        return Some("it was told to end: not everything has been tried".to_owned());
    }
    if let Some((of, error)) = &report.failed {
        return Some(format!(
            "{of} could not be tried: {}",
            Error::environment(error)
        ));
    }
    if left_out > 0 {
        return Some(format!("policies were not tried: {left_out}"));
    }
    let policies = |backend: &Backend| report.totals.get(backend).map_or(0, |t| t.policies);
    let all = settings.backends.iter();
    if report.drawn == 0 {
        let tried = all.clone().any(|backend| policies(backend) > 0);
        return (!tried).then(|| "no target can express these policies".to_owned());
    }
    let lacking = all.clone().find(|b| policies(b) < settings.policies)?;
    Some(format!(
        "only {} policies were found that {lacking} can express",
        policies(lacking)
    ))
}

fn random(settings: &Settings, stop: &Stop) -> std::result::Result<Report, Error> {
    let progress = Progress::new("trying policies");
    campaign(settings, Some(stop), |drawn, left| {
        progress.step(&format!("{drawn} policies tried, {left} trials left"));
    })
    .map_err(|error| Error::environment(&error))
}

/// Tries the policies of the command line, and says how many it cannot; none if one of them does not compile.
fn given(
    args: &Args,
    settings: &Settings,
    stop: &Stop,
) -> std::result::Result<Option<(Report, usize)>, Error> {
    let (mut subjects, mut left_out) = (Vec::new(), 0);
    for path in paths::policies(&args.paths)? {
        let session = Session::open(&path, &args.compile)?;
        let name = path.display().to_string();
        if session.compilation.ir.is_none() {
            session.report();
            return Ok(None);
        }
        let text = Disk.read(&name);
        let text = text.map_err(|e| Error::Usage(format!("cannot read `{name}`: {e}")))?;
        match Subject::given((&name, &text), &Disk, session.options) {
            Ok(subject) => subjects.push((name, subject)),
            Err(why) => {
                eprintln!("polc: `{name}` is not tried: {why}");
                left_out += 1;
            }
        }
    }
    let progress = Progress::new("trying policies");
    let all = subjects.len();
    let report = campaign_of(&subjects, settings, Some(stop), |done| {
        progress.step(&format!("{done} of {all} policies tried"));
    })
    .map_err(|error| Error::environment(&error))?;
    Ok(Some((report, left_out)))
}

fn backends(names: &[String]) -> std::result::Result<Vec<Backend>, Error> {
    if names.is_empty() {
        return Ok(Backend::ALL.to_vec());
    }
    let mut backends = Vec::new();
    for name in names {
        let meant = Backend::named(name);
        if meant.is_empty() {
            let known = Backend::ALL.map(Backend::name).join(", ");
            let problem = format!("there is no target `{name}`; there are {known}");
            return Err(Error::Usage(problem));
        }
        backends.extend(meant);
    }
    backends.sort_unstable();
    backends.dedup();
    Ok(backends)
}

/// One column for each backend.
fn table(settings: &Settings, report: &Report) -> String {
    let mut text = String::new();
    if report.drawn > 0 {
        let (first, last) = (settings.seed, settings.seed.wrapping_add(report.drawn - 1));
        let _ = writeln!(text, "seeds {first} to {last}");
    }
    let _ = write!(text, "{:<15}", "");
    for backend in &settings.backends {
        let _ = write!(text, "{:>16}", backend.name());
    }
    text.push('\n');
    let totals = |backend: &Backend| report.totals.get(backend).copied().unwrap_or_default();
    let mut line = |name: &str, value: &dyn Fn(&Backend) -> u64| {
        let _ = write!(text, "{name:<15}");
        for backend in &settings.backends {
            let _ = write!(text, "{:>16}", value(backend));
        }
        text.push('\n');
    };
    line("policies", &|b| totals(b).policies);
    line("not expressible", &|b| totals(b).refusals);
    line("packets", &|b| totals(b).packets);
    line("  in pieces", &|b| totals(b).pieces);
    line("  passed", &|b| totals(b).passed);
    line("  dropped", &|b| totals(b).dropped);
    line("  rejected", &|b| totals(b).refused);
    line("  translated", &|b| totals(b).translated);
    line("  at a pace", &|b| totals(b).paced);
    line("flows", &|b| totals(b).flows);
    line("  answers", &|b| totals(b).answers);
    line("  errors", &|b| totals(b).errors);
    line("not compared", &|b| totals(b).unclear);
    for (difference, name) in DIFFERENCES {
        line(name, &|b| {
            u64::try_from(report.count(*b, difference)).unwrap_or(u64::MAX)
        });
    }
    text
}

fn shown(found: &Found) -> String {
    let Found {
        of,
        backend,
        mismatch,
        smaller,
    } = found;
    let policy = smaller.as_deref().map(str::trim_end).unwrap_or_default();
    format!(
        "{of} on {backend}: {}\n{policy}\n{}\n",
        mismatch.difference, mismatch.text
    )
}

fn keep(directory: &Path, found: &Found) -> std::result::Result<(), Error> {
    let (Origin::Seed(seed), Some(policy)) = (&found.of, &found.smaller) else {
        return Ok(());
    };
    let name = format!("{seed}-{}.pol", found.backend);
    let lines = found.mismatch.text.lines();
    let commented = lines.fold(String::new(), |text, line| format!("{text}# {line}\n"));
    let head = format!("# {}: {}\n", found.backend, found.mismatch.difference);
    let text = format!("{head}{commented}{policy}");
    let write = || {
        std::fs::create_dir_all(directory)?;
        std::fs::write(directory.join(name), text)
    };
    write().map_err(|error| Error::environment(&error))
}
