//! From a program to loops over blocks: where values lie, in which order, how large a block is.

use super::philox::{self, Dropout};
use super::sums::{self, Partial, TOTAL_LANES};
use super::{Body, Eltwise, Fill, Finish, Fused, Instr, Place, fused, steps};
use crate::call::chunks_for;
use crate::isa::Isa;
use tidemill_plan::eltwise::{Program, Sink, Spread, Step};

/// f32 of all arrays of a block together: three quarters of a 32 KB L1.
const BLOCK_TOTAL: usize = 6144;
/// Values of a block: below, calls cost too much; above, nothing is gained.
const BLOCK_MIN: usize = 128;
const BLOCK_MAX: usize = 2048;
/// Time of a memory stream and of a sum, in nanoseconds per value.
const STREAM_NS: f64 = 0.06;
const SUM_NS: f64 = 0.03;

/// The matrix as it is run.
struct Form {
    rows: usize,
    cols: usize,
    inputs: Vec<Spread>,
    outputs: Vec<(usize, Sink, f32)>,
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

fn operands(step: &Step) -> Vec<usize> {
    match *step {
        Step::Input(_) | Step::Constant(_) => vec![],
        Step::Unary(_, a) | Step::Dropout { a, .. } => vec![a],
        Step::UnaryGrad(_, a, b) | Step::Binary(_, a, b) => vec![a, b],
        Step::PairLossGrad(_, a, b, c) | Step::MulAdd(a, b, c) => vec![a, b, c],
    }
}

/// A place before the block's size is known.
#[derive(Clone, Copy)]
enum Plan {
    Nowhere,
    Full(usize),
    /// A row argument, repeated into its own array where a block has several rows.
    Row(usize, usize),
    Array(usize),
}

/// Hands out arrays of a block's size.
#[derive(Default)]
struct Arrays {
    free: Vec<usize>,
    count: usize,
}

impl Arrays {
    fn take(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.count += 1;
            self.count - 1
        })
    }
}

/// What the program's steps need, before any size is known.
struct Liveness {
    /// Whether a step is used at all.
    needed: Vec<bool>,
    /// The last step that reads a value; `usize::MAX` where it is stored at the block's end.
    last_use: Vec<usize>,
    /// The output that a step's loop writes by itself.
    direct: Vec<Option<usize>>,
}

fn liveness(program: &Program, form: &Form) -> Liveness {
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
    compile_blocks(isa, program, form)
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
fn rows_of(form: &Form, len: usize) -> usize {
    let fit = (len / form.cols.max(1)).min(form.rows).max(1);
    let unit = 16 >> form.cols.trailing_zeros().min(4);
    if fit > unit { fit - fit % unit } else { fit }
}

/// How many of `chunks` chunks have rows, if a chunk is a multiple of `step` rows.
fn none_empty(rows: usize, chunks: usize, step: usize) -> usize {
    let size = rows.div_ceil(chunks).next_multiple_of(step).max(1);
    rows.div_ceil(size).max(1)
}

fn compile_blocks(isa: Isa, program: &Program, form: Form) -> Eltwise {
    let Liveness { needed, last_use, direct } = liveness(program, &form);
    let has_key = program.steps.iter().any(|s| matches!(s, Step::Dropout { .. }));
    let key_arg = form.inputs.len();
    let first_output = key_arg + usize::from(has_key);
    let workspace_arg = first_output + form.outputs.len();

    let mut arrays = Arrays::default();
    let mut plans = vec![Plan::Nowhere; program.steps.len()];
    let mut cost = 0.0;
    // arrays that keep their content for a whole chunk are taken first and never given back
    for (i, step) in program.steps.iter().enumerate().filter(|&(i, _)| needed[i]) {
        plans[i] = match *step {
            Step::Input(n) => match form.inputs[n] {
                Spread::Full => Plan::Full(n),
                Spread::Row => Plan::Row(n, arrays.take()),
                Spread::Scalar | Spread::Column => Plan::Array(arrays.take()),
            },
            Step::Constant(_) => Plan::Array(arrays.take()),
            _ => Plan::Nowhere,
        };
    }
    let kept = |i: usize| matches!(program.steps[i], Step::Input(_) | Step::Constant(_));
    for (i, step) in program.steps.iter().enumerate().filter(|&(i, _)| needed[i] && !kept(i)) {
        let mut reads = operands(step);
        reads.sort_unstable();
        reads.dedup();
        for v in reads {
            if let Plan::Array(slot) = plans[v]
                && last_use[v] == i
                && !kept(v)
            {
                arrays.free.push(slot);
            }
        }
        plans[i] = match direct[i] {
            Some(o) => Plan::Full(first_output + o),
            None => Plan::Array(arrays.take()),
        };
        if let Plan::Array(slot) = plans[i]
            && last_use[i] == i
        {
            arrays.free.push(slot);
        }
    }
    // stores of inputs themselves go through an array: their output may lie on another input
    let mut copies = vec![None; form.outputs.len()];
    for (o, &(v, sink, _)) in form.outputs.iter().enumerate() {
        if sink == Sink::Full && matches!(plans[v], Plan::Full(n) if n < key_arg) {
            let slot = arrays.count;
            arrays.count += 1;
            copies[o] = Some(slot);
        }
    }

    // sizes
    let full = |s: &Spread| usize::from(*s == Spread::Full);
    let streams = form.inputs.iter().map(full).sum::<usize>()
        + form.outputs.iter().filter(|(_, s, _)| *s == Sink::Full).count();
    let column_sums = form.outputs.iter().filter(|(_, s, _)| *s == Sink::ColumnSums).count();
    let block = BLOCK_TOTAL / (arrays.count + streams + column_sums).max(1);
    let block = (block.clamp(BLOCK_MIN, BLOCK_MAX) / 64) * 64;
    let (block_rows, block_cols) =
        if form.cols <= block { (rows_of(&form, block), form.cols) } else { (1, block) };
    let array_len = (block_rows * block_cols).next_multiple_of(16);

    let mut places = Vec::with_capacity(plans.len());
    let mut prepare = Vec::new();
    let mut columns = Vec::new();
    for (i, plan) in plans.iter().enumerate() {
        places.push(match *plan {
            Plan::Nowhere => Place::Scratch(0),
            Plan::Full(arg) => Place::Full(arg),
            Plan::Row(arg, slot) if block_rows > 1 => {
                prepare.push(Fill::Row { arg, to: slot * array_len });
                Place::Scratch(slot * array_len)
            }
            Plan::Row(arg, _) => Place::Row(arg),
            Plan::Array(slot) => {
                let to = slot * array_len;
                match program.steps[i] {
                    Step::Constant(value) => prepare.push(Fill::Constant { value, to }),
                    Step::Input(arg) if form.inputs[arg] == Spread::Scalar => {
                        prepare.push(Fill::Scalar { arg, to });
                    }
                    Step::Input(arg) => columns.push((arg, i)),
                    _ => {}
                }
                Place::Scratch(to)
            }
        });
    }
    let mut scratch_len = arrays.count * array_len;
    let mut reserve = |len: usize| {
        let at = scratch_len;
        scratch_len += len.next_multiple_of(16);
        at
    };

    // the block's instructions
    let words = if has_key { reserve(philox::words_len(array_len)) } else { 0 };
    let mut body: Vec<Instr> =
        columns.iter().map(|&(arg, out)| Instr::Column { arg, out }).collect();
    let mut finish = Vec::new();
    let mut partials = Vec::new();
    let mut partial_len = 0;
    for (i, step) in program.steps.iter().enumerate().filter(|&(i, _)| needed[i]) {
        let stepped =
            |k: steps::StepKernel, a: usize, b: usize, c: usize| Instr::Step { k, a, b, c, out: i };
        let instr = match *step {
            Step::Input(_) | Step::Constant(_) => None,
            Step::Unary(op, a) => Some(stepped(steps::unary(isa, op), a, a, a)),
            Step::UnaryGrad(op, a, b) => Some(stepped(steps::unary_grad(isa, op), a, b, b)),
            Step::Binary(op, a, b) => Some(stepped(steps::binary(isa, op), a, b, b)),
            Step::PairLossGrad(op, a, b, c) => {
                Some(stepped(steps::pair_loss_grad(isa, op), a, b, c))
            }
            Step::MulAdd(a, b, c) => Some(stepped(steps::mul_add_step(isa), a, b, c)),
            Step::Dropout { a, rate, stream } => {
                cost += 0.5;
                let drop = Dropout::new(rate, stream);
                Some(Instr::Dropout { f: philox::dropout(isa), drop, key_arg, a, out: i, words })
            }
        };
        if let Some(Instr::Step { k, .. }) = &instr {
            cost += k.cost;
        }
        body.extend(instr);
        for (o, &(v, sink, factor)) in form.outputs.iter().enumerate().filter(|(_, s)| s.0 == i) {
            let arg = first_output + o;
            match sink {
                Sink::Full => {
                    if let Some(slot) = copies[o] {
                        let out = places.len();
                        places.push(Place::Scratch(slot * array_len));
                        let k = steps::scale_step(isa, 1.0);
                        body.push(Instr::Step { k, a: v, b: v, c: v, out });
                    }
                    cost += STREAM_NS;
                }
                Sink::ColumnSums => {
                    let len = if block_rows > 1 { array_len } else { form.cols };
                    let to = reserve(len);
                    prepare.push(Fill::Zero { to, len });
                    body.push(Instr::ColumnSums { f: sums::add_to(isa), a: i, to });
                    finish.push(Finish::ColumnSums { from: to, arg, at: partial_len, factor });
                    partials.push(Partial { arg, at: partial_len, len: form.cols, factor });
                    partial_len += form.cols.next_multiple_of(16);
                    cost += SUM_NS;
                }
                Sink::RowSums => {
                    body.push(Instr::RowSums { f: sums::row_sums(isa), a: i, arg, factor });
                    cost += SUM_NS;
                }
                Sink::Total => {
                    let to = reserve(TOTAL_LANES);
                    prepare.push(Fill::Zero { to, len: TOTAL_LANES });
                    body.push(Instr::Total { f: sums::add_total(isa), a: i, to });
                    finish.push(Finish::Total { from: to, arg, at: partial_len, factor });
                    partials.push(Partial { arg, at: partial_len, len: 1, factor });
                    partial_len += 16;
                    cost += SUM_NS;
                }
            }
        }
    }
    // stores that had to wait until all inputs were read
    let mut copied = plans.len();
    for i in 0..plans.len() {
        for (o, &(v, sink, factor)) in form.outputs.iter().enumerate().filter(|(_, s)| s.0 == i) {
            if sink != Sink::Full || direct[v] == Some(o) {
                continue;
            }
            let mut a = v;
            if copies[o].is_some() {
                a = copied;
                copied += 1;
            }
            let out = places.len();
            places.push(Place::Full(first_output + o));
            let k = steps::scale_step(isa, factor);
            body.push(Instr::Step { k, a, b: a, c: a, out });
        }
    }
    cost += STREAM_NS * streams as f64;

    let blocks = form.rows.div_ceil(block_rows);
    let block_ns = cost * (block_rows * form.cols) as f64;
    let chunks = chunks_for(blocks, block_ns);
    let chunks = none_empty(form.rows, chunks, block_rows);
    if chunks == 1 {
        partial_len = 0;
    }
    Eltwise {
        rows: form.rows,
        cols: form.cols,
        chunks,
        block_rows,
        block_cols,
        prepare,
        body: Body::Blocks { places, instrs: body },
        finish,
        scratch_len,
        add: sums::add_to(isa),
        partial_len,
        workspace_arg,
        partials,
    }
}
