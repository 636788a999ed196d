//! What is wrong with the settings of who is told, and of what is polled.

use crate::model::Problem;
use crate::model::telling::Smtp;

use super::choice::globs;
use super::settings::{Poll, Repository, Settings};

fn web_address(at: String, url: &str, problems: &mut Vec<Problem>) {
    let rest = url.strip_prefix("https://").or(url.strip_prefix("http://"));
    if rest.is_none_or(|r| r.is_empty() || r.contains([' ', '\n'])) {
        let message = "expected an address that begins with https:// or http://";
        problems.push(Problem::new(at, message));
    }
}

fn mail_address(at: String, text: &str, problems: &mut Vec<Problem>) {
    let plain = text
        .rsplit_once('<')
        .map_or(text, |(_, a)| a.trim_end_matches('>'));
    let good = plain.split_once('@').is_some_and(|(user, host)| {
        let odd = |part: &str| part.is_empty() || part.contains(['@', ' ', '\n', ',']);
        !odd(user) && !odd(host)
    });
    if !good {
        let message = format!("'{text}' is no address: expected for example list@example.org");
        problems.push(Problem::new(at, message));
    }
}

/// What is wrong beyond the shape.
pub(super) fn check(settings: &Settings, problems: &mut Vec<Problem>) {
    if let Some(url) = &settings.public_url {
        web_address("public_url".to_owned(), url, problems);
    }
    if let Some(Smtp {
        from,
        host,
        user,
        password_file,
        ..
    }) = &settings.mail
    {
        mail_address("mail.from".to_owned(), from, problems);
        if host.is_empty() {
            problems.push(Problem::new("mail.host", "is empty: expected a server"));
        }
        if user.is_some() != password_file.is_some() {
            let message = "user and password_file belong together";
            problems.push(Problem::new("mail.user", message));
        }
    }
    for (i, repository) in settings.repositories.iter().enumerate() {
        of(
            settings,
            &format!("repositories[{i}]"),
            repository,
            problems,
        );
    }
}

fn of(settings: &Settings, at: &str, repository: &Repository, problems: &mut Vec<Problem>) {
    if let Some(status) = &repository.status {
        web_address(format!("{at}.status.api"), &status.api, problems);
        let parts: Vec<&str> = status.project.split('/').collect();
        if parts.len() < 2 || parts.iter().any(|p| matches!(*p, "" | "." | "..")) {
            let message = format!("'{}': expected owner/name", status.project);
            problems.push(Problem::new(format!("{at}.status.project"), message));
        }
    }
    for (k, hook) in repository.hooks.iter().enumerate() {
        web_address(format!("{at}.hooks[{k}].url"), &hook.url, problems);
        if repository.hooks[..k].iter().any(|h| h.name == hook.name) {
            let message = format!("'{}' is there twice", hook.name);
            problems.push(Problem::new(format!("{at}.hooks[{k}].name"), message));
        }
    }
    if let Some(mail) = &repository.mail {
        if settings.mail.is_none() {
            let message = "nobody says how mail leaves: expected 'mail' with from and host";
            problems.push(Problem::new(format!("{at}.mail"), message));
        }
        if mail.to.is_empty() && !mail.authors {
            let message = "reaches nobody: expected 'to', or authors: true";
            problems.push(Problem::new(format!("{at}.mail"), message));
        }
        for (k, to) in mail.to.iter().enumerate() {
            mail_address(format!("{at}.mail.to[{k}]"), to, problems);
        }
    }
    if let Some(Poll { every, refs, .. }) = &repository.poll {
        if repository.remote.is_none() {
            let message = "there is no 'remote' that could be asked";
            problems.push(Problem::new(format!("{at}.poll"), message));
        }
        if every.as_secs() < 5 {
            let message = "expected at least 5s: the server is somebody's";
            problems.push(Problem::new(format!("{at}.poll.every"), message));
        }
        if let Err(why) = globs(refs) {
            problems.push(Problem::new(format!("{at}.poll.refs"), why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(yaml: &str) -> Vec<String> {
        let settings: Settings = serde_yaml::from_str(&format!("format: 1\n{yaml}")).unwrap();
        settings.check().into_iter().map(|p| p.path).collect()
    }

    /// Every piece of settings that the documentation shows.
    #[test]
    fn the_documentation_shows_settings_that_are_some() {
        let text = include_str!("../../../docs/daemon.md");
        let blocks = text.split("```yaml\n").skip(1);
        let mut seen = 0;
        for block in blocks.filter_map(|b| b.split("```").next()) {
            let block = block.strip_prefix("format: 1\n").unwrap_or(block);
            assert_eq!(problems(block), [""; 0], "{block}");
            seen += 1;
        }
        assert!(seen >= 4, "{seen}");
    }

    #[test]
    fn what_is_wrong_is_told_in_its_place() {
        let yaml = "
public_url: ci.example.org
mail: {from: fallout, host: '', user: u}
repositories:
  - name: r
    path: r.git
    poll: {every: 1s, refs: ['[']}
    status: {forge: github, api: ftp://x, project: ../.., token_file: t}
    hooks: [{name: a, url: 'http://x/', secret_file: s}, {name: a, url: '', secret_file: s}]
    mail: {to: ['a@b@c']}
  - {name: q, path: q.git, mail: {}}
";
        assert_eq!(
            problems(yaml),
            [
                "public_url",
                "mail.from",
                "mail.host",
                "mail.user",
                "repositories[0].status.api",
                "repositories[0].status.project",
                "repositories[0].hooks[1].url",
                "repositories[0].hooks[1].name",
                "repositories[0].mail.to[0]",
                "repositories[0].poll",
                "repositories[0].poll.every",
                "repositories[0].poll.refs",
                "repositories[1].mail",
            ]
        );
        let nobody = "repositories: [{name: r, path: r.git, mail: {to: [a@b]}}]";
        assert_eq!(problems(nobody), ["repositories[0].mail"]);
    }
}
