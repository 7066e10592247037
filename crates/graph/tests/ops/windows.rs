//! Windows over positions.

use crate::common::{Check, Random};
use crate::{config, shape_of};
use proptest::prelude::*;
use tidemill_graph::{Window, Windows};

#[test]
fn shapes() {
    let of = |shape: &[usize], size, dilation, padding| {
        shape_of(Windows::Gather(Window { size, dilation, padding }), &[shape])
    };
    assert_eq!(of(&[2, 7, 3], 3, 1, [2, 0]).unwrap(), [2, 7, 9]);
    assert_eq!(of(&[2, 7, 3], 3, 2, [0, 0]).unwrap(), [2, 3, 9]);
    assert!(of(&[2, 3, 3], 5, 1, [0, 0]).unwrap_err().contains("does not fit into 3"));
    assert!(of(&[2, 3], 5, 1, [4, 0]).unwrap_err().contains("batch, time, values"));
    assert!(of(&[2, 3, 3], 0, 1, [4, 0]).unwrap_err().contains("no window"));
    let window = Window { size: 3, dilation: 1, padding: [2, 0] };
    let back = |shape: &[usize], time| shape_of(Windows::Scatter { window, time }, &[shape]);
    assert_eq!(back(&[2, 7, 9], 7).unwrap(), [2, 7, 3]);
    assert!(back(&[2, 7, 8], 7).is_err() && back(&[2, 7, 9], 6).is_err());
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn gradients(seed: u64, batch in 1..3usize, time in 1..7usize, width in 1..4usize, size in 1..4usize, dilation in 1..3usize,
                 before in 0..4usize, after in 0..4usize) {
        let mut check = Check::new(seed);
        let x = check.variable(&[batch, time, width], Random::odd);
        let padding = [before + dilation * (size - 1), after];
        let y = check.apply(Windows::Gather(Window { size, dilation, padding }), &[x]);
        check.run(y);
    }
}
