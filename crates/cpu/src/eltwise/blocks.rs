//! Programs run step by step over blocks: where values are kept, how large a block is, which
//! instructions it takes.

use super::compile::{Form, Liveness, STREAM_NS, SUM_NS, liveness, none_empty, operands, rows_of};
use super::philox::{self, Dropout};
use super::sums::{self, Partial, TOTAL_LANES};
use super::{Body, Eltwise, Fill, Finish, Instr, Place, steps};
use crate::call::chunks_for;
use crate::isa::Isa;
use tidemill_plan::eltwise::{Program, Sink, Spread, Step};

/// f32 of all arrays of a block together: three quarters of a 32 KB L1.
const BLOCK_TOTAL: usize = 6144;
/// Values of a block: below, calls cost too much; above, nothing is gained.
const BLOCK_MIN: usize = 128;
const BLOCK_MAX: usize = 2048;

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

/// Compiles a program to loops over blocks.
pub(super) fn compile(isa: Isa, program: &Program, form: Form) -> Eltwise {
    let live = liveness(program, &form);
    let has_key = program.steps.iter().any(|s| matches!(s, Step::Dropout { .. }));
    let key_arg = form.inputs.len();
    let first_output = key_arg + usize::from(has_key);
    let arrays = assign(program, &form, &live, first_output);
    let size = Size::new(&form, arrays.count);
    let mut blocks = Blocks {
        isa,
        program,
        form: &form,
        live: &live,
        first_output,
        size,
        places: Vec::new(),
        prepare: Vec::new(),
        body: Vec::new(),
        finish: Vec::new(),
        partials: Vec::new(),
        partial_len: 0,
        scratch_len: arrays.count * size.array_len,
        cost: 0.0,
    };
    blocks.place(&arrays.plans);
    blocks.steps(&arrays.copies, key_arg, has_key);
    blocks.late_stores(&arrays.copies);
    blocks.cost += STREAM_NS * size.streams as f64;

    let rows = form.rows.div_ceil(size.rows);
    let chunks = chunks_for(rows, blocks.cost * (size.rows * form.cols) as f64);
    let chunks = none_empty(form.rows, chunks, size.rows);
    Eltwise {
        rows: form.rows,
        cols: form.cols,
        chunks,
        block_rows: size.rows,
        block_cols: size.cols,
        prepare: blocks.prepare,
        body: Body::Blocks { places: blocks.places, instrs: blocks.body },
        finish: blocks.finish,
        scratch_len: blocks.scratch_len,
        add: sums::add_to(isa),
        partial_len: if chunks == 1 { 0 } else { blocks.partial_len },
        workspace_arg: first_output + form.outputs.len(),
        partials: blocks.partials,
    }
}

/// Which array each value has.
struct Assigned {
    plans: Vec<Plan>,
    /// For each output, the array that a stored input goes through.
    copies: Vec<Option<usize>>,
    /// Number of arrays.
    count: usize,
}

/// Gives values arrays, which are used again once nothing reads a value any more.
fn assign(program: &Program, form: &Form, live: &Liveness, first_output: usize) -> Assigned {
    let Liveness { needed, last_use, direct } = live;
    let mut arrays = Arrays::default();
    let mut plans = vec![Plan::Nowhere; program.steps.len()];
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
        if sink == Sink::Full && matches!(plans[v], Plan::Full(n) if n < form.inputs.len()) {
            let slot = arrays.count;
            arrays.count += 1;
            copies[o] = Some(slot);
        }
    }
    Assigned { plans, copies, count: arrays.count }
}

/// A block.
#[derive(Clone, Copy)]
struct Size {
    rows: usize,
    cols: usize,
    /// f32 of an array that holds a block.
    array_len: usize,
    /// Arguments that are read or written once for each element.
    streams: usize,
}

impl Size {
    /// As large as L1 holds.
    fn new(form: &Form, arrays: usize) -> Size {
        let full = |s: &Spread| usize::from(*s == Spread::Full);
        let streams = form.inputs.iter().map(full).sum::<usize>()
            + form.outputs.iter().filter(|(_, s, _)| *s == Sink::Full).count();
        let column_sums = form.outputs.iter().filter(|(_, s, _)| *s == Sink::ColumnSums).count();
        let block = BLOCK_TOTAL / (arrays + streams + column_sums).max(1);
        let block = (block.clamp(BLOCK_MIN, BLOCK_MAX) / 64) * 64;
        let (rows, cols) =
            if form.cols <= block { (rows_of(form, block), form.cols) } else { (1, block) };
        Size { rows, cols, array_len: (rows * cols).next_multiple_of(16), streams }
    }
}

/// The kernel's parts so far.
struct Blocks<'a> {
    isa: Isa,
    program: &'a Program,
    form: &'a Form,
    live: &'a Liveness,
    /// Argument of the first output.
    first_output: usize,
    size: Size,
    places: Vec<Place>,
    prepare: Vec<Fill>,
    body: Vec<Instr>,
    finish: Vec<Finish>,
    partials: Vec<Partial>,
    partial_len: usize,
    scratch_len: usize,
    /// Nanoseconds of an element.
    cost: f64,
}

impl Blocks<'_> {
    /// f32 of scratch; gives their start.
    fn reserve(&mut self, len: usize) -> usize {
        let at = self.scratch_len;
        self.scratch_len += len.next_multiple_of(16);
        at
    }

    /// Where each step's value is, and what is filled before or in each block.
    fn place(&mut self, plans: &[Plan]) {
        for (i, plan) in plans.iter().enumerate() {
            let place = match *plan {
                Plan::Nowhere => Place::Scratch(0),
                Plan::Full(arg) => Place::Full(arg),
                Plan::Row(arg, slot) if self.size.rows > 1 => {
                    let to = slot * self.size.array_len;
                    self.prepare.push(Fill::Row { arg, to });
                    Place::Scratch(to)
                }
                Plan::Row(arg, _) => Place::Row(arg),
                Plan::Array(slot) => {
                    let to = slot * self.size.array_len;
                    match self.program.steps[i] {
                        Step::Constant(value) => self.prepare.push(Fill::Constant { value, to }),
                        Step::Input(arg) if self.form.inputs[arg] == Spread::Scalar => {
                            self.prepare.push(Fill::Scalar { arg, to });
                        }
                        Step::Input(arg) => self.body.push(Instr::Column { arg, out: i }),
                        _ => {}
                    }
                    Place::Scratch(to)
                }
            };
            self.places.push(place);
        }
    }

    /// The instructions of the steps, each followed by those of the outputs that keep its value.
    fn steps(&mut self, copies: &[Option<usize>], key_arg: usize, has_key: bool) {
        let words = match has_key {
            true => self.reserve(philox::words_len(self.size.array_len)),
            false => 0,
        };
        let (program, form, live, isa) = (self.program, self.form, self.live, self.isa);
        for (i, step) in program.steps.iter().enumerate().filter(|&(i, _)| live.needed[i]) {
            let stepped = |k: steps::StepKernel, a: usize, b: usize, c: usize| {
                Some(Instr::Step { k, a, b, c, out: i })
            };
            let instr = match *step {
                Step::Input(_) | Step::Constant(_) => None,
                Step::Unary(op, a) => stepped(steps::unary(isa, op), a, a, a),
                Step::UnaryGrad(op, a, b) => stepped(steps::unary_grad(isa, op), a, b, b),
                Step::Binary(op, a, b) => stepped(steps::binary(isa, op), a, b, b),
                Step::PairLossGrad(op, a, b, c) => stepped(steps::pair_loss_grad(isa, op), a, b, c),
                Step::MulAdd(a, b, c) => stepped(steps::mul_add_step(isa), a, b, c),
                Step::Dropout { a, rate, stream } => {
                    self.cost += 0.5;
                    let (f, drop) = (philox::dropout(isa), Dropout::new(rate, stream));
                    Some(Instr::Dropout { f, drop, key_arg, a, out: i, words })
                }
            };
            if let Some(Instr::Step { k, .. }) = &instr {
                self.cost += k.cost;
            }
            self.body.extend(instr);
            for (o, copy) in copies.iter().enumerate().filter(|&(o, _)| form.outputs[o].0 == i) {
                self.keep(o, *copy);
            }
        }
    }

    /// The instructions that make an output of its step's value.
    fn keep(&mut self, output: usize, copy: Option<usize>) {
        let (isa, (value, sink, factor)) = (self.isa, self.form.outputs[output]);
        let arg = self.first_output + output;
        match sink {
            Sink::Full => {
                if let Some(slot) = copy {
                    let out = self.places.len();
                    self.places.push(Place::Scratch(slot * self.size.array_len));
                    let k = steps::scale_step(isa, 1.0);
                    self.body.push(Instr::Step { k, a: value, b: value, c: value, out });
                }
                self.cost += STREAM_NS;
            }
            Sink::ColumnSums => {
                let cols = self.form.cols;
                let len = if self.size.rows > 1 { self.size.array_len } else { cols };
                let to = self.reserve(len);
                self.prepare.push(Fill::Zero { to, len });
                self.body.push(Instr::ColumnSums { f: sums::add_to(isa), a: value, to });
                let at = self.partial_len;
                self.finish.push(Finish::ColumnSums { from: to, arg, at, factor });
                self.partials.push(Partial { arg, at, len: cols, factor });
                self.partial_len += cols.next_multiple_of(16);
                self.cost += SUM_NS;
            }
            Sink::RowSums => {
                self.body.push(Instr::RowSums { f: sums::row_sums(isa), a: value, arg, factor });
                self.cost += SUM_NS;
            }
            Sink::Total => {
                let to = self.reserve(TOTAL_LANES);
                self.prepare.push(Fill::Zero { to, len: TOTAL_LANES });
                self.body.push(Instr::Total { f: sums::add_total(isa), a: value, to });
                let at = self.partial_len;
                self.finish.push(Finish::Total { from: to, arg, at, factor });
                self.partials.push(Partial { arg, at, len: 1, factor });
                self.partial_len += 16;
                self.cost += SUM_NS;
            }
        }
    }

    /// Stores that had to wait until all inputs were read.
    fn late_stores(&mut self, copies: &[Option<usize>]) {
        let (program, form, live) = (self.program, self.form, self.live);
        // the places of copies were added behind those of the steps, in this order
        let mut copied = program.steps.len();
        for i in 0..program.steps.len() {
            for (o, &(v, sink, factor)) in form.outputs.iter().enumerate().filter(|(_, s)| s.0 == i)
            {
                if sink != Sink::Full || live.direct[v] == Some(o) {
                    continue;
                }
                let mut a = v;
                if copies[o].is_some() {
                    a = copied;
                    copied += 1;
                }
                let out = self.places.len();
                self.places.push(Place::Full(self.first_output + o));
                let k = steps::scale_step(self.isa, factor);
                self.body.push(Instr::Step { k, a, b: a, c: a, out });
            }
        }
    }
}
