//! How a product is blocked and cut into chunks: from its shape alone, so that the order of
//! every sum is the same on any number of threads.

use super::tile::MAX_VECTORS;
use super::{Blocking, GemmDesc};

/// A choice.
pub(super) struct Grid {
    pub blocking: Blocking,
    /// Products of a batch in one chunk.
    pub batch_group: usize,
}

/// Work of a chunk that is worth a thread: about 4 us at 100 GFLOP/s.
const CHUNK_FLOPS: f64 = 4e5;

/// Floats of a block of B: half a megabyte.
const BLOCK_FLOATS: usize = 128 * 1024;

/// Chooses for tiles of at most `max_rows` rows.
pub(super) fn choose(d: &GemmDesc, max_rows: usize, lanes: usize) -> Grid {
    let panel = MAX_VECTORS * lanes;
    let flops = 2.0 * d.m as f64 * d.n as f64 * d.k as f64;
    // Measured on Zen 4: packing B costs 3 % at 128 rows and pays where a panel is read often and
    // is not in the L1 cache; packing A, where its rows are read one after the other, was never faster.
    let often = d.transpose_b || d.m >= 192 || (d.m >= 64 && d.k * d.n > 384 * 1024);
    // decides the bits of the sums
    let kc = if often || d.by_row { d.k.div_ceil(d.k.div_ceil(1024).max(1)) } else { d.k }.max(1);
    // Measured on Zen 3 (not on AVX-512, whose strips read most of a line): a strip of A transposed is a
    // line for each step, at a stride that leaves few sets of a cache to most of them; B as well.
    // Steps that count are put together by packing.
    let ragged_steps = d.time > 0 && d.transpose_a;
    let far = (512..=4096).contains(&kc) && d.n >= 64 && lanes < 16;
    let pack_a = d.transpose_a && (far || ragged_steps);
    let pack_b = often || ragged_steps || (pack_a && d.m >= 64 && d.n >= 256);
    // a block of B stays in the L2 cache while the rows of A pass
    let nc = (BLOCK_FLOATS / kc / panel).max(1) * panel;
    let batch_group = ((CHUNK_FLOPS / flops.max(1.0)) as usize).clamp(1, d.batch.max(1));
    let batch_chunks = d.batch.div_ceil(batch_group).max(1);
    let most = ((flops / CHUNK_FLOPS) as usize).clamp(1, 16usize.div_ceil(batch_chunks));
    // packing a panel takes as long as this many rows of a tile
    let pack_rows = match (d.transpose_b, pack_b) {
        (true, _) => 4.5,
        // Measured on Zen 3: long reductions read operands that no cache holds.
        (false, true) if pack_a => 32.0,
        (false, true) => 2.0,
        (false, false) => 0.0,
    };
    let pack_strip = if pack_a { 6.0 } else { 0.0 };
    // and looking for zeros, once for all panels, as this many
    let look_rows = pack_strip
        + match (d.transpose_a, lanes) {
            (false, 16) => 0.6,
            (false, _) => 1.5,
            (true, 16) => 1.75,
            (true, _) => 3.5,
        };
    let (row_chunks, col_chunks) = cut(d, max_rows, panel, most, pack_rows, look_rows);
    let blocking = Blocking { pack_a, pack_b, kc, mc: 12 * max_rows, nc, row_chunks, col_chunks };
    Grid { blocking, batch_group }
}

/// Bytes of a chunk that is worth a thread, where a product is bound by memory.
const CHUNK_BYTES: usize = 400 * 1024;

/// Chooses for the products in `thin`: weights are cut by columns, parameters by rows.
pub(super) fn choose_thin(d: &GemmDesc) -> Grid {
    let floats = match &d.epilogue.update {
        Some(update) => 2 * d.m * d.n * (1 + update.rule.num_slots()),
        None => d.k * d.n,
    };
    let batch_group = (CHUNK_BYTES / (4 * floats).max(1)).clamp(1, d.batch.max(1));
    let batch_chunks = d.batch.div_ceil(batch_group).max(1);
    let chunks = (4 * floats / CHUNK_BYTES).clamp(1, 16usize.div_ceil(batch_chunks));
    let (row_chunks, col_chunks) = match d.epilogue.update {
        Some(_) => (chunks.min(d.m.max(1)), 1),
        // eight vectors of AVX-512 or more: short strips read the weights badly
        None => (1, chunks.min(d.n.div_ceil(128)).max(1)),
    };
    let blocking = Blocking {
        pack_a: false,
        pack_b: false,
        kc: d.k.max(1),
        mc: d.m.max(1),
        nc: d.n.max(1),
        row_chunks,
        col_chunks,
    };
    Grid { blocking, batch_group }
}

/// The numbers of chunks along rows and columns, `most` at most in all, that finish soonest,
/// weighed over 1, 2, 4 and 8 threads.
fn cut(
    d: &GemmDesc,
    max_rows: usize,
    panel: usize,
    most: usize,
    pack_rows: f64,
    look_rows: f64,
) -> (usize, usize) {
    let panels = d.n.div_ceil(panel).max(1);
    let mut best = (f64::INFINITY, (1, 1));
    for rows in 1..=most.min(d.m.div_ceil(4).max(1)) {
        for cols in 1..=(most / rows).min(panels) {
            // a chunk's time in row steps: short tiles cost as much as half-full ones
            let high = d.m.div_ceil(rows);
            let tiles = high.div_ceil(max_rows);
            let tile = (high as f64 / tiles as f64).max(max_rows as f64 / 2.0) + 1.0;
            let chunk = (tile * tiles as f64 + pack_rows) * panels.div_ceil(cols) as f64
                + look_rows * tiles as f64;
            let count = rows * cols;
            let score: f64 = [(1, 1.0), (2, 1.0), (4, 0.5), (8, 0.25)]
                .into_iter()
                .map(|(threads, weight)| {
                    weight * (count.div_ceil(threads) * threads) as f64 * chunk
                })
                .sum();
            // fewer chunks where the difference is small
            let score = score * (1.0 + 0.002 * count as f64);
            if score < best.0 {
                best = (score, (rows, cols));
            }
        }
    }
    best.1
}
