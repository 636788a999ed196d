//! What the tests of guests share: where images are, how a guest is described, a command's output.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fallout::guest::{Guest, GuestError, GuestSpec, Limits, Output};
use fallout::host::dirs::Dirs;
use fallout::model::Port;

pub const LIMITS: Limits = Limits {
    boot: Duration::from_secs(240),
    idle: Duration::from_secs(60),
};

/// The manifest of a port.
pub fn port(name: &str) -> Port {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../images/linux/{name}.yaml"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file:?}: {e}"));
    serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{file:?}: {e}"))
}

/// Every port that has a manifest.
pub fn ports() -> Vec<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/linux");
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".yaml").map(str::to_owned)
        })
        .collect();
    names.sort();
    names
}

/// The newest image of a port in the user's cache. No image is a failure, not a reason to skip.
pub fn image(name: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache"),
        PathBuf::from,
    );
    let images = cache.join("fallout/images");
    let mut found: Vec<(String, PathBuf)> = std::fs::read_dir(&images)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let dir = entry.ok()?.path();
            let text = std::fs::read_to_string(dir.join("image.json")).ok()?;
            let record: serde_json::Value = serde_json::from_str(&text).ok()?;
            (record["port"] == name).then(|| (record["made"].to_string(), dir))
        })
        .collect();
    found.sort();
    match found.pop() {
        Some((_, dir)) => dir,
        None => panic!("no image of {name} in {images:?}: run `fallout image build {name}` first"),
    }
}

/// A guest of a port, with its console's file in `dir`.
pub fn spec(name: &str, dir: &Path) -> GuestSpec {
    let image = image(name);
    GuestSpec {
        port: port(name),
        kernel: image.join("kernel"),
        initrd: image.join("initrd"),
        label: format!("test {name}"),
        run_base: Dirs::from_env().unwrap().runtime.into(),
        console_file: dir.join(format!("{name}.console")),
        console_cap_bytes: 64 << 20,
    }
}

/// Runs a command to its end: output and status.
pub async fn output(guest: &mut Guest, command: &str) -> (String, i32) {
    match try_output(guest, command).await {
        (out, Ok(status)) => (out, status),
        (out, Err(e)) => panic!("'{command}': {e:?} after {out:?}"),
    }
}

/// The same, with whatever came before an error.
pub async fn try_output(guest: &mut Guest, command: &str) -> (String, Result<i32, GuestError>) {
    let limit = Duration::from_secs(120);
    let mut out = Vec::new();
    let status = async {
        let mut stream = guest.run(command, limit, limit).await?;
        loop {
            match stream.next().await? {
                Output::Chunk(chunk) => out.extend(chunk),
                Output::End(status) => return Ok(status),
            }
        }
    }
    .await;
    (String::from_utf8_lossy(&out).into_owned(), status)
}
