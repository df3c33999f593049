//! The data directory: made private, its keys, and `listeners.json`, by which the command line finds the gateway.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_audit::SigningKey;
use portcullis_core::Secret;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

const FINGERPRINT_KEY: &str = "keys/fingerprint.key";
const AUDIT_KEY: &str = "keys/audit.key";
const AUDIT_PUBLIC: &str = "keys/audit.pub";
const ADMIN_TOKEN: &str = "admin.token";
const LISTENERS: &str = "listeners.json";
const JOURNAL: &str = "journal";
const RECORDINGS: &str = "recordings";
const STORE: &str = "portcullis.sqlite";
/// The largest of the small files read here, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// The data directory of one gateway.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

/// Where a running gateway listens: what stands in `listeners.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listeners {
    /// API, health and metrics, over TLS.
    pub web: SocketAddr,
    /// PostgreSQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<SocketAddr>,
    /// The certificate that clients may pin, PEM.
    pub certificate: PathBuf,
    /// Its SHA-256, as openssl prints it.
    pub fingerprint: String,
}

impl DataDir {
    /// Looks at nothing.
    pub fn at(path: &Path) -> Self {
        // `listeners.json` names files in here for programs that run elsewhere.
        Self(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
    }

    /// Makes the directory, readable by its owner only, unless it is there.
    pub fn make(path: &Path) -> Result<Self, Failure> {
        let this = Self::at(path);
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&this.0)
            .and_then(|()| fs::metadata(&this.0));
        let metadata = made.map_err(|error| {
            Failure::cannot(format!("cannot make the data directory `{}`: {error}", this.0.display()))
                .next("name one that this user may write in `data:` of the process file")
        })?;
        if metadata.permissions().mode() & 0o077 != 0 {
            tracing::warn!(
                data = %this.0.display(),
                "others may look into the data directory; what is secret in it is closed to them, `chmod 700` closes all of it"
            );
        }
        Ok(this)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The journal's folder.
    pub fn journal(&self) -> PathBuf {
        self.0.join(JOURNAL)
    }

    /// The folder of recordings.
    pub fn recordings(&self) -> PathBuf {
        self.0.join(RECORDINGS)
    }

    /// The store's file.
    pub fn store(&self) -> PathBuf {
        self.0.join(STORE)
    }

    /// Where the admin token is.
    pub fn admin_token_path(&self) -> PathBuf {
        self.0.join(ADMIN_TOKEN)
    }

    /// The key of bind values' fingerprints: 32 random bytes, made at the first start.
    pub fn fingerprint_key(&self) -> Result<Secret<[u8; 32]>, Failure> {
        let path = self.0.join(FINGERPRINT_KEY);
        let bytes = self.secret_file(&path, || Ok(random()?.expose().to_vec()))?;
        let key: Result<[u8; 32], _> = bytes.expose().as_slice().try_into();
        key.map(Secret::new).map_err(|_| {
            Failure::cannot(format!("`{}` is no key: it must hold exactly 32 bytes", path.display()))
                .next("restore the file, or move it away: fingerprints made before can then not be compared with later ones")
        })
    }

    /// Where the key is that checks the journal's checkpoints.
    pub fn audit_public_path(&self) -> PathBuf {
        self.0.join(AUDIT_PUBLIC)
    }

    /// The key that signs the journal's checkpoints, made at the first start with the first checkpoint, over no events. The
    /// public half stands beside it, for whoever verifies.
    pub fn audit_key(&self) -> Result<SigningKey, Failure> {
        let cannot = |error: &dyn std::fmt::Display| Failure::cannot(error.to_string());
        let path = self.0.join(AUDIT_KEY);
        let bytes = self.secret_file(&path, || {
            let id: String = random()?.expose().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            let key = SigningKey::generate(&format!("portcullis/{id}")).map_err(|error| cannot(&error))?;
            portcullis_audit::notary::begin(&self.journal(), &key).map_err(|error| cannot(&error))?;
            Ok(format!("{}\n", key.encode().expose()).into_bytes())
        })?;
        let text = Secret::new(String::from_utf8_lossy(bytes.expose()).trim().to_owned());
        let key = SigningKey::decode(&text).map_err(|error| {
            Failure::cannot(format!("`{}` is no key: {error}", path.display()))
                .next("restore the file: without it nothing can be added to the proof of this journal")
        })?;
        let (public, line) = (self.audit_public_path(), format!("{}\n", key.verifier()));
        if fs::read_to_string(&public).ok().as_ref() != Some(&line) {
            replace(&public, line.as_bytes(), 0o644)
                .map_err(|error| Failure::cannot(format!("cannot write `{}`: {error}", public.display())))?;
        }
        Ok(key)
    }

    /// The admin token, made at the first start: 32 random bytes as base64.
    pub fn admin_token(&self) -> Result<Secret<String>, Failure> {
        let path = self.admin_token_path();
        let bytes = self.secret_file(&path, || {
            Ok(format!("{}\n", URL_SAFE_NO_PAD.encode(random()?.expose())).into_bytes())
        })?;
        let text = std::str::from_utf8(bytes.expose()).unwrap_or_default().trim().to_owned();
        if text.len() < portcullis_api::AdminToken::MIN_LEN {
            return Err(Failure::cannot(format!(
                "`{}` holds no admin token: it is too short",
                path.display()
            ))
            .next("move the file away: the next start makes a new token"));
        }
        Ok(Secret::new(text))
    }

    /// Says where the gateway listens. Whole or not at all.
    pub fn write_listeners(&self, listeners: &Listeners) -> Result<(), Failure> {
        let path = self.0.join(LISTENERS);
        let text =
            serde_json::to_vec_pretty(listeners).map_err(|error| Failure::cannot(error.to_string()))?;
        replace(&path, &text, 0o644)
            .map_err(|error| Failure::cannot(format!("cannot write `{}`: {error}", path.display())))
    }

    /// Forgets where a gateway listened.
    pub fn remove_listeners(&self) {
        let path = self.0.join(LISTENERS);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, path = %path.display(), "cannot remove");
            }
            _ => {}
        }
    }

    /// Where a gateway on this directory listens, or did when it died.
    pub fn listeners(&self) -> Option<Listeners> {
        let file = File::open(self.0.join(LISTENERS)).ok()?;
        serde_json::from_reader(file.take(MAX_FILE)).ok()
    }

    /// Reads a file that only its owner may read, making it first where there is none.
    fn secret_file(
        &self,
        path: &Path,
        make: impl FnOnce() -> Result<Vec<u8>, Failure>,
    ) -> Result<Secret<Vec<u8>>, Failure> {
        let unreadable = |error: io::Error| {
            Failure::cannot(format!("cannot read `{}`: {error}", path.display()))
                .next("run the gateway as the user who owns the data directory")
        };
        match path.try_exists() {
            Ok(true) => {}
            Ok(false) => {
                let bytes = Secret::new(make()?);
                if let Some(folder) = path.parent() {
                    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unreadable)?;
                }
                replace(path, bytes.expose(), 0o600).map_err(|error| {
                    Failure::cannot(format!("cannot write `{}`: {error}", path.display()))
                })?;
            }
            Err(error) => return Err(unreadable(error)),
        }
        let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(Failure::cannot(format!(
                "`{}` can be read by others (mode {:o})",
                path.display(),
                mode & 0o777
            ))
            .next(format!("chmod 600 {}", path.display())));
        }
        let mut bytes = Vec::new();
        File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes)).map_err(unreadable)?;
        Ok(Secret::new(bytes))
    }
}

fn random() -> Result<Secret<[u8; 32]>, Failure> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Failure::cannot("the system gives no random numbers"))?;
    Ok(Secret::new(bytes))
}

/// Writes beside the place and moves there: a reader sees the whole old or the whole new file.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_private() {
        let scratch = tempfile::tempdir().unwrap();
        let data = DataDir::make(&scratch.path().join("data")).unwrap();
        assert_eq!(fs::metadata(data.path()).unwrap().permissions().mode() & 0o777, 0o700);
        let (token, key) = (data.admin_token().unwrap(), data.fingerprint_key().unwrap());
        assert_eq!(token.expose().len(), 43);
        assert_eq!(data.admin_token().unwrap().expose(), token.expose());
        assert_eq!(data.fingerprint_key().unwrap().expose(), key.expose());
        for file in [data.admin_token_path(), data.path().join(FINGERPRINT_KEY)] {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_key_that_others_may_read_or_that_is_none_stops_the_start() {
        let scratch = tempfile::tempdir().unwrap();
        let data = DataDir::make(scratch.path()).unwrap();
        let _ = data.fingerprint_key().unwrap();
        let path = data.path().join(FINGERPRINT_KEY);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(data.fingerprint_key().unwrap_err().to_string().contains("can be read by others"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short").unwrap();
        assert!(data.fingerprint_key().unwrap_err().to_string().contains("exactly 32 bytes"));
        fs::write(data.admin_token_path(), "").unwrap();
        fs::set_permissions(data.admin_token_path(), fs::Permissions::from_mode(0o600)).unwrap();
        assert!(data.admin_token().unwrap_err().to_string().contains("too short"));
    }
}
