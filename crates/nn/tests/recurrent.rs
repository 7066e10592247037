//! Recurrent layers in models: parameters, start values, outputs, mistakes.
#![allow(clippy::unwrap_used)]

use tidemill_graph::reference::{Values, evaluate};
use tidemill_graph::{Graph, Role, TensorId};
use tidemill_nn::{Mode, Model};

const TIME: usize = 5;
const UNITS: usize = 4;

fn model(layers: &str) -> Model {
    let text = format!(
        "input = {{ tokens = {{ length = {TIME}, vocabulary = 9 }} }}\n\
         layers = [{{ embedding = {{ vocabulary = 9, units = 3 }} }}, {layers}]"
    );
    toml::from_str(&text).unwrap()
}

/// The output for three texts of 5, 2 and no words.
fn output(model: &Model, weights: &dyn Fn(&str) -> String) -> (Vec<usize>, Vec<f64>) {
    let mut graph = Graph::new();
    let y = model.build(&mut graph, 3, Mode::Eval).unwrap();
    let mut values = Values::<f64>::new(&graph);
    let lengths = [TIME, 2, 0];
    let ids: Vec<TensorId> = graph.with_role(Role::Input).collect();
    for id in ids {
        let at = |i: usize| (i / TIME, i % TIME);
        let each = |f: &dyn Fn(usize, usize) -> bool| -> Vec<f64> {
            (0..3 * TIME).map(at).map(|(b, t)| f64::from(u8::from(f(b, t)))).collect()
        };
        match graph.tensor(id).name.as_str() {
            "x" => values.set_ints(id, (0..3 * TIME).map(|i| (i * 5 % 9) as i32).collect()),
            "x.mask" => values.set(id, each(&|b, t| t < lengths[b])),
            "x.last" => values.set(id, each(&|b, t| t + 1 == lengths[b])),
            "x.lengths" => values.set_ints(id, lengths.map(|n| n as i32).to_vec()),
            other => panic!("an input {other}"),
        }
    }
    for id in graph.with_role(Role::Parameter).collect::<Vec<_>>() {
        let tensor = graph.tensor(id);
        let name = weights(&tensor.name);
        let start: usize = name.bytes().map(usize::from).sum();
        let value = |i: usize| ((start * 7 + i * 31) % 23) as f64 / 16.0 - 0.7;
        values.set(id, (0..tensor.len()).map(value).collect());
    }
    let values = evaluate(&graph, values).unwrap();
    (graph.shape(y).to_vec(), values.get(y).unwrap().to_vec())
}

fn names(model: &Model) -> Vec<(String, Vec<usize>)> {
    model.initial_values(1).unwrap().into_iter().map(|v| (v.name, v.shape)).skip(1).collect()
}

fn owned(names: &[(&str, &[usize])]) -> Vec<(String, Vec<usize>)> {
    names.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect()
}

#[test]
fn parameters_are_those_of_pytorch_and_keras() {
    let one = model("{ gru = { units = 4 } }");
    let expected: [(&str, &[usize]); 4] = [
        ("layers.1.gru.kernel", &[3, 12]),
        ("layers.1.gru.bias", &[12]),
        ("layers.1.gru.recurrent_kernel", &[4, 12]),
        ("layers.1.gru.recurrent_bias", &[12]),
    ];
    assert_eq!(names(&one), owned(&expected));
    // Keras's count: 3 units (inputs + units + 2).
    assert_eq!(one.summary().unwrap()[1].num_parameters, 3 * 4 * (3 + 4 + 2));
    let memory = model("{ lstm = { units = 4 } }");
    let expected: [(&str, &[usize]); 3] = [
        ("layers.1.lstm.kernel", &[3, 16]),
        ("layers.1.lstm.bias", &[16]),
        ("layers.1.lstm.recurrent_kernel", &[4, 16]),
    ];
    assert_eq!(names(&memory), owned(&expected));
    let both = model("{ gru = { hidden_size = 4, bidirectional = true, use_bias = false } }");
    let expected: [(&str, &[usize]); 4] = [
        ("layers.1.gru.forward.kernel", &[3, 12]),
        ("layers.1.gru.forward.recurrent_kernel", &[4, 12]),
        ("layers.1.gru.backward.kernel", &[3, 12]),
        ("layers.1.gru.backward.recurrent_kernel", &[4, 12]),
    ];
    assert_eq!(names(&both), owned(&expected));
    assert_eq!(both.output_shape().unwrap(), [8]);
    let all = model("{ gru = { units = 4, bidirectional = true, return_sequences = true } }");
    assert_eq!(all.output_shape().unwrap(), [TIME, 8]);
}

#[test]
fn recurrent_kernels_start_orthogonal() {
    let start = model("{ gru = { units = 4 } }").initial_values(1).unwrap();
    let of = |name: &str| &start.iter().find(|v| v.name.ends_with(name)).unwrap().values;
    let kernel = of("recurrent_kernel");
    for (i, a) in kernel.chunks(12).enumerate() {
        for (j, b) in kernel.chunks(12).enumerate() {
            let dot: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            let expected = f32::from(u8::from(i == j));
            assert!((dot - expected).abs() < 1e-6, "{i} {j}: {dot}");
        }
    }
    assert!(of("gru.bias").iter().all(|&b| b == 0.0));
    let limit = (6.0 / 15.0f32).sqrt();
    assert!(of("gru.kernel").iter().all(|w| w.abs() <= limit));
}

#[test]
fn forget_gates_start_open() {
    let bias = |options: &str| {
        let start = model(&format!("{{ lstm = {{ units = 2{options} }} }}")).initial_values(1);
        start.unwrap().into_iter().find(|v| v.name.ends_with("lstm.bias")).unwrap().values
    };
    assert_eq!(bias(""), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(bias(", unit_forget_bias = false"), [0.0; 8]);
    let halves = bias(", bias_initializer = { constant = { value = 0.5 } }");
    assert_eq!(halves, [0.5, 0.5, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5]);
}

/// The last state is that of the sequence at a sample's end, both ways; two directions are two layers side by side.
#[test]
fn outputs_belong_together() {
    for kind in ["gru", "lstm"] {
        let of = |options: &str| {
            let layers = format!("{{ {kind} = {{ units = {UNITS}{options} }} }}");
            // Weights of one direction are those of a layer of its own.
            output(&model(&layers), &|name| {
                name.replace("forward.", "").replace("backward.", "").replace(kind, "")
            })
        };
        let (shape, all) = of(", return_sequences = true");
        assert_eq!(shape, [3, TIME, UNITS]);
        let at = |all: &[f64], b: usize, t: usize| all[(b * TIME + t) * UNITS..][..UNITS].to_vec();
        assert!(at(&all, 1, 1).iter().all(|&y| y != 0.0));
        assert!(at(&all, 1, 2).iter().chain(&at(&all, 2, 0)).all(|&y| y == 0.0));
        let (shape, last) = of("");
        assert_eq!(shape, [3, UNITS]);
        assert_eq!(last, [at(&all, 0, 4), at(&all, 1, 1), vec![0.0; UNITS]].concat());
        let back = of(", return_sequences = true, reverse = true").1;
        let first = of(", reverse = true").1;
        assert_eq!(first, [at(&back, 0, 0), at(&back, 1, 0), vec![0.0; UNITS]].concat());
        assert_ne!(first, last);
        let (shape, both) = of(", bidirectional = true");
        assert_eq!(shape, [3, 2 * UNITS]);
        for b in 0..3 {
            let [own, other] = [&last, &first].map(|x| &x[b * UNITS..][..UNITS]);
            assert_eq!(both[b * 2 * UNITS..][..2 * UNITS], [own, other].concat());
        }
    }
}

#[test]
fn mistakes_are_named() {
    for kind in ["gru", "lstm"] {
        let fails = |options: &str| {
            let layers = format!("{{ {kind} = {{ {options} }} }}");
            model(&layers).summary().unwrap_err().to_string()
        };
        let error = fails("units = 4, reverse = true, bidirectional = true");
        assert!(error.contains(&format!("layers[1].{kind}.reverse: has no effect")), "{error}");
        let features =
            format!("input = {{ features = 2 }}\nlayers = [{{ {kind} = {{ units = 4 }} }}]");
        let error = toml::from_str::<Model>(&features).unwrap().summary().unwrap_err();
        assert!(error.to_string().contains("takes a sequence [batch, time, units]"), "{error}");
        let none = features.replace("units = 4", "units = 0");
        assert!(toml::from_str::<Model>(&none).unwrap_err().to_string().contains("positive"));
    }
}
