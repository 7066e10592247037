//! Losses of a margin, and how far one event may move it.

use tidemill_engine::nn::LossSpec;

/// What is minimized. The margin `m` is the sum of weight times value; the label `y` is -1 or 1 for
/// classes, any number for [`LinearLoss::Squared`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinearLoss {
    /// `ln(1 + exp(-y m))`
    Logistic,
    /// `(m - y)^2`
    Squared,
    /// `max(0, 1 - y m)`
    Hinge,
    /// Softmax cross-entropy of a margin for each class. With the margins of the other classes as they are
    /// it is a logistic loss of each class's own: `m` is then the margin less the logarithm of the sum of
    /// the others' exponentials.
    Softmax,
}

/// Loss and derivative of one event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossPoint {
    /// The loss.
    pub loss: f32,
    /// Its derivative by the margin.
    pub gradient: f32,
    /// Of a logistic loss: `exp(y m)`, the odds of the truth.
    odds: f32,
}

/// Below this product of rate and reach a closed form would divide rounding errors by rounding
/// errors; its first term is exact enough.
const SMALL: f32 = 1e-6;

impl LinearLoss {
    /// The loss of this kind by the name of a recipe.
    pub fn of(loss: &LossSpec) -> Option<LinearLoss> {
        match *loss {
            LossSpec::BinaryCrossentropy { label_smoothing: 0.0 } => Some(LinearLoss::Logistic),
            LossSpec::MeanSquaredError {} => Some(LinearLoss::Squared),
            LossSpec::Hinge {} => Some(LinearLoss::Hinge),
            LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 } => {
                Some(LinearLoss::Softmax)
            }
            _ => None,
        }
    }

    /// Loss and derivative at a margin.
    #[inline]
    pub fn at(self, margin: f32, y: f32) -> LossPoint {
        match self {
            LinearLoss::Logistic | LinearLoss::Softmax => {
                let odds = (y * margin).exp();
                let loss = if odds > 0.0 { odds.recip().ln_1p() } else { -y * margin };
                LossPoint { loss, gradient: -y / (1.0 + odds), odds }
            }
            LinearLoss::Squared => {
                let d = margin - y;
                LossPoint { loss: d * d, gradient: 2.0 * d, odds: 0.0 }
            }
            LinearLoss::Hinge => {
                let loss = (1.0 - y * margin).max(0.0);
                LossPoint { loss, gradient: if loss > 0.0 { -y } else { 0.0 }, odds: 0.0 }
            }
        }
    }

    /// What weights must move by, in units of value times rate, when the event is learned from in
    /// infinitely many small steps: the solution at time `rate` of `s' = -loss'(m + reach s)` with
    /// `s(0) = 0`. `reach` is how far the margin moves for a move of 1.
    #[inline]
    pub fn step(self, point: LossPoint, margin: f32, y: f32, rate: f32, reach: f32) -> f32 {
        let product = rate * reach;
        if product < SMALL {
            return -point.gradient * rate;
        }
        match self {
            LinearLoss::Logistic | LinearLoss::Softmax => {
                let w = lambert(product + y * margin + point.odds);
                -(y * w + margin) / reach
            }
            LinearLoss::Squared => (y - margin) * -(-2.0 * product).exp_m1() / reach,
            LinearLoss::Hinge => {
                let left = 1.0 - y * margin;
                y * if product < left { rate } else { left.max(0.0) / reach }
            }
        }
    }
}

/// `W(exp(x)) - x` for Lambert's W, to an error below 1e-4: one step of Fritsch's iteration (Fritsch,
/// Shafer and Crowley, *Algorithm 443*, 1973) from a guess, as Vowpal Wabbit takes it.
#[inline]
fn lambert(x: f32) -> f32 {
    let x = f64::from(x);
    let (w, r) = if x >= 1.0 {
        let w = 0.86 * x + 0.01;
        (w, x - w.ln() - w)
    } else {
        let w = (0.8 * x - 0.65).exp();
        (w, 0.2 * x + 0.65 - w)
    };
    let t = 1.0 + w;
    let u = 2.0 * t * (t + 2.0 * r / 3.0);
    (w * (1.0 + r / t * (u - r) / (u - 2.0 * r)) - x) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same step in many small ones.
    fn slowly(loss: LinearLoss, margin: f32, y: f32, rate: f32, reach: f32) -> f64 {
        let steps = 200_000;
        let mut moved = 0.0_f64;
        for _ in 0..steps {
            let m = f64::from(margin) + f64::from(reach) * moved;
            let y = f64::from(y);
            let gradient = match loss {
                LinearLoss::Logistic | LinearLoss::Softmax => -y / (1.0 + (y * m).exp()),
                LinearLoss::Squared => 2.0 * (m - y),
                LinearLoss::Hinge if 1.0 - y * m > 0.0 => -y,
                LinearLoss::Hinge => 0.0,
            };
            moved -= gradient * f64::from(rate) / f64::from(steps);
        }
        moved
    }

    #[test]
    fn a_step_is_that_of_many_small_ones() {
        for loss in [LinearLoss::Logistic, LinearLoss::Squared, LinearLoss::Hinge] {
            for y in [-1.0, 1.0] {
                for margin in [-3.0, -0.4, 0.0, 0.7, 2.5] {
                    for (rate, reach) in [(0.5, 1.0), (0.1, 14.0), (4.0, 3.0), (1e-4, 1e-3)] {
                        let point = loss.at(margin, y);
                        let step = loss.step(point, margin, y, rate, reach);
                        let want = slowly(loss, margin, y, rate, reach);
                        let near = 2e-4 / f64::from(reach).max(1.0) + 2e-3 * want.abs();
                        assert!(
                            (f64::from(step) - want).abs() <= near,
                            "{loss:?} {margin} {y} {rate} {reach}: {step}, not {want}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn derivatives_are_those_of_the_losses() {
        for loss in [LinearLoss::Logistic, LinearLoss::Squared, LinearLoss::Hinge] {
            for (margin, y) in [(0.3, 1.0), (-2.0, 1.0), (1.7, -1.0), (0.2, -1.0)] {
                let slope =
                    (loss.at(margin + 0.01, y).loss - loss.at(margin - 0.01, y).loss) / 0.02;
                assert!((slope - loss.at(margin, y).gradient).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn sure_and_wrong_stays_finite() {
        let point = LinearLoss::Logistic.at(50.0, -1.0);
        assert!((point.loss - 50.0).abs() < 1e-3 && (point.gradient - 1.0).abs() < 1e-6);
        assert!(LinearLoss::Logistic.step(point, 50.0, -1.0, 0.5, 20.0).is_finite());
    }
}
