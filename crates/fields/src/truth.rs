//! What is true of one sample.

/// What is true of one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Truth<'a> {
    /// Nothing is known.
    Unknown,
    /// Its class.
    Class(usize),
    /// Its values: targets of a regression, one-hot or multi-hot rows.
    Values(&'a [f32]),
    /// The class of each of its positions.
    Classes(&'a [i32]),
}

impl Truth<'_> {
    /// The class that it is: a number of its own, yes or no of a single value, the greatest of several.
    pub fn class(self) -> Option<usize> {
        match self {
            Truth::Class(class) => Some(class),
            Truth::Values([yes]) => Some(usize::from(*yes > 0.5)),
            Truth::Values(values) => Some(argmax(values)),
            Truth::Unknown | Truth::Classes(_) => None,
        }
    }

    /// The target of output `output` of `outputs`: a class is its number where there is one output,
    /// else a one-hot row. NaN where nothing of the kind is known.
    pub fn target(self, output: usize, outputs: usize) -> f32 {
        match self {
            Truth::Class(class) if outputs == 1 => class as f32,
            Truth::Class(class) => f32::from(u8::from(class == output)),
            Truth::Values(values) => values.get(output).copied().unwrap_or(f32::NAN),
            Truth::Unknown | Truth::Classes(_) => f32::NAN,
        }
    }
}

/// The position of the greatest value, the first of equals; NaN is never the greatest.
pub fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    let mut value = f32::NEG_INFINITY;
    for (i, &v) in row.iter().enumerate() {
        if v > value {
            (best, value) = (i, v);
        }
    }
    best
}
