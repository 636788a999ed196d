//! Makes console logs of the corpus again: boots a port once for each scenario, kills the kernel or
//! leaves it alone as the scenario says, and keeps the console.
//!
//! usage: cargo run --example crash_corpus -- SCENARIOS MANIFEST IMAGE_DIR MODULE OUT [NAME...]
//!
//! SCENARIOS is `tests/consoles/scenarios.yaml`, IMAGE_DIR holds `kernel` and `initrd`, MODULE is the
//! port's `crashers.ko` (`tests/consoles/crashers/build`) or `-`. Logs go to OUT/linux-PORT-NAME.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use fallout::crash::Recogniser;
use fallout::guest::{Guest, GuestSpec, Limits, Output};
use fallout::host::dirs::Dirs;
use fallout::model::Port;
use serde::Deserialize;

type Failure = Box<dyn std::error::Error>;

const LIMITS: Limits = Limits {
    boot: Duration::from_secs(300),
    idle: Duration::from_secs(60),
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    /// Commands for the guest, each to its end.
    #[serde(default)]
    run: Vec<String>,
    /// More words for the kernel's command line.
    #[serde(default)]
    append: String,
    /// Needs the module in `/tmp/crashers.ko`.
    #[serde(default)]
    module: bool,
}

/// One life; what ended it, in a few words.
async fn live(spec: &GuestSpec, scenario: &Scenario, module: Option<&[u8]>) -> String {
    let watch = Box::new(Recogniser::new());
    let mut guest = match Guest::boot(spec, LIMITS, watch).await {
        Ok(guest) => guest,
        Err(error) => return error.to_string(),
    };
    if let Some(module) = module
        && let Err(error) = guest.put_tar("/tmp", module).await
    {
        return error.to_string();
    }
    for command in &scenario.run {
        let limit = Duration::from_secs(90);
        let result = async {
            let mut stream = guest.run(command, limit, limit).await?;
            while let Output::Chunk(_) = stream.next().await? {}
            Ok::<(), fallout::guest::GuestError>(())
        };
        if let Err(error) = result.await {
            return error.to_string();
        }
    }
    guest.end(false).await;
    "alive".to_owned()
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [scenarios, manifest, image, module, out, names @ ..] = &args[..] else {
        return Err("usage: crash_corpus SCENARIOS MANIFEST IMAGE_DIR MODULE OUT [NAME...]".into());
    };
    let scenarios: BTreeMap<String, Scenario> =
        serde_yaml::from_str(&std::fs::read_to_string(scenarios)?)?;
    let port: Port = serde_yaml::from_str(&std::fs::read_to_string(manifest)?)?;
    let module = match module.as_str() {
        "-" => None,
        file => {
            let mut tar = tar::Builder::new(Vec::new());
            tar.append_path_with_name(file, "crashers.ko")?;
            Some(tar.into_inner()?)
        }
    };
    for (name, scenario) in &scenarios {
        let wanted = names.is_empty() || names.contains(name);
        if !wanted || (scenario.module && module.is_none()) {
            continue;
        }
        let mut port = port.clone();
        port.emulator.append = format!("{} {}", port.emulator.append, scenario.append);
        let spec = GuestSpec {
            console_file: Path::new(out).join(format!("linux-{}-{name}", port.port)),
            kernel: Path::new(image).join("kernel"),
            initrd: Path::new(image).join("initrd"),
            label: format!("corpus {name}"),
            run_base: Dirs::from_env()?.runtime.into(),
            console_cap_bytes: 48 << 10,
            port,
        };
        let module = module.as_deref().filter(|_| scenario.module);
        println!("{name}: {}", live(&spec, scenario, module).await);
    }
    Ok(())
}
