"""Machine: processes under measurement, what they cost, and the certainty that they end.

In:  commands to run. Out: CPU seconds (exited children included), memory (summed PSS), what else the machine did meanwhile.
Invariants: every process started here is stopped when the program ends, also after Ctrl-C; only loopback is spoken to.
"""
import atexit
import ctypes
import os
import resource
import signal
import socket
import subprocess
import tempfile
import threading
import time

TICKS = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count() or 1
LOOPBACK = "127.0.0.1"
# Where Debian puts smtp-source and smtp-sink, which is not in every user's PATH.
os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
_V1 = "/sys/fs/cgroup/cpuacct"
_V2 = "/sys/fs/cgroup"
_started = []


def folder():
    """Where servers keep their data: BENCH_DIR, or a folder in the temporary one. On tmpfs a sync costs nothing: not a real figure."""
    base = os.environ.get("BENCH_DIR") or os.path.join(tempfile.gettempdir(), "mitsuke-bench")
    os.makedirs(base, exist_ok=True)
    os.chmod(base, 0o755)
    return base


def file_system(path):
    """Kind of the file system that holds `path`."""
    best, kind = "", "?"
    with open("/proc/mounts") as mounts:
        for line in mounts:
            words = line.split()
            if (os.path.realpath(path) + "/").startswith(words[1].rstrip("/") + "/") and len(words[1]) >= len(best):
                best, kind = words[1], words[2]
    return kind


def free_port():
    with socket.socket() as s:
        s.bind((LOOPBACK, 0))
        return s.getsockname()[1]


def answers(port):
    try:
        socket.create_connection((LOOPBACK, port), 1).close()
        return True
    except OSError:
        return False


def wait_for_port(port, seconds=60, alive=lambda: True):
    until = time.monotonic() + seconds
    while time.monotonic() < until and alive():
        if answers(port):
            return
        time.sleep(0.02)
    raise SystemExit(f"nothing answers on {LOOPBACK}:{port}")


class Group:
    """Processes counted together: a cpuacct or version 2 control group where one can be made, else a process and its descendants."""

    def __init__(self, name):
        self.root = None
        self.path = os.path.join(_V1 if os.path.isdir(_V1) else _V2, f"mitsuke-bench-{os.getpid()}-{name}")
        try:
            os.mkdir(self.path)
            with open(self.path + "/cgroup.procs"):
                pass
        except OSError:
            self.path = None

    def enter(self):
        """Runs in the child, before exec."""
        if self.path:
            with open(self.path + "/cgroup.procs", "w") as procs:
                procs.write(str(os.getpid()))

    def pids(self):
        if not self.path:
            return _tree(self.root)
        try:
            with open(self.path + "/cgroup.procs") as procs:
                return [int(p) for p in procs.read().split()]
        except OSError:
            return []

    def cpu(self):
        """Seconds of CPU until now."""
        if not self.path:
            return sum(_cpu_of(p) for p in _tree(self.root))
        if self.path.startswith(_V1):
            with open(self.path + "/cpuacct.usage") as usage:
                return int(usage.read()) / 1e9
        with open(self.path + "/cpu.stat") as stat:
            return int(dict(line.split() for line in stat)["usage_usec"]) / 1e6

    def memory_mb(self):
        """PSS of all: a page shared by n processes counts 1/n in each."""
        return sum(_pss_kb(p) for p in self.pids()) / 1024

    def remove(self):
        if self.path:
            for _ in range(20):
                try:
                    os.rmdir(self.path)
                    return
                except OSError:
                    time.sleep(0.05)


def _children():
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as stat:
                    found.setdefault(int(stat.read().rsplit(")", 1)[1].split()[1]), []).append(int(name))
            except OSError:
                pass
    return found


def _tree(root):
    if root is None:
        return []
    children, out, todo = _children(), [], [root]
    while todo:
        pid = todo.pop()
        out.append(pid)
        todo += children.get(pid, [])
    return out


def _cpu_of(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return sum(int(n) for n in fields[11:15]) / TICKS
    except OSError:
        return 0.0


def _pss_kb(pid):
    try:
        with open(f"/proc/{pid}/smaps_rollup") as rollup:
            for line in rollup:
                if line.startswith("Pss:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


class Server:
    """A process that serves until it is stopped."""

    def __init__(self, name, command, log=None, open_files=None, output=subprocess.DEVNULL, environment=None, user=None):
        self.name, self.log, self.group = name, log, Group(name)
        errors = open(log, "ab") if log else subprocess.DEVNULL
        libc = ctypes.CDLL(None)

        def before_exec():
            os.setsid()
            libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: ends with us, whatever becomes of us
            if open_files:
                raise_open_files(open_files)
            self.group.enter()
            if user:
                os.setgroups([])
                os.setgid(user[1])
                os.setuid(user[0])

        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=errors if log and output == subprocess.DEVNULL else output, stderr=errors,
            preexec_fn=before_exec, env=environment)
        self.group.root = self.process.pid
        _started.append(self)

    def runs(self):
        return self.process.poll() is None

    def last_words(self):
        if not self.log:
            return ""
        with open(self.log, errors="replace") as log:
            return log.read()[-2000:]

    def stop(self, seconds=40, signal_number=signal.SIGTERM):
        if self in _started:
            _started.remove(self)
        if self.runs():
            self.process.send_signal(signal_number)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        end_all(self.group.pids())
        self.group.remove()


def end_all(pids):
    """Ends what is left of a group."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            try:
                os.kill(pid, sign)
            except OSError:
                pass
        until = time.monotonic() + 3
        while pids and time.monotonic() < until:
            pids = [p for p in pids if os.path.exists(f"/proc/{p}/exe")]
            time.sleep(0.02)


def register(stoppable):
    """Something with `stop()` that must not outlive us."""
    _started.append(stoppable)


def forget(stoppable):
    if stoppable in _started:
        _started.remove(stoppable)


@atexit.register
def stop_all():
    for server in reversed(list(_started)):
        try:
            server.stop()
        except Exception as error:  # the others must be stopped all the same
            print(f"bench: {error}")


def end_on_signals():
    """Ctrl-C and SIGTERM run the ordinary end."""
    def leave(number, _frame):
        raise SystemExit(128 + number)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


def raise_open_files(wanted):
    """Open files up to `wanted`, beyond the hard limit when we may. What we got."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for top in (max(wanted, hard), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(wanted, soft), top), top))
            break
        except (ValueError, OSError):
            pass
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def busy_seconds():
    """CPU seconds of the whole machine."""
    with open("/proc/stat") as stat:
        v = [int(x) for x in stat.readline().split()[1:9]]
    return (v[0] + v[1] + v[2] + v[5] + v[6]) / TICKS


def wait_until_quiet(seconds, limit=0.3):
    """Waits, `seconds` at most, for a second in which the machine used less than `limit` cores."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        before, start = busy_seconds(), time.monotonic()
        time.sleep(1)
        if (busy_seconds() - before) / (time.monotonic() - start) < limit:
            return


def flushes(path):
    """Flushes of the disk below `path` until now; None when it is no plain disk."""
    device = os.stat(path).st_dev
    place = os.path.realpath(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    name = os.path.basename(os.path.dirname(place) if os.path.exists(place + "/partition") else place)
    with open("/proc/diskstats") as stats:
        for line in stats:
            words = line.split()
            if words[2] == name and len(words) > 18:
                return int(words[18])
    return None


def sync_ms(path):
    """What one small append with a sync costs on this disk: the median of 50."""
    times = []
    name = os.path.join(path, "sync-probe")
    with open(name, "wb", buffering=0) as probe:
        for _ in range(50):
            start = time.monotonic()
            probe.write(b"x" * 4096)
            os.fdatasync(probe.fileno())
            times.append(time.monotonic() - start)
    os.unlink(name)
    return sorted(times)[25] * 1e3


class Peak(threading.Thread):
    """The most memory a group has while this runs, looked at ten times a second."""

    def __init__(self, group):
        super().__init__(daemon=True)
        self.group, self.mb, self.over = group, 0.0, threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.1):
            self.mb = max(self.mb, self.group.memory_mb())

    def end(self):
        self.over.set()
        self.join()
        self.mb = max(self.mb, self.group.memory_mb())
        return self.mb


def median(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def percentile(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * part / 100))]
