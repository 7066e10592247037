//! The hidden units of a model: dense layers whose outputs feed nothing but the next dense layer.
//!
//! What replaces or inspects single units needs to know where their weights are: those into unit
//! `i` are column `i` of its layer's kernel, those out of it row `i` of the next layer's kernel.

use crate::initializers::{Fans, Initializer};
use crate::layer::{DenseSpec, LayerSpec};
use crate::model::ModelSpec;

/// A dense layer of hidden units, with the dense layer that reads it. Between the two lie only
/// activations and dropout, which keep the units apart.
#[derive(Clone, Debug, PartialEq)]
pub struct HiddenLayer {
    /// Path of the layer, such as `layers.0.dense`.
    pub path: String,
    /// Path of the layer that reads it.
    pub next: String,
    /// Number of units.
    pub units: usize,
    /// Whether the layer has a bias.
    pub bias: bool,
    /// Whether the layer that reads it has a bias.
    pub next_bias: bool,
    spec: DenseSpec,
}

impl HiddenLayer {
    /// Start values of one new unit: its column of the kernel (`inputs` values) and its bias, from
    /// the layer's initializers. `name` keeps the units that are ever drawn apart.
    pub fn new_unit(&self, seed: u64, name: &str, inputs: usize) -> (Vec<f32>, f32) {
        let fans = Fans::of_kernel(&[inputs, self.units]);
        let draw = |initializer: Initializer, part: &str, shape: &[usize]| {
            initializer.values(seed, &format!("{}.{part}.{name}", self.path), shape, fans)
        };
        let column = draw(self.spec.kernel_initializer, "kernel", &[inputs, 1]);
        let bias = draw(self.spec.bias_initializer, "bias", &[1]);
        (column, bias.first().copied().unwrap_or(0.0))
    }
}

impl ModelSpec {
    /// The hidden layers, in their order, but for those whose weights are frozen.
    ///
    /// ```
    /// use tidemill_nn::{Activation, Model};
    /// let model = Model::features(4).dense(8, Activation::Relu).dense(3, Activation::Linear);
    /// let hidden = model.hidden_layers();
    /// assert_eq!((hidden[0].path.as_str(), hidden[0].units), ("layers.0.dense", 8));
    /// ```
    pub fn hidden_layers(&self) -> Vec<HiddenLayer> {
        let mut found = Vec::new();
        walk(&self.layers, "layers", &mut None, &mut found);
        found.retain(|layer| !self.is_frozen(&layer.path) && !self.is_frozen(&layer.next));
        found
    }

    /// Whether the model does other things in training than in evaluation: dropout, batch norm.
    pub fn trains_otherwise(&self) -> bool {
        let otherwise = |layer: &LayerSpec| match layer {
            LayerSpec::Dropout { rate } => *rate > 0.0,
            // What a custom layer does in training is not known.
            LayerSpec::Residual(block) => block.drop_path > 0.0,
            LayerSpec::BatchNorm(_) | LayerSpec::Custom(_) => true,
            _ => false,
        };
        self.layers.iter().any(|layer| layer.any(&otherwise))
    }
}

/// Goes through a sequence; `last` is the dense layer whose units are still apart.
fn walk<'m>(
    layers: &'m [LayerSpec],
    prefix: &str,
    last: &mut Option<(String, &'m DenseSpec)>,
    found: &mut Vec<HiddenLayer>,
) {
    for (i, layer) in layers.iter().enumerate() {
        let path = format!("{prefix}.{i}.{}", layer.kind());
        match layer {
            LayerSpec::Dense(spec) => {
                if let Some((before, hidden)) = last.take() {
                    found.push(HiddenLayer {
                        path: before,
                        next: path.clone(),
                        units: hidden.units,
                        bias: hidden.bias,
                        next_bias: spec.bias,
                        spec: hidden.clone(),
                    });
                }
                *last = Some((path, spec));
            }
            LayerSpec::Activation(_) | LayerSpec::Dropout { .. } => {}
            LayerSpec::Repeat { times, layers } => {
                for time in 0..*times {
                    walk(layers, &format!("{path}.{time}"), last, found);
                }
            }
            _ => *last = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Activation, LayerSpec, Model};

    #[test]
    fn layers_between_decide_whether_units_stay_apart() {
        let dense = |units| Model::features(4).dense(units, Activation::Linear).layers.remove(0);
        let paths = |model: &Model| -> Vec<(String, String)> {
            model.hidden_layers().into_iter().map(|h| (h.path, h.next)).collect()
        };
        let plain =
            Model::features(4).dense(8, Activation::Relu).dropout(0.5).dense(3, Activation::Linear);
        assert_eq!(paths(&plain), [("layers.0.dense".into(), "layers.2.dense".into())]);
        let norm =
            Model::features(4).dense(8, Activation::Relu).batch_norm().dense(3, Activation::Linear);
        assert_eq!(paths(&norm), []);
        let mut repeat = Model::features(4);
        repeat.layers.push(LayerSpec::Repeat { times: 2, layers: vec![dense(4)] });
        let expected = ("layers.0.repeat.0.0.dense".into(), "layers.0.repeat.1.0.dense".into());
        assert_eq!(paths(&repeat), [expected]);
        // The names are those of the parameters.
        let names: Vec<String> =
            repeat.initial_values(1).expect("values").into_iter().map(|v| v.name).collect();
        assert!(names.contains(&"layers.0.repeat.1.0.dense.kernel".to_owned()), "{names:?}");
    }

    #[test]
    fn new_units_differ_and_are_of_the_layer_s_scale() {
        let model = Model::features(100).dense(50, Activation::Relu).dense(3, Activation::Linear);
        let hidden = &model.hidden_layers()[0];
        let (a, bias) = hidden.new_unit(1, "3.17", 100);
        let (b, _) = hidden.new_unit(1, "3.18", 100);
        assert_eq!((a.len(), bias), (100, 0.0));
        assert!(a != b && a == hidden.new_unit(1, "3.17", 100).0);
        // Glorot uniform: within sqrt(6 / (in + out)).
        assert!(a.iter().all(|v| v.abs() <= 0.2) && a.iter().any(|v| v.abs() > 0.1));
    }
}
