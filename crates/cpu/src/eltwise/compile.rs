//! From a program to a kernel: its matrix, what its steps need, and the hand-written loop if there is
//! one for it; `blocks` compiles all other programs.

use super::sums::{self, Partial};
use super::{Body, Eltwise, Fill, Finish, Fused, Place, blocks, fused};
use crate::call::chunks_for;
use crate::isa::Isa;
use tidemill_plan::eltwise::{Program, Sink, Spread, Step};

/// Time of a memory stream and of a sum, in nanoseconds per value.
pub(super) const STREAM_NS: f64 = 0.06;
pub(super) const SUM_NS: f64 = 0.03;

/// The matrix as it is run.
pub(super) struct Form {
    pub rows: usize,
    pub cols: usize,
    pub inputs: Vec<Spread>,
    pub outputs: Vec<(usize, Sink, f32)>,
}

/// Drops the distinction of rows and columns where there is one of either, or where nothing
/// depends on it: then the matrix is one long column.
fn regroup(program: &Program) -> Form {
    let (rows, cols) = (program.rows, program.cols);
    let spread = |s: Spread| match s {
        Spread::Row if rows == 1 => Spread::Full,
        Spread::Column if rows == 1 => Spread::Scalar,
        Spread::Row if cols == 1 => Spread::Scalar,
        Spread::Column if cols == 1 => Spread::Full,
        other => other,
    };
    let sink = |s: Sink| match s {
        Sink::ColumnSums if rows == 1 => Sink::Full,
        Sink::RowSums if rows == 1 => Sink::Total,
        Sink::ColumnSums if cols == 1 => Sink::Total,
        Sink::RowSums if cols == 1 => Sink::Full,
        other => other,
    };
    let inputs: Vec<Spread> = program.inputs.iter().map(|&s| spread(s)).collect();
    let outputs: Vec<_> = program.outputs.iter().map(|&(v, s, f)| (v, sink(s), f)).collect();
    let flat = inputs.iter().all(|s| matches!(s, Spread::Full | Spread::Scalar))
        && outputs.iter().all(|(_, s, _)| matches!(s, Sink::Full | Sink::Total));
    let (rows, cols) = if flat { (rows * cols, 1) } else { (rows, cols) };
    Form { rows, cols, inputs, outputs }
}

/// The steps that a step reads.
pub(super) fn operands(step: &Step) -> Vec<usize> {
    match *step {
        Step::Input(_) | Step::Constant(_) => vec![],
        Step::Unary(_, a) | Step::Dropout { a, .. } => vec![a],
        Step::UnaryGrad(_, a, b) | Step::Binary(_, a, b) => vec![a, b],
        Step::PairLossGrad(_, a, b, c) | Step::MulAdd(a, b, c) => vec![a, b, c],
    }
}

/// What the program's steps need, before any size is known.
pub(super) struct Liveness {
    /// Whether a step is used at all.
    pub needed: Vec<bool>,
    /// The last step that reads a value; `usize::MAX` where it is stored at the block's end.
    pub last_use: Vec<usize>,
    /// The output that a step's loop writes by itself.
    pub direct: Vec<Option<usize>>,
}

pub(super) fn liveness(program: &Program, form: &Form) -> Liveness {
    let n = program.steps.len();
    let is_input = |v: usize| matches!(program.steps[v], Step::Input(_));
    let is_full =
        |v: usize| matches!(program.steps[v], Step::Input(i) if form.inputs[i] == Spread::Full);
    let mut needed = vec![false; n];
    for &(v, ..) in &form.outputs {
        needed[v] = true;
    }
    let mut last_use: Vec<usize> = (0..n).collect();
    // outputs may lie on inputs: none may be written while an input is still to be read
    let mut last_full_read = 0;
    for i in (0..n).rev() {
        if !needed[i] {
            continue;
        }
        for v in operands(&program.steps[i]) {
            needed[v] = true;
            last_use[v] = last_use[v].max(i);
            if is_full(v) {
                last_full_read = last_full_read.max(i);
            }
        }
    }
    for &(v, ..) in &form.outputs {
        if is_full(v) {
            last_full_read = last_full_read.max(v);
        }
    }
    let mut direct = vec![None; n];
    for (o, &(v, sink, factor)) in form.outputs.iter().enumerate() {
        if sink != Sink::Full {
            continue;
        }
        let computed = !is_input(v) && !matches!(program.steps[v], Step::Constant(_));
        if computed && factor == 1.0 && v >= last_full_read && direct[v].is_none() {
            direct[v] = Some(o);
        } else {
            last_use[v] = usize::MAX;
        }
    }
    Liveness { needed, last_use, direct }
}

pub(super) fn compile(isa: Isa, program: &Program) -> Eltwise {
    let form = regroup(program);
    if let Some(found) = fused::search(isa, &program.steps, &form.inputs, &form.outputs)
        && form.cols <= FUSED_COLS
    {
        return compile_fused(isa, program, &form, &found);
    }
    blocks::compile(isa, program, form)
}

/// A tile's columns and sums must stay in L1.
const FUSED_COLS: usize = 2048;
/// Values of a tile where rows are short.
const TILE: usize = 256;

/// The kernel of a program that the table has.
fn compile_fused(isa: Isa, program: &Program, form: &Form, found: &fused::Match) -> Eltwise {
    let first_output = program.inputs.len();
    let tile_rows = rows_of(form, TILE);
    let tile_len = tile_rows * form.cols;
    let array_len = tile_len.next_multiple_of(16);
    let mut prepare = Vec::new();
    let mut finish = Vec::new();
    let mut partials = Vec::new();
    let (mut scratch_len, mut partial_len) = (0, 0);
    let mut row = Vec::new();
    for &arg in &found.row {
        row.push(if tile_rows == 1 {
            Place::Row(arg)
        } else {
            prepare.push(Fill::Row { arg, to: scratch_len });
            scratch_len += array_len;
            Place::Scratch(scratch_len - array_len)
        });
    }
    let mut sums = Vec::new();
    for &o in &found.sums {
        let (arg, factor, at) = (first_output + o, form.outputs[o].2, partial_len);
        sums.push(scratch_len);
        prepare.push(Fill::Zero { to: scratch_len, len: array_len });
        finish.push(Finish::ColumnSums { from: scratch_len, arg, at, factor });
        partials.push(Partial { arg, at, len: form.cols, factor });
        scratch_len += array_len;
        partial_len += form.cols.next_multiple_of(16);
    }
    let streams = found.full.len() + found.out.len();
    let unit_ns = (STREAM_NS * streams as f64 + SUM_NS * sums.len() as f64) * tile_len as f64;
    let chunks = chunks_for(form.rows.div_ceil(tile_rows), unit_ns);
    let chunks = none_empty(form.rows, chunks, tile_rows);
    Eltwise {
        rows: form.rows,
        cols: form.cols,
        chunks,
        block_rows: tile_rows,
        block_cols: form.cols,
        prepare,
        body: Body::Fused(Fused {
            f: found.f,
            full: found.full.clone(),
            row,
            out: found.out.iter().map(|o| first_output + o).collect(),
            sums,
        }),
        finish,
        scratch_len,
        add: sums::add_to(isa),
        partial_len: if chunks == 1 { 0 } else { partial_len },
        workspace_arg: first_output + form.outputs.len(),
        partials,
    }
}

/// Rows that make about `len` values, in whole vectors where possible.
pub(super) fn rows_of(form: &Form, len: usize) -> usize {
    let fit = (len / form.cols.max(1)).min(form.rows).max(1);
    let unit = 16 >> form.cols.trailing_zeros().min(4);
    if fit > unit { fit - fit % unit } else { fit }
}

/// How many of `chunks` chunks have rows, if a chunk is a multiple of `step` rows.
pub(super) fn none_empty(rows: usize, chunks: usize, step: usize) -> usize {
    let size = rows.div_ceil(chunks).next_multiple_of(step).max(1);
    rows.div_ceil(size).max(1)
}
