//! One policy on all backends.

use std::collections::BTreeMap;

use fastrand::Rng;
use polc_compiler::target::Options;
use polc_generator::{Shape, valid_policy};

use crate::Error;
use crate::backend::Backend;
use crate::duel::{Difference, Duel, Mismatch};
use crate::minimise;
use crate::net::Net;
use crate::subject::{Subject, counts_own_answers};
use crate::totals::Totals;

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
    let mut net = Net::around(&subject.ir, &mut rng);
    let senders = std::mem::take(&mut net.senders);
    let up: Vec<bool> = subject.ir.proxies.iter().map(|_| rng.bool()).collect();
    let options = Options {
        flows: 65_536,
        // Where rules count, less of a policy is put together. Shapes go by the last two bits.
        count_all: seed & 4 == 0,
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
        let bundle = match bundle {
            Ok(Some(bundle)) => bundle,
            otherwise => {
                totals.refusals = 1;
                tried.push(Tried {
                    backend: *backend,
                    totals,
                    mismatch: otherwise.as_ref().err().map(|problem| Mismatch {
                        difference: Difference::Refused,
                        text: problem.clone(),
                    }),
                });
                continue;
            }
        };
        totals.policies = 1;
        let mut rng = Rng::with_seed(traffic);
        // What a target counts for each family is compared for one.
        let v6 = rng.bool();
        net.senders = match backend {
            Backend::Ebpf if counts_own_answers(&subject.ir) => vec![],
            _ => senders.clone(),
        };
        net.only = subject.is_approximated(*backend, &options).then_some(v6);
        let duel = Duel::new((&subject.ir, &net), bundle, *backend, (&up, &options));
        let mismatch = match duel {
            Ok(mut duel) => {
                let mut mismatch = duel.run(&mut rng, packets)?;
                if mismatch.is_none() {
                    mismatch = duel.count(options.count_all)?;
                }
                totals += duel.totals;
                mismatch
            }
            Err(Error::Apply {
                refused: true,
                problem,
                ..
            }) => Some(Mismatch {
                difference: Difference::Refused,
                text: problem,
            }),
            Err(error) => return Err(error),
        };
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
