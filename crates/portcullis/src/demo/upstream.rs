//! The upstream: a PostgreSQL server in a directory of its own, filled with a shop and its logs.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

use super::server::{Reserved, RunAs, Server, tied};

/// What the databases hold; read by psql, with the passwords as variables.
pub(super) const DATABASES: &str = include_str!("databases.sql");

/// The server's superuser, known to nobody but this module.
const SUPERUSER: &str = "postgres";

/// Passwords of the roles that the gateway logs in with.
pub(super) struct Passwords {
    pub(super) shop: String,
    pub(super) logs: String,
}

/// Where the server's programs are, and who may run them: PostgreSQL refuses to run as root.
pub(super) struct Programs {
    bin: PathBuf,
    psql: PathBuf,
    run_as: RunAs,
}

impl Programs {
    /// Looks in `PG_BIN`, in the PATH and where Debian puts them.
    ///
    /// # Errors
    /// What is missing, and how to get it.
    pub(super) fn find() -> anyhow::Result<Self> {
        let Some(bin) =
            places().into_iter().find(|dir| dir.join("initdb").exists() && dir.join("postgres").exists())
        else {
            bail!(
                "no PostgreSQL server found: run `scripts/setup demo`, or set PG_BIN to the folder of `initdb` and `postgres`"
            );
        };
        let near = bin.join("psql");
        let psql = if near.exists() { Some(near) } else { in_path("psql") };
        let psql = psql.context("no `psql` found: run `scripts/setup demo`")?;
        let run_as = if id(&["-u"])? == 0 { RunAs::User(unprivileged()?) } else { RunAs::Ourselves };
        Ok(Self { bin, psql, run_as })
    }

    /// The folder of psql.
    pub(super) fn psql_dir(&self) -> Option<&Path> {
        self.psql.parent()
    }

    /// Makes a server under `dir`, on this port of 127.0.0.1, and loads the databases.
    ///
    /// # Errors
    /// What failed, with what the programs said.
    pub(super) async fn start(
        &self,
        dir: &Path,
        port: Reserved,
        logs: &Path,
        passwords: &Passwords,
    ) -> anyhow::Result<Server> {
        fs::create_dir(dir)?;
        let superuser = super::stage::random_word()?;
        let password_file = dir.join("superuser");
        fs::write(&password_file, &superuser)?;
        fs::set_permissions(&password_file, fs::Permissions::from_mode(0o600))?;
        if let RunAs::User(user) = &self.run_as {
            let (uid, gid) = (id(&["-u", user])?, id(&["-g", user])?);
            chown(dir, Some(uid), Some(gid))?;
            chown(&password_file, Some(uid), Some(gid))?;
        }
        let data = dir.join("data");
        let mut initdb = tied(&self.bin.join("initdb"), "KILL", &self.run_as);
        initdb.current_dir(dir).arg("--pgdata").arg(&data).arg("--pwfile").arg(&password_file);
        initdb.args([
            "--username",
            SUPERUSER,
            "--auth",
            "scram-sha-256",
            "--encoding",
            "UTF8",
            "--locale",
            "C",
            "--no-sync",
        ]);
        quietly(initdb).context("initdb")?;
        let port = port.release();
        let mut postgres = tied(&self.bin.join("postgres"), "QUIT", &self.run_as);
        postgres.current_dir(dir).arg("-D").arg(&data).arg("-p").arg(port.to_string());
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "full_page_writes=off",
            "log_statement=all",
            "log_line_prefix=%m %u@%d %a: ",
        ] {
            postgres.args(["-c", setting]);
        }
        // SIGQUIT is an immediate shutdown: nothing here is worth a checkpoint.
        let mut server = Server::start("postgres", "QUIT", logs.join("postgres.log"), postgres)?;
        // The eighth line of postmaster.pid is the server's own word on whether it takes connections.
        let pid_file = data.join("postmaster.pid");
        let is_ready = async || {
            let text = fs::read_to_string(&pid_file).unwrap_or_default();
            text.lines().nth(7).is_some_and(|status| status.trim() == "ready")
        };
        server.ready(is_ready).await?;
        self.load(dir, port, &superuser, passwords)?;
        Ok(server)
    }

    fn load(&self, dir: &Path, port: u16, superuser: &str, passwords: &Passwords) -> anyhow::Result<()> {
        // Variables are set in the script: as arguments they would show in the process list.
        let set = |name: &str, value: &str| format!("\\set {name} '{value}'\n");
        let text = set("shop_password", &passwords.shop) + &set("logs_password", &passwords.logs) + DATABASES;
        let script = dir.join("databases.sql");
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&script)?;
        file.write_all(text.as_bytes())?;
        let mut psql = Command::new(&self.psql);
        psql.args([
            "-X",
            "-q",
            "-h",
            "127.0.0.1",
            "-U",
            SUPERUSER,
            "-d",
            "postgres",
            "-v",
            "ON_ERROR_STOP=1",
            "-p",
        ]);
        psql.arg(port.to_string()).arg("-f").arg(&script);
        psql.env("PGPASSWORD", superuser).env("PGSSLMODE", "disable").env("LC_ALL", "C.UTF-8");
        let loaded = quietly(psql).context("loading the databases");
        fs::remove_file(&script)?;
        loaded
    }
}

fn places() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = std::env::var_os("PG_BIN").map(PathBuf::from).into_iter().collect();
    if let Some(found) = in_path("initdb")
        && let Some(dir) = fs::canonicalize(found).ok().as_deref().and_then(Path::parent)
    {
        places.push(dir.to_owned());
    }
    let mut installed: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    installed.sort();
    places.extend(installed.into_iter().rev());
    places
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// `id ARGS`, as a number.
fn id(args: &[&str]) -> anyhow::Result<u32> {
    let output = Command::new("id").args(args).stderr(Stdio::null()).output().context("cannot run `id`")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().with_context(|| format!("`id {}` gave no number", args.join(" ")))
}

/// The user that the server runs as when root runs the demo.
fn unprivileged() -> anyhow::Result<String> {
    let found = ["postgres", "nobody"].into_iter().find(|user| id(&["-u", user]).is_ok());
    found
        .map(str::to_owned)
        .context("PostgreSQL does not run as root, and there is no user `postgres` or `nobody`")
}

/// Runs it to its end; what it said is in the error only.
fn quietly(mut command: Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output().context("cannot be run")?;
    if !output.status.success() {
        bail!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
