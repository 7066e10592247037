//! Layers, losses, optimizers, schedules and initializers: builds graphs.
//!
//! # Layout
//! - [`model`], [`layer`], [`activation`], [`padding`]: a model as a recipe writes it; `validate`.
//! - [`images`], [`time`], [`attention`], [`positions`], [`recurrent`], [`embedding`], [`joins`]: families of layers, each with its options and
//!   how it becomes ops.
//! - [`build`], `layers`: a whole model's ops, names and start values ([`initializers`]).
//! - [`custom`]: layers, losses and metrics of other crates, and the [`Builder`] that they build with.
//! - [`hedge`], [`hats`], `linear`, [`memory`], `last`: models of several outputs, mixed by how right each was.
//! - [`hidden`]: the hidden layers, whose units can be followed one by one.
//! - [`loss`], [`optimizer`], [`schedule`]: what is minimized, and how.
//! - [`task`]: what outputs mean, how wrong they are.
//! - `decode`: texts written token by token, with what is kept of earlier positions.
//! - [`training`]: all of them together as training, evaluation and inference graphs.
//! - `shards`: a step whose batch is cut into shards.
//! - [`transformer`], [`bag`], [`vision`]: models that are given by a few numbers.
//! - [`mod@check`]: what looks wrong before the first step.
#![forbid(unsafe_code)]

pub mod activation;
pub mod attention;
pub mod bag;
pub mod build;
mod builder;
pub mod check;
mod chunks;
pub mod copying;
mod ctc_encoder;
pub mod custom;
mod decode;
pub mod embedding;
pub mod error;
pub mod form;
mod from;
mod frozen;
pub mod hats;
pub mod hedge;
pub mod hidden;
pub mod images;
pub mod initializers;
pub mod joins;
mod last;
pub mod layer;
mod layers;
mod linear;
pub mod link;
pub mod loss;
mod loss_ops;
pub mod memory;
pub mod model;
pub mod optimizer;
mod orthogonal;
pub mod padding;
mod part;
pub mod positions;
mod random;
mod rates;
pub mod recurrent;
mod scalar;
pub mod schedule;
mod shards;
pub mod task;
pub mod time;
mod torchvision;
pub mod training;
mod transducer;
pub mod transformer;
mod validate;
pub mod vision;

pub use activation::Activation;
pub use attention::{AttentionSpec, EncodeSpec, PositionKind, PositionsSpec};
pub use bag::BagSpec;
pub use build::{InitialValue, LayerSummary, Mode};
pub use check::{Facts, Finding, Labels, Severity, check};
pub use chunks::{CONTEXT, chunk_graph};
pub use copying::CopySpec;
pub use ctc_encoder::CtcEncoderSpec;
pub use custom::{Custom, CustomLayer, CustomLoss, CustomMetric};
pub use decode::{start_graph, step_graph, written_field};
pub use embedding::{EmbeddingBagSpec, EmbeddingSpec, EntityEmbeddingSpec};
pub use error::{ModelError, key_path};
pub use from::{FromSpec, Names};
pub use hats::{HATS, HatsSpec};
pub use hedge::HedgedDepth;
pub use hidden::HiddenLayer;
pub use images::{BatchNormSpec, Conv2dSpec, DepthwiseConv2dSpec, PoolSpec};
pub use initializers::Initializer;
pub use joins::{BranchSpec, ConcatSpec, ResidualSpec};
pub use layer::{DenseSpec, LayerSpec};
pub use layers::Builder;
pub use link::Link;
pub use loss::{BuiltLoss, LossSpec, Targets};
pub use memory::MemorySpec;
pub use model::{InputSpec, ModelSpec, ModelSpec as Model, TokensSpec};
pub use optimizer::{DecayKind, OptimizerSpec, SlotsSpec, hyper_values};
pub use padding::Padding;
pub use part::Part;
pub use positions::{Positions, RelativeSpec, RotarySpec};
pub use recurrent::{GruSpec, LstmSpec};
pub use schedule::ScheduleSpec;
pub use shards::{NUM_TOTALS, SUM, TOTALS, shard_graph, update_graph};
pub use task::{Answer, Task};
pub use tidemill_fields::argmax;
pub use time::Conv1dSpec;
pub use training::{
    EXPERT_WEIGHTS, Extent, TrainingOptions, each_initial, evaluation_graph, evaluation_graph_with,
    expert, inference_graph, initial_state, next_graph, training_graph, training_graph_with,
};
pub use transducer::{JoinerSpec, LabelsPerPosition, TransducerSpec};
pub use transformer::{DecoderOnlySpec, EncoderDecoderSpec, Share, UNKNOWN_VOCABULARY};
pub use vision::{Vision, VisionSpec};
