//! A small set of column numbers; set algebra is all that the search for traits does.

/// A set of small numbers. Two sets over the same columns have the same length.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bits(Vec<u64>);

impl Bits {
    /// The empty set, with room for numbers below `len`.
    pub fn new(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    /// The numbers below `len` for which `member` holds.
    pub fn of(len: usize, mut member: impl FnMut(usize) -> bool) -> Self {
        let mut bits = Self::new(len);
        for i in (0..len).filter(|&i| member(i)) {
            bits.0[i / 64] |= 1 << (i % 64);
        }
        bits
    }

    /// Whether a number is in it.
    pub fn has(&self, i: usize) -> bool {
        self.0.get(i / 64).is_some_and(|w| w & (1 << (i % 64)) != 0)
    }

    /// Both.
    pub fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a & b).collect())
    }

    /// True where nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|w| *w == 0)
    }

    /// True where every member of `self` is one of `other`.
    pub fn within(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| a & !b == 0)
    }
}
