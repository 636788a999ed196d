//! A BSD disk label, in either byte order. Pure.
//!
//! The layout is that of `struct disklabel`; only what a kernel needs to find partitions is filled in.

use crate::model::port::LabelSpec;

const MAGIC: u32 = 0x8256_4557;
const SECTOR: u64 = 512;
/// `FS_SWAP`, `FS_BSDFFS`.
const SWAP: u8 = 1;
const FFS: u8 = 7;
/// Where the partitions begin, and the length of one.
const PARTITIONS: usize = 148;
const PARTITION: usize = 16;
const HEADS: u32 = 16;
const TRACK: u32 = 63;

/// A disk: root first, swap behind it, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// The root's file system.
    pub root_bytes: u64,
    /// Swap space.
    pub swap_bytes: u64,
}

/// The label of a disk whose partition `a` is the root, `b` swap, and one the whole disk.
pub fn label(disk: Disk, spec: LabelSpec, big: bool) -> Vec<u8> {
    let (raw, order) = (spec.raw as usize - 'a' as usize, Order { big });
    let partitions = (raw + 1).max(2).next_multiple_of(4);
    let mut label = vec![0; PARTITIONS + PARTITION * partitions];
    let sectors = |bytes: u64| u32::try_from(bytes / SECTOR).unwrap_or(u32::MAX);
    let (root, swap) = (sectors(disk.root_bytes), sectors(disk.swap_bytes));
    let all = root.saturating_add(swap);
    let per_cylinder = HEADS * TRACK;
    for (at, value) in [
        (0, MAGIC),
        (40, SECTOR as u32),
        (44, TRACK),
        (48, HEADS),
        (52, all / per_cylinder),
        (56, per_cylinder),
        (60, all),
        (132, MAGIC),
        (140, 8192),
        (144, 8192),
    ] {
        order.put32(&mut label, at, value);
    }
    label[8..15].copy_from_slice(b"fallout");
    label[24..31].copy_from_slice(b"fallout");
    // Turns a minute, interleave.
    order.put16(&mut label, 72, 3600);
    order.put16(&mut label, 74, 1);
    order.put16(&mut label, 138, partitions as u16);
    let mut part = |index: usize, size: u32, from: u32, kind: u8| {
        let at = PARTITIONS + PARTITION * index;
        order.put32(&mut label, at, size);
        order.put32(&mut label, at + 4, from);
        label[at + 12] = kind;
        if kind == FFS {
            order.put32(&mut label, at + 8, 2048);
            label[at + 13] = 8;
        }
    };
    part(0, root, 0, FFS);
    part(1, swap, root, SWAP);
    part(raw, all, 0, 0);
    let sum = label
        .chunks_exact(2)
        .fold(0, |sum, word| sum ^ order.get16(word));
    order.put16(&mut label, 136, sum);
    label
}

#[derive(Clone, Copy)]
struct Order {
    big: bool,
}

impl Order {
    fn put32(self, to: &mut [u8], at: usize, value: u32) {
        let bytes = if self.big {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        };
        to[at..at + 4].copy_from_slice(&bytes);
    }

    fn put16(self, to: &mut [u8], at: usize, value: u16) {
        let bytes = if self.big {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        };
        to[at..at + 2].copy_from_slice(&bytes);
    }

    fn get16(self, word: &[u8]) -> u16 {
        let bytes = [word[0], word[1]];
        if self.big {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_adds_up_in_both_byte_orders() {
        for big in [false, true] {
            let disk = Disk {
                root_bytes: 1 << 30,
                swap_bytes: 128 << 20,
            };
            let spec = LabelSpec {
                sector: 1,
                offset: 0,
                raw: 'd',
            };
            let label = label(disk, spec, big);
            let word = |at: usize| {
                let bytes = label[at..at + 4].try_into().unwrap();
                if big {
                    u32::from_be_bytes(bytes)
                } else {
                    u32::from_le_bytes(bytes)
                }
            };
            assert_eq!((word(0), word(132)), (MAGIC, MAGIC));
            // a at 0, b behind it, d over both.
            assert_eq!((word(148), word(152)), (1 << 21, 0));
            assert_eq!((word(164), word(168)), (1 << 18, 1 << 21));
            assert_eq!((word(196), word(200)), ((1 << 21) + (1 << 18), 0));
            let sum = label
                .chunks_exact(2)
                .fold(0, |sum, w| sum ^ (Order { big }).get16(w));
            assert_eq!(sum, 0);
            assert_eq!(label.len(), 148 + 4 * 16);
        }
    }
}
