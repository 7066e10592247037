//! The table of a hashed linear model.
//!
//! With several classes, the weights of a feature for all of them lie side by side: row
//! `feature * classes + class`.

use tidemill_recipe::stream::Feature;

use super::loss::{LinearLoss, LossPoint};
use super::{LinearSpec, UpdateRule};

/// The hash of the constant feature: that of Vowpal Wabbit, so that the same features share rows.
const CONSTANT: Feature = Feature { hash: 11_650_396, value: 1.0 };
/// The smallest magnitude of a value whose square is a normal number.
const TINY: f32 = 1.084_202_2e-19;
/// An event with no more loss than this is known, and nothing is learned from it. Adaptive rates are
/// the greater the smaller the gradients were, so that a new feature would be moved far by an event
/// that has nothing to tell: on short messages this doubles the loss. It is where `ln(1 + x)` is 0 in
/// `f32`, the threshold that Vowpal Wabbit has by rounding.
const KNOWN: f32 = f32::EPSILON / 2.0;
/// Margins of a logistic loss are cut here, far beyond any probability that `f32` can tell from 1.
const MOST_MARGIN: f32 = 50.0;

/// One feature's share of the state; four lie in a cache line, and none in two.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C, align(16))]
pub(super) struct Row {
    /// The weight.
    pub weight: f32,
    /// Sum of squared gradients.
    pub squares: f32,
    /// The greatest magnitude of the feature's values; FTRL's `z`.
    pub scale: f32,
    /// Its rate in the event at hand.
    rate: f32,
}

/// What came of one event, before it was learned from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// The margin: a logit for a logistic loss, the value itself for a squared one.
    pub logit: f32,
    /// The loss, without the event's weight.
    pub loss: f32,
    point: LossPoint,
}

impl Scored {
    /// Whether margin and loss are numbers; nothing is learned from an event for which they are not.
    pub fn is_finite(&self) -> bool {
        self.logit.is_finite() && self.loss.is_finite()
    }
}

/// A linear model over 2^bits rows, learned event by event; an event costs as much as it has
/// features. The same events in the same order give the same bits.
///
/// ```
/// use tidemill_recipe::stream::Feature;
/// use tidemill_online::linear::{HashedLinear, LinearLoss, LinearSpec};
///
/// let mut model = HashedLinear::new(&LinearSpec::default(), LinearLoss::Logistic);
/// for i in 0..1000_u32 {
///     let event = [Feature { hash: i % 7, value: 1.0 }];
///     let label = if i % 7 < 3 { 1.0 } else { -1.0 };
///     model.learn(&event, label, 1.0);
/// }
/// assert!(model.predict(&[Feature { hash: 2, value: 1.0 }]) > 2.0);
/// assert!(model.predict(&[Feature { hash: 5, value: 1.0 }]) < -2.0);
/// ```
#[derive(Clone, Debug)]
pub struct HashedLinear {
    pub(super) rows: Vec<Row>,
    /// Weight vectors: one, or one for each class.
    pub(super) classes: usize,
    /// The place of a feature is its hash cut by this.
    mask: usize,
    pub(super) spec: LinearSpec,
    loss: LinearLoss,
    /// Added to the margin where it is learned; see `online.labels.negative_sampling`.
    shift: f32,
    rate: f32,
    /// Events learned from.
    pub(super) events: u64,
    /// Sums over the events learned from, for the global factor of the normalized rule: their
    /// weights, and their squared norms in units of the features' scales.
    pub(super) weights: f64,
    pub(super) norms: f64,
}

impl HashedLinear {
    /// A model that knows nothing.
    ///
    /// # Panics
    /// If `spec.bits` is outside of [`LinearSpec::BITS`].
    pub fn new(spec: &LinearSpec, loss: LinearLoss) -> HashedLinear {
        assert!(LinearSpec::BITS.contains(&spec.bits), "a table of 2^{} rows", spec.bits);
        let classes = match loss {
            LinearLoss::Softmax => spec.classes.unwrap_or(2),
            LinearLoss::Logistic | LinearLoss::Squared | LinearLoss::Hinge => 1,
        };
        HashedLinear {
            rows: vec![Row::default(); classes << spec.bits],
            classes,
            mask: (1 << spec.bits) - 1,
            rate: spec.learning_rate as f32,
            spec: spec.clone(),
            loss,
            shift: 0.0,
            events: 0,
            weights: 0.0,
            norms: 0.0,
        }
    }

    /// Its loss.
    pub fn loss(&self) -> LinearLoss {
        self.loss
    }

    /// What a recipe says about it.
    pub fn spec(&self) -> &LinearSpec {
        &self.spec
    }

    /// Learns as if every margin were greater by `shift`; predictions are without it.
    pub(crate) fn set_shift(&mut self, shift: f32) {
        self.shift = shift;
    }

    /// Events learned from.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Where the weight of a feature for a class is.
    #[inline]
    fn place(&self, class: usize) -> impl Fn(&Feature) -> usize + use<> {
        let (mask, classes) = (self.mask, self.classes);
        move |f| (f.hash as usize & mask) * classes + class
    }

    /// The margins of an event, one for each class, without learning.
    pub fn margins(&self, features: &[Feature], margins: &mut [f32]) {
        if let [margin] = margins {
            *margin = self.predict(features);
            return;
        }
        margins.fill(0.0);
        let constant = self.spec.bias.then_some(&CONSTANT);
        let place = self.place(0);
        for f in features.iter().chain(constant) {
            let rows = &self.rows[place(f)..];
            for (margin, row) in margins.iter_mut().zip(rows) {
                *margin += row.weight * f.value;
            }
        }
    }

    /// The margin of an event, of the first class where there are several, without learning. Features are
    /// summed in their order.
    #[inline]
    pub fn predict(&self, features: &[Feature]) -> f32 {
        let (rows, place) = (&self.rows[..], self.place(0));
        let mut sum = 0.0;
        for f in features {
            sum += rows[place(f)].weight * f.value;
        }
        if self.spec.bias {
            sum += rows[place(&CONSTANT)].weight;
        }
        match self.loss {
            // What is not finite stays so, to be refused.
            LinearLoss::Logistic if sum.is_finite() => sum.clamp(-MOST_MARGIN, MOST_MARGIN),
            _ => sum,
        }
    }

    /// Margin and loss of an event whose label is `y`, without learning.
    #[inline]
    pub fn score(&self, features: &[Feature], y: f32) -> Scored {
        let logit = self.predict(features) + self.shift;
        let point = self.loss.at(logit, y);
        Scored { logit, loss: point.loss, point }
    }

    /// Scores an event and learns from it, unless margin or loss is not finite. `y` is -1 or 1 for
    /// classes; `weight` is how much the event counts. Values should not lie beyond 1e15, since the
    /// sums of their squares have to be finite ([`tidemill_recipe::stream::HashedColumns`] refuses them).
    pub fn learn(&mut self, features: &[Feature], y: f32, weight: f32) -> Scored {
        let scored = self.score(features, y);
        if scored.is_finite() {
            self.update(features, y, weight, scored);
        }
        scored
    }

    /// Learns from the event that was scored last.
    pub fn update(&mut self, features: &[Feature], y: f32, weight: f32, scored: Scored) {
        self.events += 1;
        self.update_one(0, features, y, weight, scored);
    }

    /// Learns from an event of a class, of which these are the [`HashedLinear::margins`].
    pub fn update_classes(
        &mut self,
        features: &[Feature],
        truth: usize,
        weight: f32,
        margins: &[f32],
    ) {
        self.events += 1;
        let all = log_sum(margins, None);
        for (class, &margin) in margins.iter().enumerate() {
            let p = (margin - all).exp();
            // Of the one class that may be nearly all of the sum nothing can be taken off.
            let others = if p < 0.5 { all + (-p).ln_1p() } else { log_sum(margins, Some(class)) };
            let logit = (margin - others).clamp(-MOST_MARGIN, MOST_MARGIN);
            let y = if class == truth { 1.0 } else { -1.0 };
            let point = self.loss.at(logit, y);
            self.update_one(class, features, y, weight, Scored { logit, loss: point.loss, point });
        }
    }

    fn update_one(
        &mut self,
        class: usize,
        features: &[Feature],
        y: f32,
        weight: f32,
        scored: Scored,
    ) {
        if scored.loss <= KNOWN || weight <= 0.0 {
            return;
        }
        match self.spec.rule {
            UpdateRule::Sgd => self.step::<false, false>(class, features, y, weight, scored),
            UpdateRule::Normalized => self.step::<false, true>(class, features, y, weight, scored),
            UpdateRule::Adaptive => self.step::<true, false>(class, features, y, weight, scored),
            UpdateRule::NormalizedAdaptive => {
                self.step::<true, true>(class, features, y, weight, scored);
            }
            UpdateRule::Ftrl => self.follow(class, features, weight * scored.point.gradient),
        }
    }

    /// Descent, plain, adaptive, normalized, or both: rates first, since how far the margin may
    /// move depends on all of them, then the weights.
    fn step<const ADAPTIVE: bool, const NORMALIZED: bool>(
        &mut self,
        class: usize,
        features: &[Feature],
        y: f32,
        weight: f32,
        scored: Scored,
    ) {
        let gradient = scored.point.gradient;
        let squared = weight * gradient * gradient;
        if squared == 0.0 {
            return;
        }
        let (place, rows) = (self.place(class), &mut self.rows[..]);
        let (mut reach, mut norm) = (0.0, 0.0);
        let mut visit = |f: &Feature| {
            let row = &mut rows[place(f)];
            let x = f.value.abs().max(TINY);
            let x2 = x * x;
            let mut rate = 1.0;
            if ADAPTIVE {
                row.squares += squared * x2;
                rate = 1.0 / row.squares.max(f32::MIN_POSITIVE).sqrt();
            }
            if NORMALIZED {
                if x > row.scale {
                    if row.scale > 0.0 {
                        // As if the feature had always had this scale.
                        let shrink = row.scale / x;
                        row.weight *= if ADAPTIVE { shrink } else { shrink * shrink };
                    }
                    row.scale = x;
                }
                let inverse = 1.0 / row.scale;
                norm += x2 * inverse * inverse;
                // A sum of squared gradients has the scale in it once already.
                rate *= if ADAPTIVE { inverse } else { inverse * inverse };
            }
            row.rate = rate;
            reach += x2 * rate;
        };
        features.iter().for_each(&mut visit);
        if self.spec.bias {
            visit(&CONSTANT);
        }
        let mut factor = 1.0;
        if NORMALIZED {
            self.weights += f64::from(weight);
            self.norms += f64::from(weight) * f64::from(norm);
            let mean = self.weights / self.norms;
            factor = (if ADAPTIVE { mean.sqrt() } else { mean }) as f32;
        }
        let rate = self.rate * weight;
        let step = self.loss.step(scored.point, scored.logit, y, rate, reach * factor) * factor;
        if !step.is_finite() {
            return;
        }
        let (l1, l2) = (self.spec.l1 as f32 * rate * factor, self.spec.l2 as f32 * rate * factor);
        let shrinks = l1 > 0.0 || l2 > 0.0;
        let mut apply = |f: &Feature| {
            let row = &mut rows[place(f)];
            row.weight += step * f.value * row.rate;
            if shrinks {
                // Towards 0 and never past it (Duchi and Singer, 2009).
                let left = (row.weight.abs() - l1 * row.rate).max(0.0) / (1.0 + l2 * row.rate);
                row.weight = left.copysign(row.weight);
            }
        };
        features.iter().for_each(&mut apply);
        if self.spec.bias {
            apply(&CONSTANT);
        }
    }

    /// FTRL-proximal: the weight is the best one for all gradients so far.
    fn follow(&mut self, class: usize, features: &[Feature], gradient: f32) {
        let (place, rows) = (self.place(class), &mut self.rows[..]);
        let (l1, l2, beta) = (self.spec.l1 as f32, self.spec.l2 as f32, self.spec.beta as f32);
        let rate = self.rate;
        let mut visit = |f: &Feature| {
            let row = &mut rows[place(f)];
            let g = gradient * f.value;
            let (old, new) = (row.squares.sqrt(), (row.squares + g * g).sqrt());
            row.scale += g - (new - old) / rate * row.weight;
            row.squares += g * g;
            let over = row.scale.abs() - l1;
            let scale = (beta + new) / rate + l2;
            row.weight = if over > 0.0 { -over.copysign(row.scale) / scale } else { 0.0 };
        };
        features.iter().for_each(&mut visit);
        if self.spec.bias {
            visit(&CONSTANT);
        }
    }
}

/// The logarithm of the sum of the exponentials of all `margins`, but for that of one class.
pub(super) fn log_sum(margins: &[f32], but: Option<usize>) -> f32 {
    let counts = |&(class, _): &(usize, &f32)| Some(class) != but;
    let others = || margins.iter().enumerate().filter(counts).map(|(_, m)| *m);
    let most = others().fold(f32::NEG_INFINITY, f32::max);
    most + others().map(|m| (m - most).exp()).sum::<f32>().ln()
}
