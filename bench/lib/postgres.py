"""PostgreSQL: a private cluster on loopback with its durable defaults, gone at the end."""
import os
import pwd
import shutil
import signal
import subprocess

from . import machine

PROGRAMS = ("/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/15/bin")


class Postgres:
    """A running cluster."""

    def __init__(self):
        programs = next((p for p in PROGRAMS if os.path.exists(p + "/postgres")), None)
        if not programs:
            raise SystemExit("PostgreSQL is missing: tests/packages bench")
        self.folder = os.path.join(machine.folder(), f"postgres-{os.getpid()}")
        data = self.folder + "/data"
        os.makedirs(data, mode=0o700)
        user = None
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            user = (owner.pw_uid, owner.pw_gid)
            os.chown(data, *user)
        os.chmod(self.folder, 0o755)
        machine.register(self)
        self.server = None
        made = subprocess.run(
            [programs + "/initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"],
            capture_output=True, text=True, cwd="/", user=user and user[0], group=user and user[1], extra_groups=[] if user else None)
        if made.returncode:
            raise SystemExit("initdb: " + made.stderr[-600:])
        self.port = machine.free_port()
        settings = f"listen_addresses = '127.0.0.1'\nport = {self.port}\nunix_socket_directories = ''\nmax_connections = 100\n"
        with open(data + "/postgresql.auto.conf", "w") as file:
            file.write(settings)
        self.server = machine.Server("postgres", [programs + "/postgres", "-D", data], log=self.folder + "/log", user=user)
        machine.wait_for_port(self.port, alive=self.server.runs)
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres?sslmode=disable"

    @property
    def group(self):
        return self.server.group

    def stop(self):
        machine.forget(self)
        if self.server:
            self.server.stop(signal_number=signal.SIGINT)
        shutil.rmtree(self.folder, ignore_errors=True)
