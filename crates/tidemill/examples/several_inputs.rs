//! A model with two named inputs: numbers, and a text of any length, joined inside the model.

use std::sync::Arc;

use tidemill::{
    Activation, ConcatSpec, Field, FieldValues, FieldsDataset, Fit, InputSpec, LossSpec, Model,
    OptimizerSpec, TokensSpec,
};

const WORDS: usize = 50;
const LONGEST: usize = 12;

/// Reviews: the stars that were given, and the words, of which those below 10 are angry. A review is angry
/// if most of its words are, or if it gives one star.
fn reviews(n: usize) -> tidemill::Result<Arc<FieldsDataset>> {
    let (mut stars, mut angry) = (Vec::new(), Vec::new());
    let mut texts = FieldValues::sequences();
    let mut random = n as u32;
    let mut below = |limit: u32| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 16) % limit
    };
    for _ in 0..n {
        let mood = below(10);
        let words: Vec<i32> = (0..3 + below(LONGEST as u32 - 3))
            .map(|_| if below(10) < mood { 1 + below(9) as i32 } else { 10 + below(40) as i32 })
            .collect();
        let given = below(5);
        stars.push(given as f32 / 4.0);
        angry.push(i32::from(
            given == 0 || 2 * words.iter().filter(|&&w| w < 10).count() > words.len(),
        ));
        texts.push_sequence(&words);
    }
    let inputs = vec![
        (Field::numbers("stars", &[1]), FieldValues::F32(stars)),
        (Field::ids("text", LONGEST), texts),
    ];
    let data = FieldsDataset::new(inputs)?;
    Ok(Arc::new(data.with_truth(Field::class("labels"), FieldValues::I32(angry))?))
}

fn main() -> tidemill::Result<()> {
    let text = InputSpec::Tokens(TokensSpec::new(LONGEST, WORDS));
    // Each branch reads one input; their outputs are joined.
    let inputs = ConcatSpec::new()
        .read("stars", vec![])
        .read("text", Model::of(text).embedding(8).global_avg_pool().layers);
    let model = Model::inputs([("stars", InputSpec::Features(1)), ("text", text)])
        .layer(inputs)
        .dense(32, Activation::Relu)
        .dense(2, Activation::Linear);
    for layer in model.summary()? {
        println!("{:<48} {:?}", layer.path, layer.output_shape);
    }

    let loss = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
    let mut network = tidemill::compile(model, loss, OptimizerSpec::adam(0.01))?;
    let (train, test) = (reviews(3000)?, reviews(1001)?);
    let history = network.fit(train, Fit { epochs: 12, ..Fit::default() })?;
    for epoch in history.iter().step_by(4) {
        println!("loss {:.4}, accuracy {:.3}", epoch.train["loss"], epoch.train["accuracy"]);
    }
    println!("accuracy on new reviews: {:.3}", network.evaluate(test.clone())?["accuracy"]);

    // Predictions take samples of the same fields; labels are not read.
    let probabilities = network.predict_all(test)?;
    println!("the first review is angry with probability {:.3}", probabilities[1]);
    Ok(())
}
