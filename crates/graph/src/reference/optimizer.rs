//! The end of a training step: clipping, weight decay, the optimizer's rule, assignments.

use super::{Real, Values};
use crate::error::GraphError;
use crate::graph::{Graph, Update};
use crate::packed::{self, SlotType};
use crate::random::philox4x32;
use crate::update::{CLIP_EPSILON, Clip, Rule, WeightDecay, decimal, hyper};

/// Applies the graph's updates and assignments to the values of a finished [`super::evaluate`]:
/// parameters, slots and state become those of the next step.
///
/// Gradients are scaled, then clipped, then get the L2 term, as PyTorch and Keras do.
pub fn apply_updates<T: Real>(graph: &Graph, values: &mut Values<T>) -> Result<(), GraphError> {
    let assigned: Vec<(usize, _)> = graph
        .assignments
        .iter()
        .map(|&(state, value)| {
            let found = values.expect(graph, value)?;
            Ok((state.index(), super::Value::Float(found.to_vec())))
        })
        .collect::<Result<_, GraphError>>()?;

    if !graph.updates.is_empty() {
        let id = graph.hyper.ok_or_else(|| {
            GraphError::new("the graph has updates but no hyper-parameter vector")
                .help(format!("set graph.hyper to an input of shape [{}]", hyper::LEN))
        })?;
        let mut hyper = values.expect(graph, id)?.to_vec();
        let mut gradients = vec![];
        for update in &graph.updates {
            gradients.push(values.expect(graph, update.gradient)?.to_vec());
        }
        let clip = graph.clip.unwrap_or(Clip::None);
        if let Clip::GlobalNorm(limit) = clip {
            hyper[hyper::GRADIENT_SCALE] = clip_scale(gradients.iter().flatten(), limit);
        }
        for (place, (update, gradient)) in graph.updates.iter().zip(&mut gradients).enumerate() {
            if update.elsewhere {
                continue;
            }
            clip_gradient(gradient, hyper[hyper::GRADIENT_SCALE], clip);
            let mut w = values.expect(graph, update.parameter)?.to_vec();
            let mut hyper = hyper.clone();
            hyper[hyper::LEARNING_RATE] = hyper[hyper::LEARNING_RATE] * T::of(update.rate);
            let mut slots = vec![];
            for index in 0..update.slots.len() {
                slots.push(slot_values(graph, values, update, index)?);
            }
            for (index, w) in w.iter_mut().enumerate() {
                let mut slot = [T::ZERO; 3];
                for (value, slot) in slot.iter_mut().zip(&slots) {
                    *value = slot[index];
                }
                *w = update_element(
                    &update.rule,
                    update.decay,
                    &hyper,
                    *w,
                    gradient[index],
                    &mut slot,
                );
                for (value, slot) in slot.iter().zip(&mut slots) {
                    slot[index] = *value;
                }
            }
            values.set(update.parameter, w);
            let step = hyper[hyper::STEP].to_f64() as u32;
            for (index, (&id, slot)) in update.slots.iter().zip(slots).enumerate() {
                match update.slot_type {
                    SlotType::F32 => values.set(id, slot),
                    fewer => {
                        let slot: Vec<f32> = slot.iter().map(|v| v.to_f64() as f32).collect();
                        let ([c2, c3], key) = packed::stream(place as u32, step);
                        let random = |i: usize| {
                            let words = philox4x32([(i / 4) as u32, 0, c2, c3], key);
                            packed::random_bits(words[i % 4], index)
                        };
                        values.set_ints(
                            id,
                            packed::pack(fewer, code_of(update, index)?, &slot, random),
                        );
                    }
                }
            }
        }
    }
    for (state, value) in assigned {
        values.by_tensor[state] = Some(value);
    }
    Ok(())
}

fn code_of(update: &Update, slot: usize) -> Result<packed::Code, GraphError> {
    update.rule.slot_code(slot).ok_or_else(|| {
        GraphError::new(format!("the rule {:?} cannot have packed slots", update.rule))
    })
}

/// The elements of a slot before the step.
fn slot_values<T: Real>(
    graph: &Graph,
    values: &Values<T>,
    update: &Update,
    slot: usize,
) -> Result<Vec<T>, GraphError> {
    let id = update.slots[slot];
    if update.slot_type == SlotType::F32 {
        return Ok(values.expect(graph, id)?.to_vec());
    }
    let words = values.ints(id).ok_or_else(|| super::missing(graph.tensor(id)))?;
    super::check_length(graph.tensor(id), words.len())?;
    let len = graph.tensor(update.parameter).len();
    let elements = packed::unpack(update.slot_type, code_of(update, slot)?, len, words);
    Ok(elements.into_iter().map(T::of).collect())
}

/// `min(1, limit / (norm + 1e-6))` with the L2 norm of the gradients, as [`Clip`] says; a norm that
/// is not a number gives a scale that is none.
pub fn clip_scale<'a, T: Real>(gradients: impl Iterator<Item = &'a T>, limit: f32) -> T {
    let norm = gradients.map(|&g| g * g).sum::<T>().sqrt();
    let scale = T::of(limit) / (norm + T::from_f64(CLIP_EPSILON));
    if scale > T::ONE { T::ONE } else { scale }
}

fn clip_gradient<T: Real>(gradient: &mut [T], scale: T, clip: Clip) {
    for g in gradient.iter_mut() {
        *g = *g * scale;
    }
    match clip {
        Clip::None | Clip::GlobalNorm(_) => {}
        Clip::Value(limit) => {
            for g in gradient {
                *g = clamp(*g, T::of(limit));
            }
        }
        Clip::Norm(limit) => {
            let scale = clip_scale(gradient.iter(), limit);
            for g in gradient {
                *g = *g * scale;
            }
        }
    }
}

fn clamp<T: Real>(x: T, limit: T) -> T {
    if x > limit {
        limit
    } else if x < -limit {
        -limit
    } else {
        x
    }
}

/// The new value of parameter element `w` with (scaled and clipped) gradient `g`; changes its
/// slots, of which it reads [`Rule::num_slots`]. `hyper` is the vector of [`crate::hyper`].
pub fn update_element<T: Real>(
    rule: &Rule,
    decay: WeightDecay,
    hyper: &[T],
    w: T,
    g: T,
    slots: &mut [T; 3],
) -> T {
    let lr = hyper[hyper::LEARNING_RATE];
    let two = T::ONE + T::ONE;
    let setting = |value: f32| T::from_f64(decimal(value));
    let before = w;
    let (g, w) = match decay {
        WeightDecay::None => (g, w),
        WeightDecay::L2(lambda) => (g + setting(lambda) * w, w),
        WeightDecay::Decoupled(lambda) => (g, w - lr * setting(lambda) * w),
    };
    let mix =
        |share: f32, old: T, new: T| setting(share) * old + T::from_f64(1.0 - decimal(share)) * new;
    match *rule {
        Rule::Sgd => w - lr * g,
        Rule::Momentum { momentum, nesterov } => {
            slots[0] = setting(momentum) * slots[0] + g;
            w - lr * if nesterov { g + setting(momentum) * slots[0] } else { slots[0] }
        }
        Rule::Adam { beta1, beta2, epsilon } => {
            slots[0] = mix(beta1, slots[0], g);
            slots[1] = mix(beta2, slots[1], g * g);
            let (c1, c2) = (hyper[hyper::BIAS_CORRECTION1], hyper[hyper::BIAS_CORRECTION2]);
            w - lr / c1 * slots[0] / (slots[1].sqrt() / c2.sqrt() + setting(epsilon))
        }
        Rule::RmsProp { lazy: true, .. } if g == T::ZERO => before,
        Rule::RmsProp { rho, epsilon, momentum, centered, corrected, .. } => {
            let mean = if momentum != 0.0 { 2 } else { 1 };
            slots[0] = mix(rho, slots[0], g * g);
            let mut variance = slots[0];
            if centered {
                slots[mean] = mix(rho, slots[mean], g);
                variance = (variance - slots[mean] * slots[mean]).larger(T::ZERO);
            }
            let c2 = if corrected { hyper[hyper::BIAS_CORRECTION2] } else { T::ONE };
            let step = g / (variance.sqrt() / c2.sqrt() + setting(epsilon));
            if momentum == 0.0 {
                return w - lr * step;
            }
            slots[1] = setting(momentum) * slots[1] + step;
            w - lr * slots[1]
        }
        Rule::Adagrad { epsilon, .. } => {
            slots[0] += g * g;
            w - lr * g / (slots[0].sqrt() + setting(epsilon))
        }
        Rule::Lion { beta1, beta2 } => {
            let direction = mix(beta1, slots[0], g).sign();
            slots[0] = mix(beta2, slots[0], g);
            w - lr * direction
        }
        Rule::Ftrl { learning_rate_power, l1, l2, l2_shrinkage, beta, .. } => {
            let root = |n: T| n.powf(-setting(learning_rate_power));
            let shrunk = g + two * setting(l2_shrinkage) * w;
            let n = slots[0] + g * g;
            slots[1] += shrunk - (root(n) - root(slots[0])) / lr * w;
            slots[0] = n;
            let quadratic = root(n) / lr + two * (setting(l2) + setting(beta) / (two * lr));
            (clamp(slots[1], setting(l1)) - slots[1]) / quadratic
        }
    }
}
