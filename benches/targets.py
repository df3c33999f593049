"""What is measured: a fresh PostgreSQL server, pgbouncer before it, the gateway before it. All end with the program."""
import atexit
import glob
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK = pathlib.Path(tempfile.mkdtemp(prefix="portcullis-bench-"))
BIN = pathlib.Path(sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]))[-1])
USER, PASSWORD, DATABASE = "bench", "bench-upstream-password", "bench"
RUN_AS = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups"] if os.getuid() == 0 else ["setpriv"]
children = []


@atexit.register
def clean_up():
    for child in reversed(children):
        if child.poll() is None:
            child.send_signal(signal.SIGINT if "postgres" in child.args[-1] else signal.SIGTERM)
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
    shutil.rmtree(WORK, ignore_errors=True)


def start(command, log, **options):
    """A child that ends with us, even when we are killed."""
    with open(log, "wb") as out:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **options)
    children.append(child)
    return child


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


def give_to_server(path):
    if os.getuid() == 0:
        shutil.chown(path, "postgres", "postgres")


class Target:
    """Where pgbench connects, and the process whose CPU is counted (None: the server itself, not counted)."""

    def __init__(self, name, port, user, password, pid=None):
        self.name, self.port, self.pid = name, port, pid
        self.env = {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": user, "PGPASSWORD": password,
                    "PGDATABASE": DATABASE, "PGSSLMODE": "require"}

    def cpu_seconds(self):
        if self.pid is None:
            return 0.0
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def certificate():
    crt, key = WORK / "server.crt", WORK / "server.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
               "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(crt)]
    subprocess.run(command, check=True, capture_output=True)
    key.chmod(0o600)
    give_to_server(key)
    return crt, key


def direct(scale):
    """The server, filled by pgbench."""
    WORK.chmod(0o711)
    home, port = WORK / "server", free_port()
    home.mkdir()
    give_to_server(home)
    password = WORK / "password"
    password.write_text(PASSWORD)
    password.chmod(0o644)
    subprocess.run(RUN_AS + ["--", str(BIN / "initdb"), "-D", str(home / "data"), "-U", USER, "-A", "scram-sha-256", "--pwfile", str(password),
                             "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"], check=True, capture_output=True, cwd=home)
    crt, key = certificate()
    settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": home, "fsync": "off", "shared_buffers": "512MB",
                "max_connections": 300, "ssl": "on", "ssl_cert_file": crt, "ssl_key_file": key, "autovacuum": "off"}
    with open(home / "data/postgresql.conf", "a") as conf:
        conf.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
    log = WORK / "server.log"
    child = start(RUN_AS + ["--pdeathsig", "QUIT", "--", str(BIN / "postgres"), "-D", str(home / "data")], log, cwd=home)
    status = home / "data/postmaster.pid"
    wait_for("PostgreSQL", lambda: status.exists() and "ready" in status.read_text().split(), child, log)
    target = Target("direct", port, USER, PASSWORD)
    subprocess.run(["createdb", DATABASE], env={**target.env, "PGDATABASE": "postgres"}, check=True)
    subprocess.run([str(BIN / "pgbench"), "-i", "-q", "-s", str(scale)], env=target.env, check=True, capture_output=True)
    return target


def pgbouncer(server):
    home, port, log = WORK / "pgbouncer", free_port(), WORK / "pgbouncer.log"
    home.mkdir()
    shutil.copy(WORK / "server.crt", home)
    shutil.copy(WORK / "server.key", home)
    (home / "users").write_text(f'"{USER}" "{PASSWORD}"\n')
    (home / "pgbouncer.ini").write_text(f"""
[databases]
{DATABASE} = host=127.0.0.1 port={server.port} dbname={DATABASE} user={USER} password={PASSWORD}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {home}/users
pool_mode = session
default_pool_size = 200
max_client_conn = 400
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
    return Target("pgbouncer", port, USER, PASSWORD, child.pid)


TENANT, CLIENT, GROUP = "4c5a0d3e-0000-4000-8000-00000000be9c", "9f2c0000-0000-4000-8000-00000000be9c", "3fa80000-0000-4000-8000-00000000be9c"
API = "6b1f0f0e-0000-4000-8000-00000000be9c"


def gateway(server, program):
    """The gateway with its own `dev-idp`, a pass-through grant, journal on; the password is a real token."""
    home, idp_port = WORK / "gateway", free_port()
    home.mkdir()
    (home / "directory.yaml").write_text(f"""
tenant: {TENANT}
token_lifetime: 4h
apis: [{{ display_name: Portcullis, client_id: {API}, identifier_uris: [api://portcullis], requested_access_token_version: 2 }}]
applications: [{{ display_name: bench-agent, client_id: {CLIENT}, object_id: {CLIENT}, secret: bench-agent-secret }}]
groups: [{{ display_name: bench-agents, object_id: {GROUP}, members: [bench-agent] }}]
""")
    (home / "gateway.yaml").write_text(f"""
listen: {{ web: "127.0.0.1:0", postgres: "127.0.0.1:0" }}
data: {home}/data
policy: [policy.yaml]
""")
    (home / "policy.yaml").write_text(f"""
identity:
  - name: bench
    kind: entra
    tenant: {TENANT}
    authority: http://127.0.0.1:{idp_port}
    audience: ["{API}"]
    groups: {{ bench-agents: "{GROUP}" }}
connections:
  bench:
    protocol: postgres
    address: 127.0.0.1:{server.port}
    tls: {{ mode: require }}
    database: {DATABASE}
    credential: {{ username: {USER}, password: env:BENCH_UPSTREAM_PASSWORD }}
grants:
  - connection: bench
    to: group:bench-agents
    when: always
    scope: "*:*"
    recorded: yes
""")
    tied = ["setpriv", "--pdeathsig", "TERM", "--", str(program)]
    log = WORK / "dev-idp.log"
    child = start(tied + ["dev-idp", "--listen", f"127.0.0.1:{idp_port}", "--directory", str(home / "directory.yaml")], log)
    wait_for("dev-idp", answers(idp_port), child, log)
    log = WORK / "gateway.log"
    child = start(tied + ["gateway", "--config", str(home / "gateway.yaml")], log, env={**os.environ, "BENCH_UPSTREAM_PASSWORD": PASSWORD})
    listeners = home / "data/listeners.json"

    def bound():
        try:
            return json.loads(listeners.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
    address = wait_for("the gateway", bound, child, log)["postgres"]
    port = int(str(address).rsplit(":", 1)[1])
    form = {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": "bench-agent-secret", "scope": "api://portcullis/.default"}
    url = f"http://127.0.0.1:{idp_port}/{TENANT}/oauth2/v2.0/token"
    with urllib.request.urlopen(url, urllib.parse.urlencode(form).encode()) as answer:
        token = json.load(answer)["access_token"]
    return Target("gateway", port, "bench", token, child.pid)
