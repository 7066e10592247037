//! The few messages of ONNX's protobuf format that a model needs, written field by field.
//!
//! Field numbers are those of `onnx.proto3` at IR version 8; none of them has changed since.

use crate::protobuf::Message;

/// An element type, by its number in `TensorProto.DataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Float = 1,
    Uint8 = 2,
    Int32 = 6,
    Int64 = 7,
}

/// An attribute of a node.
pub(super) enum Attribute {
    Int(&'static str, i64),
    Float(&'static str, f32),
    Text(&'static str, &'static str),
    Ints(&'static str, Vec<i64>),
}

impl Attribute {
    /// `AttributeProto`
    fn message(&self) -> Message {
        const TYPE: u32 = 20;
        match self {
            Attribute::Float(name, value) => {
                Message::new().text(1, name).float(2, *value).int(TYPE, 1)
            }
            Attribute::Int(name, value) => Message::new().text(1, name).int(3, *value).int(TYPE, 2),
            Attribute::Text(name, value) => {
                Message::new().text(1, name).text(4, value).int(TYPE, 3)
            }
            Attribute::Ints(name, values) => {
                let named = Message::new().text(1, name);
                values.iter().fold(named, |m, &value| m.int(8, value)).int(TYPE, 7)
            }
        }
    }
}

/// `NodeProto`
pub(super) fn node<S: AsRef<str>>(
    kind: &str,
    inputs: &[S],
    outputs: &[String],
    attributes: &[Attribute],
) -> Message {
    let mut node = Message::new();
    for input in inputs {
        node = node.text(1, input.as_ref());
    }
    for output in outputs {
        node = node.text(2, output);
    }
    let name = outputs.first().map_or("", String::as_str);
    let attributes: Vec<Message> = attributes.iter().map(Attribute::message).collect();
    node.text(3, name).text(4, kind).all(5, &attributes)
}

/// `TensorProto`, with the bytes of its values in the order of memory.
pub(super) fn tensor(name: &str, dims: &[usize], kind: Type, raw: &[u8]) -> Message {
    let tensor = dims.iter().fold(Message::new(), |m, &dim| m.int(1, dim as i64));
    tensor.int(2, kind as i64).text(8, name).bytes(9, raw)
}

/// A dim of a value that is named in a model: a number, or a name for what differs from call to call.
pub(super) enum Dim {
    Fixed(usize),
    Named(String),
}

/// `ValueInfoProto`
pub(super) fn value(name: &str, kind: Type, dims: &[Dim]) -> Message {
    let dim = |dim: &Dim| match dim {
        Dim::Fixed(n) => Message::new().int(1, *n as i64),
        Dim::Named(name) => Message::new().text(2, name),
    };
    let dims: Vec<Message> = dims.iter().map(dim).collect();
    let shape = Message::new().all(1, &dims);
    let tensor = Message::new().int(1, kind as i64).message(2, &shape);
    Message::new().text(1, name).message(2, &Message::new().message(1, &tensor))
}

/// The parts of a `ModelProto`.
pub(super) struct Parts {
    pub(super) nodes: Vec<Message>,
    pub(super) initializers: Vec<Message>,
    pub(super) inputs: Vec<Message>,
    pub(super) output: Message,
    /// Keys and values.
    pub(super) metadata: Vec<(String, String)>,
}

/// `ModelProto` of IR version 8 and opset 18.
pub(super) fn model(parts: &Parts) -> Vec<u8> {
    let graph = Message::new()
        .all(1, &parts.nodes)
        .text(2, "tidemill")
        .all(5, &parts.initializers)
        .all(11, &parts.inputs)
        .message(12, &parts.output);
    let pair = |(key, value): &(String, String)| Message::new().text(1, key).text(2, value);
    let metadata: Vec<Message> = parts.metadata.iter().map(pair).collect();
    Message::new()
        .int(1, 8)
        .text(2, "tidemill")
        .text(3, env!("CARGO_PKG_VERSION"))
        .message(7, &graph)
        .message(8, &Message::new().text(1, "").int(2, 18))
        .all(14, &metadata)
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of the format's own documentation.
    #[test]
    fn fields_have_the_bytes_of_the_format() {
        assert_eq!(Message::new().int(1, 150).into_bytes(), [0x08, 0x96, 0x01]);
        let text = Message::new().text(2, "testing").into_bytes();
        assert_eq!(text, [0x12, 7, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67]);
        let inner = Message::new().int(1, 150);
        assert_eq!(Message::new().message(3, &inner).into_bytes(), [0x1a, 3, 8, 0x96, 1]);
        let negative = Message::new().int(1, -1).into_bytes();
        assert_eq!((negative.len(), negative[10]), (11, 1));
    }
}
