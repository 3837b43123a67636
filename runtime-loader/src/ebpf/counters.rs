//! What the rules of a policy have counted.
//!
//! A rule's counter is known by the rule's name. Where two generations count the same rules, they
//! share the map, and no packet is lost; otherwise the new one begins with what was counted by then
//! under the names that it still has.

use std::collections::BTreeMap;
use std::path::Path;

use aya::Ebpf;
use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues};
use polc_bundle::Manifest;

use super::EbpfError;
use crate::nft::Counter;

/// Packets and bytes on one processor.
type Pair = [u64; 2];

/// The place of each counting rule's counter.
pub(crate) fn places(manifest: &Manifest) -> BTreeMap<&str, u32> {
    let place = |counter: &str| counter.rsplit_once('/')?.1.parse().ok();
    let rules = manifest.rules.iter();
    rules
        .filter_map(|rule| Some((rule.name.as_str(), place(rule.counter.as_deref()?)?)))
        .collect()
}

/// What the map pinned at `path` says of each counting rule.
pub(crate) fn read(
    path: &Path,
    manifest: &Manifest,
) -> Result<BTreeMap<String, Counter>, EbpfError> {
    let map = open(path)?;
    let sum = |(name, place): (&str, u32)| {
        let values = map.get(&place, 0).map_err(failed)?;
        let total = values
            .iter()
            .fold([0; 2], |[packets, bytes]: Pair, [p, b]| {
                [packets.wrapping_add(*p), bytes.wrapping_add(*b)]
            });
        let [packets, bytes] = total;
        Ok((name.to_owned(), Counter { packets, bytes }))
    };
    places(manifest).into_iter().map(sum).collect()
}

/// Gives the counters of a loaded object what the map pinned at `path` has under the same names.
pub(crate) fn hand_on(
    path: &Path,
    before: &Manifest,
    loaded: &mut Ebpf,
    manifest: &Manifest,
) -> Result<(), EbpfError> {
    let Some(map) = loaded.map_mut("counters") else {
        return Ok(());
    };
    let mut new: PerCpuArray<_, Pair> = map.try_into().map_err(failed)?;
    let (old, places_before) = (open(path)?, places(before));
    for (name, place) in places(manifest) {
        if let Some(from) = places_before.get(name) {
            let values: PerCpuValues<Pair> = old.get(from, 0).map_err(failed)?;
            new.set(place, values, 0).map_err(failed)?;
        }
    }
    Ok(())
}

fn open(path: &Path) -> Result<PerCpuArray<MapData, Pair>, EbpfError> {
    let data = MapData::from_pin(path).map_err(failed)?;
    let map = Map::from_map_data(data).map_err(failed)?;
    map.try_into().map_err(failed)
}

fn failed(error: aya::maps::MapError) -> EbpfError {
    EbpfError::Counters(Box::new(error))
}
