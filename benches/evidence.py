"""What the soak judges by: the journal's files read without the gateway, and whether memory stays flat. Pure but for reading files."""
import json
import pathlib
import statistics
import struct
import zlib

MAGIC, HEADER, FRAME = b"PCJRNL\x1a\n", 96, 16


class Damaged(Exception):
    """The journal's files are not as docs/design/0003-journal-format.md says."""


def events(folder):
    """Every (sequence, event), oldest first; checksums and the unbroken count are checked on the way."""
    expected = None
    for path in sorted(pathlib.Path(folder).glob("*.seg")):
        data, at = path.read_bytes(), HEADER
        if data[:8] != MAGIC or zlib.crc32(data[:92]) != struct.unpack_from("<I", data, 92)[0]:
            raise Damaged(f"{path.name}: the header")
        expected = struct.unpack_from("<Q", data, 32)[0] if expected is None else expected
        while at < len(data):
            if len(data) - at < FRAME:
                raise Damaged(f"{path.name}: an incomplete frame at {at}")
            length, crc, sequence = struct.unpack_from("<IIQ", data, at)
            payload = data[at + FRAME:at + FRAME + length]
            if len(payload) < length or zlib.crc32(struct.pack("<Q", sequence), zlib.crc32(payload)) != crc:
                raise Damaged(f"{path.name}: the frame at {at}")
            if sequence != expected:
                raise Damaged(f"{path.name}: event {sequence} where {expected} was due")
            yield sequence, json.loads(payload)
            expected, at = sequence + 1, at + FRAME + length


class Journal:
    """What the soak asks of it."""

    def __init__(self, folder):
        self.count, self.starts, self.refused = 0, [], []
        self.texts, self.bound = set(), {}  # ids in texts; fingerprints of bind values by the writer's name
        self.recorded, self.sealed, self.ended = set(), set(), set()  # sessions
        self.inserts = {}  # ids in texts by session
        for _, event in events(folder):
            self.count += 1
            kind = event["event"]
            if kind == "decision":
                self.decision(event)
            elif kind == "gateway_started":
                self.starts.append(event["recovered_bytes"])
            elif kind == "session_ended":
                self.ended.add(event["session"])
            elif kind == "recording_sealed":
                self.sealed.add(event.get("session"))

    def decision(self, event):
        if event["decision"] != "allow":
            self.refused.append(event)
            return
        if any(one.get("obligation") == "record" for one in event.get("obligations", [])):
            self.recorded.add(event["session"])
        text = event.get("text", "")
        if " -- bound " in text:
            self.bound.setdefault(text.rsplit(" ", 1)[1], set()).add(event.get("binds"))
        elif text.startswith("INSERT INTO ran"):
            one = text.split("'")[1]
            self.texts.add(one)
            self.inserts.setdefault(event["session"], []).append(one)


def missing(ran, journal):
    """Ids that ran upstream and whose decision the journal does not have. Bound ones are `NAME:NUMBER` and are counted for each name."""
    lost, bound = [], {}
    for one in ran:
        name, _ = one.split(":")
        if name.startswith("b"):
            bound.setdefault(name, []).append(one)
        elif one not in journal.texts:
            lost.append(one)
    for name, ids in bound.items():
        short = len(ids) - len(journal.bound.get(name, ()))
        lost += ids[-short:] if short > 0 else []
    return lost


SLOPE_BOUND, QUARTER_BOUND = 0.01, 0.05
LONG_ENOUGH = 5 * 60


def slope(samples):
    """Theil-Sen: the median of all pairs' slopes, KiB a minute. One jump does not move it."""
    pairs = [(b[1] - a[1]) / (b[0] - a[0]) * 60 for at, a in enumerate(samples) for b in samples[at + 1:] if b[0] > a[0]]
    return statistics.median(pairs) if pairs else 0.0


def flat(lives, seconds):
    """`lives`: for each process its samples (seconds since the soak began, KiB) once all sessions were there. The words, and whether it holds.

    Memory is flat when, after the first third of each life, it grows by less than 1% a minute, and the last quarter's median is within 5% of
    the second quarter's.
    """
    words, good = [], True
    for number, samples in enumerate(lives, 1):
        warm = samples[len(samples) // 3:]
        if len(warm) < 3:
            words.append(f"life {number}: too few samples")
            continue
        middle = statistics.median(kib for _, kib in warm)
        share = slope(warm) / middle
        good &= share < SLOPE_BOUND
        words.append(f"life {number}: {middle / 1024:.1f} MiB, {share:+.2%} a minute (bound {SLOPE_BOUND:.0%})")
    quarters = [[kib for samples in lives for at, kib in samples if low <= at / seconds < low + 0.25] for low in (0.25, 0.75)]
    if all(quarters):
        second, last = map(statistics.median, quarters)
        good &= abs(last / second - 1) <= QUARTER_BOUND
        words.append(f"last quarter to second quarter: {last / second - 1:+.1%} (bound {QUARTER_BOUND:.0%})")
    return words, good


def self_test():
    level = [[(at * 5, 50_000 + at % 3) for at in range(60)], [(300 + at * 5, 50_500 + at % 3) for at in range(60)]]
    assert flat(level, 600)[1], flat(level, 600)
    assert not flat([[(at * 5, 50_000 + at * 60) for at in range(120)]], 600)[1], "60 KiB in 5 s are a leak"
    assert not flat([level[0], [(at, kib * 1.1) for at, kib in level[1]]], 600)[1], "a tenth more is not flat"
    assert flat([[(at * 5, 80_000 if at == 3 else 50_000) for at in range(60)], level[1]], 600)[1], "one jump is no leak"

    class Canned:
        texts, bound = {"s1:0", "s1:1"}, {"b1": {"x", "y"}}
    assert missing(["s1:0", "s1:1", "b1:0", "b1:1"], Canned) == [] and missing(["s1:2", "b1:0", "b1:1", "b1:2", "b2:0"], Canned) == ["s1:2", "b1:2", "b2:0"]
    print("benches: the soak's verdicts are as they should be")
