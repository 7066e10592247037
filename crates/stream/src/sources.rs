//! Files, standard input, sockets; and, each behind a feature, NATS, Redis and Kafka.

mod arrow;
mod directory;
mod file;
mod http;
#[cfg(feature = "kafka")]
mod kafka;
mod listener;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "redis")]
mod redis;
mod stdin;
mod tail;
mod tcp;

pub(crate) use arrow::ArrowPipe;
pub use arrow::ArrowSource;
pub use directory::DirectorySource;
pub use file::FileSource;
pub use http::{HttpOptions, HttpSource};
#[cfg(feature = "kafka")]
pub use kafka::KafkaSource;
#[cfg(feature = "nats")]
pub use nats::NatsSource;
#[cfg(feature = "redis")]
pub use redis::RedisSource;
pub use stdin::ReadSource;
pub use tail::TailSource;
pub use tcp::{TcpOptions, TcpSource};
