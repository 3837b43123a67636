//! Maps that the programs of an object share and that outlive an apply: buckets, dynamic sets, and
//! the log.
//!
//! The next generation goes on with the maps of the one before it that have the same names. So a name
//! says all that gives the contents their meaning: a bucket with another rate is another map.

use std::collections::BTreeMap;
use std::sync::Arc;

use polc_bpf::map::{Map, MapFlags, MapType, Shape};
use polc_bpf::object::Object;
use polc_bundle::sha256_hex;

use super::choice::{self, Choice, Targets};
use super::dynamic::Members;
use super::limit::{self, Limit, Outside};
use super::log;
use super::rate::{self, Meter, Store};
use super::sender::Senders;
use super::sets::{Known, SetData, Sets};
use super::socket;
use super::table::{Table, key_size};
use crate::ir::{BucketId, Cube, DynamicId, Ir, Key, KeyKind, Rate, Rule, Sense};
use crate::packet::AddrSet;
use crate::target::Options;

/// The map with the times at which tables were last swept. It need not outlive anything.
pub(super) const SWEEPS: &str = "sweeps";

/// The most keys of a table that takes all its memory when it is made: it is faster, and an entry
/// never fails for want of memory. Above, what few would ever need is not taken.
const MOST_PREALLOCATED: u32 = 65_536;

/// A millisecond in nanoseconds.
const MILLISECOND: u64 = 1_000_000;

/// The state of the programs of an object.
#[derive(Debug)]
pub(super) struct State<'s> {
    ir: &'s Ir,
    options: &'s Options,
    maps: BTreeMap<String, Map>,
    /// The maps that are swept, in the order of the times in [`SWEEPS`].
    swept: Vec<String>,
    log_ids: BTreeMap<Arc<str>, u32>,
    sets: Sets,
    targets: Targets,
    senders: Senders,
}

impl<'s> State<'s> {
    pub(super) fn new(ir: &'s Ir, options: &'s Options) -> Self {
        Self {
            ir,
            options,
            maps: BTreeMap::new(),
            swept: Vec::new(),
            log_ids: log::ids(ir),
            sets: Sets::default(),
            targets: Targets::default(),
            senders: Senders::default(),
        }
    }

    /// The choice of targets that a rule means to a family, for what this host sends or for the rest.
    pub(super) fn choice(&mut self, rule: &Rule, v6: bool, own: bool) -> Option<Choice> {
        self.targets.choice(rule, v6, own)
    }

    /// The mask of the numbers of targets so far.
    pub(super) fn target_mask(&self) -> u32 {
        self.targets.mask()
    }

    /// The large sets so far, those of the cubes among them.
    pub(super) fn large_sets<'c>(
        &mut self,
        cubes: impl Iterator<Item = &'c Cube>,
        v6: bool,
    ) -> Known {
        self.sets.note(cubes, v6, self.options.large_set)
    }

    /// What a loader has to fill maps with.
    pub(super) fn set_data(&self) -> Vec<SetData> {
        self.sets.data().collect()
    }

    /// The senders so far, those of the cubes among them. What programs know of groups outlives an apply.
    pub(super) fn senders<'c>(&mut self, cubes: impl Iterator<Item = &'c Cube>) -> Senders {
        let senders = self.senders.note(cubes);
        if senders.groups() {
            let map = socket::groups();
            self.maps.insert(map.name.clone(), map);
        }
        senders
    }

    /// All of them.
    pub(super) fn all_senders(&self) -> &Senders {
        &self.senders
    }

    /// The policy.
    pub(super) fn ir(&self) -> &'s Ir {
        self.ir
    }

    /// A bucket, as packets of a family ask it; `None` for one that programs cannot ask.
    pub(super) fn bucket(&mut self, id: BucketId, v6: bool) -> Option<Meter> {
        let bucket = self.ir.buckets.get(id)?;
        let terms = rate::terms(bucket.rate)?;
        let refill = terms.burst;
        let rate = words(bucket.rate);
        let (store, forgets) = match bucket.key {
            None => {
                let name = name('b', &format!("{:?} {rate}", bucket.name));
                let shape = Shape::new(MapType::Array, 4, 8, 1);
                self.map(&name, shape);
                (Store::Single(name), None)
            }
            Some(key) => {
                let idle = bucket
                    .idle
                    .map_or_else(|| nanoseconds(self.options.idle).max(refill), nanoseconds);
                let max = bucket.max.unwrap_or(self.options.max_set);
                let (kind, v4, v6_bits) = (word(key.kind), key.v4, key.v6);
                let full = match bucket.full {
                    Sense::Over => "over",
                    Sense::Within => "within",
                };
                let family = if v6 { 6 } else { 4 };
                let identity = format!(
                    "{:?} {rate} per {kind}/{v4},/{v6_bits} max {max} idle {idle} full {full} v{family}",
                    bucket.name
                );
                let table = self.table('b', &identity, (key, v6), 16, max, Some(idle));
                // Tokens that were not asked for as long as this are all there anyway.
                (Store::Keyed(table), Some(idle).filter(|i| *i < refill))
            }
        };
        Some(Meter {
            name: bucket.name.to_string(),
            store,
            terms,
            forgets,
            full: bucket.full,
        })
    }

    /// A limit of live flows, as packets of a family ask it; `None` for a bucket that is none. Without
    /// a key there is one for both families.
    pub(super) fn limit(&mut self, id: BucketId, v6: bool) -> Option<Limit> {
        let bucket = self.ir.buckets.get(id)?;
        let Rate::Flows { count } = bucket.rate else {
            return None;
        };
        let keys = match bucket.key {
            Some(_) => bucket.max.unwrap_or(self.options.max_set),
            None => 1,
        };
        // A live flow has one slot, and the flow table has two maps.
        let live = self.options.flows.saturating_mul(2);
        let slots = keys.saturating_mul(count).min(live);
        let key = bucket.key.map_or_else(
            || "for all".to_owned(),
            |Key { kind, v4, v6: bits }| {
                let family = if v6 { 6 } else { 4 };
                format!("per {}/{v4},/{bits} v{family}", word(kind))
            },
        );
        let rate = words(bucket.rate);
        let identity = format!("{:?} {rate} {key} keys {keys} slots {slots}", bucket.name);
        let [slots_map, keys_map] = ['c', 'k'].map(|letter| name(letter, &identity));
        let size = limit::key_size(bucket.key, v6);
        self.hash(&slots_map, (size + 4, limit::SLOT), slots);
        self.hash(&keys_map, (size, limit::SEEN), keys);
        Some(Limit {
            name: bucket.name.to_string(),
            sweep: self.sweep(&slots_map),
            slots: slots_map,
            keys: keys_map,
            count,
            key: bucket.key,
            v6,
            full: bucket.full,
            outside: Outside::of(self.ir, id, self.options.flows),
        })
    }

    /// A dynamic set, for packets of a family.
    pub(super) fn set(&mut self, id: DynamicId, v6: bool) -> Option<Members> {
        let set = self.ir.dynamic.get(id)?;
        let initial = match set.key {
            KeyKind::Pair => AddrSet::empty(),
            _ => set.initial.clone(),
        };
        let first = if v6 {
            initial.v6.count()
        } else {
            initial.v4.count()
        };
        let max = u64::from(set.max.unwrap_or(self.options.max_set));
        let room = u128::from(max).saturating_sub(first);
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        let idle = set.idle.map(nanoseconds);
        let table = (room > 0).then(|| {
            let family = if v6 { 6 } else { 4 };
            let identity = format!(
                "{:?} of {} max {room} idle {idle:?} v{family}",
                set.name,
                word(set.key)
            );
            let key = Key {
                kind: set.key,
                v4: 32,
                v6: 128,
            };
            self.table('s', &identity, (key, v6), 8, room, idle)
        });
        Some(Members {
            table,
            initial,
            kind: set.key,
        })
    }

    /// The number of a rule in the log, which there has to be.
    pub(super) fn log(&mut self, rule: &str) -> u32 {
        self.map(log::RING, Shape::ring(log::RING_SIZE));
        self.map(log::LOST, Shape::new(MapType::PercpuArray, 4, 8, 1));
        self.log_ids.get(rule).copied().unwrap_or(0)
    }

    /// A table of keys for one family.
    fn table(
        &mut self,
        letter: char,
        identity: &str,
        (key, v6): (Key, bool),
        value_size: i16,
        max: u32,
        idle: Option<u64>,
    ) -> Table {
        let name = name(letter, identity);
        self.hash(&name, (key_size(key.kind, v6), value_size), max);
        let sweep = idle.map_or(0, |_| self.sweep(&name));
        Table {
            map: name,
            key,
            v6,
            max,
            value_size,
            idle,
            sweep,
        }
    }

    /// A hash table with keys and values of these sizes.
    fn hash(&mut self, name: &str, (key, value): (i16, i16), max: u32) {
        let [key, value] = [key, value].map(|size| size.unsigned_abs().into());
        let shape = Shape::new(MapType::Hash, key, value, max.max(1));
        let lazy = max > MOST_PREALLOCATED;
        self.map(
            name,
            if lazy {
                shape.with_flags(MapFlags::NO_PREALLOC)
            } else {
                shape
            },
        );
    }

    /// The place of a map's last sweep in [`SWEEPS`].
    fn sweep(&mut self, name: &str) -> i32 {
        let known = self.swept.iter().position(|swept| swept == name);
        let place = known.unwrap_or_else(|| {
            self.swept.push(name.to_owned());
            self.swept.len() - 1
        });
        i32::try_from(place).unwrap_or(0)
    }

    fn map(&mut self, name: &str, shape: Shape) {
        self.maps
            .entry(name.to_owned())
            .or_insert_with(|| Map::new(name, shape));
    }

    /// Adds the maps to an object, and returns the names of those that outlive an apply.
    pub(super) fn write(self, object: &mut Object) -> Vec<String> {
        let names = self.maps.keys().cloned().collect();
        for map in self.sets.maps().chain(self.senders.map()) {
            object.map(map);
        }
        for map in self.maps.into_values() {
            object.map(map);
        }
        if let Ok(entries @ 1..) = u32::try_from(self.swept.len()) {
            object.map(Map::new(SWEEPS, Shape::new(MapType::Array, 4, 8, entries)));
        }
        if let Some(data) = self.targets.data() {
            object.data(choice::TARGETS, data);
        }
        if self.targets.turns() > 0 {
            let shape = Shape::new(MapType::Array, 4, 8, self.targets.turns());
            object.map(Map::new(choice::TURNS, shape));
        }
        names
    }
}

/// Milliseconds as nanoseconds; at most what a time can be.
fn nanoseconds(milliseconds: u64) -> u64 {
    let most = u64::MAX >> 2;
    milliseconds.saturating_mul(MILLISECOND).min(most)
}

/// The name of a map: a letter for what it is, and a hash of everything that makes it what it is.
fn name(letter: char, identity: &str) -> String {
    let hash = sha256_hex(identity.as_bytes());
    format!("{letter}_{}", hash.get(..12).unwrap_or_default())
}

fn words(rate: Rate) -> String {
    match rate {
        Rate::Packets { count, per, burst } => {
            let seconds = rate::seconds(per);
            format!("{count} packets/{seconds}s burst {burst}")
        }
        Rate::Bytes { count, burst } => format!("{count} bytes/s burst {burst}"),
        Rate::Flows { count } => format!("{count} flows"),
    }
}

fn word(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Source => "source",
        KeyKind::Dest => "dest",
        KeyKind::Pair => "pair",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Bucket, TimeUnit};
    use crate::source::Span;

    struct NoFiles;

    impl crate::Files for NoFiles {
        fn read(&self, _: &str) -> std::io::Result<String> {
            Err(std::io::ErrorKind::NotFound.into())
        }
    }

    fn policy(bucket: Bucket) -> Ir {
        let text = "policy p  guard { default allow }";
        let made = crate::compile("p.pol", text, &NoFiles, &crate::Options::default());
        let mut ir = made.ir.unwrap();
        ir.buckets.push(bucket);
        ir
    }

    fn map_of(bucket: Bucket, v6: bool) -> (String, Shape) {
        let ir = policy(bucket);
        let options = Options::default();
        let mut state = State::new(&ir, &options);
        let first = state.bucket(0, v6).unwrap();
        let again = state.bucket(0, v6).unwrap();
        assert_eq!(first.store, again.store);
        let (name, map) = state.maps.pop_first().unwrap();
        assert!(state.maps.is_empty());
        map.check().unwrap();
        (name, map.shape)
    }

    #[test]
    fn names_say_what_a_bucket_is() {
        let key = Key {
            kind: KeyKind::Source,
            v4: 32,
            v6: 64,
        };
        let bucket = Bucket {
            name: "b".into(),
            rate: Rate::Packets {
                count: 5,
                per: TimeUnit::Second,
                burst: 10,
            },
            key: Some(key),
            max: None,
            idle: None,
            full: Sense::Over,
            span: Span::default(),
        };
        let mut others = vec![
            (bucket.clone(), true),
            (
                Bucket {
                    name: "c".into(),
                    ..bucket.clone()
                },
                false,
            ),
            (
                Bucket {
                    max: Some(1 << 20),
                    ..bucket.clone()
                },
                false,
            ),
            (
                Bucket {
                    idle: Some(1000),
                    ..bucket.clone()
                },
                false,
            ),
            (
                Bucket {
                    full: Sense::Within,
                    ..bucket.clone()
                },
                false,
            ),
            (
                Bucket {
                    key: Some(Key { v4: 24, ..key }),
                    ..bucket.clone()
                },
                false,
            ),
            (
                Bucket {
                    key: None,
                    ..bucket.clone()
                },
                false,
            ),
            (
                Bucket {
                    rate: Rate::Bytes {
                        count: 5,
                        burst: 10,
                    },
                    ..bucket.clone()
                },
                false,
            ),
        ];
        others.push((bucket, false));
        let mut maps: Vec<(String, Shape)> = others
            .into_iter()
            .map(|(bucket, v6)| map_of(bucket, v6))
            .collect();
        assert_eq!(maps[2].1.flags, MapFlags::NO_PREALLOC);
        assert_eq!(maps[0].1.key_size, 16);
        assert_eq!(maps[6].1.kind, MapType::Array);
        let count = maps.len();
        maps.sort_by(|a, b| a.0.cmp(&b.0));
        maps.dedup_by(|a, b| a.0 == b.0);
        assert_eq!(maps.len(), count);
        assert!(maps.iter().all(|(name, _)| name.len() <= 15));
    }

    #[test]
    fn a_limit_of_live_flows_has_room_for_all() {
        let key = Key {
            kind: KeyKind::Source,
            v4: 32,
            v6: 64,
        };
        let bucket = |count, key, max| Bucket {
            name: "b".into(),
            rate: Rate::Flows { count },
            key,
            max,
            idle: None,
            full: Sense::Over,
            span: Span::default(),
        };
        let limit = |bucket, v6| {
            let ir = policy(bucket);
            let options = Options::default();
            let mut state = State::new(&ir, &options);
            let limit = state.limit(0, v6).unwrap();
            assert_eq!(limit, state.limit(0, v6).unwrap());
            let shapes = [&limit.slots, &limit.keys].map(|name| {
                let map = &state.maps[name];
                map.check().unwrap();
                (map.shape.key_size, map.shape.max_entries)
            });
            (limit.slots, shapes)
        };
        let few = limit(bucket(5, Some(key), Some(10)), false);
        assert_eq!(few.1, [(8, 50), (4, 10)]);
        let many = limit(bucket(5, Some(key), None), true);
        assert_eq!(many.1, [(20, 262_144), (16, 65_536)]);
        let other = limit(bucket(6, Some(key), Some(10)), false);
        let narrow = Key { v4: 24, ..key };
        let network = limit(bucket(5, Some(narrow), Some(10)), false);
        let names = [&few.0, &many.0, &other.0, &network.0];
        assert!(
            names
                .iter()
                .enumerate()
                .all(|(at, n)| !names[..at].contains(n))
        );
        // Without a key there is one for both families.
        let all = bucket(7, None, None);
        assert_eq!(limit(all.clone(), false), limit(all.clone(), true));
        assert_eq!(limit(all, true).1, [(8, 7), (4, 1)]);
    }
}
