//! The outputs of attention.

use super::{Common, Head, QUERIES, Rows, even};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::optimizer::Coefficients;
use tidemill_graph::AttentionShape;

/// Attention. Arguments: `qkv, lengths, [bias], [key], y`, or `q, kv, lengths of q, lengths of kv, [key], y`; see
/// [`tidemill_graph::Attention`].
pub struct Attention(Common);

impl Attention {
    /// Of one sequence (`within`), or of another one.
    pub fn new(isa: Isa, shape: AttentionShape, within: bool) -> Attention {
        Attention(Common::new(isa, shape, within, 2.0))
    }

    /// Floats of packed keys, packed values, scores, sums, random words and biases.
    fn scratch(&self) -> [usize; 6] {
        let (shape, blocks) = (&self.0.shape, &self.0.blocks);
        let align = |n: usize| n.next_multiple_of(16);
        [
            align(blocks.panels_len(shape.dim, shape.keys)),
            align(blocks.panels_len(shape.keys, shape.dim)),
            QUERIES * self.0.scores_stride(),
            QUERIES,
            self.0.words(),
            self.0.line_len(),
        ]
    }
}

impl Kernel for Attention {
    fn chunks(&self) -> usize {
        self.0.chunks
    }

    fn scratch_bytes(&self) -> usize {
        4 * self.scratch().iter().sum::<usize>()
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32) {
        let a = &self.0;
        let (shape, heads) = (&a.shape, &a.shape.heads);
        let [len_k, len_v, len_scores, len_inverse, len_words, _] = self.scratch();
        let (packed_k, packed_v) = (scratch, scratch.wrapping_add(len_k));
        let scores = Rows { at: packed_v.wrapping_add(len_v), stride: a.scores_stride() };
        let inverse = scores.at.wrapping_add(len_scores);
        let words = inverse.wrapping_add(len_inverse);
        let line = words.wrapping_add(len_words);
        let none = Coefficients::default();
        let of_keys = if a.within { args[0] } else { args[1] };
        let y = args[a.given() + usize::from(heads.dropout > 0.0)];
        for pair in a.pairs(chunk) {
            let (sample, group) = (pair / heads.keys, pair % heads.keys);
            // SAFETY: the caller's arguments have the sizes of the shape, the scratch those of
            // `scratch`; lengths are at most the room for positions.
            unsafe {
                let [queries, keys] = a.lengths(args, sample);
                let [k, v] = a.keys(of_keys, sample, group);
                let k = a.blocks.pack_transposed(k.at, k.stride, (shape.dim, keys), packed_k);
                let v = a.blocks.pack(v.at, v.stride, (keys, shape.dim), packed_v);
                for head in a.group(group) {
                    let at = Head { sample, head, queries, keys };
                    let (q, y) = (a.queries(args[0], sample, head), a.outputs(y, sample, head));
                    let drop = a.dropout(args[a.given()], at, words);
                    let biases = a.biases(args, head, line);
                    for block in even(0..queries, QUERIES) {
                        a.weigh(block.clone(), at, q, k, biases, scores, inverse, &none);
                        for (rows, seen) in a.strips(block.clone(), at) {
                            if let Some(drop) = &drop {
                                for i in rows.clone() {
                                    let row = scores.row(i - block.start);
                                    drop.draw(i, seen);
                                    drop.row(row, row, seen);
                                }
                            }
                            let p =
                                (scores.row(rows.start - block.start).cast_const(), scores.stride);
                            let to = (y.row(rows.start), y.stride);
                            let sizes = [rows.len(), shape.dim, seen];
                            a.blocks.strip_product(false, sizes, p, v, to, false, &none);
                            for i in rows {
                                let by = *inverse.add(i - block.start);
                                (a.rows.scale)(y.row(i), shape.dim, by);
                            }
                        }
                    }
                    for i in queries..shape.queries {
                        std::slice::from_raw_parts_mut(y.row(i), shape.dim).fill(0.0);
                    }
                }
            }
        }
    }
}
