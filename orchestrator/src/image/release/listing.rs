//! A mirror's directory as a page: pure.
//!
//! Apache, nginx, bozohttpd, lighttpd and the like all make a page of links, each in a form of its own; FTP gateways
//! and object stores send plain text. Only what all have in common is used: where links lead. A
//! link counts where it leads to something directly below the page's own address. Sizes in such pages
//! are rounded and are not read: how long a file is, the answer to a request for it says.

use std::collections::BTreeMap;

use reqwest::Url;

use crate::host::text;

/// What a directory has in it: names, and whether each is a directory itself.
pub type Listing = BTreeMap<String, Kind>;

/// What an entry of a listing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A file, or something that a listing does not tell from one.
    File,
    /// A directory.
    Directory,
}

/// Entries beyond this are not read: the largest directory of dailies has some hundred.
const ENTRIES_MAX: usize = 50_000;
/// Longer names are no file's.
const NAME_MAX: usize = 255;

/// Reads the page that came from `at`, which ends in `/`.
///
/// Errors: why it is not a listing, for a sentence that names the address.
pub fn parse(at: &Url, content: &[u8]) -> Result<Listing, String> {
    let content = String::from_utf8_lossy(content);
    if !looks_like_html(content.as_bytes()) {
        return plain(&content);
    }
    let mut found = Listing::new();
    for link in links(&content) {
        if found.len() >= ENTRIES_MAX {
            break;
        }
        if let Some((name, kind)) = below(at, &link) {
            // A name with and without a slash is a directory.
            found
                .entry(name)
                .and_modify(|k| *k = (*k).max(kind))
                .or_insert(kind);
        }
    }
    let title = title(&content);
    let is_index = title.to_ascii_lowercase().contains("index of")
        || title.to_ascii_lowercase().contains("directory listing");
    if found.is_empty() && !is_index {
        return Err(match title.as_str() {
            "" => "is a page that lists nothing".to_owned(),
            title => format!("is a page that lists nothing; its title is '{title}'"),
        });
    }
    Ok(found)
}

/// True for what begins as a page does.
pub fn looks_like_html(content: &[u8]) -> bool {
    let head = content.get(..1024).unwrap_or(content);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let head = head.trim_start_matches('\u{feff}').trim_start();
    let starts = [
        "<!doctype html",
        "<html",
        "<head",
        "<?xml",
        "<title",
        "<!--",
        "<body",
        "<pre",
    ];
    starts.iter().any(|s| head.starts_with(s))
}

/// A page's title, fit to be shown.
pub fn title(page: &str) -> String {
    let lower = page.to_ascii_lowercase();
    let inner = lower.find("<title").and_then(|at| {
        let start = at + lower[at..].find('>')? + 1;
        let end = start + lower[start..].find("</title")?;
        page.get(start..end)
    });
    text::line(inner.unwrap_or_default().trim().as_bytes(), 80)
}

/// The values of `href` in the page's anchors.
fn links(page: &str) -> impl Iterator<Item = String> {
    // Lower case has the same length in ASCII, so places agree.
    let lower = page.to_ascii_lowercase();
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            at += lower.get(at..)?.find("<a")? + 2;
            if !lower[at..].starts_with(|c: char| c.is_ascii_whitespace()) {
                continue;
            }
            let end = at + lower[at..].find('>').unwrap_or(lower.len() - at);
            let tag = lower[at..end].find("href").map(|h| at + h + 4);
            let value = tag.and_then(|h| page[h..end].trim_start().strip_prefix('='));
            at = end;
            if let Some(value) = value {
                return Some(unescape(unquote(value.trim_start())));
            }
        }
    })
}

fn unquote(value: &str) -> &str {
    match value.chars().next() {
        Some(quote @ ('"' | '\'')) => value[1..].split(quote).next().unwrap_or_default(),
        _ => value.split_ascii_whitespace().next().unwrap_or_default(),
    }
}

fn unescape(text: &str) -> String {
    text.replace("&#x2F;", "/")
        .replace("&#47;", "/")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}

/// Name and kind of what a link leads to, where that is directly below `at`.
fn below(at: &Url, link: &str) -> Option<(String, Kind)> {
    let to = at.join(link).ok()?;
    if to.query().is_some() || to.origin() != at.origin() {
        return None;
    }
    let rest = to.path().strip_prefix(at.path())?;
    let (name, kind) = match rest.strip_suffix('/') {
        Some(name) => (name, Kind::Directory),
        None => (rest, Kind::File),
    };
    is_name(&decode(name)).then(|| (decode(name), kind))
}

fn decode(name: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = name.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |b: u8| char::from(b).to_digit(16);
        match (first, tail) {
            (b'%', [a, b, after @ ..]) if hex(*a).is_some() && hex(*b).is_some() => {
                let value = hex(*a).unwrap_or(0) * 16 + hex(*b).unwrap_or(0);
                bytes.push(u8::try_from(value).unwrap_or(b'?'));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Names become parts of paths on this machine: what could lead elsewhere is no name.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_MAX
        && !name.starts_with('.')
        && !name.contains(['/', '\\', '\u{fffd}'])
        && !name.chars().any(char::is_control)
}

/// Plain text: a name a line, or what `ls -l` prints.
fn plain(content: &str) -> Result<Listing, String> {
    let mut found = Listing::new();
    for line in content.lines().take(ENTRIES_MAX) {
        let line = line.trim();
        if line.is_empty() || line.starts_with("total ") {
            continue;
        }
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let entry = match words.as_slice() {
            [name] => match name.strip_suffix('/') {
                Some(name) => (name, Kind::Directory),
                None => (*name, Kind::File),
            },
            // drwxr-xr-x  2 root wheel 512 Oct 11 2024 amd64
            [mode, _, _, _, _, _, _, _, name, ..] if is_mode(mode) => match mode.as_bytes()[0] {
                b'd' => (*name, Kind::Directory),
                // A link can lead to either; dailies have one, `latest`.
                _ => (*name, Kind::File),
            },
            _ => {
                let begins = text::line(line.as_bytes(), 60);
                return Err(format!("is no listing; it begins '{begins}'"));
            }
        };
        if is_name(entry.0) {
            found.insert(entry.0.to_owned(), entry.1);
        }
    }
    Ok(found)
}

fn is_mode(word: &str) -> bool {
    word.len() >= 10
        && word.starts_with(['d', '-', 'l'])
        && word
            .bytes()
            .skip(1)
            .take(9)
            .all(|b| b"rwxstST-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(page: &str) -> Result<String, String> {
        let at = Url::parse("http://m.example/pub/NetBSD/NetBSD-10.1/").unwrap();
        let found = parse(&at, page.as_bytes())?;
        let one = |(name, kind): (&String, &Kind)| match kind {
            Kind::Directory => format!("{name}/"),
            Kind::File => name.clone(),
        };
        Ok(found.iter().map(one).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn servers_list_each_in_a_form_of_its_own() {
        let apache = r#"<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">
            <html><head><title>Index of /pub/NetBSD/NetBSD-10.1</title></head><body><table>
            <tr><th><a href="?C=N;O=D">Name</a></th></tr>
            <tr><td><a href="/pub/NetBSD/">Parent Directory</a></td></tr>
            <tr><td><a href="amd64/">amd64/</a></td><td>2024-12-16</td><td>  - </td></tr>
            <tr><td><a href="CHANGES-10.1">CHANGES-10.1</a></td><td> 23K</td></tr></table></body></html>"#;
        assert_eq!(read(apache).unwrap(), "CHANGES-10.1 amd64/");
        let nginx = "<html>\r\n<head><title>Index of /pub/NetBSD/NetBSD-10.1/</title></head>\r\n<body>\
            <h1>Index of /</h1><hr><pre><a href=\"../\">../</a>\r\n\
            <a href=\"images/\">images/</a>   16-Dec-2024 13:01   -\r\n\
            <a href=\"a%20b%2Bc\">a b+c</a>  16-Dec-2024 13:01   12\r\n</pre></body></html>";
        assert_eq!(read(nginx).unwrap(), "a b+c images/");
        let bozo = "<!DOCTYPE html>\r\n<html><head><meta charset=\"utf-8\"/>\r\n<title>Index of \
            NetBSD-10.1/</title></head><body><table><td><a href=\"..//\">Parent Directory</a>\
            <td><a href=\"./evbarm-aarch64/\">evbarm-aarch64/</a>\
            <td><a href='/pub/NetBSD/NetBSD-10.1/SHA512'>SHA512</a></table></body></html>";
        assert_eq!(read(bozo).unwrap(), "SHA512 evbarm-aarch64/");
        let loud = "<HTML><TITLE>x</TITLE><A CLASS=f HREF=http://m.example/pub/NetBSD/NetBSD-10.1/i386/>\
            i386</A><a href=\"https://elsewhere.example/pub/NetBSD/NetBSD-10.1/vax/\">vax</a></HTML>";
        assert_eq!(read(loud).unwrap(), "i386/");
        let ls = "total 12\ndrwxr-xr-x  4 ftp ftp 512 Dec 16 2024 sparc64\n\
                  -rw-r--r--  1 ftp ftp 99 Dec 16 2024 MD5\nlrwxr-xr-x  1 ftp ftp 9 Dec 16 2024 latest -> x\n";
        assert_eq!(read(ls).unwrap(), "MD5 latest sparc64/");
        assert_eq!(read("amd64/\nSHA512\n").unwrap(), "SHA512 amd64/");
        let empty = "<html><head><title>Index of /x</title></head></html>";
        assert_eq!(read(empty).unwrap(), "");
    }

    #[test]
    fn what_is_no_listing_says_what_it_is() {
        let page = "<html><head><title>We will be back \x1b[31msoon</title></head>\
                    <body><a href=\"/\">home</a></body></html>";
        assert_eq!(
            read(page).unwrap_err(),
            "is a page that lists nothing; its title is 'We will be back soon'"
        );
        assert_eq!(
            read("{\"error\": \"no such thing\"}").unwrap_err(),
            "is no listing; it begins '{\"error\": \"no such thing\"}'"
        );
    }

    proptest! {
        #[test]
        fn any_page_is_read_or_refused_and_no_name_leads_away(page in ".{0,300}|(<a href=[\"']?[./a-z%0-9]{0,12}[\"']?>){0,9}") {
            let at = Url::parse("http://m.example/a/b/").unwrap();
            for page in [page.clone(), format!("<html>{page}")] {
                if let Ok(found) = parse(&at, page.as_bytes()) {
                    prop_assert!(found.keys().all(|n| is_name(n)));
                }
            }
        }

        #[test]
        fn names_that_a_server_writes_are_read(names in prop::collection::btree_set("[a-zA-Z0-9_+-][a-zA-Z0-9._+-]{0,12}", 0..9)) {
            let at = Url::parse("http://m.example/a/b/").unwrap();
            let link = |n: &String| format!("<a href=\"{n}/\">{n}</a>\n");
            let page: String = names.iter().map(link).collect();
            let page = format!("<html><title>Index of /a/b</title><pre>{page}</pre></html>");
            let found = parse(&at, page.as_bytes()).unwrap();
            prop_assert_eq!(found.into_keys().collect::<Vec<_>>(), names.into_iter().collect::<Vec<_>>());
        }
    }
}
