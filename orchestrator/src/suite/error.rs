//! What can go wrong in this stage, as values.

/// Errors of the suite stage. None of them says anything about the system under test.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// A port's manifest names a runner that does not exist.
    #[error("'{found}' is not a runner: expected kyua or sh")]
    UnknownRunner {
        /// What was found.
        found: String,
    },
    /// A path or a name that must go into a guest's command line is not fit for it.
    #[error("{what} '{found}' cannot be used in a guest's command line: expected {expected}")]
    BadWord {
        /// Which setting.
        what: &'static str,
        /// What was found.
        found: String,
        /// What would do.
        expected: &'static str,
    },
    /// A results database is larger than the caller allows.
    #[error("results database {path} has {size_bytes} bytes, more than the {limit_bytes} allowed")]
    DbTooLarge {
        /// The file.
        path: String,
        /// Its size.
        size_bytes: u64,
        /// What is allowed.
        limit_bytes: u64,
    },
    /// A results database without a single byte or table: Kyua never came to write it.
    #[error("results database {path} is empty: Kyua did not come to its end")]
    DbEmpty {
        /// The file.
        path: String,
    },
    /// A results database of a form that is not known.
    #[error("results database {path} is not Kyua's schema 3: {detail}")]
    DbForm {
        /// The file.
        path: String,
        /// What was found instead.
        detail: String,
    },
    /// SQLite cannot read the file: truncated, damaged, or no database at all.
    #[error("results database {path} cannot be read: {source}")]
    DbUnreadable {
        /// The file.
        path: String,
        /// SQLite's word.
        source: sqlx::Error,
    },
    /// The file itself cannot be opened.
    #[error("cannot open results database {path}: {source}")]
    DbOpen {
        /// The file.
        path: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// The results database took longer to read than allowed.
    #[error("reading results database {path} took more than {limit_s} s")]
    DbTimeout {
        /// The file.
        path: String,
        /// What is allowed, in seconds.
        limit_s: u64,
    },
}
