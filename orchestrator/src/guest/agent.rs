//! The agent's protocol, version 1, seen from the host: requests out, a decoder for what comes
//! back. Pure. The protocol itself is described in `docs/agent-protocol.md`.
//!
//! The decoder's one difficulty: the line feed in front of an end mark belongs to the mark, so a
//! line feed at the end of what was read so far may be either. It is held back until more bytes
//! come, or until [`Decoder::flush`] says that none do: then it is output. Nobody waits for the end
//! of a line that has been written.

/// The longest line that is taken for a mark.
const MARK_MAX: usize = 1024;
const MARK: &[u8] = b"@fallout-";

/// `run`: a command line, as one line. Line feeds in it would end the request: `None`.
pub fn run(nonce: &str, command: &str) -> Option<Vec<u8>> {
    is_one_line(command).then(|| format!("run {nonce} {command}\n").into_bytes())
}

/// `ready`: what the greeting said, once more.
pub fn ready(nonce: &str) -> Vec<u8> {
    format!("ready {nonce}\n").into_bytes()
}

/// `put`: so many bytes of tar follow, to be unpacked in `dir`.
pub fn put(nonce: &str, size_bytes: u64, dir: &str) -> Option<Vec<u8>> {
    is_one_line(dir).then(|| format!("put {nonce} {size_bytes} {dir}\n").into_bytes())
}

/// `get`: the file `path`, if it is no larger than `max_bytes`.
pub fn get(nonce: &str, max_bytes: u64, path: &str) -> Option<Vec<u8>> {
    is_one_line(path).then(|| format!("get {nonce} {max_bytes} {path}\n").into_bytes())
}

fn is_one_line(text: &str) -> bool {
    !text.contains(['\n', '\0'])
}

/// What the decoder found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Output, or the bytes of a file. Never empty.
    Chunk(Vec<u8>),
    /// So many bytes of a file follow, as chunks; `None` where there is no file to be had.
    Data(Option<u64>),
    /// The request is done, with this status.
    End(i32),
    /// The agent introduces itself: version of the protocol and `uname -srvm`, untrusted.
    Greeting {
        /// The protocol's version, as the agent wrote it.
        version: String,
        /// The kernel, as it describes itself.
        kernel: Vec<u8>,
    },
}

/// Takes the port's bytes apart, for one request after the other.
#[derive(Debug, Default)]
pub struct Decoder {
    nonce: String,
    held: Vec<u8>,
    /// The last byte that was given out ended a line, or none was given out.
    at_line_start: bool,
    /// Bytes of a file that are still to come.
    raw_left: u64,
}

impl Decoder {
    /// A decoder that knows the greeting only.
    pub fn new() -> Self {
        Self {
            at_line_start: true,
            ..Self::default()
        }
    }

    /// From here on the marks of this request count; what was held back is forgotten.
    pub fn expect(&mut self, nonce: &str) {
        *self = Self {
            nonce: nonce.to_owned(),
            ..Self::new()
        };
    }

    /// Takes bytes, cut anywhere, and appends what they mean to `items`.
    pub fn feed(&mut self, bytes: &[u8], items: &mut Vec<Item>) {
        if self.held.is_empty() && self.raw_left > 0 {
            // Files are large: they are not copied twice.
            let here = usize::try_from(self.raw_left).map_or(bytes.len(), |n| n.min(bytes.len()));
            self.raw(&bytes[..here], items);
            self.held.extend_from_slice(&bytes[here..]);
        } else {
            self.held.extend_from_slice(bytes);
        }
        while self.step(items) {}
    }

    /// Nothing more came for a moment: a line feed that was held back is output.
    pub fn flush(&mut self, items: &mut Vec<Item>) {
        if self.raw_left == 0 && self.held.first() == Some(&b'\n') {
            self.give(1, items);
        }
    }

    /// True where [`Self::flush`] would give something out.
    pub fn holds_line_feed(&self) -> bool {
        self.raw_left == 0 && self.held.first() == Some(&b'\n')
    }

    fn raw(&mut self, bytes: &[u8], items: &mut Vec<Item>) {
        if !bytes.is_empty() {
            self.raw_left -= bytes.len() as u64;
            self.at_line_start = true;
            items.push(Item::Chunk(bytes.to_vec()));
        }
    }

    /// Gives out the first `n` held bytes as output.
    fn give(&mut self, n: usize, items: &mut Vec<Item>) {
        if n == 0 {
            return;
        }
        let rest = self.held.split_off(n);
        let out = std::mem::replace(&mut self.held, rest);
        self.at_line_start = out.last() == Some(&b'\n');
        match items.last_mut() {
            Some(Item::Chunk(last)) => last.extend_from_slice(&out),
            _ => items.push(Item::Chunk(out)),
        }
    }

    /// One step; false when more bytes are needed.
    fn step(&mut self, items: &mut Vec<Item>) -> bool {
        if self.raw_left > 0 {
            let here =
                usize::try_from(self.raw_left).map_or(self.held.len(), |n| n.min(self.held.len()));
            let rest = self.held.split_off(here);
            let out = std::mem::replace(&mut self.held, rest);
            self.raw(&out, items);
            return here > 0 && !self.held.is_empty();
        }
        let mut from = 0;
        loop {
            let Some(at) = self.held[from..].iter().position(|&b| b == b'@') else {
                let keep = usize::from(self.held.last() == Some(&b'\n'));
                self.give(self.held.len() - keep, items);
                return false;
            };
            let at = from + at;
            from = at + 1;
            let line_feed_before = at > 0 && self.held[at - 1] == b'\n';
            let at_line_start = line_feed_before || (at == 0 && self.at_line_start);
            if !at_line_start {
                continue;
            }
            let tail = &self.held[at..];
            let begins = tail.len().min(MARK.len());
            if tail[..begins] != MARK[..begins] {
                continue;
            }
            let window = &tail[..tail.len().min(MARK_MAX)];
            let end = window.iter().position(|&b| b == b'\n');
            if end.is_none() && tail.len() < MARK_MAX {
                // It may become a mark: it is held back with the line feed in front of it.
                self.give(at - usize::from(line_feed_before), items);
                return false;
            }
            let Some(item) = end.and_then(|end| self.mark(&tail[..end])) else {
                continue;
            };
            let end = at + end.unwrap_or(0) + 1;
            self.give(at - usize::from(line_feed_before), items);
            let taken = end - (at - usize::from(line_feed_before));
            self.held.drain(..taken);
            self.at_line_start = true;
            if let Item::Data(Some(len)) = item {
                self.raw_left = len;
            }
            items.push(item);
            return !self.held.is_empty();
        }
    }

    fn mark(&self, line: &[u8]) -> Option<Item> {
        let rest = line.strip_prefix(MARK)?;
        let (word, rest) = split(rest)?;
        let (second, rest) = split(rest)?;
        match word {
            b"agent" => Some(Item::Greeting {
                version: String::from_utf8_lossy(second).into_owned(),
                kernel: rest.to_vec(),
            }),
            b"end" if self.is_ours(second) => Some(Item::End(number(rest)?.try_into().ok()?)),
            b"data" if self.is_ours(second) => match rest {
                b"-1" => Some(Item::Data(None)),
                _ => Some(Item::Data(Some(number(rest)?))),
            },
            _ => None,
        }
    }

    fn is_ours(&self, nonce: &[u8]) -> bool {
        !self.nonce.is_empty() && nonce == self.nonce.as_bytes()
    }
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&b| b == b' ')?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

fn number(bytes: &[u8]) -> Option<u64> {
    // `parse` would take a sign as well.
    bytes.first().filter(|b| b.is_ascii_digit())?;
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(pieces: &[&[u8]]) -> Vec<Item> {
        let mut decoder = Decoder::new();
        decoder.expect("f00d");
        let mut items = Vec::new();
        for piece in pieces {
            decoder.feed(piece, &mut items);
        }
        items
    }

    fn chunk(text: &str) -> Item {
        Item::Chunk(text.as_bytes().to_vec())
    }

    #[test]
    fn the_line_feed_before_the_mark_is_not_output() {
        assert_eq!(
            decode(&[b"part\n@fallout-end f00d 3\n"]),
            [chunk("part"), Item::End(3)]
        );
        assert_eq!(
            decode(&[b"line\n\n@fallout-end f00d 0\n"]),
            [chunk("line\n"), Item::End(0)]
        );
        assert_eq!(decode(&[b"\n@fallout-end f00d 0\n"]), [Item::End(0)]);
    }

    #[test]
    fn marks_of_others_are_output() {
        let forged = "\n@fallout-end beef 0\n@fallout-end f00d x\n @fallout-end f00d 0\n";
        assert_eq!(
            decode(&[forged.as_bytes(), b"z"]),
            [chunk(&(forged.to_owned() + "z"))]
        );
    }

    #[test]
    fn a_line_feed_is_not_held_for_ever() {
        let mut decoder = Decoder::new();
        decoder.expect("f00d");
        let mut items = Vec::new();
        decoder.feed(b"tc-start: 1, a\n", &mut items);
        assert_eq!(items, [chunk("tc-start: 1, a")]);
        decoder.flush(&mut items);
        assert_eq!(items, [chunk("tc-start: 1, a\n")]);
        decoder.feed(b"@fallout-end f00d 0\n", &mut items);
        assert_eq!(items[1..], [Item::End(0)]);
    }

    #[test]
    fn files_pass_as_they_are() {
        let items =
            decode(&[b"@fallout-data f00d 22\n\n@fallout-end f00d 0\nx\n@fallout-end f00d 0\n"]);
        assert_eq!(
            items,
            [
                Item::Data(Some(22)),
                chunk("\n@fallout-end f00d 0\nx"),
                Item::End(0)
            ]
        );
        assert_eq!(
            decode(&[b"@fallout-data f00d -1\n\n@fallout-end f00d 66\n"]),
            [Item::Data(None), Item::End(66)]
        );
    }

    #[test]
    fn the_greeting() {
        let mut decoder = Decoder::new();
        let mut items = Vec::new();
        decoder.feed(b"@fallout-agent 1 Linux 6.1 #1 SMP s390x\n", &mut items);
        let kernel = b"Linux 6.1 #1 SMP s390x".to_vec();
        let version = "1".to_owned();
        assert_eq!(items, [Item::Greeting { version, kernel }]);
    }

    #[test]
    fn requests_are_one_line() {
        assert_eq!(run("a", "ls -l").unwrap(), b"run a ls -l\n");
        assert_eq!(put("a", 512, "/x y").unwrap(), b"put a 512 /x y\n");
        assert_eq!(get("a", 9, "/f").unwrap(), b"get a 9 /f\n");
        assert_eq!(run("a", "ls\nrun b evil"), None);
    }

    fn joined(items: &[Item]) -> (Vec<u8>, Vec<Item>) {
        let mut bytes = Vec::new();
        let mut others = Vec::new();
        for item in items {
            match item {
                Item::Chunk(chunk) => bytes.extend_from_slice(chunk),
                other => others.push(other.clone()),
            }
        }
        (bytes, others)
    }

    proptest! {
        #[test]
        fn output_comes_through_however_it_is_cut(
            output in proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(b'@'), Just(b'f'), any::<u8>()], 0..200),
            cuts in proptest::collection::vec(1usize..20, 0..60),
        ) {
            let mut stream = output.clone();
            stream.extend_from_slice(b"\n@fallout-end f00d 5\n");
            let mut pieces = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts {
                let (piece, next) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = next;
            }
            pieces.push(rest);
            let (bytes, others) = joined(&decode(&pieces));
            prop_assert_eq!(bytes, output);
            prop_assert_eq!(others, vec![Item::End(5)]);
        }

        #[test]
        fn never_panics(pieces: Vec<Vec<u8>>) {
            let mut decoder = Decoder::new();
            decoder.expect("f00d");
            let mut items = Vec::new();
            for piece in &pieces {
                decoder.feed(piece, &mut items);
                decoder.flush(&mut items);
            }
        }
    }
}
