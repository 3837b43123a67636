//! Programs for packets at kernels without tcx: filters at the `clsact` qdisc.
//!
//! A filter stands at a place of ours: a priority for each stage and a handle. It is ours if it is
//! there and its program is one of those that are pinned; no other filter is touched.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::BorrowedFd;

use aya::programs::ProgramError;
use nix::errno::Errno;
use polc_bundle::{ProgramHook, ProgramStage};

use super::pins::Point;
use crate::netlink::filter::{self, Direction, Filter, Place};
use crate::netlink::{RouteConnection, is_errno};

/// The handle of our filters, `polc` in ASCII.
const HANDLE: u32 = 0x706f_6c63;

/// The lowest priority of our filters. There is no lower one, so that they run before those of others.
const FIRST: u16 = 1;

/// Why a point cannot have a filter, or lose it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    /// A filter of somebody else is in its place.
    #[error("there is another filter with the priority {0}")]
    Foreign(u16),
    /// Another qdisc is in the place of `clsact`.
    #[error("there is another qdisc in the place of `clsact`")]
    Qdisc,
    /// The kernel refuses.
    #[error(transparent)]
    Kernel(#[from] io::Error),
    /// The program cannot be used.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// What stands at a point's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    /// A filter of ours with that program.
    Ours(u32),
    /// One of somebody else, beside which ours could not be.
    Foreign,
}

/// Looks at a point. Our programs have the numbers `ours`.
pub(crate) fn find(
    connection: &mut RouteConnection,
    point: Point,
    ours: &BTreeSet<u32>,
) -> io::Result<Found> {
    let Some(place) = place(point) else {
        return Ok(Found::Nothing);
    };
    Ok(judge(&filter::beside(connection, place)?, ours))
}

/// Checks that nobody else's filter is in a point's place; whether there is one that may run before
/// ours.
pub(crate) fn check(
    connection: &mut RouteConnection,
    point: Point,
    ours: &BTreeSet<u32>,
) -> Result<bool, FilterError> {
    let Some(place) = place(point) else {
        return Ok(false);
    };
    let mut behind = false;
    for priority in FIRST..=place.priority {
        let beside = filter::beside(connection, Place { priority, ..place })?;
        if priority == place.priority && judge(&beside, ours) == Found::Foreign {
            return Err(FilterError::Foreign(priority));
        }
        behind |= beside.iter().any(|filter| is_foreign(filter, ours));
    }
    Ok(behind)
}

fn is_foreign(filter: &Filter, ours: &BTreeSet<u32>) -> bool {
    let of_ours = || {
        filter
            .program
            .is_some_and(|program| ours.contains(&program))
    };
    filter.handle != 0 && !(filter.handle == HANDLE && of_ours())
}

fn judge(beside: &[Filter], ours: &BTreeSet<u32>) -> Found {
    let own = beside.iter().find(|filter| filter.handle == HANDLE);
    match own.map(|filter| filter.program) {
        _ if beside.iter().any(|filter| !filter.same_kind) => Found::Foreign,
        None => Found::Nothing,
        Some(Some(program)) if ours.contains(&program) => Found::Ours(program),
        Some(_) => Found::Foreign,
    }
}

/// Lets a point run a program, in one step where it runs another one of ours.
pub(crate) fn put(
    connection: &mut RouteConnection,
    point: Point,
    program: BorrowedFd<'_>,
    ours: &BTreeSet<u32>,
) -> Result<(), FilterError> {
    let place = place(point).ok_or(io::Error::from(Errno::EINVAL))?;
    let foreign = FilterError::Foreign(place.priority);
    let exclusive = match judge(&filter::beside(connection, place)?, ours) {
        Found::Nothing => {
            filter::add_qdisc(connection, point.index).map_err(|error| {
                if is_errno(&error, Errno::EINVAL) {
                    FilterError::Qdisc
                } else {
                    error.into()
                }
            })?;
            true
        }
        Found::Ours(_) => false,
        Found::Foreign => return Err(foreign),
    };
    match filter::set(connection, place, program, exclusive) {
        Err(error) if is_errno(&error, Errno::EEXIST) => Err(foreign),
        other => Ok(other?),
    }
}

/// Takes the filter of a point away if it is ours. The qdisc stays: somebody else may use it.
pub(crate) fn remove(
    connection: &mut RouteConnection,
    point: Point,
    ours: &BTreeSet<u32>,
) -> io::Result<()> {
    let (Some(place), Found::Ours(_)) = (place(point), find(connection, point, ours)?) else {
        return Ok(());
    };
    let removed = filter::remove(connection, place);
    // It may have gone with its interface or its qdisc meanwhile.
    match find(connection, point, ours)? {
        Found::Ours(_) => removed,
        _ => Ok(()),
    }
}

/// The place of a point that is for packets.
fn place(point: Point) -> Option<Place> {
    let direction = match point.hook {
        ProgramHook::Xdp | ProgramHook::SockCreate | ProgramHook::GetSockOpt => return None,
        ProgramHook::Ingress => Direction::Ingress,
        ProgramHook::Egress => Direction::Egress,
    };
    Some(Place {
        index: point.index,
        direction,
        priority: match point.stage {
            ProgramStage::Guard => FIRST,
            ProgramStage::Steer => FIRST + 1,
            ProgramStage::Filter => FIRST + 2,
            ProgramStage::Egress => FIRST + 3,
        },
        handle: HANDLE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_stand_in_the_order_of_stages() {
        let at = |hook| {
            let place = |stage| {
                place(Point {
                    index: 7,
                    hook,
                    stage,
                })
            };
            ProgramStage::ALL.map(|stage| place(stage).map(|place| place.priority))
        };
        assert_eq!(at(ProgramHook::Ingress), [1, 2, 3, 4].map(Some));
        assert_eq!(at(ProgramHook::Egress), [1, 2, 3, 4].map(Some));
        assert_eq!(at(ProgramHook::Xdp), [None; 4]);
    }

    #[test]
    fn a_filter_is_ours_by_its_place_and_its_program() {
        let filter = |handle, program| Filter {
            handle,
            same_kind: true,
            program,
        };
        let of_flower = Filter {
            same_kind: false,
            ..filter(0, None)
        };
        let ours = BTreeSet::from([7]);
        for (beside, found) in [
            (vec![], Found::Nothing),
            (vec![filter(0, None), filter(1, Some(7))], Found::Nothing),
            (
                vec![filter(1, Some(9)), filter(HANDLE, Some(7))],
                Found::Ours(7),
            ),
            (vec![filter(HANDLE, Some(9))], Found::Foreign),
            (vec![filter(HANDLE, None)], Found::Foreign),
            (vec![of_flower], Found::Foreign),
        ] {
            assert_eq!(judge(&beside, &ours), found, "{beside:?}");
        }
    }
}
