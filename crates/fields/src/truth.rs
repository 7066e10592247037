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
    let (mut best, mut value) = (0, f32::NEG_INFINITY);
    // A block's greatest is found many at a time, and rarely is one greater than all before: rows may be a vocabulary's.
    for (block, values) in row.chunks(BLOCK).enumerate() {
        if none_above(values, value) {
            continue;
        }
        for (i, &v) in values.iter().enumerate() {
            if v > value {
                (best, value) = (block * BLOCK + i, v);
            }
        }
    }
    best
}

/// Values that are looked at together for one that is great enough.
pub const BLOCK: usize = 128;

/// Whether no value is above a limit; NaN counts as above. Without a branch for each, so that a compiler makes vectors of it.
pub fn none_above(values: &[f32], limit: f32) -> bool {
    values.iter().fold(true, |none, &value| none & (limit >= value))
}

#[cfg(test)]
mod tests {
    use super::argmax;

    #[test]
    fn the_first_of_the_greatest() {
        let mut state = 5u32;
        for len in 0..400 {
            let mut row: Vec<f32> = (0..len)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as f32 - 100.0
                })
                .collect();
            if len % 3 == 0 {
                row.iter_mut().step_by(7).for_each(|v| *v = f32::NAN);
            }
            let greatest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let first = row.iter().position(|&v| v == greatest).unwrap_or(0);
            assert_eq!(argmax(&row), first, "{len}");
        }
        assert_eq!(argmax(&[f32::NAN; 200]), 0);
        assert_eq!(argmax(&[f32::NEG_INFINITY; 200]), 0);
    }
}
