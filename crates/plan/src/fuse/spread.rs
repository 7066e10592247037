//! How operands spread over a matrix.

/// How an operand spreads over a matrix, with the number of columns that this needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// One value an element, for any number of columns.
    Full,
    /// One value, for any number of columns.
    Scalar,
    /// One value a column of so many.
    Row(usize),
    /// One value a row of so many columns.
    Column(usize),
}

/// How an operand of one shape spreads over another; `None` where no split into rows and columns
/// does it (`[b, 1, t, 1]` over `[b, h, t, d]`).
pub(crate) fn spread_of(operand: &[usize], out: &[usize]) -> Option<Fit> {
    let (len, total): (usize, usize) = (operand.iter().product(), out.iter().product());
    if len == total {
        return Some(Fit::Full);
    }
    if len == 1 {
        return Some(Fit::Scalar);
    }
    let dim = |i: usize| {
        let missing = out.len() - operand.len();
        if i < missing { 1 } else { operand[i - missing] }
    };
    let from = (0..out.len()).find(|&i| dim(i) != 1).unwrap_or(0);
    let to = (0..out.len()).rev().find(|&i| dim(i) != 1).unwrap_or(0);
    if (from..out.len()).all(|i| dim(i) == out[i]) {
        return Some(Fit::Row(out[from..].iter().product()));
    }
    if (0..=to).all(|i| dim(i) == out[i]) {
        return Some(Fit::Column(out[to + 1..].iter().product()));
    }
    None
}
