//! Whether the scripts use nothing in their caches that is not as it was fetched.

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Output, id},
};

/// What the scripts need, other than what fetches packages.
const TOOLS: &str = "bash cat cp cut diff dirname find flock grep head mkdir mktemp mv realpath rm \
                     sh sha256sum sort";

/// A repository of its own with one script, and a PATH without apt and Consul.
struct Repository(PathBuf);

impl Repository {
    fn new(script: &str) -> Self {
        let root = env::temp_dir().join(format!("dsync-script-{script}-{}", id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::create_dir_all(root.join("scripts")).unwrap();
        // The scripts print paths without links.
        let root = root.canonicalize().unwrap();
        fs::copy(Path::new("scripts").join(script), root.join("scripts").join(script)).unwrap();
        let path = env::var_os("PATH").unwrap();
        for tool in TOOLS.split_whitespace() {
            let mut files = env::split_paths(&path).map(|folder| folder.join(tool));
            let file = files.find(|file| file.exists());
            let file = file.unwrap_or_else(|| panic!("there is no {tool}"));
            symlink(file, root.join("bin").join(tool)).unwrap();
        }
        Self(root)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    fn program(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs `bash` with these words.
    fn run(&self, words: &[&str]) -> Output {
        let mut bash = Command::new(self.at("bin/bash"));
        bash.args(words).current_dir(&self.0).env_remove("CONSUL_BIN").env_remove("CONSUL_CACHE");
        bash.env("PATH", self.at("bin")).output().unwrap()
    }

    /// The path that the script prints.
    fn path(&self, words: &[&str]) -> PathBuf {
        let output = self.run(words);
        assert!(output.status.success(), "{output:?}");
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
    }

    /// What the script says if it fails.
    fn error(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn unpacked_packages_are_used_only_as_they_were_unpacked() {
    let here = Repository::new("unpacked");
    // The package is one file, and unpacking it copies it.
    here.program("bin/dpkg-deb", "#!/bin/sh\nmkdir -p \"$3/bin\"\ncp \"$2\" \"$3/bin/program\"\n");
    let package = here.at("package");
    here.program("package", "#!/bin/sh\n");
    let words = ["scripts/unpacked", "tool", "--", "cp", package.to_str().unwrap(), "one.deb"];
    let root = here.at(".cache/tool/root");
    assert_eq!(here.path(&words), root);

    // From here on nothing can be fetched.
    let fetched = fs::read(&package).unwrap();
    fs::remove_file(&package).unwrap();
    assert_eq!(here.path(&words), root);

    let away = here.at("away");
    let link = |path: &str| {
        fs::rename(here.at(path), &away).unwrap();
        symlink(&away, here.at(path)).unwrap();
    };
    let program = root.join("bin/program");
    let mode = |mode| fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
    let damages: [(&str, &dyn Fn()); 8] = [
        ("a changed file", &|| fs::write(&program, "#!/bin/sh\n\n").unwrap()),
        ("a file without its mode", &|| mode(0o644)),
        ("a file too many", &|| fs::write(root.join("bin/other"), "").unwrap()),
        ("a missing file", &|| fs::remove_file(&program).unwrap()),
        ("a link in place of a file", &|| link(".cache/tool/root/bin/program")),
        ("a link in place of the folder", &|| link(".cache/tool/root")),
        ("a link in place of the cache", &|| link(".cache/tool")),
        ("no record", &|| fs::remove_file(here.at(".cache/tool/record")).unwrap()),
    ];
    for (damage, inflict) in damages {
        inflict();
        let error = here.error(&words);
        assert!(error.contains("it is not used"), "{damage}: {error}");
        // With the package at hand, it is fetched again.
        here.program("package", std::str::from_utf8(&fetched).unwrap());
        assert_eq!(here.path(&words), root, "{damage}");
        assert_eq!(fs::read(&program).unwrap(), fetched, "{damage}");
        fs::remove_file(&package).unwrap();
        assert_eq!(here.path(&words), root, "{damage}");
        let _ = fs::remove_dir_all(&away);
        let _ = fs::remove_file(&away);
    }

    // Another list of packages is another folder's.
    let error = here.error(&["scripts/unpacked", "tool", "another"]);
    assert!(error.contains("it is not used") && error.contains("takes apt-get"), "{error}");
}

#[test]
fn a_cached_consul_is_used_only_with_the_checksum_of_what_was_fetched() {
    let here = Repository::new("consul");
    let (script, cached) = (["scripts/consul"], here.at(".cache/consul/consul"));
    here.program(".cache/consul/consul", "#!/bin/sh\n");
    let record = here.at(".cache/consul/consul.sha256");
    assert!(here.error(&script).contains("it is not used"), "there is no record");

    let sum = "sha256sum .cache/consul/consul | cut -d ' ' -f 1 >.cache/consul/consul.sha256";
    assert!(here.run(&["-c", sum]).status.success());
    assert_eq!(here.path(&script), cached);

    fs::write(&cached, "#!/bin/sh\n\n").unwrap();
    let error = here.error(&script);
    assert!(error.contains("it is not used") && error.contains("no apt-get"), "{error}");

    fs::write(&cached, "#!/bin/sh\n").unwrap();
    assert_eq!(here.path(&script), cached);
    for file in [&cached, &record] {
        let away = file.with_extension("away");
        fs::rename(file, &away).unwrap();
        symlink(&away, file).unwrap();
        here.error(&script);
        fs::rename(&away, file).unwrap();
        assert_eq!(here.path(&script), cached);
    }
}
