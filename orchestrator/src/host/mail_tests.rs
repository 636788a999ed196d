//! Mail to a server that has a certificate: taken, and kept from one that cannot prove its name.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use camino::Utf8PathBuf;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;

/// What a server was told, line by line.
type Heard = Arc<Mutex<Vec<String>>>;

/// One side of a conversation: ends when the client leaves, or asks for TLS. Returns whether it did.
fn talk(stream: &mut (impl Read + Write), offers: &str, heard: &Heard) -> bool {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let mut reading = false;
    while stream.read_line(&mut line).is_ok_and(|n| n > 0) {
        let one = std::mem::take(&mut line).trim_end().to_owned();
        heard.lock().unwrap().push(one.clone());
        let answer = match (reading, one.split(' ').next().unwrap_or_default()) {
            (true, ".") => {
                reading = false;
                "250 kept".to_owned()
            }
            (true, _) => continue,
            (false, "EHLO") => format!("250-sink\r\n250 {offers}"),
            (false, "STARTTLS") => "220 go on".to_owned(),
            (false, "AUTH") => "235 welcome".to_owned(),
            (false, "DATA") => {
                reading = true;
                "354 go on".to_owned()
            }
            (false, _) => "250 ok".to_owned(),
        };
        let sent = stream
            .get_mut()
            .write_all(format!("{answer}\r\n").as_bytes());
        if sent.is_err() || one == "STARTTLS" {
            return one == "STARTTLS";
        }
    }
    false
}

/// A server for one mail, whose certificate is for `name`: its port, its own authority (PEM), what it heard.
fn server(name: &str, wrapped: bool) -> (u16, String, Heard) {
    crate::host::post::crypto();
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let pem = made.cert.pem();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Heard::default();
    let kept = heard.clone();
    std::thread::spawn(move || {
        let (mut plain, _): (TcpStream, _) = listener.accept().unwrap();
        if !wrapped {
            plain.write_all(b"220 sink\r\n").unwrap();
            if !talk(&mut plain, "STARTTLS", &kept) {
                return;
            }
        }
        let connection = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = StreamOwned::new(connection, plain);
        if wrapped && stream.write_all(b"220 sink\r\n").is_err() {
            return;
        }
        kept.lock().unwrap().push("(secured)".to_owned());
        talk(&mut stream, "AUTH PLAIN", &kept);
    });
    (port, pem, heard)
}

async fn told(tls: Secured, name: &str, trust: bool) -> (Result<(), String>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let (port, pem, heard) = server(name, tls == Secured::Tls);
    let file = Utf8PathBuf::from_path_buf(dir.path().join("ca.pem")).unwrap();
    std::fs::write(&file, pem).unwrap();
    let smtp = Smtp {
        from: "fallout <f@x.org>".to_owned(),
        host: "localhost".to_owned(),
        port,
        tls,
        ca_file: trust.then_some(file),
        user: Some("me".to_owned()),
        password_file: None,
        templates: None,
    };
    let to = ["list@x.org".to_owned()];
    let mail = Mail {
        to: &to,
        subject: "it fails",
        body: "text\n",
        id: "<3@x>",
        references: &[],
    };
    let sent = send(&smtp, Some("a secret".to_owned()), &mail).await;
    let heard = heard.lock().unwrap().clone();
    (sent, heard)
}

#[tokio::test]
async fn a_server_that_proves_its_name_gets_password_and_mail_over_tls_alone() {
    for tls in [Secured::Starttls, Secured::Tls] {
        let (sent, heard) = told(tls, "localhost", true).await;
        assert_eq!(sent, Ok(()), "{tls:?} {heard:?}");
        let secured = heard.iter().position(|l| l == "(secured)").unwrap();
        let (before, after) = heard.split_at(secured);
        let begins = |list: &[String], word: &str| list.iter().any(|l| l.starts_with(word));
        assert!(
            !begins(before, "AUTH") && !begins(before, "MAIL"),
            "{heard:?}"
        );
        assert!(
            begins(after, "AUTH PLAIN") && begins(after, "Subject: it fails"),
            "{heard:?}"
        );
    }
}

#[tokio::test]
async fn one_that_does_not_is_told_nothing() {
    for (name, trust) in [("localhost", false), ("elsewhere.example.org", true)] {
        for tls in [Secured::Starttls, Secured::Tls] {
            let (sent, heard) = told(tls, name, trust).await;
            let why = sent.unwrap_err();
            assert!(why.to_lowercase().contains("certificate"), "{why}");
            let secret = |l: &&String| l.starts_with("AUTH") || l.starts_with("Subject");
            assert_eq!(heard.iter().find(secret), None);
        }
    }
}
