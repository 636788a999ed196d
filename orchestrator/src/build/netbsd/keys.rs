//! What a stage depends on, down to the directories of the tree: a change elsewhere does not make it
//! stale.

use std::collections::BTreeMap;

use super::stage::{Stage, Target};
use crate::host::git::{self, GitError, GitTree};
use crate::model::Key;
use crate::model::project::BuildSpec;

/// Directories at the top that neither tools nor kernels are made from.
const NOT_FOR_TOOLS: [&str; 4] = ["tests", "games", "regress", "doc"];
/// Directories of `sys` that no tool is made from. Tools do read headers of others: of file systems for
/// `makefs`, of `sys/sys`, of `sys/arch` for disk labels.
const NOT_FOR_TOOLS_SYS: [&str; 12] = [
    "compat", "kern", "miscfs", "net80211", "netbt", "netinet6", "netsmb", "nfs", "rump",
    "secmodel", "uvm", "ddb",
];
/// What a kernel is made from, besides what the tools are made from.
const FOR_KERNELS: [&str; 4] = ["sys", "common", "external", "dist"];

/// The keys of a tree's stages for one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    tools: Key,
    kernel: Key,
    whole: Key,
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
        let sys = git::entries(tree, "sys")?;
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
        let mut of_tools = lines(&top, &|n| n != "sys" && !NOT_FOR_TOOLS.contains(&n));
        of_tools.extend(lines(&sys, &|n| !NOT_FOR_TOOLS_SYS.contains(&n)));
        let tools = key("netbsd tools 1", of_tools);
        let mut of_kernel = lines(&top, &|n| FOR_KERNELS.contains(&n));
        of_kernel.push(tools.0.clone());
        Ok(Self {
            kernel: key("netbsd kernel 1", of_kernel),
            whole: key("netbsd tree 1", vec![tree.id.clone()]),
            tools,
        })
    }

    /// The key of a stage.
    pub fn stage(&self, stage: &Stage) -> Key {
        let base = match stage {
            Stage::Tools => &self.tools,
            Stage::Kernel(_) => &self.kernel,
            Stage::Distribution | Stage::Sets | Stage::Release | Stage::Image(_) => &self.whole,
        };
        Key::of(
            "netbsd stage 1",
            &[stage.to_string().as_bytes(), base.0.as_bytes()],
        )
    }
}

fn text_of(map: &BTreeMap<String, String>) -> String {
    serde_json::to_string(map).unwrap_or_default()
}
