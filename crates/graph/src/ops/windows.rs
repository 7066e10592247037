//! Windows over the positions of a sequence: what a convolution over time is a matrix product of.

use super::Family;
use crate::autodiff::{Backward, Done, Node};
use crate::error::GraphError;
use crate::reference::{Args, Real, Value};
use crate::shape::{Dims, Input, Inputs, Shape};

/// Which positions a window has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// How many.
    pub size: usize,
    /// Positions from one to the next.
    pub dilation: usize,
    /// Positions of zeros before the sequence, and after it.
    pub padding: [usize; 2],
}

impl Window {
    /// Positions from the first to the last.
    fn reach(&self) -> usize {
        self.dilation * (self.size - 1)
    }
}

/// The windows of a sequence, side by side, and their gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// `x[b, t, c] -> y[b, u, size c]` with `u = t + padding - dilation (size - 1)`: position `i` has the positions `i - padding[0] + dilation
    /// j` of x for each `j` below `size`, zeros where there is none.
    Gather(Window),
    /// `dy -> dx`, which has `time` positions.
    Scatter {
        /// Of the windows.
        window: Window,
        /// Of x.
        time: usize,
    },
}

/// The sizes of windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowsShape {
    /// What they are.
    pub window: Window,
    /// Samples.
    pub batch: usize,
    /// Positions of the sequence, and windows.
    pub time: [usize; 2],
    /// Values of a position.
    pub width: usize,
}

impl WindowsShape {
    /// Which position of the sequence is number `j` of window `i`, if it has one.
    pub fn position(&self, i: usize, j: usize) -> Option<usize> {
        let at = (i + j * self.window.dilation).checked_sub(self.window.padding[0])?;
        (at < self.time[0]).then_some(at)
    }
}

impl Windows {
    /// The sizes, from the dims of input and output.
    pub fn sizes(&self, input: &[usize], output: &[usize]) -> WindowsShape {
        match *self {
            Windows::Gather(window) => WindowsShape {
                window,
                batch: input[0],
                time: [input[1], output[1]],
                width: input[2],
            },
            Windows::Scatter { window, .. } => WindowsShape {
                window,
                batch: input[0],
                time: [output[1], input[1]],
                width: output[2],
            },
        }
    }
}

impl Family for Windows {
    fn name(&self) -> &'static str {
        match self {
            Windows::Gather(_) => "windows",
            Windows::Scatter { .. } => "windows_grad",
        }
    }

    fn inputs(&self) -> Inputs {
        Inputs::Each(&[Input::FLOAT])
    }

    fn shape(&self, dims: &Dims<'_>) -> Shape {
        let (Windows::Gather(window) | Windows::Scatter { window, .. }) = *self;
        dims.check(window.size > 0 && window.dilation > 0, || {
            format!("{} positions {} apart are no window", window.size, window.dilation)
        })?;
        let [batch, time, width] = dims.rank(0, "a sequence", "batch, time, values")?;
        match *self {
            Windows::Gather(_) => {
                let room = time + window.padding[0] + window.padding[1];
                dims.check(room > window.reach(), || {
                    format!("a window of {} positions does not fit into {room}", window.reach() + 1)
                })?;
                Ok(vec![batch, room - window.reach(), window.size * width])
            }
            Windows::Scatter { time: of, .. } => {
                let room = of + window.padding[0] + window.padding[1];
                dims.check(
                    width.is_multiple_of(window.size) && time + window.reach() == room,
                    || format!("windows of shape {:?} are none of {of} positions", dims.of(0)),
                )?;
                Ok(vec![batch, of, width / window.size])
            }
        }
    }

    /// dx of a position is the sum over the windows that have it. Linear: each is the gradient of the other.
    fn gradient(&self, back: &mut Backward<'_>, node: &Node) -> Done {
        if !back.needs(node, 0) {
            return Ok(());
        }
        let op = match *self {
            Windows::Gather(window) => Windows::Scatter { window, time: back.shape(node.x[0])[1] },
            Windows::Scatter { window, .. } => Windows::Gather(window),
        };
        let dx = back.apply(op, &[node.dy])?;
        back.give(node, 0, dx)
    }

    fn evaluate<T: Real>(&self, args: &Args<'_, T>) -> Result<Value<T>, GraphError> {
        let mut out = args.zeros();
        let time = match *self {
            Windows::Gather(window) => {
                args.dims(0)[1] + window.padding[0] + window.padding[1] - window.reach()
            }
            Windows::Scatter { time, .. } => time,
        };
        let width = out.len() / (args.dims(0)[0] * time);
        let shape = self.sizes(args.dims(0), &[args.dims(0)[0], time, width]);
        let WindowsShape { window, batch, time, width } = shape;
        for b in 0..batch {
            for i in 0..time[1] {
                for j in 0..window.size {
                    let Some(at) = shape.position(i, j) else { continue };
                    let position = (b * time[0] + at) * width;
                    let place = ((b * time[1] + i) * window.size + j) * width;
                    for c in 0..width {
                        match self {
                            Windows::Gather(_) => out[place + c] = args.floats(0)[position + c],
                            Windows::Scatter { .. } => {
                                out[position + c] += args.floats(0)[place + c]
                            }
                        }
                    }
                }
            }
        }
        Ok(out.into())
    }
}
