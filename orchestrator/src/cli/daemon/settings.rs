//! The settings as they are now: read at the start, and again at SIGHUP.
//!
//! Everybody sees a whole file's settings or another's, never a mixture of two within one look. A file
//! that is wrong changes nothing. What the old ones hold is kept for as long as the daemon lives: they are
//! a few kilobytes, read a few times.

use std::ops::Deref;
use std::sync::{PoisonError, RwLock};

use camino::{Utf8Path, Utf8PathBuf};
use tracing::{error, info, warn};

use crate::cli::exit::Failure;
use crate::host::yaml;
use crate::trigger::Settings;
use crate::trigger::settings::Poll;

/// The settings that are in force.
pub struct Live {
    file: Utf8PathBuf,
    now: RwLock<&'static Settings>,
}

impl Deref for Live {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        *self.now.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(file: &Utf8Path) -> Result<Settings, Failure> {
    let doc = yaml::read::<Settings>(file, Settings::check)?;
    Ok(doc.value.below(file.parent().unwrap_or(Utf8Path::new("/"))))
}

impl Live {
    /// Reads the file.
    pub fn open(file: &Utf8Path) -> Result<Self, Failure> {
        let file = std::path::absolute(file)
            .ok()
            .and_then(|p| Utf8PathBuf::from_path_buf(p).ok())
            .ok_or_else(|| Failure::usage(format!("{file}: not a path")))?;
        let settings = read(&file)?;
        Ok(Self {
            file,
            now: RwLock::new(Box::leak(Box::new(settings))),
        })
    }

    /// Reads the file again. Where it is wrong, or cannot be read, the old settings stay.
    pub fn reload(&self) {
        let new = match read(&self.file) {
            Ok(new) => new,
            Err(failure) => {
                for line in failure.message.lines() {
                    error!("{line}");
                }
                error!("the settings stay as they were");
                return;
            }
        };
        for field in only_at_start(self, &new) {
            warn!(
                field,
                "has changed, and is looked at by the next start only"
            );
        }
        let new: &'static Settings = Box::leak(Box::new(new));
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = new;
        info!(file = self.file.as_str(), "settings were read again");
    }
}

/// Fields that differ and are taken once, when the daemon starts.
fn only_at_start(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let fields = [
        ("listen", old.listen != new.listen),
        ("public", old.public != new.public),
        ("hosts", old.hosts != new.hosts),
        ("socket", old.socket != new.socket),
        (
            "requests_per_second",
            old.requests_per_second != new.requests_per_second,
        ),
        ("mail", old.mail != new.mail),
        ("repositories[].poll", polls(old) != polls(new)),
    ];
    let differ = fields.into_iter().filter(|(_, differs)| *differs);
    differ.map(|(name, _)| name).collect()
}

fn polls(settings: &Settings) -> Vec<(&str, &Poll)> {
    let of = settings.repositories.iter();
    of.filter_map(|r| Some((r.name.as_str(), r.poll.as_ref()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_file_takes_over_and_a_bad_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = Utf8PathBuf::from_path_buf(dir.path().join("daemon.yaml")).unwrap();
        std::fs::write(&file, "format: 1\nruns_at_once: 2\n").unwrap();
        let live = Live::open(&file).unwrap();
        assert_eq!(live.runs_at_once, 2);
        for bad in [
            "format: 1\nruns_at_once: 0\n",
            "format: 1\nrun_at_once: 3\n",
            "{",
        ] {
            std::fs::write(&file, bad).unwrap();
            live.reload();
            assert_eq!(live.runs_at_once, 2, "{bad}");
        }
        std::fs::remove_file(&file).unwrap();
        live.reload();
        assert_eq!(live.runs_at_once, 2);
        std::fs::write(&file, "format: 1\nruns_at_once: 5\nlisten: 127.0.0.1:1\n").unwrap();
        let (old, new) = (Settings::clone(&live), read(&file).unwrap());
        assert_eq!(only_at_start(&old, &new), ["listen"]);
        let mut polling = new.clone();
        polling.repositories = vec![
            serde_yaml::from_str("{name: r, path: /r.git, remote: /x.git, poll: {every: 5m}}")
                .unwrap(),
        ];
        assert_eq!(only_at_start(&new, &polling), ["repositories[].poll"]);
        live.reload();
        assert_eq!(live.runs_at_once, 5);
    }
}
