//! Findings from outcomes: pure.
