//! IDX files, the format of MNIST: a magic number, sizes, then values, all big-endian.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::memory::{Features, Labels};
use crate::source::{open, read_error};
use crate::{Bytes, Error, MemoryDataset, Normalize, Result};

/// `data = { idx = { images = "...", labels = "..." } }`; both files may be gzipped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdxSpec {
    /// The file of samples: 8-bit values with two or more dimensions, of which the first counts the
    /// samples.
    pub images: String,
    /// The file of labels: 8-bit values with one dimension. May be left out for data to predict on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
    /// Names of the classes, in the order of their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
    /// Use only this many samples from the start; all by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// How stored values are scaled; multiplied by 1/255 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalize: Option<Normalize>,
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
                Labels::Classes(labels.values.iter().map(|&v| u32::from(v)).collect())
            }
        };
        let mut data = MemoryDataset::new(Features::U8(images.values), &shape, labels)?
            .with_file(self.images.clone());
        if let Some(normalize) = &self.normalize {
            data = data.with_normalize(normalize)?;
        }
        if !self.class_names.is_empty() {
            data = data.with_class_names(self.class_names.clone())?;
        }
        Ok(data)
    }
}

/// The content of an IDX file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idx {
    /// Sizes of the dimensions, outermost first.
    pub dims: Vec<usize>,
    /// All values.
    pub values: Bytes,
}

/// Reads an IDX file of 8-bit values, plain or gzipped, at most `limit` entries of its first
/// dimension. The values are inflated straight to their place: there is never a second copy.
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
    if kind != 0x08 {
        return Err(Error::format(
            path,
            format!("has IDX values of type 0x{kind:02x}; only 0x08 (unsigned bytes) is supported"),
        ));
    }
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
        .filter(|&n| n <= 1 << 36)
        .ok_or_else(|| Error::format(path, format!("claims impossible IDX sizes {dims:?}")))?;
    let declared = dims[0];
    let per_entry = total.checked_div(declared).unwrap_or(0);
    dims[0] = declared.min(limit.unwrap_or(declared));
    let wanted = dims[0] * per_entry;

    let impossible = |e| Error::format(path, format!("claims IDX sizes {dims:?}: {e}"));
    let header = 4 + 4 * dims.len();
    if dims[0] == declared
        && let Some(whole) = inflate_whole(path, header + wanted).map_err(impossible)?
    {
        return Ok(Idx { dims, values: whole.skip(header) });
    }
    let mut values = Bytes::zeroed(wanted).map_err(impossible)?;
    let read = read_full(&mut reader, values.as_mut_slice());
    let read = read.map_err(|e| read_error(path, e))?;
    if read != wanted {
        return Err(Error::format(
            path,
            format!(
                "is truncated: {read} of {wanted} values; its header says {declared} entries of {per_entry}"
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
    Ok(Idx { dims, values })
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
        let want = Idx { dims: vec![2, 2, 1], values: vec![1, 2, 3, 4].into() };
        assert_eq!(read_bytes(&bytes).unwrap(), want);
        assert_eq!(read_bytes(&gz(&bytes)).unwrap(), want);
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let good = idx(&[2, 2, 1], &[1, 2, 3, 4]);
        let text = |bytes: &[u8]| read_bytes(bytes).unwrap_err().to_string();
        assert!(text(&good[..19]).contains("is truncated: 3 of 4 values"));
        assert!(text(&good[..7]).contains("truncated"));
        assert!(text(&[]).contains("truncated"));
        assert!(text(b"PK\x03\x04....").contains("is no IDX file"));
        assert!(text(&[0, 0, 13, 1, 0, 0, 0, 0]).contains("type 0x0d"));
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
