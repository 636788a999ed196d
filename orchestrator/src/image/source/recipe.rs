//! Recipes: what a component is made of, as data, and the order in which components are built.
//!
//! A recipe is a directory with `recipe.yaml`, `build.sh` and the files that these name. It knows
//! nothing of any port: `{port}`, `{arch}` and `{triplet}` in its words are filled in from the
//! port's manifest.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::super::error::IoContext;
use super::error::SourceError;
use crate::model::port::Port;

/// `recipe.yaml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Version of the form: 1.
    pub format: u32,
    /// One line for people: what this gives a guest.
    pub summary: String,
    /// Where the source comes from.
    pub source: Origin,
    /// Components whose `sysroot/` the build compiles and links against.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Configuration fragments, in order; the later wins.
    #[serde(default)]
    pub fragments: Vec<String>,
    /// About how many lines the compile step prints, for the progress bar.
    #[serde(default)]
    pub compile_lines: Option<u64>,
    /// True for a kernel: the port's manifest must then say which `ARCH` and which file to boot.
    #[serde(default)]
    pub kernel: bool,
    /// True where tests are compiled against what this component leaves.
    #[serde(default)]
    pub sysroot: bool,
    /// True where nothing is compiled, or nothing on which the compiler's version has an influence:
    /// the compiler is no part of the key then.
    #[serde(default)]
    pub no_compiler: bool,
}

/// Where a component's source comes from: the archive of the port's suite, verified by its
/// signature, or the recipe itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "snake_case")]
pub enum Origin {
    /// A Debian source package, with its packager's patches.
    SourcePackage {
        /// Its name.
        package: String,
    },
    /// A binary package that holds a tarball of source.
    TarballPackage {
        /// Its name.
        package: String,
        /// The tarball's path in it.
        tarball: String,
    },
    /// Binary packages, unpacked over each other.
    Packages {
        /// Their names.
        packages: Vec<String>,
    },
    /// The files of the recipe's own directory, and nothing else.
    Recipe,
}

impl Origin {
    /// The packages' names.
    pub fn packages(&self) -> Vec<&str> {
        match self {
            Self::SourcePackage { package } | Self::TarballPackage { package, .. } => {
                vec![package]
            }
            Self::Packages { packages } => packages.iter().map(String::as_str).collect(),
            Self::Recipe => Vec::new(),
        }
    }
}

/// A recipe as it was found: its directory, and every file of it for the key.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The component's name: the directory's.
    pub name: String,
    /// The directory.
    pub dir: Utf8PathBuf,
    /// `recipe.yaml`, its placeholders filled in.
    pub recipe: Recipe,
    /// Path in the directory and content, of every file.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Reads one recipe for a port.
pub fn load(recipes: &Utf8Path, name: &str, port: &Port) -> Result<Loaded, SourceError> {
    let dir = recipes.join(name);
    let path = dir.join("recipe.yaml");
    if !path.is_file() || name.contains(['/', '.']) {
        return Err(SourceError::UnknownComponent {
            near: nearest(recipes, name),
            name: name.to_owned(),
            dir: recipes.to_owned(),
        });
    }
    let text = std::fs::read_to_string(&path).doing("read", &path)?;
    let recipe = parse(&text, port).map_err(|message| SourceError::Recipe {
        path: path.clone(),
        message,
    })?;
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(&dir).doing("list", &dir)? {
        let entry = entry.doing("list", &dir)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Editors leave files of their own beside the real ones.
        if name.starts_with('.') || name.ends_with('~') || !entry.path().is_file() {
            continue;
        }
        let file = dir.join(&name);
        files.insert(name, std::fs::read(&file).doing("read", &file)?);
    }
    let wanted = recipe.fragments.iter().map(String::as_str);
    if let Some(missing) = wanted.chain(["build.sh"]).find(|f| !files.contains_key(*f)) {
        return Err(SourceError::Recipe {
            path,
            message: format!("the recipe's directory has no file '{missing}'"),
        });
    }
    // Fragments of other ports change nothing here.
    let ours: BTreeSet<&String> = recipe.fragments.iter().collect();
    files.retain(|f, _| !f.ends_with(".config") || ours.contains(f));
    Ok(Loaded {
        name: name.to_owned(),
        dir,
        recipe,
        files,
    })
}

/// Parses a recipe's text and fills in the port's facts. The error names field and expectation.
pub fn parse(text: &str, port: &Port) -> Result<Recipe, String> {
    let reader = serde_yaml::Deserializer::from_str(text);
    let mut recipe: Recipe = serde_path_to_error::deserialize(reader).map_err(|e| {
        let field = e.path().to_string();
        format!("{field}: {}", e.into_inner())
    })?;
    if recipe.format != 1 {
        return Err(format!(
            "format: this fallout reads format 1, not {}",
            recipe.format
        ));
    }
    let fill = |word: &mut String| {
        *word = word
            .replace("{port}", port.port.as_str())
            .replace("{arch}", &port.image.arch)
            .replace("{triplet}", &port.toolchain.triplet);
    };
    recipe.fragments.iter_mut().for_each(fill);
    match &mut recipe.source {
        Origin::SourcePackage { package } => fill(package),
        Origin::TarballPackage { package, tarball } => {
            fill(package);
            fill(tarball);
        }
        Origin::Packages { packages } => packages.iter_mut().for_each(fill),
        Origin::Recipe => {}
    }
    // These become words of a command line: an option must not slip in.
    let good = |w: &str| {
        w.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && w.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
    };
    match recipe.source.packages().into_iter().find(|p| !good(p)) {
        Some(bad) => Err(format!("source: '{bad}' is not the name of a package")),
        None => Ok(recipe),
    }
}

/// Loads the named recipes and all that they need, in an order in which they can be built.
pub fn load_all(
    recipes: &Utf8Path,
    names: &[String],
    port: &Port,
) -> Result<Vec<Loaded>, SourceError> {
    let mut done = Vec::new();
    let mut open = Vec::new();
    for name in names {
        visit(recipes, name, port, &mut open, &mut done)?;
    }
    Ok(done)
}

fn visit(
    recipes: &Utf8Path,
    name: &str,
    port: &Port,
    open: &mut Vec<String>,
    done: &mut Vec<Loaded>,
) -> Result<(), SourceError> {
    if done.iter().any(|l: &Loaded| l.name == name) {
        return Ok(());
    }
    if open.iter().any(|o| o == name) {
        return Err(SourceError::Recipe {
            path: recipes.join(name),
            message: format!("needs: a circle, {} -> {name}", open.join(" -> ")),
        });
    }
    let loaded = load(recipes, name, port)?;
    open.push(name.to_owned());
    for need in &loaded.recipe.needs {
        visit(recipes, need, port, open, done)?;
    }
    open.pop();
    done.push(loaded);
    Ok(())
}

fn nearest(recipes: &Utf8Path, name: &str) -> Option<String> {
    std::fs::read_dir(recipes)
        .ok()?
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .map(|n| (strsim::jaro_winkler(&n, name), n))
        .filter(|(score, _)| *score > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, n)| n)
}
