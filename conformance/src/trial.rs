//! One policy on all backends.

use std::collections::BTreeMap;

use fastrand::Rng;
use polc_bundle::Bundle;
use polc_compiler::inline::live::unnumbered;
use polc_compiler::ir::cube::PrincipalKind;
use polc_compiler::ir::{Atom, Cube, Ir, Rate, TimeUnit};
use polc_compiler::target::{self, Options};
use polc_compiler::{Compilation, Files, compile};
use polc_generator::{Shape, valid_policy};

use crate::Error;
use crate::backend::Backend;
use crate::duel::{Difference, Duel, Mismatch};
use crate::fault::Fault;
use crate::minimise;
use crate::net::Net;
use crate::totals::Totals;

/// The numbers that users and groups get which a policy names.
const FIRST_NUMBER: u32 = 61_200;

/// A policy to be tried.
pub struct Subject {
    /// Its text.
    pub text: String,
    compilation: Compilation,
    ir: Ir,
    /// A bug that the compiler is to have.
    fault: Option<Fault>,
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

/// More live flows than packets open.
const MANY_FLOWS: u32 = 20_000;

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, path: &str) -> std::io::Result<String> {
        Err(std::io::Error::other(format!(
            "`{path}`: there are no files here"
        )))
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
        if !is_playable(&ir) {
            return None;
        }
        stand_still(&mut ir);
        Some(Self {
            text: text.to_owned(),
            compilation,
            ir,
            fault: None,
        })
    }

    /// The same policy, as a compiler with this bug understands it; none where the bug makes no difference to
    /// what is compiled.
    #[must_use]
    pub fn with(self, fault: Fault) -> Option<Self> {
        fault.plant(&self.ir)?;
        Some(Self {
            fault: Some(fault),
            ..self
        })
    }

    /// What a target makes of it; none if it cannot express it.
    fn bundle(&self, backend: Backend, options: &Options) -> Option<Bundle> {
        let target = target::find(backend.target())?;
        let planted = self.fault.and_then(|fault| fault.plant(&self.ir));
        let ir = planted.as_ref().unwrap_or(&self.ir);
        let sources = &self.compilation.sources;
        if let Ok(bundle) = target.emit(ir, sources, options) {
            return Some(bundle);
        }
        let right = target.emit(&self.ir, sources, options).ok()?;
        self.fault?.patch(&right)
    }
}

/// Whether the laboratory has every sender of which a policy speaks: control groups are not made here.
fn is_playable(ir: &Ir) -> bool {
    let rules = ir.rules().flat_map(|(_, rule)| &rule.cubes);
    let bypass = ir.proxies.iter().flat_map(|proxy| &proxy.bypass);
    !rules.chain(bypass).any(names_senders)
}

fn names_senders(cube: &Cube) -> bool {
    let mut atoms = cube.atoms.keys();
    atoms.any(|atom| matches!(atom, Atom::Principal(..)))
}

/// Makes of a policy one to which it makes no difference how late it is: tokens come by the hour, and
/// what is idle stays so long, and no limit of live flows is met.
fn stand_still(ir: &mut Ir) {
    for bucket in &mut ir.buckets {
        bucket.rate = match bucket.rate {
            Rate::Packets { burst, .. } => Rate::Packets {
                count: 1,
                per: TimeUnit::Hour,
                burst,
            },
            // Netfilter counts flows for a while that were never admitted.
            Rate::Flows { .. } => Rate::Flows { count: MANY_FLOWS },
            bytes @ Rate::Bytes { .. } => bytes,
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
    let options = Options {
        flows: 65_536,
        ..Options::default()
    };
    let mut bundles = BTreeMap::new();
    let mut tried = Vec::new();
    let traffic = rng.u64(..);
    for backend in backends {
        let bundle = bundles
            .entry(backend.target())
            .or_insert_with(|| subject.bundle(*backend, &options));
        let mut totals = Totals::default();
        let Some(bundle) = bundle else {
            totals.refusals = 1;
            tried.push(Tried {
                backend: *backend,
                totals,
                mismatch: None,
            });
            continue;
        };
        totals.policies = 1;
        let mut duel = Duel::new((&subject.ir, &net), bundle, *backend, (&up, &options))?;
        let mismatch = duel.run(&mut Rng::with_seed(traffic), packets)?;
        totals += duel.totals;
        tried.push(Tried {
            backend: *backend,
            totals,
            mismatch,
        });
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
