//! Whether nearly all of the records that come are bad.

/// Records in each of the counts.
const EACH: u32 = 1000;
/// Counts that are kept.
const COUNTS: usize = 10;

/// How many of the last 10,000 records were bad, by thousands.
#[derive(Clone, Debug, Default)]
pub(super) struct Flood {
    /// Bad ones of each thousand, the newest last.
    bad: Vec<u32>,
    records: u32,
    now: u32,
    /// Whether it was so when last asked.
    is_on: bool,
}

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// So many of so many records are bad.
    Begins { bad: u32, of: u32 },
    /// Others come again.
    Ends,
}

impl Flood {
    /// Counts a record; says what has changed with it.
    #[inline]
    pub(super) fn push(&mut self, bad: bool) -> Option<Turn> {
        self.now += u32::from(bad);
        self.records += 1;
        if self.records < EACH { None } else { self.turn() }
    }

    #[cold]
    fn turn(&mut self) -> Option<Turn> {
        if self.bad.len() == COUNTS {
            self.bad.remove(0);
        }
        self.bad.push(self.now);
        (self.now, self.records) = (0, 0);
        let (bad, of) = (self.bad.iter().sum::<u32>(), EACH * self.bad.len() as u32);
        let is_on = 100 * bad > 99 * of;
        let was_on = std::mem::replace(&mut self.is_on, is_on);
        match (was_on, is_on) {
            (false, true) => Some(Turn::Begins { bad, of }),
            (true, false) => Some(Turn::Ends),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_and_ends_with_the_share() {
        let mut flood = Flood::default();
        let mut turns = Vec::new();
        for i in 0..30_000 {
            // One in a hundred is good, then one in two hundred, then all.
            let bad = match i {
                ..10_000 => i % 100 != 0,
                10_000..25_000 => i % 200 != 0,
                _ => false,
            };
            turns.extend(flood.push(bad).map(|turn| (i, turn)));
        }
        assert!(
            matches!(turns[..], [(a, Turn::Begins { of: 10_000, .. }), (25_999, Turn::Ends)]
            if (10_000..25_000).contains(&a)),
            "{turns:?}"
        );
    }
}
