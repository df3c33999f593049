use std::{fs, io, os::unix::fs::PermissionsExt as _};

use portcullis_policy::SourceFile;

use super::folder::{Folder, Step};
use crate::gateway::data::DataDir;

fn set(texts: &[(&str, &str)]) -> Vec<SourceFile> {
    texts.iter().map(|(name, text)| SourceFile { path: name.into(), text: (*text).to_owned() }).collect()
}

fn scene() -> (tempfile::TempDir, Folder) {
    let scratch = tempfile::tempdir().unwrap();
    let data = DataDir::make(&scratch.path().join("data")).unwrap();
    (scratch, Folder::of(&data))
}

#[test]
fn a_folder_begins_empty_and_is_private() {
    let (scratch, folder) = scene();
    assert_eq!(folder.read().unwrap(), []);
    folder.recover().unwrap();
    assert_eq!(folder.read().unwrap(), []);
    folder.replace(&set(&[("b.yaml", "two"), ("a.yaml", "one")])).unwrap();
    assert_eq!(folder.read().unwrap(), set(&[("a.yaml", "one"), ("b.yaml", "two")]));
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder.path()), 0o700);
    assert_eq!(mode(&folder.path().join("a.yaml")), 0o600);
    folder.replace(&set(&[("c.yaml", "three")])).unwrap();
    assert_eq!(folder.read().unwrap(), set(&[("c.yaml", "three")]));
    let previous = fs::read_dir(scratch.path().join("data/policy.previous")).unwrap().count();
    assert_eq!(previous, 2, "the set before is kept");
}

/// Pulls the plug before the `n`th step. The step it was, or none where there were fewer.
fn crash(folder: &Folder, files: &[SourceFile], n: usize) -> Option<Step> {
    let (mut count, mut pulled) = (0, None);
    let outcome = folder.replace_by_steps(files, &mut |step| {
        count += 1;
        if count <= n {
            return Ok(());
        }
        pulled = Some(step);
        Err(io::Error::other("the plug is out"))
    });
    assert_eq!(outcome.is_err(), pulled.is_some());
    pulled
}

#[test]
fn a_crash_at_any_step_leaves_the_old_set_or_the_new_one() {
    let old = set(&[("a.yaml", "old a"), ("b.yaml", "old b")]);
    let new = set(&[("a.yaml", "new a"), ("c.yaml", "new c")]);
    let mut seen = Vec::new();
    for n in 0.. {
        let (_scratch, folder) = scene();
        folder.recover().unwrap();
        folder.replace(&set(&[("z.yaml", "older")])).unwrap();
        folder.replace(&old).unwrap();
        let Some(step) = crash(&folder, &new, n) else { break };
        seen.push(step);
        let is_new = step == Step::Last;
        let expected = if is_new { &new } else { &old };
        // As it is read before the lock is taken, made whole, and read again: twice, for the next start may crash too.
        for _ in 0..2 {
            assert_eq!(folder.read().unwrap(), *expected, "{step:?}");
            folder.recover().unwrap();
        }
        folder.replace(&new).unwrap();
        assert_eq!(folder.read().unwrap(), new, "after {step:?} the next replacement works");
    }
    assert_eq!(seen.len(), 9, "every step was tried: {seen:?}");
    assert!(seen.contains(&Step::Enter) && seen.contains(&Step::Last));
}

#[test]
fn a_replacement_that_fails_leaves_the_old_set() {
    let (_scratch, folder) = scene();
    folder.recover().unwrap();
    let old = set(&[("a.yaml", "old")]);
    folder.replace(&old).unwrap();
    // Two documents of one name cannot both be written.
    assert!(folder.replace(&set(&[("b.yaml", "1"), ("b.yaml", "2")])).is_err());
    assert!(folder.replace(&set(&[("..", "1")])).is_err());
    assert_eq!(folder.read().unwrap(), old);
    assert!(!folder.path().with_extension("new").exists());
}

#[test]
fn what_others_wrote_or_may_change_is_not_read() {
    let (_scratch, folder) = scene();
    folder.recover().unwrap();
    folder.replace(&set(&[("a.yaml", "one")])).unwrap();
    for stray in ["notes.txt", ".hidden.yaml", "a.yaml.bak"] {
        fs::write(folder.path().join(stray), "").unwrap();
        let (path, error) = folder.read().unwrap_err();
        assert!(
            path.ends_with(stray) && error.to_string().contains("did not write this"),
            "{path:?} {error}"
        );
        fs::remove_file(path).unwrap();
    }
    let document = folder.path().join("a.yaml");
    for (path, open, shut) in [(document.as_path(), 0o620, 0o600), (folder.path(), 0o702, 0o700)] {
        fs::set_permissions(path, fs::Permissions::from_mode(open)).unwrap();
        assert!(folder.read().unwrap_err().1.to_string().contains("others may change it"));
        fs::set_permissions(path, fs::Permissions::from_mode(shut)).unwrap();
    }
    assert_eq!(folder.read().unwrap().len(), 1);
}
