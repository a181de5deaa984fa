"""Generators: smtp-source for throughput, and a loop of our own where times of single replies, huge messages or idle clients are wanted.

Invariants: bounded in count and time; only loopback.
"""
import select
import socket
import subprocess
import time

from . import machine

SENDER = "bench@sender.example"
RECIPIENT = "user@gw.example"
SUBJECT = "Quarterly report of the bench"


def source(port, sessions, count, size, seconds=300):
    """smtp-source: one connection each message, recipients `<n>user@gw.example`. Back when the last is accepted."""
    command = [
        "smtp-source", "-4", "-s", str(sessions), "-l", str(size), "-m", str(count), "-C", "5", "-M", "client.sender.example",
        "-f", SENDER, "-t", RECIPIENT, "-N", "-S", SUBJECT, f"{machine.LOOPBACK}:{port}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    if ended.returncode:
        raise SystemExit("smtp-source: " + (ended.stderr or ended.stdout).strip()[-400:])


def message(number, size):
    """Header and body in canonical form, dots doubled, final dot."""
    head = (
        f"From: Sender <{SENDER}>\r\nTo: <{RECIPIENT}>\r\nSubject: {SUBJECT} {number}\r\n"
        f"Date: Tue, 24 Nov 2026 05:46:04 +0000\r\nMessage-ID: <{number}.{time.time_ns()}@sender.example>\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n")
    line = "the quick report of our meeting agenda, please find the invoice number\r\n"
    body = line * max(1, (size - len(head)) // len(line))
    return (head + body).encode() + b".\r\n"


class _Client:
    __slots__ = ("socket", "step", "received", "to_send", "number", "dot_at", "stream_left")


class Latency:
    """`sessions` clients side by side, a connection each message; times from the final dot to its reply.

    With `stream` each message has so many octets, made while they are sent.
    """

    def __init__(self, port, sessions, count, size, stream=0):
        self.port, self.sessions, self.count, self.size, self.stream = port, sessions, count, size, stream
        self.poll = select.epoll()
        self.clients, self.begun, self.done, self.times, self.refused = {}, 0, 0, [], []
        self.block = b"the quick report of our meeting agenda, please find the invoice number\r\n" * 3600

    def run(self, seconds=300):
        until = time.monotonic() + seconds
        for _ in range(min(self.sessions, self.count)):
            self._open()
        while self.done < self.count:
            if time.monotonic() > until:
                raise SystemExit(f"{self.done} of {self.count} messages were answered within {seconds} s")
            for fd, event in self.poll.poll(1):
                client = self.clients.get(fd)
                if client:
                    self._turn(client, event)
        for client in list(self.clients.values()):
            self._close(client)
        if self.refused:
            raise SystemExit(f"{len(self.refused)} messages were refused: {self.refused[0]}")
        return self.times

    def _open(self):
        client = _Client()
        client.socket = socket.socket()
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.socket.connect((machine.LOOPBACK, self.port))
        client.socket.setblocking(False)
        client.step, client.received, client.to_send, client.number = 0, b"", b"", self.begun
        client.stream_left, client.dot_at = 0, None
        self.begun += 1
        self.clients[client.socket.fileno()] = client
        self.poll.register(client.socket.fileno(), select.EPOLLIN)

    def _close(self, client):
        self.clients.pop(client.socket.fileno(), None)
        self.poll.unregister(client.socket.fileno())
        client.socket.close()

    def _turn(self, client, event):
        if event & select.EPOLLOUT:
            self._push(client)
        if event & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            try:
                piece = client.socket.recv(65536)
            except BlockingIOError:
                return
            except OSError as error:
                piece = b"" if not client.received else b""
                self.refused.append(f"step {client.step}: {error}")
            if not piece:
                self._ended(client, f"closed at step {client.step}")
                return
            client.received += piece
            while b"\n" in client.received:
                line, client.received = client.received.split(b"\n", 1)
                if line[3:4] != b"-":
                    self._reply(client, line)
                    if client.step == 6:
                        return

    def _reply(self, client, line):
        ours = (
            b"EHLO client.sender.example\r\n", f"MAIL FROM:<{SENDER}>\r\n".encode(), f"RCPT TO:<{client.number % 1000}{RECIPIENT}>\r\n".encode(),
            b"DATA\r\n")
        if line[:1] not in b"23":
            self._ended(client, line.decode(errors="replace").strip())
            return
        if client.step < 4:
            self._send(client, ours[client.step])
        elif client.step == 4:
            whole = message(client.number, self.size)
            if self.stream:
                client.stream_left = self.stream
                whole = whole[:-3]
            self._send(client, whole)
        else:
            self.times.append(time.monotonic() - client.dot_at)
            client.socket.send(b"QUIT\r\n")
            self._ended(client, None)
            return
        client.step += 1

    def _send(self, client, octets):
        client.to_send += octets
        self._push(client)

    def _push(self, client):
        try:
            while client.to_send or client.stream_left:
                if not client.to_send:
                    client.to_send = self.block[:client.stream_left]
                    client.stream_left -= len(client.to_send)
                    if not client.stream_left:
                        client.to_send += b"\r\n.\r\n"
                client.to_send = client.to_send[client.socket.send(client.to_send):]
        except BlockingIOError:
            self.poll.modify(client.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)
            return
        except OSError as error:
            self._ended(client, str(error))
            return
        if client.step >= 4:
            client.dot_at = time.monotonic()
        self.poll.modify(client.socket.fileno(), select.EPOLLIN)

    def _ended(self, client, refusal):
        if client.socket.fileno() < 0 or client.step == 6:
            return
        if refusal:
            self.refused.append(refusal)
        self._close(client)
        client.step = 6
        self.done += 1
        if self.begun < self.count and len(self.refused) < 20:
            self._open()
        elif self.refused:
            self.done = self.count


class Idle:
    """So many clients that said EHLO and then nothing, from several loopback addresses."""

    def __init__(self, port, count):
        got = machine.raise_open_files(count + 200)
        if got < count + 100:
            raise SystemExit(f"{count} connections need so many open files, {got} are allowed (ulimit -n)")
        self.sockets = []
        for start in range(0, count, 200):
            some = []
            for number in range(start, min(start + 200, count)):
                client = socket.socket()
                client.settimeout(30)
                client.bind((f"127.0.0.{2 + number // 1000}", 0))
                client.connect((machine.LOOPBACK, port))
                some.append(client)
            for client in some:
                self._answer(client)
                client.sendall(b"EHLO client.sender.example\r\n")
            for client in some:
                self._answer(client)
            self.sockets += some

    @staticmethod
    def _answer(client):
        told = b""
        while not (told.endswith(b"\r\n") and told.split(b"\r\n")[-2][3:4] == b" "):
            piece = client.recv(4096)
            if not piece:
                raise SystemExit("an idle connection was closed: " + told.decode(errors="replace"))
            told += piece
        if told[:1] != b"2":
            raise SystemExit("an idle connection was refused: " + told.decode(errors="replace"))

    def close(self):
        for client in self.sockets:
            client.close()
