//! A BSD disk label, in either byte order. Pure.
//!
//! The layout is that of `struct disklabel`; only what a kernel needs to find partitions is filled in.
//! Where a firmware of Sun's has to find them too, the label lies inside of SunOS's, which fills the
//! disk's first sector and counts partitions from cylinders.

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
/// The number of SunOS's label, which is its last but one.
const SUN_MAGIC: u16 = 0xdabe;

/// Sectors on a track: what disks of PCs say, and for SunOS's label a number by which every MiB begins
/// with a cylinder.
fn track(spec: LabelSpec) -> u32 {
    if spec.sun { 64 } else { 63 }
}

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
    let per_cylinder = HEADS * track(spec);
    for (at, value) in [
        (0, MAGIC),
        (40, SECTOR as u32),
        (44, track(spec)),
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

/// What is written to the disk for its label, and the byte at which it goes.
pub fn written(disk: Disk, spec: LabelSpec, big: bool) -> (u64, Vec<u8>) {
    let label = label(disk, spec, big);
    let (sector, offset) = (u64::from(spec.sector) * SECTOR, spec.offset);
    match spec.sun {
        true => (sector, sun(disk, spec, &label)),
        false => (sector + u64::from(offset), label),
    }
}

/// SunOS's label with another one inside of it. It is big-endian on all machines that have it.
fn sun(disk: Disk, spec: LabelSpec, inside: &[u8]) -> Vec<u8> {
    let order = Order { big: true };
    let mut sector = vec![0; SECTOR as usize];
    sector[..7].copy_from_slice(b"fallout");
    let at = spec.offset as usize;
    sector[at..at + inside.len()].copy_from_slice(inside);
    let per_cylinder = HEADS * track(spec);
    let sectors = |bytes: u64| u32::try_from(bytes / SECTOR).unwrap_or(u32::MAX);
    let (root, swap) = (sectors(disk.root_bytes), sectors(disk.swap_bytes));
    let cylinders = ((root + swap) / per_cylinder) as u16;
    // Turns a minute, cylinders in all, interleave, cylinders for data, heads, sectors on a track.
    for (at, value) in [
        (420, 3600),
        (422, cylinders),
        (430, 1),
        (432, cylinders),
        (436, HEADS as u16),
        (438, track(spec) as u16),
        (508, SUN_MAGIC),
    ] {
        order.put16(&mut sector, at, value);
    }
    let raw = spec.raw as usize - 'a' as usize;
    for (index, from, size) in [(0, 0, root), (1, root, swap), (raw, 0, root + swap)] {
        order.put32(&mut sector, 444 + 8 * index, from / per_cylinder);
        order.put32(&mut sector, 448 + 8 * index, size);
    }
    let sum = sector
        .chunks_exact(2)
        .fold(0, |sum, word| sum ^ order.get16(word));
    order.put16(&mut sector, 510, sum);
    sector
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
                sun: false,
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

    /// Read as sys/dev/sun/disksubr.c and the firmware do.
    #[test]
    fn sunos_label_says_the_same_as_the_one_inside_of_it() {
        let disk = Disk {
            root_bytes: 1536 << 20,
            swap_bytes: 128 << 20,
        };
        let spec = LabelSpec {
            sector: 0,
            offset: 128,
            raw: 'c',
            sun: true,
        };
        let (at, sector) = written(disk, spec, true);
        assert_eq!((at, sector.len()), (0, 512));
        let half = |at: usize| u16::from_be_bytes(sector[at..at + 2].try_into().unwrap());
        let word = |at: usize| u32::from_be_bytes(sector[at..at + 4].try_into().unwrap());
        assert_eq!(half(508), 55998);
        let all = (0..512).step_by(2).fold(0, |sum, at| sum ^ half(at));
        assert_eq!(all, 0);
        assert_eq!(word(128), MAGIC);
        let inside = (128..128 + 148 + 4 * 16).step_by(2);
        assert_eq!(inside.fold(0, |sum, at| sum ^ half(at)), 0);
        let per_cylinder = u32::from(half(436)) * u32::from(half(438));
        assert_eq!(
            u32::from(half(432)) * per_cylinder,
            (1664 << 20) / SECTOR as u32
        );
        for n in 0..3 {
            let (from, size) = (word(444 + 8 * n), word(448 + 8 * n));
            let inner = 128 + PARTITIONS + PARTITION * n;
            assert_eq!((word(inner + 4), word(inner)), (from * per_cylinder, size));
            assert!(size > 0);
        }
        // What follows is free for boot blocks.
        let plain = LabelSpec { sun: false, ..spec };
        assert_eq!(written(disk, plain, true).0, 128);
    }
}
