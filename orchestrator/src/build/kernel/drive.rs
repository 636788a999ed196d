//! Carries one kernel build out.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};

use super::super::cache::{Work, sweep};
use super::super::error::{BuildError, Doing, FailedStep};
use super::super::make::blocking;
use super::super::messages::{self, CompilerMessage};
use super::super::netbsd::sandbox::Sandbox;
use super::super::netbsd::signature;
use super::super::run::{Ended, Log, run};
use super::super::source;
use super::super::toolchain::prefix;
use super::config::{self, Unmet};
use super::objects::{Pool, State};
use super::touched::touched;
use super::{BuildRecord, KernelBuilt, KernelRequest, Note, cached, tree};
use crate::host::files::find_program;
use crate::model::kernel::{banner, build_ids, checks};
use crate::model::kernel_option::fragment;
use crate::model::{KernelOption, KernelOrdered, Key};

/// Programs that a kernel's makefiles ask the host for, with their packages.
const PROGRAMS: [(&str, &str); 5] = [
    ("make", "make"),
    ("gcc", "gcc"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("bc", "bc"),
];

/// Gives the kernel of the request's key from the cache, or builds it. A build of the same key, and
/// one for the same port, is waited for. `progress` is told what is being done.
pub async fn build(
    request: &KernelRequest<'_>,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<KernelBuilt, BuildError> {
    if let Some(built) = cached(request.cache, request.key) {
        return Ok(built);
    }
    let work = Work::begin(request.cache, request.key).await?;
    progress("wait for other kernels of the port");
    let pool = Pool::lock(request.cache, request.port.port.as_str()).await?;
    // Whoever held the locks may have made it.
    if let Some(built) = cached(request.cache, request.key) {
        return Ok(built);
    }
    for (program, package) in PROGRAMS {
        if find_program(program).is_none() {
            return Err(BuildError::ToolMissing {
                program: program.to_owned(),
                package: package.to_owned(),
            });
        }
    }
    let cache = request.cache.to_owned();
    blocking(move || {
        sweep(&cache);
        Ok(())
    })
    .await?;
    let started = Instant::now();
    fs::create_dir_all(work.out()).doing("create", &work.out())?;
    let mut build = Build {
        request,
        tree: work.path("tree"),
        // Compilers name the tree by where they are: in the object directory.
        log: Log::create(&work.log(), Utf8Path::new("..")).doing("write", &work.log())?,
        work: &work,
        record: BuildRecord {
            project: request.project.name.clone(),
            port: request.port.port.to_string(),
            from: None,
            compiled: None,
            took_ms: 0,
            confined: String::new(),
            ccache: false,
        },
    };
    build.carry_out(&pool, started, progress).await
}

struct Build<'a> {
    request: &'a KernelRequest<'a>,
    work: &'a Work,
    tree: Utf8PathBuf,
    log: Log,
    record: BuildRecord,
}

impl Build<'_> {
    async fn carry_out(
        &mut self,
        pool: &Pool,
        started: Instant,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<KernelBuilt, BuildError> {
        let request = self.request;
        for dir in ["home", "tmp", "made", "config", "bin"] {
            let dir = self.work.path(dir);
            fs::create_dir_all(&dir).doing("create", &dir)?;
        }
        let (names, asked) = self.configuration()?;
        progress("copy the tree");
        let (from, cache, to) = (
            request.tree.clone(),
            request.cache.to_owned(),
            self.tree.clone(),
        );
        blocking(move || tree::place(&from, &cache, &to)).await?;
        let touched = self.patch(progress).await?;
        self.known(request.options)?;

        progress("look for objects");
        let state = State {
            format: 1,
            key: request.key.clone(),
            tree: request.tree.hash.clone(),
            tools: self.tools()?,
            options: asked.clone(),
            files: tree::contents(&self.tree, &touched),
            place: self.tree.clone(),
        };
        let base = request.tree.place().to_owned();
        // Of a tree that has no directory nothing is known but what the patches left.
        let content = |path: &Utf8Path| tree::content(&base, path);
        if let Some((earlier, distance)) = pool.nearest(&state, &content) {
            let files = distance.files.len();
            self.record.from = Some((earlier.key.clone(), distance.options, files));
            let obj = self.tree.join("obj");
            pool.start(&earlier, &distance, &self.tree, touched.into_iter(), &obj)?;
        }
        self.script(&names, &asked, progress).await?;
        progress("keep the kernel");
        let note = self.collect(started)?;
        // Objects that cannot be kept cost the next build its time, not this one its result.
        if let Err(error) = pool.keep(&state, &self.tree.join("obj")) {
            tracing::warn!("the objects of a kernel were not kept: {error}");
        }
        note.publish(self.work, self.request.cache)
    }

    /// Writes the fragments where the script finds them. Gives their names, and all that is asked.
    fn configuration(&self) -> Result<(Vec<String>, Vec<KernelOption>), BuildError> {
        let request = self.request;
        let (mut names, mut all) = (Vec::new(), String::new());
        let mut write = |name: String, text: &str| {
            let file = self.work.path("config").join(&name);
            all += text;
            all.push('\n');
            names.push(name);
            fs::write(&file, text).doing("write", &file)
        };
        for (i, path) in request.fragments.iter().enumerate() {
            let text = fs::read_to_string(path).map_err(|e| BuildError::Source {
                path: path.clone(),
                why: format!(
                    "{e}: expected a fragment of the kernel's configuration (build.config)"
                ),
            })?;
            let name = path.file_name().unwrap_or("fragment");
            write(format!("{i:02}-{name}"), &text)?;
        }
        let lines: Vec<String> = request.options.iter().map(KernelOption::line).collect();
        write("options".to_owned(), &lines.join("\n"))?;
        Ok((names, fragment(&all)))
    }

    /// Applies the series; gives the files that it touches.
    async fn patch(
        &mut self,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Vec<Utf8PathBuf>, BuildError> {
        let Some(series) = self.request.patches else {
            return Ok(Vec::new());
        };
        progress("patch");
        let (series, dir, root) = (series.clone(), self.work.path("patches"), self.tree.clone());
        let patches = dir.clone();
        let (names, files) = blocking(move || {
            let names = source::copy_series(&series, &patches)?;
            let mut files = Vec::new();
            for name in &names {
                let file = patches.join(name);
                files.extend(touched(&fs::read(&file).doing("read", &file)?));
            }
            files.sort();
            files.dedup();
            // A patch must not reach what the tree shares with the cache.
            for file in &files {
                tree::detach(&root.join(file))?;
            }
            Ok((names, files))
        })
        .await?;
        source::apply(&names, &dir, &self.tree).await?;
        Ok(files)
    }

    /// Refuses options beyond the fragments that the tree does not have: one that is to be off would
    /// be met by anything.
    fn known(&mut self, options: &[KernelOption]) -> Result<(), BuildError> {
        if options.is_empty() {
            return Ok(());
        }
        let unmet = config::unknown(options, &tree::options(&self.tree)?);
        match unmet.is_empty() {
            true => Ok(()),
            false => Err(self.unmet(unmet)),
        }
    }

    fn unmet(&mut self, unmet: Vec<Unmet>) -> BuildError {
        let step = self.close("configure", ".".into());
        BuildError::Options { step, unmet }
    }

    /// What the objects depend on beyond tree, patches and options.
    fn tools(&self) -> Result<Key, BuildError> {
        let request = self.request;
        let script = fs::read(request.script).doing("read", request.script)?;
        let facts = serde_json::to_vec(&(
            &request.port.toolchain,
            &request.project.build.env,
            request.compiler,
        ));
        let facts = facts.map_err(std::io::Error::other);
        let facts = facts.doing("read", request.script)?;
        Ok(Key::of("kernel tools 1", &[&script, &facts]))
    }

    async fn script(
        &mut self,
        fragments: &[String],
        asked: &[KernelOption],
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(), BuildError> {
        let request = self.request;
        let script = request
            .script
            .canonicalize_utf8()
            .doing("find", request.script)?;
        let sandbox = Sandbox::probe().await;
        sandbox.words().clone_into(&mut self.record.confined);
        let ccache = self.ccache().await?;
        self.record.ccache = ccache.is_some();
        let work = self.work.dir();
        let mut writable = vec![work.as_path()];
        writable.extend(ccache.as_deref());
        let readable = [self.tree.as_path(), script.parent().unwrap_or(&script)];
        let mut command = sandbox.command(&["sh", script.as_str()], &writable, &readable);
        command
            .current_dir(&self.tree)
            .env_clear()
            .envs(self.environment(fragments, ccache.as_deref()).await?);
        self.log
            .heading(&format!("kernel {}", request.key.short()))
            .doing("write", &self.work.log())?;
        // The watcher is fed where the output is read; what it tells is picked up here.
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (heard, mut news) = tokio::sync::mpsc::unbounded_channel::<String>();
        self.log.watch = Some(Box::new({
            let seen = Arc::clone(&seen);
            move |line: &[u8]| {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(doing) = seen.line(line) {
                    // Nobody listens any more: the build is being given up.
                    let _ = heard.send(doing);
                }
            }
        }));
        let limit = request.project.build.timeout;
        let deadline = tokio::time::Instant::now() + limit;
        let ended = {
            let work = run(command, &mut self.log, deadline);
            tokio::pin!(work);
            loop {
                tokio::select! {
                    ended = &mut work => break ended,
                    Some(doing) = news.recv() => progress(&doing),
                }
            }
        };
        self.log.watch = None;
        let ended = ended.doing("run", &script)?;
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.record.compiled = Some(seen.compiled);
        match ended {
            Ended::Exited(status) if status.success() => Ok(()),
            Ended::Exited(status) => {
                let status = status.to_string().replace("exit status: ", "exit status ");
                Err(self.failed(seen.step, asked, status)?)
            }
            Ended::OutOfTime => Err(BuildError::TimedOut {
                step: self.close(seen.step, ".".into()),
                after: limit,
            }),
        }
    }

    /// Puts `ccache` in front of the compiler, where it is installed; gives its directory.
    async fn ccache(&mut self) -> Result<Option<Utf8PathBuf>, BuildError> {
        let Some(program) = find_program("ccache") else {
            return Ok(None);
        };
        let gcc = format!("{}gcc", prefix(&self.request.port.toolchain.triplet).await?);
        let link = self.work.path("bin").join(gcc);
        std::os::unix::fs::symlink(program, &link).doing("create", &link)?;
        let dir = self.request.cache.join("ccache");
        fs::create_dir_all(&dir).doing("create", &dir)?;
        Ok(Some(dir))
    }

    /// The whole environment of the script, as the recipes' README has it.
    async fn environment(
        &mut self,
        fragments: &[String],
        ccache: Option<&Utf8Path>,
    ) -> Result<Vec<(String, String)>, BuildError> {
        let request = self.request;
        let facts = &request.port.toolchain;
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
        let part = |name: &str| self.work.path(name).into_string();
        let text = |word: &Option<String>| word.clone().unwrap_or_default();
        let mut env = vec![
            ("PATH", format!("{}:{path}", part("bin"))),
            ("HOME", part("home")),
            ("TMPDIR", part("tmp")),
            ("LC_ALL", "C".to_owned()),
            ("TZ", "UTC".to_owned()),
            ("SRC", self.tree.to_string()),
            // The object directory lies in the tree: every path in it is relative then.
            ("WORK", self.tree.to_string()),
            ("OUT", part("made")),
            ("RECIPE", part("config")),
            ("FRAGMENTS", fragments.join(" ")),
            ("JOBS", request.jobs.max(1).to_string()),
            ("CROSS_COMPILE", prefix(&facts.triplet).await?),
            ("KERNEL_ARCH", text(&facts.kernel_arch)),
            ("KERNEL_IMAGE", text(&facts.kernel_image)),
            ("SOURCE_VERSION", request.version.to_owned()),
            ("KEY_SHORT", request.key.short().to_owned()),
        ];
        if let Some(dir) = ccache {
            env.push(("CCACHE_DIR", dir.to_string()));
            env.push(("CCACHE_BASEDIR", self.tree.to_string()));
            env.push(("CCACHE_NOHASHDIR", "1".to_owned()));
        }
        let env = env.into_iter().map(|(n, v)| (n.to_owned(), v));
        let own = &request.project.build.env;
        // The project's own come last and win.
        Ok(env
            .chain(own.iter().map(|(n, v)| (n.clone(), v.clone())))
            .collect())
    }

    /// Ends the log and keeps it.
    fn close(&mut self, name: &'static str, dir: Utf8PathBuf) -> Box<FailedStep> {
        // An error on the way must not hide the one that is told.
        let _ = self.log.finish();
        let facts = &self.request.port.toolchain;
        let word = |word: &Option<String>| word.clone().unwrap_or_default();
        let image = word(&facts.kernel_image);
        let target = match name {
            "configure" => "allnoconfig",
            _ => image.rsplit('/').next().unwrap_or_default(),
        };
        Box::new(FailedStep {
            name,
            dir,
            command: format!("make ARCH={} {target}", word(&facts.kernel_arch)),
            tail: self.log.tail().replace(&format!("{}/", self.tree), ""),
            log: self.work.keep_log(),
        })
    }

    fn failed(
        &mut self,
        step: &'static str,
        asked: &[KernelOption],
        status: String,
    ) -> Result<BuildError, BuildError> {
        let text = fs::read_to_string(self.tree.join("obj/.config")).unwrap_or_default();
        if step == "configure" && !text.is_empty() {
            let unmet = match config::differs(asked, &text).is_empty() {
                true => Vec::new(),
                false => config::explain(asked, &text, &tree::options(&self.tree)?),
            };
            if !unmet.is_empty() {
                return Ok(self.unmet(unmet));
            }
        }
        let scanner = &self.log.scanner;
        let exhausted = scanner.exhausted().map(str::to_owned);
        let missing = scanner.missing().and_then(messages::host_tool);
        let message = scanner.message().cloned().map(|m| CompilerMessage {
            // The width of an integer's type is a port's own.
            text: signature::types(&m.text),
            ..m
        });
        let dir = message.as_ref().and_then(|m| m.file.as_deref());
        let dir = dir.and_then(|f| Utf8Path::new(f).parent());
        let dir = dir.filter(|d| !d.as_str().is_empty());
        let step = self.close(step, dir.unwrap_or(Utf8Path::new(".")).to_owned());
        Ok(match (exhausted, missing) {
            (Some(line), _) => BuildError::Exhausted { step, line },
            (None, Some((program, package))) => BuildError::ToolMissing {
                program: program.to_owned(),
                package: package.to_owned(),
            },
            (None, None) => BuildError::Failed {
                step,
                status,
                message,
            },
        })
    }

    /// Puts what is kept of the kernel into the entry.
    fn collect(&mut self, started: Instant) -> Result<Note, BuildError> {
        self.log.finish().doing("write", &self.work.log())?;
        let boot = self.work.path("made/boot");
        let out = self.work.out();
        for name in ["kernel", "config", "System.map"] {
            let from = boot.join(name);
            fs::rename(&from, out.join(name)).doing("keep", &from)?;
        }
        let text = |path: Utf8PathBuf| fs::read_to_string(&path).doing("read", &path);
        let config = text(out.join("config"))?;
        let release = text(boot.join("release"))?;
        let kernel = out.join("kernel");
        let bytes = fs::read(&kernel).doing("read", &kernel)?;
        // The file to boot is packed; what it was made of is not.
        let plain = self.tree.join("obj/vmlinux");
        let plain = fs::read(&plain).doing("read", &plain)?;
        let ordered = KernelOrdered {
            release: release.trim().to_owned(),
            version: banner(&plain).map(|(_, version)| version),
            build_ids: build_ids(&plain),
            checks: checks(&config),
        };
        self.record.took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Note::of(
            self.request.key,
            &bytes,
            ordered,
            self.record.clone(),
        ))
    }
}

/// What the script's output told so far.
#[derive(Debug, Clone)]
struct Seen {
    step: &'static str,
    compiled: u64,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            step: "configure",
            compiled: 0,
        }
    }
}

impl Seen {
    /// Takes a line; gives a few words where something new is done.
    fn line(&mut self, line: &[u8]) -> Option<String> {
        const EVERY: u64 = 25;
        let line = String::from_utf8_lossy(line);
        if let Some(name) = line.trim_end().strip_prefix("== step: ") {
            let steps = ["configure", "compile", "install"];
            self.step = steps.into_iter().find(|s| *s == name)?;
            return Some(self.step.to_owned());
        }
        let mut words = line.split_whitespace();
        let tool = words.next().filter(|w| matches!(*w, "CC" | "AS"));
        // `  CC      kernel/sys.o`, not what a test of the compiler or a person prints.
        if tool.is_none() || !words.next().is_some_and(|w| w.ends_with(".o")) {
            return None;
        }
        self.compiled += 1;
        self.compiled
            .is_multiple_of(EVERY)
            .then(|| format!("compile, {} files", self.compiled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_tells_the_step_and_how_much_was_compiled() {
        let mut seen = Seen::default();
        assert_eq!(seen.line(b"== step: compile\n").as_deref(), Some("compile"));
        for _ in 0..24 {
            assert_eq!(seen.line(b"  CC      kernel/sys.o\n"), None);
        }
        assert_eq!(seen.line(b"  HOSTCC  scripts/kallsyms\n"), None);
        assert_eq!(seen.line(b"CC is not what it was\n"), None);
        let told = seen.line(b"  AS      arch/s390/kernel/entry.o\n");
        assert_eq!(told.as_deref(), Some("compile, 25 files"));
        assert_eq!((seen.step, seen.compiled), ("compile", 25));
    }
}
