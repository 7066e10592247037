//! A dataset of a user whose `fill` panics beside a step, on whichever thread: the panic or an error comes to the caller, and
//! the network stays usable. Without a line of unsafe code here.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::thread::{self, ThreadId};
use std::time::Duration;

use tidemill::data::Result;
use tidemill::{
    Activation, Dataset, EngineSpec, Field, Fit, Info, LabelKind, LossSpec, Model, Network,
    OptimizerSpec, Row,
};

const SPARSE: LossSpec = LossSpec::SparseCategoricalCrossentropy { label_smoothing: 0.0 };
const BATCH: usize = 32;

/// Panics once, on the thread that calls or on another one, after the first batches.
struct Bad {
    info: Info,
    caller: ThreadId,
    on_worker: bool,
    armed: AtomicBool,
    fills: AtomicUsize,
}

impl Bad {
    fn new(armed: bool, on_worker: bool) -> Arc<Bad> {
        let inputs = vec![Field::numbers("x", &[64])];
        let info = Info::of(40 * BATCH, inputs, LabelKind::Class { num_classes: 4 });
        let (caller, armed) = (thread::current().id(), AtomicBool::new(armed));
        Arc::new(Bad { info, caller, on_worker, armed, fills: AtomicUsize::new(0) })
    }
}

impl Dataset for Bad {
    fn info(&self) -> &Info {
        &self.info
    }

    fn fill(&self, index: usize, row: &mut Row<'_>) -> Result<()> {
        let here = (thread::current().id() != self.caller) == self.on_worker;
        let later = self.fills.fetch_add(1, SeqCst) > 3 * BATCH;
        if here && later && self.armed.swap(false, SeqCst) {
            panic!("a sample that user code cannot read");
        }
        row.f32(0)?.iter_mut().enumerate().for_each(|(i, x)| *x = ((index + i) % 7) as f32);
        row.set_class(index as u32 % 4)?;
        Ok(())
    }
}

fn network() -> Network {
    let model = Model::features(64)
        .dense(256, Activation::Relu)
        .dense(256, Activation::Relu)
        .dense(4, Activation::Linear);
    let spec = EngineSpec {
        threads: Some(2),
        ..EngineSpec::new(model, SPARSE, OptimizerSpec::adam(1e-3))
    };
    Network::new(spec).unwrap()
}

/// Learns or measures until the dataset has panicked: what comes to the caller is that panic, or an error that names it.
fn until_it_panics(network: &mut Network, on_worker: bool, learns: bool) {
    // Which thread is free to fill is not ours to say.
    for _ in 0..500 {
        let data = Bad::new(true, on_worker);
        let used = data.clone();
        let fit = Fit { batch_size: BATCH, ..Fit::default() };
        let run = || match learns {
            true => network.fit(used, fit).map(drop),
            false => network.evaluate(used).map(drop),
        };
        let found = catch_unwind(AssertUnwindSafe(run));
        match (data.armed.load(SeqCst), found) {
            (true, Ok(Ok(()))) => {}
            (false, Err(payload)) => {
                let said = payload.downcast_ref::<&str>();
                return assert_eq!(said, Some(&"a sample that user code cannot read"));
            }
            (false, Ok(Err(error))) => {
                return assert!(error.to_string().contains("panicked"), "{error}");
            }
            (armed, found) => panic!("armed {armed}: {found:?}"),
        }
    }
    panic!("no thread of that kind has filled a batch");
}

#[test]
fn a_panic_in_a_dataset_comes_to_its_user() {
    let (done, is_done) = channel();
    let test = thread::spawn(move || {
        let mut used = network();
        for round in 0..8 {
            until_it_panics(&mut used, round % 2 == 1, round % 4 >= 2);
            // The network works as before.
            let fit = Fit { batch_size: BATCH, ..Fit::default() };
            used.fit(Bad::new(false, false), fit).unwrap();
        }
        let _ = done.send(());
        used.evaluate(Bad::new(false, false)).unwrap()
    });
    // A thread that waits for one that is gone would wait for ever.
    if let Err(std::sync::mpsc::RecvTimeoutError::Timeout) =
        is_done.recv_timeout(Duration::from_secs(120))
    {
        panic!("a step does not end");
    }
    assert!(test.join().unwrap()["loss"].is_finite());
}
