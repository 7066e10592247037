//! Reads the committed fixtures.
#![allow(clippy::unwrap_used, dead_code)]

use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

pub fn json(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path(name)).unwrap()).unwrap()
}

/// A tensor of a safetensors file.
pub struct Tensor {
    pub shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Tensor {
    pub fn f32s(&self) -> Vec<f32> {
        self.words().map(f32::from_le_bytes).collect()
    }

    pub fn f64s(&self) -> Vec<f64> {
        self.f32s().into_iter().map(f64::from).collect()
    }

    pub fn i32s(&self) -> Vec<i32> {
        self.words().map(i32::from_le_bytes).collect()
    }

    fn words(&self) -> impl Iterator<Item = [u8; 4]> + '_ {
        self.bytes.chunks_exact(4).map(|word| word.try_into().unwrap())
    }
}

/// Tensors by name: 8 bytes of header length, a JSON header, then the data.
pub fn safetensors(name: &str) -> HashMap<String, Tensor> {
    let bytes = std::fs::read(path(name)).unwrap();
    let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
    let data = &bytes[8 + header_len..];
    let number = |v: &Value| v.as_u64().unwrap() as usize;
    let tensor = |(name, entry): (&String, &Value)| {
        let offsets = &entry["data_offsets"];
        let shape = entry["shape"].as_array().unwrap().iter().map(number).collect();
        let bytes = data[number(&offsets[0])..number(&offsets[1])].to_vec();
        (name.clone(), Tensor { shape, bytes })
    };
    header.as_object().unwrap().iter().filter(|(k, _)| *k != "__metadata__").map(tensor).collect()
}
