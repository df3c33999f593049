"""What is measured against: a fresh PostgreSQL server, and pgbouncer before it. All end with the program."""
import atexit
import glob
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK = pathlib.Path(tempfile.mkdtemp(prefix="portcullis-bench-"))
USER, PASSWORD, DATABASE = "bench", "bench-upstream-password", "bench"
RUN_AS = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups"] if os.getuid() == 0 else ["setpriv"]
TICKS = os.sysconf("SC_CLK_TCK")
children = []


@atexit.register
def clean_up():
    for child in reversed(children):
        end(child)
    shutil.rmtree(WORK, ignore_errors=True)


def end(child, seconds=10):
    """In order, if it takes no longer than this. Whether it did not."""
    late = False
    if child.poll() is None:
        child.send_signal(signal.SIGINT if str(child.args[-2]) == "-D" else signal.SIGTERM)  # PostgreSQL's fast shutdown
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            late = True
            child.kill()
            child.wait()
    if child in children:
        children.remove(child)
    return late


def end_with_a_signal():
    """What `kill` and the terminal send ends us the ordinary way, so that everything started is stopped."""
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, lambda number, _frame: sys.exit(128 + number))


def start(command, log, **options):
    """A child that ends with us, even when we are killed; the terminal's Ctrl-C is for us alone."""
    with open(log, "ab") as out:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, **options)
    children.append(child)
    return child


def tool(name):
    """One of the newest installed server's programs."""
    homes = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]))
    if not homes:
        raise SystemExit("no PostgreSQL server is installed: scripts/setup bench")
    return str(pathlib.Path(homes[-1]) / name)


def version(command):
    said = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"\d+(\.\d+)+", said).group(0)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_for(what, ready, child, log):
    deadline = time.monotonic() + 60
    while True:
        if value := ready():
            return value
        if child.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{what} did not start:\n{pathlib.Path(log).read_text(errors='replace')[-4000:]}")
        time.sleep(0.02)


def answers(port):
    def ready():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0
    return ready


def descriptors(sessions):
    """A proxy holds two for each session. Returns how many sessions there may be."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 1 << 20 if hard == resource.RLIM_INFINITY else hard
    wanted = min(2 * sessions + 500, most)
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return min(sessions, (most - 500) // 2)


def give_to_server(path):
    if os.getuid() == 0:
        shutil.chown(path, "postgres", "postgres")


def tree(pid):
    """The process and all that come from it."""
    found = [pid]
    for children_of in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children_of.read_text().split():
            found += tree(int(child))
    return found


class Target:
    """Where a client connects, and the process before the server (None: there is none)."""

    def __init__(self, name, port, user, password, child=None):
        self.name, self.port, self.user, self.password, self.child = name, port, user, password, child
        self.env = {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": user, "PGPASSWORD": password,
                    "PGDATABASE": DATABASE, "PGSSLMODE": "require"}

    def pids(self):
        return tree(self.child.pid) if self.child else []

    def cpu_seconds(self):
        total = 0
        for pid in self.pids():
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def threads(self):
        """CPU seconds by the threads' names, numbers at their ends left away."""
        found = {}
        for pid in self.pids():
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                name, fields = (task / "stat").read_text().split("(", 1)[1].rsplit(")", 1)
                used = sum(map(int, fields.split()[11:13])) / TICKS
                name = name.rstrip("0123456789").rstrip("-_ ")
                found[name] = found.get(name, 0.0) + used
        return found

    def rss_kib(self):
        return sum(int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1)) for pid in self.pids())

    def settle(self, most=20.0):
        """Waits until the process rests, so that what it does behind the last answer is counted for whoever caused it."""
        deadline, quiet, before = time.monotonic() + most, 0, self.cpu_seconds()
        while self.child and quiet < 3 and time.monotonic() < deadline:
            time.sleep(0.1)
            now = self.cpu_seconds()
            quiet, before = (quiet + 1 if now - before < 1.5 / TICKS else 0), now

    def connect(self):
        from wire import Client
        return Client(self.port, self.user, self.password, DATABASE)


def certificate():
    crt, key = WORK / "server.crt", WORK / "server.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
               "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(crt)]
    subprocess.run(command, check=True, capture_output=True)
    key.chmod(0o600)
    give_to_server(key)
    return crt, key


def server(sessions):
    """PostgreSQL, with an empty database and room for so many sessions."""
    WORK.chmod(0o711)
    home, port = WORK / "server", free_port()
    home.mkdir()
    give_to_server(home)
    password = WORK / "password"
    password.write_text(PASSWORD)
    password.chmod(0o644)
    subprocess.run(RUN_AS + ["--", tool("initdb"), "-D", str(home / "data"), "-U", USER, "-A", "scram-sha-256", "--pwfile", str(password),
                             "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"], check=True, capture_output=True, cwd=home)
    crt, key = certificate()
    settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": home, "fsync": "off", "shared_buffers": "512MB",
                "max_connections": sessions + 200, "ssl": "on", "ssl_cert_file": crt, "ssl_key_file": key, "autovacuum": "off",
                "max_wal_size": "4GB"}
    with open(home / "data/postgresql.conf", "a") as conf:
        conf.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
    log = WORK / "server.log"
    child = start(RUN_AS + ["--pdeathsig", "QUIT", "--", tool("postgres"), "-D", str(home / "data")], log, cwd=home)
    status = home / "data/postmaster.pid"
    wait_for("PostgreSQL", lambda: status.exists() and "ready" in status.read_text().split(), child, log)
    target = Target("direct", port, USER, PASSWORD)
    subprocess.run(["createdb", DATABASE], env={**target.env, "PGDATABASE": "postgres"}, check=True)
    return target


def sql(target, statements):
    command = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", statements]
    return subprocess.run(command, env=target.env, check=True, capture_output=True, text=True).stdout.strip()


def fill(target, scale, rows):
    """pgbench's tables, and `wide`: ten columns of mixed types. One `card` in ten is a valid number, one `note` in a hundred has an address."""
    subprocess.run([tool("pgbench"), "-i", "-q", "-s", str(scale)], env=target.env, check=True, capture_output=True)
    sql(target, f"""
        CREATE TABLE wide AS SELECT i::bigint AS id, (i * 7919 % 100000)::integer AS account, (i % 1000000 / 100.0)::numeric(12, 2) AS amount,
            sqrt(i)::double precision AS ratio, i % 3 = 0 AS active, timestamptz '2026-01-01 00:00Z' + i * interval '1 second' AS created,
            md5(i::text)::uuid AS token, 'customer number ' || i AS name, '4' || lpad((i * 982451653 % 1000000000000000)::text, 15, '0') AS card,
            CASE WHEN i % 100 = 0 THEN 'write to user' || i || '@example.com, it said' ELSE 'paid at the counter, no receipt asked for' END AS note
        FROM generate_series(1, {rows}::bigint) AS i""")
    sql(target, "VACUUM (FREEZE, ANALYZE) wide")
    return sql(target, "SELECT pg_size_pretty(pg_table_size('wide'))")


def pgbouncer(upstream, name="pgbouncer", sessions=200):
    home, port, log = WORK / name, free_port(), WORK / f"{name}.log"
    home.mkdir()
    shutil.copy(WORK / "server.crt", home)
    shutil.copy(WORK / "server.key", home)
    (home / "users").write_text(f'"{USER}" "{PASSWORD}"\n')
    (home / "pgbouncer.ini").write_text(f"""
[databases]
{DATABASE} = host=127.0.0.1 port={upstream.port} dbname={DATABASE} user={USER} password={PASSWORD}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {home}/users
pool_mode = session
default_pool_size = {sessions}
max_client_conn = {sessions + 100}
client_tls_sslmode = require
client_tls_cert_file = {home}/server.crt
client_tls_key_file = {home}/server.key
server_tls_sslmode = require
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
""")
    for path in [home, *home.iterdir()]:
        give_to_server(path)
    child = start(RUN_AS + ["--pdeathsig", "TERM", "--", "pgbouncer", "-q", str(home / "pgbouncer.ini")], log, cwd=home)
    wait_for("pgbouncer", answers(port), child, log)
    return Target("pgbouncer", port, USER, PASSWORD, child)
