//! The gradients of attention.

use super::relative::Line;
use super::{Common, Head, QUERIES, Rows, even};
use crate::gemm::blocks::Panels;
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::optimizer::Coefficients;
use std::ops::Range;
use tidemill_graph::AttentionShape;

/// Gradients of attention. Arguments: `qkv, lengths, y, dy, [key], dqkv`, with biases
/// `qkv, lengths, bias, y, dy, [key], dqkv, the gradient of the biases by each sample`, or
/// `q, kv, lengths of q, lengths of kv, y, dy, [key], dq, dkv`; see [`tidemill_graph::Attention`].
pub struct AttentionGrad(Common);

/// The chunk's scratch memory.
struct Scratch {
    /// Packed transposed keys and values, packed keys.
    k: *mut f32,
    v: *mut f32,
    k_steps: *mut f32,
    /// Packed queries and gradients of the outputs of a block.
    q: *mut f32,
    dy: *mut f32,
    /// Sums of the gradients of keys and values.
    dk: Rows,
    dv: Rows,
    /// Weights, weights after dropout, slopes of the scores.
    p: Rows,
    kept: Rows,
    ds: Rows,
    inverse: *mut f32,
    words: *mut f32,
    /// Biases and their gradients by distance.
    biases: *mut f32,
    slopes: *mut f32,
}

/// A head's tensors.
#[derive(Clone, Copy)]
struct Tensors {
    q: Rows,
    y: Rows,
    dy: Rows,
    dq: Rows,
    k: Panels,
    v: Panels,
    k_steps: Panels,
    biases: Option<Line>,
    /// The gradients of the biases, where there are some.
    slopes: Option<Line>,
}

impl AttentionGrad {
    /// Of one sequence (`within`), or of another one.
    pub fn new(isa: Isa, shape: AttentionShape, within: bool) -> AttentionGrad {
        AttentionGrad(Common::new(isa, shape, within, 5.0))
    }

    /// Floats of the parts of the scratch memory.
    fn scratch(&self) -> [usize; 14] {
        let (shape, blocks) = (&self.0.shape, &self.0.blocks);
        let align = |n: usize| n.next_multiple_of(16);
        let by_dim = align(blocks.panels_len(shape.dim, shape.keys));
        let by_key = align(blocks.panels_len(shape.keys, shape.dim));
        let of_block = align(blocks.panels_len(QUERIES, shape.dim));
        let sums = align(shape.keys * shape.dim);
        let scores = QUERIES * self.0.scores_stride();
        let kept = if shape.heads.dropout > 0.0 { scores } else { 0 };
        let (line, words) = (self.0.line_len(), self.0.words());
        [
            by_dim, by_dim, by_key, of_block, of_block, sums, sums, scores, kept, scores, QUERIES,
            words, line, line,
        ]
    }

    fn parts(&self, scratch: *mut f32) -> Scratch {
        let mut at = scratch;
        let [k, v, k_steps, q, dy, dk, dv, p, kept, ds, inverse, words, biases, slopes] =
            self.scratch().map(|len| {
                let part = at;
                at = at.wrapping_add(len);
                part
            });
        let sums = |at| Rows { at, stride: self.0.shape.dim };
        let scores = |at| Rows { at, stride: self.0.scores_stride() };
        let kept = if self.0.shape.heads.dropout > 0.0 { kept } else { p };
        let (dk, dv) = (sums(dk), sums(dv));
        let [p, kept, ds] = [p, kept, ds].map(scores);
        Scratch { k, v, k_steps, q, dy, dk, dv, p, kept, ds, inverse, words, biases, slopes }
    }

    /// A block of queries of a head: their gradients, and what they add to those of keys and values.
    ///
    /// # Safety
    /// The tensors and the scratch are those of `run`.
    unsafe fn block(
        &self,
        block: Range<usize>,
        at: Head,
        t: &Tensors,
        s: &Scratch,
        key: *const f32,
        none: &Coefficients,
    ) {
        let a = &self.0;
        let dim = a.shape.dim;
        let scale = 1.0 / (dim as f32).sqrt();
        let local = |i: usize| i - block.start;
        // SAFETY: the block's queries exist, and its scores have room.
        unsafe {
            a.weigh(block.clone(), at, t.q, t.k, t.biases, s.p, s.inverse, none);
            let drop = a.dropout(key, at, s.words);
            let last = a.seen(&block, at);
            for (rows, seen) in a.strips(block.clone(), at) {
                let wide = seen.next_multiple_of(a.blocks.panel());
                let dy = (t.dy.row(rows.start).cast_const(), t.dy.stride);
                let ds = (s.ds.row(local(rows.start)), s.ds.stride);
                a.blocks.strip_product(false, [rows.len(), wide, dim], dy, t.v, ds, false, none);
                for i in rows.clone() {
                    let (p, ds) = (s.p.row(local(i)), s.ds.row(local(i)));
                    if let Some(drop) = &drop {
                        drop.draw(i, seen);
                        drop.row(ds, ds, seen);
                    }
                    let mean = (a.rows.dot)(t.y.row(i), t.dy.row(i), dim);
                    (a.rows.slope)(p, ds, [seen, last], [*s.inverse.add(local(i)), mean, scale]);
                    if let Some(slopes) = t.slopes {
                        (a.rows.add)(slopes.row(i), ds, a.shape.visible(i, at.queries, at.keys));
                    }
                    if let Some(drop) = &drop {
                        let kept = s.kept.row(local(i));
                        std::ptr::copy_nonoverlapping(p, kept, last);
                        drop.row(p, kept, seen);
                    }
                }
                let sizes = [rows.len(), dim, seen];
                let (ds, dq) = (ds.0.cast_const(), (t.dq.row(rows.start), t.dq.stride));
                let ds = (ds, s.ds.stride);
                a.blocks.strip_product(false, sizes, ds, t.k_steps, dq, false, none);
            }
            self.add_to_keys(block, at, t, s, none);
        }
    }

    /// Adds `ds' q` and `p' dy` of a block to the sums.
    ///
    /// # Safety
    /// As for `block`; weights and slopes of the block are there.
    unsafe fn add_to_keys(
        &self,
        block: Range<usize>,
        at: Head,
        t: &Tensors,
        s: &Scratch,
        none: &Coefficients,
    ) {
        let a = &self.0;
        let dim = a.shape.dim;
        let pack = |rows: Rows, to| {
            let first = rows.row(block.start).cast_const();
            // SAFETY: the block's rows exist, and `to` has room for them.
            unsafe { a.blocks.pack(first, rows.stride, (block.len(), dim), to) }
        };
        let (q, dy) = (pack(t.q, s.q), pack(t.dy, s.dy));
        for keys in even(0..a.seen(&block, at), a.blocks.strip()) {
            // Strips of queries before it read none of these keys.
            let from = a.strips(block.clone(), at).find(|(_, seen)| *seen > keys.start);
            let Some(from) = from.map(|(rows, _)| rows.start) else { continue };
            let sizes = [keys.len(), dim, block.end - from];
            for (weights, rows, sums) in [(s.ds, q, s.dk), (s.kept, dy, s.dv)] {
                let first = weights.row(from - block.start).wrapping_add(keys.start);
                let skipped = (from - block.start) * rows.step;
                let b = Panels { at: rows.at.wrapping_add(skipped), ..rows };
                let to = (sums.row(keys.start), sums.stride);
                // SAFETY: the queries from..block.end and the keys exist in all operands.
                unsafe {
                    let columns = (first.cast_const(), weights.stride);
                    a.blocks.strip_product(true, sizes, columns, b, to, true, none);
                }
            }
        }
    }
}

impl Kernel for AttentionGrad {
    fn chunks(&self) -> usize {
        self.0.chunks
    }

    fn scratch_bytes(&self) -> usize {
        4 * self.scratch().iter().sum::<usize>()
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32) {
        let a = &self.0;
        let (shape, heads) = (&a.shape, &a.shape.heads);
        let s = self.parts(scratch);
        let none = Coefficients::default();
        let of_keys = if a.within { args[0] } else { args[1] };
        let (y, dy, key) = (args[a.given()], args[a.given() + 1], args[a.given() + 2]);
        let out = a.given() + 2 + usize::from(heads.dropout > 0.0);
        let (to_queries, to_keys) = (args[out], if a.within { args[out] } else { args[out + 1] });
        let scale = (shape.dim as f32).sqrt();
        for pair in a.pairs(chunk) {
            let (sample, group) = (pair / heads.keys, pair % heads.keys);
            // SAFETY: the caller's arguments have the sizes of the shape, the scratch those of
            // `scratch`; lengths are at most the room for positions.
            unsafe {
                let [queries, keys] = a.lengths(args, sample);
                let [k, v] = a.keys(of_keys, sample, group);
                let (steps, dim) = ((shape.dim, keys), shape.dim);
                let k_steps = a.blocks.pack(k.at, k.stride, (keys, dim), s.k_steps);
                let k = a.blocks.pack_transposed(k.at, k.stride, steps, s.k);
                let v = a.blocks.pack_transposed(v.at, v.stride, steps, s.v);
                for sums in [s.dk, s.dv] {
                    std::slice::from_raw_parts_mut(sums.at, keys * dim).fill(0.0);
                }
                for head in a.group(group) {
                    let at = Head { sample, head, queries, keys };
                    let q = a.queries(args[0], sample, head);
                    let dq = a.queries(to_queries, sample, head);
                    let [y, dy] = [y, dy].map(|tensor| a.outputs(tensor, sample, head));
                    let biases = a.biases(args, head, s.biases);
                    let slopes = a.distances.as_ref().map(|d| d.zeros(s.slopes));
                    let tensors = Tensors { q, y, dy, dq, k, v, k_steps, biases, slopes };
                    for block in even(0..queries, QUERIES) {
                        self.block(block, at, &tensors, &s, key, &none);
                    }
                    if let (Some(d), Some(slopes)) = (&a.distances, slopes) {
                        let table = args[out + 1].wrapping_add(sample * d.table_len());
                        d.gather(slopes, head, scale, table);
                    }
                    for i in queries..shape.queries {
                        std::slice::from_raw_parts_mut(dq.row(i), dim).fill(0.0);
                    }
                }
                let [dk, dv] = a.keys(to_keys, sample, group);
                for (sums, to) in [(s.dk, dk), (s.dv, dv)] {
                    for j in 0..keys {
                        std::ptr::copy_nonoverlapping(sums.row(j), to.row(j), dim);
                    }
                    for j in keys..shape.keys {
                        std::slice::from_raw_parts_mut(to.row(j), dim).fill(0.0);
                    }
                }
            }
        }
    }
}
