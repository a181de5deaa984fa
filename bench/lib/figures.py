"""Figures: what was measured, what it must be, and the two forms of telling it.

Out: a table for people; bench/out/<group>.jsonl, one line a figure.
"""
import json
import os
import subprocess
import time

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Figures:
    """The figures of one run of a group."""

    def __init__(self, group):
        self.group, self.rows, self.notes = group, [], []
        self.commit = _commit()

    def add(self, figure, value, unit, better, must, aim, peer=None, peer_value=None, measured="value", ratio=None):
        """One figure. `must` and `aim` bound the value, or the ratio to the peer."""
        if ratio is None and peer_value:
            ratio = value / peer_value
        self.rows.append({
            "group": self.group, "figure": figure, "value": _short(value), "unit": unit, "peer": peer, "peer_value": _short(peer_value),
            "ratio": _short(ratio), "measured": measured, "better": better, "must": _short(must), "aim": _short(aim), "commit": self.commit,
            "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
        print("  " + _line(self.rows[-1]), flush=True)

    def note(self, text):
        self.notes.append(text)
        print("  " + text, flush=True)

    def write(self):
        os.makedirs(os.path.join(HERE, "out"), exist_ok=True)
        path = os.path.join(HERE, "out", self.group + ".jsonl")
        with open(path, "w") as out:
            for row in self.rows:
                out.write(json.dumps(row) + "\n")
        return path

    def table(self):
        head = ("figure", "value", "peer", "ratio", "must", "aim", "verdict")
        lines = [head] + [_cells(row) for row in self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        for number, line in enumerate(lines):
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
            if number == 0:
                print("  ".join("-" * width for width in widths))

    def failed(self):
        return [row["figure"] for row in self.rows if verdict(row) == "MISSES"]


def verdict(row):
    """Whether a figure is what it must be."""
    judged = row["ratio"] if row["measured"] == "ratio" else row["value"]
    if judged is None or row["must"] is None:
        return "-"
    def holds(bound):
        return judged <= bound if row["better"] == "lower" else judged >= bound
    if holds(row["aim"]):
        return "aim"
    return "must" if holds(row["must"]) else "MISSES"


def _cells(row):
    unit = row["unit"]
    bound = (lambda v: "-" if v is None else _ratio(v)) if row["measured"] == "ratio" else (lambda v: "-" if v is None else f"{v:g} {unit}")
    sign = "<= " if row["better"] == "lower" else ">= "
    peer = "-" if row["peer_value"] is None else f"{row['peer']} {row['peer_value']:g} {unit}"
    ratio = "-" if row["ratio"] is None else _ratio(row["ratio"])
    return (row["figure"], f"{row['value']:g} {unit}", peer, ratio, sign + bound(row["must"]), sign + bound(row["aim"]), verdict(row))


def _line(row):
    figure, value, peer, ratio, must, _, told = _cells(row)
    return f"{figure}: {value}, {peer}, {ratio} (must {must}): {told}"


def _ratio(value):
    return f"1/{1 / value:.2f}" if 0 < value < 0.995 else f"{value:.2f}x"


def _short(value):
    return value if value is None or isinstance(value, int) else float(f"{value:.4g}")


def _commit():
    told = subprocess.run(["git", "-C", HERE, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    if told.returncode:
        return "unknown"
    changed = subprocess.run(["git", "-C", HERE, "diff", "--quiet", "HEAD", "--", "../crates"], cwd=HERE).returncode
    return told.stdout.strip() + ("+changes" if changed else "")
