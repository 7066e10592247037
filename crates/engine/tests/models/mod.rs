//! A model of the tests of memory.

/// Dense layers whose activations are worth computing twice.
pub const MLP: &str = r#"
input = { features = 24 }
layers = [
  { repeat = { times = 6, layers = [{ dense = { units = 48, activation = "gelu" } }] } },
  { dense = { units = 5 } },
]"#;
