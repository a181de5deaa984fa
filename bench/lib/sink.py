"""Sink: smtp-sink of Postfix as the next hop, with its count read back."""
import os
import re
import shutil
import subprocess
import threading
import time

from . import machine


class Sink:
    """Takes everything, keeps nothing."""

    def __init__(self, port, listeners=1000):
        if not shutil.which("smtp-sink"):
            raise SystemExit("smtp-sink is missing: tests/packages bench")
        self.port, self.count = port, 0
        self.seen_at = time.monotonic()
        # smtp-sink wants another user when root starts it.
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        self.server = machine.Server(
            "sink", ["smtp-sink", "-c", "-m", "2000", *user, f"{machine.LOOPBACK}:{port}", str(listeners)], output=subprocess.PIPE,
            open_files=4096)
        threading.Thread(target=self._read, daemon=True).start()
        machine.wait_for_port(port, alive=self.server.runs)

    def _read(self):
        out, tail = self.server.process.stdout.fileno(), b""
        while piece := os.read(out, 65536):
            tail = (tail + piece)[-200:]
            if found := re.findall(rb"mesg=(\d+)", tail):
                self.count, self.seen_at = int(found[-1]), time.monotonic()

    def wait(self, count, seconds, patience=60):
        """When `count` messages had come; None when they do not within `seconds`, or nothing comes for `patience`."""
        until, last, moved = time.monotonic() + seconds, self.count, time.monotonic()
        while self.count < count:
            now = time.monotonic()
            if self.count != last:
                last, moved = self.count, now
            if now > until or now - moved > patience:
                return None
            time.sleep(0.002)
        return self.seen_at

    def stop(self):
        self.server.stop()
