//! What ends learning from a stream.

/// Why learning from a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// The stream has ended.
    Stream,
    /// As many events as wanted.
    Events,
    /// As long as wanted.
    WallSeconds,
    /// Ctrl-C, or the library's flag.
    Interrupt,
}

impl StreamEnd {
    /// Its name in `summary.json`.
    pub fn name(self) -> &'static str {
        match self {
            StreamEnd::Stream => "end of stream",
            StreamEnd::Events => "events",
            StreamEnd::WallSeconds => "wall_seconds",
            StreamEnd::Interrupt => "interrupt",
        }
    }
}

/// What ends it before the stream does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Until {
    /// Events taken, over all resumptions.
    pub events: Option<u64>,
    /// Seconds of learning, over all resumptions.
    pub seconds: Option<f64>,
}
