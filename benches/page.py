"""Samples to ratios, ratios to tables, the budget's verdicts, and docs/PERFORMANCE.md. Pure but for the self-test's word."""
import statistics

from workloads import BULK, POINT, UNITS

BEGIN, END = "<!-- by hand: begin -->", "<!-- by hand: end -->"
TARGETS = {
    "direct": "no proxy: the client at the server",
    "pgbouncer": "session mode",
    "pass": "the gateway, scope `*:*`, not recorded: journal, no classification needed",
    "judged": "the gateway, scope `read:*`, recorded: every statement parsed and judged, journal and recording on",
    "masked": "as `judged`, with a mask on the column `card` of the wide table (for point queries: of a table they do not touch)",
    "scanned": "as `judged`, with all eight detectors on every value",
}
WITHOUT_MASKS = ["pass", "judged"]
# Bounds of the design, in its words' order.
CPU_OF_PEER, RATE_OF_PEER, ADDED_US, BULK_PLAIN, BULK_MASKED, OPEN_MS, IDLE_KIB = 1.0, 1.0, 60, 0.8, 0.5, 2, 32
ELSEWHERE = [
    ("10,000 idle sessions on two cores", "this run opens 1,000; `--idle 10000` where the server has memory for as many"),
    ("policy decision: under 5 µs cached, 50 µs cold", "within the CPU figures above"),
    ("SSH and HTTP streaming: at least 0.8 of direct", "not spoken yet"),
]


def per_round(samples, workload, name, other, field, join):
    """The joined values of rounds, each of the one with the same round of the other; None where either is missing."""
    mine, theirs = samples.get(workload, {}).get(name), samples.get(workload, {}).get(other)
    if not mine or not theirs or any(not sample.get(field) for sample in mine + theirs):
        return None
    return [join(a[field], b[field]) for a, b in zip(mine, theirs)]


def spread(values):
    """Median and quartiles."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return middle, low, high


def ratio(samples, workload, name, other, field):
    values = per_round(samples, workload, name, other, field, lambda a, b: a / b)
    return spread(values) if values else None


def added(samples, workload, name, field="latency_us"):
    values = per_round(samples, workload, name, "direct", field, lambda a, b: a - b)
    return spread(values) if values else None


def own(samples, workload, name, field):
    values = [sample[field] for sample in samples.get(workload, {}).get(name, []) if sample.get(field)]
    return spread(values) if values else None


def cell(found, digits=2):
    if not found:
        return "-"
    middle, low, high = (f"{value:,.{digits}f}" for value in found)
    return f"{middle} ({low} to {high})"


def tables(result):
    """(title, note, header, rows) each; a table without a row is left out."""
    samples = result["samples"]
    rates = ["throughput, of direct", "of pgbouncer"]

    def compared(workload, name):
        cpu = own(samples, workload, name, "cpu_us") if name != "direct" else None
        return [cell(ratio(samples, workload, name, "direct", "per_second") if name != "direct" else None),
                cell(ratio(samples, workload, name, "pgbouncer", "per_second") if name != "pgbouncer" else None),
                cell(cpu, 1), cell(ratio(samples, workload, name, "pgbouncer", "cpu_us") if name != "pgbouncer" else None)]

    def rows(workloads):
        return [[workload, name, *compared(workload, name)] for workload in workloads for name in samples.get(workload, {})]
    yield ("Point queries, 4 clients", "`pgbench -S` in its three query modes. What is put off is the part of the CPU that was used behind the last answer.",
           ["mode", "target", *rates, "CPU µs a transaction", "of pgbouncer", "put off, µs"],
           [[*row, cell(own(samples, row[0], row[1], "behind_us"), 1)] for row in rows(POINT)])
    yield ("CPU of the gateway by thread", "The same of `judged`, µs a transaction, threads of one kind together.", ["thread", *POINT], by_thread(samples))
    yield ("Latency, one client", "`pgbench -S -M prepared`; the median over a round's transactions, in µs.",
           ["target", "median", "added to direct", "99th percentile added", "CPU µs a transaction", "of pgbouncer"],
           [[name, cell(own(samples, "latency", name, "latency_us"), 0), cell(added(samples, "latency", name) if name != "direct" else None, 0),
             cell(added(samples, "latency", name, "p99_us") if name != "direct" else None, 0), *compared("latency", name)[2:]]
            for name in samples.get("latency", {})])
    yield ("Opening a session", "`pgbench -S -C`, one client: TLS and login for every transaction. At the server and at pgbouncer the client does SCRAM,"
           " which costs libpq milliseconds; at the gateway it sends a token, and the gateway does SCRAM. pgbouncer keeps its own sessions to the server open.",
           ["target", "sessions, of direct", "of pgbouncer", "ms added to direct", "CPU µs a session"],
           [[name, *compared("connect", name)[:2], cell(milliseconds(samples, name) if name != "direct" else None), compared("connect", name)[2]]
            for name in samples.get("connect", {})])
    yield (f"{result['facts']['rows']:,} rows of ten columns", "`select`, `select-binary`, `copy-binary`: a client that only counts bytes. `copy`, "
           "`select-psql`: psql, which for a SELECT holds all rows in memory and is itself the slowest part.",
           ["workload", "target", *rates, "CPU µs a 1,000 rows", "of pgbouncer"], rows(BULK))
    memory = result.get("memory", {})
    yield ("Memory", f"What a fresh process with 100 sessions grows by with {memory.get('sessions', 0):,} more, divided by these: idle TLS sessions, server's side included, that have run one statement each.",
           ["target", "KiB a session"], [[name, f"{kib:.1f}"] for name, kib in memory.get("kib", {}).items()])


def by_thread(samples):
    def of(workload, thread):
        values = [sample["threads"].get(thread, 0.0) for sample in samples.get(workload, {}).get("judged", []) if "threads" in sample]
        return spread(values) if values else None
    names = {name for workload in POINT for sample in samples.get(workload, {}).get("judged", []) for name in sample.get("threads", {})}
    rows = [(name, [of(workload, name) for workload in POINT]) for name in names]
    rows = [row for row in rows if any(found and found[0] >= 0.1 for found in row[1])]
    return [[name, *(cell(found, 1) for found in cells)] for name, cells in sorted(rows, key=lambda row: -max(found[0] for found in row[1] if found))]


def milliseconds(samples, name):
    found = added(samples, "connect", name)
    return tuple(value / 1000 for value in found) if found else None


def budget(result):
    """(line, bound, measured, verdict): the design's budget, with policy, journal and recording on."""
    samples, lines = result["samples"], []

    def line(text, bound, found, good, digits=2):
        verdict = "not measured" if not found else "met" if good(found[0]) else "**missed**"
        lines.append((text, bound, cell(found, digits), verdict))
    for workload in POINT:
        line(f"CPU a transaction, {workload}: no more than pgbouncer", f"≤ {CPU_OF_PEER:.2f}",
             ratio(samples, workload, "judged", "pgbouncer", "cpu_us"), lambda value: value <= CPU_OF_PEER)
    for workload in POINT:
        line(f"throughput, {workload}: at least pgbouncer's", f"≥ {RATE_OF_PEER:.2f}",
             ratio(samples, workload, "judged", "pgbouncer", "per_second"), lambda value: value >= RATE_OF_PEER)
    line("median latency added, µs", f"< {ADDED_US}", added(samples, "latency", "judged"), lambda value: value < ADDED_US, 0)
    for workload in BULK:
        line(f"{workload}, of direct, no mask", f"≥ {BULK_PLAIN}", ratio(samples, workload, "judged", "direct", "per_second"),
             lambda value: value >= BULK_PLAIN)
    for workload in BULK:
        line(f"{workload}, of direct, one column masked", f"≥ {BULK_MASKED}", ratio(samples, workload, "masked", "direct", "per_second"),
             lambda value: value >= BULK_MASKED)
    line("opening a session adds, ms", f"< {OPEN_MS}", milliseconds(samples, "judged"), lambda value: value < OPEN_MS)
    for name in ("judged", "masked"):
        kib = result.get("memory", {}).get("kib", {}).get(name)
        lines.append((f"KiB resident per idle session, {name}", f"< {IDLE_KIB}", f"{kib:.1f}" if kib is not None else "-",
                      "not measured" if kib is None else "met" if kib < IDLE_KIB else "**missed**"))
    lines.extend((text, "", why, "not measured") for text, why in ELSEWHERE)
    return lines


def markdown(header, rows):
    out = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(out + ["| " + " | ".join(row) + " |" for row in rows])


def aligned(header, rows):
    widths = [max(len(row[at]) for row in [header, *rows]) for at in range(len(header))]
    return "\n".join("  ".join(value.ljust(width) for value, width in zip(row, widths)).rstrip() for row in [header, *rows])


VERDICT = ["budget", "bound", "measured", ""]


def plain(result):
    """For the terminal."""
    parts = [f"{title}\n{aligned(header, rows)}" for title, _, header, rows in tables(result) if rows]
    parts.append(aligned(VERDICT, [[field.strip("*") for field in line] for line in budget(result)]))
    return "\n\n".join([*parts, *words(result)])


def words(result):
    """What must be said of this run besides its figures."""
    facts = result["facts"]
    for name, why in result["skipped"].items():
        yield f"`{name}` is left out: {why}."
    if facts.get("recordings_mib") == 0:
        yield "The program measured here wrote no recordings: `recorded: yes` cost nothing yet."
    elif facts.get("recordings_mib"):
        yield f"Recordings took {facts['recordings_mib']} MiB."
    if facts["quick"]:
        yield "A quick run: it shows that everything runs, and is no measurement."
    if facts["load_before"] > 0.5:
        yield f"The machine was not at rest: its load was {facts['load_before']} when the run began."


def page(result, old):
    facts = result["facts"]
    hand = old.split(BEGIN, 1)[1].split(END, 1)[0].strip("\n") if BEGIN in old and END in old else "## Where the time goes"
    body = [
        "# Performance",
        "Written by `make bench`, but for the part between the two marks. Only ratios travel: the absolute figures are of the machine below.",
        f"""## How it was measured

- **Machine**: {facts['cores']} cores ({facts['processor']}), {facts['memory_gib']} GiB, {facts['kernel']}. Client, proxy and server share it.
- **Programs**: portcullis {facts.get('portcullis', '-')}, PostgreSQL {facts['postgresql']}, pgbouncer {facts['pgbouncer']}; {facts['date']}, {facts.get('minutes', '-')} minutes.
- **Alike for all**: TLS to the client and to the server, SCRAM at the server, journal `sync: fast`. Tables fit in the server's memory.
- **Interleaved**: {facts['rounds']} rounds of {facts['seconds']} s ({facts['bulk_rounds']} for rows), in each of which every target has its turn. A ratio is taken within a round; the
  tables give the median of the rounds and, in brackets, the quartiles.
- **CPU** is user and system time of all of the proxy's processes (`/proc/PID/stat`), until they rest again: work put off behind the last answer is
  counted too.
- **Rows**: {facts['rows']:,}, {facts.get('wide', '-')}; bigint, integer, numeric, double, boolean, timestamptz, uuid and three texts. One card number in ten is a valid one,
  one note in a hundred has an e-mail address.""",
        "\n".join(f"- `{name}`: {text}" for name, text in TARGETS.items()),
        *words(result),
        "## Budget\n\nOf `judged` where nothing else is said: policy, journal and recording on.",
        markdown(VERDICT, budget(result)),
    ]
    for title, note, header, rows in tables(result):
        if rows:
            body += [f"## {title}\n\n{note}", markdown(header, rows)]
    return "\n\n".join([*body, f"{BEGIN}\n\n{hand}\n\n{END}"]) + "\n"


def canned():
    def some(rate, cpu, **more):
        return [{"per_second": rate * (1 + at / 100), "cpu_us": cpu, **{name: value + at for name, value in more.items()}} for at in range(5)]
    point = {"direct": some(1000, 0.0), "pgbouncer": some(800, 50.0), "judged": [{**sample, "threads": {"worker": 40.0, "index": 8.0, "timer": 0.0}} for sample in some(816, 48.0)], "pass": some(790, 60.0)}
    bulk = {"direct": some(100, 0.0), "pgbouncer": some(90, 10.0), "judged": some(70, 30.0)}
    return {
        "facts": {"date": "2026-01-01", "cores": 2, "processor": "a processor", "memory_gib": 8, "kernel": "Linux 6.1", "postgresql": "15.1", "pgbouncer": "1.18.0",
                  "portcullis": "0.1.0", "load_before": 0.1, "rounds": 5, "bulk_rounds": 3, "seconds": 2, "scale": 10, "rows": 1000000, "quick": False,
                  "recordings_mib": 0, "wide": "130 MB", "minutes": 9.5},
        "skipped": {"masked": "masks are not enforced yet"},
        "samples": {"simple": point, "copy": bulk,
                    "latency": {"direct": some(1, 0.0, latency_us=100, p99_us=200), "judged": some(1, 40.0, latency_us=170, p99_us=300)},
                    "connect": {"direct": some(1, 0.0, latency_us=4000), "judged": some(1, 900.0, latency_us=5500)}},
        "memory": {"sessions": 1000, "kib": {"pgbouncer": 15.04, "judged": 33.0}},
    }


def self_test():
    result = canned()
    verdicts = {line: verdict.strip("*") for line, _, _, verdict in budget(result)}
    for text, verdict in {
        "CPU a transaction, simple: no more than pgbouncer": "met", "CPU a transaction, prepared: no more than pgbouncer": "not measured",
        "throughput, simple: at least pgbouncer's": "met", "median latency added, µs": "missed", "copy, of direct, no mask": "missed",
        "copy, of direct, one column masked": "not measured", "opening a session adds, ms": "met", "KiB resident per idle session, judged": "missed",
        "KiB resident per idle session, masked": "not measured", "SSH and HTTP streaming: at least 0.8 of direct": "not measured",
    }.items():
        assert verdicts[text] == verdict, (text, verdicts[text])
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == (3.0, 2.0, 4.0) and spread([7.0]) == (7.0, 7.0, 7.0)
    assert cell(ratio(result["samples"], "simple", "judged", "pgbouncer", "cpu_us")) == "0.96 (0.96 to 0.96)"
    first = page(result, "")
    kept = page(result, first.replace("## Where the time goes", "## Where the time goes\n\nTLS, half of it."))
    assert "TLS, half of it." in page(result, kept) and page(result, kept) == kept, "the part by hand is kept"
    assert "| simple | judged | 0.82 (0.82 to 0.82) | 1.02 (1.02 to 1.02) | 48.0 (48.0 to 48.0) | 0.96 (0.96 to 0.96) | - |" in first, first
    assert "`masked` is left out: masks are not" in first and "wrote no recordings" in first and "select-binary, of direct" in first
    assert all(len(table[2]) == len(row) for table in tables(result) for row in table[3]), "every row has a cell for each column"
    assert "| worker | 40.0 (40.0 to 40.0) | - | - |\n| index |" in first and "timer" not in first, first
    assert set(UNITS) >= set(result["samples"]) and "1.02" in plain(result)
    print("benches: tables, budget and page are as they should be")
