//! The processes of the demo and the directory they live in.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use super::{
    narrator::Narrator,
    server::{Reserved, RunAs, Server, accepts, tied},
    shell::Shell,
    upstream::{Passwords, Programs},
};

/// The documents, as they are in `examples/demo/`.
pub(super) const GATEWAY: &str = include_str!("../../../../examples/demo/gateway.yaml");
pub(super) const POLICY: &str = include_str!("../../../../examples/demo/policy.yaml");
pub(super) const DIRECTORY: &str = include_str!("../../../../examples/demo/directory.yaml");

/// The addresses in the documents, and which of the demo's ports stands for each.
const WEB: &str = "127.0.0.1:8443";
const POSTGRES: &str = "127.0.0.1:6432";
const UPSTREAM: &str = "127.0.0.1:5433";
const ISSUER: &str = "127.0.0.1:8400";

/// The gateway's own client secret, as `directory.yaml` has it.
const GATEWAY_SECRET: &str = "portcullis-gateway-demo-secret";

/// Ports of 127.0.0.1.
pub(super) struct Ports {
    pub(super) web: u16,
    pub(super) postgres: u16,
    pub(super) upstream: u16,
    pub(super) issuer: u16,
}

impl Ports {
    /// A document with these ports in place of its own.
    pub(super) fn put_into(&self, document: &str) -> String {
        let pairs =
            [(WEB, self.web), (POSTGRES, self.postgres), (UPSTREAM, self.upstream), (ISSUER, self.issuer)];
        pairs.iter().fold(document.to_owned(), |text, (address, port)| {
            text.replace(address, &format!("127.0.0.1:{port}"))
        })
    }
}

/// Everything that must be gone in the end. Fields are dropped in order: the gateway before what it leads to, files last.
pub(super) struct Stage {
    gateway: Option<Server>,
    issuer: Option<Server>,
    upstream: Option<Server>,
    pub(super) ports: Ports,
    reserved: Option<Reservations>,
    pub(super) shell: Shell,
    /// The terminal of a person on call: no token but the one that `portcullis login` keeps.
    pub(super) person: Shell,
    programs: Programs,
    passwords: Option<Passwords>,
    /// Every token that an agent has presented.
    tokens: Vec<String>,
    root: Root,
}

/// The ports before their children listen on them.
struct Reservations {
    issuer: Reserved,
    upstream: Reserved,
    postgres: Reserved,
    web: Reserved,
}

/// The directory.
struct Root {
    path: PathBuf,
    at_end: AtEnd,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum AtEnd {
    Remove,
    Keep,
}

impl Root {
    /// Makes it. The upstream's user must get to its own folder in it; what is secret has modes of its own.
    fn make(keep: Option<&Path>) -> anyhow::Result<Self> {
        let (path, at_end) = match keep {
            Some(dir) => (dir.to_owned(), AtEnd::Keep),
            None => {
                (std::env::temp_dir().join(format!("portcullis-demo-{:.8}", random_word()?)), AtEnd::Remove)
            }
        };
        let made = fs::DirBuilder::new().mode(0o711).create(&path);
        made.with_context(|| format!("cannot make `{}`, which must not exist yet", path.display()))?;
        let root = Self { path: fs::canonicalize(&path)?, at_end };
        fs::set_permissions(&root.path, fs::Permissions::from_mode(0o711))?;
        Ok(root)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if self.at_end == AtEnd::Remove
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            eprintln!("portcullis: cannot remove `{}`: {error}", self.path.display());
        }
    }
}

impl Stage {
    /// Chooses ports and makes the directory. Nothing runs yet.
    ///
    /// # Errors
    /// PostgreSQL is missing, the directory exists or cannot be made.
    pub(super) fn new(keep: Option<&Path>) -> anyhow::Result<Self> {
        let programs = Programs::find()?;
        let root = Root::make(keep)?;
        let reserved = Reservations {
            issuer: Reserved::new()?,
            upstream: Reserved::new()?,
            postgres: Reserved::new()?,
            web: Reserved::new()?,
        };
        let ports = Ports {
            web: reserved.web.port(),
            postgres: reserved.postgres.port(),
            upstream: reserved.upstream.port(),
            issuer: reserved.issuer.port(),
        };
        let shell = Shell::default();
        Ok(Self {
            gateway: None,
            issuer: None,
            upstream: None,
            ports,
            reserved: Some(reserved),
            shell,
            person: Shell::default(),
            programs,
            passwords: None,
            tokens: Vec::new(),
            root,
        })
    }

    /// Starts everything: afterwards the gateway takes connections.
    ///
    /// # Errors
    /// Something does not start.
    pub(super) async fn set(&mut self, narrator: &mut Narrator) -> anyhow::Result<()> {
        narrator.heading("Portcullis demo: an AI agent's identity, a gateway, and a real PostgreSQL server, all on this machine.");
        let logs = self.logs();
        fs::DirBuilder::new().mode(0o700).create(&logs)?;
        for (name, text) in
            [("gateway.yaml", GATEWAY), ("policy.yaml", POLICY), ("directory.yaml", DIRECTORY)]
        {
            fs::write(self.dir().join(name), self.ports.put_into(text))?;
        }
        let passwords = Passwords { shop: random_word()?, logs: random_word()? };
        let reserved = self.reserved.take().context("the stage is set once")?;

        let program = std::env::current_exe().context("where this program is")?;
        let mut command = tied(&program, "TERM", &RunAs::Ourselves);
        let issuer_port = reserved.issuer.release();
        command.arg("dev-idp").arg("--listen").arg(format!("127.0.0.1:{issuer_port}"));
        command.arg("--directory").arg(self.dir().join("directory.yaml"));
        let issuer = self.issuer.insert(Server::start("dev-idp", "TERM", logs.join("dev-idp.log"), command)?);
        issuer.ready(async || accepts(issuer_port).await).await?;
        narrator.note(&format!("identity provider (Entra-shaped)  127.0.0.1:{issuer_port}"));

        let dir = self.dir().join("postgres");
        self.upstream = Some(self.programs.start(&dir, reserved.upstream, &logs, &passwords).await?);
        narrator.note(&format!("PostgreSQL, databases shop, logs  127.0.0.1:{}", self.ports.upstream));

        let mut command = tied(&program, "TERM", &RunAs::Ourselves);
        // From within its folder, so that places in the documents read `policy.yaml:47`.
        command.arg("gateway").arg("--config").arg("gateway.yaml").current_dir(self.dir());
        command.env("SHOP_DB_PASSWORD", &passwords.shop).env("LOGS_DB_PASSWORD", &passwords.logs);
        command.env("GATEWAY_CLIENT_SECRET", GATEWAY_SECRET);
        // Written once its ports are open.
        let listeners = self.data().join("listeners.json");
        reserved.postgres.release();
        reserved.web.release();
        let gateway =
            self.gateway.insert(Server::start("gateway", "TERM", logs.join("gateway.log"), command)?);
        gateway.ready(async || listeners.exists()).await?;
        let Ports { postgres, web, .. } = self.ports;
        narrator.note(&format!(
            "gateway                           127.0.0.1:{postgres}, console and API https://127.0.0.1:{web}"
        ));
        narrator.note(&format!("files                             {}", self.dir().display()));
        self.passwords = Some(passwords);
        self.set_shell(&program)
    }

    /// What a person exports first.
    fn set_shell(&mut self, program: &Path) -> anyhow::Result<()> {
        let own = program.parent().context("a program without a folder")?;
        let mut path = vec![own.to_owned()];
        path.extend(self.programs.psql_dir().map(Path::to_owned));
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let path = std::env::join_paths(path)?.into_string().ok().context("a PATH that is no text")?;
        let certificate = self.data().join("tls/self-signed.crt");
        if !certificate.exists() {
            bail!("the gateway made no certificate at {}", certificate.display());
        }
        let certificate = certificate.display().to_string();
        for (name, value) in [
            ("PATH", path.clone()),
            ("PORTCULLIS_GATEWAY", self.web()),
            ("PORTCULLIS_CA", certificate.clone()),
            ("XDG_STATE_HOME", self.dir().join("sam").display().to_string()),
        ] {
            self.person.set(name, value);
        }
        self.shell.set("PATH", path);
        self.shell.set("PGHOST", "127.0.0.1");
        self.shell.set("PGPORT", self.ports.postgres.to_string());
        self.shell.set("PGSSLMODE", "verify-full");
        self.shell.set("PGSSLROOTCERT", certificate.clone());
        self.shell.set("PORTCULLIS_GATEWAY", self.web());
        self.shell.set("PORTCULLIS_CA", certificate);
        self.shell.set("PORTCULLIS_ADMIN_TOKEN_FILE", self.data().join("admin.token").display().to_string());
        Ok(())
    }

    /// Whoever runs commands from now on has this token.
    pub(super) fn present(&mut self, token: String) {
        self.export(&token);
        self.tokens.push(token);
    }

    /// The first agent is the one who runs commands again, with the token that it had.
    pub(super) fn present_first(&mut self) {
        if let Some(token) = self.tokens.first().cloned() {
            self.export(&token);
        }
    }

    fn export(&mut self, token: &str) {
        self.shell.set("PORTCULLIS_TOKEN", token);
        self.shell.set("PGPASSWORD", token);
    }

    /// Waits until a child ends, and says which. Cancel safe.
    pub(super) async fn watch(&mut self) -> &'static str {
        loop {
            for server in [&mut self.gateway, &mut self.issuer, &mut self.upstream].into_iter().flatten() {
                if server.has_ended() {
                    return server.name();
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    }

    /// The gateway's web address: console and API.
    pub(super) fn web(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.web)
    }

    /// Where the issuer is.
    pub(super) fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.issuer)
    }

    /// The directory of everything.
    pub(super) fn dir(&self) -> &Path {
        &self.root.path
    }

    /// The gateway's data directory.
    pub(super) fn data(&self) -> PathBuf {
        self.dir().join("data")
    }

    /// Files of the gateway that hold a token of an agent, a password of the upstream or one of these texts: there must be none.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn leaks(&self, texts: &[&str]) -> anyhow::Result<Vec<String>> {
        // A token's signature alone names it: its start is the same in every token.
        let signatures = self.tokens.iter().filter_map(|token| token.rsplit('.').next());
        let signatures = signatures.filter(|signature| !signature.is_empty());
        let passwords = self.passwords.iter().flat_map(|p| [p.shop.as_str(), p.logs.as_str()]);
        let secrets: Vec<&str> = passwords.chain(signatures).chain(texts.iter().copied()).collect();
        let mut found = Vec::new();
        let mut folders = vec![self.data()];
        let mut files = vec![self.logs().join("gateway.log")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path())
                } else {
                    files.push(entry.path())
                }
            }
        }
        for file in files {
            let bytes = fs::read(&file).with_context(|| file.display().to_string())?;
            let text = String::from_utf8_lossy(&bytes);
            if secrets.iter().any(|secret| text.contains(secret)) {
                found.push(file.display().to_string());
            }
        }
        Ok(found)
    }

    /// What PostgreSQL has logged: every statement that reached it.
    pub(super) fn upstream_log(&self) -> String {
        let text = fs::read(self.logs().join("postgres.log")).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    fn logs(&self) -> PathBuf {
        self.dir().join("logs")
    }

    /// Leaves the directory in place at the end; says where the logs are.
    pub(super) fn keep_logs(&mut self) -> PathBuf {
        self.root.at_end = AtEnd::Keep;
        self.logs()
    }
}

/// 24 hexadecimal digits nobody can guess.
pub(super) fn random_word() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 12];
    aws_lc_rs::rand::fill(&mut bytes).ok().context("no randomness")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
