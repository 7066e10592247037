use super::*;
use crate::LabelKind;
use crate::{Info, MemoryDataset, Row};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tidemill_fields::{Field, Truth};

/// Decodes slowly and unevenly; sample `i` is `[i, -i]`, its class `i % 3`.
struct Slow {
    info: Info,
    bad: Option<usize>,
    panic: Option<usize>,
    skip: Option<usize>,
    fills: AtomicUsize,
    /// In memory after so many fills.
    cached_after: usize,
}

fn slow(len: usize) -> Slow {
    let labels = LabelKind::Class { num_classes: 3 };
    Slow {
        info: Info::of(len, vec![Field::numbers("x", &[2])], labels),
        bad: None,
        panic: None,
        skip: None,
        fills: AtomicUsize::new(0),
        cached_after: usize::MAX,
    }
}

impl Dataset for Slow {
    fn info(&self) -> &Info {
        &self.info
    }
    fn fill(&self, index: usize, row: &mut Row<'_>) -> Result<()> {
        self.fills.fetch_add(1, Ordering::Relaxed);
        if index.is_multiple_of(7) {
            std::thread::sleep(Duration::from_micros(300));
        }
        assert_ne!(self.panic, Some(index), "a bug");
        if self.bad == Some(index) {
            return Err(Error::option(format!("sample {index} is bad")));
        }
        if self.skip == Some(index) {
            row.skip();
            return Ok(());
        }
        row.f32(0)?.copy_from_slice(&[index as f32, -(index as f32)]);
        row.set_class(index as u32 % 3)?;
        Ok(())
    }
    fn fill_cost(&self) -> FillCost {
        match self.fills.load(Ordering::Relaxed) < self.cached_after {
            true => FillCost::Decode,
            false => FillCost::Copy,
        }
    }
}

fn all(data: Slow, options: LoaderOptions) -> Vec<Batch> {
    let mut loader = Loader::new(Arc::new(data), options).unwrap();
    let mut batches = Vec::new();
    while let Some(batch) = loader.next_batch().unwrap() {
        batches.push(batch.clone());
    }
    assert!(loader.next_batch().unwrap().is_none());
    batches
}

fn options(batch_size: usize, epochs: u64) -> LoaderOptions {
    LoaderOptions {
        epochs: Some(epochs),
        ..LoaderOptions::new(batch_size, Order::Shuffled { seed: 5 })
    }
}

#[test]
fn same_batches_for_any_number_of_threads() {
    for batch_size in [1, 7, 32, 200] {
        let one = |threads, memory_bytes| {
            let options =
                LoaderOptions { threads: Some(threads), memory_bytes, ..options(batch_size, 3) };
            all(slow(101), options)
        };
        let inline = one(0, 0);
        assert_eq!(inline.iter().map(|b| b.len).sum::<usize>(), 303);
        for (threads, memory) in [(1, 0), (1, 1 << 20), (2, 1 << 20), (3, 4000), (8, 1 << 20)] {
            assert!(inline == one(threads, memory), "{batch_size} {threads} {memory}");
        }
    }
}

/// Like `all`, with each batch filled by two threads while the one before is looked at.
fn all_ahead(data: Slow, options: LoaderOptions, pieces: usize) -> Vec<Batch> {
    let mut loader = Loader::new(Arc::new(data), options).unwrap();
    let mut batches = Vec::new();
    while let Some((batch, ahead)) = loader.next_and_ahead().unwrap() {
        thread::scope(|scope| {
            scope.spawn(|| (0..pieces).all(|_| ahead.piece()));
            (0..pieces).all(|_| ahead.piece());
        });
        batches.push(batch.clone());
    }
    batches
}

#[test]
fn filling_ahead_changes_nothing() {
    let copied = || Slow { cached_after: 0, skip: Some(11), ..slow(101) };
    for batch_size in [1, 7, 32, 200] {
        let want = all(copied(), options(batch_size, 3));
        for pieces in [0, 1, usize::MAX] {
            assert!(want == all_ahead(copied(), options(batch_size, 3), pieces));
        }
        assert!(
            all(slow(101), options(batch_size, 2))
                == all_ahead(slow(101), options(batch_size, 2), 9)
        );
    }
}

#[test]
fn an_error_ahead_comes_with_its_batch() {
    let data = Slow { bad: Some(20), cached_after: 0, ..slow(60) };
    let mut loader = Loader::new(Arc::new(data), LoaderOptions::one_pass(4)).unwrap();
    for _ in 0..5 {
        assert!(loader.next_and_ahead().unwrap().is_some());
    }
    assert_eq!(loader.next_and_ahead().err().unwrap().to_string(), "sample 20 is bad");
    assert!(loader.next_batch().is_err());
}

#[test]
fn an_epoch_sees_each_sample_once() {
    let batches = all(slow(101), options(8, 2));
    assert_eq!(batches.len(), 26);
    for epoch in 0..2u64 {
        let mut seen: Vec<u32> = batches
            .iter()
            .filter(|b| b.epoch == epoch)
            .flat_map(|b| b.indices.iter().copied())
            .collect();
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(0..101));
    }
    assert!(batches[12].last_in_epoch && batches[12].len == 5 && batches[12].x().len() == 10);
    assert!(batches.iter().filter(|b| b.last_in_epoch).count() == 2);
    for b in &batches {
        for i in 0..b.len {
            assert_eq!(b.x()[2 * i], b.indices[i] as f32);
            assert_eq!(b.labels()[i], b.indices[i] as i32 % 3);
        }
    }
}

#[test]
fn resumes_anywhere() {
    for threads in [0, 2] {
        let whole = all(slow(50), LoaderOptions { threads: Some(threads), ..options(8, 3) });
        for start in [1, 6, 7, 13] {
            let position = whole[start - 1].next_position;
            let options = LoaderOptions { position, threads: Some(threads), ..options(8, 3) };
            assert!(all(slow(50), options) == whole[start..], "from batch {start}");
        }
    }
}

#[test]
fn drop_last_drops_the_partial_batch() {
    let batches = all(slow(50), LoaderOptions { drop_last: true, ..options(8, 2) });
    assert!(batches.len() == 12 && batches.iter().all(|b| b.len == 8));
    assert!(batches[5].last_in_epoch && batches[6].epoch == 1);
    let options = LoaderOptions { drop_last: true, ..options(64, 1) };
    assert!(Loader::new(Arc::new(slow(50)), options).is_err());
}

#[test]
fn weights_multiply_and_skipped_samples_weigh_nothing() {
    let data = Slow { skip: Some(4), ..slow(6) };
    let options = LoaderOptions {
        class_weights: vec![1.0, 2.0, 0.5],
        sample_weights: Some(vec![1.0, 1.0, 1.0, 3.0, 1.0, 4.0].into()),
        ..LoaderOptions::one_pass(6)
    };
    let batches = all(data, options);
    assert_eq!(batches[0].weights, [1.0, 2.0, 0.5, 3.0, 0.0, 2.0]);
    assert_eq!((batches[0].num_skipped, &batches[0].x()[8..10]), (1, &[0.0, 0.0][..]));
}

#[test]
fn errors_come_in_order_and_end_it() {
    for threads in [0, 1, 3] {
        let data = Slow { bad: Some(20), ..slow(60) };
        let options = LoaderOptions { threads: Some(threads), ..LoaderOptions::one_pass(4) };
        let mut loader = Loader::new(Arc::new(data), options).unwrap();
        for _ in 0..5 {
            assert!(loader.next_batch().unwrap().is_some());
        }
        assert_eq!(loader.next_batch().unwrap_err().to_string(), "sample 20 is bad");
        assert!(loader.next_batch().is_err());
    }
}

#[test]
fn a_panic_ahead_comes_with_its_batch() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    // Sample 20 is in batch 5.
    let data = Slow { panic: Some(20), cached_after: 0, ..slow(60) };
    let mut loader = Loader::new(Arc::new(data), LoaderOptions::one_pass(4)).unwrap();
    for batch in 0..5 {
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let (_, ahead) = loader.next_and_ahead().unwrap().unwrap();
            // With the next batch not filled yet, in part, as a whole, and with a panic in it: the
            // rest of that one must not be filled while unwinding.
            for _ in 0..batch {
                ahead.piece();
            }
            panic!("of the step");
        }));
        assert!(unwound.is_err());
    }
    // In order it is a panic of the caller's.
    assert!(catch_unwind(AssertUnwindSafe(|| drop(loader.next_batch()))).is_err());

    // A piece that panicked and was caught: the rows that it left are filled again.
    let data = Arc::new(Slow { cached_after: 0, ..slow(8) });
    let once = PanicsOnce { inner: data, panicked: AtomicUsize::new(0) };
    let mut loader = Loader::new(Arc::new(once), LoaderOptions::one_pass(4)).unwrap();
    {
        let (_, ahead) = loader.next_and_ahead().unwrap().unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| while ahead.piece() {})).is_err());
    }
    let want = all(Slow { cached_after: 0, ..slow(8) }, LoaderOptions::one_pass(4));
    assert!(loader.next_batch().unwrap() == Some(&want[1]));
}

/// The first filling of sample 5 is a panic.
struct PanicsOnce {
    inner: Arc<Slow>,
    panicked: AtomicUsize,
}

impl Dataset for PanicsOnce {
    fn info(&self) -> &Info {
        self.inner.info()
    }
    fn fill(&self, index: usize, row: &mut Row<'_>) -> Result<()> {
        assert!(index != 5 || self.panicked.fetch_add(1, Ordering::Relaxed) > 0, "a bug");
        self.inner.fill(index, row)
    }
    fn fill_cost(&self) -> FillCost {
        FillCost::Copy
    }
}

#[test]
fn a_panic_is_an_error_not_a_hang() {
    let data = Slow { panic: Some(9), ..slow(60) };
    let options = LoaderOptions { threads: Some(2), ..LoaderOptions::one_pass(4) };
    let mut loader = Loader::new(Arc::new(data), options).unwrap();
    let error = loop {
        match loader.next_batch() {
            Ok(batch) => assert!(batch.is_some()),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Worker));
}

#[test]
fn runs_ahead_within_its_bound_and_shuts_down() {
    let data = Arc::new(slow(100_000));
    // One batch of 10 samples is 200 bytes: 1000 bytes are 5 batches.
    let options = LoaderOptions {
        threads: Some(3),
        memory_bytes: 1000,
        ..LoaderOptions::new(10, Order::Sequential)
    };
    let mut loader = Loader::new(data.clone(), options).unwrap();
    assert!(loader.next_batch().unwrap().is_some());
    std::thread::sleep(Duration::from_millis(50));
    assert!(data.fills.load(Ordering::Relaxed) <= 60);
    drop(loader);
    assert_eq!(Arc::strong_count(&data), 1);
}

#[test]
fn threads_end_once_everything_is_in_memory() {
    let data = Arc::new(Slow { cached_after: 101, ..slow(101) });
    let mut loader = Loader::new(data.clone(), options(8, 4)).unwrap();
    let mut batches = Vec::new();
    while let Some(batch) = loader.next_batch().unwrap() {
        batches.push(batch.clone());
        if batches.len() == 14 {
            assert!(matches!(loader.mode, Mode::Inline(_)));
        }
    }
    assert!(batches == all(slow(101), options(8, 4)));
}

#[test]
fn buffers_go_round() {
    let memory = MemoryDataset::images(vec![7; 50 * 12], &[2, 2, 3], vec![1; 50]).unwrap();
    let memory: Arc<dyn Dataset> = Arc::new(memory);
    for (data, most) in [(memory, 2), (Arc::new(slow(50)), 2 * cores() + 1)] {
        let mut loader = Loader::new(data, LoaderOptions { threads: None, ..options(32, 20) });
        let loader = loader.as_mut().unwrap();
        let mut places = std::collections::HashSet::new();
        while let Some(batch) = loader.next_batch().unwrap() {
            places.insert((batch.x().as_ptr(), batch.weights.as_ptr()));
        }
        assert!(places.len() <= most, "{} buffers", places.len());
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, |n| n.get().min(8))
}

#[test]
fn wrong_options_are_told() {
    let memory = || Arc::new(MemoryDataset::classes(vec![0.0; 4], &[2], vec![0, 1]).unwrap());
    let fails = |options| Loader::new(memory(), options).err().unwrap().to_string();
    assert!(fails(LoaderOptions::one_pass(0)).contains("batch_size"));
    let with =
        |w: &[f32]| LoaderOptions { class_weights: w.to_vec(), ..LoaderOptions::one_pass(1) };
    assert_eq!(fails(with(&[1.0])), "1 class weights for 2 classes");
    assert!(fails(with(&[1.0, -1.0])).contains("-1"));
    let weights = Some(vec![1.0; 3].into());
    let options = LoaderOptions { sample_weights: weights, ..LoaderOptions::one_pass(1) };
    assert_eq!(fails(options), "3 sample weights for 2 samples");
}

#[test]
fn pieces_of_batches_are_their_rows_whoever_wants_them() {
    for batch_size in [1, 7, 32] {
        let whole = all(slow(101), options(batch_size, 2));
        for (count, workers) in [(1, 1), (3, 1), (8, 3), (8, 8)] {
            for threads in [0, 2] {
                let mut parts: Vec<Vec<Batch>> = (0..workers)
                    .map(|w| {
                        let own = w * count / workers..(w + 1) * count / workers;
                        let shards = Shards { count, own };
                        let threads = Some(threads);
                        all(slow(101), LoaderOptions { shards, threads, ..options(batch_size, 2) })
                    })
                    .collect();
                for batch in &whole {
                    let mut indices = Vec::new();
                    for (w, part) in parts.iter_mut().enumerate() {
                        let own = (w + 1) * count / workers - w * count / workers;
                        for (i, piece) in part.drain(..own).enumerate() {
                            assert_eq!(
                                (piece.epoch, piece.position),
                                (batch.epoch, batch.position)
                            );
                            let is_last = i + 1 == own;
                            assert_eq!(piece.last_in_epoch, is_last && batch.last_in_epoch);
                            if is_last {
                                assert_eq!(piece.next_position, batch.next_position);
                            }
                            assert_eq!(piece.len, piece.indices.len());
                            assert!(piece.len <= batch_size.div_ceil(count));
                            indices.extend(piece.indices);
                        }
                    }
                    assert_eq!(indices, batch.indices);
                }
                assert!(parts.iter().all(Vec::is_empty));
            }
        }
    }
}

/// Small images of 5 classes, varied in all ways.
fn varied(mixes: bool) -> (Arc<dyn Dataset>, LoaderOptions) {
    use crate::augment::{Augment, ImageAugmentSpec};
    let side = 9;
    let pixels = (0..40 * side * side * 3).map(|i| (i * 31 % 251) as u8).collect();
    let labels = (0..40).map(|i| i % 5).collect();
    let text = r#"
        random_crop = { padding = 2, padding_mode = "reflect" }
        horizontal_flip = 0.5
        affine = { rotate = 20, translate = [0.1, 0.1], scale = [0.8, 1.2], shear = [5, 5] }
        elastic = { alpha = 20, sigma = 1 }
        rand_augment = {}
        color_jitter = { brightness = 0.4, contrast = 0.4, saturation = 0.4, hue = 0.1 }
        grayscale = 0.2
        blur = { size = 3 }
        erase = { value = "noise" }
    "#;
    let mix = if mixes { "mixup = { alpha = 0.3 }\ncutmix = { probability = 0.9 }" } else { "" };
    let spec: ImageAugmentSpec = toml::from_str(&format!("{text}{mix}")).unwrap();
    spec.check().unwrap();
    let data = MemoryDataset::images(pixels, &[side, side, 3], labels).unwrap();
    let data = data.with_augment(Augment::new(spec, 11), "x").unwrap();
    let options = LoaderOptions {
        epochs: Some(3),
        mix: data.mix(),
        ..LoaderOptions::new(7, Order::Shuffled { seed: 4 })
    };
    (Arc::new(data), options)
}

#[test]
fn varied_samples_have_the_same_bits_for_any_threads_and_after_a_resume() {
    for mixes in [false, true] {
        let (data, options) = varied(mixes);
        let all = |threads: usize, position: u64| {
            let options = LoaderOptions { threads: Some(threads), position, ..options.clone() };
            let mut loader = Loader::new(data.clone(), options).unwrap();
            let mut batches = Vec::new();
            while let Some(batch) = loader.next_batch().unwrap() {
                batches.push(batch.clone());
            }
            batches
        };
        let one = all(0, 0);
        assert_eq!(one.len(), 18);
        for threads in [1, 2, 5] {
            assert_eq!(all(threads, 0), one, "{threads} threads");
        }
        // In the middle of the second epoch.
        let at = one[8].next_position;
        assert_eq!(all(2, at), one[9..]);
        let mut ahead =
            Loader::new(data.clone(), LoaderOptions { threads: Some(0), ..options.clone() })
                .unwrap();
        for want in &one {
            let (batch, rest) = ahead.next_and_ahead().unwrap().unwrap();
            assert_eq!(batch, want);
            while rest.piece() {}
        }
        // Another epoch has other variants of a sample.
        let sample = |epoch: usize| {
            let mut rows = one[6 * epoch..6 * epoch + 6].iter().flat_map(|batch| {
                batch.indices.iter().enumerate().map(move |(i, &index)| (index, batch, i))
            });
            let (_, batch, i) = rows.find(|(index, ..)| *index == 3).unwrap();
            batch.columns[0].bits(i)
        };
        assert_ne!(sample(0), sample(1));
    }
}

#[test]
fn mixed_labels_sum_to_one_and_have_at_most_two_classes() {
    let (data, options) = varied(true);
    let mut loader = Loader::new(data, options).unwrap();
    let (mut soft, mut samples) = (0, 0);
    while let Some(batch) = loader.next_batch().unwrap() {
        for i in 0..batch.len {
            let Truth::Values(row) = batch.truth(i) else { panic!("no values") };
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6 && row.len() == 5);
            assert!(row.iter().filter(|v| **v > 0.0).count() <= 2);
            soft += usize::from(row.iter().all(|&v| v < 0.999));
            samples += 1;
        }
    }
    assert!(samples == 120 && soft > 40, "{soft} of {samples}");
}

#[test]
fn mixing_is_that_of_torchvision() {
    use crate::augment::Window;
    use crate::augment::mix::How;
    // torchvision.transforms.v2: x.roll(1, 0) * (1 - lam) + x * lam.
    let batch = || {
        let x = (0..12).map(|v| v as f32).collect();
        Batch::of_x(x, &[2, 2, 1]).with_targets(vec![1., 0., 0., 0., 1., 0., 0., 0., 1.], 3)
    };
    let mut whole = batch();
    How::Whole(0.75).apply(&mut whole, [2, 2, 1]);
    assert_eq!(whole.x(), [2.0, 3.0, 4.0, 5.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]);
    assert_eq!(whole.targets(), [0.75, 0.0, 0.25, 0.25, 0.75, 0.0, 0.0, 0.25, 0.75]);
    let mut part = batch();
    How::Part(Window { top: 1, left: 0, height: 1, width: 1 }).apply(&mut part, [2, 2, 1]);
    assert_eq!(part.x(), [0.0, 1.0, 10.0, 3.0, 4.0, 5.0, 2.0, 7.0, 8.0, 9.0, 6.0, 11.0]);
    assert_eq!(part.targets(), [0.75, 0.0, 0.25, 0.25, 0.75, 0.0, 0.0, 0.25, 0.75]);
    // One that was left out is not mixed, nor into another.
    let mut skipped = batch();
    skipped.weights[1] = 0.0;
    How::Whole(0.5).apply(&mut skipped, [2, 2, 1]);
    assert_eq!(skipped.x(), [4.0, 5.0, 6.0, 7.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0]);
    assert_eq!(skipped.weights, [1.0, 0.0, 1.0]);
}
