//! ADWIN: a window that grows while its mean stands and is cut where it moved.

use crate::spec::AdwinSpec;
use crate::{Change, Signal, bits};
use serde::{Deserialize, Serialize};

/// Bifet and Gavalda 2007, "Learning from time-changing data with adaptive windowing" (ADWIN2).
///
/// The window is kept as an exponential histogram: row `i` has up to `max_buckets` buckets of `2^i`
/// values each, of which only the sum and the squared deviations are known. Every `clock` values
/// each boundary between buckets is tried as a cut; while the means on its two sides differ by more
/// than chance allows, the oldest bucket is dropped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Adwin {
    pub spec: AdwinSpec,
    /// Sums of the buckets, `max_buckets + 1` places a row, oldest bucket first.
    #[serde(with = "bits")]
    sums: Vec<f64>,
    /// Squared deviations from the bucket's mean, in the same places.
    #[serde(with = "bits")]
    squares: Vec<f64>,
    /// Buckets of each row.
    lens: Vec<usize>,
    /// Values in the window.
    #[serde(with = "bits")]
    width: f64,
    #[serde(with = "bits")]
    sum: f64,
    #[serde(with = "bits")]
    square: f64,
    /// Values since the start, for the clock.
    ticks: u64,
    /// The means on the two sides of the clearest cut, at the last drift.
    #[serde(with = "bits")]
    before: f64,
    #[serde(with = "bits")]
    after: f64,
}

impl Adwin {
    pub fn new(spec: AdwinSpec) -> Adwin {
        let mut adwin = Adwin {
            spec,
            sums: Vec::new(),
            squares: Vec::new(),
            lens: Vec::new(),
            width: 0.0,
            sum: 0.0,
            square: 0.0,
            ticks: 0,
            before: 0.0,
            after: 0.0,
        };
        adwin.reset();
        adwin
    }

    /// Forgets everything; the memory of the rows is kept.
    pub fn reset(&mut self) {
        self.sums.clear();
        self.squares.clear();
        self.lens.clear();
        self.add_row();
        (self.width, self.sum, self.square, self.ticks) = (0.0, 0.0, 0.0, 0);
        (self.before, self.after) = (0.0, 0.0);
    }

    /// Whether a state that was read can be one.
    pub fn is_sound(&self) -> bool {
        let (rows, stride) = (self.lens.len(), self.stride());
        let held =
            || -> f64 { self.lens.iter().enumerate().map(|(row, &n)| n as f64 * size(row)).sum() };
        (1..64).contains(&rows)
            && self.sums.len() == rows * stride
            && self.squares.len() == rows * stride
            && self.lens.iter().all(|&n| n < stride)
            && self.lens.iter().skip(1).all(|&n| n > 0)
            && self.width == held()
    }

    /// Values in the window and their mean.
    pub fn window(&self) -> (u64, f64) {
        (self.width as u64, if self.width > 0.0 { self.sum / self.width } else { 0.0 })
    }

    /// The means before and after the change that the last drift was about.
    pub fn change(&self) -> Change {
        Change { before: self.before, after: self.after }
    }

    pub fn update(&mut self, x: f64) -> Signal {
        self.insert(x);
        self.ticks += 1;
        let due = self.ticks.is_multiple_of(self.spec.clock);
        if due && self.width > self.spec.grace_period as f64 && self.shrink() {
            Signal::Drift
        } else {
            Signal::None
        }
    }

    fn stride(&self) -> usize {
        self.spec.max_buckets + 1
    }

    fn add_row(&mut self) {
        let places = (self.lens.len() + 1) * self.stride();
        self.sums.resize(places, 0.0);
        self.squares.resize(places, 0.0);
        self.lens.push(0);
    }

    fn insert(&mut self, x: f64) {
        let place = self.lens[0];
        (self.sums[place], self.squares[place]) = (x, 0.0);
        self.lens[0] += 1;
        self.width += 1.0;
        if self.width > 1.0 {
            let others = self.width - 1.0;
            let deviation = x - self.sum / others;
            self.square += others * deviation * deviation / self.width;
        }
        self.sum += x;
        self.merge_full_rows();
    }

    /// The two oldest buckets of a row that is too full become one of the next row.
    fn merge_full_rows(&mut self) {
        let stride = self.stride();
        let mut row = 0;
        while self.lens[row] == stride {
            if row + 1 == self.lens.len() {
                self.add_row();
            }
            let (first, end, n) = (row * stride, (row + 1) * stride, size(row));
            let [a, b] = [self.sums[first], self.sums[first + 1]];
            let between = a / n - b / n;
            let squares =
                self.squares[first] + self.squares[first + 1] + n * n * between * between / (n + n);
            let to = end + self.lens[row + 1];
            (self.sums[to], self.squares[to]) = (a + b, squares);
            self.lens[row + 1] += 1;
            self.sums.copy_within(first + 2..end, first);
            self.squares.copy_within(first + 2..end, first);
            self.lens[row] -= 2;
            row += 1;
        }
    }

    /// Drops the oldest buckets while some cut shows two means; whether it dropped any.
    fn shrink(&mut self) -> bool {
        if self.spec.any_scale {
            // A sum that only grows gathers rounding, in which a small spread would see a cut; that
            // of the buckets does not. Where the unit is known, the sum must stay River's.
            let rows = self.sums.chunks_exact(self.stride()).zip(&self.lens);
            self.sum = rows.map(|(row, &len)| row[..len].iter().sum::<f64>()).sum();
        }
        if !self.has_cut() {
            return false;
        }
        self.remember_change();
        while self.has_cut() {
            self.drop_oldest();
        }
        true
    }

    /// Whether the means of some cut differ by more than the paper's bound.
    fn has_cut(&self) -> bool {
        let least = self.spec.min_window_length as f64;
        let confidence = (2.0 * self.width.ln() / self.spec.delta).ln();
        let mut variance = self.square / self.width;
        let mut range = 1.0;
        if self.spec.any_scale {
            // What rounding may make of equal values is no spread.
            let floor = self.sum / self.width * f64::max(1e-9, 1e-15 * self.width);
            variance = variance.max(floor * floor);
            range = 6.0 * variance.sqrt();
        }
        // Most cuts are far below the bound's first part; products show that sooner than roots and
        // quotients. The factor 2 keeps what rounding might turn for the exact comparison.
        let clear = confidence * variance * self.width;
        self.any_cut(|n0, n1, sum0, sum1| {
            let difference = sum0 * n1 - sum1 * n0;
            if difference * difference < clear * n0 * n1 {
                return false;
            }
            let means = (sum0 / n0 - sum1 / n1).abs();
            let m = 1.0 / (n0 - least + 1.0) + 1.0 / (n1 - least + 1.0);
            let chance = (2.0 * m * variance * confidence).sqrt();
            means > chance + 2.0 / 3.0 * confidence * m * range
        })
    }

    /// Finds the cut that explains most of the variance, where a single change of the mean would
    /// most likely be. What is dropped says less: dropping stops as soon as the rest may be one.
    fn remember_change(&mut self) {
        let (mut most, mut before, mut after) = (-1.0, 0.0, 0.0);
        self.any_cut(|n0, n1, sum0, sum1| {
            let (mean0, mean1) = (sum0 / n0, sum1 / n1);
            let explained = n0 * n1 * (mean0 - mean1) * (mean0 - mean1);
            if explained > most {
                (most, before, after) = (explained, mean0, mean1);
            }
            false
        });
        (self.before, self.after) = (before, after);
    }

    /// Whether a cut between two buckets is as asked, oldest first; `test` gets the sizes and sums
    /// of the older and the newer side, each of at least `min_window_length` values.
    fn any_cut(&self, mut test: impl FnMut(f64, f64, f64, f64) -> bool) -> bool {
        let least = self.spec.min_window_length as f64;
        let (mut n0, mut n1, mut sum0, mut sum1) = (0.0, self.width, 0.0, self.sum);
        for row in (0..self.lens.len()).rev() {
            let (first, n) = (row * self.stride(), size(row));
            for &sum in &self.sums[first..first + self.lens[row]] {
                n0 += n;
                n1 -= n;
                if n1 < least {
                    return false;
                }
                sum0 += sum;
                sum1 -= sum;
                if n0 >= least && test(n0, n1, sum0, sum1) {
                    return true;
                }
            }
        }
        false
    }

    fn drop_oldest(&mut self) {
        let row = self.lens.len() - 1;
        let (first, n) = (row * self.stride(), size(row));
        let (sum, square) = (self.sums[first], self.squares[first]);
        self.width -= n;
        self.sum -= sum;
        let between = sum / n - self.sum / self.width;
        self.square -= square + n * self.width * between * between / (n + self.width);
        self.sums.copy_within(first + 1..first + self.lens[row], first);
        self.squares.copy_within(first + 1..first + self.lens[row], first);
        self.lens[row] -= 1;
        // The rows below have buckets: a merge leaves at least one.
        if row > 0 && self.lens[row] == 0 {
            self.lens.pop();
            self.sums.truncate(first);
            self.squares.truncate(first);
        }
    }
}

/// Values of a bucket of a row: `2^row`.
fn size(row: usize) -> f64 {
    (1_u64 << row) as f64
}
