//! Heads turned by their positions.

use crate::common::{Check, Random};
use crate::config;
use crate::pytorch::Case;
use crate::typed_shape_of;
use proptest::prelude::*;
use tidemill_graph::reference::evaluate;
use tidemill_graph::{DType, Rotary, TensorId};

const PLAIN: Rotary = Rotary { heads: 2, dim: 4, base: 1e4, room: None, inverse: false };

pub fn build(case: &mut Case<'_>, op: &str) -> Option<TensorId> {
    if op != "rotary" {
        return None;
    }
    let x = case.x.clone();
    let [heads, dim, room] = ["heads", "dim", "room"].map(|key| case.number(key) as usize);
    let room = (room > 0).then_some(room);
    let base = f64::from(case.number("base"));
    Some(case.apply(Rotary { heads, dim, base, room, inverse: false }, &x))
}

#[test]
fn shapes() {
    let of = |rotary: Rotary, x: &[usize]| typed_shape_of(rotary, &[(x, DType::F32)]);
    assert_eq!(of(PLAIN, &[3, 5, 8]).unwrap(), [3, 5, 8]);
    assert_eq!(of(PLAIN, &[3, 5, 11]).unwrap(), [3, 5, 11]);
    let error = of(PLAIN, &[3, 5, 7]).unwrap_err();
    assert!(error.contains("2 heads of 4 values are more than the 7 values"), "{error}");
    assert!(of(PLAIN, &[3, 8]).unwrap_err().contains("batch, time"));
    assert!(of(Rotary { dim: 3, ..PLAIN }, &[3, 5, 8]).unwrap_err().contains("no pairs"));
    assert!(of(Rotary { heads: usize::MAX, ..PLAIN }, &[3, 5, 8]).is_err());
    for base in [1.0, -5.0, f64::NAN, f64::INFINITY] {
        let error = of(Rotary { base, ..PLAIN }, &[3, 5, 8]).unwrap_err();
        assert!(error.contains("base must be above 1"), "{error}");
    }
    let given = Rotary { room: Some(9), ..PLAIN };
    let positions =
        |p: &[usize]| typed_shape_of(given, &[(&[3, 5, 8], DType::F32), (p, DType::I32)]);
    assert_eq!(positions(&[3, 5]).unwrap(), [3, 5, 8]);
    assert!(positions(&[3]).unwrap_err().contains("positions of shape [3, 5]"));
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn turned(seed: u64, batch in 1..3usize, time in 1..5usize, heads in 1..3usize, half in 1..4usize,
              rest in 0..4usize, given: bool, inverse: bool) {
        let rotary = Rotary { heads, dim: 2 * half, base: 50.0, room: given.then_some(20), inverse };
        let mut check = Check::new(seed);
        let x = check.variable(&[batch, time, heads * 2 * half + rest], Random::odd);
        let mut inputs = vec![x];
        if given {
            inputs.push(check.ints(&[batch, time], 20));
        }
        let y = check.apply(rotary, &inputs);
        check.run(y);
    }

    /// The product of a query and a key depends on the distance alone, and lengths stay; turned back, all is as before.
    #[test]
    fn products_depend_on_the_distance(seed: u64, half in 1..5usize, query in 0..500usize, key in 0..500usize,
                                       shift in 0..500usize) {
        let dim = 2 * half;
        let rotary = Rotary { heads: 1, dim, base: 1e4, room: Some(1000), inverse: false };
        let mut check = Check::new(seed);
        let [q, k] = [0; 2].map(|_| check.random.odd(dim));
        let x = check.given(&[4, 1, dim], [&q[..], &k, &q, &k].concat());
        let positions = check.ints(&[4, 1], 1);
        let at = [query, key, query + shift, key + shift].map(|p| p as i32);
        check.feeds.set_ints(positions, at.to_vec());
        let y = check.apply(rotary, &[x, positions]);
        let back = check.apply(Rotary { inverse: true, ..rotary }, &[y, positions]);
        let values = evaluate(&check.graph, check.feeds).unwrap();
        let (x, y, back) = (values.get(x).unwrap(), values.get(y).unwrap(), values.get(back).unwrap());
        let row = |i: usize| &y[i * dim..(i + 1) * dim];
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        prop_assert!((product(row(0), row(1)) - product(row(2), row(3))).abs() < 1e-9);
        prop_assert!((product(row(0), row(0)) - product(&q, &q)).abs() < 1e-9);
        prop_assert!(x.iter().zip(back).all(|(x, b)| (x - b).abs() < 1e-12));
    }
}
