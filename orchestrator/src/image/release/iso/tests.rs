use super::*;
use proptest::prelude::*;
use std::io::Cursor;

fn fixture(name: &str) -> Vec<u8> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/release");
    let packed = std::fs::read(format!("{dir}/{name}.iso.zst")).unwrap();
    zstd::decode_all(&packed[..]).unwrap()
}

fn open(bytes: &[u8]) -> Result<Iso<Cursor<Vec<u8>>>, String> {
    Iso::open(Cursor::new(bytes.to_vec()))
}

fn content(iso: &mut Iso<Cursor<Vec<u8>>>, path: &str) -> Vec<u8> {
    let entry = iso.entries.iter().find(|e| e.path == path).unwrap().clone();
    let mut out = Vec::new();
    iso.copy(&entry, &mut out).unwrap();
    assert_eq!(out.len() as u64, entry.size_bytes);
    out
}

#[test]
fn long_names_deep_directories_and_empty_files_are_read() {
    for name in ["makefs", "mkisofs"] {
        let mut iso = open(&fixture(name)).unwrap();
        let base = content(&mut iso, "amd64/binary/sets/base.tgz");
        assert_eq!(base, b"base content\n".repeat(300), "{name}");
        assert_eq!(
            content(&mut iso, "amd64/binary/kernel/netbsd-GENERIC.gz"),
            b""
        );
        assert_eq!(
            content(&mut iso, "amd64/binary/sets/kern-GENERIC.tgz"),
            b"kernel set\n"
        );
        let long = iso
            .entries
            .iter()
            .find(|e| e.path.contains("much-longer"))
            .unwrap();
        assert!(
            long.path.ends_with(&format!("{}.tgz", "x".repeat(150))),
            "{}",
            long.path
        );
        assert_eq!(
            content(&mut iso, "a/b/c/d/e/f/g/h/i/deep"),
            b"deep\n",
            "{name}"
        );
    }
}

#[test]
fn a_cd_without_rock_ridge_has_short_names() {
    let mut iso = open(&fixture("plain")).unwrap();
    assert_eq!(
        content(&mut iso, "amd64/binary/sets/base.tgz"),
        b"base content\n".repeat(300)
    );
}

#[test]
fn what_is_no_cd_and_a_cut_one_are_told() {
    assert_eq!(
        open(b"no CD").map(|_| ()).unwrap_err(),
        "is no ISO 9660 image: it has no primary volume descriptor"
    );
    let whole = fixture("makefs");
    let said = open(&whole[..70_000]).map(|_| ()).unwrap_err();
    assert!(said.starts_with("is cut off: "), "{said}");
}

/// A small writer: one directory in the root, files in it, each name in Rock Ridge's form where asked
/// for, and cut over several fields and a continuation area.
fn image(files: &[(String, Vec<u8>)], cut: usize) -> Vec<u8> {
    const BLOCK: usize = 2048;
    let mut image = vec![0; 24 * BLOCK];
    let mut tail: Vec<u8> = Vec::new();
    let (root_at, dir_at, more_at, data_at) = (20, 24, 40, 56);
    let record = |at: usize, size: usize, flags: u8, name: &[u8], area: &[u8]| {
        let pad = name.len().is_multiple_of(2);
        let length = 33 + name.len() + usize::from(pad) + area.len();
        let mut r = vec![0; 33];
        r[0] = u8::try_from(length).unwrap();
        r[2..6].copy_from_slice(&u32::try_from(at).unwrap().to_le_bytes());
        r[10..14].copy_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
        r[25] = flags;
        r[32] = u8::try_from(name.len()).unwrap();
        r.extend(name);
        r.extend(vec![0; usize::from(pad)]);
        r.extend(area);
        r
    };
    let nm = |name: &[u8], flags: u8| {
        let mut f = b"NM".to_vec();
        f.extend([u8::try_from(5 + name.len()).unwrap(), 1, flags]);
        f.extend(name);
        f
    };
    let sp = [b'S', b'P', 7, 1, 0xbe, 0xef, 0];
    let mut dir = record(dir_at, 16 * BLOCK, 2, &[0], &[]);
    dir.extend(record(root_at, BLOCK, 2, &[1], &[]));
    let mut more = Vec::new();
    for (n, (name, content)) in files.iter().enumerate() {
        let name = name.as_bytes();
        let cut = cut.min(name.len());
        // The first part in the record, the rest in the continuation area.
        let rest = nm(&name[cut..], 0);
        let mut area = nm(&name[..cut], 1);
        area.extend(b"CE");
        area.extend([28, 1]);
        for number in [more_at, more.len(), rest.len()] {
            let number = u32::try_from(number).unwrap();
            area.extend(number.to_le_bytes());
            area.extend(number.to_be_bytes());
        }
        more.extend(rest);
        let at = data_at + tail.len() / BLOCK;
        let short = format!("F{n}.;1");
        let r = record(at, content.len(), 0, short.as_bytes(), &area);
        let room = BLOCK - dir.len() % BLOCK;
        if r.len() > room {
            dir.extend(vec![0; room]);
        }
        dir.extend(r);
        tail.extend(content);
        tail.extend(vec![0; (BLOCK - tail.len() % BLOCK) % BLOCK]);
    }
    let mut root = record(root_at, BLOCK, 2, &[0], &sp);
    root.extend(record(root_at, BLOCK, 2, &[1], &[]));
    root.extend(record(dir_at, 16 * BLOCK, 2, b"DIR", &nm(b"dir", 0)));
    let pvd = 16 * BLOCK;
    image[pvd] = 1;
    image[pvd + 1..pvd + 6].copy_from_slice(b"CD001");
    image[pvd + 128..pvd + 130].copy_from_slice(&2048_u16.to_le_bytes());
    image[pvd + 156..pvd + 190].copy_from_slice(&record(root_at, BLOCK, 2, &[0], &[])[..34]);
    image[root_at * BLOCK..root_at * BLOCK + root.len()].copy_from_slice(&root);
    image.truncate(dir_at * BLOCK);
    for (part, end) in [(dir, more_at), (more, data_at)] {
        image.extend(part);
        image.resize(end * BLOCK, 0);
    }
    image.extend(tail);
    image
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        files in prop::collection::btree_map("[a-zA-Z0-9_][a-zA-Z0-9._-]{0,90}", prop::collection::vec(any::<u8>(), 0..5000), 0..12),
        cut in 0_usize..60,
    ) {
        let files: Vec<_> = files.into_iter().collect();
        let mut iso = open(&image(&files, cut)).unwrap();
        prop_assert_eq!(iso.entries.len(), files.len());
        for (name, bytes) in &files {
            prop_assert_eq!(&content(&mut iso, &format!("dir/{name}")), bytes);
        }
    }

    #[test]
    fn a_damaged_cd_is_read_or_refused(
        damage in prop::collection::vec((32768_usize..100_000, any::<u8>()), 1..60),
        length in 0_usize..400_000,
    ) {
        let mut bytes = fixture("makefs");
        for (at, byte) in damage {
            if let Some(there) = bytes.get_mut(at) {
                *there = byte;
            }
        }
        bytes.truncate(length.max(1000));
        if let Ok(iso) = open(&bytes) {
            for entry in &iso.entries {
                prop_assert!(entry.path.split('/').all(is_name));
                prop_assert!(entry.size_bytes <= bytes.len() as u64 * 8);
            }
        }
    }
}
