//! One policy on all backends.

use std::collections::BTreeMap;

use fastrand::Rng;
use polc_compiler::inline::live::unnumbered;
use polc_compiler::ir::cube::PrincipalKind;
use polc_compiler::ir::{Ir, Rate, TimeUnit};
use polc_compiler::{Compilation, Files, compile, target};
use polc_generator::{Shape, valid_policy};

use crate::backend::Backend;
use crate::duel::{Difference, Duel, Mismatch};
use crate::minimise;
use crate::net::Net;
use crate::totals::Totals;
use crate::Error;

/// The numbers that users and groups get which a policy names.
const FIRST_NUMBER: u32 = 61_200;

/// A policy to be tried.
pub struct Subject {
    /// Its text.
    pub text: String,
    compilation: Compilation,
    ir: Ir,
}

/// What a trial came to.
#[derive(Debug)]
pub struct Tried {
    /// The backend.
    pub backend: Backend,
    /// What was compared.
    pub totals: Totals,
    /// Where they differ, if they do.
    pub mismatch: Option<Mismatch>,
}

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, path: &str) -> std::io::Result<String> {
        Err(std::io::Error::other(format!("`{path}`: there are no files here")))
    }
}

impl Subject {
    /// A policy that compiles, and whose senders can be played.
    pub fn new(text: &str) -> Option<Self> {
        let mut options = polc_compiler::Options {
            as_of: "2026-01-01".to_owned(),
            ..polc_compiler::Options::default()
        };
        let first = compile("random.pol", text, &NoFiles, &options);
        let names = unnumbered(first.ir.as_ref()?);
        for (number, (kind, name)) in (FIRST_NUMBER..).zip(names) {
            match kind {
                PrincipalKind::Group => options.groups.insert(name, number),
                _ => options.users.insert(name, number),
            };
        }
        let compilation = compile("random.pol", text, &NoFiles, &options);
        let mut ir = compilation.ir.clone()?;
        let asks_for_groups = ir
            .rules()
            .flat_map(|(_, rule)| &rule.cubes)
            .chain(ir.proxies.iter().flat_map(|p| &p.bypass))
            .any(|cube| {
                let mut atoms = cube.atoms.keys();
                atoms.any(|a| matches!(a, polc_compiler::ir::Atom::Principal(..)))
            });
        if asks_for_groups {
            return None;
        }
        stand_still(&mut ir);
        Some(Self {
            text: text.to_owned(),
            compilation,
            ir,
        })
    }
}

/// Makes of a policy one to which it makes no difference how late it is: tokens come by the hour, and
/// what is idle stays so long.
fn stand_still(ir: &mut Ir) {
    for bucket in &mut ir.buckets {
        bucket.rate = match bucket.rate {
            Rate::Packets { burst, .. } => Rate::Packets {
                count: 1,
                per: TimeUnit::Hour,
                burst,
            },
            other => other,
        };
        bucket.idle = None;
    }
    for set in &mut ir.dynamic {
        set.idle = set.idle.map(|_| 86_400_000);
    }
}

/// A random policy that can be tried.
pub fn draw(seed: u64, shape: &Shape) -> Option<Subject> {
    let draw = valid_policy(seed, shape, |text| Subject::new(text).is_some())?;
    Subject::new(&draw.text)
}

/// Tries a policy with so many packets on each of the backends.
pub fn trial(
    subject: &Subject,
    backends: &[Backend],
    (seed, packets): (u64, u64),
) -> Result<Vec<Tried>, Error> {
    let mut rng = Rng::with_seed(seed);
    let net = Net::around(&subject.ir, &mut rng);
    let up: Vec<bool> = subject.ir.proxies.iter().map(|_| rng.bool()).collect();
    let options = target::Options {
        count_all: true,
        flows: 65_536,
        ..target::Options::default()
    };
    let mut bundles = BTreeMap::new();
    let mut tried = Vec::new();
    let traffic = rng.u64(..);
    for backend in backends {
        let bundle = bundles.entry(backend.target()).or_insert_with(|| {
            let target = target::find(backend.target())?;
            let sources = &subject.compilation.sources;
            target.emit(&subject.ir, sources, &options).map_err(|d| if std::env::var("WHY").is_ok() { println!("{}: {}", backend.target(), d.first().map(|x| x.title.clone()).unwrap_or_default()) }).ok()
        });
        let mut totals = Totals::default();
        let Some(bundle) = bundle else {
            totals.refusals = 1;
            tried.push(Tried { backend: *backend, totals, mismatch: None });
            continue;
        };
        totals.policies = 1;
        let mut duel = Duel::new((&subject.ir, &net), bundle, *backend, (&up, &options))?;
        let mismatch = duel.run(&mut Rng::with_seed(traffic), packets)?;
        totals += duel.totals;
        tried.push(Tried { backend: *backend, totals, mismatch });
    }
    Ok(tried)
}

/// Makes a policy on which a backend and the interpreter differ as small as that is still so. At most so many
/// policies are tried.
pub fn smaller(
    subject: &Subject,
    (backend, difference): (Backend, Difference),
    (seed, packets): (u64, u64),
    calls: usize,
) -> String {
    minimise::policy(&subject.text, calls, |text| {
        let differs = |subject: Subject| {
            let tried = trial(&subject, &[backend], (seed, packets)).ok()?;
            let found = tried.into_iter().find_map(|t| t.mismatch)?;
            Some(found.difference == difference)
        };
        Subject::new(text).and_then(differs).unwrap_or(false)
    })
}
