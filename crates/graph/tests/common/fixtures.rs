//! Tensors written by other frameworks; see `fixtures/README.md`.

use std::collections::HashMap;
use std::path::PathBuf;

/// A tensor of a fixture file.
pub struct Stored {
    pub shape: Vec<usize>,
    pub floats: Vec<f64>,
    pub ints: Vec<i32>,
    pub is_int: bool,
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

pub fn json(name: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(path(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

pub fn tensors(name: &str) -> HashMap<String, Stored> {
    let bytes = std::fs::read(path(name)).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let stored = |view: safetensors::tensor::TensorView| {
        let words = view.data().chunks_exact(4).map(|word| <[u8; 4]>::try_from(word).unwrap());
        let is_int = view.dtype() == safetensors::Dtype::I32;
        let mut result =
            Stored { shape: view.shape().to_vec(), floats: vec![], ints: vec![], is_int };
        if is_int {
            result.ints = words.map(i32::from_le_bytes).collect();
        } else {
            assert_eq!(view.dtype(), safetensors::Dtype::F32);
            result.floats = words.map(|word| f64::from(f32::from_le_bytes(word))).collect();
        }
        result
    };
    file.tensors().into_iter().map(|(name, view)| (name, stored(view))).collect()
}

/// Largest difference, relative to the largest magnitude or 1.
pub fn difference(found: &[f64], want: &[f64]) -> f64 {
    assert_eq!(found.len(), want.len());
    let scale = want.iter().fold(1.0, |scale: f64, w| scale.max(w.abs()));
    found.iter().zip(want).fold(0.0, |most: f64, (f, w)| {
        let difference = (f - w).abs() / scale;
        // NaN must not hide.
        if difference <= most { most } else { difference }
    })
}
