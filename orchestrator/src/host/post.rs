//! Letters over HTTP: commit states to forges, webhooks out.
//!
//! Nothing of an address or a token is in an error: both can be secrets, and errors go to the log.

use std::sync::Once;
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::model::telling::{CommitState, Forge, Status};

/// How long one delivery may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Makes rustls' cryptography known, once for a process.
pub(super) fn crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Somebody else's choice is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// A client for all deliveries.
pub fn client() -> Result<Client, String> {
    crypto();
    Client::builder()
        .timeout(TIMEOUT)
        .connect_timeout(Duration::from_secs(10))
        // What is told is not told to somebody else.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("fallout/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| e.to_string())
}

/// A commit's state.
#[derive(Debug, Clone)]
pub struct CommitStatus<'a> {
    /// The commit.
    pub commit: &'a str,
    /// What it is the status of.
    pub context: &'a str,
    /// The state.
    pub state: CommitState,
    /// One short sentence.
    pub description: &'a str,
    /// A page.
    pub link: Option<&'a str>,
}

fn state_word(forge: Forge, state: CommitState) -> &'static str {
    match (forge, state) {
        (_, CommitState::Pending) => "pending",
        (_, CommitState::Success) => "success",
        (Forge::Gitlab, CommitState::Failure) => "failed",
        (_, CommitState::Failure) => "failure",
        // GitLab knows no error; `failed` would put the blame on the commit.
        (Forge::Gitlab, CommitState::Error) => "canceled",
        (_, CommitState::Error) => "error",
    }
}

fn encoded(text: &str) -> String {
    let mut out = String::new();
    for b in text.bytes() {
        match b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            true => out.push(char::from(b)),
            false => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

/// Tells a forge the state of a commit.
pub async fn status(
    client: &Client,
    to: &Status,
    token: &str,
    what: &CommitStatus<'_>,
) -> Result<(), String> {
    let api = to.api.trim_end_matches('/');
    let state = state_word(to.forge, what.state);
    let (address, body) = match to.forge {
        Forge::Gitlab => (
            format!(
                "{api}/projects/{}/statuses/{}",
                encoded(&to.project),
                what.commit
            ),
            json!({"state": state, "name": what.context, "description": what.description,
                   "target_url": what.link}),
        ),
        Forge::Github | Forge::Gitea => (
            format!("{api}/repos/{}/statuses/{}", to.project, what.commit),
            json!({"state": state, "context": what.context, "description": what.description,
                   "target_url": what.link}),
        ),
    };
    let request = client.post(address);
    let request = match to.forge {
        Forge::Github => request
            .bearer_auth(token)
            .header("accept", "application/vnd.github+json"),
        Forge::Gitea => request.header("authorization", format!("token {token}")),
        Forge::Gitlab => request.header("private-token", token),
    };
    match send(request, without_null(body)).await {
        // GitLab refuses a state that the commit has already.
        Err(why) if to.forge == Forge::Gitlab && why.contains("Cannot transition") => Ok(()),
        other => other,
    }
}

fn without_null(mut body: Value) -> Vec<u8> {
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    body.to_string().into_bytes()
}

/// Asks a daemon for something, or for something to be done where there is a body: status and body of its
/// answer.
pub async fn ask(
    url: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> Result<(u16, String), String> {
    let client = client()?;
    let mut request = match body {
        Some(body) => client
            .post(url)
            .header("content-type", "application/json")
            .body(body.to_string()),
        None => client.get(url),
    };
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.map_err(|e| chain(&e))?;
    let status = answer.status().as_u16();
    Ok((status, answer.text().await.map_err(|e| chain(&e))?))
}

/// Sends a webhook, signed as GitHub and Gitea sign theirs.
pub async fn hook(
    client: &Client,
    url: &str,
    secret: &[u8],
    delivery: &str,
    body: &str,
) -> Result<(), String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|e| e.to_string())?;
    mac.update(body.as_bytes());
    let bytes = mac.finalize().into_bytes();
    let signature: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let request = client
        .post(url)
        .header("x-fallout-event", "job")
        .header("x-fallout-delivery", delivery)
        .header("x-fallout-signature-256", format!("sha256={signature}"));
    send(request, body.as_bytes().to_vec()).await
}

async fn send(request: RequestBuilder, body: Vec<u8>) -> Result<(), String> {
    let request = request
        .header("content-type", "application/json")
        .body(body);
    let answer = request.send().await;
    let answer = answer.map_err(|e| chain(&e.without_url()))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    // What a forge says of a mistake helps; what a stranger says is cut short.
    let said = match status {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            let bytes = answer.bytes().await.unwrap_or_default();
            super::text::line(bytes.get(..500).unwrap_or(&bytes), 200)
        }
        _ => String::new(),
    };
    Err(format!("answered {status} {said}").trim_end().to_owned())
}

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        said = format!("{said}: {one}");
        cause = one.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// What a forge is sent, and what comes of its answer.
    async fn told(
        forge: Forge,
        state: CommitState,
        answer: &str,
    ) -> (String, Value, Result<(), String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = Status {
            forge,
            api: format!("http://{}/api/", listener.local_addr().unwrap()),
            project: "net bsd/src".to_owned(),
            token_file: "t".into(),
        };
        let answer = answer.to_owned();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut got = Vec::new();
            loop {
                let text = String::from_utf8_lossy(&got).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    let head = head.to_lowercase();
                    let length = head
                        .lines()
                        .find_map(|l| l.strip_prefix("content-length: "));
                    if body.len() >= length.unwrap().parse().unwrap() {
                        let reply = format!(
                            "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                        );
                        stream.write_all(reply.as_bytes()).await.unwrap();
                        return (head, serde_json::from_str(body).unwrap());
                    }
                }
                let mut some = [0; 1024];
                let n = stream.read(&mut some).await.unwrap();
                got.extend_from_slice(&some[..n]);
            }
        });
        let what = CommitStatus {
            commit: "4f2c1e",
            context: "fallout",
            state,
            description: "two findings",
            link: None,
        };
        let result = status(&client().unwrap(), &to, "secret", &what).await;
        let (head, body) = served.await.unwrap();
        (head, body, result)
    }

    #[tokio::test]
    async fn github_is_told_with_what_it_insists_on() {
        let (head, body, result) = told(Forge::Github, CommitState::Error, "201 Created").await;
        assert_eq!(result, Ok(()));
        assert!(
            head.starts_with("post /api/repos/net%20bsd/src/statuses/4f2c1e http/1.1"),
            "{head}"
        );
        for wanted in [
            "authorization: bearer secret",
            "accept: application/vnd.github+json",
            "user-agent: fallout",
        ] {
            assert!(head.contains(wanted), "{wanted} in {head}");
        }
        let wanted = json!({"state": "error", "context": "fallout", "description": "two findings"});
        assert_eq!(body, wanted);
    }

    #[tokio::test]
    async fn gitlab_has_words_and_an_address_of_its_own() {
        let (head, body, result) = told(Forge::Gitlab, CommitState::Failure, "201 Created").await;
        assert_eq!(result, Ok(()));
        let address = "post /api/projects/net%20bsd%2fsrc/statuses/4f2c1e ";
        assert!(head.starts_with(address), "{head}");
        assert!(head.contains("private-token: secret"), "{head}");
        let wanted = json!({"state": "failed", "name": "fallout", "description": "two findings"});
        assert_eq!(body, wanted);
        let (_, body, _) = told(Forge::Gitlab, CommitState::Error, "201 Created").await;
        assert_eq!(body["state"], "canceled");
    }

    #[tokio::test]
    async fn a_forge_that_refuses_is_named_by_its_answer() {
        let (_, _, result) = told(Forge::Github, CommitState::Success, "401 Unauthorized").await;
        assert_eq!(result, Err("answered 401 Unauthorized".to_owned()));
    }
}
