use super::*;
use crate::lanes::{PhiloxKey, philox4x32};
use crate::testing::Random;
use tidemill_graph::{Binary, PairLoss, Unary};
use tidemill_plan::eltwise::{Sink, Spread, Step};

fn sign(x: f64) -> f64 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        0.0
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// erf by its series; good for the tests' |x| < 3.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..100 {
        term *= -x * x / f64::from(n);
        sum += term / (2.0 * f64::from(n) + 1.0);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

fn unary(op: Unary, x: f64) -> f64 {
    use Unary::*;
    match op {
        Neg => -x,
        Abs => x.abs(),
        Sign => sign(x),
        Square => x * x,
        Reciprocal => 1.0 / x,
        Affine { scale, shift } => f64::from(scale) * x + f64::from(shift),
        Relu => x.max(0.0),
        LeakyRelu { slope } => {
            if x > 0.0 {
                x
            } else {
                f64::from(slope) * x
            }
        }
        Elu { alpha } => {
            if x > 0.0 {
                x
            } else {
                f64::from(alpha) * x.exp_m1()
            }
        }
        GeluErf => 0.5 * x * (1.0 + erf(x / 2f64.sqrt())),
        GeluTanh => {
            let c = (2.0 / std::f64::consts::PI).sqrt();
            0.5 * x * (1.0 + (c * (x + 0.044715 * x.powi(3))).tanh())
        }
        Silu => x * sigmoid(x),
        HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        Sigmoid => sigmoid(x),
        Tanh => x.tanh(),
        Softplus => x.exp().ln_1p(),
        Exp => x.exp(),
        Log => x.ln(),
        Sqrt => x.sqrt(),
        Pow { exponent } => x.powf(f64::from(exponent)),
        Clip { low, high } => x.clamp(f64::from(low), f64::from(high)),
    }
}

/// By the input for all; `saved` is what the op's gradient reads.
fn unary_grad(op: Unary, saved: f64) -> f64 {
    use Unary::*;
    let y = saved;
    let h = 1e-6;
    match op {
        Neg => -1.0,
        Affine { scale, .. } => f64::from(scale),
        Sign => 0.0,
        Relu => f64::from(u8::from(y > 0.0)),
        LeakyRelu { slope } => {
            if y > 0.0 {
                1.0
            } else {
                f64::from(slope)
            }
        }
        Elu { alpha } => {
            if y > 0.0 {
                1.0
            } else {
                y + f64::from(alpha)
            }
        }
        Sigmoid => y * (1.0 - y),
        Tanh => 1.0 - y * y,
        Exp => y,
        Sqrt => 0.5 / y,
        Reciprocal => -y * y,
        Softplus => -(-y).exp_m1(),
        Abs => sign(y),
        Clip { low, high } => f64::from(u8::from(y >= f64::from(low) && y <= f64::from(high))),
        _ => (unary(op, y + h) - unary(op, y - h)) / (2.0 * h),
    }
}

fn pair(op: PairLoss, x: f64, t: f64) -> f64 {
    use PairLoss::*;
    match op {
        SquaredError => (x - t).powi(2),
        AbsoluteError => (x - t).abs(),
        Huber { delta } => {
            let (d, delta) = ((x - t).abs(), f64::from(delta));
            if d <= delta { 0.5 * d * d } else { delta * (d - 0.5 * delta) }
        }
        BinaryCrossEntropy { label_smoothing: s } => {
            let s = f64::from(s);
            x.exp().ln_1p() - x * ((1.0 - s) * t + s / 2.0)
        }
        Focal { gamma, alpha } => {
            let p = sigmoid(x);
            let miss = t * (1.0 - p) + (1.0 - t) * p;
            let a = f64::from(alpha);
            let w = if a < 0.0 { 1.0 } else { a * t + (1.0 - a) * (1.0 - t) };
            w * miss.powf(f64::from(gamma)) * (x.exp().ln_1p() - x * t)
        }
        Hinge => (1.0 - if t == 0.0 { -1.0 } else { t } * x).max(0.0),
    }
}

fn binary(op: Binary, a: f64, b: f64) -> f64 {
    use Binary::*;
    match op {
        Add => a + b,
        Sub => a - b,
        Mul => a * b,
        Div => a / b,
        Max => {
            if a >= b {
                a
            } else {
                b
            }
        }
        Min => {
            if a <= b {
                a
            } else {
                b
            }
        }
        GreaterEqual => f64::from(u8::from(a >= b)),
        Loss(l) => pair(l, a, b),
    }
}

fn kept(e: usize, rate: f32, stream: u32, key: [u32; 4]) -> bool {
    let k = PhiloxKey::new([stream, key[2]], [key[0], key[1]]);
    let word = philox4x32((e / 4) as u64, &k)[e % 4];
    u64::from(word) >= (f64::from(rate) * 4294967296.0).round() as u64
}

/// The program in plain loops; also the sum of magnitudes of each output, for tolerances.
fn reference(p: &Program, inputs: &[Vec<f32>], key: [u32; 4]) -> Vec<(Vec<f64>, Vec<f64>)> {
    let lens = output_lens(p);
    let mut outputs: Vec<_> = lens.iter().map(|&n| (vec![0.0; n], vec![0.0; n])).collect();
    for r in 0..p.rows {
        for c in 0..p.cols {
            let e = r * p.cols + c;
            let mut v: Vec<f64> = Vec::new();
            for step in &p.steps {
                v.push(match *step {
                    Step::Input(n) => f64::from(match p.inputs[n] {
                        Spread::Full => inputs[n][e],
                        Spread::Row => inputs[n][c],
                        Spread::Column => inputs[n][r],
                        Spread::Scalar => inputs[n][0],
                    }),
                    Step::Constant(x) => f64::from(x),
                    Step::Unary(op, a) => unary(op, v[a]),
                    Step::UnaryGrad(op, a, b) => unary_grad(op, v[a]) * v[b],
                    Step::Binary(op, a, b) => binary(op, v[a], v[b]),
                    Step::PairLossGrad(op, x, t, dy) => {
                        let h = 1e-6;
                        (pair(op, v[x] + h, v[t]) - pair(op, v[x] - h, v[t])) / (2.0 * h) * v[dy]
                    }
                    Step::MulAdd(a, b, c) => v[a] * v[b] + v[c],
                    Step::Dropout { a, rate, stream } => {
                        if kept(e, rate, stream, key) {
                            v[a] / (1.0 - f64::from(rate))
                        } else {
                            0.0
                        }
                    }
                });
            }
            for (&(s, sink, factor), (out, size)) in p.outputs.iter().zip(&mut outputs) {
                let at = match sink {
                    Sink::Full => e,
                    Sink::ColumnSums => c,
                    Sink::RowSums => r,
                    Sink::Total => 0,
                };
                let x = v[s] * f64::from(factor);
                out[at] += x;
                size[at] += x.abs();
            }
        }
    }
    outputs
}

fn output_lens(p: &Program) -> Vec<usize> {
    let len = |s: Sink| match s {
        Sink::Full => p.rows * p.cols,
        Sink::ColumnSums => p.cols,
        Sink::RowSums => p.rows,
        Sink::Total => 1,
    };
    p.outputs.iter().map(|&(_, s, _)| len(s)).collect()
}

/// Runs the call; `alias` puts output `o` onto input `n`; `backwards` runs chunks last to first.
fn run(
    isa: Isa,
    p: &Program,
    inputs: &[Vec<f32>],
    key: [u32; 4],
    alias: &[(usize, usize)],
    backwards: bool,
) -> Vec<Vec<f32>> {
    let call = Eltwise::call(isa, p);
    let mut inputs = inputs.to_vec();
    let mut key = key;
    let mut outputs: Vec<Vec<f32>> =
        output_lens(p).iter().map(|&n| vec![f32::NAN; n + 16]).collect();
    let mut workspace = vec![f32::NAN; call.workspace_len + 1];
    let mut args: Vec<*mut f32> = inputs.iter_mut().map(|v| v.as_mut_ptr()).collect();
    if p.steps.iter().any(|s| matches!(s, Step::Dropout { .. })) {
        args.push(key.as_mut_ptr().cast());
    }
    for (o, out) in outputs.iter_mut().enumerate() {
        let on = alias.iter().find(|a| a.0 == o);
        args.push(on.map_or(out.as_mut_ptr(), |a| args[a.1]));
    }
    args.push(workspace.as_mut_ptr());
    for kernel in &call.phases {
        let mut order: Vec<usize> = (0..kernel.chunks()).collect();
        if backwards {
            order.reverse();
        }
        for chunk in order {
            let mut scratch = vec![f32::NAN; kernel.scratch_bytes() / 4 + 1];
            // SAFETY: buffers as documented by Eltwise.
            unsafe { kernel.run(&args, chunk, scratch.as_mut_ptr()) };
        }
    }
    for &(o, n) in alias {
        let len = inputs[n].len();
        outputs[o][..len].copy_from_slice(&inputs[n]);
    }
    for (out, len) in outputs.iter_mut().zip(output_lens(p)) {
        assert!(out[len..].iter().all(|x| x.is_nan()), "written past the end");
        out.truncate(len);
    }
    outputs
}

fn input_data(p: &Program, random: &mut Random) -> Vec<Vec<f32>> {
    let len = |s: &Spread| match s {
        Spread::Full => p.rows * p.cols,
        Spread::Row => p.cols,
        Spread::Column => p.rows,
        Spread::Scalar => 1,
    };
    p.inputs.iter().map(|s| random.values(len(s))).collect()
}

/// Checks a program on all sets, in place where possible, with chunks in both orders.
fn check(p: &Program, inputs: &[Vec<f32>], tolerance: f64) {
    let key = [17, 99, 5, 0];
    let expected = reference(p, inputs, key);
    for isa in Isa::available() {
        let found = run(isa, p, inputs, key, &[], false);
        for (o, (found, (value, size))) in found.iter().zip(&expected).enumerate() {
            for i in 0..found.len() {
                let error = (f64::from(found[i]) - value[i]).abs();
                let limit = tolerance * (size[i] + 1.0);
                assert!(
                    error <= limit,
                    "{isa:?} output {o}[{i}]: {} not {}\n{p:?}",
                    found[i],
                    value[i]
                );
            }
        }
        let bits = |v: Vec<Vec<f32>>| -> Vec<Vec<u32>> {
            v.iter().map(|v| v.iter().map(|x| x.to_bits()).collect()).collect()
        };
        let found = bits(found);
        assert_eq!(found, bits(run(isa, p, inputs, key, &[], true)), "chunk order");
        // each Full output onto a different Full input
        let full = (0..p.inputs.len()).filter(|&n| p.inputs[n] == Spread::Full);
        let outs = (0..p.outputs.len()).filter(|&o| p.outputs[o].1 == Sink::Full);
        let forward: Vec<_> = outs.clone().zip(full.clone()).collect();
        assert_eq!(found, bits(run(isa, p, inputs, key, &forward, false)), "in place {p:?}");
        let full: Vec<usize> = full.collect();
        let crossed: Vec<_> = outs.zip(full.into_iter().rev()).collect();
        assert_eq!(found, bits(run(isa, p, inputs, key, &crossed, false)), "in place {p:?}");
    }
}

const SHAPES: [(usize, usize); 12] = [
    (1, 1),
    (1, 7),
    (5, 1),
    (3, 10),
    (32, 10),
    (1, 5000),
    (4097, 1),
    (2, 3000),
    (33, 128),
    (700, 16),
    (19, 65),
    (257, 48),
];

#[test]
fn every_step() {
    use Unary::*;
    let mut random = Random(1);
    let unaries = [
        Neg,
        Abs,
        Sign,
        Square,
        Reciprocal,
        Affine { scale: 1.5, shift: -0.25 },
        Affine { scale: -2.0, shift: 0.0 },
        Relu,
        LeakyRelu { slope: 0.1 },
        Elu { alpha: 1.3 },
        GeluErf,
        GeluTanh,
        Silu,
        HardSwish,
        Sigmoid,
        Tanh,
        Softplus,
        Exp,
        Log,
        Sqrt,
        Pow { exponent: 1.0 },
        Pow { exponent: 2.0 },
        Pow { exponent: 3.0 },
        Pow { exponent: 0.5 },
        Pow { exponent: -1.0 },
        Pow { exponent: 1.7 },
        Clip { low: -0.5, high: 1.0 },
    ];
    let mut program = Program {
        rows: 9,
        cols: 21,
        inputs: vec![Spread::Full, Spread::Full],
        steps: vec![Step::Input(0), Step::Input(1)],
        outputs: vec![(2, Sink::Full, 1.0)],
    };
    for op in unaries {
        let mut inputs = input_data(&program, &mut random);
        if matches!(op, Log | Sqrt | Reciprocal | Pow { .. }) {
            inputs[0].iter_mut().for_each(|x| *x = x.abs() + 0.1);
        }
        program.steps.truncate(2);
        program.steps.push(Step::Unary(op, 0));
        check(&program, &inputs, 1e-6);
        program.steps.truncate(2);
        program.steps.push(Step::UnaryGrad(op, 0, 1));
        check(&program, &inputs, 1e-5);
    }
}

#[test]
fn every_pair() {
    let mut random = Random(2);
    let losses = [
        PairLoss::SquaredError,
        PairLoss::AbsoluteError,
        PairLoss::Huber { delta: 0.7 },
        PairLoss::BinaryCrossEntropy { label_smoothing: 0.0 },
        PairLoss::BinaryCrossEntropy { label_smoothing: 0.1 },
        PairLoss::Focal { gamma: 2.0, alpha: 0.25 },
        PairLoss::Focal { gamma: 1.5, alpha: -1.0 },
        PairLoss::Focal { gamma: 0.0, alpha: 0.5 },
        PairLoss::Hinge,
    ];
    let mut program = Program {
        rows: 7,
        cols: 19,
        inputs: vec![Spread::Full; 3],
        steps: vec![Step::Input(0), Step::Input(1), Step::Input(2)],
        outputs: vec![(3, Sink::Full, 1.0)],
    };
    use Binary::*;
    for op in [Add, Sub, Mul, Div, Max, Min, GreaterEqual] {
        program.steps.truncate(3);
        program.steps.push(Step::Binary(op, 0, 1));
        let inputs = input_data(&program, &mut random);
        check(&program, &inputs, 1e-6);
    }
    program.steps.truncate(3);
    program.steps.push(Step::MulAdd(0, 1, 2));
    check(&program, &input_data(&program, &mut random), 1e-5);
    for loss in losses {
        let mut inputs = input_data(&program, &mut random);
        inputs[1].iter_mut().for_each(|t| *t = t.clamp(0.0, 1.0));
        program.steps.truncate(3);
        program.steps.push(Step::Binary(Loss(loss), 0, 1));
        check(&program, &inputs, 3e-6);
        program.steps.truncate(3);
        program.steps.push(Step::PairLossGrad(loss, 0, 1, 2));
        check(&program, &inputs, 1e-5);
    }
}

#[test]
fn extreme_losses_stay_finite() {
    let program = Program {
        rows: 1,
        cols: 4,
        inputs: vec![Spread::Full, Spread::Full],
        steps: vec![
            Step::Input(0),
            Step::Input(1),
            Step::Binary(Binary::Loss(PairLoss::BinaryCrossEntropy { label_smoothing: 0.0 }), 0, 1),
            Step::Binary(Binary::Loss(PairLoss::Focal { gamma: 2.0, alpha: -1.0 }), 0, 1),
        ],
        outputs: vec![(2, Sink::Full, 1.0), (3, Sink::Full, 1.0)],
    };
    let inputs = vec![vec![200.0, -200.0, 200.0, -200.0], vec![0.0, 1.0, 1.0, 0.0]];
    for isa in Isa::available() {
        let found = run(isa, &program, &inputs, [0; 4], &[], false);
        assert_eq!(found, vec![vec![200.0, 200.0, 0.0, 0.0]; 2], "{isa:?}");
    }
}

/// Random programs over all shapes, spreads and sinks.
#[test]
fn random_programs() {
    let mut random = Random(3);
    for round in 0..240 {
        let (rows, cols) = SHAPES[round % SHAPES.len()];
        let spreads = [Spread::Full, Spread::Row, Spread::Column, Spread::Scalar];
        let inputs: Vec<Spread> =
            (0..1 + random.below(5)).map(|_| spreads[random.below(6).saturating_sub(2)]).collect();
        let mut steps: Vec<Step> = (0..inputs.len()).map(Step::Input).collect();
        steps.push(Step::Constant(random.value()));
        for _ in 0..random.below(8) {
            let n = steps.len();
            let (a, b, c) = (random.below(n), random.below(n), random.below(n));
            steps.push(match random.below(9) {
                0 => Step::Unary(Unary::Relu, a),
                1 => Step::Unary(Unary::Affine { scale: 0.5, shift: 0.1 }, a),
                2 => Step::Unary(Unary::Tanh, a),
                3 => Step::UnaryGrad(Unary::Relu, a, b),
                4 => Step::Binary(Binary::Add, a, b),
                5 => Step::Binary(Binary::Sub, a, b),
                6 => Step::Binary(Binary::Min, a, b),
                7 => Step::MulAdd(a, b, c),
                _ => Step::Dropout { a, rate: 0.3, stream: random.below(3) as u32 },
            });
        }
        let sinks = [Sink::Full, Sink::ColumnSums, Sink::RowSums, Sink::Total];
        let factors = [1.0, 0.25];
        let outputs = (0..1 + random.below(4))
            .map(|_| {
                let v = random.below(steps.len());
                (v, sinks[random.below(6).saturating_sub(2)], factors[random.below(2)])
            })
            .collect();
        let program = Program { rows, cols, inputs, steps, outputs };
        let inputs = input_data(&program, &mut random);
        check(&program, &inputs, 2e-5);
    }
}

#[test]
fn many_chunks() {
    let mut random = Random(4);
    for (rows, cols) in [(20000, 16), (9001, 30), (300, 2500), (200_000, 1), (1, 300_000)] {
        let program = Program {
            rows,
            cols,
            inputs: vec![Spread::Full, Spread::Full, Spread::Row],
            steps: vec![
                Step::Input(0),
                Step::Input(1),
                Step::Input(2),
                Step::UnaryGrad(Unary::Relu, 0, 1),
                Step::MulAdd(3, 0, 2),
            ],
            outputs: vec![
                (3, Sink::Full, 1.0),
                (3, Sink::ColumnSums, 1.0),
                (4, Sink::ColumnSums, 0.5),
                (4, Sink::Total, 2.0),
                (4, Sink::RowSums, 1.0),
            ],
        };
        assert!(Eltwise::new(Isa::Portable, &program).chunks() > 1);
        let inputs = input_data(&program, &mut random);
        check(&program, &inputs, 3e-5);
    }
}

#[test]
fn dropout_keeps_its_share() {
    let program = Program {
        rows: 1000,
        cols: 33,
        inputs: vec![Spread::Full],
        steps: vec![Step::Input(0), Step::Dropout { a: 0, rate: 0.2, stream: 7 }],
        outputs: vec![(1, Sink::Full, 1.0)],
    };
    let inputs = vec![vec![1.0; 33000]];
    let mut seen = Vec::new();
    for isa in Isa::available() {
        let found = run(isa, &program, &inputs, [1, 2, 3, 0], &[], false);
        let share = found[0].iter().filter(|&&x| x != 0.0).count() as f64 / 33000.0;
        assert!((share - 0.8).abs() < 0.01, "{share}");
        assert!(found[0].iter().all(|&x| x == 0.0 || x == 1.25));
        seen.push(found);
    }
    assert!(seen.windows(2).all(|w| w[0] == w[1]), "one mask for all sets");
    for (rate, value) in [(0.0, 1.0), (1.0, 0.0)] {
        let mut program = program.clone();
        program.steps[1] = Step::Dropout { a: 0, rate, stream: 7 };
        let found = run(Isa::detect(), &program, &inputs, [1, 2, 3, 0], &[], false);
        assert!(found[0].iter().all(|&x| x == value));
    }
}

/// Each pattern of the table, from its text, over all shapes; the table must be what runs.
#[test]
fn every_pattern() {
    /// Reads one expression and pushes its steps.
    fn parse(text: &mut &str, p: &mut Program, seen: &mut Vec<(String, usize)>) -> usize {
        let end = text.find(['(', ',', ')', ';']).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        let word = word.to_owned();
        *text = rest;
        if !text.starts_with('(') {
            if let Some(s) = seen.iter().find(|s| s.0 == word) {
                return s.1;
            }
            p.steps.push(Step::Input(p.inputs.len()));
            p.inputs.push(if word.starts_with('F') { Spread::Full } else { Spread::Row });
            seen.push((word, p.steps.len() - 1));
            return p.steps.len() - 1;
        }
        let mut v = Vec::new();
        while !text.starts_with(')') {
            *text = &text[1..];
            v.push(parse(text, p, seen));
        }
        *text = &text[1..];
        p.steps.push(match word.as_str() {
            "relu" => Step::Unary(Unary::Relu, v[0]),
            "relu'" => Step::UnaryGrad(Unary::Relu, v[0], v[1]),
            "hard_swish" => Step::Unary(Unary::HardSwish, v[0]),
            "hard_swish'" => Step::UnaryGrad(Unary::HardSwish, v[0], v[1]),
            // exchanged: the canonical form must not care
            "add" => Step::Binary(Binary::Add, v[1], v[0]),
            "mul" => Step::Binary(Binary::Mul, v[1], v[0]),
            "fma" => Step::MulAdd(v[1], v[0], v[2]),
            _ => panic!("{word}"),
        });
        p.steps.len() - 1
    }
    let mut random = Random(15);
    for text in fused::TEXTS {
        for (rows, cols) in SHAPES.into_iter().chain([(40_000, 16), (5000, 100)]) {
            let mut p = Program { rows, cols, inputs: vec![], steps: vec![], outputs: vec![] };
            let mut seen = Vec::new();
            for part in text.split_terminator(';') {
                let (kind, mut expression) = part.split_once(' ').expect("kind and value");
                let v = parse(&mut expression, &mut p, &mut seen);
                let (sink, factor) =
                    if kind == "full" { (Sink::Full, 1.0) } else { (Sink::ColumnSums, 0.5) };
                p.outputs.push((v, sink, factor));
            }
            if rows > 1 && cols > 1 && cols < 2000 {
                let kernel = Eltwise::new(Isa::Portable, &p);
                assert!(matches!(kernel.body, Body::Fused(_)), "{text}");
            }
            let inputs = input_data(&p, &mut random);
            check(&p, &inputs, 2e-5);
        }
    }
}
