//! Where initial weights come from, as a recipe writes it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Another run or a file of weights. What of it a model takes is decided by names and shapes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FromSpec {
    /// The folder of a run, whose latest weights are taken (of averaged ones the averages); none by default. Either this or
    /// `safetensors` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// A safetensors file of weights; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safetensors: Option<String>,
    /// What the tensors of the file are called: `"own"`, the default; `"torch"`, as `export --names torch` writes them; or `"torchvision"`,
    /// for a model that `vision` names, as torchvision's model of that name has them (timm's ResNets too).
    #[serde(default, skip_serializing_if = "is_own")]
    pub names: Names,
    /// Layers of the model by their paths (with PyTorch's names without the kinds of layers), with the paths of those of the source
    /// that they take the weights of, such as `{ "layers.0" = "features.0" }`; with all layers inside them. Each takes those of its own path by default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rename: BTreeMap<String, String>,
}

/// What tensors are called, and how their dims are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Names {
    /// As in a checkpoint: `layers.0.dense.kernel` `[in, out]`.
    #[default]
    Own,
    /// As in PyTorch: `layers.0.weight` `[out, in]`.
    Torch,
    /// As torchvision calls the layers of a known model: `conv1.weight`.
    Torchvision,
}

fn is_own(names: &Names) -> bool {
    *names == Names::Own
}
