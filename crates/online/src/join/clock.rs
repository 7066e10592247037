//! The present of a stream: the newest time that records agree on.

use super::bytes::{In, Out};

/// A time so many windows before the newest one is far from it, and so many after it where nothing else is said.
pub(super) const FAR_WINDOWS: i64 = 10;
/// So many records in a row whose times are far on the same side are right.
const CONFIRMED: u32 = 8;
/// A time up to so many usual steps ahead of the newest is the next one, however short the window is.
const STEPS: i64 = 8;

/// What a record's time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// One that may be; the record's own window runs from this time. Time may have advanced.
    Time(i64),
    /// So far after the newest one that the clock of the record is taken to be wrong.
    Ahead(i64),
}

/// The newest time, and those that do not fit it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Clock {
    /// None before the first record.
    pub now: Option<i64>,
    /// How many records in a row had a time far from it, and the times of the first and last of them.
    strays: (u32, i64, i64),
    /// By how much time advances with a record, about.
    step: i64,
}

/// How far a time may be from the newest one, in the units of times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub ahead: i64,
    pub behind: i64,
}

impl Clock {
    /// A record has this time. Gives what it is taken for; `strays` is counted up where a run of times begins that do not
    /// fit.
    pub fn see(&mut self, at: i64, limits: Limits, strays: &mut u64) -> Seen {
        let Some(now) = self.now else {
            self.now = Some(at);
            return Seen::Time(at);
        };
        let ahead = at.saturating_sub(now);
        let most = limits.ahead.max(self.step.saturating_mul(STEPS));
        if ahead <= most && ahead >= -limits.behind {
            self.strays.0 = 0;
            self.step += (ahead.max(0) - self.step) / 16;
            self.now = Some(now.max(at));
            return Seen::Time(at);
        }
        // Times that agree with one another, and not with the present.
        let (count, first, last) = self.strays;
        let agrees = count > 0
            && match (ahead > 0, last > now) {
                (true, true) => at >= last.saturating_sub(limits.ahead),
                (false, false) => at.saturating_sub(last).saturating_abs() <= limits.behind,
                _ => false,
            };
        self.strays = if agrees { (count + 1, first, at) } else { (1, at, at) };
        *strays += u64::from(self.strays.0 == 1);
        if self.strays.0 < CONFIRMED {
            return if ahead > 0 { Seen::Ahead(ahead) } else { Seen::Time(now) };
        }
        // The present was wrong, or there was a long pause. In a stream whose records are always so far apart, the next one
        // is as far away again.
        self.step = self.step.max(at.saturating_sub(self.strays.1) / i64::from(CONFIRMED - 1));
        self.strays.0 = 0;
        self.now = Some(at);
        Seen::Time(at)
    }

    pub fn write(&self, out: &mut Out) {
        out.u8(u8::from(self.now.is_some()));
        out.i64(self.now.unwrap_or(0));
        out.u64(u64::from(self.strays.0));
        out.i64(self.strays.2);
        out.i64(self.strays.1);
        out.i64(self.step);
    }

    /// What was written by this version of a checkpoint's tensor.
    pub fn read(version: u8, from: &mut In<'_>) -> Option<Clock> {
        let has = from.u8()? != 0;
        let mut clock = Clock { now: Some(from.i64()?).filter(|_| has), ..Clock::default() };
        if version >= 2 {
            let (count, last) = (from.u64()? as u32, from.i64()?);
            clock.strays = (count, last, last);
        }
        if version >= 3 {
            clock.strays.1 = from.i64()?;
            clock.step = from.i64()?;
        }
        Some(clock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { ahead: 60, behind: 600 };

    /// How many of these times are taken for wrong, and the newest time in the end.
    fn ahead(times: impl IntoIterator<Item = i64>) -> (usize, Option<i64>) {
        let (mut clock, mut strays) = (Clock::default(), 0);
        let seen = times.into_iter().map(|at| clock.see(at, LIMITS, &mut strays));
        let wrong = seen.filter(|seen| matches!(seen, Seen::Ahead(_))).count();
        (wrong, clock.now)
    }

    #[test]
    fn a_wrong_clock_is_not_the_present() {
        let times = |i: i64| if i % 10 == 7 { 1_760_000_000_000 } else { i };
        assert_eq!(ahead((0..1000).map(times)), (100, Some(999)));
        // Nor are clocks that are wrong in different ways.
        let times = |i: i64| if i < 100 { i } else { 1_000_000 - 1000 * i };
        assert_eq!(ahead((0..150).map(times)), (50, Some(99)));
    }

    #[test]
    fn a_pause_costs_a_few_records_and_a_slow_stream_no_more() {
        let times = |i: i64| if i < 100 { i } else { 30_000 + i };
        assert_eq!(ahead((0..1000).map(times)), (7, Some(30_999)));
        // Records further apart than the window is long.
        assert_eq!(ahead((0..1000).map(|i| 100 * i)), (7, Some(99_900)));
    }

    #[test]
    fn a_present_that_was_wrong_is_left() {
        let (mut clock, mut strays) = (Clock::default(), 0);
        clock.see(1_760_000_000, LIMITS, &mut strays);
        for i in 0..20 {
            assert!(matches!(clock.see(i, LIMITS, &mut strays), Seen::Time(_)));
        }
        assert_eq!((clock.now, strays), (Some(19), 1));
    }
}
