//! Proofs of claims, over all packets and all stages.
//!
//! `ensure X S` holds when no packet of S has another outcome than X while every bucket has tokens;
//! `never X S` when none has it in any state of the buckets. What a claim's clauses mean is what
//! they mean in a section of filter, so its destination is where a packet ends up. See [`ways`].
//!
//! A claim speaks of packets that open flows. When none of its packets does, it speaks of all of
//! them, as if they did.
//!
//! Nothing is believed that the interpreter does not confirm: a packet that breaks a claim is
//! judged by it before anyone sees it, and in debug builds, random packets of a claim that has been
//! proven are judged, too. Where the two disagree, polc is wrong ([`Proof::Defect`]).
//!
//! [`ways`]: super::ways

mod report;
mod sample;

use std::cell::Cell;

use polc_grammar::ast::ClaimKind;

pub use report::{describe, diagnostic, packet};

use super::model::{Model, Source, Witness};
use super::ways::{Asked, Class, Ending, Found, Goal, Opening, Ways};
use crate::interpret::{Decision, State, judge};
use crate::ir::{Cube, Ir};
use crate::packet::cover::{Budget, OutOfBudget};
use crate::policy::{Claim, Policy};

/// How much work a proof may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// The most pieces that the search looks at for one question.
    pub pieces: u64,
    /// How many random packets are judged when something has been proven.
    pub samples: u32,
}

impl Default for Effort {
    fn default() -> Self {
        Self {
            pieces: 2_000_000,
            samples: if cfg!(debug_assertions) { 10_000 } else { 0 },
        }
    }
}

/// What became of a claim.
#[derive(Clone, Debug)]
pub struct ClaimResult {
    /// Its index in [`Policy::claims`].
    pub claim: usize,
    /// Whether it holds.
    pub proof: Proof,
    /// How many classes of packets the search looked at: pieces of the packet space, each of which
    /// the rules that meet it treat alike.
    pub classes: u64,
}

/// Whether something holds for every packet.
#[derive(Clone, Debug)]
pub enum Proof {
    /// It does.
    Proven,
    /// It does not.
    Fails(Box<Shown>),
    /// There is no packet that it is about.
    Vacuous,
    /// Nobody knows, for this reason.
    Unknown(String),
    /// The interpreter says otherwise: polc is wrong.
    Defect(Box<Shown>),
}

/// A packet, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The packet, and the answers of buckets and dynamic sets that go with it.
    pub witness: Witness,
    /// What decided in each stage, as the search has it; empty for a random packet.
    pub way: Vec<Source>,
    /// What the interpreter says of it.
    pub decision: Decision,
}

/// Noon of a Wednesday, in milliseconds since 1970.
const NOON: u64 = 1_767_787_200_000;

/// Answers questions about the outcomes of a policy's packets.
pub struct Prover<'m> {
    ways: Ways<'m>,
    effort: Effort,
    /// How many pieces it has looked at.
    classes: Cell<u64>,
}

/// What the search for a packet came to.
#[derive(Clone, Debug)]
pub enum Answer {
    /// There is one.
    Some(Box<Shown>),
    /// There is none.
    None,
    /// Nobody knows, for this reason.
    Unknown(String),
    /// The interpreter says otherwise: polc is wrong.
    Defect(Box<Shown>),
}

/// Proves every claim of a policy, in source order.
pub fn prove(policy: &Policy, ir: &Ir) -> Vec<ClaimResult> {
    prove_with(policy, ir, Effort::default())
}

/// As [`prove`], with so much work at most.
pub fn prove_with(policy: &Policy, ir: &Ir, effort: Effort) -> Vec<ClaimResult> {
    let model = Model::new(policy, ir);
    let prover = Prover::new(&model, effort);
    let proof = |claim: &Claim| match &prover {
        Ok(prover) => {
            let before = prover.classes.get();
            (prover.claim(claim), prover.classes.get() - before)
        }
        Err(OutOfBudget) => (Proof::Unknown(TOO_MUCH.to_owned()), 0),
    };
    let claims = policy.claims.iter().enumerate();
    claims
        .map(|(claim, c)| {
            let (proof, classes) = proof(c);
            ClaimResult {
                claim,
                proof,
                classes,
            }
        })
        .collect()
}

const TOO_MUCH: &str = "there is too much to look at";

impl<'m> Prover<'m> {
    /// A prover for the model's policy.
    pub fn new(model: &'m Model<'m>, effort: Effort) -> Result<Self, OutOfBudget> {
        Ok(Self {
            ways: Ways::new(model)?,
            effort,
            classes: Cell::new(0),
        })
    }

    /// Whether a claim holds.
    pub fn claim(&self, claim: &Claim) -> Proof {
        let Some(class) = Class::of(claim.outcome) else {
            return Proof::Unknown("what it speaks of is no outcome".to_owned());
        };
        match claim.kind {
            ClaimKind::Ensure | ClaimKind::Protect => self.ensure(class, &claim.cubes),
            ClaimKind::Never => self.never(class, &claim.cubes),
        }
    }

    /// Whether every packet has an outcome of the class, with tokens in every bucket.
    pub fn ensure(&self, class: Class, cubes: &[Cube]) -> Proof {
        self.no(cubes, true, Goal::HasNot(class))
    }

    /// Whether no packet has an outcome of the class.
    pub fn never(&self, class: Class, cubes: &[Cube]) -> Proof {
        self.no(cubes, false, Goal::Has(class))
    }

    /// Whether no packet has an outcome that is wanted.
    fn no(&self, cubes: &[Cube], tokens: bool, goal: Goal) -> Proof {
        match self.asked(cubes, tokens, goal) {
            Ok(Some(asked)) => match self.search(asked, goal) {
                Answer::Some(shown) => Proof::Fails(shown),
                Answer::None => Proof::Proven,
                Answer::Unknown(why) => Proof::Unknown(why),
                Answer::Defect(shown) => Proof::Defect(shown),
            },
            Ok(None) => Proof::Vacuous,
            Err(OutOfBudget) => Proof::Unknown(TOO_MUCH.to_owned()),
        }
    }

    /// Looks for one of the packets whose outcome is wanted.
    pub fn find(&self, cubes: &[Cube], tokens: bool, goal: Goal) -> Answer {
        match self.asked(cubes, tokens, goal) {
            Ok(Some(asked)) => self.search(asked, goal),
            Ok(None) => Answer::None,
            Err(OutOfBudget) => Answer::Unknown(TOO_MUCH.to_owned()),
        }
    }

    /// Which packets are spoken of; `None` when there are none.
    fn asked<'c>(
        &self,
        cubes: &'c [Cube],
        tokens: bool,
        goal: Goal,
    ) -> Result<Option<Asked<'c>>, OutOfBudget> {
        for opening in [Opening::Can, Opening::Any] {
            let asked = Asked {
                cubes,
                tokens,
                opening,
                class: goal.class(),
            };
            let found = self.ways_to(asked, Goal::Any)?;
            if found.is_some() {
                return Ok(Some(asked));
            }
        }
        Ok(None)
    }

    fn search(&self, asked: Asked, goal: Goal) -> Answer {
        let blind = self.ways.model.blind();
        match self.ways_to(asked, goal) {
            Ok(Some(found)) => {
                let shown = Box::new(self.judged(&found));
                let (expected, actual) = (found.ending, Ending::of(&shown.decision));
                let agrees = expected.same(actual) && goal.wants(actual);
                match blind {
                    _ if agrees => Answer::Some(shown),
                    Some(why) => Answer::Unknown(why.to_owned()),
                    None => Answer::Defect(shown),
                }
            }
            Ok(None) => match blind {
                Some(why) => Answer::Unknown(why.to_owned()),
                None => match self.sample(asked, goal) {
                    Some(shown) => Answer::Defect(Box::new(shown)),
                    None => Answer::None,
                },
            },
            Err(OutOfBudget) => Answer::Unknown(TOO_MUCH.to_owned()),
        }
    }

    fn ways_to(&self, asked: Asked, goal: Goal) -> Result<Option<Found>, OutOfBudget> {
        let mut budget = Budget::new(self.effort.pieces);
        let found = self.ways.find(asked, goal, &mut budget);
        let looked = self.effort.pieces - budget.left();
        self.classes.set(self.classes.get() + looked);
        found
    }

    /// What the interpreter says of a packet that was found.
    fn judged(&self, found: &Found) -> Shown {
        let model = self.ways.model;
        let witness = model.example(&found.region);
        let decision = decide(model.ir, &witness, found.choice, true);
        Shown {
            witness,
            way: found.way.clone(),
            decision,
        }
    }
}

/// What the interpreter says of a packet; `choice` is the target that it gets when there are
/// several.
fn decide(ir: &Ir, witness: &Witness, choice: Option<usize>, trace: bool) -> Decision {
    let mut state = State::oracle(witness.within.clone(), witness.members.clone());
    state.choose_target(choice);
    state.trace = trace;
    judge(ir, &witness.packet, &mut state, NOON)
}
