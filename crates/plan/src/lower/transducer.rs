//! Transducers.

use super::Lowering;
use super::ops::Site;
use crate::ir::{ValueId, Work};
use crate::kernel::KernelSpec;
use tidemill_graph::{Transducer, TransducerShape};

impl Lowering<'_> {
    /// All gradients of a joint network come from one kernel, as those of attention.
    pub(super) fn transducer(&mut self, op: Transducer, site: &Site<'_>) -> ValueId {
        let (name, values) = (site.name(), site.values());
        let spec = KernelSpec::Transducer(op, shape(op, site));
        let Transducer::JointGrad(wanted) = op else {
            return self.kernel(name, spec, values, site.len());
        };
        if let Some((_, outputs)) = self.joint_grads.iter().find(|known| known.0 == values) {
            return outputs[wanted as usize];
        }
        let len = |i: usize| site.dims(i).iter().product();
        let outputs = [0, 1, 2, 3].map(|i| self.computed(name, len(i)));
        self.node(name, Work::Kernel(spec), values.clone(), outputs.to_vec());
        self.joint_grads.push((values, outputs));
        outputs[wanted as usize]
    }
}

fn shape(op: Transducer, site: &Site<'_>) -> TransducerShape {
    let first = site.dims(0);
    let rest = |written, units, classes| TransducerShape {
        batch: first[0],
        time: first[1],
        written,
        units,
        classes,
    };
    match op {
        Transducer::Joint | Transducer::JointGrad(_) => {
            TransducerShape::new(first, site.dims(1), site.dims(2))
        }
        Transducer::Loss(_) | Transducer::LossGrad(_) => rest(first[2], 0, 0),
        Transducer::Greedy => rest(site.dims(1)[0], first[2], site.out()[2]),
        Transducer::After => rest(site.dims(1)[1], 0, first[2]),
    }
}
