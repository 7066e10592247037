//! Huffman codes, and the bits that they are read from.

/// Bits that a table is looked up by.
const LOOK: u32 = 10;

/// The codes of 1 to 16 bits in order, with their symbols.
fn codes<'a>(counts: &'a [u8; 16], symbols: &'a [u8]) -> impl Iterator<Item = (u32, u32, u8)> + 'a {
    let (mut code, mut next) = (0u32, 0);
    (1..=16u32).flat_map(move |len| {
        let count = usize::from(counts[len as usize - 1]);
        let first = code;
        let own = symbols.iter().skip(next).take(count);
        next += count;
        code = (code + count as u32) << 1;
        own.enumerate().map(move |(i, &symbol)| (first + i as u32, len, symbol))
    })
}

/// Symbols of codes that are longer than a table is looked up by.
struct Long {
    /// For each length: the first code beyond it, shifted to 16 bits, and what to add to a code of it for its place.
    limits: [(u32, i32); 17],
    symbols: Vec<u8>,
}

impl Long {
    fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Long> {
        let mut limits = [(0, 0); 17];
        let (mut code, mut place) = (0u32, 0u32);
        for len in 1..=16u32 {
            let count = u32::from(counts[len as usize - 1]);
            let offset = place as i32 - code as i32;
            (code, place) = (code + count, place + count);
            if code > 1 << len {
                return None;
            }
            limits[len as usize] = (code << (16 - len), offset);
            code <<= 1;
        }
        Some(Long { limits, symbols: symbols.to_vec() })
    }

    /// The symbol that the next 16 bits begin with, and the length of its code.
    #[cold]
    fn find(&self, bits: u32) -> Option<(u8, u32)> {
        let len = (1..=16u32).find(|&len| bits < self.limits[len as usize].0)?;
        let place = (bits >> (16 - len)) as i32 + self.limits[len as usize].1;
        Some((*self.symbols.get(usize::try_from(place).ok()?)?, len))
    }
}

/// The value that `size` bits stand for.
#[inline(always)]
fn extended(bits: i32, size: u32) -> i32 {
    // Negative ones have a leading 0.
    let half = (1 << size) >> 1;
    if bits < half { bits - (1 << size) + 1 } else { bits }
}

/// Codes of the sizes of differences.
pub(super) struct DcTable {
    /// Size and length of the code; 0 where it is longer.
    short: [(u8, u8); 1 << LOOK],
    long: Long,
}

impl DcTable {
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<DcTable> {
        if symbols.iter().any(|&size| size > 11) {
            return None;
        }
        let long = Long::new(counts, symbols)?;
        let mut short = [(0, 0); 1 << LOOK];
        for (code, len, size) in codes(counts, symbols).filter(|(_, len, _)| *len <= LOOK) {
            let first = (code << (LOOK - len)) as usize;
            short[first..first + (1 << (LOOK - len))].fill((size, len as u8));
        }
        Some(DcTable { short, long })
    }
}

/// Codes of frequencies: how many are 0 before one, and its size. An entry has from its lowest bits on: the bits that are used (8), the
/// zeros before (8) and the value (16), or, marked by [`UNREAD`] in the first 8, the size of a value that is to be read.
pub(super) struct AcTable {
    short: [u32; 1 << LOOK],
    long: Long,
}

const UNREAD: u32 = 0x80;

impl AcTable {
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<AcTable> {
        if symbols.iter().any(|&symbol| symbol & 15 > 10) {
            return None;
        }
        let long = Long::new(counts, symbols)?;
        let mut short = [0; 1 << LOOK];
        for (code, len, symbol) in codes(counts, symbols).filter(|(_, len, _)| *len <= LOOK) {
            let first = code << (LOOK - len);
            for bits in first..first + (1 << (LOOK - len)) {
                short[bits as usize] = entry(symbol, len, bits);
            }
        }
        Some(AcTable { short, long })
    }
}

/// The entry of a symbol whose code has `len` bits; `bits` are the next [`LOOK`].
fn entry(symbol: u8, len: u32, bits: u32) -> u32 {
    let (zeros, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
    match (zeros, size) {
        // 16 zeros: the last of them is stored as a value.
        (15, 0) => 15 << 8 | len,
        // The end of the block.
        (_, 0) => 64 << 8 | len,
        _ if len + size <= LOOK => {
            let value = extended((bits >> (LOOK - len - size) & ((1 << size) - 1)) as i32, size);
            (value as u32) << 16 | zeros << 8 | (len + size)
        }
        _ => size << 16 | zeros << 8 | UNREAD | len,
    }
}

/// Bits of data, the first in the highest place.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    bits: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8], at: usize) -> Bits<'a> {
        Bits { data, at, bits: 0, count: 0 }
    }

    /// At least 56 bits; 0 beyond the end.
    #[inline(always)]
    fn refill(&mut self) {
        if let Some(eight) = self.data.get(self.at..self.at + 8) {
            let next = u64::from_be_bytes(*eight.first_chunk().unwrap_or(&[0; 8]));
            self.bits |= next >> self.count;
        }
        self.at += ((63 - self.count) >> 3) as usize;
        self.count |= 56;
    }

    #[inline(always)]
    fn skip(&mut self, count: u32) {
        self.bits <<= count;
        self.count -= count;
    }

    #[inline(always)]
    fn take(&mut self, size: u32) -> i32 {
        // In two steps: a shift by 64 is none.
        let value = (self.bits >> 1 >> (63 - size)) as i32;
        self.skip(size);
        value
    }

    /// Whether more was read than there is.
    pub(super) fn overrun(&self) -> bool {
        self.at > self.data.len() + 8
    }

    /// The difference of a block's mean from the one before.
    #[inline(always)]
    pub(super) fn difference(&mut self, table: &DcTable) -> Option<i32> {
        self.refill();
        let (mut size, mut len) = table.short[(self.bits >> (64 - LOOK)) as usize];
        if len == 0 {
            let (symbol, long) = table.long.find((self.bits >> 48) as u32)?;
            (size, len) = (symbol, long as u8);
        }
        self.skip(u32::from(len));
        Some(extended(self.take(u32::from(size)), u32::from(size)))
    }

    /// The frequencies of a block but the first: each is given to `put` with its place in zigzag order.
    #[inline(always)]
    pub(super) fn frequencies(
        &mut self,
        table: &AcTable,
        mut put: impl FnMut(usize, i32),
    ) -> Option<()> {
        let mut place = 1;
        loop {
            self.refill();
            // Three short ones leave enough bits for a long one.
            for _ in 0..3 {
                let entry = table.short[(self.bits >> (64 - LOOK)) as usize];
                if entry == 0 || entry & UNREAD != 0 {
                    let value = self.unread(entry, table, &mut place)?;
                    if place < 64 {
                        put(place, value);
                    }
                    place += 1;
                    break;
                }
                place += (entry >> 8 & 0xff) as usize;
                self.skip(entry & 0x7f);
                if place > 63 {
                    return Some(());
                }
                put(place, entry as i32 >> 16);
                place += 1;
                if place > 63 {
                    return Some(());
                }
            }
            if place > 63 {
                return Some(());
            }
        }
    }

    /// A frequency whose value, or whose code, is not in the table; none where it is beyond the block.
    #[inline(always)]
    fn unread(&mut self, mut entry: u32, table: &AcTable, place: &mut usize) -> Option<i32> {
        if entry == 0 {
            let (symbol, len) = table.long.find((self.bits >> 48) as u32)?;
            entry = match symbol & 15 {
                0 => entry_of_none(symbol, len),
                size => u32::from(size) << 16 | u32::from(symbol >> 4) << 8 | UNREAD | len,
            };
        }
        *place += (entry >> 8 & 0xff) as usize;
        self.skip(entry & 0x7f);
        if entry & UNREAD == 0 {
            return Some(0);
        }
        let size = entry >> 16;
        let value = extended(self.take(size), size);
        (*place < 64).then_some(value)
    }
}

/// The entry of a symbol without a value.
fn entry_of_none(symbol: u8, len: u32) -> u32 {
    if symbol >> 4 == 15 { 15 << 8 | len } else { 64 << 8 | len }
}
