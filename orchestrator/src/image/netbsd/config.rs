//! How the system on a disk is set up: what an installer asks for, and what a guest of ours needs. Pure.
//!
//! The console is a serial line with a login of root's without a password, as a release leaves it. A
//! panic stops in ddb, which does not stop at every page. Daemons that no test talks to do not start:
//! they cost the boot, write at their own times, and their processes are no test's doing.

use crate::model::port::{Port, ReleaseSpec};

/// Files by path, with mode and content.
pub type Files = Vec<(String, u32, Vec<u8>)>;

/// Mount points that a release's sets do not have.
pub const DIRS: [(&str, u32); 4] = [
    ("kern", 0o755),
    ("proc", 0o755),
    ("mnt", 0o755),
    ("etc/fallout", 0o755),
];

/// Where the agent stands, from which init starts it.
const AGENT: &str = "/usr/libexec/fallout/agent";

/// The lines that are added to `rc.conf`.
const RC_CONF: &str = "\n# fallout\nrc_configured=YES\nwscons=NO\ncron=NO\npostfix=NO\nsendmail=NO\n\
    inetd=NO\nsyslogd=NO\nsavecore=NO\nupdate_motd=NO\nvirecover=NO\nquota=NO\nraidframe=NO\nccd=NO\ncgd=NO\n\
    lvm=NO\nldconfig=NO\nnewsyslog=NO\npowerd=NO\nmakemandb=NO\nsshd=NO\nntpd=NO\nauto_ifconfig=NO\nppp=NO\n\
    random_seed=NO\nper_user_tmp=NO\nclear_tmp=NO\n";

/// What stops a dead kernel where it can be asked, and lets it answer in one piece.
const SYSCTL_CONF: &str = "\n# fallout\nddb.onpanic?=1\nddb.lines?=0\nddb.maxwidth?=150\n";

/// The files that make a release's system a guest. `old` gives a file as the release has it.
pub fn files(port: &Port, release: &ReleaseSpec, old: &dyn Fn(&str) -> Option<String>) -> Files {
    let disk = &release.disk;
    let tmp_mib = port.emulator.mem_mib / 4;
    let of = |path: &str| old(path).unwrap_or_default();
    let mut files = Files::new();
    let mut add = |path: &str, content: String| {
        files.push((path.to_owned(), 0o644, content.into_bytes()));
    };
    // The disk is thrown away with the guest: nobody minds an order of writes on it.
    add(
        "etc/fstab",
        format!(
            "/dev/{disk}a / ffs rw,async 1 1\n/dev/{disk}b none swap sw 0 0\nkernfs /kern kernfs rw\n\
             procfs /proc procfs rw\nptyfs /dev/pts ptyfs rw\ntmpfs /tmp tmpfs rw,-m=1777,-s={tmp_mib}M\n"
        ),
    );
    let name = &port.port;
    let rc_conf = of("etc/rc.conf");
    add(
        "etc/rc.conf",
        format!("{rc_conf}{RC_CONF}hostname={name}.fallout.test\n"),
    );
    let sysctl = without(&of("etc/sysctl.conf"), |line| line.starts_with("ddb."));
    add("etc/sysctl.conf", format!("{sysctl}{SYSCTL_CONF}"));
    let line = &release.line;
    let ttys = without(&of("etc/ttys"), |old| {
        old.split_ascii_whitespace().next() == Some(line)
    });
    add(
        "etc/ttys",
        format!("{ttys}{line}\t\"{AGENT}\"\tunknown\ton\n"),
    );
    add("etc/fallout/line", format!("{line}\n"));
    add("etc/fallout/exchange", format!("{}\n", release.exchange));
    for (path, content) in &release.files {
        add(path, content.clone());
    }
    files
}

fn without(text: &str, gone: impl Fn(&str) -> bool) -> String {
    let kept = text.lines().filter(|line| !gone(line));
    kept.flat_map(|line| [line, "\n"]).collect()
}

/// What of a set a guest has: neither manuals nor what only a profiler or a linter reads.
pub fn is_kept(path: &str) -> bool {
    const DROPPED: [&str; 6] = [
        "usr/share/man/",
        "usr/share/info/",
        "usr/share/doc/",
        "usr/share/games/",
        "usr/libdata/lint/",
        "usr/libdata/debug/",
    ];
    !DROPPED.iter().any(|dir| path.starts_with(dir)) && !path.ends_with("_p.a")
}

#[cfg(test)]
mod tests {
    use super::*;
    use camino::Utf8Path;

    #[test]
    fn a_release_becomes_a_guest() {
        let manifest = Utf8Path::new(env!("CARGO_MANIFEST_DIR"));
        let manifest = manifest.join("../images/netbsd/netbsd-amd64.yaml");
        let port = crate::image::manifest::read(&manifest).unwrap();
        let release = port.image.release.clone().unwrap();
        let old = |path: &str| match path {
            "etc/ttys" => Some(
                "console \"/usr/libexec/getty Pc\" vt100 on secure\ndty01 x y off\n".to_owned(),
            ),
            "etc/sysctl.conf" => Some("#!/sbin/sysctl -f\nddb.onpanic?=0\nkern.x=1\n".to_owned()),
            "etc/rc.conf" => Some("rc_configured=NO\n".to_owned()),
            _ => None,
        };
        let files = files(&port, &release, &old);
        let text = |path: &str| {
            let file = files.iter().find(|(p, ..)| p == path).unwrap();
            String::from_utf8(file.2.clone()).unwrap()
        };
        insta::assert_snapshot!(text("etc/ttys"), @r#"
        console "/usr/libexec/getty Pc" vt100 on secure
        dty01	"/usr/libexec/fallout/agent"	unknown	on
        "#);
        insta::assert_snapshot!(text("etc/sysctl.conf"), @r"
        #!/sbin/sysctl -f
        kern.x=1

        # fallout
        ddb.onpanic?=1
        ddb.lines?=0
        ddb.maxwidth?=150
        ");
        assert!(text("etc/fstab").starts_with("/dev/wd0a / ffs "));
        assert!(
            text("etc/rc.conf").starts_with("rc_configured=NO\n\n# fallout\nrc_configured=YES\n")
        );
        assert!(text("boot.cfg").contains("consdev=com0"));
        assert!(is_kept("usr/lib/libc.a") && !is_kept("usr/lib/libc_p.a"));
    }
}
