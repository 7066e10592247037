//! Nodes, constants and names: what the ops are written with.

use std::collections::{HashMap, HashSet};

use tidemill_engine::graph::{DType, GraphError, Role, TensorId};

use super::sizes::{Multiple, Sizes};
use super::wire::{self, Attribute, Dim, Type};
use crate::protobuf::Message;

pub(super) type Written<T = ()> = Result<T, GraphError>;

/// Pixels `[b, h, w, c]`, as images are here; ONNX's convolutions read `[b, c, h, w]`. A value is in either order or both.
const TO_FIRST: [i64; 4] = [0, 3, 1, 2];
const TO_LAST: [i64; 4] = [0, 2, 3, 1];

/// A node with the names that it reads and gives.
struct Node {
    inputs: Vec<String>,
    outputs: Vec<String>,
    message: Message,
}

/// What has been written so far.
pub(super) struct Writer<'a> {
    pub(super) sizes: &'a Sizes,
    weights: &'a HashMap<String, Vec<f32>>,
    /// By input: each value is multiplied by the first and the second is added, for each channel; the input is then bytes.
    pixels: &'a HashMap<String, [Vec<f32>; 2]>,
    nodes: Vec<Node>,
    /// Constants and inputs by name. Only what the output depends on is written.
    initializers: Vec<(String, Message)>,
    inputs: Vec<(String, Message)>,
    /// By tensor: the name of its value.
    plain: Vec<Option<String>>,
    /// The same with channels before rows and columns.
    channels_first: Vec<Option<String>>,
    /// Values that are made once: constants, lengths, masks, sizes.
    once: HashMap<String, String>,
    /// The tensor whose op is being written.
    scope: String,
    count: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        sizes: &'a Sizes,
        weights: &'a HashMap<String, Vec<f32>>,
        pixels: &'a HashMap<String, [Vec<f32>; 2]>,
    ) -> Writer<'a> {
        let none = vec![None; sizes.graph.tensors.len()];
        Writer {
            sizes,
            weights,
            pixels,
            nodes: vec![],
            initializers: vec![],
            inputs: vec![],
            plain: none.clone(),
            channels_first: none,
            once: HashMap::new(),
            scope: String::new(),
            count: 0,
        }
    }

    /// Names what is written next after a tensor.
    pub(super) fn enter(&mut self, id: TensorId) {
        let name = &self.sizes.graph.tensor(id).name;
        let path = name.rsplit_once('.').map_or("", |(path, _)| path);
        self.scope = path.to_owned();
    }

    fn new_name(&mut self, kind: &str) -> String {
        self.count += 1;
        let (scope, count) = (&self.scope, self.count);
        match scope.is_empty() {
            true => format!("{kind}_{count}"),
            false => format!("{scope}/{kind}_{count}"),
        }
    }

    /// A node with one output, whose name is returned.
    pub(super) fn node<S: AsRef<str>>(
        &mut self,
        kind: &str,
        inputs: &[S],
        attributes: &[Attribute],
    ) -> String {
        let name = self.new_name(kind);
        self.add(kind, inputs, std::slice::from_ref(&name), attributes);
        name
    }

    /// A node with several outputs.
    pub(super) fn node_of<S: AsRef<str>>(
        &mut self,
        kind: &str,
        inputs: &[S],
        outputs: usize,
        attributes: &[Attribute],
    ) -> Vec<String> {
        let name = self.new_name(kind);
        let names: Vec<String> = (0..outputs).map(|i| format!("{name}.{i}")).collect();
        self.add(kind, inputs, &names, attributes);
        names
    }

    /// A node with outputs of those names.
    pub(super) fn add<S: AsRef<str>>(
        &mut self,
        kind: &str,
        inputs: &[S],
        outputs: &[String],
        attributes: &[Attribute],
    ) {
        self.nodes.push(Node {
            inputs: inputs.iter().map(|input| input.as_ref().to_owned()).collect(),
            outputs: outputs.to_vec(),
            message: wire::node(kind, inputs, outputs, attributes),
        });
    }

    /// The nodes, constants and inputs that an output depends on.
    pub(super) fn finish(self, output: &str) -> [Vec<Message>; 3] {
        let mut read = HashSet::from([output.to_owned()]);
        let mut nodes = Vec::new();
        for node in self.nodes.into_iter().rev() {
            if node.outputs.iter().any(|output| read.contains(output)) {
                read.extend(node.inputs);
                nodes.push(node.message);
            }
        }
        nodes.reverse();
        let of = |all: Vec<(String, Message)>| {
            let own = all.into_iter().filter(|(name, _)| read.contains(name));
            own.map(|(_, message)| message).collect()
        };
        [nodes, of(self.initializers), of(self.inputs)]
    }

    /// A number that no other constant has.
    pub(super) fn next_constant(&self) -> usize {
        self.initializers.len()
    }

    /// A value that is made at its first use.
    pub(super) fn once(
        &mut self,
        key: &str,
        make: impl FnOnce(&mut Self) -> Written<String>,
    ) -> Written<String> {
        if let Some(name) = self.once.get(key) {
            return Ok(name.clone());
        }
        let name = make(self)?;
        self.once.insert(key.to_owned(), name.clone());
        Ok(name)
    }

    /// Constant floats.
    pub(super) fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> String {
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initializers.push((name.to_owned(), wire::tensor(name, dims, Type::Float, &raw)));
        name.to_owned()
    }

    /// A constant number.
    pub(super) fn scalar(&mut self, value: f32) -> String {
        let key = format!("number/{:08x}", value.to_bits());
        match self.once.get(&key) {
            Some(name) => name.clone(),
            None => {
                let name = self.floats(&format!("number_{}", self.once.len()), &[], &[value]);
                self.once.insert(key, name.clone());
                name
            }
        }
    }

    /// Constant whole numbers of those dims.
    pub(super) fn whole(&mut self, dims: &[usize], values: &[i64]) -> String {
        let key = format!("whole/{dims:?}{values:?}");
        if let Some(name) = self.once.get(&key) {
            return name.clone();
        }
        let name = format!("whole_{}", self.once.len());
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initializers.push((name.clone(), wire::tensor(&name, dims, Type::Int64, &raw)));
        self.once.insert(key, name.clone());
        name
    }

    /// A list of constant whole numbers.
    pub(super) fn ints(&mut self, values: &[i64]) -> String {
        self.whole(&[values.len()], values)
    }

    /// The values of a parameter or another tensor of the state.
    pub(super) fn weights(&self, id: TensorId) -> Option<&'a [f32]> {
        let tensor = self.sizes.graph.tensor(id);
        let kept = matches!(tensor.role, Role::Parameter | Role::State);
        let weights = self.weights;
        weights.get(&tensor.name).filter(|_| kept).map(Vec::as_slice)
    }

    pub(super) fn shape(&self, id: TensorId) -> &'a [usize] {
        self.sizes.graph.shape(id)
    }

    pub(super) fn set(&mut self, id: TensorId, name: String) {
        self.plain[id.index()] = Some(name);
    }

    pub(super) fn set_first(&mut self, id: TensorId, name: String) {
        self.channels_first[id.index()] = Some(name);
    }

    /// Whether a tensor's value is there with channels before rows and columns alone.
    pub(super) fn is_first(&self, id: TensorId) -> bool {
        self.plain[id.index()].is_none() && self.channels_first[id.index()].is_some()
    }

    /// The name of a tensor's value.
    pub(super) fn get(&mut self, id: TensorId) -> Written<String> {
        if let Some(name) = &self.plain[id.index()] {
            return Ok(name.clone());
        }
        let name = match self.channels_first[id.index()].clone() {
            Some(first) => {
                self.node("Transpose", &[first], &[Attribute::Ints("perm", TO_LAST.to_vec())])
            }
            None => self.given(id)?,
        };
        self.set(id, name.clone());
        Ok(name)
    }

    /// The name of the value of images with channels before rows and columns.
    pub(super) fn first(&mut self, id: TensorId) -> Written<String> {
        if let Some(name) = &self.channels_first[id.index()] {
            return Ok(name.clone());
        }
        let plain = self.get(id)?;
        let name = self.node("Transpose", &[plain], &[Attribute::Ints("perm", TO_FIRST.to_vec())]);
        self.set_first(id, name.clone());
        Ok(name)
    }

    /// A value that no op computes.
    fn given(&mut self, id: TensorId) -> Written<String> {
        let sizes = self.sizes;
        let tensor = sizes.graph.tensor(id);
        if let Some(values) = self.weights(id) {
            return Ok(self.floats(&tensor.name, &tensor.shape, values));
        }
        match tensor.role {
            Role::Input => self.input(id),
            _ => Err(GraphError::new("has no value; please report it").at(&tensor.name)),
        }
    }

    /// An input of the model. Lengths are an input too; a mask is made of them.
    fn input(&mut self, id: TensorId) -> Written<String> {
        let sizes = self.sizes;
        let tensor = sizes.graph.tensor(id);
        if let Some(field) = tensor.name.strip_suffix(".mask") {
            return self.mask(field);
        }
        if let Some(field) = tensor.name.strip_suffix(".lengths") {
            return self.lengths(field);
        }
        if let Some(field) = tensor.name.strip_suffix(".last") {
            return self.last(field);
        }
        if let Some([factors, summands]) = self.pixels.get(&tensor.name) {
            let bytes = self.declare(id, Type::Uint8)?;
            let to = Attribute::Int("to", Type::Float as i64);
            let x = self.node("Cast", &[bytes], &[to]);
            let factors = self.floats("pixel_scale", &[factors.len()], factors);
            let x = self.node("Mul", &[x, factors], &[]);
            if summands.iter().all(|&value| value == 0.0) {
                return Ok(x);
            }
            let summands = self.floats("pixel_shift", &[summands.len()], summands);
            return Ok(self.node("Add", &[x, summands], &[]));
        }
        let kind = if tensor.dtype == DType::F32 { Type::Float } else { Type::Int64 };
        self.declare(id, kind)
    }

    fn declare(&mut self, id: TensorId, kind: Type) -> Written<String> {
        let name = self.sizes.graph.tensor(id).name.clone();
        let dims = self.named_dims(id)?;
        self.inputs.push((name.clone(), wire::value(&name, kind, &dims)));
        Ok(name)
    }

    /// The dims of a tensor as they are declared.
    pub(super) fn named_dims(&self, id: TensorId) -> Written<Vec<Dim>> {
        let dim = |dim: &Multiple| match dim.of.is_empty() {
            true => Dim::Fixed(dim.factor),
            false => Dim::Named(self.sizes.in_words(dim)),
        };
        Ok(self.sizes.dims(id)?.iter().map(dim).collect())
    }

    /// How long the sequences of an input are, int64 `[batch]`.
    pub(super) fn lengths(&mut self, field: &str) -> Written<String> {
        self.once(&format!("lengths/{field}"), |w| {
            let name = format!("{field}.lengths");
            let value = wire::value(&name, Type::Int64, &[Dim::Named("batch".into())]);
            w.inputs.push((name.clone(), value));
            Ok(name)
        })
    }

    /// 1 up to each sample's end, else 0: f32 `[batch, time]`.
    fn mask(&mut self, field: &str) -> Written<String> {
        let lengths = self.lengths(field)?;
        self.compared(field, lengths, "Less")
    }

    /// 1 at each sample's last position, else 0: f32 `[batch, time]`.
    fn last(&mut self, field: &str) -> Written<String> {
        let (lengths, one) = (self.lengths(field)?, self.whole(&[], &[1]));
        let last = self.node("Sub", &[lengths, one], &[]);
        self.compared(field, last, "Equal")
    }

    /// Whether the positions of an input compare so with a number for each sample.
    fn compared(&mut self, field: &str, lengths: String, how: &str) -> Written<String> {
        let Some(of) = self.sizes.graph.find(field) else {
            return Err(GraphError::new(format!("a mask of no input {field}; please report it")));
        };
        let axes = self.ints(&[1]);
        let ends = self.node("Unsqueeze", &[lengths, axes], &[]);
        let positions = self.positions(of, 1)?;
        let inside = self.node(how, &[positions, ends], &[]);
        Ok(self.node("Cast", &[inside], &[Attribute::Int("to", Type::Float as i64)]))
    }

    /// `0, 1, ..` up to a dim of a tensor, int64.
    pub(super) fn positions(&mut self, id: TensorId, axis: usize) -> Written<String> {
        let dim = self.sizes.dim(id, axis)?;
        let key = format!("positions/{dim:?}");
        self.once(&key, |w| {
            let size = w.size(&dim)?;
            let none = w.ints(&[]);
            let end = w.node("Reshape", &[size, none], &[]);
            let [start, step] = [0, 1].map(|n| w.whole(&[], &[n]));
            Ok(w.node("Range", &[start, end, step], &[]))
        })
    }

    /// A dim as a value, int64 `[1]`.
    pub(super) fn size(&mut self, dim: &Multiple) -> Written<String> {
        let mut size = None;
        for &symbol in &dim.of {
            let one = self.symbol(symbol)?;
            size = Some(match size {
                None => one,
                Some(other) => self.node("Mul", &[other, one], &[]),
            });
        }
        let factor = self.ints(&[dim.factor as i64]);
        Ok(match size {
            None => factor,
            Some(size) if dim.factor == 1 => size,
            Some(size) => self.node("Mul", &[size, factor], &[]),
        })
    }

    fn symbol(&mut self, index: usize) -> Written<String> {
        let (input, axis) = &self.sizes.symbols[index].from;
        let id = self.sizes.graph.find(input);
        let id =
            id.ok_or_else(|| GraphError::new(format!("no input {input}; please report it")))?;
        self.once(&format!("symbol/{index}"), |w| {
            // What is declared is the input before any scaling.
            w.get(id)?;
            let axis = *axis as i64;
            let range = [Attribute::Int("start", axis), Attribute::Int("end", axis + 1)];
            Ok(w.node("Shape", &[input], &range))
        })
    }

    /// The dims of a tensor as a value, int64 `[rank]`. With `infer` one of them may be -1, as a reshape takes it.
    pub(super) fn dims(&mut self, id: TensorId, infer: bool) -> Written<String> {
        let dims = self.sizes.dims(id)?;
        let left_out = dims.iter().position(|dim| !dim.of.is_empty()).filter(|_| infer);
        let known = |(i, dim): (usize, &Multiple)| match dim.of.is_empty() {
            true => Some(dim.factor as i64),
            false => (Some(i) == left_out).then_some(-1),
        };
        let known: Vec<Option<i64>> = dims.iter().enumerate().map(known).collect();
        if let Some(all) = known.iter().copied().collect::<Option<Vec<i64>>>() {
            return Ok(self.ints(&all));
        }
        let mut parts = Vec::new();
        for (known, dim) in known.iter().zip(&dims) {
            parts.push(match known {
                Some(value) => self.ints(&[*value]),
                None => self.size(dim)?,
            });
        }
        Ok(self.node("Concat", &parts, &[Attribute::Int("axis", 0)]))
    }
}
