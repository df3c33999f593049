//! One `initdb` per version and machine; servers start from copies.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use super::{PASSWORD, SUPERUSER};
use crate::scratch::{is_root, remove_dir_if_there, user_id};

/// Raised when what `initdb` is told changes, so that old templates are not used.
const EDITION: u32 = 1;

/// Copies the template for the programs in `bin` to `data`, making the template first when there is none.
/// Safe against other processes doing the same: a file lock decides who makes it.
pub(super) fn copy_to(bin: &Path, version: u16, data: &Path) {
    let home = home();
    let program = fs::metadata(bin.join("initdb")).expect("initdb");
    let name = format!("pg{version}-{EDITION}-{}-{}", program.mtime(), program.size());
    let template = home.join(&name);
    let lock = File::create(home.join(format!("{name}.lock"))).expect("a lock file");
    lock.lock().expect("the template's lock");
    if !template.exists() {
        make(bin, &home, &template);
    }
    lock.unlock().expect("the template's lock");
    run(Command::new("cp").args(["-a", "--reflink=auto", "--"]).arg(&template).arg(data));
}

/// Hands files to the user the server runs as, when that is not us.
pub(super) fn give_away(paths: &[&Path]) {
    if is_root() {
        run(Command::new("chown").arg("-R").arg(format!("{SUPERUSER}:{SUPERUSER}")).args(paths));
    }
}

fn make(bin: &Path, home: &Path, template: &Path) {
    let building = home.join("building");
    remove_dir_if_there(&building);
    fs::create_dir(&building).expect("a folder for the template");
    let password = building.join("password");
    fs::write(&password, PASSWORD).expect("the password file");
    give_away(&[&building]);
    let mut command = match is_root() {
        true => {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid", SUPERUSER, "--regid", SUPERUSER, "--init-groups", "--"])
                .arg(bin.join("initdb"));
            command
        }
        false => Command::new(bin.join("initdb")),
    };
    command.args(["-U", SUPERUSER, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-A", "scram-sha-256"]);
    command.arg(flag("--pwfile=", &password)).arg("-D").arg(building.join("data")).current_dir(&building);
    run(command.env("LC_ALL", "C.UTF-8"));
    fs::rename(building.join("data"), template).expect("the finished template");
    remove_dir_if_there(&building);
}

/// A folder of ours among the temporary files. Refused when somebody else made it: its contents become servers we run.
fn home() -> PathBuf {
    let home = std::env::temp_dir().join(format!("portcullis-testkit-{}", user_id()));
    let _ = fs::DirBuilder::new().mode(0o711).create(&home);
    let owner = fs::symlink_metadata(&home).unwrap_or_else(|error| panic!("{}: {error}", home.display()));
    assert!(owner.is_dir() && owner.uid() == user_id(), "{} belongs to somebody else", home.display());
    home
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("running {command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed ({}): {stderr}", output.status);
}

fn flag(name: &str, value: &Path) -> std::ffi::OsString {
    let mut flag = OsStr::new(name).to_owned();
    flag.push(value);
    flag
}
