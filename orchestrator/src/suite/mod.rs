//! ATF and Kyua: commands and parsers, pure.
