//! A reader for ISO 9660 with the names of Rock Ridge: enough to take files out of an installation CD.
//!
//! An own one, because the crates that there are have not been kept or are not finished, and because what
//! it reads is untrusted: every length is bounded by the image, directories are visited once, and
//! a name is never a path. Joliet is not read: NetBSD's CDs have Rock Ridge, and a CD with neither has short
//! names in capitals, which are given in small letters.

use std::collections::BTreeSet;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::listing::is_name;

const SECTOR: u64 = 2048;
/// Descriptors are looked for in so many sectors.
const DESCRIPTORS: u64 = 64;
const DEPTH_MAX: usize = 24;
const ENTRIES_MAX: usize = 200_000;
const DIRECTORY_MAX: u64 = 32 << 20;
/// Continuations of one entry's system use area.
const CONTINUATIONS: usize = 32;

/// A file on the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path: `amd64/binary/sets/base.tgz`.
    pub path: String,
    /// Its length.
    pub size_bytes: u64,
    /// Where its bytes are: offset and length, in order.
    extents: Vec<(u64, u64)>,
}

/// An open image and its files.
#[derive(Debug)]
pub struct Iso<R> {
    from: R,
    /// All files, in the order of the directories.
    pub entries: Vec<Entry>,
}

/// Why an image cannot be read, as the rest of a sentence that begins with its name.
type Why = String;

fn failed(error: &io::Error) -> Why {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            "is cut off: what its directories say lies behind its end".to_owned()
        }
        _ => format!("cannot be read: {error}"),
    }
}

/// What is known while the directories are read.
struct Walk {
    length: u64,
    block: u64,
    /// Bytes to skip in every system use area; `None` where there is no Rock Ridge.
    skip: Option<usize>,
    seen: BTreeSet<u64>,
    entries: Vec<Entry>,
}

/// One directory record.
struct Found {
    name: String,
    at: u64,
    size: u64,
    is_dir: bool,
    /// The next record is of the same file.
    goes_on: bool,
    /// The directory stands elsewhere (`CL`), or is one that does (`RE`).
    child: Option<u64>,
    is_moved: bool,
}

impl<R: Read + Seek> Iso<R> {
    /// Reads all directories.
    pub fn open(mut from: R) -> Result<Self, Why> {
        let length = from.seek(SeekFrom::End(0)).map_err(|e| failed(&e))?;
        let (block, root, size) = volume(&mut from, length)?;
        let mut walk = Walk {
            length,
            block,
            skip: None,
            seen: BTreeSet::new(),
            entries: Vec::new(),
        };
        walk.skip = walk.rock_ridge(&mut from, root)?;
        walk.directory(&mut from, "", root, size, 0)?;
        Ok(Self {
            from,
            entries: walk.entries,
        })
    }

    /// Writes a file's content.
    pub fn copy(&mut self, entry: &Entry, to: &mut impl Write) -> Result<(), Why> {
        for (at, length) in &entry.extents {
            self.from
                .seek(SeekFrom::Start(*at))
                .map_err(|e| failed(&e))?;
            let mut part = (&mut self.from).take(*length);
            let copied = io::copy(&mut part, to).map_err(|e| failed(&e))?;
            if copied < *length {
                return Err(failed(&io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok(())
    }
}

/// Block size, and place and size of the root directory.
fn volume<R: Read + Seek>(from: &mut R, length: u64) -> Result<(u64, u64, u64), Why> {
    let mut sector = [0; SECTOR as usize];
    for n in 16..16 + DESCRIPTORS {
        if (n + 1) * SECTOR > length {
            break;
        }
        from.seek(SeekFrom::Start(n * SECTOR))
            .map_err(|e| failed(&e))?;
        from.read_exact(&mut sector).map_err(|e| failed(&e))?;
        if &sector[1..6] != b"CD001" || sector[0] == 255 {
            break;
        }
        if sector[0] != 1 {
            continue;
        }
        let block = u64::from(u16::from_le_bytes([sector[128], sector[129]]));
        if !(512..=SECTOR).contains(&block) || !block.is_power_of_two() {
            return Err(format!("has blocks of {block} bytes, which no CD has"));
        }
        let root = &sector[156..190];
        return Ok((block, le32(root, 2) * block, le32(root, 10)));
    }
    Err("is no ISO 9660 image: it has no primary volume descriptor".to_owned())
}

impl Walk {
    fn read<R: Read + Seek>(&self, from: &mut R, at: u64, length: u64) -> Result<Vec<u8>, Why> {
        if at.checked_add(length).is_none_or(|end| end > self.length) {
            return Err(failed(&io::ErrorKind::UnexpectedEof.into()));
        }
        if length > DIRECTORY_MAX {
            return Err(format!(
                "has a directory of {length} bytes, which cannot be"
            ));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        from.seek(SeekFrom::Start(at)).map_err(|e| failed(&e))?;
        from.read_exact(&mut bytes).map_err(|e| failed(&e))?;
        Ok(bytes)
    }

    /// Whether the root's own record says that system use areas are used (`SP`).
    fn rock_ridge<R: Read + Seek>(&self, from: &mut R, root: u64) -> Result<Option<usize>, Why> {
        let first = self.read(from, root, self.block.min(self.length.saturating_sub(root)))?;
        let record = record(&first, 0).unwrap_or_default();
        let area = system_use(record);
        Ok(match area {
            [b'S', b'P', 7, _, 0xbe, 0xef, skip, ..] => Some(usize::from(*skip)),
            _ => None,
        })
    }

    fn directory<R: Read + Seek>(
        &mut self,
        from: &mut R,
        path: &str,
        at: u64,
        size: u64,
        depth: usize,
    ) -> Result<(), Why> {
        // A directory that contains itself would never end.
        if depth > DEPTH_MAX || !self.seen.insert(at) {
            return Ok(());
        }
        let bytes = self.read(from, at, size)?;
        let mut open: Option<Entry> = None;
        let mut offset = 0;
        while offset < bytes.len() {
            let Some(record) = record(&bytes, offset) else {
                // No record crosses a sector's end: the rest of it is empty.
                offset = (offset / SECTOR as usize + 1) * SECTOR as usize;
                continue;
            };
            offset += record.len();
            let Some(found) = self.found(from, record)? else {
                continue;
            };
            if !is_name(&found.name) || found.is_moved {
                continue;
            }
            let own = match path {
                "" => found.name.clone(),
                path => format!("{path}/{}", found.name),
            };
            if let Some(child) = found.child {
                let size = self.own_size(from, child)?;
                self.directory(from, &own, child, size, depth + 1)?;
            } else if found.is_dir {
                self.directory(from, &own, found.at, found.size, depth + 1)?;
            } else {
                if found
                    .at
                    .checked_add(found.size)
                    .is_none_or(|end| end > self.length)
                {
                    return Err(format!("is cut off: {own} lies behind its end"));
                }
                let mut entry = match open.take() {
                    Some(entry) if entry.path == own => entry,
                    _ => Entry {
                        path: own,
                        size_bytes: 0,
                        extents: Vec::new(),
                    },
                };
                entry.size_bytes += found.size;
                entry.extents.push((found.at, found.size));
                match found.goes_on {
                    true => open = Some(entry),
                    false => self.entries.push(entry),
                }
            }
            if self.entries.len() > ENTRIES_MAX {
                return Err(format!("has more than {ENTRIES_MAX} files"));
            }
        }
        Ok(())
    }

    /// The size of a directory, by its own record.
    fn own_size<R: Read + Seek>(&self, from: &mut R, at: u64) -> Result<u64, Why> {
        let head = self.read(from, at, 34)?;
        Ok(le32(&head, 10))
    }

    fn found<R: Read + Seek>(&self, from: &mut R, record: &[u8]) -> Result<Option<Found>, Why> {
        let name_length = usize::from(record[32]);
        let plain = record.get(33..33 + name_length).unwrap_or_default();
        if matches!(plain, [0 | 1]) {
            // The directory itself, and the one above.
            return Ok(None);
        }
        let mut found = Found {
            name: plain_name(plain),
            at: le32(record, 2) * self.block,
            size: le32(record, 10),
            is_dir: record[25] & 2 != 0,
            goes_on: record[25] & 0x80 != 0,
            child: None,
            is_moved: false,
        };
        let Some(skip) = self.skip else {
            return Ok(Some(found));
        };
        let mut name = Vec::new();
        let mut area = system_use(record).get(skip..).unwrap_or_default().to_vec();
        for _ in 0..CONTINUATIONS {
            let next = fields(&area, &mut |signature, data| match signature {
                // Flags: 1 goes on, 2 and 4 are `.` and `..`.
                b"NM" if data.first().is_some_and(|flags| flags & 6 == 0) => {
                    name.extend_from_slice(&data[1..]);
                }
                b"CL" => found.child = Some(le32(data, 0) * self.block),
                b"RE" => found.is_moved = true,
                _ => {}
            });
            let Some((block, offset, length)) = next else {
                break;
            };
            area = self.read(from, block * self.block + offset, length)?;
        }
        if !name.is_empty() {
            found.name = String::from_utf8_lossy(&name).into_owned();
        }
        Ok(Some(found))
    }
}

/// The record at `offset` of a directory, whole, or `None` where there is none.
fn record(bytes: &[u8], offset: usize) -> Option<&[u8]> {
    let length = usize::from(*bytes.get(offset)?);
    let record = bytes.get(offset..offset + length)?;
    (length >= 34).then_some(record)
}

/// What stands behind a record's name.
fn system_use(record: &[u8]) -> &[u8] {
    let Some(name) = record.get(32) else {
        return &[];
    };
    let end = 33 + usize::from(*name);
    // The name is padded to an even place.
    record.get(end + end % 2..).unwrap_or_default()
}

/// Gives every field of a system use area (without its header of four bytes) to `see`; returns where
/// the area goes on: block, offset, length.
fn fields(area: &[u8], see: &mut dyn FnMut(&[u8], &[u8])) -> Option<(u64, u64, u64)> {
    let mut rest = area;
    let mut next = None;
    while let [a, b, length, _version, ..] = rest {
        let length = usize::from(*length);
        let Some(data) = rest.get(4..length) else {
            break;
        };
        match &[*a, *b] {
            b"ST" => break,
            b"CE" => next = Some((le32(data, 0), le32(data, 8), le32(data, 16))),
            signature => see(signature, data),
        }
        rest = &rest[length..];
    }
    next
}

/// `base.tgz` of `BASE.TGZ;1`.
fn plain_name(bytes: &[u8]) -> String {
    let name = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let name = name.split(';').next().unwrap_or_default();
    name.trim_end_matches('.').to_owned()
}

/// The first half of a number that stands in both byte orders; 0 where it is cut off.
fn le32(bytes: &[u8], at: usize) -> u64 {
    let four = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
    u64::from(four.map_or(0, u32::from_le_bytes))
}

#[cfg(test)]
mod tests;
