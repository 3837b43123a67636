//! The register of diagnostic codes. A code never changes its meaning and is never used again.
//!
//! The codes of the compiler are listed here; those of lints stand in the register of
//! [`lint`](crate::analyse::lint).

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use super::meta::Meta;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $ident:ident = $number:literal $name:literal;)*) => {
        /// A diagnostic's code.
        #[derive(Clone, Copy, Debug)]
        pub enum Code {
            $($(#[doc = $doc])+ $ident,)*
            /// What a lint finds.
            Lint(&'static Meta),
        }

        impl Code {
            /// Every code of the compiler, in order.
            pub const ALL: &'static [Self] = &[$(Self::$ident),*];

            /// `POL001`
            pub const fn id(self) -> &'static str {
                match self {
                    $(Self::$ident => $number,)*
                    Self::Lint(meta) => meta.id,
                }
            }

            /// `syntax-error`
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$ident => $name,)*
                    Self::Lint(meta) => meta.name,
                }
            }

            /// What it means, in a sentence or two.
            pub const fn summary(self) -> &'static str {
                match self {
                    $(Self::$ident => concat!($($doc),+).trim_ascii(),)*
                    Self::Lint(meta) => meta.summary,
                }
            }
        }
    };
}

codes! {
    /// The compiler has broken one of its own rules.
    Internal = "POL000" "internal-error";
    /// The text is not a policy: something stands where something else is expected.
    Syntax = "POL001" "syntax-error";
    /// The file is written in the language of Capirca or Aerleon, which shares the ending.
    ForeignLanguage = "POL002" "foreign-language";
    /// A file that the policy names cannot be read.
    FileNotFound = "POL003" "file-not-found";
    /// A line of a set file is not an address, prefix or range.
    BadSetFile = "POL004" "bad-set-file";
    /// `use` leads back to a file that is being read.
    ImportCycle = "POL005" "import-cycle";
    /// Two definitions of one kind, or two rules, share a name.
    DuplicateName = "POL006" "duplicate-name";
    /// A value is not of the type that its place needs.
    TypeMismatch = "POL007" "type-mismatch";
    /// A parameter has no value, or a value is given for a parameter that does not exist.
    UnboundParam = "POL008" "unbound-param";
    /// A template is applied with the wrong number of arguments, or where its body cannot stand.
    BadApply = "POL009" "bad-apply";
    /// The verb does not belong to this stage.
    WrongStage = "POL010" "wrong-stage";
    /// The clause does not belong to this verb or stage.
    WrongClause = "POL011" "wrong-clause";
    /// A verb lacks a clause that it needs (`=>`, `via`, `mark`).
    MissingClause = "POL012" "missing-clause";
    /// A number is outside its field's values.
    OutOfRange = "POL013" "out-of-range";
    /// `to ZONE` before routing needs the zone's `net`.
    ZoneWithoutNet = "POL014" "zone-without-net";
    /// Two zones share an interface.
    OverlappingZones = "POL015" "overlapping-zones";
    /// A family that can reach the rule has no target.
    MissingTarget = "POL016" "missing-target";
    /// The rate cannot be built: no tokens, or a unit that the stage does not count.
    BadRate = "POL017" "bad-rate";
    /// The field does not exist, or does not exist in this stage.
    BadField = "POL018" "bad-field";
    /// A file declares two policies.
    PolicyName = "POL019" "policy-name";
    /// A test or claim speaks of something that the policy does not have.
    BadExpectation = "POL020" "bad-expectation";
    /// Two proxies or routes share a mark, another rule sets it, or two masks share some bits.
    MarkCollision = "POL021" "mark-collision";
    /// A condition could not be brought into normal form within the limit of its size.
    TooComplex = "POL022" "too-complex";
    /// A set holds more than its `max`.
    SetOverflow = "POL023" "set-overflow";
    /// A step of an inline test did not come out as it says.
    TestFailed = "POL024" "test-failed";
    /// A claim does not hold: there is a packet with another outcome.
    ClaimFails = "POL027" "claim-does-not-hold";
    /// Whether a claim holds could not be worked out.
    ClaimUnknown = "POL028" "claim-unknown";
    /// No packet can match the rule: its conditions exclude one another.
    UnmatchableRule = "POL102" "unmatchable-rule";
    /// A set without elements is used in a rule.
    EmptySet = "POL110" "empty-set";
    /// A range runs backwards.
    InvertedRange = "POL112" "inverted-or-degenerate-range";
    /// A prefix has bits set beyond its length.
    HostBits = "POL113" "host-bits-set";
    /// A claim is about no packet at all.
    VacuousClaim = "POL114" "vacuous-assertion";
    /// Traffic can reach the end of a stage undecided.
    MissingDefault = "POL117" "missing-default";
    /// A transparent proxy takes only TCP and UDP, and needs a socket of each family it is sent.
    ProxyProtocol = "POL307" "tproxy-protocol";
    /// The routing table is one of the system's own.
    RouteTable = "POL310" "route-table-collision";
    /// What a rate refuses, a later rule allows: the rate has no effect.
    LimitNoEffect = "POL402" "limit-no-effect";
    /// The target cannot express this.
    Unsupported = "POL601" "backend-unsupported";
    /// An interface name that no kernel would accept.
    InterfaceName = "POL607" "interface-name-too-long";
    /// The target counts for each family what the policy counts for both.
    FamilyScope = "POL608" "limit-by-family";
    /// The rule's date has passed.
    Expired = "POL703" "expired";
    /// A name that nothing defines, or that is defined by itself.
    Undefined = "POL706" "undefined-or-cyclic-reference";
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Code {}

impl PartialOrd for Code {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Code {
    fn cmp(&self, other: &Self) -> Ordering {
        self.id().cmp(other.id())
    }
}

impl Hash for Code {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::Code;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_and_ordered() {
        let ids: Vec<_> = Code::ALL.iter().map(|c| c.id()).collect();
        assert!(ids.is_sorted(), "{ids:?}");
        let names: BTreeSet<_> = Code::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|c| c.summary().ends_with('.')));
    }
}
