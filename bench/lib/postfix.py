"""Postfix: the peer. A private instance with the durable defaults of Debian's package, which relays everything to the sink."""
import os
import re
import shutil
import subprocess
import time

from . import machine

MAIN = """compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
shlib_directory = /usr/lib/postfix
meta_directory = /etc/postfix
sendmail_path = /usr/sbin/sendmail
newaliases_path = /usr/bin/newaliases
mailq_path = /usr/bin/mailq
setgid_group = postdrop
mail_owner = postfix
inet_protocols = ipv4
inet_interfaces = 127.0.0.1
myhostname = postfix.bench.example
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
local_transport = error:no local mail
mynetworks = 127.0.0.0/8
relay_domains = gw.example
relay_transport = smtp:[127.0.0.1]:{sink}
default_transport = smtp:[127.0.0.1]:{sink}
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
message_size_limit = 157286400
smtp_tls_security_level =
smtpd_tls_security_level = none
smtp_dns_support_level = disabled
smtp_host_lookup = native
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
"""

# As Debian ships it: limits of processes (100) and of concurrency (20 to one destination) are Postfix's own defaults.
MASTER = """127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
showq unix n - n - - showq
postlog unix-dgram n - n - 1 postlogd
"""


def version():
    told = subprocess.run(["postconf", "-d", "mail_version"], capture_output=True, text=True).stdout
    return told.strip().rpartition(" ")[2] or "?"


class Postfix:
    """A running instance; `group` counts all its processes, the ended ones too."""

    name = title = "postfix"

    def __init__(self, sink_port):
        if not shutil.which("postfix"):
            raise SystemExit("Postfix is missing: tests/packages bench")
        if os.geteuid() != 0:
            raise SystemExit("the peer needs root: Postfix starts as root and nothing else")
        self.folder = os.path.join(machine.folder(), f"postfix-{os.getpid()}")
        self.port = machine.free_port()
        for part in ("etc", "queue", "data"):
            os.makedirs(os.path.join(self.folder, part))
        shutil.chown(self.folder + "/data", "postfix")
        self._write("etc/main.cf", MAIN.format(folder=self.folder, sink=sink_port))
        self._write("etc/master.cf", MASTER.format(port=self.port))
        self.group = machine.Group("postfix")
        started = subprocess.run(
            ["postfix", "-c", self.folder + "/etc", "start"], preexec_fn=self.group.enter, capture_output=True, text=True)
        machine.register(self)
        if started.returncode:
            raise SystemExit("postfix start: " + started.stdout + started.stderr)
        machine.wait_for_port(self.port)
        with open(self.folder + "/queue/pid/master.pid") as pid:
            self.master = int(re.sub(r"\D", "", pid.read()))
        self.group.root = self.master

    def _write(self, name, text):
        with open(os.path.join(self.folder, name), "w") as file:
            file.write(text)

    def stop(self):
        machine.forget(self)
        subprocess.run(["postfix", "-c", self.folder + "/etc", "stop"], capture_output=True)
        until = time.monotonic() + 15
        while os.path.exists(f"/proc/{getattr(self, 'master', 0)}/exe") and time.monotonic() < until:
            time.sleep(0.05)
        machine.end_all(self.group.pids() if self.group.path else [])
        self.group.remove()
        shutil.rmtree(self.folder, ignore_errors=True)
