//! Where the tokens of `portcullis login` are kept, and how one is made fit to present.
//!
//! One file for each gateway in the place the system has for such things, readable by its owner only (600, in a folder with 700),
//! written beside its place and moved there. A file that others can read, or that is a link to somewhere else, is not used.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use portcullis_core::{Clock, Secret, SystemClock, Timestamp};
use portcullis_identity::{
    SignInError, SignInView,
    terminal::{Terminal, Tokens},
};
use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure};

/// Longest file read: an access, an id and a refresh token of the longest kind.
const MAX_FILE: u64 = 256 * 1024;
/// A token that ends within this is renewed before it is presented.
const RENEW_BEFORE: Duration = Duration::from_secs(120);
/// How kept tokens are named: `login-HOST-PORT.json`.
const PREFIX: &str = "login-";

/// What is kept of a sign-in.
#[derive(Debug)]
pub struct Kept {
    /// The gateway, as [`gateway_name`] writes it.
    pub gateway: String,
    /// The certificate file it is trusted by, where one was given.
    pub ca: Option<PathBuf>,
    /// The provider, as the gateway described it.
    pub provider: SignInView,
    /// Its tokens.
    pub tokens: Tokens,
}

/// The form on the disk.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    gateway: std::borrow::Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca: Option<PathBuf>,
    provider: SignInView,
    expires_at: Timestamp,
    token: std::borrow::Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh: Option<std::borrow::Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id_token: Option<std::borrow::Cow<'a, str>>,
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Place(PathBuf);

/// Held while kept tokens are read, renewed and written: two commands at once would each use up the other's refresh token.
struct Locked {
    _file: File,
}

impl Place {
    /// The place of whoever runs this: `$XDG_STATE_HOME/portcullis`, else `~/.local/state/portcullis`; on macOS
    /// `~/Library/Application Support/portcullis`. `None` where there is no home.
    pub fn of_this_user() -> Option<Self> {
        let absolute =
            |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = if cfg!(target_os = "macos") {
            absolute("HOME")?.join("Library/Application Support")
        } else {
            absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?
        };
        Some(Self(base.join("portcullis")))
    }

    /// What is kept for this gateway.
    ///
    /// # Errors
    /// There is something, and it cannot be used.
    pub fn find(&self, gateway: &str) -> Result<Option<Kept>, Failure> {
        let gateway = gateway_name(gateway)?;
        let Some(kept) = self.read(&self.file(&gateway))? else { return Ok(None) };
        Ok(Some(kept).filter(|kept| kept.gateway == gateway))
    }

    /// What is kept, where that is for one gateway only.
    ///
    /// # Errors
    /// As for [`Place::find`].
    pub fn only(&self) -> Result<Option<Kept>, Failure> {
        let listed = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            listed => listed.map_err(|error| self.cannot("read", &self.0, &error))?,
        };
        let is_kept = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with(PREFIX) && name.ends_with(".json")
        };
        let mut files = listed.filter_map(|entry| Some(entry.ok()?.path())).filter(is_kept);
        match (files.next(), files.next()) {
            (Some(file), None) => self.read(&file),
            _ => Ok(None),
        }
    }

    /// Keeps this in place of what was kept for its gateway; where.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, kept: &Kept) -> Result<PathBuf, Failure> {
        let _locked = self.lock()?;
        self.write(kept)
    }

    /// Forgets what is kept for this gateway; whether there was anything. What cannot be used is forgotten too.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn forget(&self, gateway: &str) -> Result<bool, Failure> {
        let path = self.file(&gateway_name(gateway)?);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.cannot("remove", &path, &error)),
        }
    }

    /// The token to present to this gateway, renewed where it ends soon; `None` where nobody signed in.
    ///
    /// # Errors
    /// It is over and cannot be renewed: sign in again.
    pub async fn present(
        &self,
        gateway: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Secret<String>>, Failure> {
        if self.find(gateway)?.is_none() {
            return Ok(None);
        }
        let _locked = self.lock()?;
        // Read again: whoever had the lock may have renewed it.
        let Some(mut kept) = self.find(gateway)? else { return Ok(None) };
        let now = clock.now();
        if now.plus(RENEW_BEFORE) < kept.tokens.expires_at {
            return Ok(Some(kept.tokens.token));
        }
        let good = now < kept.tokens.expires_at;
        let again = || format!("portcullis login --gateway {}", kept.gateway);
        let Some(refresh) = &kept.tokens.refresh else {
            return if good {
                Ok(Some(kept.tokens.token))
            } else {
                Err(Failure::new(Exit::Refused, "your sign-in is over").next(again()))
            };
        };
        match renew(&kept.provider, refresh, clock).await {
            Ok(mut tokens) => {
                tokens.id = tokens.id.or_else(|| kept.tokens.id.take());
                kept.tokens = tokens;
                self.write(&kept)?;
                Ok(Some(kept.tokens.token))
            }
            Err(_) if good => Ok(Some(kept.tokens.token)),
            Err(error @ SignInError::Unavailable { .. }) => Err(Failure::new(
                Exit::Unreachable,
                format!("your sign-in has to be renewed, and that failed: {error}"),
            )),
            Err(error) => {
                Err(Failure::new(Exit::Refused, format!("your sign-in is over: {error}")).next(again()))
            }
        }
    }

    fn file(&self, gateway: &str) -> PathBuf {
        let name = gateway.trim_start_matches("https://");
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '-' };
        self.0.join(format!("{PREFIX}{}.json", name.chars().map(plain).take(200).collect::<String>()))
    }

    fn lock(&self) -> Result<Locked, Failure> {
        self.folder()?;
        let path = self.0.join("lock");
        let cannot = |error: io::Error| self.cannot("lock", &path, &error);
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(cannot)?;
        file.lock().map_err(cannot)?;
        Ok(Locked { _file: file })
    }

    /// Makes the folder, or narrows it.
    fn folder(&self) -> Result<(), Failure> {
        let cannot = |error: io::Error| self.cannot("use", &self.0, &error);
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(cannot)?;
        let mode = fs::metadata(&self.0).map_err(cannot)?.permissions().mode();
        if mode & 0o077 != 0 {
            fs::set_permissions(&self.0, Permissions::from_mode(0o700)).map_err(cannot)?;
        }
        Ok(())
    }

    fn read(&self, path: &Path) -> Result<Option<Kept>, Failure> {
        let cannot = |error: &io::Error| self.cannot("read", path, error);
        let found = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(|error| cannot(&error))?,
        };
        let shown = path.display();
        if !found.is_file() {
            return Err(Failure::cannot(format!(
                "`{shown}` is a link or no file: a kept sign-in is a file of its own"
            ))
            .next(format!("remove it, then sign in again: rm '{shown}'; portcullis login")));
        }
        let file = File::open(path).map_err(|error| cannot(&error))?;
        let opened = file.metadata().map_err(|error| cannot(&error))?;
        // What was looked at is what was opened.
        if (opened.dev(), opened.ino()) != (found.dev(), found.ino()) {
            return Err(Failure::cannot(format!("`{shown}` changed while it was read")));
        }
        // Somebody else may have the token by now. Whoever can read a file with 600 is its owner, or root.
        if opened.permissions().mode() & 0o077 != 0 {
            let mode = opened.permissions().mode() & 0o777;
            return Err(Failure::cannot(format!(
                "`{shown}` can be read by others (mode {mode:o}), so it is not used"
            ))
            .next("sign in again, which replaces it: portcullis login"));
        }
        let mut bytes = Vec::new();
        let read = file.take(MAX_FILE).read_to_end(&mut bytes);
        let bytes = Secret::new(bytes);
        read.map_err(|error| cannot(&error))?;
        let stored: Stored<'_> = serde_json::from_slice(bytes.expose()).map_err(|_| {
            Failure::cannot(format!("`{shown}` is no kept sign-in"))
                .next("sign in again, which replaces it: portcullis login")
        })?;
        let secret = |text: std::borrow::Cow<'_, str>| Secret::new(text.into_owned());
        Ok(Some(Kept {
            gateway: stored.gateway.into_owned(),
            ca: stored.ca,
            provider: stored.provider,
            tokens: Tokens {
                token: secret(stored.token),
                expires_at: stored.expires_at,
                refresh: stored.refresh.map(secret),
                id: stored.id_token.map(secret),
            },
        }))
    }

    fn write(&self, kept: &Kept) -> Result<PathBuf, Failure> {
        self.folder()?;
        let text = |secret: &Secret<String>| std::borrow::Cow::Owned(secret.expose().clone());
        let stored = Stored {
            gateway: kept.gateway.as_str().into(),
            ca: kept.ca.clone(),
            provider: kept.provider.clone(),
            expires_at: kept.tokens.expires_at,
            token: kept.tokens.token.expose().as_str().into(),
            refresh: kept.tokens.refresh.as_ref().map(text),
            id_token: kept.tokens.id.as_ref().map(text),
        };
        let bytes = Secret::new(
            serde_json::to_vec_pretty(&stored).map_err(|error| Failure::cannot(error.to_string()))?,
        );
        let path = self.file(&kept.gateway);
        // Moving replaces a link that somebody put there, and does not follow it.
        let unfinished = path.with_extension("new");
        let outcome = (|| {
            match fs::remove_file(&unfinished) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
            file.write_all(bytes.expose())?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)
        })();
        outcome.map_err(|error| self.cannot("write", &path, &error))?;
        Ok(path)
    }

    fn cannot(&self, what: &str, path: &Path, error: &io::Error) -> Failure {
        Failure::cannot(format!("cannot {what} `{}`: {error}", path.display()))
    }
}

/// A gateway's address as kept tokens are told apart by it: `https://host:port`, the port written out, and the path where there is one.
pub fn gateway_name(url: &str) -> Result<String, Failure> {
    let parsed: Option<Url> = url.parse().ok();
    let parsed = parsed.filter(|url| url.scheme() == "https");
    let parsed = parsed.ok_or_else(|| Failure::usage(format!("`{url}` is no `https` address")))?;
    let (host, port) = (parsed.host_str().unwrap_or_default(), parsed.port_or_known_default().unwrap_or(443));
    Ok(format!("https://{host}:{port}{}", parsed.path().trim_end_matches('/')))
}

async fn renew(
    provider: &SignInView,
    refresh: &Secret<String>,
    clock: Arc<dyn Clock>,
) -> Result<Tokens, SignInError> {
    Terminal::open(provider.clone(), clock).await?.refresh(refresh).await
}

/// The token kept for this gateway, fit to present.
///
/// # Errors
/// See [`Place::present`].
pub fn present(gateway: &str) -> Result<Option<Secret<String>>, Failure> {
    match Place::of_this_user() {
        Some(place) => crate::block_on(place.present(gateway, Arc::new(SystemClock)))?,
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests;
