//! Reads the manifests in `images/FAMILY/*.yaml` into ports.
//!
//! What a manifest's form alone cannot say is checked here, so that a wrong name is told with its
//! place in the file and not by a tool in the middle of a download.

use camino::Utf8Path;

use crate::host::yaml::{self, YamlError};
use crate::model::install::InstallSpec;
use crate::model::port::{Emulator, Port, ReleaseSpec};
use crate::model::problem::{Problem, did_you_mean};
use crate::model::project::check_format;
use crate::model::script;

/// The programs that can run a suite in a guest.
const RUNNERS: [&str; 2] = ["kyua", "sh"];

/// Reads one manifest; all its problems are told at once.
pub fn read(file: &Utf8Path) -> Result<Port, YamlError> {
    yaml::read::<Port>(file, |port| check(port, file)).map(|doc| doc.value)
}

/// What is wrong with a manifest that stands at `file`, by field.
pub fn check(port: &Port, file: &Utf8Path) -> Vec<Problem> {
    let mut found = Vec::new();
    check_format(port.format, &mut found);
    let stem = file.file_stem().unwrap_or_default();
    if port.port.as_str() != stem {
        let message = format!("is '{}', expected the file's name, {stem}", port.port);
        found.push(Problem::new("port", message));
    }
    let family = file
        .parent()
        .and_then(Utf8Path::file_name)
        .unwrap_or_default();
    if port.family != family {
        let message = format!(
            "is '{}', expected the directory's name, {family}",
            port.family
        );
        found.push(Problem::new("family", message));
    }
    if port.emulator.mem_mib == 0 {
        found.push(Problem::new(
            "emulator.mem_mib",
            "is 0: expected a number of MiB",
        ));
    }
    let slowness = port.emulator.slowness;
    if !(slowness.is_finite() && slowness > 0.0) {
        let message = format!("is {slowness}: expected a factor above 0");
        found.push(Problem::new("emulator.slowness", message));
    }
    found.extend(script::check(
        "emulator.boot_dialogue",
        &port.emulator.boot_dialogue,
    ));
    check_channel(&port.emulator, &mut found);
    check_image(port, &mut found);
    found
}

/// A console carries what kernel and people say and nothing else.
fn check_channel(emulator: &Emulator, found: &mut Vec<Problem>) {
    if emulator.kind.is_qemu() && emulator.channel == "console" {
        let message = "is 'console', which is the kernel's: expected a device of its own, for example \
            virtio-serial-pci, isa-serial,index=1, usb-serial, or serial";
        found.push(Problem::new("emulator.channel", message));
    }
    if emulator.channel_bus.is_some() && emulator.channel == "serial" {
        let message = "is not used: the channel is a line of the machine's own";
        found.push(Problem::new("emulator.channel_bus", message));
    }
}

fn check_image(port: &Port, found: &mut Vec<Problem>) {
    let image = &port.image;
    check_runner(&image.runner, found);
    if let Some(install) = &image.install {
        check_install(install, image.release.is_some(), found);
    }
    if let Some(release) = &image.release {
        check_release(port, release, found);
        return;
    }
    let mut name = |field: String, word: &str| {
        if !is_name(word) {
            let message = format!("'{word}' is not a name: expected letters, digits and + - . _");
            found.push(Problem::new(field, message));
        }
    };
    name("image.suite".to_owned(), &image.suite);
    name("image.arch".to_owned(), &image.arch);
    if let Some(package) = &image.kernel_package {
        name("image.kernel_package".to_owned(), package);
    }
    let lists = [
        ("packages", &image.packages),
        ("sysroot_packages", &image.sysroot_packages),
        ("modules", &image.modules),
        ("sources", &image.sources),
    ];
    for (field, list) in lists {
        for (n, word) in list.iter().enumerate() {
            name(format!("image.{field}[{n}]"), word);
        }
    }
    if image.kernel_package.is_none() && image.sources.is_empty() {
        let message = "has no kernel: expected kernel_package, or a kernel among sources";
        found.push(Problem::new("image", message));
    }
}

/// A release's image has a disk, and no packages.
fn check_release(port: &Port, release: &ReleaseSpec, found: &mut Vec<Problem>) {
    let disks = &port.emulator.disks;
    if disks.is_none() {
        let message = "is missing: a release's system is on a disk";
        found.push(Problem::new("emulator.disks", message));
    }
    if release.from.is_some() {
        let message = "is the matrix's to say, or --release's: expected no directory in a manifest";
        found.push(Problem::new("image.release.from", message));
    }
    let words = [
        ("machine", &release.machine),
        ("kernel", &release.kernel),
        ("disk", &release.disk),
        ("exchange", &release.exchange),
        ("line", &release.line),
    ];
    let sets = release.wanted();
    let sets = sets.flat_map(|(machine, set, _)| [("sets", machine), ("sets", set)]);
    for (field, word) in words.map(|(f, w)| (f, w.as_str())).into_iter().chain(sets) {
        if !is_name(word) {
            let message = format!("'{word}' is not a name: expected letters, digits and + - . _");
            found.push(Problem::new(format!("image.release.{field}"), message));
        }
    }
    if !('a'..='p').contains(&release.label.raw) {
        let message = format!("is '{}': expected a to p", release.label.raw);
        found.push(Problem::new("image.release.label.raw", message));
    }
    let label = &release.label;
    if label.sun && (label.sector != 0 || label.offset != 128 || label.raw > 'h') {
        let message =
            "is in SunOS's label: expected sector 0, offset 128 and a partition from a to h";
        found.push(Problem::new("image.release.label", message));
    }
    if release.size_mib < 64 {
        let message = format!("is {}: expected 64 or more", release.size_mib);
        found.push(Problem::new("image.release.size_mib", message));
    }
}

/// An installation boots something, and puts a release's sets on the disk.
fn check_install(install: &InstallSpec, has_release: bool, found: &mut Vec<Problem>) {
    if !has_release {
        let message = "has no sets to install: expected image.release beside it";
        found.push(Problem::new("image.install", message));
    }
    match (&install.medium, &install.kernel) {
        (None, None) => {
            let message = "boots nothing: expected medium or kernel";
            found.push(Problem::new("image.install", message));
        }
        (Some(_), _) if install.medium_drive.is_none() => {
            let message = "is missing: the medium is in a drive";
            found.push(Problem::new("image.install.medium_drive", message));
        }
        _ => {}
    }
    for (field, word) in [("disk", &install.disk), ("sets", &install.sets)] {
        if !is_name(word) {
            let message = format!("'{word}' is not a device: expected its name, as in wd0 or cd1a");
            found.push(Problem::new(format!("image.install.{field}"), message));
        }
    }
}

fn check_runner(runner: &str, found: &mut Vec<Problem>) {
    if !RUNNERS.contains(&runner) {
        let message = format!(
            "'{runner}' is not a runner: expected {}",
            RUNNERS.join(" or ")
        );
        found.push(Problem::new("image.runner", message).help(did_you_mean(runner, RUNNERS)));
    }
}

/// Names become words of command lines and parts of paths.
fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphanumeric())
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-._".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::dirs::manifests;
    use camino::Utf8PathBuf;

    fn images() -> Utf8PathBuf {
        Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../images")
    }

    fn errors(from: &[(&str, &str)]) -> String {
        let mut text = std::fs::read_to_string(images().join("linux/s390x.yaml")).unwrap();
        for (right, wrong) in from {
            assert!(text.contains(right), "{right}");
            text = text.replace(right, wrong);
        }
        let file = Utf8Path::new("images/linux/s390x.yaml");
        yaml::parse::<Port>(file, text, |port| check(port, file))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn every_manifest_here_is_a_port_and_those_of_a_family_have_the_same_traits() {
        let ports: Vec<Port> = manifests(&images())
            .unwrap()
            .iter()
            .map(|file| read(file).unwrap())
            .collect();
        assert!(ports.len() >= 9);
        for port in &ports {
            let first = ports.iter().find(|p| p.family == port.family).unwrap();
            let names = |p: &Port| p.traits.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(port), names(first), "{}", port.port);
        }
    }

    #[test]
    fn a_wrong_field_gets_the_nearest_word() {
        insta::assert_snapshot!(errors(&[
            ("kernel_package:", "kernel_pakage:"),
            ("boot_timeout: 90s", "boot_timeout: 90"),
            ("mem_mib: 256", "mem_mib: lots"),
        ]), @r#"
        images/linux/s390x.yaml:36:3: emulator.mem_mib: is the text "lots", expected a whole number of zero or more
        images/linux/s390x.yaml:40:3: emulator.boot_timeout: is the number '90', expected a duration, for example 90s, 45m or 1h30m
        images/linux/s390x.yaml:50:3: image.kernel_pakage: unknown field, expected one of suite, arch, install, release, kernel_package, modules, packages, sysroot_packages, sources, runner; did you mean 'kernel_package'?
        "#);
    }

    #[test]
    fn what_the_form_cannot_say_is_checked() {
        insta::assert_snapshot!(errors(&[
            ("port: s390x", "port: s390"),
            ("runner: kyua", "runner: kyu"),
            ("virtio_console]", "../x]"),
            ("mem_mib: 256", "mem_mib: 0"),
            ("format: 1", "format: 7"),
        ]), @r"
        images/linux/s390x.yaml:2:1: format: 7 is not a form that this version reads: expected 1
        images/linux/s390x.yaml:3:1: port: is 's390', expected the file's name, s390x
        images/linux/s390x.yaml:36:3: emulator.mem_mib: is 0: expected a number of MiB
        images/linux/s390x.yaml:51:13: image.modules[0]: '../x' is not a name: expected letters, digits and + - . _
        images/linux/s390x.yaml:55:3: image.runner: 'kyu' is not a runner: expected kyua or sh; did you mean 'kyua'?
        ");
    }
}
