//! Webhooks of forges: who sent it is checked before anything of it is parsed.
//!
//! GitHub, Gitea and Forgejo sign the body (HMAC-SHA256), GitLab sends the secret; both are compared
//! in constant time. A replay is refused by what was signed, the body: the delivery's number in the
//! header is not, so a replayed body under a new number would pass by that. All three forges name a
//! push `ref`, `before`, `after`; nothing else of the body is read.

use hmac::{Hmac, Mac as _};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::model::{ChangeSet, Key};

use super::hook;
use super::settings::Forge;

/// The largest body that is looked at, in bytes. GitHub's limit is 25 MiB, a push's list of commits
/// is capped far below this.
pub const MAX_BYTES: usize = 4 << 20;

/// Why a webhook was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No signature, or a wrong one.
    #[error("the signature is missing or wrong")]
    Signature,
    /// It is signed, and not what the forge is known to send.
    #[error("the body is not a push as this forge sends it")]
    Body,
}

/// What a webhook says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A push, with the identity by which a replay is known.
    Push {
        /// The change.
        change: ChangeSet,
        /// The delivery's identity.
        delivery: String,
    },
    /// Something else that is well signed: a ping, a deleted branch.
    Nothing,
}

#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    reference: String,
    before: String,
    after: String,
}

/// Headers by their names in lower case.
type Header<'a> = dyn Fn(&str) -> Option<&'a str> + 'a;

/// Checks a webhook of a repository and says what it means.
pub fn read(
    forge: Forge,
    secret: &[u8],
    repository: &str,
    header: &Header<'_>,
    body: &[u8],
) -> Result<Said, Refused> {
    let genuine = match forge {
        Forge::Github => signed(
            secret,
            body,
            header("x-hub-signature-256").and_then(|s| s.strip_prefix("sha256=")),
        ),
        Forge::Gitea => signed(secret, body, header("x-gitea-signature")),
        Forge::Gitlab => header("x-gitlab-token").is_some_and(|token| {
            // Hashes have one length, so the comparison says nothing about the secret's.
            let (a, b) = (Sha256::digest(token), Sha256::digest(secret));
            a.as_slice().ct_eq(b.as_slice()).into()
        }),
    };
    if !genuine || secret.is_empty() {
        return Err(Refused::Signature);
    }
    let kind = match forge {
        Forge::Github => header("x-github-event") == Some("push"),
        Forge::Gitea => header("x-gitea-event") == Some("push"),
        Forge::Gitlab => matches!(
            header("x-gitlab-event"),
            Some("Push Hook" | "Tag Push Hook")
        ),
    };
    if !kind {
        return Ok(Said::Nothing);
    }
    let push: Push = serde_json::from_slice(body).map_err(|_| Refused::Body)?;
    if !hook::is_object(&push.after) || !hook::is_reference(&push.reference) {
        return Err(Refused::Body);
    }
    Ok(
        match hook::change(repository, &push.before, &push.after, &push.reference) {
            Some(change) => Said::Push {
                change,
                delivery: Key::of("webhook", &[repository.as_bytes(), body]).0,
            },
            None => Said::Nothing,
        },
    )
}

/// Whether `signature` is the body's HMAC in hexadecimal. The comparison takes the same time
/// whatever part of it is right.
fn signed(secret: &[u8], body: &[u8], signature: Option<&str>) -> bool {
    let Some(given) = signature.and_then(unhex) else {
        return false;
    };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
        return false;
    };
    mac.update(body);
    mac.verify_slice(&given).is_ok()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    (0..32)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex_mac(secret: &[u8], body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
        mac.update(body);
        let bytes = mac.finalize().into_bytes();
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    fn body() -> Vec<u8> {
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        format!(r#"{{"ref":"refs/heads/main","before":"{a}","after":"{b}","commits":[]}}"#).into()
    }

    fn try_it(
        forge: Forge,
        headers: &[(&'static str, String)],
        body: &[u8],
    ) -> Result<Said, Refused> {
        let header = |name: &str| {
            let found = headers.iter().find(|(n, _)| *n == name);
            found.map(|(_, v)| v.as_str())
        };
        read(forge, b"secret", "r", &header, body)
    }

    #[test]
    fn all_three_forges_are_understood() {
        let mac = hex_mac(b"secret", &body());
        for (forge, headers) in [
            (
                Forge::Github,
                [
                    ("x-hub-signature-256", format!("sha256={mac}")),
                    ("x-github-event", "push".to_owned()),
                ],
            ),
            (
                Forge::Gitea,
                [
                    ("x-gitea-signature", mac.clone()),
                    ("x-gitea-event", "push".to_owned()),
                ],
            ),
            (
                Forge::Gitlab,
                [
                    ("x-gitlab-token", "secret".to_owned()),
                    ("x-gitlab-event", "Push Hook".to_owned()),
                ],
            ),
        ] {
            let Ok(Said::Push { change, .. }) = try_it(forge, &headers, &body()) else {
                panic!("{forge:?}");
            };
            assert_eq!(change.reference, "refs/heads/main");
            let mut wrong = headers.clone();
            wrong[0].1 = wrong[0].1.replace(['0', 's'], "1");
            assert_eq!(try_it(forge, &wrong, &body()), Err(Refused::Signature));
            assert_eq!(
                try_it(forge, &headers[1..], &body()),
                Err(Refused::Signature)
            );
        }
    }

    #[test]
    fn github_documents_this_signature() {
        let secret = b"It's a Secret to Everybody";
        let known = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert!(signed(secret, b"Hello, World!", Some(known)));
        assert!(!signed(secret, b"Hello, World.", Some(known)));
    }

    #[test]
    fn a_ping_is_nothing_and_a_signed_riddle_is_refused() {
        let sign = |body: &[u8], event: &str| {
            [
                ("x-gitea-signature", hex_mac(b"secret", body)),
                ("x-gitea-event", event.to_owned()),
            ]
        };
        let ping = try_it(Forge::Gitea, &sign(b"{}", "ping"), b"{}");
        assert_eq!(ping, Ok(Said::Nothing));
        let riddle = try_it(Forge::Gitea, &sign(b"{}", "push"), b"{}");
        assert_eq!(riddle, Err(Refused::Body));
    }

    proptest! {
        #[test]
        fn nothing_unsigned_passes_and_nothing_panics(
            body: Vec<u8>, signature in "[0-9a-f]{0,70}|.{0,70}",
        ) {
            let headers = [
                ("x-gitea-signature", signature),
                ("x-gitea-event", "push".to_owned()),
            ];
            prop_assert_eq!(try_it(Forge::Gitea, &headers, &body), Err(Refused::Signature));
        }
    }
}
