//! Rows of a table by ids.

use super::Family;
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::graph::DType;
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Input, Inputs, Shape};

/// Embeddings and their gradients. Ids are i32, or f32 with whole values, to which no gradient flows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Embedding {
    /// `(table[v, d], ids[...]) -> [..., d]`
    Rows,
    /// `(ids, dy[..., d]) -> dtable[rows, d]`
    RowsGrad {
        /// Rows of the table.
        rows: usize,
    },
    /// `(table[v, d], ids[n, tokens]) -> [n, d]`: the sum of the rows of each bag of ids; an id of 0
    /// is no token.
    Bag,
    /// `(ids[n, tokens], dy[n, d]) -> dtable[rows, d]`
    BagGrad {
        /// Rows of the table.
        rows: usize,
    },
}

/// The shapes of an embedding and of its gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lookup {
    /// Rows of the table.
    pub rows: usize,
    /// Columns of the table.
    pub cols: usize,
    /// Number of ids.
    pub len: usize,
    /// Whether ids are f32 with whole values.
    pub float: bool,
    /// Ids of a bag, which have one row of the output together and leave out those of id 0; 0 where
    /// each id has its own.
    pub bag: usize,
}

impl Family for Embedding {
    fn name(&self) -> &'static str {
        match self {
            Embedding::Rows => "embedding",
            Embedding::RowsGrad { .. } => "embedding_grad",
            Embedding::Bag => "embedding_bag",
            Embedding::BagGrad { .. } => "embedding_bag_grad",
        }
    }

    fn inputs(&self) -> Inputs {
        Inputs::Each(match self {
            Embedding::Rows | Embedding::Bag => &[Input::FLOAT, Input::IDS],
            Embedding::RowsGrad { .. } | Embedding::BagGrad { .. } => &[Input::IDS, Input::FLOAT],
        })
    }

    fn shape(&self, dims: &Dims<'_>) -> Shape {
        match *self {
            Embedding::Rows => {
                let [_, width] = dims.rank(0, "a table", "rows, width")?;
                Ok([dims.of(1), &[width]].concat())
            }
            Embedding::RowsGrad { rows } => {
                let (ids, dy) = (dims.of(0), dims.of(1));
                match dy.split_last() {
                    Some((&width, leading)) if leading == ids => Ok(vec![rows, width]),
                    _ => Err(dims.error(format!(
                        "expected dy to be the ids' shape and one dim more, found ids {ids:?} and \
                         dy {dy:?}"
                    ))),
                }
            }
            Embedding::Bag => {
                let [_, width] = dims.rank(0, "a table", "rows, width")?;
                let [bags, _] = dims.rank(1, "the ids", "bags, tokens")?;
                Ok(vec![bags, width])
            }
            Embedding::BagGrad { rows } => {
                let [bags, _] = dims.rank(0, "the ids", "bags, tokens")?;
                match *dims.of(1) {
                    [n, width] if n == bags => Ok(vec![rows, width]),
                    _ => Err(dims.error(format!(
                        "expected dy to have a row for each of {bags} bags, found {:?}",
                        dims.of(1)
                    ))),
                }
            }
        }
    }

    /// y[i] = table[ids[i]]; dtable[r] = sum of dy[i] over all i with ids[i] = r. Of bags,
    /// y[b] = sum of table[ids[b, t]] over all t with ids[b, t] > 0, and the like. Saves the ids.
    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        let rows = back.shape(node.x[0])[0];
        let gradient = match self {
            Embedding::Rows => Embedding::RowsGrad { rows },
            Embedding::Bag => Embedding::BagGrad { rows },
            Embedding::RowsGrad { .. } | Embedding::BagGrad { .. } => {
                return back.no_second_derivative(node);
            }
        };
        let dtable = back.apply(gradient, &[node.x[1], node.dy])?;
        back.give(node, 0, dtable)
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        let mut out = args.zeros();
        match *self {
            Embedding::Rows => {
                let [rows, width] = [args.dims(0)[0], args.dims(0)[1]];
                for (id, y) in ids(args, 1).into_iter().zip(out.chunks_mut(width)) {
                    let row = row_of(id, rows)?;
                    y.copy_from_slice(&args.floats(0)[row * width..][..width]);
                }
            }
            Embedding::RowsGrad { rows } => {
                let width = args.y.shape[1];
                for (id, dy) in ids(args, 0).into_iter().zip(args.floats(1).chunks(width)) {
                    add(&mut out[row_of(id, rows)? * width..], dy);
                }
            }
            Embedding::Bag => {
                let [rows, width] = [args.dims(0)[0], args.dims(0)[1]];
                for (bag, y) in ids(args, 1).chunks(args.dims(1)[1]).zip(out.chunks_mut(width)) {
                    for &id in bag.iter().filter(|&&id| id != 0) {
                        add(y, &args.floats(0)[row_of(id, rows)? * width..][..width]);
                    }
                }
            }
            Embedding::BagGrad { rows } => {
                let (width, tokens) = (args.y.shape[1], args.dims(0)[1]);
                for (bag, dy) in ids(args, 0).chunks(tokens).zip(args.floats(1).chunks(width)) {
                    for &id in bag.iter().filter(|&&id| id != 0) {
                        add(&mut out[row_of(id, rows)? * width..], dy);
                    }
                }
            }
        }
        Ok(out.into())
    }
}

/// Input `index` as ids; a float that is none becomes one that no table has.
fn ids<T: Real>(args: &Args<'_, T>, index: usize) -> Vec<i64> {
    match args.dtype(index) {
        DType::I32 => args.ints(index).iter().map(|&id| i64::from(id)).collect(),
        DType::F32 => {
            let whole = |x: f64| if x.fract() == 0.0 { x as i64 } else { -1 };
            args.floats(index).iter().map(|x| whole(x.to_f64())).collect()
        }
    }
}

fn row_of(id: i64, rows: usize) -> Result<usize, GraphError> {
    usize::try_from(id).ok().filter(|&row| row < rows).ok_or_else(|| {
        GraphError::new(format!("id {id} is outside the table's rows, 0 to {}", rows - 1))
            .help("make the table as large as the largest id and one")
    })
}

fn add<T: Real>(to: &mut [T], from: &[T]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to += from;
    }
}
