"""Relay: smtp-source -> server -> smtp-sink, 10 kB messages, Mitsuke and Postfix by turns in the same run.

Parts: cpu (with throughput), latency, memory, search, deferred, tracked, postgres. Bounds: see BOUNDS; what limits each figure: docs/performance.md.
"""
import os
import time

from lib import filling, machine
from lib.generate import Idle, Latency, source
from lib.mitsuke import LIMITS, ROW, Mitsuke, settle, version
from lib.postfix import Postfix
from lib.postfix import version as postfix_version
from lib.postgres import Postgres
from lib.sink import Sink

PARTS = ("cpu", "latency", "memory", "postgres", "search", "tracked", "deferred")
SIZE = 10_000
SESSIONS = (1, 20, 100)
# Other work beyond this is told.
BUSY_CORES = 0.3
# figure: (must, aim); ratios to Postfix where a part says so.
BOUNDS = {
    "cpu-1": (1 / 4, 1 / 6), "cpu-20": (1 / 8, 1 / 12), "cpu-100": (1 / 8, 1 / 12),
    "rate-1": (1.5, 3), "rate-20": (3, 5), "rate-100": (3, 5),
    "dot-p99-20": (1 / 2, 1 / 5),
    "memory-idle": (60, 25), "memory-100-sessions": (150, 60), "memory-20x100MB": (300, 120), "memory-10000-idle": (300, 150),
    "search-p95": (200, 50),
    "deferred-start": (5, 1), "deferred-memory": (300, 100),
    "tracked-cpu-20": (1.5, 1.2),
    "postgres-cpu-20": (1 / 4, 1 / 8), "postgres-rate-20": (1.5, 3),
}


class Scale:
    """How much is done."""

    def __init__(self, quick, patience=0):
        self.patience = patience
        self.repetitions = 1 if quick else 3
        self.messages = {1: 300 if quick else 1500, 20: 1000 if quick else 4000, 100: 1000 if quick else 4000}
        self.latency = 600 if quick else 3000
        self.idle = 1000 if quick else 10_000
        self.large = (4, 20_000_000) if quick else (20, 100_000_000)
        self.kept = 20_000 if quick else 1_000_000
        self.quick = quick


class Run:
    """One measurement of one server."""

    def __init__(self, server, sink, sessions, count, beside=()):
        groups = [server.group, *beside]
        before, busy, own = [g.cpu() for g in groups], machine.busy_seconds(), _own_cpu()
        sunk, sink_cpu, disk = sink.count, sink.server.group.cpu(), machine.flushes(server.folder)
        start = time.monotonic()
        source(server.port, sessions, count, SIZE)
        end = sink.wait(sunk + count, 300)
        if end is None:
            raise SystemExit(f"{server.name}: {sink.count - sunk} of {count} messages reached the sink")
        self.seconds = end - start
        time.sleep(0.3)  # what is done after the delivery (settling, tracking) counts as well
        self.cpu_ms = (server.group.cpu() - before[0]) * 1e3 / count
        self.rate = count / self.seconds
        used = sum(g.cpu() - b for g, b in zip(groups, before)) + _own_cpu() - own + sink.server.group.cpu() - sink_cpu
        self.foreign = max(0.0, machine.busy_seconds() - busy - used) / (self.seconds + 0.3)
        self.flushes = None if disk is None else (machine.flushes(server.folder) - disk) / count


def _own_cpu():
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


def head(figures, binary, scale):
    """What the figures were measured with."""
    place = machine.folder()
    import json
    import platform
    figures.note(f"{version(binary)}, Postfix {postfix_version()}, Linux {platform.release()}, {machine.CORES} cores")
    figures.note(f"data in {place} ({machine.file_system(place)}), a small synced write takes {machine.sync_ms(place):.2f} ms")
    if machine.file_system(place) == "tmpfs":
        figures.note("CAUTION: a sync on tmpfs costs nothing; set BENCH_DIR to a folder on a disk")
    figures.note("raised beyond the defaults, settings of the operator: " + json.dumps(LIMITS))
    figures.note("raised beyond the defaults, row of the inbound server: " + json.dumps(ROW))
    if scale.quick:
        figures.note("QUICK: one repetition of few messages, for trying the harness out; not for comparing")


class Relay:
    """The group."""

    def __init__(self, binary, figures, only, scale):
        self.binary, self.figures, self.only, self.scale = binary, figures, only, scale
        self.filled = None

    def run(self):
        head(self.figures, self.binary, self.scale)
        sink = Sink(machine.free_port())
        try:
            for part in PARTS:
                if part in self.only:
                    print(f"{part}:", flush=True)
                    getattr(self, part)(sink)
        finally:
            if self.filled:
                self.filled[0].stop()
            sink.stop()

    def with_traces(self, sink):
        """A running server with a million messages in tracking, filled once for `tracked` and `search`; questions over them."""
        if not self.filled:
            full = Mitsuke(self.binary, sink.port, "tracked", start=False)
            self.filled = (full, filling.fill(self.binary, full, traces=self.scale.kept))
            full.start()
            settle(full, 120)
        return self.filled

    def tell(self, figure, value, unit, better="lower", **more):
        must, aim = BOUNDS[figure]
        self.figures.add(figure, value, unit, better, must, aim, **more)

    def alternate(self, sink, servers, sessions):
        """Runs by turns; for each server its runs."""
        count = self.scale.messages[sessions]
        for server in servers:
            Run(server, sink, min(sessions, 20), max(100, count // 10))  # warms caches and processes up
        runs = {server: [] for server in servers}
        for _ in range(self.scale.repetitions):
            for server in servers:
                machine.wait_until_quiet(self.scale.patience)
                runs[server].append(Run(server, sink, sessions, count))
        for server in servers:
            each = runs[server]
            told = ", ".join(f"{r.cpu_ms:.3f}" for r in each)
            rates = ", ".join(f"{r.rate:.0f}" for r in each)
            foreign = ", ".join(f"{r.foreign:.2f}" for r in each)
            flushed = "-" if each[0].flushes is None else f"{machine.median([r.flushes for r in each]):.2f}"
            self.figures.note(
                f"{server.title} at {sessions}: CPU ms/message {told}; messages/s {rates}; flushes/message {flushed}; other work on the machine {foreign} cores")
        if max(r.foreign for each in runs.values() for r in each) > BUSY_CORES:
            self.figures.note("CAUTION: other work took cores meanwhile; rates and times say little, CPU times are a little too high")
        return [runs[server] for server in servers]

    def cpu(self, sink):
        """CPU time of a delivered message, and delivered messages in a second."""
        ours, theirs = Mitsuke(self.binary, sink.port), Postfix(sink.port)
        try:
            for sessions in SESSIONS:
                a, b = self.alternate(sink, (ours, theirs), sessions)
                mine, peer = (machine.median([r.cpu_ms for r in runs]) for runs in (a, b))
                self.tell(f"cpu-{sessions}", mine, "ms", peer="postfix", peer_value=peer, measured="ratio")
                mine, peer = (machine.median([r.rate for r in runs]) for runs in (a, b))
                self.tell(f"rate-{sessions}", mine, "msg/s", "higher", peer="postfix", peer_value=peer, measured="ratio")
        finally:
            ours.stop()
            theirs.stop()

    def latency(self, sink):
        """From the final dot to its reply, 20 clients at once."""
        ours, theirs = Mitsuke(self.binary, sink.port), Postfix(sink.port)
        try:
            found = {ours: [], theirs: []}
            for server in found:
                Latency(server.port, 20, self.scale.latency // 10, SIZE).run()
            for _ in range(self.scale.repetitions):
                for server, values in found.items():
                    machine.wait_until_quiet(self.scale.patience)
                    before = sink.count
                    times = Latency(server.port, 20, self.scale.latency, SIZE).run()
                    values.append([machine.percentile(times, p) * 1e3 for p in (50, 99)])
                    sink.wait(before + self.scale.latency, 120)
            for server, values in found.items():
                told = "; ".join(f"{p50:.2f} / {p99:.2f}" for p50, p99 in values)
                self.figures.note(f"{server.title}: reply to the final dot, p50 / p99 in ms: {told}")
            mine, peer = (machine.median([v[1] for v in found[s]]) for s in (ours, theirs))
            self.tell("dot-p99-20", mine, "ms", peer="postfix", peer_value=peer, measured="ratio")
        finally:
            ours.stop()
            theirs.stop()

    def memory(self, sink):
        """PSS of the server: at rest, at work, with huge messages, with a crowd that says nothing."""
        ours = Mitsuke(self.binary, sink.port)
        try:
            settle(ours)
            self.tell("memory-idle", ours.group.memory_mb(), "MB")
            peak = machine.Peak(ours.group)
            before, count = sink.count, self.scale.messages[100] * 2
            source(ours.port, 100, count, SIZE)
            sink.wait(before + count, 120)
            self.tell("memory-100-sessions", peak.end(), "MB")
            peak, (clients, size), before = machine.Peak(ours.group), self.scale.large, sink.count
            Latency(ours.port, clients, clients, SIZE, stream=size).run(600)
            sink.wait(before + clients, 600)
            self.tell("memory-20x100MB", peak.end(), "MB")
        finally:
            ours.stop()
        ours = Mitsuke(self.binary, sink.port)
        try:
            crowd = Idle(ours.port, self.scale.idle)
            settle(ours)
            self.tell("memory-10000-idle", ours.group.memory_mb(), "MB")
            crowd.close()
        finally:
            ours.stop()

    def tracked(self, sink):
        """The same relay with a million messages in tracking before, against an empty one, by turns."""
        full, _ = self.with_traces(sink)
        empty = Mitsuke(self.binary, sink.port, "empty")
        try:
            a, b = self.alternate(sink, (full, empty), 20)
            mine, peer = (machine.median([r.cpu_ms for r in runs]) for runs in (a, b))
            self.tell("tracked-cpu-20", mine, "ms", peer="empty", peer_value=peer, measured="ratio")
        finally:
            empty.stop()

    def search(self, sink):
        """Searches through the API over a million messages."""
        ours, questions = self.with_traces(sink)
        all_times, found = filling.ask(ours, questions, self.scale.repetitions)
        for kind, (times, hits) in found.items():
            p50, p95 = (machine.percentile(times, p) * 1e3 for p in (50, 95))
            self.figures.note(f"{kind:28} p50 {p50:7.2f} ms, p95 {p95:7.2f} ms, {hits / len(times):5.1f} found, {len(times)} queries")
        self.figures.note(f"memory after the searches: {ours.group.memory_mb():.0f} MB")
        self.tell("search-p95", machine.percentile(all_times, 95) * 1e3, "ms")

    def deferred(self, sink):
        """A queue with a million deferred messages: from the start of the process until a new message has reached the sink."""
        ours = Mitsuke(self.binary, sink.port, "deferred", start=False)
        try:
            filling.fill(self.binary, ours, deferred=self.scale.kept)
            times, memory = [], []
            for _ in range(self.scale.repetitions):
                before, start = sink.count, time.monotonic()
                ours.launch()
                machine.wait_for_port(ours.port, 120, ours.server.runs)
                peak = machine.Peak(ours.group)
                Latency(ours.port, 1, 1, SIZE).run(120)
                end = sink.wait(before + 1, 120)
                if end is None:
                    raise SystemExit("no mail flowed")
                times.append(end - start)
                source(ours.port, 20, 500, SIZE)
                sink.wait(before + 501, 120)
                time.sleep(5 if not self.scale.quick else 1)
                memory.append(peak.end())
                waiting = ours.call("GET", "/queue/count?tenant=bench1")
                ours.halt()
            self.figures.note(f"starts: {', '.join(f'{t:.2f} s' for t in times)}; entries of one of the tenants afterwards: {waiting}")
            self.tell("deferred-start", machine.median(times), "s")
            self.tell("deferred-memory", max(memory), "MB")
        finally:
            ours.stop()

    def postgres(self, sink):
        """The same relay on PostgreSQL; the CPU of Mitsuke alone, since the database is another's."""
        cluster = Postgres()
        ours, theirs = Mitsuke(self.binary, sink.port, "on-postgres", store=cluster.url), Postfix(sink.port)
        try:
            before = cluster.group.cpu()
            a, b = self.alternate(sink, (ours, theirs), 20)
            count = (self.scale.messages[20] * self.scale.repetitions) + max(100, self.scale.messages[20] // 10)
            self.figures.note(f"PostgreSQL itself took {(cluster.group.cpu() - before) * 1e3 / count:.3f} ms CPU a message")
            mine, peer = (machine.median([r.cpu_ms for r in runs]) for runs in (a, b))
            self.tell("postgres-cpu-20", mine, "ms", peer="postfix", peer_value=peer, measured="ratio")
            mine, peer = (machine.median([r.rate for r in runs]) for runs in (a, b))
            self.tell("postgres-rate-20", mine, "msg/s", "higher", peer="postfix", peer_value=peer, measured="ratio")
        finally:
            ours.stop()
            theirs.stop()
            cluster.stop()
