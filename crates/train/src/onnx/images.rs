//! Ops on images, whose channels are last here and first in ONNX.

use tidemill_engine::graph::{Conv, GraphError, Pool, Pool2d, TensorId};

use super::wire::Attribute;
use super::writer::{Writer, Written};

fn pair(values: [usize; 2]) -> Vec<i64> {
    values.map(|v| v as i64).to_vec()
}

/// Top, bottom, left, right as ONNX has them: top, left, bottom, right.
fn pads([top, bottom, left, right]: [usize; 4]) -> Vec<i64> {
    [top, left, bottom, right].map(|v| v as i64).to_vec()
}

impl Writer<'_> {
    pub(super) fn conv(&mut self, id: TensorId, op: &Conv, x: &[TensorId]) -> Written {
        let Conv::Forward(conv) = op else {
            return Err(GraphError::new("is part of a training step, and has no ONNX form here"));
        };
        let images = self.first(x[0])?;
        let kernel = self.kernel(x[1])?;
        let size = [self.shape(x[1])[0], self.shape(x[1])[1]];
        let how = [
            Attribute::Ints("kernel_shape", pair(size)),
            Attribute::Ints("strides", pair(conv.stride)),
            Attribute::Ints("dilations", pair(conv.dilation)),
            Attribute::Ints("pads", pads(conv.padding)),
            Attribute::Int("group", conv.groups as i64),
        ];
        let y = self.node("Conv", &[images, kernel], &how);
        self.set_first(id, y);
        Ok(())
    }

    /// A kernel `[rows, columns, channels, filters]` as `[filters, channels, rows, columns]`.
    fn kernel(&mut self, id: TensorId) -> Written<String> {
        let dims = self.shape(id);
        match self.weights(id) {
            Some(values) => {
                let name = format!("{}.oihw", self.sizes.graph.tensor(id).name);
                self.once(&name, |w| Ok(w.floats(&name, &oihw_dims(dims), &oihw(values, dims))))
            }
            None => {
                let kernel = self.get(id)?;
                Ok(self.node("Transpose", &[kernel], &[Attribute::Ints("perm", vec![3, 2, 0, 1])]))
            }
        }
    }

    pub(super) fn pool(&mut self, id: TensorId, op: &Pool, x: &[TensorId]) -> Written {
        let shared = |pool: &Pool2d| {
            vec![
                Attribute::Ints("kernel_shape", pair(pool.size)),
                Attribute::Ints("strides", pair(pool.stride)),
                Attribute::Ints("pads", pads(pool.padding)),
            ]
        };
        let (kind, how) = match op {
            Pool::Max(pool) => ("MaxPool", shared(pool)),
            Pool::Average(pool) => {
                let mut how = shared(pool);
                how.push(Attribute::Int("count_include_pad", pool.count_padding.into()));
                ("AveragePool", how)
            }
            Pool::MaxGrad(_) | Pool::AverageGrad(..) => {
                return Err(GraphError::new(
                    "is part of a training step, and has no ONNX form here",
                ));
            }
        };
        let images = self.first(x[0])?;
        let y = self.node(kind, &[images], &how);
        self.set_first(id, y);
        Ok(())
    }

    /// The inputs of an elementwise op, in one order of dims; whether that is channels first. Images stay as the convolution
    /// before left them, so that there are no transposes between layers.
    pub(super) fn aligned(&mut self, id: TensorId, x: &[TensorId]) -> Written<(Vec<String>, bool)> {
        let rank = |id: &TensorId| self.shape(*id).len();
        let images = x.iter().any(|id| rank(id) == 4 && self.is_first(*id));
        let fits = x.iter().all(|id| matches!(rank(id), 0 | 1 | 4));
        let first = rank(&id) == 4 && images && fits;
        let mut names = Vec::new();
        for &id in x {
            names.push(match self.shape(id) {
                [channels] if first => match self.weights(id) {
                    Some(values) => {
                        let name = format!("{}.channels", self.sizes.graph.tensor(id).name);
                        let dims = [*channels, 1, 1];
                        self.once(&name, |w| Ok(w.floats(&name, &dims, values)))?
                    }
                    None => {
                        let (row, dims) = (self.get(id)?, self.ints(&[-1, 1, 1]));
                        self.node("Reshape", &[row, dims], &[])
                    }
                },
                [_, _, _, _] if first => self.first(id)?,
                _ => self.get(id)?,
            });
        }
        Ok((names, first))
    }
}

/// The dims of a kernel `[rows, columns, channels, filters]` with the filters first, then channels, rows, columns.
pub(crate) fn oihw_dims(dims: &[usize]) -> [usize; 4] {
    [dims[3], dims[2], dims[0], dims[1]]
}

/// Its values in that order.
pub(crate) fn oihw(values: &[f32], dims: &[usize]) -> Vec<f32> {
    let [rows, columns, channels, filters] = [dims[0], dims[1], dims[2], dims[3]];
    let mut out = Vec::with_capacity(values.len());
    for filter in 0..filters {
        for channel in 0..channels {
            for pixel in 0..rows * columns {
                out.push(values[(pixel * channels + channel) * filters + filter]);
            }
        }
    }
    out
}
