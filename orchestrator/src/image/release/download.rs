//! One file from a server: resumed, verified, or refused in one sentence.
//!
//! ```text
//! part file ──Range, If-Range──▶ 206: append ─┐
//!     │                          200: anew ───┼─▶ complete ──hash──▶ as expected
//!     │                                       │                └──▶ thrown away, once anew
//!     └◀── connection lost, 503, silence ─────┘   (what came stays)
//! ```
//!
//! An attempt that brought something does not count against the limit of attempts: a connection that
//! dies every few megabytes still ends with the file. How long the file is, is not trusted: its hash
//! decides. No part of an answer becomes a path.

use std::io::Write as _;
use std::sync::Once;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use reqwest::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, IF_RANGE, LAST_MODIFIED, RANGE,
    RETRY_AFTER,
};
use reqwest::{Client, Response, StatusCode, Url};

use super::error::{ReleaseError, io};
use super::listing::{looks_like_html, title};
use super::sums::Sum;
use super::verify::{Hashes, hash};
use crate::host::text;

/// Files that are read into memory (listings, hashes) are not larger.
const TEXT_MAX: usize = 8 << 20;

/// How patient a fetch is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patience {
    /// Attempts in a row that bring nothing.
    pub attempts: u32,
    /// The pause before the second attempt; each later one is twice as long.
    pub pause: Duration,
    /// The longest pause, also where a server asks for a longer one.
    pub longest_pause: Duration,
    /// How long a server may be silent.
    pub silence: Duration,
    /// How many files come at the same time.
    pub at_once: usize,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 5,
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(120),
            silence: Duration::from_secs(45),
            at_once: 4,
        }
    }
}

/// What there is to tell while files come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note<'a> {
    /// A sentence.
    Said(&'a str),
    /// A file begins, or begins anew: so much is there, of so much.
    Begins {
        /// The file.
        file: &'a str,
        /// Bytes that are there.
        have: u64,
        /// Its length, where that is known.
        of: Option<u64>,
    },
    /// Further bytes of it.
    Came {
        /// The file.
        file: &'a str,
        /// How many.
        bytes: u64,
    },
    /// It is there, and right.
    Done {
        /// The file.
        file: &'a str,
    },
}

/// Who is told.
pub type Teller<'a> = dyn Fn(Note<'_>) + Send + Sync + 'a;

/// A client for mirrors.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client,
    /// How patient it is.
    pub patience: Patience,
}

/// One file to fetch.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// Where it is.
    pub url: &'a Url,
    /// What it is called when it is told of.
    pub file: &'a str,
    /// What it must hash to.
    pub sum: &'a Sum,
    /// Where the hash stands, for people.
    pub sums: &'a str,
    /// Where it grows; what is there already is taken for its beginning.
    pub part: &'a Utf8Path,
}

/// Why an attempt did not end with the file.
enum Trouble {
    /// It is worth another attempt, after this pause where the server asks for one.
    Again(String, Option<Duration>),
    Never(ReleaseError),
}

impl From<ReleaseError> for Trouble {
    fn from(error: ReleaseError) -> Self {
        Self::Never(error)
    }
}

impl Http {
    /// Errors: the host has no TLS.
    pub fn new(patience: Patience) -> Result<Self, String> {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            // Somebody else's choice is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let client = Client::builder()
            .connect_timeout(Duration::from_secs(20))
            .user_agent(concat!("fallout/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| e.to_string())?;
        Ok(Self { client, patience })
    }

    /// A small file: a listing, hashes.
    pub async fn text(&self, url: &Url, tell: &Teller<'_>) -> Result<Vec<u8>, ReleaseError> {
        let mut tries = Tries::default();
        loop {
            match self.text_once(url).await {
                Ok(content) => return Ok(content),
                Err(Trouble::Never(error)) => return Err(error),
                Err(Trouble::Again(why, after)) => {
                    tries.pause(self, url, why, after, 0, tell).await?;
                }
            }
        }
    }

    async fn text_once(&self, url: &Url) -> Result<Vec<u8>, Trouble> {
        let mut answer = self.send(self.client.get(url.clone())).await?;
        check_status(url, &answer)?;
        let mut content = Vec::new();
        while let Some(piece) = self.piece(&mut answer).await? {
            if content.len() + piece.len() > TEXT_MAX {
                return Err(ReleaseError::Wrong {
                    url: url.to_string(),
                    what: format!("is larger than {TEXT_MAX} bytes, too large for a list"),
                }
                .into());
            }
            content.extend_from_slice(&piece);
        }
        Ok(content)
    }

    /// Fetches a file into its part file, where it is whole and verified afterwards.
    pub async fn file(&self, job: &Job<'_>, tell: &Teller<'_>) -> Result<Hashes, ReleaseError> {
        let mut tries = Tries::default();
        let mut was_wrong = false;
        loop {
            let before = length(job.part);
            match self.file_once(job, tell).await {
                Ok(()) => {}
                Err(Trouble::Never(error)) => return Err(error),
                Err(Trouble::Again(why, after)) => {
                    let kept = length(job.part);
                    let brought = kept > before;
                    if brought {
                        tries = Tries::default();
                    }
                    tries.pause(self, job.url, why, after, kept, tell).await?;
                    if brought {
                        tries = Tries::default();
                    }
                    continue;
                }
            }
            let part = job.part.to_owned();
            let hashed = tokio::task::spawn_blocking(move || hash(&part)).await;
            let hashes = hashed.map_err(|e| io("hash", job.part)(std::io::Error::other(e)))??;
            if hashes.agree(job.sum) {
                forget_validator(job.part);
                tell(Note::Done { file: job.file });
                return Ok(hashes);
            }
            std::fs::remove_file(job.part).map_err(io("remove", job.part))?;
            forget_validator(job.part);
            if was_wrong {
                return Err(ReleaseError::Corrupt {
                    url: job.url.to_string(),
                    sums: job.sums.to_owned(),
                    expected: job.sum.clone(),
                    got: hashes.like(job.sum),
                    size_bytes: hashes.size_bytes,
                });
            }
            // The beginning may have been another version's; a second time nothing is old.
            was_wrong = true;
            tell(Note::Said(&format!(
                "{} is not what {} says; it is fetched once more",
                job.file, job.sums
            )));
        }
    }

    async fn file_once(&self, job: &Job<'_>, tell: &Teller<'_>) -> Result<(), Trouble> {
        let have = length(job.part);
        let mut request = self.client.get(job.url.clone());
        if have > 0 {
            request = request.header(RANGE, format!("bytes={have}-"));
            if let Some(validator) = validator(job.part) {
                request = request.header(IF_RANGE, validator);
            }
        }
        let mut answer = self.send(request).await?;
        let range = answer.headers().get(CONTENT_RANGE);
        let range = range.and_then(|r| r.to_str().ok()).map(read_range);
        let (from, total) = match answer.status() {
            StatusCode::PARTIAL_CONTENT if range.is_some_and(|r| r.0 == Some(have)) => {
                (have, range.and_then(|r| r.1))
            }
            StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => {
                if range.and_then(|r| r.1) == Some(have) {
                    return Ok(());
                }
                let _ = std::fs::remove_file(job.part);
                return Err(again(
                    "the part that is here does not belong to the file there",
                ));
            }
            StatusCode::PARTIAL_CONTENT => {
                let _ = std::fs::remove_file(job.part);
                return Err(again(
                    "the server sends another part than the one asked for",
                ));
            }
            _ => {
                check_status(job.url, &answer)?;
                let length = answer.headers().get(CONTENT_LENGTH);
                (0, length.and_then(|l| l.to_str().ok()?.parse().ok()))
            }
        };
        let is_html = is_html(answer.headers());
        let mut file = open(job.part, from)?;
        if from == 0 {
            keep_validator(job.part, answer.headers());
        }
        tell(Note::Begins {
            file: job.file,
            have: from,
            of: total,
        });
        let mut got = from;
        while let Some(piece) = self.piece(&mut answer).await? {
            if got == 0 && (is_html || looks_like_html(&piece)) {
                let _ = std::fs::remove_file(job.part);
                return Err(ReleaseError::ErrorPage {
                    url: job.url.to_string(),
                    title: title(&String::from_utf8_lossy(&piece)),
                }
                .into());
            }
            file.write_all(&piece).map_err(io("write", job.part))?;
            got += piece.len() as u64;
            tell(Note::Came {
                file: job.file,
                bytes: piece.len() as u64,
            });
        }
        file.flush().map_err(io("write", job.part))?;
        match total {
            Some(total) if got < total => {
                Err(again(&format!("it ended after {got} of {total} bytes")))
            }
            _ => Ok(()),
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, Trouble> {
        match tokio::time::timeout(self.patience.silence, request.send()).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if error.is_redirect() => Err(Trouble::Never(ReleaseError::Wrong {
                url: error.url().map_or(String::new(), Url::to_string),
                what: "leads on and on to other addresses".to_owned(),
            })),
            Ok(Err(error)) => Err(again(&chain(&error.without_url()))),
            Err(_) => Err(self.silent()),
        }
    }

    async fn piece(&self, answer: &mut Response) -> Result<Option<Vec<u8>>, Trouble> {
        match tokio::time::timeout(self.patience.silence, answer.chunk()).await {
            Ok(Ok(piece)) => Ok(piece.map(|p| p.to_vec())),
            Ok(Err(error)) => Err(again(&format!(
                "the connection was lost: {}",
                chain(&error.without_url())
            ))),
            Err(_) => Err(self.silent()),
        }
    }

    fn silent(&self) -> Trouble {
        again(&format!(
            "the server was silent for {} s",
            self.patience.silence.as_secs()
        ))
    }
}

/// Attempts in a row that brought nothing.
#[derive(Default)]
struct Tries(u32);

impl Tries {
    /// Waits before the next attempt, or gives up.
    async fn pause(
        &mut self,
        http: &Http,
        url: &Url,
        why: String,
        after: Option<Duration>,
        kept_bytes: u64,
        tell: &Teller<'_>,
    ) -> Result<(), ReleaseError> {
        self.0 += 1;
        let patience = &http.patience;
        if self.0 >= patience.attempts {
            return Err(ReleaseError::Unreachable {
                url: url.to_string(),
                why,
                attempts: self.0,
                kept_bytes,
            });
        }
        let usual = patience.pause * 2_u32.saturating_pow(self.0 - 1);
        let pause = after.unwrap_or(usual).min(patience.longest_pause);
        let file = url.path().rsplit('/').find(|p| !p.is_empty());
        tell(Note::Said(&format!(
            "{}: {why}; next attempt in {:.1} s",
            file.unwrap_or_default(),
            pause.as_secs_f64()
        )));
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

fn again(why: &str) -> Trouble {
    Trouble::Again(text::line(why.as_bytes(), 200), None)
}

/// Anything but a full answer is an error, of the kind that passes or of the kind that stays.
fn check_status(url: &Url, answer: &Response) -> Result<(), Trouble> {
    let status = answer.status();
    match status.as_u16() {
        200 => Ok(()),
        404 | 410 => Err(Trouble::Never(ReleaseError::NotThere {
            url: url.to_string(),
            status: status.as_u16(),
        })),
        408 | 425 | 429 | 500 | 502 | 503 | 504 => {
            let after = answer.headers().get(RETRY_AFTER);
            let after = after.and_then(|a| a.to_str().ok()?.trim().parse().ok());
            Err(Trouble::Again(
                format!("the server answers with status {}", status.as_u16()),
                after.map(Duration::from_secs),
            ))
        }
        status => Err(Trouble::Never(ReleaseError::Refused {
            url: url.to_string(),
            status,
        })),
    }
}

fn is_html(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|t| t.to_str().ok());
    kind.is_some_and(|t| t.trim_start().to_ascii_lowercase().starts_with("text/html"))
}

/// First byte and whole length of `bytes 5-9/10` or `bytes */10`.
fn read_range(text: &str) -> (Option<u64>, Option<u64>) {
    let text = text.trim().strip_prefix("bytes").unwrap_or(text).trim();
    let (span, total) = text.split_once('/').unwrap_or((text, ""));
    let first = span.split_once('-').map_or("", |(first, _)| first);
    (first.trim().parse().ok(), total.trim().parse().ok())
}

fn open(part: &Utf8Path, from: u64) -> Result<std::fs::File, ReleaseError> {
    if let Some(dir) = part.parent() {
        std::fs::create_dir_all(dir).map_err(io("create", dir))?;
    }
    let mut options = std::fs::File::options();
    match from {
        0 => options.write(true).create(true).truncate(true),
        _ => options.append(true),
    };
    options.open(part).map_err(io("open", part))
}

fn length(part: &Utf8Path) -> u64 {
    std::fs::metadata(part).map_or(0, |m| m.len())
}

/// What the server called this version of the file by, kept beside the part.
fn validator_path(part: &Utf8Path) -> Utf8PathBuf {
    Utf8PathBuf::from(format!("{part}.version"))
}

fn validator(part: &Utf8Path) -> Option<String> {
    std::fs::read_to_string(validator_path(part)).ok()
}

fn forget_validator(part: &Utf8Path) {
    let _ = std::fs::remove_file(validator_path(part));
}

fn keep_validator(part: &Utf8Path, headers: &HeaderMap) {
    let get = |name| {
        headers
            .get(name)
            .and_then(|v: &reqwest::header::HeaderValue| v.to_str().ok())
    };
    // A weak one does not tell that the bytes are the same.
    let strong = get(ETAG).filter(|tag| !tag.starts_with("W/"));
    match strong.or_else(|| get(LAST_MODIFIED)) {
        // Without it the next attempt begins anew at worst: the hash decides.
        Some(version) => drop(std::fs::write(validator_path(part), version)),
        None => forget_validator(part),
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        said = format!("{said}: {one}");
        cause = one.source();
    }
    text::line(said.as_bytes(), 200)
}
