//! What a stage depends on, down to the directories of the tree: a change elsewhere does not make it
//! stale.

use std::collections::BTreeMap;

use super::stage::{Stage, Target};
use super::stale;
use crate::host::git::{self, GitError, GitTree};
use crate::model::Key;
use crate::model::project::BuildSpec;

/// The keys of a tree's stages for one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    tools: Key,
    kernel: Key,
    whole: Key,
    variants: BTreeMap<String, String>,
    /// What a stage is built with, besides the tree.
    pub settings: Key,
}

impl Keys {
    /// Asks git for the directories. `compiler` is the host compiler's identity. Blocks.
    pub fn of(
        tree: &GitTree,
        target: &Target,
        spec: &BuildSpec,
        compiler: &str,
    ) -> Result<Self, GitError> {
        let top = git::entries(tree, "")?;
        let settings: Vec<String> = [&spec.variables, &spec.env].map(text_of).into();
        let common = [target.to_string(), settings.join("\0"), compiler.to_owned()];
        let key = |label: &str, more: Vec<String>| {
            let parts: Vec<&[u8]> = common.iter().chain(&more).map(String::as_bytes).collect();
            Key::of(label, &parts)
        };
        let lines = |entries: &[(String, String)], keep: &dyn Fn(&str) -> bool| -> Vec<String> {
            let kept = entries.iter().filter(|(name, _)| keep(name));
            kept.map(|(name, content)| format!("{name} {content}"))
                .collect()
        };
        // Directories of which only some files count are looked at file by file.
        const BY_FILE: [&str; 2] = ["sys", "distrib"];
        let probe = |name: &str| stale::tools_read(&format!("{name}/x")) && stale::tools_read(name);
        let mut of_tools = lines(&top, &|n| !BY_FILE.contains(&n) && probe(n));
        for dir in BY_FILE {
            let files = git::files_below(tree, dir)?;
            of_tools.extend(lines(&files, &|n| stale::tools_read(&format!("{dir}/{n}"))));
        }
        let settings = key("netbsd settings 1", Vec::new());
        let tools = key("netbsd tools 2", of_tools);
        let mut of_kernel = lines(&top, &|n| stale::FOR_KERNELS.contains(&n));
        of_kernel.push(tools.0.clone());
        Ok(Self {
            kernel: key("netbsd kernel 1", of_kernel),
            whole: key("netbsd tree 1", vec![tree.id.clone()]),
            tools,
            variants: BTreeMap::new(),
            settings,
        })
    }

    /// With the project's kernels, each of which has a key of its own.
    #[must_use]
    pub fn with_kernels(mut self, spec: &BuildSpec) -> Self {
        let text = |variant| serde_json::to_string(variant).unwrap_or_default();
        let variants = spec.kernels.iter();
        self.variants = variants
            .map(|(name, variant)| (name.clone(), text(variant)))
            .collect();
        self
    }

    /// The key of a stage.
    pub fn stage(&self, stage: &Stage) -> Key {
        let base = match stage {
            Stage::Tools => &self.tools,
            Stage::Kernel(_) => &self.kernel,
            Stage::Distribution | Stage::Sets | Stage::Release | Stage::Image(_) => &self.whole,
        };
        let name = stage.to_string();
        let mut parts = vec![name.as_bytes(), base.0.as_bytes()];
        if let Stage::Kernel(conf) = stage {
            parts.extend(self.variants.get(conf).map(|text| text.as_bytes()));
        }
        Key::of("netbsd stage 1", &parts)
    }
}

fn text_of(map: &BTreeMap<String, String>) -> String {
    serde_json::to_string(map).unwrap_or_default()
}
