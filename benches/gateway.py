"""The gateway with its own issuer: one process, one connection for each way of being configured. The password is a real token."""
import json
import os
import subprocess
import urllib.parse
import urllib.request

from targets import DATABASE, PASSWORD, USER, WORK, Target, answers, end, free_port, start, wait_for

TENANT, CLIENT, GROUP = "4c5a0d3e-0000-4000-8000-00000000be9c", "9f2c0000-0000-4000-8000-00000000be9c", "3fa80000-0000-4000-8000-00000000be9c"
API = "6b1f0f0e-0000-4000-8000-00000000be9c"
TIED = ["setpriv", "--pdeathsig", "TERM", "--"]

DETECTORS = "[credit-card, email, us-ssn, iban, phone, api-key, jwt, private-key]"
# Connection: its scope, whether recorded, its mask without `name` and `connections`.
CONNECTIONS = {
    "pass": ('"*:*"', "no", None),
    "judged": ('"read:*"', "yes", None),
    "masked": ('"read:*"', "yes", '{ columns: ["public.wide.card"], with: last4 }'),
    "scanned": ('"read:*"', "yes", f"{{ detect: {DETECTORS}, with: redact }}"),
}


class Refused(Exception):
    """The program does not take the documents; the text is its first word on why."""


class Issuer:
    """`portcullis dev-idp` with one application in one group."""

    def __init__(self, program):
        self.program, self.port = program, free_port()
        directory, log = WORK / "directory.yaml", WORK / "dev-idp.log"
        directory.write_text(f"""
tenant: {TENANT}
token_lifetime: 4h
apis: [{{ display_name: Portcullis, client_id: {API}, identifier_uris: [api://portcullis], requested_access_token_version: 2 }}]
applications: [{{ display_name: bench-agent, client_id: {CLIENT}, object_id: {CLIENT}, secret: bench-agent-secret }}]
groups: [{{ display_name: bench-agents, object_id: {GROUP}, members: [bench-agent] }}]
""")
        child = start(TIED + [str(program), "dev-idp", "--listen", f"127.0.0.1:{self.port}", "--directory", str(directory)], log)
        wait_for("dev-idp", answers(self.port), child, log)
        form = {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": "bench-agent-secret", "scope": "api://portcullis/.default"}
        url = f"http://127.0.0.1:{self.port}/{TENANT}/oauth2/v2.0/token"
        with urllib.request.urlopen(url, urllib.parse.urlencode(form).encode()) as answer:
            self.token = json.load(answer)["access_token"]


class Gateway:
    """One process. `connections` as in CONNECTIONS; a fixed port outlives a restart."""

    def __init__(self, issuer, upstream, name, connections):
        self.issuer, self.name, self.home, self.connections = issuer, name, WORK / name, connections
        self.data, self.config, self.log = self.home / "data", self.home / "gateway.yaml", WORK / f"{name}.log"
        self.port, self.child = free_port(), None
        self.home.mkdir(exist_ok=True)
        self.config.write_text(f"""
listen: {{ web: "127.0.0.1:0", postgres: "127.0.0.1:{self.port}" }}
data: {self.data}
policy: [policy.yaml]
limits: {{ drain: 5s }}
""")
        (self.home / "policy.yaml").write_text(policy(issuer.port, upstream.port, connections))

    def cli(self, *arguments):
        command = [str(self.issuer.program), *arguments]
        env = {**os.environ, "PORTCULLIS_CONFIG": str(self.config), "BENCH_UPSTREAM_PASSWORD": PASSWORD}
        return subprocess.run(command, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def check(self):
        """Raises `Refused` where the program does not enforce what the documents ask for."""
        done = self.cli("check", "--config", str(self.config))
        if done.returncode != 0:
            said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if "error" in line]
            raise Refused((said or ["no word why"])[0].removeprefix("error: ").replace(f"{self.home}/", ""))

    def start(self):
        listeners = self.data / "listeners.json"
        listeners.unlink(missing_ok=True)
        command = TIED + [str(self.issuer.program), "gateway", "--config", str(self.config)]
        self.child = start(command, self.log, env={**os.environ, "BENCH_UPSTREAM_PASSWORD": PASSWORD})
        wait_for("the gateway", lambda: listeners.exists() and answers(self.port)(), self.child, self.log)

    def stop(self):
        """Whether it stopped in order."""
        return not end(self.child, 60) and self.child.returncode == 0

    def target(self, connection, name=None):
        return Target(name or connection, self.port, connection, self.issuer.token, self.child)


def policy(idp_port, upstream_port, connections):
    text = f"""
identity:
  - name: bench
    kind: entra
    tenant: {TENANT}
    authority: http://127.0.0.1:{idp_port}
    audience: ["{API}"]
    groups: {{ bench-agents: "{GROUP}" }}
connections:
"""
    for name in connections:
        text += f"""
  {name}:
    protocol: postgres
    address: 127.0.0.1:{upstream_port}
    tls: {{ mode: require }}
    database: {DATABASE}
    credential: {{ username: {USER}, password: env:BENCH_UPSTREAM_PASSWORD }}
"""
    text += "grants:\n"
    for name, (scope, recorded, _) in connections.items():
        text += f"  - {{ connection: {name}, to: group:bench-agents, when: always, scope: {scope}, recorded: {recorded} }}\n"
    masks = ""
    for name, (_, _, mask) in connections.items():
        for number, one in enumerate([mask] if isinstance(mask, str) else mask or []):
            masks += f"  - {{ name: {name} {number + 1}, connections: [{name}], {one.strip('{} ')} }}\n"
    return text + (f"masks:\n{masks}" if masks else "")


def accepted(issuer, upstream, name, connections):
    """A gateway with those of the connections that the program takes, not yet started, and why it refused the others."""
    taken, skipped = dict(connections), {}
    for connection, (_, _, mask) in connections.items():
        if mask:
            try:
                Gateway(issuer, upstream, f"{name}-check", {connection: connections[connection]}).check()
            except Refused as why:
                skipped[connection] = f"this program refuses it: {why}"
                del taken[connection]
    gateway = Gateway(issuer, upstream, name, taken)
    gateway.check()
    return gateway, skipped
