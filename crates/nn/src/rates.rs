//! What an optimizer does to single parameters: decay, and rates of their own.

use crate::error::{ModelError, require};
use crate::frozen;
use crate::optimizer::{DecayKind, OptimizerSpec};
use std::collections::BTreeMap;
use tidemill_graph::{GraphError, WeightDecay};

impl OptimizerSpec {
    /// The decay of the parameter of this name.
    pub fn weight_decay(&self, parameter: &str) -> WeightDecay {
        let common = self.common();
        let leaf = parameter.rsplit('.').next().unwrap_or(parameter);
        if common.weight_decay == 0.0 || common.exclude.iter().any(|name| name == leaf) {
            return WeightDecay::None;
        }
        match common.decay {
            DecayKind::L2 => WeightDecay::L2(common.weight_decay as f32),
            DecayKind::Decoupled => WeightDecay::Decoupled(common.weight_decay as f32),
        }
    }

    /// The factor of the learning rate of the parameter of that name.
    pub fn rate(&self, parameter: &str) -> f32 {
        let fits = self.common().rates.iter().filter(|(path, _)| frozen::covers(path, parameter));
        let longest = fits.max_by_key(|(path, _)| path.split('.').count());
        longest.map_or(1.0, |(_, &rate)| rate as f32)
    }

    /// Fails for a path of `rates` that none of the learned parameters is in.
    pub(crate) fn check_rates<'a>(
        &self,
        parameters: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<(), GraphError> {
        for path in self.common().rates.keys() {
            if !parameters.clone().any(|parameter| frozen::covers(path, parameter)) {
                let known: Vec<&str> = parameters.collect();
                return Err(GraphError::new(format!(
                    "no layer that learns has the path \"{path}\""
                ))
                .help(format!("its parameters are {}", known.join(", ")))
                .at("optimizer.rates"));
            }
        }
        Ok(())
    }
}

/// Fails for an invalid factor.
pub(crate) fn check_factors(
    rates: &BTreeMap<String, f64>,
    at: &impl Fn(&str) -> String,
) -> Result<(), ModelError> {
    rates.iter().try_for_each(|(path, &rate)| {
        let sound = rate > 0.0 && rate.is_finite();
        let must = "above 0 (frozen has the layers that do not learn)";
        require(sound, || at(&format!("rates.\"{path}\"")), must, rate)
    })
}
