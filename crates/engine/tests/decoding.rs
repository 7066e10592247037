//! Texts written token by token, with what is kept of earlier positions: what is said of each is what the whole text gives,
//! and depends neither on other texts nor on the number of threads.

#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;

use tidemill_engine::beam::{Beam, Search};
use tidemill_engine::data::Batch;
use tidemill_engine::fields::Signature;
use tidemill_engine::nn::{LossSpec, Model, OptimizerSpec};
use tidemill_engine::{Continued, Decoding, Engine, EngineSpec};

const TOKENS: usize = 11;
const LONGEST: usize = 40;

const NEXT: &str = "decoder_only = { units = 8, heads = 2, layers = 2, context = 40 }";
const SINES: &str = "decoder_only = { units = 8, heads = 2, layers = 1, context = 40, positions = \"sinusoidal\", bias = false }";
const OTHER: &str = "encoder_decoder = { units = 8, heads = 2, encoder = 1, decoder = 2, length = 40, dropout = 0.1 }";
const LEARNED: &str = "encoder_decoder = { units = 8, heads = 2, encoder = 1, decoder = 1, length = 40, positions = \"learned\", share = \"none\" }";
const COPIES: &str = "encoder_decoder = { units = 8, heads = 2, encoder = 1, decoder = 2, length = 40, copy = true }";
const TURNS: &str =
    "decoder_only = { units = 8, heads = 2, layers = 2, context = 40, positions = \"rotary\" }";
const OTHER_TURNS: &str = "encoder_decoder = { units = 8, heads = 2, encoder = 1, decoder = 1, length = 40, positions = { rotary = { base = 50.0 } } }";
const BIASED: &str =
    "decoder_only = { units = 8, heads = 2, layers = 2, context = 40, positions = \"relative\" }";
const OTHER_BIASED: &str = "encoder_decoder = { units = 8, heads = 2, encoder = 1, decoder = 1, length = 40, positions = { relative = { buckets = 6, distance = 12 } } }";
/// Heads that share keys, turned or with biases of distances.
const SHARED: &str = r#"
input = { tokens = { length = 40, vocabulary = 11 } }
layers = [
    { embedding = { vocabulary = 11, units = 12, scale = 3.0 } },
    { attention = { heads = 4, key_heads = 2, head_units = 6, causal = true, rotary = { base = 100.0 } } },
    { attention = { heads = 4, key_heads = 1, causal = true, relative = { buckets = 7, distance = 19 } } },
    { dense = { units = 11 } },
]
"#;
/// Heads that share keys, a branch of its own, no residual around attention.
const LAYERS: &str = r#"
inputs = { source = { tokens = { length = 40, vocabulary = 11 } }, target = { tokens = { length = 40, vocabulary = 11 } } }
layers = [
    { encode = { input = "source", name = "read", layers = [
        { embedding = { vocabulary = 11, units = 12 } },
        { conv1d = { filters = 12, kernel = 3 } },
    ] } },
    { concat = { branches = [{ input = "target", layers = [
        { embedding = { vocabulary = 11, units = 12 } },
        { positions = { length = 40, kind = "sinusoidal", scale = 2.0 } },
    ] }] } },
    { attention = { heads = 4, key_heads = 2, head_units = 5, causal = true } },
    { residual = { layers = [{ rms_norm = {} }, { attention = { heads = 4, key_heads = 1, over = "read" } }] } },
    { dense = { units = 16, activation = "gelu" } },
    { dense = { units = 11 } },
]
"#;

/// A model whose weights are no longer those of the start.
fn engine(model: &str, threads: usize) -> Engine {
    let mut model: Model = toml::from_str(model).unwrap();
    model.expand(Some(TOKENS)).unwrap();
    let loss = LossSpec::TokenCrossentropy { label_smoothing: 0.0 };
    let spec = EngineSpec::new(model, loss, OptimizerSpec::sgd(0.5));
    let mut engine =
        Engine::compile(EngineSpec { batch_size: 2, threads: Some(threads), ..spec }).unwrap();
    let parameters: Vec<usize> = engine.parameters().map(|(i, _)| i).collect();
    for i in parameters {
        for (j, value) in engine.tensor_mut(i).iter_mut().enumerate() {
            *value = 1.5 * *value + 0.02 * ((i * 31 + j * 17) % 13) as f32 - 0.12;
        }
    }
    engine
}

/// One of the samples: what it reads, if the model reads, and how its text begins.
#[derive(Clone)]
struct Sample {
    id: usize,
    source: Vec<i32>,
    start: Vec<i32>,
}

fn samples() -> Vec<Sample> {
    let ids = |len: usize, by: usize| (0..len).map(|i| ((i * by + 3) % TOKENS) as i32).collect();
    [(7, 1), (1, 1), (16, 3), (40, 1), (5, 7)]
        .into_iter()
        .enumerate()
        .map(|(id, (source, start))| Sample {
            id,
            source: ids(source, id + 2),
            start: ids(start, 5),
        })
        .collect()
}

fn batch(engine: &Engine, rows: &[(&[i32], &[i32])], len: usize) -> Batch {
    let fields = engine.signature().inputs().to_vec();
    let reads = fields.len() > 1;
    let mut batch = Batch::new(Arc::new(Signature::new(fields, None)));
    batch.resize(len);
    for (i, (source, target)) in rows.iter().enumerate() {
        let mut row = batch.row_mut(i);
        if reads {
            row.set_ids(0, source).unwrap();
        }
        row.set_ids(usize::from(reads), target).unwrap();
        row.set_weight(1.0);
    }
    batch.pad();
    batch
}

fn draw(parts: [usize; 4], below: usize) -> usize {
    let mixed = parts.iter().fold(17u64, |h, &p| {
        (h ^ p as u64).wrapping_mul(6_364_136_223_846_793_005).rotate_left(23)
    });
    (mixed >> 20) as usize % below
}

/// The texts that a sample has had, with what was said to come next.
type Said = Vec<(Vec<i32>, Vec<f32>)>;

/// Writes all samples at once: rows that branch, end and continue as a function of each sample alone.
fn write(engine: &mut Engine, samples: &[Sample], width: usize, steps: usize) -> Vec<Said> {
    let rows: Vec<(&[i32], &[i32])> =
        samples.iter().map(|s| (&s.source[..], &s.start[..])).collect();
    let given = batch(engine, &rows, samples.len().next_power_of_two());
    let mut decoding = Decoding::default();
    let mut said: Vec<Said> = vec![Vec::new(); samples.len()];
    let mut open: Vec<(usize, Vec<Vec<i32>>)> =
        samples.iter().enumerate().map(|(i, s)| (i, vec![s.start.clone()])).collect();
    let next = engine.start_texts(&mut decoding, &given, samples.len(), width).unwrap();
    for (place, (i, texts)) in open.iter().enumerate() {
        said[*i].push((texts[0].clone(), next.row(place, 0).to_vec()));
    }
    for step in 0..steps {
        let mut continued = Vec::new();
        let mut still = Vec::new();
        for (place, (i, texts)) in open.iter().enumerate() {
            let id = samples[*i].id;
            let ends = (id < 4 && step == 3 + 4 * id) || texts[0].len() == LONGEST;
            if ends {
                continue;
            }
            let count = 1 + draw([id, step, 0, 1], width);
            let row = |p: usize| {
                let token = draw([id, step, p, 3], TOKENS);
                (draw([id, step, p, 2], texts.len()), token as i32)
            };
            let rows: Vec<(usize, i32)> = (0..count).map(row).collect();
            let texts = rows.iter().map(|&(from, token)| [&texts[from][..], &[token]].concat());
            still.push((*i, texts.collect::<Vec<_>>()));
            continued.push(Continued { sample: place, rows });
        }
        open = still;
        if open.is_empty() {
            break;
        }
        let next = engine.continue_texts(&mut decoding, &continued).unwrap();
        for (place, (i, texts)) in open.iter().enumerate() {
            for (row, text) in texts.iter().enumerate() {
                said[*i].push((text.clone(), next.row(place, row).to_vec()));
            }
        }
    }
    said
}

#[test]
fn steps_say_what_whole_texts_give() {
    for model in [
        NEXT,
        SINES,
        OTHER,
        LEARNED,
        COPIES,
        LAYERS,
        TURNS,
        OTHER_TURNS,
        SHARED,
        BIASED,
        OTHER_BIASED,
    ] {
        let mut engine = engine(model, 1);
        assert!(engine.decodes(), "{model}");
        let samples = samples();
        let said = write(&mut engine, &samples, 3, LONGEST);
        // The last sample is written until there is no room.
        assert_eq!(said[4].last().unwrap().0.len(), LONGEST);
        for (sample, said) in samples.iter().zip(said) {
            for (text, found) in said {
                let whole = batch(&engine, &[(&sample.source, &text)], 1);
                for (f, w) in found.iter().zip(engine.next(&whole).unwrap()) {
                    assert!((f - w).abs() < 1e-4, "{model} {text:?}: {f} {w}");
                }
            }
        }
    }
}

#[test]
fn neither_other_texts_nor_threads_change_a_bit() {
    let bits = |said: &Said| -> Vec<(Vec<i32>, Vec<u32>)> {
        said.iter().map(|(t, log)| (t.clone(), log.iter().map(|v| v.to_bits()).collect())).collect()
    };
    for model in [NEXT, OTHER, COPIES, LAYERS, TURNS, OTHER_TURNS, SHARED, BIASED, OTHER_BIASED] {
        let samples = samples();
        for width in [1, 3] {
            let together = write(&mut engine(model, 1), &samples, width, 20);
            let by_threads = write(&mut engine(model, 3), &samples, width, 20);
            let mut alone = engine(model, 2);
            for (i, sample) in samples.iter().enumerate() {
                let single = write(&mut alone, std::slice::from_ref(sample), width, 20);
                assert!(bits(&single[0]) == bits(&together[i]), "{model} {width} {i}");
                assert!(bits(&by_threads[i]) == bits(&together[i]), "{model} {width} {i}: threads");
            }
        }
    }
}

/// One sentence at a time is all at once; the same memory is used again.
#[test]
fn a_search_is_the_same_alone() {
    for model in [OTHER, COPIES, LAYERS] {
        let samples = samples();
        let sources: Vec<&[i32]> = samples.iter().map(|s| &s.source[..]).collect();
        let beam = Beam { width: 3, ..Beam::default() };
        let search = Search { start: &[1, 4], end: 2, beam: &beam };
        let mut engine = engine(model, 2);
        let mut decoding = Decoding::default();
        let together = engine.search(&mut decoding, &sources, &search).unwrap();
        for (source, together) in sources.iter().zip(&together) {
            let alone = engine.search(&mut decoding, &[source], &search).unwrap();
            assert_eq!(&alone[0], together, "{model}");
            assert!(!together.is_empty() && together.len() <= 2 * 3);
            assert!(together.iter().all(|text| text.ids.starts_with(&[1, 4])));
            assert!(together.windows(2).all(|pair| pair[0].score >= pair[1].score));
        }
        assert!(engine.search(&mut decoding, &[], &search).unwrap().is_empty());
        let search = Search { start: &[], ..search };
        let error = engine.search(&mut decoding, &sources, &search).unwrap_err().to_string();
        assert!(error.contains("at least one token"), "{error}");
    }
}

#[test]
fn weights_may_change_between_texts() {
    let mut engine = engine(OTHER, 1);
    let samples = &samples()[..1];
    let before = write(&mut engine, samples, 2, 4);
    let index = engine.find_tensor("layers.3.layer_norm.gamma").unwrap();
    engine.tensor_mut(index).iter_mut().for_each(|v| *v *= 0.5);
    let after = write(&mut engine, samples, 2, 4);
    assert_ne!(before, after);
    let (text, found) = &after[0][3];
    let whole = batch(&engine, &[(&samples[0].source, text)], 1);
    let want = engine.next(&whole).unwrap();
    assert!(found.iter().zip(want).all(|(f, w)| (f - w).abs() < 1e-4));
}

#[test]
fn models_that_look_at_several_positions_are_not_written_so() {
    let layers = |layers: &str| {
        let embedding = "{ embedding = { vocabulary = 11, units = 8 } }";
        format!(
            "input = {{ tokens = {{ length = 40, vocabulary = 11 }} }}\nlayers = [{embedding}, {layers}, \
             {{ dense = {{ units = 11 }} }}]"
        )
    };
    for (model, decodes) in [
        (layers("{ attention = { heads = 2, causal = true } }"), true),
        (layers("{ attention = { heads = 2 } }"), false),
        (layers("{ conv1d = { filters = 8, kernel = 3 } }"), false),
    ] {
        assert_eq!(engine(&model, 1).decodes(), decodes, "{model}");
    }
}

#[test]
fn what_cannot_go_on_is_named() {
    let mut engine = engine(NEXT, 1);
    let full = vec![1; LONGEST];
    for (start, rows, what) in [
        (&[1, 2][..], vec![(1, 3)], "sample 0 has no row 1"),
        (&[1, 2], vec![(0, 11)], "11 is no id of a vocabulary of 11"),
        (&[1, 2], vec![(0, -1)], "-1 is no id"),
        (&[1, 2], vec![], "0 rows of a sample, of 2"),
        (&[1, 2], vec![(0, 1); 3], "3 rows of a sample, of 2"),
        (&full, vec![(0, 1)], "the model writes at most 40 tokens"),
    ] {
        let given = batch(&engine, &[(&[], start)], 1);
        let mut decoding = Decoding::default();
        engine.start_texts(&mut decoding, &given, 1, 2).unwrap();
        let continued = [Continued { sample: 0, rows }];
        let error = engine.continue_texts(&mut decoding, &continued).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    let given = batch(&engine, &[(&[], &[])], 1);
    let error = engine.start_texts(&mut Decoding::default(), &given, 1, 2).unwrap_err();
    assert!(error.to_string().contains("at least one token"), "{error}");
}
