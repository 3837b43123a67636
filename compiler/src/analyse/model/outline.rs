//! What a rule may mean, at a glance.
//!
//! Most rules of a long list mean nothing of a small region, and their addresses and ports alone
//! tell. An [`Outline`] has them in a few numbers, so that a list can be asked about many regions
//! without a look at the cubes of each rule.

use super::space::{Fixed, Space, V4};
use super::view::{Moved, View};
use crate::field::DPORT;
use crate::ir::{Cube, Rule};
use crate::packet::interval::Int;
use crate::packet::{AddrSet, Region, Values};

/// The smallest and the largest number of a dimension.
type Bounds = (u128, u128);

/// Every number.
const ALL: Bounds = (0, u128::MAX);

/// The bounds of what all cubes of a rule mean together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outline {
    /// Of IPv4 and of IPv6: those of source, protocol, destination and destination port. `None`
    /// when the rule means no packet of the family.
    families: [Option<[Bounds; 4]>; 2],
}

/// A region, to be compared with outlines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    family: usize,
    bounds: [Bounds; 4],
}

impl Outline {
    pub(crate) fn of(rule: &Rule) -> Self {
        let mut out = Self::default();
        for cube in &rule.cubes {
            let has = [cube.families.v4, cube.families.v6];
            for (family, (has, known)) in has.into_iter().zip(&mut out.families).enumerate() {
                let Some(own) = has.then(|| bounds(cube, family as u128)).flatten() else {
                    continue;
                };
                let known = known.get_or_insert(own);
                for (known, own) in known.iter_mut().zip(own) {
                    *known = (known.0.min(own.0), known.1.max(own.1));
                }
            }
        }
        out
    }

    /// Whether the rule may mean packets of a region.
    pub(crate) fn may_meet(&self, extent: &Extent) -> bool {
        let own = self.families.get(extent.family).and_then(Option::as_ref);
        let meet = |((a, b), (c, d)): (&Bounds, &Bounds)| a <= d && c <= b;
        own.is_some_and(|own| own.iter().zip(&extent.bounds).all(meet))
    }
}

impl Extent {
    /// A region of one family, in the eyes of a stage. What steer has moved has another destination
    /// there.
    pub(crate) fn of(space: &Space, region: &Region, view: View) -> Self {
        let Fixed {
            source,
            protocol,
            destination,
            dport,
            ..
        } = space.at_fixed();
        let bounds = |at| region.dim(at).map_or(ALL, Values::bounds);
        let own = |at| match view.moved {
            Moved::No => bounds(at),
            _ => ALL,
        };
        Self {
            family: usize::from(space.family(region) != V4),
            bounds: [
                bounds(source),
                bounds(protocol),
                own(destination),
                own(dport),
            ],
        }
    }
}

/// The bounds of a cube; `None` when it means nothing of the family.
fn bounds(cube: &Cube, family: u128) -> Option<[Bounds; 4]> {
    let addresses = |set: &AddrSet| match family {
        V4 => ends(set.v4.ranges()),
        _ => ends(set.v6.ranges()),
    };
    let dport = cube.field(DPORT).map(|ports| ends(ports.ranges()));
    Some([
        addresses(&cube.saddr)?,
        ends(cube.proto.ranges())?,
        addresses(&cube.daddr)?,
        dport.unwrap_or(Some(ALL))?,
    ])
}

fn ends<T: Int>(ranges: &[(T, T)]) -> Option<Bounds> {
    Some((ranges.first()?.0.wide(), ranges.last()?.1.wide()))
}

#[cfg(test)]
mod tests {
    use polc_generator::{Kind, family};

    use super::{Extent, Outline};
    use crate::analyse::model::{Memory, Model, Moved, View};
    use crate::interpret::RuleId;
    use crate::ir::Stage;
    use crate::{Files, Options, compile};

    struct NoFiles;

    impl Files for NoFiles {
        fn read(&self, path: &str) -> std::io::Result<String> {
            Err(std::io::Error::other(path.to_owned()))
        }
    }

    #[test]
    fn a_rule_that_may_mean_nothing_of_a_region_does_not() {
        let text = family(Kind::Firewall, 60, 7);
        let out = compile("p.pol", &text, &NoFiles, &Options::default());
        let ir = out.ir.as_ref().unwrap();
        let model = Model::new(&out.policy, ir);
        let (mut meeting, mut apart) = (0, 0);
        for moved in [Moved::No, Moved::Routed] {
            let view = View {
                moved,
                ..View::of(Stage::Filter)
            };
            let regions = model.lines(view).unwrap().into_iter();
            let regions: Vec<_> = regions.flat_map(|line| line.regions).collect();
            for (index, rule) in ir.filter.iter().enumerate() {
                let (stage, outline) = (Stage::Filter, Outline::of(rule));
                for region in &regions {
                    let mut found = Vec::new();
                    let id = RuleId { stage, index };
                    model
                        .rule_within(id, view, Memory::NONE, region, &mut found)
                        .unwrap();
                    let may = outline.may_meet(&Extent::of(&model.space, region, view));
                    assert!(may || found.is_empty(), "{} in {region:?}", rule.name);
                    meeting += usize::from(may);
                    apart += usize::from(!may);
                }
            }
        }
        assert!(meeting > 0 && apart > 0, "{meeting} {apart}");
    }
}
