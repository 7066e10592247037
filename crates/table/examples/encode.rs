//! What making the inputs of one event costs, by kind of column:
//! `cargo run --release -p tidemill-table --example encode`,
//! with a part of a name behind `--` for those kinds only.
#![allow(clippy::unwrap_used)]

use std::time::Instant;

use tidemill_table::{Categorical, Encoder, Events, FeaturesSpec, Schema, Value};

const EVENTS: usize = 1000;

fn main() {
    let number = |i: usize, c: usize| Value::Number(((i * 7919 + c * 104_729) % 1000) as f64 / 1e3);
    measure("8 numbers", 8, FeaturesSpec::default(), number);
    measure("54 numbers", 54, FeaturesSpec::default(), number);
    let gaps = |i, c| if (i + c) % 10 == 0 { Value::Missing } else { number(i, c) };
    measure("8 numbers, 10 % missing", 8, FeaturesSpec::default(), gaps);
    let words: Vec<String> = (0..40).map(|i| format!("word{i}")).collect();
    let text = |i: usize, _| Value::Text(&words[i * 7919 % 40]);
    for (what, how) in [
        ("1 text, dictionary of 64", Categorical::Dictionary { capacity: 64 }),
        ("1 text, 64 hash buckets", Categorical::Hashing { buckets: 64 }),
        ("1 id", Categorical::Embedding { capacity: 30, min_count: 2, expiry: Some(1000) }),
    ] {
        measure(what, 1, FeaturesSpec { text: how, ..FeaturesSpec::default() }, text);
    }
}

fn measure<'a>(
    what: &str,
    columns: usize,
    spec: FeaturesSpec,
    value: impl Fn(usize, usize) -> Value<'a>,
) {
    if std::env::args().nth(1).is_some_and(|part| !what.contains(&part)) {
        return;
    }
    let columns_named = (0..columns).map(|c| format!("c{c}")).collect();
    let schema = Schema { columns: columns_named, ..Schema::default() };
    let mut events = Events::default();
    for i in 0..EVENTS {
        let mut draft = events.start(&schema);
        (0..columns).for_each(|c| draft.set(c, value(i, c)));
        draft.finish();
    }
    let mut encoder = Encoder::new(&spec, &schema, &events).unwrap();
    let mut x = vec![0.0; encoder.width()];
    let rounds = 20_000_000 / EVENTS / columns;
    let start = Instant::now();
    for _ in 0..rounds {
        for i in 0..EVENTS {
            encoder.encode(events.get(i), &mut x).unwrap();
        }
    }
    let ns = start.elapsed().as_nanos() as f64 / (rounds * EVENTS) as f64;
    println!("{what:26} {ns:6.1} ns/event");
}
