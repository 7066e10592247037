//! Sequences that come a chunk of positions at a time, such as the sound of a microphone: what layers read of earlier positions is kept
//! between the chunks.

use smallvec::SmallVec;
use tidemill_cpu::runtime::Input;
use tidemill_nn::{Extent, chunk_graph};

use super::{Compiled, Engine, EngineError, Purpose, error};
use crate::bind::{Source, StepInput};

/// A sequence under way.
///
/// The bits of what a chunk gives depend on the values of all positions so far, and on nothing else: all chunks are computed by one plan, of so
/// many positions.
#[derive(Clone, Debug, Default)]
pub struct Chunks {
    /// Positions of a chunk.
    positions: usize,
    /// Values of a position.
    width: usize,
    /// What each causal layer reads of earlier positions.
    contexts: Vec<Vec<f32>>,
    /// Which of those are the last labels that a joiner wrote.
    labels: Vec<usize>,
    /// The chunk, filled up with zeros, and which of its positions are there.
    frames: Vec<f32>,
    mask: Vec<f32>,
    length: [i32; 1],
    /// Whether a chunk had fewer positions, after which none may follow.
    is_over: bool,
}

impl Chunks {
    /// Positions of a chunk.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Values of a position.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Begins another sequence.
    pub fn restart(&mut self) {
        self.contexts.iter_mut().for_each(|context| context.fill(0.0));
        self.is_over = false;
    }

    /// Begins another text of the same sequence: no labels are before those of the next chunk, and what layers read of earlier positions stays.
    pub fn restart_labels(&mut self) {
        self.labels.iter().for_each(|&i| self.contexts[i].fill(0.0));
    }
}

impl Engine {
    /// Whether the model computes sequences in chunks.
    ///
    /// # Errors
    /// Says which layer does not.
    pub fn check_chunks(&self) -> Result<(), EngineError> {
        let extent = Extent { batch: 1, times: vec![1] };
        chunk_graph(&self.spec.model, &extent).map(|_| ()).map_err(error)
    }

    /// The start of a sequence that comes in chunks of so many positions.
    ///
    /// # Errors
    /// If the model has layers that read positions which have not come yet.
    pub fn chunks(&mut self, positions: usize) -> Result<Chunks, EngineError> {
        let index = self.plan_for(Purpose::Chunk, &Extent { batch: 1, times: vec![positions] })?;
        let Compiled { plan, sources, .. } = &self.compiled[index];
        let inputs = &self.runtime.plan(*plan).inputs;
        let (mut contexts, mut labels) = (Vec::new(), Vec::new());
        for (source, slot) in sources.iter().zip(inputs) {
            if let Source::Step(StepInput::Context(i)) = *source {
                contexts.resize_with(contexts.len().max(i + 1), Vec::new);
                contexts[i] = vec![0.0; slot.len()];
                // Of labels there is no row of values.
                if slot.shape.len() == 2 {
                    labels.push(i);
                }
            }
        }
        let width = self.reads.signature.inputs().first().map_or(0, |field| field.inner());
        Ok(Chunks {
            positions,
            width,
            contexts,
            labels,
            frames: vec![0.0; positions * width],
            mask: vec![0.0; positions],
            length: [0],
            is_over: false,
        })
    }

    /// The next chunk of a sequence, `frames` `[positions, values]`; fewer positions than a chunk has end the sequence. Gives the logarithms of
    /// the probabilities of the labels, `[positions, labels]`.
    ///
    /// # Errors
    /// If the values are none of whole positions, there are more than a chunk has, or the sequence was over.
    pub fn next_chunk(
        &mut self,
        chunks: &mut Chunks,
        frames: &[f32],
    ) -> Result<&[f32], EngineError> {
        let Chunks { positions, width, .. } = *chunks;
        let given = frames.len() / width.max(1);
        if given > positions || !frames.len().is_multiple_of(width.max(1)) || chunks.is_over {
            let what = if chunks.is_over { ", and the sequence was over" } else { "" };
            return Err(EngineError(format!(
                "a chunk has up to {positions} positions of {width} values, found {} values{what}",
                frames.len()
            )));
        }
        chunks.is_over = given < positions;
        chunks.frames[..frames.len()].copy_from_slice(frames);
        chunks.frames[frames.len()..].fill(0.0);
        chunks.mask[..given].fill(1.0);
        chunks.mask[given..].fill(0.0);
        chunks.length = [given as i32];
        let extent = Extent { batch: 1, times: vec![positions] };
        let index = self.plan_for(Purpose::Chunk, &extent)?;
        let Compiled { plan, sources, .. } = &self.compiled[index];
        let input = |source: &Source| match *source {
            Source::Field(_) => Input::F32(&chunks.frames),
            Source::Mask(_) => Input::F32(&chunks.mask),
            Source::Lengths(_) => Input::I32(&chunks.length),
            Source::Step(StepInput::Context(i)) => Input::F32(&chunks.contexts[i]),
            _ => Input::F32(&[]),
        };
        let inputs: SmallVec<[Input<'_>; 32]> = sources.iter().map(input).collect();
        self.runtime.run(*plan, &inputs).map_err(error)?;
        drop(inputs);
        self.last = Some(index);
        for (i, context) in chunks.contexts.iter_mut().enumerate() {
            let name = format!("{}{i}", tidemill_nn::CONTEXT);
            context.copy_from_slice(self.runtime.output(*plan, &name).unwrap_or(&[]));
        }
        let log = self.runtime.output(*plan, "log_probabilities").unwrap_or(&[]);
        Ok(&log[..log.len() / positions.max(1) * given])
    }
}
