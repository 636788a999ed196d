//! The portable example, cross-built for two ports, and a C++ program for all, against sysroots of
//! the archive.
//!
//! Needs the cross compilers and, for a sysroot that is not in the cache yet, the archive; for
//! that its tests run with those that start emulators.

use std::io::Read as _;

use camino::{Utf8Path, Utf8PathBuf};
use fallout::build::{BuildRequest, Built, build, source};
use fallout::host::dirs::Dirs;
use fallout::image;
use fallout::model::{Key, Port, Project};

fn root() -> Utf8PathBuf {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn read<T: serde::de::DeserializeOwned>(path: &Utf8Path) -> T {
    serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Both sides of a project's build for a port; one where it has no patches.
async fn sides(dir: &Utf8Path, port: &str, cache: &Utf8Path) -> Vec<Built> {
    let project: Project = read(&dir.join("project.yaml"));
    let port: Port = read(&root().join(format!("images/linux/{port}.yaml")));
    let dirs = image::Dirs {
        images: root().join("images"),
        // The user's own: what the archive gave once is not asked for again.
        cache: Dirs::from_env().unwrap().cache,
    };
    let sysroot = image::ensure_sysroot(&port, &dirs, |_| ()).await.unwrap();
    let tree = source::tree(&dir.join(project.source.path.as_deref().unwrap())).unwrap();
    let series = project.patches.as_ref();
    let series = series.map(|path| source::series(&dir.join(path)).unwrap());
    let mut made = Vec::new();
    for patches in [None, series.as_ref()]
        .into_iter()
        .take(1 + usize::from(series.is_some()))
    {
        let side = if patches.is_some() {
            "candidate"
        } else {
            "baseline"
        };
        let key = Key::of("test", &[port.port.as_str().as_bytes(), side.as_bytes()]);
        let request = BuildRequest {
            project: &project,
            tree: &tree,
            patches,
            port: &port,
            sysroot: &sysroot.dir,
            cache,
            key: &key,
            jobs: 2,
        };
        let built = build(&request, &|_| ())
            .await
            .unwrap_or_else(|e| panic!("{}: {e}", port.port));
        println!(
            "{} {side}: {:?}, {} bytes",
            port.port, built.took, built.size_bytes
        );
        made.push(built);
    }
    made
}

/// The first bytes of a program in a build.
fn head(built: &Built, path: &str) -> Vec<u8> {
    let mut tar = tar::Archive::new(std::fs::File::open(&built.tar).unwrap());
    for entry in tar.entries().unwrap() {
        let entry = entry.unwrap();
        if entry.path().unwrap().to_str() == Some(path) {
            let mut bytes = Vec::new();
            entry.take(20).read_to_end(&mut bytes).unwrap();
            return bytes;
        }
    }
    panic!("{path} is not in {}", built.tar);
}

#[tokio::test]
async fn guest_programs_are_of_their_port() {
    let keep = tempfile::tempdir().unwrap();
    let cache = Utf8Path::from_path(keep.path()).unwrap();
    let project = root().join("examples/portable");
    // ELF: word size, byte order, and the machine in that order.
    for (port, class, data, machine) in [("s390x", 2, 2, [0, 22]), ("i386", 1, 1, [3, 0])] {
        let built = sides(&project, port, cache).await;
        assert_eq!(built.len(), 2);
        assert_ne!(built[0].output, built[1].output);
        for built in &built {
            let head = head(built, "usr/tests/portable/wire_test");
            assert_eq!(&head[..6], [0x7f, b'E', b'L', b'F', class, data]);
            assert_eq!(&head[18..], machine);
        }
    }
}

const CXX_PROJECT: &str =
    "{format: 1, name: cxx, source: {path: tree}, build: {kind: make, prefix: /usr/tests/cxx}}";
const CXX_MAKEFILE: &str = "\
CXX = c++
all: t
t: t.cc
\t$(CXX) -o $@ t.cc -latf-c++ -latf-c
install:
\tmkdir -p $(DESTDIR)$(PREFIX)
\tcp t $(DESTDIR)$(PREFIX)/
";
const CXX_TEST: &str = "\
#include <atf-c++.hpp>
#include <cstdlib>
#include <string>
ATF_TEST_CASE_WITHOUT_HEAD(text);
ATF_TEST_CASE_BODY(text) { ATF_REQUIRE_EQ(std::string(\"12\"), std::to_string(std::atoi(\"12\"))); }
ATF_INIT_TEST_CASES(tcs) { ATF_ADD_TEST_CASE(tcs, text); }
";

#[tokio::test]
async fn guest_cxx_programs_are_linked() {
    let keep = tempfile::tempdir().unwrap();
    let dir = Utf8Path::from_path(keep.path()).unwrap();
    std::fs::create_dir(dir.join("tree")).unwrap();
    for (name, text) in [
        ("project.yaml", CXX_PROJECT),
        ("tree/Makefile", CXX_MAKEFILE),
        ("tree/t.cc", CXX_TEST),
    ] {
        std::fs::write(dir.join(name), text).unwrap();
    }
    // All ports: each has a C++ library of an age of its own, the host has compilers of another.
    let manifests = root().join("images/linux").read_dir_utf8().unwrap();
    let files = manifests.map(|entry| entry.unwrap().into_path());
    let ports: Vec<Utf8PathBuf> = files.filter(|f| f.extension() == Some("yaml")).collect();
    assert!(ports.len() >= 9, "{ports:?}");
    for port in ports.iter().filter_map(|p| p.file_stem()) {
        let built = sides(dir, port, &dir.join("cache")).await;
        assert_eq!(&head(&built[0], "usr/tests/cxx/t")[..4], b"\x7fELF");
    }
}
