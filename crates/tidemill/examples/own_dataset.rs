//! A dataset of one's own: two methods, `info` and `fill`. Here samples are computed when they are read.

use std::sync::Arc;

use tidemill::data::Result;
use tidemill::{
    Activation, Dataset, Field, Fit, Info, LabelKind, LossSpec, Model, OptimizerSpec, Row,
};

/// Images of 8 x 8 pixels with a bright bar: is it a row or a column?
struct Bars(Info);

impl Bars {
    fn new(samples: usize) -> Bars {
        let image = vec![Field::numbers("x", &[8, 8, 1])];
        Bars(Info::of(samples, image, LabelKind::Class { num_classes: 2 }))
    }
}

impl Dataset for Bars {
    fn info(&self) -> &Info {
        &self.0
    }

    /// The same sample whenever it is asked for, by any thread.
    fn fill(&self, index: usize, row: &mut Row<'_>) -> Result<()> {
        let hash = |i: usize| (i as u32 ^ 0x5bd1).wrapping_mul(0x9e37_79b9) >> 8;
        let (class, place) = ((hash(index) & 1) as usize, hash(index) as usize / 2 % 8);
        for (i, pixel) in row.f32(0)?.iter_mut().enumerate() {
            let noise = hash(64 * index + i) as f32 / (1 << 24) as f32;
            let on = if class == 0 { i / 8 == place } else { i % 8 == place };
            *pixel = noise + if on { 0.6 } else { 0.0 };
        }
        row.set_class(class as u32)?;
        Ok(())
    }
}

fn main() -> tidemill::Result<()> {
    let model = Model::image(8, 8, 1)
        .conv2d(16, 3, Activation::Relu)
        .max_pool2d(2)
        .flatten()
        .dense(2, Activation::Linear);
    let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
    let mut network = tidemill::compile(model, loss, OptimizerSpec::adam(3e-3))?;
    let history = network.fit(Arc::new(Bars::new(2000)), Fit { epochs: 8, ..Fit::default() })?;
    for (i, epoch) in history.iter().enumerate() {
        let (loss, accuracy) = (epoch.train["loss"], epoch.train["accuracy"]);
        println!("epoch {}: loss {loss:.4}, accuracy {accuracy:.3}", i + 1);
    }
    Ok(())
}
