//! `fallout hook`: sets up git's `post-receive` in a repository, and what that hook calls.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use crate::trigger::hook;

use super::args::HookCommand;
use super::context::Context;
use super::drive::print;
use super::exit::{Exit, Failure, Outcome};

/// How long a knock at the daemon's door may take. Nobody waits for it.
const KNOCK: Duration = Duration::from_secs(2);

/// `fallout hook`
pub fn run(context: &Context, command: &HookCommand) -> Outcome {
    match command {
        HookCommand::Install { repository, socket } => {
            let socket = socket.clone().unwrap_or_else(|| default_socket(context));
            install(repository, &socket)
        }
        HookCommand::Knock { socket } => knock(socket),
    }
}

/// Where the daemon listens for hooks unless its settings say otherwise.
pub fn default_socket(context: &Context) -> Utf8PathBuf {
    context.dirs.runtime.join("daemon.sock")
}

/// The git directory of a repository: itself where it is bare.
pub fn git_dir(repository: &Utf8Path) -> Utf8PathBuf {
    let inner = repository.join(".git");
    if inner.is_dir() {
        inner
    } else {
        repository.to_owned()
    }
}

fn install(repository: &Utf8Path, socket: &Utf8Path) -> Outcome {
    let dir = git_dir(repository);
    if !dir.join("objects").is_dir() {
        let message = format!("{repository}: not a git repository: expected one that is pushed to");
        return Err(Failure::usage(message));
    }
    let dir = dir
        .canonicalize_utf8()
        .map_err(|e| Failure::usage(format!("{repository}: {e}")))?;
    let program = std::env::current_exe()
        .ok()
        .and_then(|p| Utf8PathBuf::from_path_buf(p).ok())
        .ok_or_else(|| Failure::host("this program's own path is not known"))?;
    let spool = dir.join(hook::SPOOL);
    let file = dir.join("hooks/post-receive");
    let socket = std::path::absolute(socket)
        .ok()
        .and_then(|p| Utf8PathBuf::from_path_buf(p).ok())
        .ok_or_else(|| Failure::usage(format!("{socket}: not a path")))?;
    let text = hook::script(program.as_str(), spool.as_str(), socket.as_str());
    match std::fs::read_to_string(&file) {
        Ok(there) if !there.starts_with(hook::MARK) => {
            return Err(Failure::usage(format!(
                "{file}: there is another hook: move it away, or let it feed its input to a second \
                 script with this text:\n{text}"
            )));
        }
        _ => {}
    }
    let fault = |path: &Utf8Path, e: std::io::Error| Failure::host(format!("{path}: {e}"));
    // Whoever may push writes here; nobody else reads it.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o770)
        .create(&spool)
        .map_err(|e| fault(&spool, e))?;
    std::fs::create_dir_all(dir.join("hooks")).map_err(|e| fault(&file, e))?;
    crate::host::files::write_atomic(&file, text.as_bytes()).map_err(Failure::host)?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755))
        .map_err(|e| fault(&file, e))?;
    print(&format!("{file} hands pushes to {socket}; spool {spool}"))?;
    Ok(Exit::Clean)
}

/// Tells the daemon that there is something in a spool. One that is not there will look by itself.
fn knock(socket: &Utf8Path) -> Outcome {
    if let Ok(mut door) = UnixStream::connect(socket) {
        let _ = door.set_write_timeout(Some(KNOCK));
        let _ = door.write_all(b"push\n");
    }
    Ok(Exit::Clean)
}
