//! Embedding: rows of a table by ids, the gradient's scatter, and the update of those rows alone.

use crate::call::{chunk_range, chunks_for};
use crate::eltwise::add_fn;
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::optimizer::{Coefficients, Update, UpdateBlock, UpdateFn, update_fn};
use crate::simd::prefetch;
use tidemill_graph::Lookup;

/// The ids of a call, as [`Lookup`] says.
#[derive(Clone, Copy, Debug)]
struct Ids {
    len: usize,
    float: bool,
    bag: usize,
}

impl Ids {
    fn new(lookup: &Lookup) -> Ids {
        Ids { len: lookup.len, float: lookup.float, bag: lookup.bag }
    }

    /// The row of id `i`; one that no table has where it is negative or no whole number.
    ///
    /// # Safety
    /// `i` is below `len`, and `ids` has so many ids.
    unsafe fn row(self, ids: *const f32, i: usize) -> usize {
        // SAFETY: by this function's contract.
        unsafe {
            if self.float {
                let id = *ids.add(i);
                let whole = id as i64; // not `fract`, which is a call
                if whole >= 0 && whole as f32 == id { whole as usize } else { usize::MAX }
            } else {
                usize::try_from(*ids.cast::<i32>().add(i)).unwrap_or(usize::MAX)
            }
        }
    }

    /// Whether an id stands for a row.
    fn counts(self, id: usize) -> bool {
        self.bag == 0 || id > 0
    }

    /// The row of the output that id `i` went into.
    fn output(self, i: usize) -> usize {
        i.checked_div(self.bag).unwrap_or(i)
    }
}

/// Rows of a table, or the sums of those of a bag. Arguments: `table[rows, cols], ids[len],
/// y[len, cols]`, or `y[len / bag, cols]`. An id outside the table gives a row of NaN.
pub struct Embedding {
    ids: Ids,
    rows: usize,
    cols: usize,
    chunks: usize,
    add: AddFn,
}

impl Embedding {
    /// Takes a row for each id, or the sum for each bag.
    pub fn new(isa: Isa, lookup: &Lookup) -> Embedding {
        let (ids, rows, cols) = (Ids::new(lookup), lookup.rows, lookup.cols);
        let each = ids.bag.max(1);
        let chunks = chunks_for(ids.len / each, each as f64 * (5.0 + 0.1 * cols as f64));
        Embedding { ids, rows, cols, chunks, add: add_fn(isa) }
    }

    /// # Safety
    /// As for `run`, and `i` is a bag.
    unsafe fn sum(&self, table: *const f32, ids: *const f32, y: *mut f32, i: usize) {
        // SAFETY: the bag's ids lie below `len`; a row is read after its id was checked only.
        unsafe {
            let y = y.add(i * self.cols);
            std::slice::from_raw_parts_mut(y, self.cols).fill(0.0);
            let bag = i * self.ids.bag..(i + 1) * self.ids.bag;
            for id in bag.clone() {
                // where that may be: nothing is read
                let row = self.ids.row(ids, id);
                if row != 0 {
                    prefetch(table.wrapping_add(row.wrapping_mul(self.cols)));
                }
            }
            for id in bag {
                match self.ids.row(ids, id) {
                    0 => {}
                    row if row < self.rows => (self.add)(table.add(row * self.cols), y, self.cols),
                    _ => std::slice::from_raw_parts_mut(y, self.cols).fill(f32::NAN),
                }
            }
        }
    }
}

impl Kernel for Embedding {
    fn chunks(&self) -> usize {
        self.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let (table, ids, y) = (args[0].cast_const(), args[1].cast_const(), args[2]);
        let (start, end) = chunk_range(self.ids.len / self.ids.bag.max(1), self.chunks, 1, chunk);
        for i in start..end {
            if self.ids.bag > 0 {
                // SAFETY: i is below the number of bags.
                unsafe { self.sum(table, ids, y, i) };
                continue;
            }
            // SAFETY: i is below `len`; a row is read after its id was checked only.
            unsafe {
                let y = y.add(i * self.cols);
                let row = self.ids.row(ids, i);
                if row < self.rows {
                    std::ptr::copy_nonoverlapping(table.add(row * self.cols), y, self.cols);
                } else {
                    std::slice::from_raw_parts_mut(y, self.cols).fill(f32::NAN);
                }
            }
        }
    }
}

type AddFn = unsafe fn(*const f32, *mut f32, usize);

/// Gradient of [`Embedding`]. Arguments: `ids[len], dy[len, cols]` or `dy[len / bag, cols]`,
/// `dtable[rows, cols]`; ids outside the table are left out.
///
/// A chunk owns a range of the table's rows and adds what belongs there in the order of ids: no
/// sort, no atomics, the same bits always.
pub struct EmbeddingGrad {
    ids: Ids,
    rows: usize,
    cols: usize,
    chunks: usize,
    add: AddFn,
}

impl EmbeddingGrad {
    /// Scatters a row for each id into a table.
    pub fn new(isa: Isa, lookup: &Lookup) -> EmbeddingGrad {
        let (ids, rows, cols) = (Ids::new(lookup), lookup.rows, lookup.cols);
        let work = 0.06 * (rows * cols) as f64 + ids.len as f64 * (1.0 + 0.15 * cols as f64);
        // each chunk reads all ids: few chunks
        let chunks = chunks_for(rows, work / rows.max(1) as f64).min(8);
        EmbeddingGrad { ids, rows, cols, chunks, add: add_fn(isa) }
    }
}

impl Kernel for EmbeddingGrad {
    fn chunks(&self) -> usize {
        self.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let (ids, dy, table) = (args[0].cast_const(), args[1].cast_const(), args[2]);
        let (start, end) = chunk_range(self.rows, self.chunks, 1, chunk);
        let cols = self.cols;
        // SAFETY: rows start .. end lie inside the table; i is below `len`.
        unsafe {
            let own = table.add(start * cols);
            std::slice::from_raw_parts_mut(own, (end - start) * cols).fill(0.0);
            for i in 0..self.ids.len {
                let id = self.ids.row(ids, i);
                let row = id.wrapping_sub(start);
                if row < end - start && self.ids.counts(id) {
                    (self.add)(dy.add(self.ids.output(i) * cols), own.add(row * cols), cols);
                }
            }
        }
    }
}

/// The gradient of [`Embedding`] and at once the update of those rows that occur, for rules that
/// leave everything as it is where the gradient is zero: the same bits as of [`EmbeddingGrad`] and
/// an update of the whole table, at a cost that does not depend on the table's size.
///
/// A chunk owns every `chunks`-th row, so that all have work to do where rows that occur often stand
/// together, as in a vocabulary by frequency.
///
/// Arguments: `ids[len], dy[len, cols]` or `dy[len / bag, cols]`, `hyper, table[rows, cols],
/// slots[rows, cols]...`.
pub struct EmbeddingUpdate {
    ids: Ids,
    rows: usize,
    cols: usize,
    chunks: usize,
    update: Update,
    slots: usize,
    run: UpdateFn,
    add: AddFn,
}

/// Bits of a key that are the id's place; the rest is its row.
const INDEX_BITS: u32 = 24;

impl EmbeddingUpdate {
    /// Updates the rows of a table that have ids.
    pub fn new(isa: Isa, lookup: &Lookup, update: Update) -> EmbeddingUpdate {
        let (ids, rows, cols) = (Ids::new(lookup), lookup.rows, lookup.cols);
        assert!(
            ids.len < 1 << INDEX_BITS && rows <= 1 << (64 - INDEX_BITS),
            "too many ids or rows"
        );
        let (slots, run) = (update.rule.num_slots(), update_fn(isa, &update));
        // Each chunk reads all ids: few chunks. A power of two, so that an id's chunk is cheap to find.
        let chunks = chunks_for(ids.len, 20.0 + 0.3 * cols as f64).min(8);
        let chunks = if chunks > 1 { chunks.next_power_of_two() } else { 1 };
        EmbeddingUpdate { ids, rows, cols, chunks, update, slots, run, add: add_fn(isa) }
    }
}

impl Kernel for EmbeddingUpdate {
    fn chunks(&self) -> usize {
        self.chunks
    }

    fn scratch_bytes(&self) -> usize {
        // a key for each id, then a row
        8 * self.ids.len + 4 * self.cols
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, scratch: *mut f32) {
        let (ids, dy, cols) = (args[0].cast_const(), args[1].cast_const(), self.cols);
        // SAFETY: i is below `len`; a row is inside the table and its slots, and of this chunk alone; the
        // scratch, which starts at a cache line, has room for the keys and a row; `hyper` holds the step's numbers.
        unsafe {
            let coefficients = Coefficients::new(&self.update, args[2]);
            let keys = scratch.cast::<u64>();
            let sum = scratch.add(2 * self.ids.len);
            let mut found = 0;
            for i in 0..self.ids.len {
                let row = self.ids.row(ids, i);
                let is_own = row & (self.chunks - 1) == chunk;
                if is_own && row < self.rows && self.ids.counts(row) {
                    keys.add(found).write((row as u64) << INDEX_BITS | i as u64);
                    for slot in &args[4..4 + self.slots] {
                        for line in (0..cols).step_by(16) {
                            prefetch(slot.wrapping_add(row * cols + line));
                        }
                    }
                    found += 1;
                }
            }
            // By row, and within one in the order of ids, in which the whole gradient is summed too.
            let keys = std::slice::from_raw_parts_mut(keys, found);
            keys.sort_unstable();
            for same in keys.chunk_by(|a, b| a >> INDEX_BITS == b >> INDEX_BITS) {
                let row = (same[0] >> INDEX_BITS) as usize;
                let dy = |key: &u64| {
                    let i = (key & ((1 << INDEX_BITS) - 1)) as usize;
                    dy.add(self.ids.output(i) * cols)
                };
                // Most rows occur once.
                let gradient = match same {
                    [key] => dy(key),
                    _ => {
                        std::slice::from_raw_parts_mut(sum, cols).fill(0.0);
                        same.iter().for_each(|key| (self.add)(dy(key), sum, cols));
                        sum.cast_const()
                    }
                };
                let slot = |k: usize| match k < self.slots {
                    true => args[4 + k].add(row * cols),
                    false => std::ptr::null_mut(),
                };
                let block = UpdateBlock {
                    rows: 1,
                    cols,
                    gradient,
                    gradient_stride: 0,
                    param: args[3].add(row * cols),
                    slots: [slot(0), slot(1), slot(2)],
                    stride: 0,
                };
                (self.run)(&coefficients, &block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizer::Optimize;
    use crate::testing::{Random, close, run_all};
    use tidemill_graph::update::{Rule, WeightDecay};

    /// Ids in memory as the kernels take them, some of them outside the table.
    fn stored(ids: &[i32], float: bool) -> Vec<f32> {
        let store = |&i: &i32| if float { i as f32 } else { f32::from_bits(i as u32) };
        ids.iter().map(store).collect()
    }

    fn ids(random: &mut Random, rows: usize, len: usize) -> Vec<i32> {
        let mut ids: Vec<i32> = (0..len).map(|_| random.below(rows) as i32).collect();
        if len > 10 {
            (ids[3], ids[7], ids[9]) = (-1, rows as i32, i32::MIN);
        }
        ids
    }

    #[test]
    fn gathers_and_scatters() {
        let mut random = Random(11);
        let shapes = [(1, 1, 1), (5, 3, 20), (1000, 64, 3000), (20_000, 10, 50)];
        for ((rows, cols, len), float) in shapes.into_iter().flat_map(|s| [(s, false), (s, true)]) {
            let table = random.values(rows * cols);
            let ids = ids(&mut random, rows, len);
            let stored = stored(&ids, float);
            let how = Lookup { rows, cols, len, float, bag: 0 };
            let mut args = vec![table.clone(), stored.clone(), vec![0.0; len * cols]];
            run_all(&[&Embedding::new(Isa::Portable, &how)], &mut args);
            let dy = random.values(len * cols);
            let mut dtable = vec![0.0; rows * cols];
            for (i, &id) in ids.iter().enumerate() {
                let y = &args[2][i * cols..][..cols];
                if id < 0 || id as usize >= rows {
                    assert!(y.iter().all(|v| v.is_nan()));
                    continue;
                }
                assert_eq!(y, &table[id as usize * cols..][..cols]);
                for c in 0..cols {
                    dtable[id as usize * cols + c] += f64::from(dy[i * cols + c]);
                }
            }
            for isa in Isa::available() {
                let mut args = vec![stored.clone(), dy.clone(), vec![f32::NAN; rows * cols]];
                run_all(&[&EmbeddingGrad::new(isa, &how)], &mut args);
                close(&args[2], &dtable, 1e-5, "dtable");
            }
        }
    }

    #[test]
    fn bags_are_sums_of_rows() {
        let mut random = Random(3);
        for (rows, cols, bags, tokens) in [(1, 1, 1, 1), (20, 33, 4, 7), (500, 32, 300, 64)] {
            let (table, len) = (random.values(rows * cols), bags * tokens);
            let ids: Vec<i32> = (0..len).map(|_| random.below(rows) as i32).collect();
            let mut y = vec![0.0f64; bags * cols];
            for (i, &id) in ids.iter().enumerate().filter(|&(_, &id)| id > 0) {
                for c in 0..cols {
                    y[i / tokens * cols + c] += f64::from(table[id as usize * cols + c]);
                }
            }
            for isa in Isa::available() {
                let how = Lookup { rows, cols, len, float: true, bag: tokens };
                let mut args = vec![table.clone(), stored(&ids, true), vec![f32::NAN; bags * cols]];
                run_all(&[&Embedding::new(isa, &how)], &mut args);
                close(&args[2], &y, 1e-5, "y");
            }
        }
        // An id that no table has makes its bag's sum NaN, and that of no other.
        let how = Lookup { rows: 2, cols: 1, len: 4, float: false, bag: 2 };
        let mut args = vec![vec![1.0, 2.0], stored(&[1, 2, 1, 0], false), vec![0.0; 2]];
        run_all(&[&Embedding::new(Isa::Portable, &how)], &mut args);
        assert!(args[2][0].is_nan() && args[2][1] == 2.0);
    }

    #[test]
    fn floats_that_are_no_ids_have_no_row() {
        let stored = [0.5, f32::NAN, f32::INFINITY, -1.0, 3e9, -0.0];
        let mut args = vec![vec![7.0, 8.0], stored.to_vec(), vec![0.0; 6]];
        let how = Lookup { rows: 2, cols: 1, len: 6, float: true, bag: 0 };
        run_all(&[&Embedding::new(Isa::Portable, &how)], &mut args);
        assert!(args[2][..5].iter().all(|v| v.is_nan()));
        assert_eq!(args[2][5], 7.0);
    }

    #[test]
    fn updating_rows_is_updating_the_table() {
        let mut random = Random(5);
        let lazy = Rule::RmsProp {
            rho: 0.999,
            epsilon: 1e-7,
            momentum: 0.0,
            centered: false,
            corrected: true,
            lazy: true,
        };
        let rules = [Rule::Sgd, Rule::Adagrad { epsilon: 1e-7, initial_accumulator: 0.1 }, lazy];
        // The last one is cut into chunks.
        let shapes: [[usize; 4]; 6] = [
            [1, 1, 1, 0],
            [40, 8, 12, 0],
            [100, 17, 30, 10],
            [3000, 16, 500, 0],
            [9, 32, 64, 64],
            [30_000, 20, 8000, 80],
        ];
        for [rows, cols, len, bag] in shapes {
            for (rule, clip_value) in rules.into_iter().flat_map(|r| [(r, None), (r, Some(0.5))]) {
                let update = Update { rule, decay: WeightDecay::None, clip_value, rate: 1.0 };
                let mut hyper = vec![0.0; 8];
                (hyper[0], hyper[1], hyper[2], hyper[3], hyper[4]) = (0.1, 1.0, 1.0, 1.0, 16.0);
                let outputs = len.checked_div(bag).unwrap_or(len);
                let (table, dy) = (random.values(rows * cols), random.values(outputs * cols));
                let stored = stored(&ids(&mut random, rows, len), true);
                let slot = vec![0.1; rows * cols];
                for isa in Isa::available() {
                    let how = Lookup { rows, cols, len, float: true, bag };
                    let gradient = vec![0.0; rows * cols];
                    let mut whole = vec![stored.clone(), dy.clone(), gradient];
                    run_all(&[&EmbeddingGrad::new(isa, &how)], &mut whole);
                    let gradient = whole.swap_remove(2);
                    let none = vec![0.0];
                    let mut whole = vec![
                        gradient,
                        table.clone(),
                        slot.clone(),
                        none.clone(),
                        none.clone(),
                        hyper.clone(),
                    ];
                    run_all(&[&Optimize::new(isa, update, rows * cols)], &mut whole);
                    let mut rows_alone = vec![
                        stored.clone(),
                        dy.clone(),
                        hyper.clone(),
                        table.clone(),
                        slot.clone(),
                    ];
                    let kernel = EmbeddingUpdate::new(isa, &how, update);
                    run_all(&[&kernel], &mut rows_alone);
                    assert_eq!(whole[1], rows_alone[3], "{isa:?} {rule:?}");
                    assert_eq!(whole[2], rows_alone[4], "{isa:?} {rule:?}");
                }
            }
        }
    }
}
