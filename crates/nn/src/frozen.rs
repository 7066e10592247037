//! Layers that do not learn.
//!
//! Their parameters get no gradient, no update and no optimizer slots; their batch norms use the running
//! statistics and leave them as they are, as in Keras. Dropout stays on.

use crate::build::LayerSummary;
use crate::model::ModelSpec;
use tidemill_graph::GraphError;

impl ModelSpec {
    /// Freezes the model's layer of that number, from 0, with all layers inside it.
    ///
    /// ```
    /// use tidemill_nn::{Activation, Model};
    /// let model = Model::features(4).dense(8, Activation::Relu).dense(3, Activation::Linear).freeze(0);
    /// assert!(model.is_frozen("layers.0.dense.kernel") && !model.is_frozen("layers.1.dense.kernel"));
    /// ```
    pub fn freeze(self, index: usize) -> ModelSpec {
        self.freeze_layer(format!("layers.{index}"))
    }

    /// Freezes the layer of that path, with all layers inside it: `layers.0`, `layers.2.residual`,
    /// `layers.2.residual.layers.0.conv2d`. Paths are those of [`ModelSpec::summary`]; that of a single
    /// parameter, such as `layers.0.dense.kernel`, freezes it alone. One that no layer has is an error when the
    /// model is compiled.
    pub fn freeze_layer(mut self, path: impl Into<String>) -> ModelSpec {
        self.frozen.push(path.into());
        self
    }

    /// Lets layers learn that are frozen; paths are as in [`ModelSpec::freeze_layer`].
    ///
    /// # Errors
    /// If the model has no such layer, or it is not frozen.
    pub fn thaw(&mut self, paths: &[String]) -> Result<(), GraphError> {
        let layers = self.summary()?;
        let values = self.initial_values(0)?;
        let names = || values.iter().map(|value| value.name.as_str());
        check(paths, &layers, names())?;
        // Each layer without others in it, and each tensor, by itself: a block may be frozen of which a part is to learn.
        let holds =
            |path: &str| layers.iter().any(|l| l.path.len() > path.len() && covers(path, &l.path));
        let all = layers.iter().map(|layer| layer.path.as_str()).filter(|path| !holds(path));
        let all: Vec<&str> = all.chain(names()).collect();
        for path in paths {
            if !all.iter().any(|own| covers(path, own) && self.is_frozen(own)) {
                return Err(GraphError::new(format!("\"{path}\" is not frozen")));
            }
        }
        let kept = all.into_iter().filter(|own| self.is_frozen(own) && !contains(paths, own));
        self.frozen = kept.map(str::to_owned).collect();
        Ok(())
    }

    /// Whether a layer, or a tensor of a layer, is frozen.
    pub fn is_frozen(&self, path: &str) -> bool {
        contains(&self.frozen, path)
    }
}

impl ModelSpec {
    /// Whether a tensor is one of a layer that learns later.
    pub(crate) fn learns_later(&self, path: &str) -> bool {
        contains(&self.later, path)
    }
}

/// Whether `path` is one of the frozen layers or inside one.
pub(crate) fn contains(frozen: &[String], path: &str) -> bool {
    frozen.iter().any(|layer| covers(layer, path))
}

/// Whether `path` is that of a layer or inside it. A part of the layer's path that is `*` stands for any.
pub(crate) fn covers(layer: &str, path: &str) -> bool {
    let mut parts = path.split('.');
    layer.split('.').all(|own| parts.next().is_some_and(|part| own == part || own == "*"))
}

/// Fails for a path that neither a layer nor one of the parameters has.
pub(crate) fn check<'a>(
    frozen: &[String],
    layers: &[LayerSummary],
    parameters: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), GraphError> {
    for path in frozen {
        if !parameters.clone().any(|parameter| covers(path, parameter))
            && !layers.iter().any(|layer| contains(std::slice::from_ref(path), &layer.path))
        {
            let known: Vec<&str> = layers.iter().map(|layer| layer.path.as_str()).collect();
            return Err(GraphError::new(format!("the model has no layer \"{path}\""))
                .help(format!("its layers are {}", known.join(", ")))
                .at("frozen"));
        }
    }
    Ok(())
}
