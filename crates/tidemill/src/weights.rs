//! Weights by name: read, set, taken over from another model.

use std::path::Path;

use tidemill_engine::checkpoint::read_tensors;
use tidemill_engine::engine::StateTensor;
use tidemill_engine::{Error, Result};

use crate::Network;
use crate::network::check_finite;

impl Network {
    /// The names of the weights, such as `layers.1.dense.kernel`, and of what else the model itself keeps,
    /// such as the running statistics of batch norm.
    pub fn weight_names(&self) -> Vec<String> {
        self.engine.weights().map(|(_, name)| name.to_owned()).collect()
    }

    /// The values of the weights of that name, if the model has some.
    pub fn weight(&self, name: &str) -> Option<&[f32]> {
        self.index(name).map(|index| self.engine.tensor(index))
    }

    /// Sets the weights of that name.
    ///
    /// # Errors
    /// If the model has no such weights, or a different number of values.
    pub fn set_weight(&mut self, name: &str, values: &[f32]) -> Result<()> {
        let Some(index) = self.index(name) else {
            return Err(Error::Run(format!(
                "the model has no weights {name}; help: it has {}",
                self.weight_names().join(", ")
            )));
        };
        let own = self.engine.tensor_mut(index);
        if own.len() != values.len() {
            let (wants, found) = (own.len(), values.len());
            return Err(Error::Run(format!("{name} has {wants} values, found {found}")));
        }
        own.copy_from_slice(values);
        Ok(())
    }

    /// Takes over the weights that this model and another one have in common, by name and shape, as a start
    /// for training that continues from there. Optimizer state is not taken over. Gives the names of the
    /// weights that stay as they are, such as those of a last layer with other classes.
    ///
    /// # Errors
    /// If the two have no weights in common.
    pub fn take_weights(&mut self, other: &Network) -> Result<Vec<String>> {
        self.take(other.engine.state().tensors(), "the other model")
    }

    /// The same from a file that [`Network::save`] wrote, or the `state.safetensors` of a checkpoint.
    ///
    /// # Errors
    /// If the file cannot be read, has a value that is not finite, or has no weights in common with this model.
    pub fn load_weights(&mut self, path: impl AsRef<Path>) -> Result<Vec<String>> {
        let path = path.as_ref();
        let tensors =
            read_tensors(path).map_err(|why| Error::Run(format!("{}: {why}", path.display())))?;
        check_finite(&tensors, &format!("{}: is not taken over", path.display()))?;
        self.take(&tensors, &path.display().to_string())
    }

    fn take(&mut self, tensors: &[StateTensor], from: &str) -> Result<Vec<String>> {
        let mut left = Vec::new();
        let names = self.weight_names();
        for name in &names {
            let Some(index) = self.index(name) else { continue };
            let shape = self.engine.tensor_shape(index);
            match tensors.iter().find(|t| t.name == *name && t.shape == shape) {
                Some(tensor) => {
                    self.engine.tensor_mut(index).copy_from_slice(tensor.elements()?);
                }
                None => left.push(name.clone()),
            }
        }
        if left.len() == names.len() {
            return Err(Error::Run(format!(
                "{from} has no weights of this model's names and shapes; help: names are {}",
                names.join(", ")
            )));
        }
        Ok(left)
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.engine.weights().find(|(_, own)| *own == name).map(|(index, _)| index)
    }
}
