//! A PostgreSQL server for one test: its own data directory, port and log.
//!
//! `initdb` runs once per version and machine; every server starts from a copy. The server's own log holds every
//! statement it received (`log_statement=all`), so a test can show that a refused one never arrived.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use crate::{
    Psql, PsqlOutput, Scratch, ServerCertificate, cache_dir, free_port,
    process::{READY_WITHIN, signal, spawn, tied_to_us},
    scratch::is_root,
};

mod template;

/// The superuser of every server here.
pub const SUPERUSER: &str = "postgres";
/// Its password, where the server asks for one.
pub const PASSWORD: &str = "testkit-superuser";

/// How a server asks its TCP clients who they are. Its Unix socket trusts everyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PgAuth {
    /// SCRAM-SHA-256 (and -PLUS through TLS).
    #[default]
    Scram,
    /// The old MD5 challenge; passwords are stored for it too.
    Md5,
    /// The password in clear text.
    Password,
    /// Nobody is asked.
    Trust,
}

/// What kind of server to start.
#[derive(Debug, Clone)]
pub struct PgOptions {
    /// Major version: 15 (stands for whatever the system's packages have installed) or 18.
    pub version: u16,
    /// The server's certificate; none: no TLS.
    pub ssl: Option<ServerCertificate>,
    /// Only TLS connections are let in over TCP.
    pub ssl_only: bool,
    /// How TCP clients log in.
    pub auth: PgAuth,
    /// Run as superuser in the database `postgres` once the server is up. `\connect` and other psql commands work.
    pub setup_sql: String,
    /// Lines for `postgresql.conf`, such as `("max_connections", "20")`. Quotes are added.
    pub settings: Vec<(String, String)>,
}

impl Default for PgOptions {
    fn default() -> Self {
        Self {
            version: 15,
            ssl: None,
            ssl_only: false,
            auth: PgAuth::default(),
            setup_sql: String::new(),
            settings: Vec::new(),
        }
    }
}

/// A running server. Dropping it stops it and removes its data.
#[derive(Debug)]
pub struct PgServer {
    child: Child,
    port: u16,
    options: PgOptions,
    dir: Scratch,
}

impl PgServer {
    /// Starts a server and waits until it takes connections. Panics, with the server's log, when it does not.
    pub async fn start(options: PgOptions) -> Self {
        let bin = bin_dir(options.version).unwrap_or_else(|| {
            panic!("PostgreSQL {} is not installed: run `scripts/setup test`", options.version)
        });
        let dir = Scratch::new();
        let prepared = {
            let (bin, options, dir) = (bin.clone(), options.clone(), dir.path().to_owned());
            tokio::task::spawn_blocking(move || prepare(&bin, &options, &dir)).await
        };
        prepared.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()));
        dir.let_others_enter();
        let (child, port) = launch(&bin, &dir).await;
        let server = Self { child, port, options, dir };
        server.finish_setup().await;
        server
    }

    /// A server with every default.
    pub async fn start_default() -> Self {
        Self::start(PgOptions::default()).await
    }

    /// Whether a server of this major version can be started here.
    pub fn available(version: u16) -> bool {
        bin_dir(version).is_some()
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The directory of its Unix socket, which trusts everyone who can reach it.
    pub fn socket_dir(&self) -> &Path {
        self.dir.path()
    }

    /// The process id of the postmaster.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything the server has logged: connections, every statement it received, every error.
    pub fn log(&self) -> String {
        read_log(&self.dir)
    }

    /// What the server has logged since `mark`, a length of [`PgServer::log`] taken before.
    pub fn log_since(&self, mark: usize) -> String {
        self.log().get(mark..).unwrap_or_default().to_owned()
    }

    /// Whether any statement that the server received contains `text`.
    pub fn saw(&self, text: &str) -> bool {
        self.log().contains(text)
    }

    /// `psql` to the server itself, over TCP as superuser.
    pub fn client(&self) -> Psql {
        let psql = Psql::to(self.port, SUPERUSER).password(PASSWORD).database("postgres");
        if self.options.ssl.is_some() { psql.tls() } else { psql }
    }

    /// Runs [`PgServer::client`] with these arguments.
    pub async fn psql(&self, args: &[&str]) -> PsqlOutput {
        self.client().run(args).await
    }

    /// Runs SQL as superuser in the database `postgres`, past TCP and TLS. Panics on an error; returns what it printed.
    pub async fn execute_as_superuser(&self, sql: &str) -> String {
        self.execute_in("postgres", sql).await
    }

    /// [`PgServer::execute_as_superuser`] in another database.
    pub async fn execute_in(&self, database: &str, sql: &str) -> String {
        let file = Scratch::new();
        let script = file.write("script.sql", sql);
        let output = Psql::to(self.port, SUPERUSER)
            .env("PGHOST", self.dir.path().display().to_string())
            .database(database)
            .env("PGAPPNAME", "testkit")
            .run(&["-v", "ON_ERROR_STOP=1", "-f", &script.display().to_string()])
            .await;
        assert_eq!(output.code, 0, "SQL as superuser failed: {}\n{sql}", output.stderr);
        output.stdout.trim().to_owned()
    }

    /// Stops the server at once (as a crash would) and waits until it is gone; the port is refused from then on.
    pub fn stop(&mut self) {
        if self.child.try_wait().ok().flatten().is_some() {
            return;
        }
        // SIGQUIT is `pg_ctl stop -m immediate`: the postmaster takes its children along. SIGKILL would leave them.
        signal("QUIT", &self.child.id().to_string());
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.child.try_wait().ok().flatten().is_none() {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    async fn finish_setup(&self) {
        if self.options.auth == PgAuth::Md5 {
            let sql =
                format!("SET password_encryption = 'md5'; ALTER ROLE {SUPERUSER} PASSWORD '{PASSWORD}';");
            self.execute_as_superuser(&sql).await;
        }
        if !self.options.setup_sql.is_empty() {
            self.execute_as_superuser(&self.options.setup_sql).await;
        }
    }
}

impl Drop for PgServer {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            eprintln!("--- the end of PostgreSQL's log:\n    {}", tail.join("\n    "));
        }
    }
}

/// Where `initdb` and `postgres` of this major version are.
fn bin_dir(version: u16) -> Option<PathBuf> {
    let mut places = Vec::new();
    if let Some(dir) = std::env::var_os(format!("PORTCULLIS_PG{version}")) {
        places.push(PathBuf::from(&dir));
        places.push(PathBuf::from(dir).join("bin"));
    }
    places.push(PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
    places.push(cache_dir().join(format!("postgresql-{version}/bin")));
    if version == PgOptions::default().version {
        // The default stands for the system's own packages, whatever their version.
        let mut installed: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
            .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
            .unwrap_or_default();
        installed.sort();
        places.extend(installed.into_iter().rev());
    }
    places.into_iter().find(|bin| bin.join("initdb").exists() && bin.join("postgres").exists())
}

/// Fills `dir` with a data directory and the server's configuration.
fn prepare(bin: &Path, options: &PgOptions, dir: &Path) {
    let data = dir.join("data");
    template::copy_to(bin, options.version, &data);
    let mut conf =
        fs::OpenOptions::new().append(true).open(data.join("postgresql.conf")).expect("postgresql.conf");
    let socket = dir.display().to_string();
    let fixed = [
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", socket.as_str()),
        ("fsync", "off"),
        ("synchronous_commit", "off"),
        ("full_page_writes", "off"),
        ("shared_buffers", "16MB"),
        ("log_destination", "stderr"),
        ("logging_collector", "off"),
        ("log_statement", "all"),
        ("log_connections", "on"),
        ("log_disconnections", "on"),
        ("log_line_prefix", "%m [%p] %u@%d %a: "),
        ("log_timezone", "UTC"),
        ("timezone", "UTC"),
        ("autovacuum", "off"),
    ];
    let extra = options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in fixed.into_iter().chain(extra) {
        writeln!(conf, "{name} = '{}'", value.replace('\'', "''")).expect("writing postgresql.conf");
    }
    if let Some(certificate) = &options.ssl {
        let files = certificate.write_to(&data);
        template::give_away(&[&files.certificate, &files.key]);
        writeln!(conf, "ssl = on").expect("writing postgresql.conf");
    }
    let kind = if options.ssl_only { "hostssl" } else { "host" };
    let method = match options.auth {
        PgAuth::Scram => "scram-sha-256",
        PgAuth::Md5 => "md5",
        PgAuth::Password => "password",
        PgAuth::Trust => "trust",
    };
    let hba = format!(
        "local all all trust\n{kind} all all 127.0.0.1/32 {method}\n{kind} all all ::1/128 {method}\n"
    );
    fs::write(data.join("pg_hba.conf"), hba).expect("writing pg_hba.conf");
    // The socket's file is made here by a server that may be another user.
    template::give_away(&[dir]);
}

/// Starts the server; another port when somebody took the first in between.
async fn launch(bin: &Path, dir: &Scratch) -> (Child, u16) {
    let mut port = 0;
    for _ in 0..5 {
        port = free_port();
        let _ = fs::remove_file(dir.join("data/postmaster.pid"));
        let log = File::options().create(true).append(true).open(dir.join("log")).expect("a log file");
        let mut command = tied_to_us(bin.join("postgres"), "QUIT", is_root().then_some(SUPERUSER));
        command.arg("-D").arg(dir.join("data")).arg("-p").arg(port.to_string()).current_dir(dir.path());
        command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        let mut child = spawn(command);
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Some(status) = child.try_wait().expect("its status") {
                let log = read_log(dir);
                assert!(log.contains("could not bind"), "PostgreSQL ended ({status}); it logged:\n{log}");
                break;
            }
            if is_ready(&dir.join("data/postmaster.pid")) {
                return (child, port);
            }
            if Instant::now() > deadline {
                signal("QUIT", &child.id().to_string());
                panic!("PostgreSQL is not ready; it logged:\n{}", read_log(dir));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    panic!("no port stayed free; the last was {port}; PostgreSQL logged:\n{}", read_log(dir))
}

/// The eighth line of `postmaster.pid` is the server's own word on whether it takes connections (`pg_ctl -w` reads it too).
fn is_ready(pid_file: &Path) -> bool {
    fs::read_to_string(pid_file)
        .is_ok_and(|text| text.lines().nth(7).is_some_and(|status| status.trim() == "ready"))
}

fn read_log(dir: &Scratch) -> String {
    String::from_utf8_lossy(&fs::read(dir.join("log")).unwrap_or_default()).into_owned()
}
