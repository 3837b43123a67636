//! Policies to be tried.

use polc_bundle::Bundle;
use polc_compiler::diagnostic::{Code, Diagnostic};
use polc_compiler::inline::live::unnumbered;
use polc_compiler::ir::cube::PrincipalKind;
use polc_compiler::ir::{Atom, Cube, Ir, Rate, Rule, TimeUnit, Verdict};
use polc_compiler::target::{self, Options};
use polc_compiler::{Compilation, Files, compile};

use crate::backend::Backend;
use crate::chance::is_blind;
use crate::fault::Fault;
use crate::pace::Pace;
use crate::predict::is_flowless;

/// The numbers that users and groups get which a policy names.
const FIRST_NUMBER: u32 = 61_200;

/// A policy to be tried.
pub struct Subject {
    /// Its text.
    pub text: String,
    compilation: Compilation,
    pub(crate) ir: Ir,
    /// A bug that the compiler is to have.
    fault: Option<Fault>,
}

/// Why a policy is not tried.
#[derive(Debug, thiserror::Error)]
pub enum Unplayable {
    /// It does not compile.
    #[error("it does not compile")]
    Wrong,
    /// Control groups are not made here.
    #[error("it asks for control groups")]
    ControlGroups,
    /// Answers to refused packets, of which the interpreter knows nothing, change what rates and dynamic sets
    /// hold for others.
    #[error("it counts answers to refused packets")]
    Answers,
    /// Which of several targets a packet got cannot be told from what is seen of it.
    #[error("`balance random` stands beside rates, sets, or several targets of other rules")]
    Chance,
}

/// More live flows than packets open.
const MANY_FLOWS: u32 = 60_000;

/// More bytes than packets have together.
const MANY_BYTES: u64 = 1 << 30;

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, path: &str) -> std::io::Result<String> {
        Err(std::io::Error::other(format!(
            "`{path}`: there are no files here"
        )))
    }
}

impl Subject {
    /// A policy of one file, if it can be tried.
    pub fn new(text: &str) -> Option<Self> {
        let options = polc_compiler::Options {
            as_of: "2026-01-01".to_owned(),
            ..polc_compiler::Options::default()
        };
        Self::given(("random.pol", text), &NoFiles, options).ok()
    }

    /// A policy of this name and text. Users and groups that have no number get one.
    pub fn given(
        (name, text): (&str, &str),
        files: &dyn Files,
        mut options: polc_compiler::Options,
    ) -> Result<Self, Unplayable> {
        let first = compile(name, text, files, &options);
        let Some(ir) = &first.ir else {
            return Err(Unplayable::Wrong);
        };
        let names = unnumbered(ir);
        for (number, (kind, name)) in (FIRST_NUMBER..).zip(names) {
            match kind {
                PrincipalKind::Group => options.groups.insert(name, number),
                _ => options.users.insert(name, number),
            };
        }
        let compilation = compile(name, text, files, &options);
        let Some(mut ir) = compilation.ir.clone() else {
            return Err(Unplayable::Wrong);
        };
        check(&ir)?;
        stand_still(&mut ir);
        Ok(Self {
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

    /// The policy as it is for a trial at a pace.
    pub(crate) fn at_pace(&self, pace: Pace) -> Ir {
        let mut ir = self.ir.clone();
        if let Some(original) = &self.compilation.ir {
            pace.set(&mut ir, original);
        }
        ir
    }

    /// What a target makes of its normal form; none if it cannot express it. The error says what went wrong
    /// otherwise.
    pub(crate) fn bundle(
        &self,
        ir: &Ir,
        backend: Backend,
        options: &Options,
    ) -> Result<Option<Bundle>, String> {
        let Some(target) = target::find(backend.target()) else {
            return Ok(None);
        };
        let planted = self.fault.and_then(|fault| fault.plant(ir));
        let sources = &self.compilation.sources;
        let emitted = target.emit(planted.as_ref().unwrap_or(ir), sources, options);
        let Some(fault) = self.fault.filter(|_| emitted.is_err()) else {
            return emitted.map(Some).or_else(inexpressible);
        };
        let right = target.emit(ir, sources, options);
        Ok(right.ok().and_then(|right| fault.patch(&right)))
    }
}

/// Whether a target does something else than a policy says, as it warns: it counts by family.
pub(crate) fn is_approximated(ir: &Ir, backend: Backend, options: &Options) -> bool {
    let target = target::find(backend.target());
    target.is_some_and(|target| !target.remarks(ir, options).is_empty())
}

/// A target that cannot express a policy says so; without that, an error is one too many.
fn inexpressible(diagnostics: Vec<Diagnostic>) -> Result<Option<Bundle>, String> {
    let known = [Code::Unsupported, Code::TooComplex];
    if diagnostics.iter().any(|d| known.contains(&d.code)) {
        return Ok(None);
    }
    let titles: Vec<String> = diagnostics.into_iter().map(|d| d.title).collect();
    Err(titles.join("; "))
}

/// Whether the language and the laboratory say enough of a policy's packets.
fn check(ir: &Ir) -> Result<(), Unplayable> {
    let rules = ir.rules().flat_map(|(_, rule)| &rule.cubes);
    let bypasses = ir.proxies.iter().flat_map(|proxy| &proxy.bypass);
    if rules.chain(bypasses).any(names_senders) {
        return Err(Unplayable::ControlGroups);
    }
    if counts_answers(ir) {
        return Err(Unplayable::Answers);
    }
    if is_blind(ir, remembers) {
        return Err(Unplayable::Chance);
    }
    Ok(())
}

/// Whether answers to refused packets, which the interpreter does not see, may take what a bucket or a dynamic
/// set has for others: they are judged themselves where packets are judged one by one, and Netfilter asks
/// egress about them.
fn counts_answers(ir: &Ir) -> bool {
    let flowless = is_flowless(ir) && ir.rules().any(|(_, rule)| remembers(rule));
    refuses(ir) && (flowless || ir.egress.iter().any(remembers))
}

/// Whether the same is so of answers to this host's own packets: eBPF sends them in by the interface.
pub(crate) fn counts_own_answers(ir: &Ir) -> bool {
    refuses(ir) && ir.guard.iter().any(remembers)
}

fn remembers(rule: &Rule) -> bool {
    !rule.limits.is_empty() || rule.effects.add.is_some()
}

fn refuses(ir: &Ir) -> bool {
    let refuses = |rule: &Rule| matches!(rule.verdict, Some(Verdict::Reject(_)));
    ir.filter.iter().any(refuses)
}

fn names_senders(cube: &Cube) -> bool {
    let mut atoms = cube.atoms.keys();
    atoms.any(|atom| matches!(atom, Atom::Principal(..)))
}

/// Makes of a policy one to which it makes no difference how late it is: tokens come by the hour, and
/// what is idle stays so long, and no limit of live flows is met.
fn stand_still(ir: &mut Ir) {
    for (number, bucket) in ir.buckets.iter_mut().enumerate() {
        bucket.rate = match bucket.rate {
            Rate::Packets { burst, .. } => Rate::Packets {
                count: 1,
                per: TimeUnit::Hour,
                burst,
            },
            // Netfilter counts flows for a while that were never admitted.
            Rate::Flows { .. } => Rate::Flows { count: MANY_FLOWS },
            // The burst passes everything or nothing.
            Rate::Bytes { .. } => Rate::Bytes {
                count: 1,
                burst: if number % 2 == 0 { MANY_BYTES } else { 1 },
            },
        };
        bucket.idle = None;
    }
    for set in &mut ir.dynamic {
        set.idle = set.idle.map(|_| 86_400_000);
    }
}
