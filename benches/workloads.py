"""What is run against a target. Each returns one sample: units per second, latency where one client waits, CPU of the target per unit."""
import concurrent.futures
import re
import statistics
import subprocess
import time

from targets import WORK, tool

POINT = ["simple", "extended", "prepared"]
BULK = ["select", "select-binary", "select-psql", "copy", "copy-binary"]
ALL = [*POINT, "latency", "connect", *BULK, "idle"]
UNITS = {**{name: "transaction" for name in [*POINT, "latency"]}, "connect": "session", **{name: "1,000 rows" for name in BULK}}
STREAMS = {
    "select": ("SELECT * FROM wide", False),
    "select-binary": ("SELECT * FROM wide", True),
    "copy-binary": ("COPY wide TO STDOUT (FORMAT binary)", False),
}
PSQL = {"select-psql": "SELECT * FROM wide", "copy": "COPY wide TO STDOUT"}


class Failed(Exception):
    """A workload did not run to its end."""


def failed(target, workload, text):
    raise Failed(f"{workload} against {target.name} failed: {text[-2000:].strip()}")


def pgbench(target, workload, length):
    """`length` is pgbench's own: `["-T", "3"]` or `["-t", "200"]`."""
    mode = {"latency": "prepared", "connect": "simple"}.get(workload, workload)
    clients = 4 if workload in POINT else 1
    command = [tool("pgbench"), "-n", "-S", "-M", mode, "-c", str(clients), "-j", str(min(clients, 2)), *length]
    prefix = WORK / "latency"
    if workload == "connect":
        command.append("-C")
    if workload == "latency":
        command += ["-l", f"--log-prefix={prefix}"]
    before, threads = target.cpu_seconds(), target.threads()
    done = subprocess.run(command, env=target.env, capture_output=True, text=True)
    answered = target.cpu_seconds()
    target.settle()
    used = target.cpu_seconds() - before
    if done.returncode != 0 or "number of failed transactions: 0 " not in done.stdout:
        failed(target, workload, done.stdout + done.stderr)

    def number(pattern):
        return float(re.search(pattern, done.stdout).group(1))
    count = number(r"actually processed: (\d+)")
    sample = {"per_second": number(r"tps = ([\d.]+)"), "cpu_us": used / count * 1e6, "behind_us": (used - answered + before) / count * 1e6}
    sample["threads"] = {name: (seconds - threads.get(name, 0.0)) / count * 1e6 for name, seconds in target.threads().items()}
    if workload == "connect":
        sample["latency_us"] = number(r"average connection time = ([\d.]+) ms") * 1000
    if workload == "latency":
        logs = list(WORK.glob(f"{prefix.name}.*"))
        times = sorted(int(line.split(" ", 3)[2]) for log in logs for line in log.read_text().splitlines())
        for log in logs:
            log.unlink()
        sample["latency_us"], sample["p99_us"] = statistics.median(times), times[len(times) * 99 // 100]
    return sample


def stream(target, workload, rows):
    """The whole of `wide`, read by a client that only counts bytes; logging in is not timed."""
    statement, binary = STREAMS[workload]
    client = target.connect()
    before, started = target.cpu_seconds(), time.monotonic()
    try:
        _, tag, _ = client.stream(statement, binary)
    except OSError as why:
        failed(target, workload, str(why))
    seconds = time.monotonic() - started
    client.close()
    if tag not in (f"SELECT {rows}", f"COPY {rows}"):
        failed(target, workload, f"the answer ended with `{tag}`")
    target.settle()
    return {"per_second": rows / seconds, "cpu_us": (target.cpu_seconds() - before) / rows * 1e9}


def psql(target, workload, rows):
    """The same by psql: libpq, and for SELECT all rows in memory before the first is printed."""
    before, started = target.cpu_seconds(), time.monotonic()
    done = subprocess.run(["psql", "-XAt", "-c", PSQL[workload]], env=target.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    seconds = time.monotonic() - started
    if done.returncode != 0:
        failed(target, workload, done.stderr)
    target.settle()
    return {"per_second": rows / seconds, "cpu_us": (target.cpu_seconds() - before) / rows * 1e9}


def idle(target, sessions):
    """KiB resident per idle session that has run a statement. A hundred are there before the first look: what a process needs once is not counted."""
    def opened(_number):
        client = target.connect()
        client.query("SELECT bbalance FROM pgbench_branches WHERE bid = 1")
        return client

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        first = list(threads.map(opened, range(min(sessions, 100))))
        before = still(target)
        more = list(threads.map(opened, range(sessions)))
    after = still(target)
    for client in first + more:
        client.close()
    return (after - before) / sessions


def still(target, most=15.0):
    """Resident KiB, when two seconds changed it by less than a five hundredth."""
    target.settle()
    deadline, seen = time.monotonic() + most, [target.rss_kib()]
    while time.monotonic() < deadline:
        time.sleep(0.5)
        seen.append(target.rss_kib())
        if len(seen) > 4 and max(seen[-5:]) - min(seen[-5:]) < seen[-1] / 500:
            break
    return seen[-1]
