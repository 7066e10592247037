//! What a sample is: named fields with types and dims.

/// Element type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit float.
    F32,
    /// 32-bit integer: labels, ids, random keys.
    I32,
}

/// One dim of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// Always so many elements.
    Fixed(usize),
    /// As many as the sample is long, and at most so many.
    Time(usize),
}

impl Dim {
    /// Elements at most.
    pub fn most(self) -> usize {
        match self {
            Dim::Fixed(n) | Dim::Time(n) => n,
        }
    }
}

/// One field of a sample.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// Such as `x`, `words` or `labels`.
    pub name: String,
    /// The type of its elements.
    pub dtype: DType,
    /// Its dims, without the batch; only the first may be time.
    pub dims: Vec<Dim>,
}

impl Field {
    /// Floats of a fixed shape, such as `[28, 28, 1]`.
    pub fn numbers(name: &str, shape: &[usize]) -> Field {
        let dims = shape.iter().map(|&n| Dim::Fixed(n)).collect();
        Field { name: name.to_owned(), dtype: DType::F32, dims }
    }

    /// A sequence of at most `most` integer ids.
    pub fn ids(name: &str, most: usize) -> Field {
        Field { name: name.to_owned(), dtype: DType::I32, dims: vec![Dim::Time(most)] }
    }

    /// A class number.
    pub fn class(name: &str) -> Field {
        Field { name: name.to_owned(), dtype: DType::I32, dims: Vec::new() }
    }

    /// Elements of one sample, of the longest one where the field has time.
    pub fn most(&self) -> usize {
        self.dims.iter().map(|d| d.most()).product()
    }

    /// The longest time, if the field has time.
    pub fn time(&self) -> Option<usize> {
        match self.dims.first() {
            Some(&Dim::Time(most)) => Some(most),
            _ => None,
        }
    }

    /// Elements of one position in time; of the whole sample where the field has none.
    pub fn inner(&self) -> usize {
        let skip = usize::from(self.time().is_some());
        self.dims[skip..].iter().map(|d| d.most()).product()
    }

    /// Its dims with time as `time`, for people and for shapes.
    pub fn shape(&self, time: usize) -> Vec<usize> {
        let dim = |d: &Dim| match d {
            Dim::Fixed(n) => *n,
            Dim::Time(_) => time,
        };
        self.dims.iter().map(dim).collect()
    }

    /// Its dims, of the longest sample.
    pub fn longest(&self) -> Vec<usize> {
        self.dims.iter().map(|d| d.most()).collect()
    }
}

/// The fields of a sample: the inputs, then what is true of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Signature {
    fields: Vec<Field>,
    truth: Option<usize>,
    position_weights: Option<usize>,
}

impl Signature {
    /// The name of the weights of a truth's positions.
    pub const POSITION_WEIGHTS: &'static str = "label_weights";

    /// Samples with these inputs and, where they have labels, this truth.
    pub fn new(inputs: Vec<Field>, truth: Option<Field>) -> Signature {
        let (mut fields, at) = (inputs, truth.is_some());
        let truth_at = at.then_some(fields.len());
        fields.extend(truth);
        Signature { fields, truth: truth_at, position_weights: None }
    }

    /// Adds a weight in the loss for each position of a truth that has time.
    #[must_use]
    pub fn with_position_weights(mut self) -> Signature {
        if let Some(most) = self.truth().and_then(Field::time) {
            self.position_weights = Some(self.fields.len());
            self.fields.push(Field {
                name: Self::POSITION_WEIGHTS.to_owned(),
                dtype: DType::F32,
                dims: vec![Dim::Time(most)],
            });
        }
        self
    }

    /// All fields, the inputs first.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The fields that a model reads.
    pub fn inputs(&self) -> &[Field] {
        &self.fields[..self.truth.unwrap_or(self.fields.len())]
    }

    /// What is true of a sample, if that is known.
    pub fn truth(&self) -> Option<&Field> {
        self.truth.map(|i| &self.fields[i])
    }

    /// Where that is among the fields.
    pub fn truth_index(&self) -> Option<usize> {
        self.truth
    }

    /// Where the weights of its positions are, if it has some.
    pub fn position_weights_index(&self) -> Option<usize> {
        self.position_weights
    }

    /// Where the field of that name is.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|f| f.name == name)
    }

    /// The same inputs without a truth.
    pub fn without_truth(&self) -> Signature {
        Signature::new(self.inputs().to_vec(), None)
    }
}
