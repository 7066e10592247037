//! IDX files, the format of MNIST: a magic number, sizes, then values, all big-endian.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::images::{Share, Subset};
use crate::memory::{Features, Labels};
use crate::source::{open, read_error};
use crate::{Augment, Bytes, Error, MemoryDataset, Normalize, Result};

/// `data = { idx = { images = "...", labels = "..." } }`; both files may be gzipped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdxSpec {
    /// The file of samples: two or more dimensions, of which the first counts the samples. Values are
    /// unsigned bytes, or signed bytes, integers of 16 or 32 bits, floats or doubles.
    pub images: String,
    /// The file of labels: class numbers with one dimension; floats are targets. May be left out for
    /// data to predict on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
    /// Names of the classes, in the order of their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
    /// Use only this many samples from the start; all by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Share of the samples kept for validation, or a fold of them such as `"2/5"` (the second of five); needs `subset`. Not split by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_split: Option<Share>,
    /// The side of the split that this data is. Required with `validation_split`, left out
    /// otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<Subset>,
    /// Random seed of the split; 0 by default.
    #[serde(default)]
    pub seed: u32,
    /// How stored values are scaled; by default unsigned bytes are multiplied by 1/255, others are
    /// taken as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalize: Option<Normalize>,
    /// How training samples are varied, from `batch.augment`.
    #[serde(skip)]
    pub augment: Option<Augment>,
}

impl IdxSpec {
    /// Reads both files; `resolve` finds a named path.
    pub fn open(&self, resolve: &dyn Fn(&str) -> PathBuf) -> Result<MemoryDataset> {
        let images_path = resolve(&self.images);
        let images = read(&images_path, self.limit)?;
        if images.dims.len() < 2 {
            return Err(Error::format(
                &images_path,
                "holds one-dimensional IDX data, which looks like labels; images need 3 dimensions",
            ));
        }
        let mut shape = images.dims[1..].to_vec();
        if shape.len() == 2 {
            shape.push(1);
        }
        let count = images.dims[0];
        let labels = match &self.labels {
            None => Labels::None,
            Some(name) => {
                let path = resolve(name);
                let labels = read(&path, self.limit)?;
                if labels.dims.len() != 1 {
                    return Err(Error::format(
                        &path,
                        format!(
                            "holds IDX data of {} dimensions, labels need 1; are images and labels swapped?",
                            labels.dims.len()
                        ),
                    ));
                }
                if labels.dims[0] != count {
                    return Err(Error::format(
                        &path,
                        format!(
                            "has {} labels, but {} has {count} samples; are they of one set?",
                            labels.dims[0],
                            images_path.display()
                        ),
                    ));
                }
                labels.labels(&path)?
            }
        };
        let mut data =
            MemoryDataset::new(images.values, &shape, labels)?.with_file(self.images.clone());
        if let Some(normalize) = &self.normalize {
            data = data.with_normalize(normalize)?;
        }
        if let Some(augment) = &self.augment {
            data = data.with_augment(augment.clone(), &self.images)?;
        }
        if !self.class_names.is_empty() {
            data = data.with_class_names(self.class_names.clone())?;
        }
        Ok(data)
    }
}

/// The content of an IDX file.
#[derive(Clone, Debug)]
pub struct Idx {
    /// Sizes of the dimensions, outermost first.
    pub dims: Vec<usize>,
    /// All values.
    pub values: Features,
    /// Whether they are stored as floats or doubles.
    pub floats: bool,
}

impl Idx {
    /// Class numbers of integers, targets of floats.
    fn labels(self, path: &Path) -> Result<Labels> {
        let values = match self.values {
            Features::U8(v) => {
                return Ok(Labels::Classes(v.iter().map(|&v| u32::from(v)).collect()));
            }
            Features::F32(values) if self.floats => match values.iter().find(|v| !v.is_finite()) {
                Some(v) => return Err(Error::format(path, format!("has the label {v}"))),
                None => return Ok(Labels::Values { values, width: 1 }),
            },
            Features::F32(values) => values,
        };
        match values.iter().find(|v| !(0.0..16_777_216.0).contains(*v)) {
            None => Ok(Labels::Classes(values.into_iter().map(|v| v as u32).collect())),
            Some(v) => {
                Err(Error::format(path, format!("has the label {v}; classes are numbers from 0")))
            }
        }
    }

    /// The values where they are unsigned bytes; none otherwise.
    pub fn bytes(&self) -> &[u8] {
        match &self.values {
            Features::U8(bytes) => bytes,
            Features::F32(_) => &[],
        }
    }
}

/// Reads an IDX file, plain or gzipped, at most `limit` entries of its first dimension. Unsigned bytes
/// are inflated straight to their place: there is never a second copy.
pub fn read(path: &Path, limit: Option<usize>) -> Result<Idx> {
    let mut reader = open(path)?;
    let mut magic = [0; 4];
    reader.read_exact(&mut magic).map_err(|e| read_error(path, e))?;
    let [0, 0, kind, rank] = magic else {
        return Err(Error::format(
            path,
            format!("is no IDX file: it starts with {magic:02x?}, IDX with two zero bytes"),
        ));
    };
    let floats = matches!(kind, 0x0d | 0x0e);
    let size = match kind {
        0x08 | 0x09 => 1,
        0x0b => 2,
        0x0c | 0x0d => 4,
        0x0e => 8,
        _ => {
            let what = "has IDX values of unknown type";
            return Err(Error::format(
                path,
                format!("{what} 0x{kind:02x}; 0x08 to 0x0e are known"),
            ));
        }
    };
    if !(1..=4).contains(&rank) {
        return Err(Error::format(
            path,
            format!("has {rank} IDX dimensions; 1 to 4 are supported"),
        ));
    }
    let mut dims = Vec::with_capacity(usize::from(rank));
    for _ in 0..rank {
        let mut size = [0; 4];
        reader.read_exact(&mut size).map_err(|e| read_error(path, e))?;
        dims.push(u32::from_be_bytes(size) as usize);
    }
    let total = dims
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d))
        .and_then(|n| n.checked_mul(size))
        .filter(|&bytes| bytes <= 1 << 36)
        .ok_or_else(|| Error::format(path, format!("claims impossible IDX sizes {dims:?}")))?;
    let declared = dims[0];
    let per_entry = total.checked_div(declared).unwrap_or(0);
    dims[0] = declared.min(limit.unwrap_or(declared));
    let wanted = dims[0] * per_entry; // bytes

    let impossible = |e| Error::format(path, format!("claims IDX sizes {dims:?}: {e}"));
    let header = 4 + 4 * dims.len();
    if dims[0] == declared
        && let Some(whole) = inflate_whole(path, header + wanted).map_err(impossible)?
    {
        return finish(path, kind, dims, whole.skip(header), floats);
    }
    let mut values = Bytes::zeroed(wanted).map_err(impossible)?;
    let read = read_full(&mut reader, values.as_mut_slice());
    let read = read.map_err(|e| read_error(path, e))?;
    if read != wanted {
        return Err(Error::format(
            path,
            format!(
                "is truncated: {read} of {wanted} bytes; its header says {declared} entries of {per_entry} bytes"
            ),
        ));
    }
    if dims[0] == declared {
        // Also makes the gzip reader check its checksum at the end.
        let mut rest = [0; 1];
        if reader.read(&mut rest).map_err(|e| read_error(path, e))? != 0 {
            return Err(Error::format(
                path,
                format!("goes on after the {declared} entries that its header says"),
            ));
        }
    }
    finish(path, kind, dims, values, floats)
}

/// The file's values, once all are there.
fn finish(path: &Path, kind: u8, dims: Vec<usize>, values: Bytes, floats: bool) -> Result<Idx> {
    let values = values_of(kind, values).map_err(|(at, value)| {
        let entry = at / dims.iter().skip(1).product::<usize>().max(1);
        Error::format(path, rounded(value, entry))
    })?;
    Ok(Idx { dims, values, floats })
}

/// The error of an integer that a 32-bit float would round to the number beside it.
fn rounded(value: i32, entry: usize) -> String {
    format!(
        "has the integer {value} in entry {entry}, which a 32-bit float can't hold (it would be {}); number ids \
         from 0, and store what is measured as floats",
        value as f32 as i64
    )
}

/// Big-endian values of this type; for one that a 32-bit float can't hold, its place and itself.
fn values_of(kind: u8, bytes: Bytes) -> Result<Features, (usize, i32)> {
    let values: Vec<f32> = match kind {
        0x09 => bytes.iter().map(|&b| f32::from(b as i8)).collect(),
        0x0b => bytes.as_chunks().0.iter().map(|&b| f32::from(i16::from_be_bytes(b))).collect(),
        0x0c => {
            let exact = |(at, &b): (usize, &[u8; 4])| {
                let value = i32::from_be_bytes(b);
                let float = value as f32;
                if float as i64 == i64::from(value) { Ok(float) } else { Err((at, value)) }
            };
            bytes.as_chunks().0.iter().enumerate().map(exact).collect::<Result<_, _>>()?
        }
        0x0d => bytes.as_chunks().0.iter().map(|&b| f32::from_be_bytes(b)).collect(),
        0x0e => bytes.as_chunks().0.iter().map(|&b| f64::from_be_bytes(b) as f32).collect(),
        _ => return Ok(Features::U8(bytes)),
    };
    Ok(Features::F32(values))
}

/// A gzipped file of exactly this content length, inflated in one call; none if it is anything else,
/// which then is read piece by piece, and told what is wrong with it.
fn inflate_whole(path: &Path, len: usize) -> io::Result<Option<Bytes>> {
    let Ok(compressed) = std::fs::read(path) else { return Ok(None) };
    // A gzip file ends with the length of its content; what the header claims may be anything.
    let [.., a, b, c, d] = compressed[..] else { return Ok(None) };
    let says = u32::from_le_bytes([a, b, c, d]);
    if !compressed.starts_with(&[0x1f, 0x8b]) || says as usize != len {
        return Ok(None);
    }
    let mut bytes = Bytes::zeroed(len)?;
    bytes.populate();
    let inflated =
        libdeflater::Decompressor::new().gzip_decompress(&compressed, bytes.as_mut_slice());
    Ok((inflated == Ok(len)).then_some(bytes))
}

/// Reads until `bytes` is full or the file ends; says how many there were.
fn read_full(reader: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match reader.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Dataset;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn idx(dims: &[u32], values: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, dims.len() as u8];
        bytes.extend(dims.iter().flat_map(|d| d.to_be_bytes()));
        bytes.extend(values);
        bytes
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read_bytes(bytes: &[u8]) -> Result<Idx> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        read(file.path(), None)
    }

    #[test]
    fn plain_and_gzipped_are_told_by_content() {
        let bytes = idx(&[2, 2, 1], &[1, 2, 3, 4]);
        for bytes in [bytes.clone(), gz(&bytes)] {
            let found = read_bytes(&bytes).unwrap();
            assert_eq!(found.dims, [2, 2, 1]);
            assert!(matches!(found.values, Features::U8(v) if v[..] == [1, 2, 3, 4]));
        }
    }

    #[test]
    fn all_types_of_values() {
        let of = |kind: u8, values: &[u8], n: u32| {
            let bytes = [&[0, 0, kind, 1][..], &n.to_be_bytes(), values].concat();
            let found = [read_bytes(&bytes).unwrap(), read_bytes(&gz(&bytes)).unwrap()];
            let floats = found.map(|found| match found.values {
                Features::F32(values) => values,
                Features::U8(_) => panic!("bytes"),
            });
            assert_eq!(floats[0], floats[1]);
            floats[0].clone()
        };
        assert_eq!(of(0x09, &[255, 3], 2), [-1.0, 3.0]);
        assert_eq!(of(0x0b, &[255, 254, 1, 0], 2), [-2.0, 256.0]);
        assert_eq!(of(0x0c, &70_000i32.to_be_bytes(), 1), [70_000.0]);
        assert_eq!(of(0x0d, &(-0.5f32).to_be_bytes(), 1), [-0.5]);
        assert_eq!(of(0x0e, &1.25f64.to_be_bytes(), 1), [1.25]);
    }

    #[test]
    fn integers_that_would_be_rounded_are_an_error() {
        let large = (1 << 24) + 1;
        let values: Vec<u8> =
            [7, 1 << 24, -large, 3].iter().flat_map(|v: &i32| v.to_be_bytes()).collect();
        let bytes = [&[0, 0, 0x0c, 2, 0, 0, 0, 2, 0, 0, 0, 2][..], &values].concat();
        for bytes in [gz(&bytes), bytes] {
            let said = read_bytes(&bytes).unwrap_err().to_string();
            assert!(said.contains("has the integer -16777217 in entry 1"), "{said}");
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let good = idx(&[2, 2, 1], &[1, 2, 3, 4]);
        let text = |bytes: &[u8]| read_bytes(bytes).unwrap_err().to_string();
        assert!(text(&good[..19]).contains("is truncated: 3 of 4 bytes"));
        assert!(text(&good[..7]).contains("truncated"));
        assert!(text(&[]).contains("truncated"));
        assert!(text(b"PK\x03\x04....").contains("is no IDX file"));
        assert!(text(&[0, 0, 10, 1, 0, 0, 0, 0]).contains("type 0x0a"));
        assert!(text(&[0, 0, 8, 9]).contains("9 IDX dimensions"));
        assert!(text(&idx(&[u32::MAX; 3], &[])).contains("impossible"));
        assert!(text(&[&good[..], &[0]].concat()).contains("goes on after"));
        let packed = gz(&good);
        for cut in 1..packed.len() {
            assert!(read_bytes(&packed[..cut]).is_err());
        }
    }

    #[test]
    fn pairs_must_fit() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), idx(&[3, 2, 2], &[9; 12])).unwrap();
        std::fs::write(dir.path().join("y"), idx(&[3], &[0, 1, 2])).unwrap();
        std::fs::write(dir.path().join("z"), idx(&[2], &[0, 1])).unwrap();
        let resolve = |name: &str| dir.path().join(name);
        let spec = |images: &str, labels: &str| IdxSpec {
            images: images.into(),
            labels: Some(labels.into()),
            ..IdxSpec::default()
        };
        let data = spec("x", "y").open(&resolve).unwrap();
        assert_eq!((data.len(), data.sample_shape()), (3, vec![2, 2, 1]));
        assert_eq!(data.class(2), Some(2));
        assert_eq!(data.describe(1), "x, sample 1");
        let text = spec("x", "z").open(&resolve).unwrap_err().to_string();
        assert!(text.contains("has 2 labels") && text.contains("3 samples"), "{text}");
        let text = spec("y", "x").open(&resolve).unwrap_err().to_string();
        assert!(text.contains("looks like labels"), "{text}");
        assert!(spec("x", "nowhere").open(&resolve).unwrap_err().to_string().contains("nowhere"));
        let mut limited = spec("x", "z");
        limited.limit = Some(2);
        assert_eq!(limited.open(&resolve).unwrap().len(), 2);
    }
}
