//! A layer written here, outside of the library: a gated linear unit with an output of its own width.
//!
//! It has parameters by name, shape and initializer, and ops; its shapes are checked, its gradients come
//! from the ops, and the planner fuses it like any other layer.

use std::sync::Arc;

use tidemill::{
    Activation, Builder, CustomLayer, Fit, GraphError, Initializer, LossSpec, MemoryDataset, Model,
    OptimizerSpec, TensorId,
};

/// `(x V + b) * sigmoid(x W + c)` (Dauphin et al. 2017).
struct Glu {
    units: usize,
}

impl CustomLayer for Glu {
    fn name(&self) -> &str {
        "glu"
    }

    fn build(&self, b: &mut Builder, x: TensorId) -> Result<TensorId, GraphError> {
        let shape = [b.width(x), self.units];
        let mut linear = |name: &str| {
            let kernel = b.parameter(name, &shape, Initializer::default())?;
            let bias = b.parameter(&format!("{name}_bias"), &[self.units], Initializer::Zeros)?;
            let y = b.matmul(x, kernel)?;
            b.add(y, bias)
        };
        let (value, gate) = (linear("value")?, linear("gate")?);
        let gate = b.sigmoid(gate)?;
        b.mul(value, gate)
    }
}

/// Points in the plane; the class is which of two spirals they are on.
fn spirals(n: usize) -> tidemill::Result<Arc<MemoryDataset>> {
    let (mut x, mut classes) = (Vec::new(), Vec::new());
    for i in 0..n {
        let (t, class) = (i as f32 / n as f32, i % 2);
        let angle = 7.0 * t + std::f32::consts::PI * class as f32;
        x.extend([t * angle.cos(), t * angle.sin()]);
        classes.push(class as u32);
    }
    Ok(Arc::new(MemoryDataset::classes(x, &[2], classes)?))
}

fn main() -> tidemill::Result<()> {
    let model = Model::features(2)
        .layer(Glu { units: 32 })
        .layer(Glu { units: 32 })
        .dense(2, Activation::Linear);
    for layer in model.summary()? {
        let (path, shape, parameters) = (layer.path, layer.output_shape, layer.num_parameters);
        println!("{path:<16} {shape:?} {parameters} parameters");
    }

    let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
    let mut network = tidemill::compile(model, loss, OptimizerSpec::adam(0.01))?;
    let data = spirals(600)?;
    let history = network.fit(data.clone(), Fit { epochs: 150, ..Fit::default() })?;
    for epoch in history.iter().step_by(50) {
        println!("loss {:.4}, accuracy {:.3}", epoch.train["loss"], epoch.train["accuracy"]);
    }
    println!("accuracy {:.3}", network.evaluate(data)?["accuracy"]);
    let gate = network.weight("layers.0.glu.gate").map_or(0, <[f32]>::len);
    println!("layers.0.glu.gate has {gate} values");

    // Shapes are checked like those of built-in layers.
    let images = Model::image(4, 4, 3).layer(Glu { units: 8 }).layer(Wrong);
    if let Err(error) = images.summary() {
        println!("an error names the layer: {error}");
    }
    Ok(())
}

/// Adds things of two shapes that do not go together.
struct Wrong;

impl CustomLayer for Wrong {
    fn name(&self) -> &str {
        "wrong"
    }
    fn build(&self, b: &mut Builder, x: TensorId) -> Result<TensorId, GraphError> {
        let three = b.parameter("three", &[3], Initializer::Zeros)?;
        b.add(x, three)
    }
}
