//! Rows whose heads are turned by their positions: [`tidemill_graph::Rotary`].
//!
//! Cosines and sines come from a table, made in f64 once for all calls that turn alike. A row is computed from itself and its position,
//! so that its bits depend on no other row.

use crate::call::{chunk_range, chunks_for};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::rows::row_ns;
use crate::simd::{Simd, load_n, store_n};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tidemill_graph::Rotary;

/// `dim / 2` cosines, then as many sines, for each position.
struct Table {
    dim: usize,
    base: f64,
    room: usize,
    values: Vec<f32>,
}

/// The tables in use.
static TABLES: Mutex<Vec<Weak<Table>>> = Mutex::new(Vec::new());

impl Table {
    /// One that has so many positions; a longer one has the same rows.
    fn of(rotary: &Rotary, room: usize) -> Arc<Table> {
        let mut known = TABLES.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|table| table.strong_count() > 0);
        let fits = |table: &Arc<Table>| {
            table.dim == rotary.dim && table.base == rotary.base && table.room >= room
        };
        if let Some(table) = known.iter().filter_map(Weak::upgrade).find(fits) {
            return table;
        }
        let half = rotary.dim / 2;
        let mut values = Vec::with_capacity(room * rotary.dim);
        for position in 0..room {
            values.extend((0..half).map(|i| rotary.angle(position, i).cos() as f32));
            values.extend((0..half).map(|i| rotary.angle(position, i).sin() as f32));
        }
        let table = Arc::new(Table { dim: rotary.dim, base: rotary.base, room, values });
        known.push(Arc::downgrade(&table));
        table
    }
}

/// Turns `heads` heads of `2 half` values from x to y by the cosines and sines of a position; x and y may be one row.
type RowFn = unsafe fn(
    x: *const f32,
    y: *mut f32,
    table: *const f32,
    heads: usize,
    half: usize,
    inverse: bool,
);

#[inline(always)]
unsafe fn turn<S: Simd>(
    x: *const f32,
    y: *mut f32,
    table: *const f32,
    heads: usize,
    half: usize,
    inverse: bool,
) {
    // SAFETY: by the contract of the kernel below, with x and y apart or the same.
    unsafe {
        let sign = S::splat(if inverse { -1.0 } else { 1.0 });
        for i in (0..half).step_by(S::LANES) {
            let n = half - i;
            let cos = load_n::<S>(table.add(i), n);
            let sin = S::mul(load_n::<S>(table.add(half + i), n), sign);
            let minus = S::sub(S::splat(0.0), sin);
            for head in 0..heads {
                let at = 2 * half * head + i;
                let (a, b) = (load_n::<S>(x.add(at), n), load_n::<S>(x.add(at + half), n));
                store_n::<S>(y.add(at), S::fma(a, cos, S::mul(b, minus)), n);
                store_n::<S>(y.add(at + half), S::fma(b, cos, S::mul(a, sin)), n);
            }
        }
    }
}
kernel!(fn turn_on(
    x: *const f32, y: *mut f32, table: *const f32, heads: usize, half: usize, inverse: bool
) = turn;);

/// Turned rows. Arguments: `x, [positions], y`; y may be x.
pub struct Rotate {
    rotary: Rotary,
    rows: usize,
    time: usize,
    width: usize,
    table: Arc<Table>,
    chunks: usize,
    row: RowFn,
}

impl Rotate {
    /// Of so many rows, of which so many are a sample's, of so many values.
    pub fn new(isa: Isa, rotary: Rotary, [rows, time, width]: [usize; 3]) -> Rotate {
        Rotate {
            rotary,
            rows,
            time,
            width,
            table: Table::of(&rotary, rotary.room.unwrap_or(time)),
            chunks: chunks_for(rows, row_ns(width, 0.15)),
            row: turn_on(isa),
        }
    }
}

impl Kernel for Rotate {
    fn chunks(&self) -> usize {
        self.chunks
    }

    unsafe fn run(&self, args: &[*mut f32], chunk: usize, _scratch: *mut f32) {
        let Rotary { heads, dim, room, inverse, .. } = self.rotary;
        let (start, end) = chunk_range(self.rows, self.chunks, 1, chunk);
        let y = args[1 + usize::from(room.is_some())];
        for r in start..end {
            let (x, y) = (args[0].wrapping_add(r * self.width), y.wrapping_add(r * self.width));
            // SAFETY: the arguments have the sizes of the shape; the table has a row for each position below its room.
            unsafe {
                let position = match room {
                    None => Some(r % self.time),
                    Some(room) => {
                        let given = *args[1].cast::<i32>().add(r);
                        usize::try_from(given).ok().filter(|&position| position < room)
                    }
                };
                let Some(position) = position else {
                    std::slice::from_raw_parts_mut(y, self.width).fill(f32::NAN);
                    continue;
                };
                let table = self.table.values.as_ptr().add(position * dim);
                (self.row)(x, y, table, heads, dim / 2, inverse);
                if x != y {
                    let rest = heads * dim;
                    std::ptr::copy_nonoverlapping(x.add(rest), y.add(rest), self.width - rest);
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::Case;
    use tidemill_graph::Unary;

    fn rotary(heads: usize, dim: usize) -> Rotary {
        Rotary { heads, dim, base: 10_000.0, room: None, inverse: false }
    }

    /// Where it is the only reader of what another op makes, it writes over that.
    fn turned(rotary: Rotary, [batch, time, width]: [usize; 3], positions: Option<Vec<i32>>) {
        for over in [false, true] {
            let mut case = Case::new();
            let given = case.floats(&[batch, time, width]);
            let x = if over {
                case.apply(Unary::Affine { scale: 2.0, shift: 1.0 }, &[given])
            } else {
                given
            };
            let what = format!("{rotary:?} {batch} {time} {width} {over}");
            let positions = positions.clone().map(|p| case.ints(&[batch, time], p));
            let inputs: Vec<_> = [x].into_iter().chain(positions).collect();
            let y = case.apply(rotary, &inputs);
            case.check(&what, y, &[given]);
        }
    }

    #[test]
    fn against_the_reference() {
        turned(rotary(1, 2), [1, 1, 2], None);
        turned(rotary(3, 6), [2, 5, 20], None);
        turned(rotary(4, 64), [3, 70, 6 * 64], None);
        turned(Rotary { base: 500.0, ..rotary(2, 40) }, [1, 300, 81], None);
        turned(Rotary { inverse: true, ..rotary(2, 32) }, [2, 9, 96], None);
        let positions = (0..40).map(|i| i * 37 % 1001).collect();
        turned(Rotary { room: Some(1001), ..rotary(2, 34) }, [4, 10, 102], Some(positions));
    }

    #[test]
    fn equal_rows_turn_alike_and_beyond_the_room_is_nan() {
        use crate::runtime::{Input, Runtime};
        use tidemill_graph::{DType, Graph};
        let mut graph = Graph::new();
        let x = graph.input("x", &[3, 4, 6], DType::F32);
        let positions = graph.input("positions", &[3, 4], DType::I32);
        let own = graph.apply(rotary(1, 4), &[x]).unwrap();
        let given = Rotary { room: Some(4), ..rotary(1, 4) };
        let given = graph.apply(given, &[x, positions]).unwrap();
        graph.output("own", own);
        graph.output("given", given);
        let values: Vec<f32> = (0..72).map(|i| i as f32 / 7.0).collect();
        for isa in Isa::available() {
            let mut runtime = Runtime::new(isa, 1, &graph);
            let plan = runtime.add(&graph, Default::default()).unwrap();
            let positions = [0, 1, 2, 3, 0, 1, 2, 3, 4, -1, i32::MAX, i32::MIN];
            runtime.run(plan, &[Input::F32(&values), Input::I32(&positions)]).unwrap();
            let own = runtime.output(plan, "own").unwrap().to_vec();
            let given = runtime.output(plan, "given").unwrap();
            assert_eq!(own[..48], given[..48], "{isa:?}");
            assert!(given[48..].iter().all(|y| y.is_nan()), "{isa:?}");
        }
    }

    #[test]
    fn calls_that_turn_alike_share_a_table() {
        let of = |base, room| Table::of(&Rotary { base, ..rotary(1, 10) }, room);
        let long = of(77.0, 9);
        assert!(Arc::ptr_eq(&long, &of(77.0, 5)));
        assert!(!Arc::ptr_eq(&long, &of(78.0, 5)) && !Arc::ptr_eq(&long, &of(77.0, 10)));
    }
}
