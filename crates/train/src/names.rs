//! The tensors of a model as PyTorch calls them and orders their dims.
//!
//! A layer's name is its path without the kinds of layers: `layers.2.residual.layers.0.conv2d` is `layers.2.layers.0`, as
//! modules in `nn.Sequential`s are called. Dense kernels are `[out, in]`, those of convolutions `[out, in, rows, columns]`.

use tidemill_engine::nn::LayerSummary;
use tidemill_engine::{StateTensor, StateValues};

/// A tensor of a model, or a part of it, under another name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Named {
    /// Its name in PyTorch.
    pub(crate) name: String,
    form: Form,
}

/// What becomes of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Same,
    /// The dim `i` there is the dim `axes[i]` here.
    Permuted(&'static [usize]),
    /// That row of two alone.
    Row(usize),
}

/// `[in, out]` to `[out, in]`.
const DENSE: Form = Form::Permuted(&[1, 0]);
/// `[rows, columns, in, out]` to `[out, in, rows, columns]`.
const CONV: Form = Form::Permuted(&[3, 2, 0, 1]);
/// `[size, in, out]` to `[out, in, size]`.
const CONV1D: Form = Form::Permuted(&[2, 1, 0]);

impl Named {
    /// The dims there of a tensor that has these here.
    pub(crate) fn shape(&self, here: &[usize]) -> Vec<usize> {
        match self.form {
            Form::Same => here.to_vec(),
            Form::Permuted(axes) => axes.iter().map(|&axis| here[axis]).collect(),
            Form::Row(_) => here[1..].to_vec(),
        }
    }

    /// The values there.
    pub(crate) fn values(&self, here: &[f32], shape: &[usize]) -> Vec<f32> {
        match self.form {
            Form::Same => here.to_vec(),
            Form::Permuted(axes) => places(shape, axes).map(|from| here[from]).collect(),
            Form::Row(row) => {
                let width = here.len() / shape[0];
                here[row * width..][..width].to_vec()
            }
        }
    }

    /// Puts what is there into the tensor here.
    pub(crate) fn put(&self, there: &[f32], here: &mut [f32], shape: &[usize]) {
        match self.form {
            Form::Same => here.copy_from_slice(there),
            Form::Permuted(axes) => {
                places(shape, axes).zip(there).for_each(|(to, &value)| here[to] = value);
            }
            Form::Row(row) => {
                let width = here.len() / shape[0];
                here[row * width..][..width].copy_from_slice(there);
            }
        }
    }
}

/// For each element of the permuted tensor, in its order, where it is in one of this shape.
fn places(shape: &[usize], axes: &'static [usize]) -> impl Iterator<Item = usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (0..shape.len().saturating_sub(1)).rev() {
        strides[axis] = strides[axis + 1] * shape[axis + 1];
    }
    let dims: Vec<usize> = axes.iter().map(|&axis| shape[axis]).collect();
    let strides: Vec<usize> = axes.iter().map(|&axis| strides[axis]).collect();
    let total = dims.iter().product();
    (0..total).map(move |mut flat: usize| {
        let mut place = 0;
        for (&dim, &stride) in dims.iter().zip(&strides).rev() {
            place += flat % dim * stride;
            flat /= dim;
        }
        place
    })
}

/// The PyTorch names of a tensor of the model's own: one, or two of which each has a part. What PyTorch has no name for
/// keeps its own.
pub(crate) fn torch(tensor: &str, layers: &[LayerSummary]) -> Vec<Named> {
    let owner = layers.iter().filter(|layer| inside(tensor, &layer.path).is_some());
    let Some(layer) = owner.max_by_key(|layer| layer.path.len()) else {
        return vec![Named { name: tensor.to_owned(), form: Form::Same }];
    };
    let leaf = inside(tensor, &layer.path).unwrap_or_default();
    let prefix = without_kinds(&layer.path, layers);
    let parts = parts(&layer.kind, leaf);
    let named = |(name, form): (String, Form)| Named { name: format!("{prefix}.{name}"), form };
    parts.into_iter().map(named).collect()
}

/// What follows a layer's path in a name.
fn inside<'n>(name: &'n str, path: &str) -> Option<&'n str> {
    name.strip_prefix(path)?.strip_prefix('.')
}

/// A layer's path without the last part of its own and of each layer around it, which are the kinds.
fn without_kinds(path: &str, layers: &[LayerSummary]) -> String {
    let (mut whole, mut kept) = (String::new(), Vec::new());
    for part in path.split('.') {
        if !whole.is_empty() {
            whole.push('.');
        }
        whole.push_str(part);
        // Layers are listed after those in them, and each has its path in the list.
        if !layers.iter().any(|layer| layer.path == whole) {
            kept.push(part);
        }
    }
    kept.join(".")
}

fn parts(kind: &str, leaf: &str) -> Vec<(String, Form)> {
    let one = |name: &str, form| vec![(name.to_owned(), form)];
    match (kind, leaf) {
        ("dense", "kernel") => one("weight", DENSE),
        ("conv2d" | "depthwise_conv2d", "kernel") => one("weight", CONV),
        ("conv1d", "kernel") => one("weight", CONV1D),
        ("batch_norm", "moments") => {
            vec![("running_mean".into(), Form::Row(0)), ("running_var".into(), Form::Row(1))]
        }
        ("batch_norm" | "layer_norm", "beta") => one("bias", Form::Same),
        ("batch_norm" | "layer_norm" | "rms_norm", "gamma") => one("weight", Form::Same),
        ("embedding" | "embedding_bag" | "positions", "table") => one("weight", Form::Same),
        ("entity_embedding", table) => match table.strip_prefix("table") {
            Some(number) => one(&format!("tables.{number}.weight"), Form::Same),
            None => one(table, Form::Same),
        },
        ("attention", "qkv.kernel") => one("in_proj_weight", DENSE),
        ("attention", "qkv.bias") => one("in_proj_bias", Form::Same),
        ("attention", "output.kernel") => one("out_proj.weight", DENSE),
        ("attention", "output.bias") => one("out_proj.bias", Form::Same),
        ("gru" | "lstm", leaf) => recurrent(leaf),
        (_, leaf) => match leaf.strip_suffix(".kernel") {
            Some(projection) => one(&format!("{projection}.weight"), DENSE),
            None => one(leaf, Form::Same),
        },
    }
}

fn recurrent(leaf: &str) -> Vec<(String, Form)> {
    let (direction, own) = match leaf.rsplit_once('.') {
        Some((direction, own)) => (direction, own),
        None => ("", leaf),
    };
    let end = if direction.contains("backward") || direction.contains("reverse") {
        "_reverse"
    } else {
        ""
    };
    let (name, form) = match own {
        "kernel" => ("weight_ih_l0", DENSE),
        "recurrent_kernel" => ("weight_hh_l0", DENSE),
        "bias" => ("bias_ih_l0", Form::Same),
        "recurrent_bias" => ("bias_hh_l0", Form::Same),
        own => (own, Form::Same),
    };
    vec![(format!("{name}{end}"), form)]
}

/// A model's weights under PyTorch's names, as `load_state_dict` takes them; each batch norm has counted the steps.
pub(crate) fn to_torch(
    tensors: &[StateTensor],
    layers: &[LayerSummary],
    steps: u64,
) -> Vec<StateTensor> {
    let mut all = Vec::new();
    for tensor in tensors {
        let StateValues::F32(values) = &tensor.values else { continue };
        for named in torch(&tensor.name, layers) {
            all.push(StateTensor {
                shape: named.shape(&tensor.shape),
                parameter: tensor.parameter,
                values: named.values(values, &tensor.shape).into(),
                name: named.name,
            });
        }
    }
    let norms = layers.iter().filter(|layer| layer.kind == "batch_norm");
    all.extend(norms.map(|layer| StateTensor {
        name: format!("{}.num_batches_tracked", without_kinds(&layer.path, layers)),
        shape: vec![],
        parameter: false,
        values: vec![steps as i64].into(),
    }));
    all
}
