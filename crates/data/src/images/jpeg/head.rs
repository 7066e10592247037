//! The segments of a JPEG file up to its pixels.

use super::huffman::{AcTable, DcTable};
use super::turn::Turn;

/// One plane of an image.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Component {
    id: u8,
    /// Blocks of it side by side, and one above another, in each unit (MCU).
    pub(super) blocks: [usize; 2],
    quantization: usize,
    /// Its tables of codes.
    pub(super) dc: usize,
    pub(super) ac: usize,
}

/// What is known before the pixels.
#[derive(Default)]
pub(super) struct Head {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) components: Vec<Component>,
    quantization: [Option<[i32; 64]>; 4],
    pub(super) dc: [Option<Box<DcTable>>; 4],
    pub(super) ac: [Option<Box<AcTable>>; 4],
    /// Units between restarts; 0 where there are none.
    pub(super) restart: usize,
    /// How the image is to be turned.
    pub(super) turn: Option<Turn>,
    /// Where the coded data begins.
    pub(super) start: usize,
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(*bytes.get(at)?) << 8 | usize::from(*bytes.get(at + 1)?))
}

impl Head {
    /// None where it is of a kind that is not known here.
    pub(super) fn read(bytes: &[u8]) -> Option<Head> {
        if !bytes.starts_with(&[0xff, 0xd8]) {
            return None;
        }
        let (mut head, mut at) = (Head::default(), 2);
        loop {
            if *bytes.get(at)? != 0xff {
                return None;
            }
            while *bytes.get(at)? == 0xff {
                at += 1;
            }
            let marker = bytes[at];
            let len = word(bytes, at + 1)?;
            let segment = bytes.get(at + 3..(at + 1).checked_add(len.max(2))?)?;
            at += 1 + len.max(2);
            match marker {
                0xc0 | 0xc1 => head.frame(segment)?,
                0xc4 => head.codes(segment)?,
                0xdb => head.quantization(segment)?,
                0xdd => head.restart = word(segment, 0)?,
                0xda => {
                    head.scan(segment)?;
                    head.start = at;
                    return Some(head);
                }
                // A transform of colours that is not YCbCr.
                0xee if segment.starts_with(b"Adobe") && segment.get(11) != Some(&1) => {
                    return None;
                }
                // Of several, the first counts.
                0xe1 if segment.starts_with(b"Exif") && head.turn.is_none() => {
                    head.turn = Some(Turn::read(segment.get(6..)?).unwrap_or_default());
                }
                0xe0..=0xef | 0xfe => {}
                _ => return None,
            }
        }
    }

    fn frame(&mut self, segment: &[u8]) -> Option<()> {
        let [8, _, _, _, _, count @ (1 | 3), planes @ ..] = segment else { return None };
        (self.height, self.width) = (word(segment, 1)?, word(segment, 3)?);
        let planes = planes.as_chunks::<3>().0.get(..usize::from(*count))?;
        let component = |&[id, blocks, table]: &[u8; 3]| Component {
            id,
            blocks: [usize::from(blocks >> 4), usize::from(blocks & 15)],
            quantization: usize::from(table),
            ..Component::default()
        };
        self.components = planes.iter().map(component).collect();
        let known = match &mut self.components[..] {
            [grey] => {
                grey.blocks = [1, 1];
                true
            }
            [y, b, r] => {
                let is_rgb = [y.id, b.id, r.id] == *b"RGB";
                let full = [[1, 1], [2, 1], [2, 2]].contains(&y.blocks);
                !is_rgb && full && b.blocks == [1, 1] && r.blocks == [1, 1]
            }
            _ => false,
        };
        (known && self.width > 0 && self.height > 0).then_some(())
    }

    fn codes(&mut self, mut segment: &[u8]) -> Option<()> {
        while let [kind, rest @ ..] = segment {
            let counts: &[u8; 16] = rest.first_chunk()?;
            let total: usize = counts.iter().map(|&n| usize::from(n)).sum();
            let symbols = rest.get(16..16 + total)?;
            let number = usize::from(kind & 15);
            match kind >> 4 {
                0 => *self.dc.get_mut(number)? = Some(Box::new(DcTable::new(counts, symbols)?)),
                1 => *self.ac.get_mut(number)? = Some(Box::new(AcTable::new(counts, symbols)?)),
                _ => return None,
            }
            segment = &rest[16 + total..];
        }
        Some(())
    }

    fn quantization(&mut self, mut segment: &[u8]) -> Option<()> {
        while let [kind, rest @ ..] = segment {
            let wide = usize::from(kind >> 4);
            let values = rest.get(..64 * (1 + wide))?;
            let mut table = [0; 64];
            for (i, value) in table.iter_mut().enumerate() {
                *value = if wide == 0 { i32::from(values[i]) } else { word(values, 2 * i)? as i32 };
            }
            *self.quantization.get_mut(usize::from(kind & 15))? = Some(table);
            segment = &rest[values.len()..];
        }
        Some(())
    }

    /// All planes must be in one scan, with all of their frequencies.
    fn scan(&mut self, segment: &[u8]) -> Option<()> {
        let count = self.components.len();
        if count == 0 || usize::from(*segment.first()?) != count {
            return None;
        }
        for (i, component) in self.components.iter_mut().enumerate() {
            let [id, tables] = *segment.get(1 + 2 * i..3 + 2 * i)?.as_array::<2>()?;
            (component.dc, component.ac) = (usize::from(tables >> 4), usize::from(tables & 15));
            let given = id == component.id
                && self.dc.get(component.dc)?.is_some()
                && self.ac.get(component.ac)?.is_some()
                && self.quantization.get(component.quantization)?.is_some();
            if !given {
                return None;
            }
        }
        (segment.get(1 + 2 * count..) == Some(&[0, 63, 0])).then_some(())
    }

    /// What the frequencies of a plane are multiplied by, in zigzag order.
    pub(super) fn factors(&self, component: &Component) -> [i32; 64] {
        self.quantization[component.quantization].unwrap_or([0; 64])
    }

    /// Blocks of a unit, side by side and one above another, at most of all planes.
    pub(super) fn unit(&self) -> [usize; 2] {
        self.components.first().map_or([1, 1], |first| first.blocks)
    }
}
