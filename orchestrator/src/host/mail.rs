//! Mail over SMTP.

use std::time::Duration;

use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use crate::model::telling::{Secured, Smtp};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Tells other programs not to answer.
#[derive(Debug, Clone)]
struct Automatic;

impl Header for Automatic {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// A mail.
#[derive(Debug, Clone, Copy)]
pub struct Mail<'a> {
    /// Addresses.
    pub to: &'a [String],
    /// One line.
    pub subject: &'a str,
    /// Text.
    pub body: &'a str,
    /// Its own identity.
    pub id: &'a str,
    /// Those before it in its thread, the first one first.
    pub references: &'a [String],
}

/// The domain of an address, which is that of our mails' identities; an error where it is none.
pub fn domain(address: &str) -> Result<String, String> {
    let mailbox: Mailbox = address.parse().map_err(|e| format!("'{address}': {e}"))?;
    Ok(mailbox.email.domain().to_owned())
}

fn message(from: &str, mail: &Mail<'_>) -> Result<Message, String> {
    let mailbox = |text: &str| -> Result<Mailbox, String> {
        text.parse().map_err(|e| format!("'{text}': {e}"))
    };
    let mut builder = Message::builder()
        .from(mailbox(from)?)
        .subject(mail.subject)
        .message_id(Some(mail.id.to_owned()))
        .header(Automatic)
        .header(ContentType::TEXT_PLAIN);
    let mut reached = false;
    for to in mail.to {
        // One author with an odd address does not keep the list from hearing it.
        if let Ok(to) = mailbox(to) {
            builder = builder.to(to);
            reached = true;
        }
    }
    if !reached {
        return Err("none of its addresses is one".to_owned());
    }
    if let Some(last) = mail.references.last() {
        builder = builder
            .references(mail.references.join(" "))
            .in_reply_to(last.clone());
    }
    builder
        .body(mail.body.to_owned())
        .map_err(|e| e.to_string())
}

/// How the server proves that it is itself: by a certificate for its name, of somebody whom the host or the
/// settings trust.
fn parameters(smtp: &Smtp) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(smtp.host.clone());
    if let Some(file) = &smtp.ca_file {
        let pem = std::fs::read(file).map_err(|e| format!("{file}: {e}"))?;
        let own = Certificate::from_pem(&pem).map_err(|e| format!("{file}: {e}"))?;
        builder = builder.add_root_certificate(own);
    }
    builder.build().map_err(|e| e.to_string())
}

/// Sends a mail.
pub async fn send(smtp: &Smtp, password: Option<String>, mail: &Mail<'_>) -> Result<(), String> {
    super::post::crypto();
    let message = message(&smtp.from, mail)?;
    let tls = || parameters(smtp);
    let secured = match smtp.tls {
        Secured::None => Tls::None,
        Secured::Starttls => Tls::Required(tls()?),
        Secured::Tls => Tls::Wrapper(tls()?),
    };
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.host)
        .port(smtp.port)
        .tls(secured)
        .timeout(Some(TIMEOUT));
    if let (Some(user), Some(password)) = (&smtp.user, password) {
        transport = transport.credentials(Credentials::new(user.clone(), password));
    }
    transport
        .build()
        .send(message)
        .await
        .map(drop)
        .map_err(|e| super::post::chain(&e))
}

#[cfg(test)]
#[path = "mail_tests.rs"]
mod over_tls;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_stands_in_its_thread_and_nothing_gets_into_its_head() {
        let to = ["A B <a@b.org>".to_owned(), "nonsense".to_owned()];
        let references = ["<1@x>".to_owned(), "<2@x>".to_owned()];
        let mail = Mail {
            to: &to,
            subject: "it fails\r\nBcc: evil@x.org",
            body: "text\n.\nmore\n",
            id: "<3@x>",
            references: &references,
        };
        let text = message("fallout <f@x.org>", &mail).unwrap().formatted();
        let text = String::from_utf8(text).unwrap();
        let (head, _) = text.split_once("\r\n\r\n").unwrap();
        for line in [
            "Message-ID: <3@x>",
            "References: <1@x> <2@x>",
            "In-Reply-To: <2@x>",
            "Auto-Submitted: auto-generated",
        ] {
            assert!(head.lines().any(|l| l == line), "{line} in {head}");
        }
        assert!(!head.lines().any(|l| l.starts_with("Bcc:")), "{head}");
        assert_eq!(domain("fallout <f@x.org>").unwrap(), "x.org");
        assert!(domain("fallout").is_err());
        let nobody = Mail {
            to: &to[1..],
            ..mail
        };
        assert!(message("f@x.org", &nobody).is_err());
    }
}
