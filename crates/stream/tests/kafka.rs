//! Kafka, against the client library's own mock cluster.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod common;

use common::take;
use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use tidemill_stream::{Error, Mark, OpenOptions, Source, open};

fn produce(brokers: &str, numbers: std::ops::Range<u64>) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    for i in numbers {
        let text = i.to_string();
        let record = BaseRecord::<(), str>::to("events").partition(i as i32 % 3).payload(&text);
        producer.send(record).map_err(|(e, _)| e).unwrap();
    }
    producer.flush(common::WAIT).unwrap();
}

fn source(brokers: &str) -> Box<dyn Source> {
    open(&format!("kafka://{brokers}/events"), &OpenOptions::default()).unwrap()
}

#[test]
fn partitions_go_on_from_their_offsets() {
    let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
    cluster.create_topic("events", 3, 1).unwrap();
    let brokers = cluster.bootstrap_servers();
    produce(&brokers, 0..3000);
    let read = take(source(&brokers).as_mut(), 3000);
    for part in 0..3 {
        let own = read.iter().map(|(text, _)| text.parse::<u64>().unwrap());
        assert!(own.filter(|i| i % 3 == part).eq((part..3000).step_by(3)));
    }
    let at = 1234;
    let mut again = source(&brokers);
    again.seek(&read[at].1).unwrap();
    produce(&brokers, 3000..3300);
    let mut all: Vec<u64> = read[..=at].iter().map(|(text, _)| text.parse().unwrap()).collect();
    let rest = take(again.as_mut(), 3300 - at - 1);
    all.extend(rest.iter().map(|(text, _)| text.parse::<u64>().unwrap()));
    all.sort_unstable();
    assert!(all.into_iter().eq(0..3300), "each once");

    let mut wrong = read[at].1.clone();
    wrong.advance("1", Mark { major: 1 << 30, minor: 0 });
    assert!(matches!(source(&brokers).seek(&wrong), Err(Error::Gone { .. })));
    wrong.advance("7", Mark::default());
    assert!(matches!(source(&brokers).seek(&wrong), Err(Error::Gone { .. })));
}
