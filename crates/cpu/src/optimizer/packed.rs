//! Updates of parameters whose slots are packed: a block of elements is unpacked, updated by the usual rule and packed
//! again while it is in the nearest cache, so that memory is passed over once.

use super::{Coefficients, Update, UpdateBlock, UpdateFn, update_fn};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::lanes::{Lanes, PHILOX_WORDS, PhiloxKey};
use tidemill_graph::packed::{self, BLOCK, Code, SIGNED, SlotType, UNSIGNED};
use tidemill_graph::update::hyper;

/// Elements of an update's chunk, whole blocks.
const CHUNK: usize = 16 * 1024;
const _: () = assert!(CHUNK.is_multiple_of(BLOCK) && BLOCK.is_multiple_of(PHILOX_WORDS));

/// Updates a parameter with packed slots from its whole gradient.
///
/// Arguments as those of [`super::Optimize`], but that the slots are the words of [`SlotType`].
#[derive(Clone, Debug)]
pub struct OptimizePacked {
    len: usize,
    update: Update,
    slots: SlotType,
    stream: u32,
    run: UpdateFn,
    pieces: Pieces,
}

/// The parts of the work that depend on the instruction set.
#[derive(Clone, Copy, Debug)]
struct Pieces {
    draw: unsafe fn(&PhiloxKey, u64, &mut [u32; BLOCK]),
    unpack: unsafe fn(&Packed, usize, &mut [f32; BLOCK]),
    pack: unsafe fn(&Packed, usize, usize, &[f32; BLOCK], &[u32; BLOCK]),
}

/// A slot's words.
#[derive(Clone, Copy)]
struct Packed {
    slots: SlotType,
    code: Code,
    /// The slot's number, which says which bits of a random word are its own.
    index: usize,
    words: *mut u32,
    /// Elements of the whole slot.
    len: usize,
}

impl OptimizePacked {
    /// For a parameter of `len` elements, update `stream` of its graph.
    pub fn new(
        isa: Isa,
        update: Update,
        slots: SlotType,
        stream: u32,
        len: usize,
    ) -> OptimizePacked {
        let pieces = Pieces { draw: draw_fn(isa), unpack: unpack_fn(isa), pack: pack_fn(isa) };
        OptimizePacked { len, update, slots, stream, run: update_fn(isa, &update), pieces }
    }
}

impl Kernel for OptimizePacked {
    fn chunks(&self) -> usize {
        self.len.div_ceil(CHUNK).max(1)
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let count = self.update.rule.num_slots();
        let mut values = [[0.0f32; BLOCK]; 3];
        let mut words = [0u32; BLOCK];
        let end = self.len.min((chunk + 1) * CHUNK);
        // SAFETY: a block is at most BLOCK elements of the parameter, of the gradient and of each slot that the rule has,
        // whose words are as many as `SlotType::words` says; blocks of different chunks share no word, as chunks are
        // whole blocks.
        unsafe {
            let c = Coefficients::new(&self.update, args[5]);
            let (counter, key) = packed::stream(self.stream, *args[5].add(hyper::STEP) as u32);
            let key = PhiloxKey::new(counter, key);
            let slot = |index: usize| Packed {
                slots: self.slots,
                code: self.update.rule.slot_code(index).unwrap_or(SIGNED),
                index,
                words: args[2 + index].cast(),
                len: self.len,
            };
            for start in (chunk * CHUNK..end).step_by(BLOCK) {
                let len = BLOCK.min(end - start);
                (self.pieces.draw)(&key, start as u64 / 4, &mut words);
                for (index, values) in values.iter_mut().enumerate().take(count) {
                    (self.pieces.unpack)(&slot(index), start, values);
                }
                let pointers = values.each_mut().map(|v| v.as_mut_ptr());
                let block = UpdateBlock {
                    rows: 1,
                    cols: len,
                    gradient: args[0].add(start),
                    gradient_stride: 0,
                    param: args[1].add(start),
                    slots: pointers,
                    stride: 0,
                };
                (self.run)(&c, &block);
                for (index, values) in values.iter_mut().enumerate().take(count) {
                    values[len..].fill(0.0);
                    (self.pieces.pack)(&slot(index), start, len, values, &words);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn draw<S: Lanes>(key: &PhiloxKey, counter: u64, words: &mut [u32; BLOCK]) {
    for (i, words) in words.chunks_exact_mut(PHILOX_WORDS).enumerate() {
        // SAFETY: a piece has as many words as are written at once.
        unsafe {
            S::philox(
                counter + (i * PHILOX_WORDS / 4) as u64,
                key,
                words.as_mut_ptr(),
                PHILOX_WORDS,
            )
        };
    }
}
kernel!(fn draw_fn(key: &PhiloxKey, counter: u64, words: &mut [u32; BLOCK]) = draw;);

/// Elements of the block from `start` on.
#[inline(always)]
unsafe fn unpack_block<S: Lanes>(p: &Packed, start: usize, out: &mut [f32; BLOCK]) {
    // SAFETY: the words from the block's first element on, as far as the slot has them, which are read into whole
    // blocks of zeros; the scale follows the codes.
    unsafe {
        let len = BLOCK.min(p.len - start);
        match p.slots {
            SlotType::Bf16 => {
                let mut halves = [0u16; BLOCK];
                std::ptr::copy_nonoverlapping(
                    p.words.cast::<u16>().add(start),
                    halves.as_mut_ptr(),
                    len,
                );
                for (out, half) in out.iter_mut().zip(halves) {
                    *out = packed::from_bf16(half);
                }
            }
            _ => {
                let mut codes = [0u8; BLOCK];
                std::ptr::copy_nonoverlapping(
                    p.words.cast::<u8>().add(start),
                    codes.as_mut_ptr(),
                    len,
                );
                let scale = f32::from_bits(*p.words.add(p.len.div_ceil(4) + start / BLOCK));
                match p.code {
                    SIGNED => decode(SIGNED, scale, &codes, out),
                    _ => decode(UNSIGNED, scale, &codes, out),
                }
            }
        }
    }
}
kernel!(fn unpack_fn(p: &Packed, start: usize, out: &mut [f32; BLOCK]) = unpack_block;);

/// With a constant layout, so that the loop is one of vectors.
#[inline(always)]
fn decode(code: Code, scale: f32, codes: &[u8; BLOCK], out: &mut [f32; BLOCK]) {
    for (out, &byte) in out.iter_mut().zip(codes) {
        *out = code.decode(byte) * scale;
    }
}

/// Writes the `len` elements of the block from `start` on.
#[inline(always)]
unsafe fn pack_block<S: Lanes>(
    p: &Packed,
    start: usize,
    len: usize,
    values: &[f32; BLOCK],
    words: &[u32; BLOCK],
) {
    let mut random = [0u32; BLOCK];
    for (random, &word) in random.iter_mut().zip(words) {
        *random = packed::random_bits(word, p.index);
    }
    // SAFETY: as in `unpack_block`; only the words of this block are written.
    unsafe {
        match p.slots {
            SlotType::Bf16 => {
                let mut halves = [0u16; BLOCK];
                for ((half, &value), &random) in halves.iter_mut().zip(values).zip(&random) {
                    *half = packed::to_bf16(value, random);
                }
                std::ptr::copy_nonoverlapping(
                    halves.as_ptr(),
                    p.words.cast::<u16>().add(start),
                    len,
                );
            }
            _ => {
                let largest = values.iter().fold(0, |most, v| most.max(v.to_bits() & 0x7fff_ffff));
                let scale = packed::scale(largest);
                let mut codes = [0u8; BLOCK];
                let inverse = packed::inverse(scale);
                match p.code {
                    SIGNED => encode(SIGNED, inverse, values, &random, &mut codes),
                    _ => encode(UNSIGNED, inverse, values, &random, &mut codes),
                }
                std::ptr::copy_nonoverlapping(codes.as_ptr(), p.words.cast::<u8>().add(start), len);
                *p.words.add(p.len.div_ceil(4) + start / BLOCK) = scale.to_bits();
            }
        }
    }
}
kernel!(fn pack_fn(
    p: &Packed,
    start: usize,
    len: usize,
    values: &[f32; BLOCK],
    words: &[u32; BLOCK],
) = pack_block;);

#[inline(always)]
fn encode(
    code: Code,
    inverse: f32,
    values: &[f32; BLOCK],
    random: &[u32; BLOCK],
    out: &mut [u8; BLOCK],
) {
    for ((out, &value), &random) in out.iter_mut().zip(values).zip(random) {
        *out = code.encode(value * inverse, random);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::optimizer::Optimize;
    use tidemill_graph::random::philox4x32;
    use tidemill_graph::update::{Rule, WeightDecay};

    /// Runs all chunks, last first.
    fn run(kernel: &dyn Kernel, args: &mut [&mut [f32]]) {
        let pointers: Vec<*mut f32> = args.iter_mut().map(|a| a.as_mut_ptr()).collect();
        for chunk in (0..kernel.chunks()).rev() {
            // SAFETY: the tests pass arrays of the documented sizes and available sets.
            unsafe { kernel.run(&pointers, chunk, std::ptr::null_mut()) };
        }
    }

    fn ints(words: &[f32]) -> Vec<i32> {
        words.iter().map(|w| w.to_bits() as i32).collect()
    }

    /// Five steps on packed slots: the bits of unpacking, the usual kernel, and packing.
    fn check(isa: Isa, rule: Rule, slots: SlotType, len: usize) {
        let update = Update { rule, decay: WeightDecay::L2(0.01), clip_value: None, rate: 1.0 };
        let (plain, kernel) =
            (Optimize::new(isa, update, len), OptimizePacked::new(isa, update, slots, 3, len));
        let value = |i: usize| (i as f32 * 0.37).sin() * (i % 17) as f32;
        let mut w: Vec<f32> = (0..len).map(value).collect();
        let mut expected = w.clone();
        // a canary behind each slot
        let mut words = vec![vec![0.0f32; slots.words(len) + 1]; 3];
        words.iter_mut().for_each(|w| *w.last_mut().unwrap() = 7.0);
        for step in 1..=5u32 {
            let mut g: Vec<f32> = (0..len).map(|i| value(i + step as usize) * 0.1).collect();
            let mut hyper = [0.01, 0.5, 0.3, 1.0, step as f32, 0.0, 0.0, 0.0];
            let code = |slot| rule.slot_code(slot).unwrap_or(SIGNED);
            let unpacked = |slot: usize| {
                packed::unpack(slots, code(slot), len, &ints(&words[slot][..slots.words(len)]))
            };
            let mut s: Vec<Vec<f32>> = (0..3).map(unpacked).collect();
            let [a, b, c] = &mut words[..] else { unreachable!() };
            run(&kernel, &mut [&mut g, &mut w, a, b, c, &mut hyper]);
            let [s0, s1, s2] = &mut s[..] else { unreachable!() };
            run(&plain, &mut [&mut g, &mut expected, s0, s1, s2, &mut hyper]);
            assert_eq!(w, expected, "{isa:?} {rule:?} {slots:?} {len} step {step}");
            let (counter, key) = packed::stream(3, step);
            for (slot, values) in s.iter().enumerate().take(rule.num_slots()) {
                let random = |i: usize| {
                    let words = philox4x32([i as u32 / 4, 0, counter[0], counter[1]], key);
                    packed::random_bits(words[i % 4], slot)
                };
                let expected = packed::pack(slots, code(slot), values, random);
                let found = ints(&words[slot]);
                assert_eq!(
                    found[..expected.len()],
                    expected,
                    "{isa:?} {rule:?} {slots:?} slot {slot}"
                );
                assert_eq!(words[slot].last(), Some(&7.0), "written behind the slot");
            }
        }
    }

    #[test]
    fn packed_slots_are_those_of_the_plain_kernel() {
        let rules = [
            Rule::Momentum { momentum: 0.9, nesterov: true },
            Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
            Rule::Lion { beta1: 0.95, beta2: 0.98 },
            Rule::RmsProp {
                rho: 0.9,
                epsilon: 1e-4,
                momentum: 0.8,
                centered: true,
                corrected: false,
                lazy: false,
            },
        ];
        for isa in Isa::available() {
            for rule in rules {
                for slots in [SlotType::Bf16, SlotType::Bits8] {
                    for len in [1, 255, 256, 4099, CHUNK + 300] {
                        check(isa, rule, slots, len);
                    }
                }
            }
        }
    }
}
