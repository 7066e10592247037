//! A Kafka topic.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::error::{Error, Result};
use crate::position::{Mark, Position};
use crate::records::Records;
use crate::source::{Counters, Poll, Source};

/// For questions to the brokers.
const PATIENCE: Duration = Duration::from_secs(15);

/// The messages of all partitions of a topic, each partition in its order, from offsets on.
///
/// Partitions are assigned here, not by a group, and no offsets are stored at the brokers: the
/// position is in the checkpoint. Partitions that are added later are read after a restart. The
/// acknowledged time is the message's, by the clock of its producer or broker. Messages without a
/// value are passed over.
pub struct KafkaSource {
    name: String,
    topic: String,
    consumer: BaseConsumer,
    /// The name and the next offset of each partition.
    partitions: Vec<(Arc<str>, Offset)>,
    assigned: bool,
    max_record: usize,
    counters: Counters,
}

impl KafkaSource {
    /// Reads `topic` of `brokers` (`HOST:PORT,HOST:PORT`). Longer messages than `max_record` bytes
    /// are passed over.
    ///
    /// # Errors
    /// If the brokers cannot be reached or have no such topic.
    pub fn connect(brokers: &str, topic: &str, max_record: usize) -> Result<KafkaSource> {
        let name = format!("kafka://{brokers}/{topic}");
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("group.id", "tidemill") // The client wants one; nothing is stored under it.
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // An offset that is gone must be told, not jumped over.
            .set("auto.offset.reset", "error")
            // What the client reads ahead is bounded.
            .set("queued.max.messages.kbytes", "4096")
            .set("fetch.wait.max.ms", "100");
        let fail = |e: KafkaError| Error::io(&name, e);
        let consumer: BaseConsumer = config.create().map_err(fail)?;
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).map_err(fail)?;
        let found = metadata.topics().iter().find(|t| t.name() == topic);
        let mut ids: Vec<i32> =
            found.map_or(Vec::new(), |t| t.partitions().iter().map(|p| p.id()).collect());
        ids.sort_unstable();
        if ids.is_empty() || !ids.iter().copied().eq(0..ids.len() as i32) {
            return Err(Error::io(&name, "there is no such topic; make it first"));
        }
        let partitions = ids.iter().map(|id| (id.to_string().into(), Offset::Beginning)).collect();
        let (topic, counters) = (topic.to_owned(), Counters::default());
        Ok(KafkaSource { name, topic, consumer, partitions, assigned: false, max_record, counters })
    }

    /// Asks for the partitions from where they stand.
    fn assign(&mut self) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for (id, (_, offset)) in (0..).zip(&self.partitions) {
            let added = list.add_partition_offset(&self.topic, id, *offset);
            added.map_err(|e| Error::io(&self.name, e))?;
        }
        self.consumer.assign(&list).map_err(|e| Error::io(&self.name, e))?;
        self.assigned = true;
        Ok(())
    }
}

/// Whether trying again does not help.
fn is_final(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        AutoOffsetReset, Fatal, GroupAuthorizationFailed, OffsetOutOfRange,
        TopicAuthorizationFailed, UnknownTopic, UnknownTopicOrPartition,
    };
    error.rdkafka_error_code().is_some_and(|code| {
        [
            AutoOffsetReset,
            Fatal,
            GroupAuthorizationFailed,
            OffsetOutOfRange,
            TopicAuthorizationFailed,
            UnknownTopic,
            UnknownTopicOrPartition,
        ]
        .contains(&code)
    })
}

impl Source for KafkaSource {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn not_seekable(&self) -> Option<&'static str> {
        None
    }

    fn seek(&mut self, position: &Position) -> Result<()> {
        for (part, mark) in &position.parts {
            let gone = |what: String| Err(Error::gone(&self.name, position, what));
            let id = self.partitions.iter().position(|(name, _)| **name == **part);
            let Some(id) = id else {
                return gone(format!("the topic has no partition {part}; start anew"));
            };
            let ends = self.consumer.fetch_watermarks(&self.topic, id as i32, PATIENCE);
            let (low, high) = ends.map_err(|e| Error::io(&self.name, e))?;
            let next = mark.major as i64 + 1;
            if next < low {
                return gone(format!("partition {part} starts at {low} now; start anew"));
            }
            if next > high {
                return gone(format!("partition {part} ends at {high}: it was made anew"));
            }
            self.partitions[id].1 = Offset::Offset(next);
        }
        Ok(())
    }

    fn poll(&mut self, records: &mut Records, bytes: usize, wait: Duration) -> Result<Poll> {
        if !self.assigned {
            self.assign()?;
        }
        let (len, limit) = (records.len(), records.footprint() + bytes.max(1));
        let mut time = wait;
        while records.footprint() < limit {
            let message = match self.consumer.poll(time) {
                None => break,
                Some(Ok(message)) => message,
                Some(Err(e)) if is_final(&e) => return Err(Error::io(&self.name, e)),
                // A broker that is away; the client tries again.
                Some(Err(_)) => break,
            };
            let Some((name, _)) = self.partitions.get(message.partition() as usize) else {
                continue;
            };
            let Some(value) = message.payload() else { continue };
            records.set_part(name);
            let mark = Mark { major: message.offset() as u64, minor: 0 };
            let at = message.timestamp().to_millis().unwrap_or(0).max(0) as u64 * 1000;
            if value.len() > self.max_record {
                self.counters.too_long += 1;
                records.push_too_long(value, mark, at);
                continue;
            }
            records.push(value, mark, at, mark.major == 0);
            self.counters.records += 1;
            self.counters.bytes += value.len() as u64;
            time = Duration::ZERO;
        }
        Ok(if records.len() > len { Poll::Some } else { Poll::Idle })
    }

    fn commit(&mut self, _position: &Position) -> Result<()> {
        Ok(())
    }

    fn counters(&self) -> Counters {
        self.counters.clone()
    }
}
