//! What makes a training step of a graph with a loss.

use tidemill_graph::{DType, Graph, Role, Rule, TensorId, Update, WeightDecay, gradients, hyper};

/// Adds the updates of all parameters by plain gradient descent on `mean`.
pub fn updates(graph: &mut Graph, mean: TensorId) {
    let parameters: Vec<TensorId> = graph.with_role(Role::Parameter).collect();
    let found = gradients(graph, mean, &parameters).unwrap();
    graph.hyper = Some(graph.input("hyper", &[hyper::LEN], DType::F32));
    for (parameter, gradient) in parameters.into_iter().zip(found) {
        let (gradient, slots) = (gradient.unwrap(), vec![]);
        let (rule, decay) = (Rule::Sgd, WeightDecay::None);
        graph.updates.push(Update {
            parameter,
            gradient,
            slots,
            rule,
            decay,
            slot_type: Default::default(),
            rate: 1.0,
            elsewhere: false,
        });
    }
}
