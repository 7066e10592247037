//! Rules against the f64 reference on every instruction set, and trajectories against fixtures.

#![allow(clippy::unwrap_used)]

use super::*;
use safetensors::SafeTensors;
use serde_json::Value;
use tidemill_graph::update::{Rule, WeightDecay, hyper};

struct Random(u64);

impl Random {
    fn value(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % 20001) as f32 / 10000.0 - 1.0
    }

    fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.value()).collect()
    }
}

fn ftrl(learning_rate_power: f32) -> Rule {
    Rule::Ftrl {
        learning_rate_power,
        initial_accumulator: 0.1,
        l1: 0.02,
        l2: 0.01,
        l2_shrinkage: 0.03,
        beta: 0.5,
    }
}

fn rules() -> Vec<Rule> {
    let mut all = vec![
        Rule::Sgd,
        Rule::Momentum { momentum: 0.9, nesterov: false },
        Rule::Momentum { momentum: 0.9, nesterov: true },
        Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
        Rule::Adagrad { epsilon: 1e-7, initial_accumulator: 0.1 },
        Rule::Lion { beta1: 0.95, beta2: 0.98 },
        ftrl(-0.5),
        ftrl(-0.4),
    ];
    for momentum in [0.0, 0.8] {
        for centered in [false, true] {
            for corrected in [false, true] {
                let lazy = corrected && momentum == 0.0 && !centered;
                all.push(Rule::RmsProp {
                    rho: 0.9,
                    epsilon: 1e-4,
                    momentum,
                    centered,
                    corrected,
                    lazy,
                });
            }
        }
    }
    all
}

/// Runs all chunks, last first.
fn run(kernel: &dyn Kernel, args: &mut [&mut [f32]]) {
    let pointers: Vec<*mut f32> = args.iter_mut().map(|a| a.as_mut_ptr()).collect();
    for chunk in (0..kernel.chunks()).rev() {
        // SAFETY: the tests pass arrays of the documented sizes and available sets.
        unsafe { kernel.run(&pointers, chunk, std::ptr::null_mut()) };
    }
}

fn optimize(kernel: &Optimize, g: &mut [f32], w: &mut [f32], s: &mut [Vec<f32>], h: &mut [f32]) {
    let [s0, s1, s2] = s else { panic!("three slots") };
    run(kernel, &mut [g, w, s0, s1, s2, h]);
}

/// Ten steps of `len` elements.
fn check(isa: Isa, update: Update, len: usize) {
    let mut random = Random(len as u64 + 7);
    let mut w = random.values(len);
    let slots = update.rule.num_slots();
    // absent slots have no elements, which would show a kernel that touches them
    let mut s: Vec<Vec<f32>> = (0..3)
        .map(|i| vec![update.rule.slot_start_of(i); if i < slots { len } else { 0 }])
        .collect();
    let mut exact: Vec<f64> = w.iter().map(|&x| f64::from(x)).collect();
    let mut exact_slots: Vec<Vec<f64>> = (0..len)
        .map(|_| (0..slots).map(|i| f64::from(update.rule.slot_start_of(i))).collect())
        .collect();
    let kernel = Optimize::new(isa, update, len);
    for step in 1..=10 {
        let mut g = random.values(len);
        // some are zero, in vectors and in rests of them
        g.iter_mut().skip(step as usize % 5).step_by(5).for_each(|g| *g = 0.0);
        let [c1, c2] = bias_corrections(&update.rule, step);
        let mut h = [0.05, c1, c2, 0.75, step as f32, 0.0, 0.0, 0.0];
        optimize(&kernel, &mut g, &mut w, &mut s, &mut h);
        let h = h.map(f64::from);
        for i in 0..len {
            let (w, s) = (&mut exact[i], &mut exact_slots[i]);
            let Update { rule, decay, clip_value, .. } = &update;
            reference_update(rule, decay, *clip_value, &h, f64::from(g[i]), w, s);
        }
    }
    for (i, (&x, &y)) in w.iter().zip(&exact).enumerate() {
        let error = (f64::from(x) - y).abs();
        assert!(error <= 1e-5 * (y.abs() + 0.3), "{isa:?} {update:?} {len} [{i}]: {x}, not {y}");
    }
    for (slot, values) in s.iter().enumerate() {
        for (i, &x) in values.iter().enumerate() {
            let y = exact_slots[i][slot];
            let error = (f64::from(x) - y).abs();
            assert!(
                error <= 2e-5 * (y.abs() + 0.1),
                "{isa:?} {update:?} slot {slot}: {x}, not {y}"
            );
        }
    }
}

#[test]
fn rules_equal_the_reference() {
    for isa in Isa::available() {
        for rule in rules() {
            for decay in [WeightDecay::None, WeightDecay::L2(0.1), WeightDecay::Decoupled(0.1)] {
                for clip_value in [None, Some(0.4)] {
                    check(isa, Update { rule, decay, clip_value, rate: 1.0 }, 37);
                }
            }
            let update = Update { rule, decay: WeightDecay::None, clip_value: None, rate: 1.0 };
            for len in 0..20 {
                check(isa, update, len);
            }
        }
        let rule = Rule::Momentum { momentum: 0.9, nesterov: true };
        for len in [CHUNK, CHUNK + 1, 2 * CHUNK + 33] {
            check(isa, Update { rule, decay: WeightDecay::None, clip_value: None, rate: 1.0 }, len);
        }
    }
}

#[test]
fn not_a_number_stays_and_vanishing_state_becomes_zero() {
    for isa in Isa::available() {
        for rule in rules() {
            let update =
                Update { rule, decay: WeightDecay::None, clip_value: Some(1.0), rate: 1.0 };
            let kernel = Optimize::new(isa, update, 3);
            let (mut g, mut w) = ([f32::NAN, 0.0, 0.5], [1.0f32; 3]);
            let mut s = vec![vec![1e-37; 3]; 3];
            optimize(
                &kernel,
                &mut g,
                &mut w,
                &mut s,
                &mut [0.1, 0.5, 0.5, 1.0, 16.0, 0.0, 0.0, 0.0],
            );
            assert!(w[0].is_nan() && w[2].is_finite(), "{isa:?} {rule:?}: {w:?}");
            let kept = rule.is_lazy();
            if !kept && !matches!(rule, Rule::Adagrad { .. } | Rule::Ftrl { .. }) {
                for (i, slot) in s.iter().enumerate().take(rule.num_slots()) {
                    assert_eq!(slot[1], 0.0, "{isa:?} {rule:?} slot {i}");
                }
            }
        }
    }
}

#[test]
fn norms_and_scales() {
    for isa in Isa::available() {
        for len in [0, 1, 7, 64, 100, 20_000, 70_001] {
            let mut random = Random(len as u64);
            let mut g = random.values(len);
            let exact: f64 = g.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
            let mut partials = vec![f32::NAN; SquaredNorm::num_partials(len)];
            run(&SquaredNorm::new(isa, len), &mut [&mut g, &mut partials]);
            let mut h = [0.5, 1.0, 1.0, f32::NAN, 3.0, 0.0, 0.0, 0.0];
            for limit in [1.0, 1e6] {
                let mut out = [f32::NAN; hyper::LEN];
                let kernel = ClipScale::new(vec![partials.len()], limit);
                run(&kernel, &mut [&mut h, &mut partials, &mut out]);
                let expected = (f64::from(limit) / (exact.sqrt() + 1e-6)).min(1.0);
                let scale = f64::from(out[hyper::GRADIENT_SCALE]);
                assert!((scale - expected).abs() <= 2e-6 * expected, "{isa:?} {len}: {scale}");
                assert_eq!(out[hyper::LEARNING_RATE], 0.5);
                assert_eq!(out[hyper::STEP], 3.0);
            }
        }
    }
    let (mut partials, mut h, mut out) = ([f32::NAN], [1.0; hyper::LEN], [0.0; hyper::LEN]);
    run(&ClipScale::new(vec![1], 1.0), &mut [&mut h, &mut partials, &mut out]);
    assert!(out[hyper::GRADIENT_SCALE].is_nan());
}

fn floats(tensors: &SafeTensors, name: &str) -> Vec<f32> {
    let bytes = tensors.tensor(name).unwrap().data();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// The rule, decay and clipping of a trajectory's settings.
fn setting(optimizer: &str, h: &Value) -> (Update, f32, Option<f32>, Option<f32>) {
    let maybe = |name: &str| h.get(name).map(|x| x.as_f64().unwrap() as f32);
    let number = |name: &str| maybe(name).unwrap_or(0.0);
    let flag = |name: &str| h.get(name).is_some_and(|x| x.as_bool().unwrap());
    let rule = match optimizer {
        "sgd" if maybe("momentum").is_none() => Rule::Sgd,
        "sgd" => Rule::Momentum { momentum: number("momentum"), nesterov: flag("nesterov") },
        "adam" | "adamw" => Rule::Adam {
            beta1: number("beta1"),
            beta2: number("beta2"),
            epsilon: number("epsilon"),
        },
        "rmsprop" => Rule::RmsProp {
            rho: number("rho"),
            epsilon: number("epsilon"),
            momentum: number("momentum"),
            centered: flag("centered"),
            corrected: false,
            lazy: false,
        },
        "adagrad" => Rule::Adagrad {
            epsilon: number("epsilon"),
            initial_accumulator: number("initial_accumulator"),
        },
        "lion" => Rule::Lion { beta1: number("beta1"), beta2: number("beta2") },
        "ftrl" => Rule::Ftrl {
            learning_rate_power: maybe("learning_rate_power").unwrap_or(-0.5),
            initial_accumulator: number("initial_accumulator_value"),
            l1: number("l1_regularization_strength"),
            l2: number("l2_regularization_strength"),
            l2_shrinkage: number("l2_shrinkage_regularization_strength"),
            beta: number("beta"),
        },
        other => panic!("unknown optimizer {other}"),
    };
    let decay = match (maybe("l2"), maybe("weight_decay")) {
        (Some(lambda), _) => WeightDecay::L2(lambda),
        (_, Some(lambda)) => WeightDecay::Decoupled(lambda),
        _ => WeightDecay::None,
    };
    let update = Update { rule, decay, clip_value: maybe("clip_value"), rate: 1.0 };
    (update, number("learning_rate"), maybe("clip_norm"), maybe("clip_global_norm"))
}

#[test]
fn trajectories_equal_the_fixtures() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let bytes = std::fs::read(folder.join("optimizers.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let text = std::fs::read_to_string(folder.join("optimizers.json")).unwrap();
    let about: Value = serde_json::from_str(&text).unwrap();
    let names = ["weight", "bias"];
    let gradients = names.map(|name| floats(&tensors, &format!("gradients/{name}")));
    for isa in Isa::available() {
        for trajectory in about["trajectories"].as_array().unwrap() {
            let name = trajectory["name"].as_str().unwrap();
            let optimizer = trajectory["optimizer"].as_str().unwrap();
            let (update, rate, norm, global_norm) =
                setting(optimizer, &trajectory["hyper_parameters"]);
            let mut parameters = names.map(|p| floats(&tensors, &format!("initial/{p}")));
            let lens = parameters.each_ref().map(Vec::len);
            let mut slots = lens.map(|len| -> Vec<Vec<f32>> {
                (0..3).map(|i| vec![update.rule.slot_start_of(i); len]).collect()
            });
            for step in 1..=100 {
                let [c1, c2] = bias_corrections(&update.rule, step as u64);
                let mut h = [rate, c1, c2, 1.0, step as f32, 0.0, 0.0, 0.0];
                let mut g: [Vec<f32>; 2] =
                    [0, 1].map(|p| gradients[p][(step - 1) * lens[p]..step * lens[p]].to_vec());
                let mut partials = [0.0; 2];
                for p in 0..2 {
                    let kernel = SquaredNorm::new(isa, lens[p]);
                    run(&kernel, &mut [&mut g[p], &mut partials[p..=p]]);
                }
                let mut clipped = [h; 2];
                for (p, out) in clipped.iter_mut().enumerate() {
                    if let Some(limit) = norm {
                        let sums = &mut partials[p..=p];
                        run(&ClipScale::new(vec![1], limit), &mut [&mut h, sums, out]);
                    } else if let Some(limit) = global_norm {
                        let [a, b] = partials.each_mut().map(std::slice::from_mut);
                        run(&ClipScale::new(vec![1, 1], limit), &mut [&mut h, a, b, out]);
                    }
                }
                for p in 0..2 {
                    let kernel = Optimize::new(isa, update, lens[p]);
                    let (g, w) = (&mut g[p], &mut parameters[p]);
                    optimize(&kernel, g, w, &mut slots[p], &mut clipped[p]);
                    let Ok(expected) = tensors.tensor(&format!("{name}/{step}/{}", names[p]))
                    else {
                        continue;
                    };
                    let expected = expected.data().chunks_exact(4);
                    for (x, y) in parameters[p].iter().zip(expected) {
                        let y = f32::from_le_bytes(y.try_into().unwrap());
                        let tolerance = 1e-5 * y.abs() + 1e-6;
                        assert!((x - y).abs() <= tolerance, "{isa:?} {name} {step}: {x}, not {y}");
                    }
                }
            }
        }
    }
}

/// Adam's trajectories are those of PyTorch; without its first moment it is RMSprop with the bias
/// corrected.
#[test]
fn corrected_rmsprop_is_adam_without_momentum() {
    let adam = Rule::Adam { beta1: 0.0, beta2: 0.999, epsilon: 1e-7 };
    let rmsprop = |lazy| Rule::RmsProp {
        rho: 0.999,
        epsilon: 1e-7,
        momentum: 0.0,
        centered: false,
        corrected: true,
        lazy,
    };
    for isa in Isa::available() {
        let mut ends = Vec::new();
        for rule in [adam, rmsprop(false), rmsprop(true)] {
            let kernel = Optimize::new(
                isa,
                Update { rule, decay: WeightDecay::None, clip_value: None, rate: 1.0 },
                50,
            );
            let mut random = Random(3);
            let mut w = random.values(50);
            let mut s = vec![vec![0.0; 50]; 3];
            for step in 1..=30 {
                let [c1, c2] = bias_corrections(&rule, step);
                let mut h = [0.01, c1, c2, 1.0, step as f32, 0.0, 0.0, 0.0];
                optimize(&kernel, &mut random.values(50), &mut w, &mut s, &mut h);
            }
            ends.push(w);
        }
        for (i, &adam) in ends[0].iter().enumerate() {
            assert!((ends[1][i] - adam).abs() < 1e-5, "{isa:?} {i}");
            assert_eq!(ends[1][i], ends[2][i], "{isa:?} {i}");
        }
    }
}
