//! Builds one component in a directory of its own and moves it into the cache when it is whole.

use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};

use super::super::apt::ArchiveFile;
use super::super::error::IoContext;
use super::super::exec::Watch;
use super::super::fetch;
use super::super::lock::{Hold, WorkDir, lock, write_whole};
use super::archive::version_of;
use super::error::SourceError;
use super::recipe::Loaded;
use super::toolchain::Toolchain;
use super::{Component, Planned, Request, Step, script, trees, unpack};
use crate::model::ids::Key;
use crate::model::port::Port;

/// Raised when the same inputs are to give something else.
const GENERATION: &str = "component 1";

/// The hash of everything that the component depends on.
pub fn key(
    request: &Request<'_>,
    loaded: &Loaded,
    sources: &[ArchiveFile],
    toolchain: &Toolchain,
    needs: &[&Key],
) -> Result<Key, SourceError> {
    let port = request.port;
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for (name, content) in &loaded.files {
        parts.push(name.clone().into_bytes());
        parts.push(content.clone());
    }
    // The order in which the archive names files means nothing.
    let mut sources: Vec<&ArchiveFile> = sources.iter().collect();
    sources.sort();
    for file in sources {
        parts.push(format!("{} {}", file.file, file.sha256).into_bytes());
    }
    for patch in request.patches.get(&loaded.name).into_iter().flatten() {
        parts.push(std::fs::read(patch).doing("read", patch)?);
    }
    for need in needs {
        parts.push(need.0.clone().into_bytes());
    }
    let tools = &port.toolchain;
    let mut facts = format!(
        "{} {} {} {}",
        port.port, port.image.arch, tools.triplet, toolchain.multiarch
    );
    if !loaded.recipe.no_compiler {
        facts += &format!(" {:?} {}", tools.cflags, toolchain.version);
    }
    if loaded.recipe.kernel {
        let missing = |field| SourceError::MissingFact {
            port: port.port.to_string(),
            component: loaded.name.clone(),
            field,
        };
        tools
            .kernel_arch
            .as_ref()
            .ok_or_else(|| missing("toolchain.kernel_arch"))?;
        tools
            .kernel_image
            .as_ref()
            .ok_or_else(|| missing("toolchain.kernel_image"))?;
        facts += &format!(" {:?} {:?}", tools.kernel_arch, tools.kernel_image);
    }
    parts.push(facts.into_bytes());
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    Ok(Key::of(GENERATION, &parts))
}

fn entry_dir(cache: &Utf8Path, port: &Port, name: &str, key: &Key) -> Utf8PathBuf {
    let short = key.0.get(..40).unwrap_or(&key.0);
    cache.join(format!("components/{name}-{}-{short}", port.port))
}

/// The component, if the cache has it.
pub fn lookup(cache: &Utf8Path, port: &Port, name: &str, key: &Key) -> Option<Component> {
    let dir = entry_dir(cache, port, name, key);
    let text = std::fs::read(dir.join("component.json")).ok()?;
    let mut component: Component = serde_json::from_slice(&text).ok()?;
    // The cache may have been moved.
    component.dir = dir;
    component.cached = true;
    (component.format == 1 && &component.key == key).then_some(component)
}

/// Gives the component from the cache, or builds it. `done` has what it needs.
pub fn build(
    request: &Request<'_>,
    plan: &Planned,
    done: &[Component],
    watch: &Watch<'_>,
) -> Result<Component, SourceError> {
    let (port, name) = (request.port, &plan.loaded.name);
    let find = || lookup(request.cache, port, name, &plan.key);
    if let Some(component) = find() {
        return Ok(component);
    }
    let dir = entry_dir(request.cache, port, name, &plan.key);
    let _lock = lock(
        &Utf8PathBuf::from(format!("{dir}.lock")),
        Hold::Alone,
        watch,
    )?;
    // Another process may have built it while this one waited.
    if let Some(component) = find() {
        return Ok(component);
    }
    let work = WorkDir::new(request.cache)?;
    let result = Build {
        request,
        plan,
        done,
        watch,
        work: work.path().to_owned(),
        steps: Vec::new(),
    }
    .run(&dir);
    trees::remove_tree(&work.path().join("src"));
    result
}

struct Build<'a> {
    request: &'a Request<'a>,
    plan: &'a Planned,
    done: &'a [Component],
    watch: &'a Watch<'a>,
    work: Utf8PathBuf,
    steps: Vec<Step>,
}

impl Build<'_> {
    fn run(mut self, dir: &Utf8Path) -> Result<Component, SourceError> {
        let loaded = &self.plan.loaded;
        let (work, out) = (self.work.clone(), self.work.join("out"));
        for dir in [&out, &work.join("home"), &work.join("work")] {
            std::fs::create_dir_all(dir).doing("create", dir)?;
        }
        let cache = self.request.cache;
        let source = work.join("src");
        let files = &self.plan.sources;
        self.step("fetch", |w| Ok(fetch::fetch(cache, files, w)?))?;
        self.step("unpack", |w| {
            let scratch = work.join("scratch");
            unpack::unpack(&loaded.recipe.source, cache, files, &source, &scratch, w)
        })?;
        if let Some(series) = self.request.patches.get(&loaded.name) {
            let version = version_of(&self.plan.sources);
            self.step("patch", |w| {
                unpack::apply(series, &source, &loaded.name, version, w)
            })?;
        }
        self.script(&source, &out)?;

        let component = Component {
            format: 1,
            name: loaded.name.clone(),
            port: self.request.port.port.to_string(),
            key: self.plan.key.clone(),
            dir: dir.to_owned(),
            sources: self.plan.sources.clone(),
            toolchain: self.plan.toolchain.clone(),
            steps: self.steps,
            cached: false,
        };
        let note = serde_json::to_vec_pretty(&component).unwrap_or_default();
        write_whole(&out.join("component.json"), &note)?;
        // A remnant without its note, from a version of another form.
        trees::remove_tree(dir);
        std::fs::rename(&out, dir).doing("rename to", dir)?;
        Ok(component)
    }

    fn say(&self, what: &str, done: Option<(u64, u64)>) {
        (self.watch.progress)(&format!("{what} {}", self.plan.loaded.name), done);
    }

    fn step<T>(
        &mut self,
        name: &str,
        work: impl FnOnce(&Watch<'_>) -> Result<T, SourceError>,
    ) -> Result<T, SourceError> {
        self.say(name, None);
        let start = Instant::now();
        let value = work(self.watch)?;
        self.steps.push(Step {
            name: name.to_owned(),
            took: start.elapsed(),
        });
        Ok(value)
    }

    /// The sysroot of all that this component needs: one directory, merged where it needs several.
    fn sysroot(&self) -> Result<Option<Utf8PathBuf>, SourceError> {
        let needs = &self.plan.loaded.recipe.needs;
        let trees: Vec<Utf8PathBuf> = self
            .done
            .iter()
            .filter(|c| needs.contains(&c.name))
            .filter_map(|c| c.tree("sysroot"))
            .collect();
        if trees.len() < 2 {
            return Ok(trees.into_iter().next());
        }
        let merged = self.work.join("sysroot");
        for tree in trees {
            trees::merge_tree(&tree, &merged)?;
        }
        Ok(Some(merged))
    }

    fn script(&mut self, source: &Utf8Path, out: &Utf8Path) -> Result<(), SourceError> {
        let (loaded, port) = (&self.plan.loaded, self.request.port);
        let logs = self.request.cache.join("logs");
        std::fs::create_dir_all(&logs).doing("create", &logs)?;
        let short = self.plan.key.short();
        let log_path = logs.join(format!("{}-{}-{short}.log", loaded.name, port.port));
        let sysroot = self.sysroot()?;
        let command = script::Job {
            loaded,
            port,
            source,
            out,
            work: &self.work,
            sysroot: sysroot.as_deref(),
            jobs: self.request.jobs,
            key_short: short,
            version: version_of(&self.plan.sources),
        }
        .command(self.watch)?;
        let steps = script::run_logged(command, &log_path, self.watch, loaded, port)?;
        self.steps.extend(steps);
        Ok(())
    }
}
