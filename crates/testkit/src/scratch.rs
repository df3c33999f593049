//! Directories and ports that nobody else uses.

use std::{
    fs,
    io::ErrorKind,
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// A directory that is removed with its contents on drop. `PORTCULLIS_KEEP_SCRATCH=1` keeps it for a look.
#[derive(Debug)]
pub struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    /// A new, empty directory that only its owner can read. Its path is short: a Unix socket's has at most 107 bytes.
    pub fn new() -> Self {
        let mut dir =
            tempfile::Builder::new().prefix("portcullis-").tempdir().expect("a temporary directory");
        dir.disable_cleanup(std::env::var_os("PORTCULLIS_KEEP_SCRATCH").is_some());
        Self { dir }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A path inside it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes `text` to the file `name` inside it, folders made as needed, and returns the file's path.
    pub fn write(&self, name: impl AsRef<Path>, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("a folder in the scratch directory");
        }
        fs::write(&path, text).unwrap_or_else(|error| panic!("writing {}: {error}", path.display()));
        path
    }

    /// Lets other users of the machine enter it (not list it): PostgreSQL refuses to run as root.
    pub fn let_others_enter(&self) {
        fs::set_permissions(self.path(), fs::Permissions::from_mode(0o711))
            .expect("permissions of the scratch directory");
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// A TCP port on 127.0.0.1 that was free a moment ago. Prefer port 0 where the program can report what it got.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// Where `scripts/setup` keeps tools outside the clone: `PORTCULLIS_CACHE`, else `/var/cache/portcullis` for root (root's
/// home is closed to the unprivileged user that PostgreSQL runs as), else `~/.cache/portcullis`.
pub fn cache_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("PORTCULLIS_CACHE") {
        return dir.into();
    }
    if is_root() {
        return "/var/cache/portcullis".into();
    }
    PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/portcullis")
}

/// Whether this process runs as root.
pub(crate) fn is_root() -> bool {
    user_id() == 0
}

/// The user this process runs as.
pub(crate) fn user_id() -> u32 {
    fs::metadata("/proc/self").expect("/proc").uid()
}

/// Removes a folder that may not be there.
pub(crate) fn remove_dir_if_there(dir: &Path) {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => panic!("removing {}: {error}", dir.display()),
        _ => {}
    }
}
