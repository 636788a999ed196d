//! What git's `post-receive` hook hands over, and the hook itself.
//!
//! The hook writes what git tells it into the repository's spool first and then, in the background,
//! knocks at the daemon's socket. So it takes milliseconds, cannot fail the push, and loses nothing
//! when the daemon is down: the spool is read at the daemon's start and now and then. The file's name
//! is the delivery's identity, so a push that comes both ways is queued once.

use crate::model::ChangeSet;

/// The spool, below the repository's git directory.
pub const SPOOL: &str = "fallout/spool";

/// Ends the names of spooled pushes.
pub const SPOOLED: &str = ".push";

/// The first lines of a hook of ours; one without them is somebody else's.
pub const MARK: &str = "#!/bin/sh\n# Written by `fallout hook install`";

/// The most that is read of one push, in bytes: some ten thousand references.
pub const MAX_BYTES: u64 = 2 << 20;

/// An object name of git: 40 or 64 hexadecimal digits.
pub fn is_object(name: &str) -> bool {
    matches!(name.len(), 40 | 64) && name.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_zero(name: &str) -> bool {
    name.bytes().all(|b| b == b'0')
}

/// A reference that git itself would take, as far as it matters here: it never looks like an option
/// or a path upwards.
pub fn is_reference(name: &str) -> bool {
    name.starts_with("refs/")
        && name.len() <= 500
        && !name.contains("..")
        && !name.ends_with('/')
        && name
            .chars()
            .all(|c| !c.is_control() && !" ~^:?*[\\".contains(c))
}

/// One change out of its three parts; none for a deleted reference or a malformed line.
pub fn change(repository: &str, old: &str, new: &str, reference: &str) -> Option<ChangeSet> {
    if !is_object(old) || !is_object(new) || is_zero(new) || !is_reference(reference) {
        return None;
    }
    Some(ChangeSet {
        repository: repository.to_owned(),
        reference: reference.to_owned(),
        old: (!is_zero(old)).then(|| old.to_owned()),
        new: new.to_owned(),
    })
}

/// The changes of a push: `OLD NEW REF`, a line each, as git writes them.
pub fn changes(repository: &str, text: &str) -> Vec<ChangeSet> {
    let line = |line: &str| {
        let mut words = line.splitn(3, ' ');
        change(repository, words.next()?, words.next()?, words.next()?)
    };
    text.lines().filter_map(line).collect()
}

/// A shell word in single quotes.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The hook's text. `program` is this program, `spool` and `socket` are absolute.
pub fn script(program: &str, spool: &str, socket: &str) -> String {
    format!(
        "{MARK}. Hands pushes to the fallout daemon.\n\
         # Never delays or fails a push: what happened is spooled, the daemon is told in the background.\n\
         spool={}\n\
         name=\"$(date +%s 2>/dev/null).$$\"\n\
         {{ cat >\"$spool/.$name\" && mv \"$spool/.$name\" \"$spool/$name{SPOOLED}\"; }} 2>/dev/null || cat >/dev/null\n\
         {} hook knock --socket {} </dev/null >/dev/null 2>&1 &\n\
         exit 0\n",
        quoted(spool),
        quoted(program),
        quoted(socket),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_push_gives_its_changes_and_a_deletion_none() {
        let (a, b, zero) = ("a".repeat(40), "b".repeat(40), "0".repeat(40));
        let text = format!(
            "{a} {b} refs/heads/main\n{zero} {b} refs/heads/new\n{b} {zero} refs/heads/gone\n\
             {a} {b} --upload-pack=x\n{a} {b} refs/heads/../x\n{a} short refs/heads/y\nnonsense\n"
        );
        let found = changes("r", &text);
        let names: Vec<&str> = found.iter().map(|c| c.reference.as_str()).collect();
        assert_eq!(names, ["refs/heads/main", "refs/heads/new"]);
        assert_eq!(
            (found[0].old.as_ref(), found[1].old.as_ref()),
            (Some(&a), None)
        );
    }

    #[test]
    fn a_path_with_a_quote_stays_one_word() {
        assert!(script("/a'b/fallout", "/s", "/k").contains(r"'/a'\''b/fallout' hook knock"));
    }

    proptest! {
        #[test]
        fn no_text_makes_a_change_that_git_could_mistake(text: String) {
            for change in changes("r", &text) {
                prop_assert!(is_object(&change.new) && is_reference(&change.reference));
            }
        }
    }
}
