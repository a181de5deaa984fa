"""Filling: a million messages in tracking, or in the queue, by the store's own code (`crates/store/examples/store_fill.rs`).

In:  a server that does not run yet. Out: its data directory filled; questions over what was put there, as parameters of the API.
Invariants: the example writes through the same writer, tables and indexer as the server does; only SMTP is left out.
"""
import http.client
import json
import os
import subprocess
import time
import urllib.parse

from . import machine

TENANTS = 50


def fill(binary, server, traces=0, deferred=0):
    """Makes tenants, fills, and gives the questions back."""
    example = _example(binary)
    server.start()
    server.set_up(TENANTS)
    server.halt()
    questions = os.path.join(server.folder, "questions.jsonl")
    subprocess.run([example, server.data, str(traces), str(deferred), questions], check=True, timeout=1800)
    with open(questions) as lines:
        return [json.loads(line) for line in lines]


def ask(server, questions, repetitions):
    """All questions; every second of each kind's samples is asked by the tenant's owner with an API key over HTTP."""
    found, everything = {}, []
    connection = http.client.HTTPConnection(machine.LOOPBACK, server.api_port, timeout=120)
    for _ in range(repetitions):
        for question in questions:
            tenant = question["tenant"]
            path = "/api/v1/tracking?" + urllib.parse.urlencode({name: _text(value) for name, value in question["query"].items()})
            key = server.key_of("bench" if tenant == 1 else f"bench{tenant - 1}") if tenant else _operator_key(server)
            start = time.monotonic()
            connection.request("GET", path, headers={"Authorization": "Bearer " + key})
            answer = connection.getresponse()
            told = answer.read()
            took = time.monotonic() - start
            if answer.status != 200:
                raise SystemExit(f"{question['kind']}: {path}: {answer.status} {told[:300]}")
            times, hits = found.get(question["kind"], ([], 0))
            times.append(took)
            found[question["kind"]] = (times, hits + len(json.loads(told)["items"]))
            everything.append(took)
    connection.close()
    return everything, found


def _text(value):
    return value if isinstance(value, str) else json.dumps(value)


def _operator_key(server):
    return server.key_of("system")


def _example(binary):
    """Builds the example beside the binary."""
    target = os.path.dirname(os.path.dirname(os.path.abspath(binary)))
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    environment = dict(os.environ, CARGO_TARGET_DIR=target)
    if os.environ.get("BENCH_FILL"):
        return os.environ["BENCH_FILL"]
    built = subprocess.run(
        [os.environ.get("CARGO", "cargo"), "build", "--release", "-q", "-p", "store", "--example", "store_fill"], cwd=here, env=environment)
    if built.returncode:
        raise SystemExit("store_fill was not built")
    return os.path.join(target, "release", "examples", "store_fill")
