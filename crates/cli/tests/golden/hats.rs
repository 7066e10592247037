//! Jobs of the stream default with hats, and with all that can be mixed with them.

use super::jobs::{CROSSENTROPY, Job, KINDS, LEARN, job, stream};

/// Two columns of numbers, a category of four inputs, and hats.
pub fn jobs() -> Vec<Job> {
    let leaky = "{ leaky_relu = { slope = 0.1 } }";
    let layers = format!(
        "{{ dense = {{ units = 64, activation = {leaky} }} }}, {{ dense = {{ units = 32, activation = {leaky} }} }}, \
         {{ dense = {{ units = 3 }} }}"
    );
    let with = |keys: &str, online: &str| {
        stream(24, &layers, CROSSENTROPY, &format!("{online}{KINDS}"))
            .replace("[training]", &format!("hats = {{ columns = 2 }}\n{keys}[training]"))
    };
    let all = with("memory = { events = 50 }\nlast_label = true\n", "batch_size = 2\n");
    vec![
        job("stream default with hats", with("", ""), LEARN),
        job("stream default with linear models", with("linear = true\n", ""), LEARN),
        job("stream default with a memory and the last label", all, LEARN),
    ]
}
