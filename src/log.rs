//! `polc log`

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;
use polc_bundle::ProgramHook;
use polc_compiler::analyse::describe;
use polc_runtime_loader::AccessError;
use polc_runtime_loader::log::{Entry, Log, Verdict, time};
use serde::Serialize;

use crate::apply::PlaceArgs;
use crate::exit::{Error, Outcome, Result};
use crate::out;

/// How long one wait for entries lasts before losses are looked at.
const PATIENCE: Duration = Duration::from_secs(1);

/// Show what rules have logged, where the policy is programs. Each entry is shown once.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Go on with what is logged from now on
    #[arg(short, long)]
    follow: bool,

    /// How to print it: lines for people, or one JSON object a line
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
    let mut log = Log::open(args.place.netns.as_deref(), args.place.state_dir.as_deref())
        .map_err(|e| Error::environment(&e).help(e.help()))?;
    let mut known_lost = 0;
    loop {
        while let Some(entry) = log.take() {
            match entry {
                Ok(entry) => {
                    let line = Line::new(&mut log, &entry)?;
                    if !out::write(&line.show(args.format)?)? {
                        return Ok(Outcome::Clean);
                    }
                }
                Err(error) => eprintln!("polc: warning: {error}"),
            }
        }
        let lost = log.lost().map_err(|e| access(&e))?;
        if lost > known_lost {
            let new = lost - known_lost;
            eprintln!("polc: {new} entries were lost: the ring was full");
        }
        known_lost = lost;
        if !args.follow {
            return Ok(Outcome::Clean);
        }
        log.wait(PATIENCE).map_err(|e| access(&e))?;
    }
}

/// What is shown of an entry.
#[derive(Serialize)]
struct Line {
    time: String,
    rule: Option<String>,
    text: Option<String>,
    verdict: Option<&'static str>,
    hook: &'static str,
    interface: String,
    protocol: String,
    source: IpAddr,
    source_port: u16,
    destination: IpAddr,
    destination_port: u16,
    bytes: u32,
    log_id: u32,
}

impl Line {
    fn new(log: &mut Log, entry: &Entry) -> std::result::Result<Self, Error> {
        let interface = log.interface(entry.interface).map_err(|e| access(&e))?;
        let interface = interface.map_or_else(|| format!("#{}", entry.interface), str::to_owned);
        let at = time(entry).map_err(|e| Error::environment(&e))?;
        let at = Timestamp::try_from(at).map_err(|e| Error::environment(&e))?;
        let rule = log.rule(entry.log_id).map_err(|e| access(&e))?;
        Ok(Self {
            time: format!("{at:.6}"),
            rule: rule.map(|rule| rule.name.clone()),
            text: rule.and_then(|rule| rule.log_prefix.clone()),
            verdict: entry.verdict.map(Verdict::word),
            hook: entry.hook.word(),
            interface,
            protocol: describe::protocol(entry.protocol.into()),
            source: entry.source,
            source_port: entry.source_port,
            destination: entry.destination,
            destination_port: entry.destination_port,
            bytes: entry.bytes,
            log_id: entry.log_id,
        })
    }

    fn show(&self, format: Format) -> std::result::Result<String, Error> {
        match format {
            Format::Human => Ok(self.human()),
            Format::Json => serde_json::to_string(self)
                .map(|line| line + "\n")
                .map_err(|e| Error::environment(&e)),
        }
    }

    fn human(&self) -> String {
        let rule = self.rule.clone();
        let rule = rule.unwrap_or_else(|| format!("rule #{}", self.log_id));
        let text = self.text.as_ref().map(|text| format!("\"{text}\" "));
        let verdict = self.verdict.map(|verdict| format!("{verdict} "));
        let way = if self.hook == ProgramHook::Egress.word() {
            "out"
        } else {
            "in"
        };
        let ports = self.source_port != 0 || self.destination_port != 0;
        let end = |address: IpAddr, port: u16| {
            if ports {
                SocketAddr::new(address, port).to_string()
            } else {
                address.to_string()
            }
        };
        format!(
            "{} {rule}: {}{}{way} {} {} {} -> {} {} bytes\n",
            self.time,
            text.unwrap_or_default(),
            verdict.unwrap_or_default(),
            self.interface,
            self.protocol,
            end(self.source, self.source_port),
            end(self.destination, self.destination_port),
            self.bytes,
        )
    }
}

fn access(error: &AccessError) -> Error {
    let help = error.help();
    Error::environment(error).help(help)
}
