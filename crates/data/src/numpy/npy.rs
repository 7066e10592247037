//! One array of NumPy's `.npy` format: a magic number, a header that is a Python dictionary, values
//! (NumPy Enhancement Proposal 1).
//!
//! The header is read here: the library for it brings a parser generator and a C build.

use std::io::{self, Read};

use crate::Bytes;

/// No array is larger: a header that claims more is damaged.
const MOST_VALUES: usize = 1 << 36;
/// Bytes that are converted at a time.
const CHUNK: usize = 1 << 16;

/// What one value is, and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bool,
    Unsigned(usize),
    Signed(usize),
    Float(usize),
    /// UTF-32 of so many characters, filled up with zeros.
    Text(usize),
    /// So many bytes, filled up with zeros.
    Ascii(usize),
}

impl Kind {
    fn bytes(self) -> usize {
        match self {
            Kind::Bool => 1,
            Kind::Unsigned(n) | Kind::Signed(n) | Kind::Float(n) | Kind::Ascii(n) => n,
            Kind::Text(chars) => 4 * chars,
        }
    }

    /// As NumPy calls it.
    fn name(self) -> String {
        match self {
            Kind::Bool => "bool".into(),
            Kind::Unsigned(n) => format!("uint{}", 8 * n),
            Kind::Signed(n) => format!("int{}", 8 * n),
            Kind::Float(n) => format!("float{}", 8 * n),
            Kind::Text(n) => format!("U{n}"),
            Kind::Ascii(n) => format!("S{n}"),
        }
    }
}

/// The values of an array.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Values {
    /// 8-bit values, as they are stored.
    U8(Bytes),
    /// Other integers and truth values.
    Integers(Vec<i64>),
    /// Floats, rounded to 32 bits.
    Floats(Vec<f32>),
    /// Floats of 64 bits, where those are asked for.
    Doubles(Vec<f64>),
    /// Texts.
    Texts(Vec<String>),
}

/// An array whose first dimension counts samples.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Array {
    pub dims: Vec<usize>,
    /// The type of its values, as NumPy calls it.
    pub kind: String,
    pub values: Values,
}

/// Reads an array, at most `limit` entries of its first dimension; floats of 64 bits as they are where `doubles` says so. The error is
/// what is wrong with it.
pub(super) fn read(
    reader: &mut dyn Read,
    limit: Option<usize>,
    doubles: bool,
) -> Result<Array, String> {
    let (kind, big, fortran, mut dims) = header(reader)?;
    let total = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let total = total.filter(|&n| n.saturating_mul(kind.bytes()) <= MOST_VALUES);
    let total = total.ok_or_else(|| format!("claims an impossible shape {dims:?}"))?;
    let Some(&rows) = dims.first() else {
        return Err("holds a single value, not an array of samples".into());
    };
    let kept = rows.min(limit.unwrap_or(rows));
    let per_row = total.checked_div(rows).unwrap_or(0);
    // The values of a column-major array are spread over all of it.
    let count = if fortran { total } else { kept * per_row };
    let mut values = values(reader, (kind, big, doubles), count)?;
    if fortran && dims.len() > 1 {
        values = match values {
            Values::U8(v) => Values::U8(row_major(&v, &dims).into()),
            Values::Integers(v) => Values::Integers(row_major(&v, &dims)),
            Values::Floats(v) => Values::Floats(row_major(&v, &dims)),
            Values::Doubles(v) => Values::Doubles(row_major(&v, &dims)),
            Values::Texts(v) => Values::Texts(row_major(&v, &dims)),
        };
    }
    if fortran && kept < rows {
        let count = kept * per_row;
        match &mut values {
            Values::U8(v) => *v = v[..count].to_vec().into(),
            Values::Integers(v) => v.truncate(count),
            Values::Floats(v) => v.truncate(count),
            Values::Doubles(v) => v.truncate(count),
            Values::Texts(v) => v.truncate(count),
        }
    }
    dims[0] = kept;
    Ok(Array { dims, kind: kind.name(), values })
}

/// The kind of values, whether they are big-endian, whether they are column-major, and the shape.
fn header(reader: &mut dyn Read) -> Result<(Kind, bool, bool, Vec<usize>), String> {
    let mut start = [0; 8];
    reader.read_exact(&mut start).map_err(|e| cut("its header", e))?;
    if !start.starts_with(b"\x93NUMPY") {
        return Err(format!("is no NumPy array: it starts with {:02x?}", &start[..6]));
    }
    let len = match start[6] {
        1 => {
            let mut len = [0; 2];
            reader.read_exact(&mut len).map_err(|e| cut("its header", e))?;
            usize::from(u16::from_le_bytes(len))
        }
        2 | 3 => {
            let mut len = [0; 4];
            reader.read_exact(&mut len).map_err(|e| cut("its header", e))?;
            u32::from_le_bytes(len) as usize
        }
        version => return Err(format!("has version {version} of the format; 1 to 3 are known")),
    };
    if len > 1 << 20 {
        return Err(format!("claims a header of {len} bytes"));
    }
    let mut text = vec![0; len];
    reader.read_exact(&mut text).map_err(|e| cut("its header", e))?;
    let text = String::from_utf8_lossy(&text);
    parse(&text).ok_or_else(|| format!("has a header that cannot be read: {}", text.trim()))?
}

type Header = (Kind, bool, bool, Vec<usize>);

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`; none if it is something else.
fn parse(text: &str) -> Option<Result<Header, String>> {
    let value = |key: &str| {
        let at = text.find(&format!("'{key}'"))? + key.len() + 2;
        Some(text[at..].trim_start().strip_prefix(':')?.trim_start())
    };
    let shape = value("shape")?.strip_prefix('(')?;
    let sizes = shape[..shape.find(')')?].split(',').map(str::trim).filter(|s| !s.is_empty());
    let dims = sizes.map(|s| s.trim_end_matches('L').parse().ok()).collect::<Option<Vec<_>>>()?;
    let order = value("fortran_order")?;
    let fortran = match () {
        () if order.starts_with("True") => true,
        () if order.starts_with("False") => false,
        () => return None,
    };
    let descr = value("descr")?;
    if descr.starts_with('[') {
        let what = "has records of several fields; save its columns as arrays of their own";
        return Some(Err(what.into()));
    }
    let descr = descr.strip_prefix('\'')?;
    let descr = &descr[..descr.find('\'')?];
    let (order, rest) = descr.split_at_checked(1)?;
    let (letter, size) = rest.split_at_checked(1)?;
    let kind = match (letter, size.parse().ok()) {
        ("b", _) => Kind::Bool,
        ("u", Some(n @ (1 | 2 | 4 | 8))) => Kind::Unsigned(n),
        ("i", Some(n @ (1 | 2 | 4 | 8))) => Kind::Signed(n),
        ("f", Some(n @ (4 | 8))) => Kind::Float(n),
        ("U", Some(n)) => Kind::Text(n),
        ("S", Some(n)) => Kind::Ascii(n),
        ("O", _) => {
            let what = "has Python objects (dtype object), which only Python can read; save numbers, \
                        such as with x.astype(\"float32\")";
            return Some(Err(what.into()));
        }
        _ => {
            return Some(Err(format!(
                "has values of type \"{descr}\"; save it with .astype(\"float32\") or, for labels, \
                 .astype(\"int64\")"
            )));
        }
    };
    Some(Ok((kind, order == ">", fortran, dims)))
}

fn values(
    reader: &mut dyn Read,
    (kind, big, doubles): (Kind, bool, bool),
    count: usize,
) -> Result<Values, String> {
    let impossible = |e: &dyn std::fmt::Display| format!("is too large: {count} values: {e}");
    if kind == Kind::Unsigned(1) {
        let mut bytes = Bytes::zeroed(count).map_err(|e| impossible(&e))?;
        reader.read_exact(bytes.as_mut_slice()).map_err(|e| cut("its values", e))?;
        return Ok(Values::U8(bytes));
    }
    let mut values = match kind {
        Kind::Float(8) if doubles => Values::Doubles(Vec::new()),
        Kind::Float(_) => Values::Floats(Vec::new()),
        Kind::Text(_) | Kind::Ascii(_) => Values::Texts(Vec::new()),
        Kind::Bool | Kind::Unsigned(_) | Kind::Signed(_) => Values::Integers(Vec::new()),
    };
    let reserved = match &mut values {
        Values::Floats(v) => v.try_reserve_exact(count),
        Values::Doubles(v) => v.try_reserve_exact(count),
        Values::Integers(v) => v.try_reserve_exact(count),
        Values::Texts(_) | Values::U8(_) => Ok(()),
    };
    reserved.map_err(|e| impossible(&e))?;
    let size = kind.bytes();
    if size == 0 {
        return Err("has texts of no length".into());
    }
    let at_once = (CHUNK / size).max(1);
    let mut bytes = vec![0; at_once.min(count) * size];
    let mut left = count;
    while left > 0 {
        let chunk = &mut bytes[..at_once.min(left) * size];
        reader.read_exact(chunk).map_err(|e| cut("its values", e))?;
        left -= chunk.len() / size;
        for value in chunk.chunks_exact_mut(size) {
            if big && !matches!(kind, Kind::Text(_) | Kind::Ascii(_)) {
                value.reverse();
            }
            match &mut values {
                Values::Floats(v) => v.push(float(value)),
                Values::Doubles(v) => v.push(value.try_into().map_or(f64::NAN, f64::from_le_bytes)),
                Values::Integers(v) => v.push(integer(kind, value)?),
                Values::Texts(v) => v.push(text(kind, big, value)?),
                Values::U8(_) => {}
            }
        }
    }
    Ok(values)
}

fn float(bytes: &[u8]) -> f32 {
    match *bytes {
        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
        [a, b, c, d, e, f, g, h] => f64::from_le_bytes([a, b, c, d, e, f, g, h]) as f32,
        _ => f32::NAN,
    }
}

fn integer(kind: Kind, bytes: &[u8]) -> Result<i64, String> {
    let negative = matches!(kind, Kind::Signed(_)) && bytes.last().is_some_and(|b| b & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let value = i64::from_le_bytes(wide);
    match kind {
        Kind::Unsigned(8) if value < 0 => {
            Err(format!("has the value {}, which is above 2^63", u64::from_le_bytes(wide)))
        }
        _ => Ok(value),
    }
}

fn text(kind: Kind, big: bool, bytes: &[u8]) -> Result<String, String> {
    if let Kind::Ascii(_) = kind {
        let end = bytes.iter().rposition(|&b| b != 0).map_or(0, |at| at + 1);
        return Ok(String::from_utf8_lossy(&bytes[..end]).into_owned());
    }
    let chars = bytes.chunks_exact(4).map(|c| {
        let c = [c[0], c[1], c[2], c[3]];
        if big { u32::from_be_bytes(c) } else { u32::from_le_bytes(c) }
    });
    let text: Option<String> = chars.map(char::from_u32).collect();
    let text = text.ok_or("has a text that is not Unicode")?;
    Ok(text.trim_end_matches('\0').to_owned())
}

/// The values of a column-major array of this shape in row-major order.
fn row_major<T: Clone>(values: &[T], dims: &[usize]) -> Vec<T> {
    let mut strides = vec![1; dims.len()];
    for d in 1..dims.len() {
        strides[d] = strides[d - 1] * dims[d - 1];
    }
    let mut place = vec![0; dims.len()];
    let mut sorted = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        let at: usize = place.iter().zip(&strides).map(|(p, s)| p * s).sum();
        sorted.push(values[at].clone());
        for d in (0..dims.len()).rev() {
            place[d] += 1;
            if place[d] < dims[d] {
                break;
            }
            place[d] = 0;
        }
    }
    sorted
}

fn cut(what: &str, error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => format!("is truncated: it ends within {what}"),
        _ => format!("cannot be read within {what}: {error}"),
    }
}
