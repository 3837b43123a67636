//! Runs plans: the reference of what every step means.
//!
//! With the plan of `plan`'s example, the point `(22, 17)` loads 1 and 0, then entry 2 of the last
//! table, and ends with 7.

use std::ops::ControlFlow;

use super::plan::{
    LEAF, NODE, Operand, Part, Plan, Slot, Step, Table, TableId, Term, Test, Width, hash,
};

/// More slots than any plan has.
const SLOTS: usize = 64;

impl Plan {
    /// The answer for a point: one number for each field of the problem.
    ///
    /// `None` when the point has too few numbers, or when the plan is not whole.
    pub fn eval(&self, point: &[u128]) -> Option<u32> {
        let mut run = Run {
            plan: self,
            point,
            slots: [0; SLOTS],
        };
        for step in &self.steps {
            if let ControlFlow::Break(answer) = run.step(step)? {
                return Some(answer);
            }
        }
        None
    }
}

/// The entry of a table at an index, which is masked; `None` outside of the blob.
pub(super) fn entry(blob: &[u8], table: &Table, index: u64) -> Option<u64> {
    let at = usize::try_from(index & u64::from(table.mask)).ok()?;
    let size = table.width.bytes() as usize;
    let from = table.offset as usize + at * size;
    let bytes = blob.get(from..from + size)?;
    Some(match table.width {
        Width::U8 => u64::from(*bytes.first()?),
        Width::U16 => u64::from(u16::from_le_bytes(bytes.try_into().ok()?)),
        Width::U32 => u64::from(u32::from_le_bytes(bytes.try_into().ok()?)),
        Width::U64 => u64::from_le_bytes(bytes.try_into().ok()?),
    })
}

struct Run<'a> {
    plan: &'a Plan,
    point: &'a [u128],
    slots: [u64; SLOTS],
}

impl Run<'_> {
    fn step(&mut self, step: &Step) -> Option<ControlFlow<u32>> {
        match step {
            Step::Set { to, value } => self.set(*to, u64::from(*value)),
            Step::Load { to, table, index } => {
                let value = self.read(*table, self.sum(index)?)?;
                self.set(*to, value)
            }
            Step::Descend {
                slot,
                flag,
                table,
                part,
            } => self.descend(*slot, *flag, *table, *part),
            Step::Bit {
                slot,
                flag,
                table,
                part,
                values,
            } => self.bit((*slot, *flag), (*table, *part), *values),
            Step::Tree {
                to,
                levels,
                values,
                part,
            } => self.tree((*to, *part), levels, *values),
            Step::Search { .. } => self.search(step),
            Step::Bucket { .. } => self.bucket(step),
            Step::FirstCommon { .. } => self.first_common(step),
            Step::Least { to, of } => {
                let least = of.iter().map(|slot| self.get(*slot)).min()?;
                self.set(*to, least)
            }
            Step::Match { tests, answer } => {
                let mut hold = true;
                for test in tests {
                    hold = hold && self.holds(test)?;
                }
                if hold {
                    return Some(ControlFlow::Break(*answer));
                }
                Some(())
            }
            Step::Answer { slot } => {
                return u32::try_from(self.get(*slot)).ok().map(ControlFlow::Break);
            }
        }?;
        Some(ControlFlow::Continue(()))
    }

    fn get(&self, slot: Slot) -> u64 {
        self.slots
            .get(usize::from(slot.0))
            .copied()
            .unwrap_or_default()
    }

    fn set(&mut self, slot: Slot, value: u64) -> Option<()> {
        *self.slots.get_mut(usize::from(slot.0))? = value;
        Some(())
    }

    fn part(&self, part: Part) -> Option<u64> {
        let field = self.point.get(usize::from(part.field))?;
        let all = u64::MAX.checked_shr(64 - u32::from(part.bits)).unwrap_or(0);
        #[expect(clippy::cast_possible_truncation, reason = "the mask leaves 64 bits")]
        let low = field.checked_shr(part.shift.into()).unwrap_or(0) as u64;
        Some(low & all)
    }

    fn read(&self, table: TableId, index: u64) -> Option<u64> {
        entry(&self.plan.blob, self.plan.table(table)?, index)
    }

    fn sum(&self, terms: &[Term]) -> Option<u64> {
        let mut sum = 0u64;
        for term in terms {
            let of = match term.of {
                Operand::Part(part) => self.part(part)?,
                Operand::Slot(slot) => self.get(slot),
                Operand::High(slot) => self.get(slot) >> 32,
                Operand::Low(slot) => self.get(slot) & u64::from(u32::MAX),
            };
            sum = sum.wrapping_add(of.wrapping_mul(term.times.into()));
        }
        Some(sum)
    }

    fn holds(&self, test: &Test) -> Option<bool> {
        let value = self.point.get(usize::from(test.field))?;
        Some(test.ranges.iter().any(|(a, b)| a <= value && value <= b))
    }

    fn descend(&mut self, slot: Slot, flag: u64, table: TableId, part: Part) -> Option<()> {
        let from = self.get(slot);
        if from & flag == 0 {
            return Some(());
        }
        let value = self.read(table, from << part.bits | self.part(part)?)?;
        self.set(slot, value)
    }

    fn bit(
        &mut self,
        (slot, flag): (Slot, u64),
        (table, part): (TableId, Part),
        [zero, one]: [u32; 2],
    ) -> Option<()> {
        let from = self.get(slot);
        if from & flag == 0 {
            return Some(());
        }
        let index = from << part.bits | self.part(part)?;
        let word = self.read(table, index >> 6)?;
        let value = if word >> (index & 63) & 1 == 0 {
            zero
        } else {
            one
        };
        self.set(slot, value.into())
    }

    fn tree(
        &mut self,
        (to, part): (Slot, Part),
        levels: &[TableId],
        values: Option<TableId>,
    ) -> Option<()> {
        let (number, lost) = (self.part(part)?, u32::from(part.bits == 64));
        let (bottom, above) = levels.split_last()?;
        let mut at = 0;
        let nodes = above.iter().map(|level| (level, NODE, 0));
        for (level, keys, lost_here) in nodes.chain([(bottom, LEAF, lost)]) {
            let keys = keys.min(self.plan.table(*level)?.mask as usize + 1) as u64;
            at *= keys;
            for key in at + 1..at + keys {
                let key = self.read(*level, key)? >> lost_here;
                // As programs compare: 1 if the difference is negative.
                at += key.wrapping_sub(number >> lost) >> 63;
            }
        }
        at += u64::from(self.read(*bottom, at + 1)? < number);
        let value = match values {
            Some(table) => self.read(table, at)?,
            None => at & 1,
        };
        self.set(to, value)
    }

    fn search(&mut self, step: &Step) -> Option<()> {
        let Step::Search {
            slot,
            flag,
            keys,
            low,
            values,
            part,
            rounds,
        } = step
        else {
            return None;
        };
        let from = self.get(*slot);
        if from & flag == 0 {
            return Some(());
        }
        let (base, key) = (from & !flag, self.part(*part)?);
        let (mut at, mut len) = (0, (self.read(*keys, base)? >> low) + 1);
        for _ in 0..*rounds {
            if len > 1 {
                let half = len >> 1;
                if self.read(*keys, base + at + half)? >> low <= key {
                    at += half;
                }
                len -= half;
            }
        }
        let value = match values {
            Some(table) => self.read(*table, base + at)?,
            None => self.read(*keys, base + at)? & ((1 << low) - 1),
        };
        self.set(*slot, value)
    }

    fn bucket(&mut self, step: &Step) -> Option<()> {
        let Step::Bucket {
            to,
            words,
            keys,
            values,
            ways,
            buckets,
            seed,
            hit,
            miss,
        } = step
        else {
            return None;
        };
        let mut key = [0; 2];
        for (word, part) in key.iter_mut().zip(words) {
            *word = self.part(*part)?;
        }
        let key = key.get(..words.len())?;
        let bucket = hash(*seed, key.iter().copied()) & u64::from(*buckets);
        let first = bucket * u64::from(*ways);
        for entry in first..first + u64::from(*ways) {
            let at = entry * key.len() as u64;
            let mut same = true;
            for (word, at) in key.iter().zip(at..) {
                same = same && self.read(*keys, at)? == *word;
            }
            if same {
                let value =
                    values.map_or(Some(u64::from(*hit)), |table| self.read(table, entry))?;
                return self.set(*to, value);
            }
        }
        self.set(*to, u64::from(*miss))
    }

    fn first_common(&mut self, step: &Step) -> Option<()> {
        let Step::FirstCommon {
            to,
            sources,
            stride,
            summary,
            none,
        } = step
        else {
            return None;
        };
        let common = |at: u64| {
            let mut all = u64::MAX;
            for (slot, table) in sources {
                all &= self.read(*table, self.get(*slot) * u64::from(*stride) + at)?;
            }
            Some(all)
        };
        for at in 0..u64::from(*summary) {
            let mut words = common(at)?;
            while words != 0 {
                let word = at * 64 + u64::from(words.trailing_zeros());
                let bits = common(u64::from(*summary) + word)?;
                if bits != 0 {
                    let position = word * 64 + u64::from(bits.trailing_zeros());
                    return self.set(*to, position);
                }
                words &= words - 1;
            }
        }
        self.set(*to, u64::from(*none))
    }
}

#[cfg(test)]
mod tests {
    use super::super::draft::{Data, Draft, Packing};
    use super::*;

    #[test]
    fn the_example_of_the_plan() {
        let mut draft = Draft::default();
        let mut ports = vec![0u32; 65_536];
        ports[22] = 1;
        let mut protocol = vec![0u32; 256];
        protocol[6] = 1;
        let (a, b, c) = (Slot(0), Slot(1), Slot(2));
        for (to, data, bits) in [(a, ports, 16), (b, protocol, 8)] {
            let table = draft.table(Data::of(data, Width::U8));
            let part = Part {
                field: to.0.into(),
                shift: 0,
                bits,
            };
            let index = vec![Term::part(part)];
            draft.push(Step::Load { to, table, index });
        }
        let table = draft.table(Data::narrow(vec![0, 8, 7, 7]));
        let index = vec![Term::slot(a, 2), Term::slot(b, 1)];
        draft.push(Step::Load {
            to: c,
            table,
            index,
        });
        draft.push(Step::Answer { slot: c });
        let plan = draft.finish("example", Packing::Shared);
        let answer = |port, protocol| plan.eval(&[port, protocol]);
        assert_eq!(answer(22, 17), Some(7));
        assert_eq!(answer(22, 6), Some(7));
        assert_eq!(answer(80, 6), Some(8));
        assert_eq!(answer(80, 17), Some(0));
        assert_eq!(plan.eval(&[1]), None);
    }
}
