//! Embedding: rows of a table by ids, and the gradient's scatter.

use crate::call::{chunk_range, chunks_for};
use crate::eltwise::add_fn;
use crate::isa::Isa;
use crate::kernel::Kernel;

/// Rows of a table. Arguments: `table[rows, cols], ids i32[len], y[len, cols]`. An id outside the
/// table gives a row of NaN.
pub struct Embedding {
    rows: usize,
    cols: usize,
    len: usize,
    chunks: usize,
}

impl Embedding {
    /// Takes `len` rows.
    pub fn new(rows: usize, cols: usize, len: usize) -> Embedding {
        Embedding { rows, cols, len, chunks: chunks_for(len, 5.0 + 0.1 * cols as f64) }
    }
}

impl Kernel for Embedding {
    fn chunks(&self) -> usize {
        self.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let (table, ids, y) = (args[0].cast_const(), args[1].cast::<i32>(), args[2]);
        let (start, end) = chunk_range(self.len, self.chunks, 1, chunk);
        for i in start..end {
            // SAFETY: i is below `len`; a row is read after its id was checked only.
            unsafe {
                let y = y.add(i * self.cols);
                match usize::try_from(*ids.add(i)) {
                    Ok(id) if id < self.rows => {
                        std::ptr::copy_nonoverlapping(table.add(id * self.cols), y, self.cols);
                    }
                    _ => std::slice::from_raw_parts_mut(y, self.cols).fill(f32::NAN),
                }
            }
        }
    }
}

/// Gradient of [`Embedding`]. Arguments: `ids i32[len], dy[len, cols], dtable[rows, cols]`; ids
/// outside the table are left out.
///
/// A chunk owns a range of the table's rows and adds what belongs there in the order of ids: no
/// sort, no atomics, the same bits always.
pub struct EmbeddingGrad {
    rows: usize,
    cols: usize,
    len: usize,
    chunks: usize,
    add: unsafe fn(*const f32, *mut f32, usize),
}

impl EmbeddingGrad {
    /// Scatters `len` rows into a table.
    pub fn new(isa: Isa, rows: usize, cols: usize, len: usize) -> EmbeddingGrad {
        let work = 0.06 * (rows * cols) as f64 + len as f64 * (1.0 + 0.15 * cols as f64);
        // each chunk reads all ids: few chunks
        let chunks = chunks_for(rows, work / rows.max(1) as f64).min(8);
        EmbeddingGrad { rows, cols, len, chunks, add: add_fn(isa) }
    }
}

impl Kernel for EmbeddingGrad {
    fn chunks(&self) -> usize {
        self.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let (ids, dy, table) = (args[0].cast::<i32>(), args[1].cast_const(), args[2]);
        let (start, end) = chunk_range(self.rows, self.chunks, 1, chunk);
        let cols = self.cols;
        // SAFETY: rows start .. end lie inside the table; i is below `len`.
        unsafe {
            let own = table.add(start * cols);
            std::slice::from_raw_parts_mut(own, (end - start) * cols).fill(0.0);
            for i in 0..self.len {
                // a negative id becomes a huge row
                let row = (*ids.add(i) as u32 as usize).wrapping_sub(start);
                if row < end - start {
                    (self.add)(dy.add(i * cols), own.add(row * cols), cols);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, close, run_all};

    #[test]
    fn gathers_and_scatters() {
        let mut random = Random(11);
        for (rows, cols, len) in [(1, 1, 1), (5, 3, 20), (1000, 64, 3000), (20_000, 10, 50)] {
            let table = random.values(rows * cols);
            let mut ids: Vec<i32> = (0..len).map(|_| random.below(rows) as i32).collect();
            if len > 10 {
                ids[3] = -1;
                ids[7] = rows as i32;
                ids[9] = i32::MIN;
            }
            let stored: Vec<f32> = ids.iter().map(|&i| f32::from_bits(i as u32)).collect();
            let mut args = vec![table.clone(), stored.clone(), vec![0.0; len * cols]];
            run_all(&[&Embedding::new(rows, cols, len)], &mut args);
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
                run_all(&[&EmbeddingGrad::new(isa, rows, cols, len)], &mut args);
                close(&args[2], &dtable, 1e-5, "dtable");
            }
        }
    }
}
