"""Mitsuke: the server under test, with a node file of its own, tenants and limits made through its API.

In:  the binary, the sink's port. Out: a running server on loopback, one accepted domain `gw.example` whose inbound server is the sink.
Invariants: everything that is raised beyond its default stands in LIMITS and is printed with the results.
"""
import http.client
import json
import os
import shutil
import socket
import subprocess
import time

from . import machine

TENANT = "bench"
DOMAIN = "gw.example"
_MUCH = {"messages": 4_000_000_000, "per_s": 1}
# What the defaults would stop: one client, one sender, one domain, thousands of messages a second.
LIMITS = {
    "limits": {
        "rate_client_inbound": _MUCH, "rate_recipient": _MUCH, "rate_sender": _MUCH,
        "connections_per_address": 20_000, "connections_per_network": 20_000,
        "messages_per_connection": 1_000_000,
    },
    "queue": {"next_hop_concurrency": 100},
}
ROW = {"connections_max": 100, "per_connection_max": 1000}

NODE = """base = "mitsuke.localhost"
hostname = "gate.mitsuke.localhost"
data_dir = "data"
store = "{store}"

[[listeners]]
address = "127.0.0.1:{smtp}"
role = "mx"

[[listeners]]
address = "127.0.0.1:{api}"
role = "api"

[net]
allowed_private = ["127.0.0.0/8"]

# DNS without a network: the zone is answered before any resolver.
[[dns.static]]
name = "example"
type = "ZONE"

[[dns.static]]
name = "arpa"
type = "ZONE"

[[dns.static]]
name = "1.0.0.127.in-addr.arpa"
type = "PTR"
value = "client.sender.example"

[[dns.static]]
name = "client.sender.example"
type = "A"
value = "127.0.0.1"

[[dns.static]]
name = "sender.example"
type = "A"
value = "127.0.0.1"

[[dns.static]]
name = "sender.example"
type = "TXT"
value = "v=spf1 ip4:127.0.0.0/8 -all"
"""


class _Local(http.client.HTTPConnection):
    """HTTP over the local socket: whoever may open it is the operator."""

    def __init__(self, path):
        super().__init__("localhost", timeout=120)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Mitsuke:
    """A server and its folder."""

    name = "mitsuke"

    def __init__(self, binary, sink_port, name="mitsuke", store="embedded", start=True):
        self.binary, self.sink_port, self.title = os.path.abspath(binary), sink_port, name
        self.folder = os.path.join(machine.folder(), f"{name}-{os.getpid()}")
        self.data = os.path.join(self.folder, "data")
        os.makedirs(self.folder)
        self.port, self.api_port = machine.free_port(), machine.free_port()
        self.node = os.path.join(self.folder, "node.toml")
        with open(self.node, "w") as file:
            file.write(NODE.format(store=store, smtp=self.port, api=self.api_port))
        self.server, self.keys = None, {}
        machine.register(self)
        if start:
            self.start()
            self.set_up()

    @property
    def group(self):
        return self.server.group

    def start(self):
        """Starts the process; back when SMTP and API answer."""
        self.launch()
        machine.wait_for_port(self.port, 120, self.server.runs)
        machine.wait_for_port(self.api_port, 120, self.server.runs)
        until = time.monotonic() + 30
        while not os.path.exists(self.data + "/control.sock") and time.monotonic() < until:
            time.sleep(0.02)

    def launch(self):
        log = os.path.join(self.folder, "log")
        environment = dict(os.environ, MITSUKE_LOG="warn")
        self.server = machine.Server(
            self.title, [self.binary, "serve", "-c", self.node], log=log, open_files=65536, environment=environment)

    def halt(self):
        """Ends the process; the data stay."""
        if self.server:
            self.server.stop()
            self.server = None

    def stop(self):
        machine.forget(self)
        self.halt()
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, method, path, body=None, key=None):
        """One request over the local socket: as the operator, or with a key."""
        connection = _Local(self.data + "/control.sock")
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = "Bearer " + key
        try:
            connection.request(method, "/api/v1" + path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            told = answer.read()
        finally:
            connection.close()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {told.decode(errors='replace')[:600]}")
        return json.loads(told) if told else None

    def set_up(self, tenants=0):
        """Limits, tenant, domain, and so many further tenants for tracking."""
        self.call("PATCH", "/settings/system", {"document": LIMITS, "reason": "benchmark"})
        self.call("POST", "/tenants", {"name": TENANT, "title": "Benchmark", "state": "active"})
        row = dict(ROW, host=machine.LOOPBACK, port=self.sink_port)
        settings = {"services": ["inbound"], "inbound_servers": [row]}
        self.call("POST", f"/tenants/{TENANT}/domains", {"name": DOMAIN, "settings": settings}, self.key_of(TENANT))
        self.call("POST", f"/tenants/{TENANT}/domains/{DOMAIN}/confirm", {"reason": "benchmark"})
        for number in range(1, tenants):
            self.call("POST", "/tenants", {"name": f"{TENANT}{number}", "title": "Benchmark", "state": "active"})

    def key_of(self, tenant):
        """An API key of a tenant's owner."""
        if tenant not in self.keys:
            made = self.call("POST", f"/tenants/{tenant}/keys", {"name": "bench", "role": "operator" if tenant == "system" else "owner"})
            self.keys[tenant] = made["secret"]
        return self.keys[tenant]


def version(binary):
    told = subprocess.run([binary, "--version"], capture_output=True, text=True).stdout
    return told.strip()


def settle(mitsuke, seconds=30):
    """Waits until the server does nothing any more."""
    until = time.monotonic() + seconds
    before = mitsuke.group.cpu()
    while time.monotonic() < until:
        time.sleep(0.5)
        now = mitsuke.group.cpu()
        if now - before < 0.01:
            return
        before = now
