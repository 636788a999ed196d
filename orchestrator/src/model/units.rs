//! Readable durations (`45m`, `1h30m`, `500ms`) and sizes (`512MiB`) for settings.
//!
//! Durations use jiff's friendly format; sizes need a binary unit, because "MB" means two things.

use std::time::Duration;

use serde::Deserializer;

/// Reads `45m`, `90s`, `1h 30m`, `250ms`. Negative durations are refused.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.trim().parse().map_err(|_| {
        format!("'{text}' is not a duration: expected for example 90s, 45m or 1h30m")
    })?;
    Duration::try_from(span)
        .map_err(|_| format!("'{text}' is negative: expected a duration of zero or more"))
}

/// Reads `64KiB`, `512MiB`, `2GiB`, `4096B`. The result is in bytes.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let bad = || format!("'{text}' is not a size: expected for example 512MiB or 2GiB");
    let text_trimmed = text.trim();
    let digits = text_trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text_trimmed[..digits].parse().map_err(|_| bad())?;
    let factor: u64 = match text_trimmed[digits..].trim() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(bad()),
    };
    number.checked_mul(factor).ok_or_else(bad)
}

/// For `#[serde(deserialize_with)]`: a readable duration.
pub fn de_duration<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    d.deserialize_str(Quantity {
        expected: "a duration, for example 90s, 45m or 1h30m",
        parse: parse_duration,
    })
}

/// For `#[serde(deserialize_with)]`: a readable size, in bytes.
pub fn de_size<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    d.deserialize_str(Quantity {
        expected: "a size, for example 512MiB or 2GiB",
        parse: parse_size,
    })
}

/// A number with a unit. A number without one is refused with what was expected.
struct Quantity<T> {
    expected: &'static str,
    parse: fn(&str) -> Result<T, String>,
}

impl<T> serde::de::Visitor<'_> for Quantity<T> {
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }
}

/// Serialises a duration as readable text, so that what is written can be read back.
pub fn ser_duration<S: serde::Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&format!("{}ms", d.as_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(parse_duration("45m").unwrap(), Duration::from_secs(2700));
        assert_eq!(parse_duration("1h30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(parse_duration("250ms").unwrap(), Duration::from_millis(250));
        assert!(parse_duration("-3s").unwrap_err().contains("negative"));
        assert!(parse_duration("45").is_err());
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("512MiB").unwrap(), 512 << 20);
        assert_eq!(parse_size("2 GiB").unwrap(), 2 << 30);
        assert!(parse_size("512MB").unwrap_err().contains("512MiB"));
        assert!(parse_size("99999999999TiB").is_err());
    }
}
