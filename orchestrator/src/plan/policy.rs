//! How a suite is carried out: the order of its cases, over how many guests it is cut, what is
//! executed again. Values of the matrix file and the pure functions over them.

use std::fmt;
use std::time::Duration;

use serde::de::{Error as _, MapAccess, Unexpected, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::problem::Problem;
use crate::model::units::de_duration;

/// The order of the cases within a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// As the suite lists them.
    #[default]
    Listed,
    /// By chance, each pass differently; the same seed gives the same orders.
    Shuffled(u64),
    /// As listed, and every case in a fresh guest of its own.
    EachAlone,
}

/// The byte with which a pass (from 1) fills what `malloc` gives out; none where there is no seed, and for
/// every other pass, which finds memory as it is: what is to be told apart is wanted equally often.
/// Never 0 nor 255, which memory often is by itself.
pub fn memory_byte(seed: Option<u64>, pass: u32) -> Option<u8> {
    let mut state = seed? ^ u64::from(pass);
    let byte = 1 + mix(&mut state) % 254;
    pass.is_multiple_of(2)
        .then(|| u8::try_from(byte).unwrap_or(1))
}

const ORDER_WORDS: &[&str] = &["listed", "shuffled", "each-alone"];

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed => f.pad("listed"),
            Self::Shuffled(seed) => f.pad(&format!("shuffled: {seed}")),
            Self::EachAlone => f.pad("each-alone"),
        }
    }
}

impl Order {
    /// The places of `cases` cases in the order of a pass (from 1).
    pub fn places(self, cases: usize, pass: u32) -> Vec<usize> {
        let mut places: Vec<usize> = (0..cases).collect();
        if let Self::Shuffled(seed) = self {
            let mut state = seed ^ u64::from(pass).wrapping_mul(0xd134_2543_de82_ef95);
            for last in (1..places.len()).rev() {
                // The bias of the remainder is far below what any suite could show.
                let other = mix(&mut state) % (last as u64 + 1);
                places.swap(last, usize::try_from(other).unwrap_or(0));
            }
        }
        places
    }
}

/// SplitMix64: the next number of a sequence.
fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Serialize for Order {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Shuffled(seed) => {
                let mut map = s.serialize_map(Some(1))?;
                map.serialize_entry("shuffled", seed)?;
                map.end()
            }
            word => s.collect_str(word),
        }
    }
}

impl<'de> Deserialize<'de> for Order {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(OrderVisitor)
    }
}

struct OrderVisitor;

impl<'de> Visitor<'de> for OrderVisitor {
    type Value = Order;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("listed, {shuffled: SEED} or each-alone")
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Order, E> {
        match word {
            "listed" => Ok(Order::Listed),
            "each-alone" => Ok(Order::EachAlone),
            "shuffled" => Err(E::invalid_value(Unexpected::Str(word), &self)),
            other => Err(E::unknown_variant(other, ORDER_WORDS)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Order, A::Error> {
        let Some(key) = map.next_key::<String>()? else {
            return Err(A::Error::invalid_value(Unexpected::Map, &self));
        };
        if key != "shuffled" {
            return Err(A::Error::unknown_field(&key, &["shuffled"]));
        }
        let seed = map.next_value()?;
        match map.next_key::<String>()? {
            None => Ok(Order::Shuffled(seed)),
            Some(more) => Err(A::Error::unknown_field(&more, &["shuffled"])),
        }
    }
}

/// Over how many guests of one cell a suite is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shards {
    /// As many as there are cores that nothing else wants.
    Auto,
    /// At most so many.
    AtMost(u32),
}

impl Default for Shards {
    fn default() -> Self {
        Self::AtMost(1)
    }
}

impl Shards {
    /// The most guests that may live at once on a machine with so many cores.
    pub fn most(self, cores: u32) -> u32 {
        match self {
            Self::Auto => cores.max(1),
            Self::AtMost(n) => n.min(cores).max(1),
        }
    }
}

impl Serialize for Shards {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => s.serialize_str("auto"),
            Self::AtMost(n) => s.serialize_u32(*n),
        }
    }
}

impl<'de> Deserialize<'de> for Shards {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(ShardsVisitor)
    }
}

struct ShardsVisitor;

impl Visitor<'_> for ShardsVisitor {
    type Value = Shards;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("auto or a number from 1 to 256")
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Shards, E> {
        match word {
            "auto" => Ok(Shards::Auto),
            other => Err(E::unknown_variant(other, &["auto"])),
        }
    }

    fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<Shards, E> {
        match u32::try_from(n) {
            Ok(n @ 1..=256) => Ok(Shards::AtMost(n)),
            _ => Err(E::invalid_value(Unexpected::Unsigned(n), &self)),
        }
    }
}

/// What is executed again in fresh guests once the passes are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repeats {
    /// How often each case that failed in a pass.
    #[serde(default)]
    pub failed: u32,
    /// How often each case that is suspected of its guest's death, alone.
    #[serde(default = "three")]
    pub crashed: u32,
}

impl Default for Repeats {
    fn default() -> Self {
        Self {
            failed: 0,
            crashed: three(),
        }
    }
}

impl Repeats {
    /// The largest sensible number of either.
    pub const MOST: u32 = 1000;
}

fn three() -> u32 {
    3
}

/// What may be spent, once a run's cells are done, on attempts of cases of which the verdict does
/// not know what they are yet. At least one of the two is given; what is given last is not exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adaptive {
    /// Attempts, each alone in a fresh guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Time; no attempt begins once it is over.
    #[serde(
        default,
        deserialize_with = "some_duration",
        serialize_with = "ser_some_duration",
        skip_serializing_if = "Option::is_none"
    )]
    pub time: Option<Duration>,
}

impl Adaptive {
    /// The largest sensible number of attempts.
    pub const MOST: u32 = 1_000_000;

    /// What is wrong with it, beyond its shape.
    pub fn check(&self, found: &mut Vec<Problem>) {
        if self.attempts.is_none() && self.time.is_none() {
            let message = "says no budget: expected attempts or time, for example {attempts: 60}";
            found.push(Problem::new("adaptive", message));
        }
        if let Some(attempts) = self.attempts
            && !(1..=Self::MOST).contains(&attempts)
        {
            let message = format!("is {attempts}: expected 1 to {}", Self::MOST);
            found.push(Problem::new("adaptive.attempts", message));
        }
        if self.time.is_some_and(|time| time.is_zero()) {
            let message = "is zero: expected for example 5m";
            found.push(Problem::new("adaptive.time", message));
        }
    }
}

fn some_duration<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
    de_duration(d).map(Some)
}

fn ser_some_duration<S: Serializer>(time: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => crate::model::units::ser_duration(time, s),
        None => s.serialize_none(),
    }
}

/// What runs the cases in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runner {
    /// What the port's manifest says.
    #[default]
    Auto,
    /// Kyua.
    Kyua,
    /// The POSIX-shell runner, which prints TPS.
    Sh,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_other_pass_fills_memory_with_a_byte_of_its_own() {
        assert_eq!(memory_byte(None, 2), None);
        assert!(
            (1..80)
                .step_by(2)
                .all(|p| memory_byte(Some(7), p).is_none())
        );
        let bytes: Vec<u8> = (1..77).filter_map(|p| memory_byte(Some(7), p)).collect();
        assert_eq!(bytes.len(), 38);
        assert!(bytes.iter().all(|b| !matches!(b, 0 | 255)), "{bytes:?}");
        let different: std::collections::BTreeSet<u8> = bytes.iter().copied().collect();
        assert!(different.len() > 30, "{bytes:?}");
        assert_ne!(memory_byte(Some(7), 2), memory_byte(Some(8), 2));
    }

    #[test]
    fn words_of_the_matrix() {
        let order = |text: &str| serde_yaml::from_str::<Order>(text).map_err(|e| e.to_string());
        assert_eq!(order("listed"), Ok(Order::Listed));
        assert_eq!(order("each-alone"), Ok(Order::EachAlone));
        assert_eq!(order("shuffled: 42"), Ok(Order::Shuffled(42)));
        insta::assert_snapshot!(order("shufled: 42").unwrap_err(), @"unknown field `shufled`, expected `shuffled`");
        insta::assert_snapshot!(order("each_alone").unwrap_err(), @"unknown variant `each_alone`, expected one of `listed`, `shuffled`, `each-alone`");
        insta::assert_snapshot!(order("shuffled").unwrap_err(), @r#"invalid value: string "shuffled", expected listed, {shuffled: SEED} or each-alone"#);
        let shards = |text: &str| serde_yaml::from_str::<Shards>(text).map_err(|e| e.to_string());
        assert_eq!(shards("auto"), Ok(Shards::Auto));
        assert_eq!(shards("3"), Ok(Shards::AtMost(3)));
        insta::assert_snapshot!(shards("0").unwrap_err(), @"invalid value: integer `0`, expected auto or a number from 1 to 256");
        for value in [Order::Listed, Order::Shuffled(7), Order::EachAlone] {
            let text = serde_yaml::to_string(&value).unwrap();
            assert_eq!(order(&text), Ok(value), "{text}");
        }
    }

    proptest! {
        /// A shuffle loses nothing, and the same seed gives the same order.
        #[test]
        fn a_shuffle_is_a_permutation(n in 0usize..60, seed: u64, pass in 1u32..5) {
            let mut places = Order::Shuffled(seed).places(n, pass);
            prop_assert_eq!(&places, &Order::Shuffled(seed).places(n, pass));
            places.sort_unstable();
            prop_assert_eq!(places, Order::Listed.places(n, pass));
        }
    }

    #[test]
    fn passes_and_seeds_differ() {
        let order = |seed, pass| Order::Shuffled(seed).places(50, pass);
        assert_ne!(order(1, 1), order(1, 2));
        assert_ne!(order(1, 1), order(2, 1));
    }
}
