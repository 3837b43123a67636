//! What a stage implies is made explicit: loopback traffic is left out of every cube that does not
//! name `lo`; guard sees arriving packets, egress leaving ones; a cube of steer is either of
//! arriving packets or of locally generated ones, for they pass different hooks.

use crate::ir::{Cube, Side, Stage};
use crate::packet::{IfaceSet, Pattern};

/// The packets of a cube that the stage sees.
pub(super) fn settle(cube: &Cube, stage: Stage) -> Vec<Cube> {
    let any = IfaceSet::full();
    let local = Cube {
        ingress: Side::host(),
        ..Cube::any()
    };
    let arriving = Cube {
        ingress: Side::ifaces(any.clone()),
        ..Cube::any()
    };
    let leaving = Cube {
        egress: Side::ifaces(any),
        ..Cube::any()
    };
    let lo = names_loopback(&cube.ingress) || names_loopback(&cube.egress);
    let own = || without_loopback(cube.clone(), lo);
    match stage {
        Stage::Guard => {
            let unrouted = own().intersection(&arriving).into_iter();
            unrouted
                .map(|c| Cube {
                    egress: Side::any(),
                    ..c
                })
                .collect()
        }
        Stage::Egress => own().intersection(&leaving).into_iter().collect(),
        Stage::Steer => {
            let unrouted = cube.egress.ifaces.is_full() || cube.egress.ifaces.is_empty();
            let arriving = unrouted.then(|| {
                let egress = cube.egress.clone();
                own().intersection(&arriving).map(|c| Cube { egress, ..c })
            });
            let local = own()
                .intersection(&local)
                .filter(|c| !c.egress.ifaces.is_empty());
            arriving.flatten().into_iter().chain(local).collect()
        }
        Stage::Filter => {
            let cube = own();
            let (from, to) = (&cube.ingress, &cube.egress);
            let passes_a_hook = (to.host || !to.ifaces.is_empty()) && !from.ifaces.is_empty()
                || from.host && !to.ifaces.is_empty();
            cube.normal()
                .filter(|_| passes_a_hook)
                .into_iter()
                .collect()
        }
    }
}

/// Whether the side names `lo` itself.
fn names_loopback(side: &Side) -> bool {
    side.ifaces
        .include()
        .is_some_and(|i| i.contains(&Pattern::Name("lo".to_owned())))
}

fn without_loopback(mut cube: Cube, named: bool) -> Cube {
    if !named {
        let rest = IfaceSet::not_loopback();
        cube.ingress.ifaces = cube.ingress.ifaces.intersection(&rest);
        cube.egress.ifaces = cube.egress.ifaces.intersection(&rest);
    }
    cube
}

/// Whether a cube of steer asks by which interface arriving packets leave, which is not known
/// before they are routed.
pub(super) fn asks_unrouted(cube: &Cube) -> bool {
    let out = &cube.egress.ifaces;
    !out.is_full() && !out.is_empty() && !cube.ingress.ifaces.is_empty()
}
