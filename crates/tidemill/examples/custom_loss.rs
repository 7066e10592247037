//! A loss and a metric written here, outside of the library: quantiles of an uncertain value.
//!
//! The model gives a low and a high quantile for one target; the loss compares both with it, and the metric
//! is the share of targets between them.

use std::sync::Arc;

use tidemill::{
    Activation, Builder, CustomLoss, CustomMetric, EngineSpec, Fit, GraphError, MemoryDataset,
    Model, Network, OptimizerSpec, TensorId,
};

/// The pinball loss of the outputs as quantiles `low` and `high` of the target.
struct Quantiles {
    low: f32,
    high: f32,
}

impl CustomLoss for Quantiles {
    fn name(&self) -> &str {
        "quantiles"
    }

    /// Two outputs, one target.
    fn target_shape(&self, _outputs: &[usize]) -> Vec<usize> {
        vec![1]
    }

    fn build(
        &self,
        b: &mut Builder,
        outputs: TensorId,
        target: TensorId,
    ) -> Result<TensorId, GraphError> {
        let mut sides = Vec::new();
        for (column, quantile) in [self.low, self.high].into_iter().enumerate() {
            // max(q e, (q - 1) e) with the error e = target - output
            let output = b.columns(outputs, column, 1)?;
            let error = b.sub(target, output)?;
            let (above, below) =
                (b.affine(error, quantile, 0.0)?, b.affine(error, quantile - 1.0, 0.0)?);
            sides.push(b.max(above, below)?);
        }
        b.add(sides[0], sides[1])
    }
}

/// The share of targets between the two outputs.
struct Coverage;

impl CustomMetric for Coverage {
    fn name(&self) -> &str {
        "coverage"
    }

    fn build(
        &self,
        b: &mut Builder,
        outputs: TensorId,
        target: TensorId,
    ) -> Result<TensorId, GraphError> {
        let (low, high) = (b.columns(outputs, 0, 1)?, b.columns(outputs, 1, 1)?);
        let (above, below) = (b.greater_equal(target, low)?, b.greater_equal(high, target)?);
        b.mul(above, below)
    }
}

/// `y = 2 x` with noise that grows with `x`.
fn noisy(n: usize) -> tidemill::Result<Arc<MemoryDataset>> {
    let uniform = |i: usize, salt: u64| {
        let hash = (i as u64 ^ salt << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((hash ^ hash >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f32 / (1 << 24) as f32
    };
    let x: Vec<f32> = (0..n).map(|i| uniform(i, 1)).collect();
    let y = x.iter().enumerate().map(|(i, x)| 2.0 * x + x * (uniform(i, 2) - 0.5)).collect();
    Ok(Arc::new(MemoryDataset::targets(x, &[1], y, 1)?))
}

fn main() -> tidemill::Result<()> {
    let model = Model::features(1).dense(32, Activation::Relu).dense(2, Activation::Linear);
    let loss = Quantiles { low: 0.1, high: 0.9 };
    let mut network = Network::new(EngineSpec {
        metrics: vec![Coverage.into()],
        ..EngineSpec::new(model, loss.into(), OptimizerSpec::adam(0.01))
    })?;
    let history = network.fit(noisy(2000)?, Fit { epochs: 30, ..Fit::default() })?;
    for epoch in history.iter().step_by(10) {
        println!("loss {:.4}, coverage {:.3}", epoch.train["loss"], epoch.train["coverage"]);
    }
    println!(
        "coverage of new samples: {:.3} (0.8 is right)",
        network.evaluate(noisy(1000)?)?["coverage"]
    );
    println!("quantiles at 0.9: {:.3?}; exact: [1.440, 2.160]", network.predict(&[0.9])?);
    Ok(())
}
