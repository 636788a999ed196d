//! Names for raw addresses: a table of symbols, and what it makes of a kernel's lines. Pure.
//!
//! Most kernels name the functions in their traces themselves. One without that table inside (a
//! small kernel, a BSD kernel whose debugger has no symbols) writes addresses alone; the text that
//! `nm` and the kernel's build write (`System.map`) then has the names. It reads no ELF file: both
//! builds make that text, and a debugger's own tables are not needed for a name.

/// Symbols further away than this from an address do not explain it.
const REACH_BYTES: u64 = 1 << 20;
/// Fewer digits are a number, not the address of a kernel.
const DIGITS: std::ops::RangeInclusive<usize> = 8..=16;

/// The functions of a kernel by their addresses.
#[derive(Debug, Clone, Default)]
pub struct Symbols {
    /// In the order of their addresses.
    all: Vec<(u64, String)>,
}

impl Symbols {
    /// Reads lines of `ADDRESS TYPE NAME`; only code (`t`, `T`, `w`, `W`) is kept, other lines are
    /// passed over.
    pub fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            let kind = words.next()?;
            let name = words.next()?;
            (matches!(kind, "t" | "T" | "w" | "W") && address != 0)
                .then(|| (address, name.to_owned()))
        };
        let mut all: Vec<(u64, String)> = text.lines().filter_map(line).collect();
        all.sort();
        Self { all }
    }

    /// True where no symbol was read.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The function that an address lies in, and how far into it, in bytes.
    pub fn find(&self, address: u64) -> Option<(&str, u64)> {
        let behind = self.all.partition_point(|(start, _)| *start <= address);
        let (start, name) = self.all.get(behind.checked_sub(1)?)?;
        let offset = address - start;
        (offset < REACH_BYTES && behind < self.all.len()).then_some((name, offset))
    }

    /// Adds names behind the addresses in `lines` that have none: `[<c0123456>]` becomes
    /// `[<c0123456>] name+0x1c`. A kernel that was moved says by how much (`Kernel Offset: 0x…`).
    pub fn annotate(&self, lines: &mut [String]) {
        if self.is_empty() {
            return;
        }
        let moved = lines.iter().find_map(|line| {
            let offset = line.split_once("Kernel Offset: 0x")?.1;
            let end = offset.find(|c: char| !c.is_ascii_hexdigit());
            u64::from_str_radix(&offset[..end.unwrap_or(offset.len())], 16).ok()
        });
        let moved = moved.unwrap_or(0);
        for line in lines.iter_mut().filter(|line| !line.contains("+0x")) {
            let words: Vec<String> = line
                .split(' ')
                .map(|word| self.named(word, moved))
                .collect();
            *line = words.join(" ");
        }
    }

    fn named(&self, word: &str, moved: u64) -> String {
        let core = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let hex = core.strip_prefix("0x").unwrap_or(core);
        let found = DIGITS
            .contains(&hex.len())
            .then(|| u64::from_str_radix(hex, 16).ok())
            .flatten()
            .and_then(|address| self.find(address.wrapping_sub(moved)));
        match found {
            Some((name, offset)) => format!("{word} {name}+{offset:#x}"),
            None => word.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAP: &str = "\
        0000000000000000 A absolute\n\
        ffffffff81000000 T _stext\n\
        ffffffff81000100 t first\n\
        ffffffff81000200 D data\n\
        ffffffff81000300 W second\n\
        ffffffff81000400 T _etext\n\
        not a symbol\n";

    #[test]
    fn addresses_get_their_functions() {
        let symbols = Symbols::parse(MAP);
        assert_eq!(symbols.find(0xffff_ffff_8100_0124), Some(("first", 0x24)));
        assert_eq!(symbols.find(0xffff_ffff_8100_0300), Some(("second", 0)));
        assert_eq!(symbols.find(0x1000), None);
        // Behind the last symbol nobody knows.
        assert_eq!(symbols.find(0xffff_ffff_8100_0500), None);
    }

    #[test]
    fn lines_are_completed_only_where_they_lack_a_name() {
        let symbols = Symbols::parse(MAP);
        let mut lines: Vec<String> = [
            "[    1.000000] PC: ffffffff81000124 LR: 0000000000001230",
            "[    1.000001] [<ffffffff81000308>]",
            "[    1.000002] first+0x24/0x100 [ffffffff81000124]",
            "[    1.000003] Code: 12345678 pid 12345",
        ]
        .map(str::to_owned)
        .into();
        symbols.annotate(&mut lines);
        insta::assert_snapshot!(lines.join("\n"), @r"
        [    1.000000] PC: ffffffff81000124 first+0x24 LR: 0000000000001230
        [    1.000001] [<ffffffff81000308>] second+0x8
        [    1.000002] first+0x24/0x100 [ffffffff81000124]
        [    1.000003] Code: 12345678 pid 12345
        ");
    }

    #[test]
    fn a_moved_kernel_is_moved_back() {
        let symbols = Symbols::parse(MAP);
        let mut lines = vec![
            "[<ffffffffa6e00124>]".to_owned(),
            "Kernel Offset: 0x25e00000 from 0xffffffff81000000".to_owned(),
        ];
        symbols.annotate(&mut lines);
        assert_eq!(lines[0], "[<ffffffffa6e00124>] first+0x24");
    }

    proptest! {
        #[test]
        fn any_text_is_read(map: String, line: String) {
            let symbols = Symbols::parse(&map);
            symbols.annotate(&mut [line]);
        }
    }
}
