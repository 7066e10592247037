//! Whether a model's numbers make sense, before any shapes are looked at.

use crate::custom::check_name;
use crate::error::{ModelError, require};
use crate::layer::LayerSpec;
use crate::model::{InputSpec, ModelSpec, TokensSpec};
use crate::padding::Padding;

impl ModelSpec {
    /// Fails at the first value that has no meaning, by its key path, such as
    /// `layers[2].dense.units must be a positive integer, found 0`.
    pub fn validate(&self) -> Result<(), ModelError> {
        if self.inputs.is_empty() {
            if self.input == InputSpec::Features(0) {
                return Err(ModelError::new("input", "is missing, such as { features = 10 }"));
            }
            input(self.input, "input")?;
        } else if self.input != InputSpec::Features(0) {
            return Err(ModelError::new("input", "must be left out where inputs has names"));
        }
        for (name, &spec) in &self.inputs {
            input(spec, &format!("inputs.{name}"))?;
            if !self.layers.iter().any(|layer| layer.any(&|l| reads(l, name))) {
                let what = "is read by no branch of a concat layer";
                return Err(ModelError::new(format!("inputs.{name}"), what));
            }
        }
        let first = self.layers.iter().find(|layer| !matches!(layer, LayerSpec::Encode(_)));
        if !self.inputs.is_empty() && !matches!(first, Some(LayerSpec::Concat(_))) {
            let what = "must be a concat whose branches name the model's inputs";
            return Err(ModelError::new("layers[0]", what));
        }
        if let Some(hedged) = &self.hedged_depth {
            hedged.validate()?;
            if !matches!(self.layers.last(), Some(LayerSpec::Dense(_))) {
                let what = "needs a dense layer as the last of model.layers, for outputs like it";
                return Err(ModelError::new("hedged_depth", what));
            }
        }
        if let Some(hats) = &self.hats {
            hats.validate(self)?;
        }
        if let Some(memory) = &self.memory {
            memory.validate()?;
        }
        let mixed = [
            ("linear", self.linear),
            ("memory", self.memory.is_some()),
            ("last_label", self.last_label),
        ];
        let beside = self.hats.is_some_and(|hats| hats.beside);
        if let Some((key, _)) = mixed.into_iter().find(|(_, given)| *given && !beside) {
            let what =
                "is mixed with networks with and without hats; set hats, and leave hats.beside on";
            return Err(ModelError::new(key, what));
        }
        sequence(&self.layers, "layers")
    }
}

/// Whether a layer has a branch that reads the input of that name.
fn reads(layer: &LayerSpec, name: &str) -> bool {
    match layer {
        LayerSpec::Concat(o) => o.branches.iter().any(|b| b.input.as_deref() == Some(name)),
        LayerSpec::Encode(o) => o.input == name,
        _ => false,
    }
}

fn input(spec: InputSpec, path: &str) -> Result<(), ModelError> {
    let dims: &[(&str, usize)] = match spec {
        InputSpec::Image { height, width, channels } => {
            &[("image.height", height), ("image.width", width), ("image.channels", channels)]
        }
        InputSpec::Features(features) => &[("features", features)],
        InputSpec::Ids { length, vocabulary } => {
            &[("ids.length", length), ("ids.vocabulary", vocabulary)]
        }
        InputSpec::Frames { length, values } => {
            &[("frames.length", length), ("frames.values", values)]
        }
        InputSpec::Tokens(tokens) => return ids_of_words(tokens, &format!("{path}.tokens")),
    };
    dims.iter().try_for_each(|&(key, n)| positive(n, || format!("{path}.{key}")))
}

pub(crate) fn ids_of_words(tokens: TokensSpec, path: &str) -> Result<(), ModelError> {
    let TokensSpec { length, vocabulary, ngrams, minn, maxn } = tokens;
    let at = |key: &str| format!("{path}.{key}");
    positive(length, || at("length"))?;
    positive(vocabulary, || at("vocabulary"))?;
    require((1..=MAX_NGRAMS).contains(&ngrams), || at("ngrams"), "from 1 to 10", ngrams)?;
    require(maxn <= MAX_CHARACTERS, || at("maxn"), "from 0 to 32", maxn)?;
    let found = format!("{minn} with maxn = {maxn}");
    let fits = (minn > 0) == (maxn > 0) && minn <= maxn;
    require(fits, || at("minn"), "from 1 to maxn, or 0 where maxn is 0", found)
}

/// Bounds to the work for a text: it grows with each of them.
const MAX_NGRAMS: usize = 10;
const MAX_CHARACTERS: usize = 32;

fn sequence(layers: &[LayerSpec], prefix: &str) -> Result<(), ModelError> {
    layers
        .iter()
        .enumerate()
        .try_for_each(|(i, layer)| one(layer, &format!("{prefix}[{i}].{}", layer.kind())))
}

fn one(layer: &LayerSpec, path: &str) -> Result<(), ModelError> {
    use LayerSpec::*;
    let at = |key: &str| format!("{path}.{key}");
    let epsilon = |e: f64| require(e > 0.0 && e.is_finite(), || at("epsilon"), "above 0", e);
    match layer {
        Flatten {} | GlobalAvgPool {} | GlobalMaxPool {} | Activation(_) | Softmax {} => Ok(()),
        ImageToSequence { .. } | FirstPosition {} => Ok(()),
        Reshape { shape } => require(
            !shape.is_empty() && !shape.contains(&0),
            || at("shape"),
            "positive integers",
            format!("{shape:?}"),
        ),
        Dense(o) => {
            positive(o.units, || at("units"))?;
            if o.tied.is_some() && o.kernel_initializer != Default::default() {
                let what = "has no effect on a kernel that is tied to an embedding; leave it out";
                return Err(ModelError::new(at("kernel_initializer"), what));
            }
            o.kernel_initializer.validate(&at("kernel_initializer"))?;
            o.bias_initializer.validate(&at("bias_initializer"))
        }
        Attention(o) => {
            positive(o.heads, || at("heads"))?;
            let keys = o.key_heads.unwrap_or(o.heads);
            let divides = keys > 0 && o.heads.is_multiple_of(keys);
            require(divides, || at("key_heads"), "a divisor of heads", keys)?;
            positive(o.head_units.unwrap_or(1), || at("head_units"))?;
            let dropout = (0.0..1.0).contains(&o.dropout);
            require(dropout, || at("dropout"), "from 0 to below 1", o.dropout)?;
            for (key, given) in [("rotary", o.rotary.is_some()), ("relative", o.relative.is_some())]
            {
                if given && o.over.is_some() {
                    let what =
                        "has no place beside over: positions of two sequences have no distance";
                    return Err(ModelError::new(at(key), what));
                }
            }
            o.rotary.map_or(Ok(()), |rotary| rotary.validate(&at("rotary")))?;
            o.relative.map_or(Ok(()), |spec| spec.validate(&at("relative"), o.causal))?;
            o.kernel_initializer.validate(&at("kernel_initializer"))?;
            o.output_initializer.validate(&at("output_initializer"))
        }
        Gru(o) => o.scanned().validate(&at),
        Lstm(o) => o.scanned().validate(&at),
        Encode(o) => sequence(&o.layers, &at("layers")),
        Copy(o) => {
            positive(o.units.unwrap_or(1), || at("units"))?;
            sequence(&o.layers, &at("layers"))
        }
        Joiner(o) => o.validate(&at),
        Positions(o) => {
            positive(o.length, || at("length"))?;
            require(o.scale.is_finite(), || at("scale"), "finite", o.scale)?;
            o.initializer.validate(&at("initializer"))
        }
        Conv2d(o) => {
            positive(o.filters, || at("filters"))?;
            positive(o.groups, || at("groups"))?;
            window(&at, o.kernel, o.stride, o.dilation)?;
            o.kernel_initializer.validate(&at("kernel_initializer"))?;
            o.bias_initializer.validate(&at("bias_initializer"))
        }
        Conv1d(o) => {
            positive(o.filters, || at("filters"))?;
            positive(o.kernel, || at("kernel"))?;
            positive(o.dilation, || at("dilation"))?;
            positive(o.groups, || at("groups"))?;
            o.kernel_initializer.validate(&at("kernel_initializer"))?;
            o.bias_initializer.validate(&at("bias_initializer"))
        }
        Concat(o) => {
            if o.branches.is_empty() {
                return Err(ModelError::new(at("branches"), "must not be empty"));
            }
            let mut branches = o.branches.iter().enumerate();
            branches
                .try_for_each(|(i, b)| sequence(&b.layers, &at(&format!("branches[{i}].layers"))))
        }
        DepthwiseConv2d(o) => {
            positive(o.depth_multiplier, || at("depth_multiplier"))?;
            window(&at, o.kernel, o.stride, o.dilation)?;
            o.kernel_initializer.validate(&at("kernel_initializer"))?;
            o.bias_initializer.validate(&at("bias_initializer"))
        }
        MaxPool2d(o) | AvgPool2d(o) => {
            positive(o.size[0].min(o.size[1]), || at("size"))?;
            let stride = o.stride.unwrap_or(o.size);
            positive(stride[0].min(stride[1]), || at("stride"))?;
            // Otherwise a window could lie wholly in the padding.
            match o.padding {
                Padding::Symmetric([rows, columns]) => require(
                    2 * rows <= o.size[0] && 2 * columns <= o.size[1],
                    || at("padding"),
                    "at most half the window",
                    format!("[{rows}, {columns}] for a window of {:?}", o.size),
                ),
                _ => Ok(()),
            }
        }
        BatchNorm(o) => {
            let m = o.momentum;
            require((0.0..=1.0).contains(&m), || at("momentum"), "from 0 to 1", m)?;
            epsilon(o.epsilon)?;
            o.gamma_initializer.validate(&at("gamma_initializer"))
        }
        LayerNorm { epsilon: e } | RmsNorm { epsilon: e } => epsilon(*e),
        Dropout { rate } => {
            require((0.0..1.0).contains(rate), || at("rate"), "from 0 to below 1", rate)
        }
        Embedding(o) => {
            positive(o.vocabulary, || at("vocabulary"))?;
            positive(o.units, || at("units"))?;
            require(o.scale.is_finite(), || at("scale"), "finite", o.scale)?;
            o.initializer.validate(&at("initializer"))
        }
        EmbeddingBag(o) => {
            positive(o.vocabulary, || at("vocabulary"))?;
            positive(o.units, || at("units"))?;
            o.initializer.validate(&at("initializer"))
        }
        EntityEmbedding(o) => {
            if o.vocabulary.is_empty() {
                return Err(ModelError::new(at("vocabulary"), "must have a number for each id"));
            }
            for &rows in &o.vocabulary {
                positive(rows, || at("vocabulary"))?;
            }
            for &tokens in &o.tokens {
                positive(tokens, || at("tokens"))?;
            }
            if !(o.tokens.is_empty() || o.tokens.len() == o.vocabulary.len()) {
                let (tables, found) = (o.vocabulary.len(), o.tokens.len());
                let what =
                    format!("must have a number for each of the {tables} tables, found {found}");
                return Err(ModelError::new(at("tokens"), what));
            }
            positive(o.units, || at("units"))?;
            o.initializer.validate(&at("initializer"))
        }
        Residual(o) => {
            if o.layers.is_empty() {
                return Err(ModelError::new(at("layers"), "must not be empty"));
            }
            let share = (0.0..1.0).contains(&o.drop_path);
            require(share, || at("drop_path"), "from 0 to below 1", o.drop_path)?;
            sequence(&o.layers, &at("layers"))?;
            sequence(&o.shortcut, &at("shortcut"))
        }
        Multiply { layers } => {
            if layers.is_empty() {
                return Err(ModelError::new(at("layers"), "must not be empty"));
            }
            sequence(layers, &at("layers"))
        }
        LayerScale { initial } => {
            require(initial.is_finite(), || at("initial"), "finite", *initial)
        }
        Custom(layer) => check_name(layer.get().name(), "layer", path),
        Repeat { times, layers } => {
            positive(*times, || at("times"))?;
            sequence(layers, &at("layers"))
        }
    }
}

fn window(
    at: &impl Fn(&str) -> String,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
) -> Result<(), ModelError> {
    [("kernel", kernel), ("stride", stride), ("dilation", dilation)]
        .into_iter()
        .try_for_each(|(key, [rows, columns])| positive(rows.min(columns), || at(key)))
}

fn positive(value: usize, path: impl FnOnce() -> String) -> Result<(), ModelError> {
    require(value > 0, path, "a positive integer", value)
}
