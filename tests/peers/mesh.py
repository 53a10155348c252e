"""Small mesh peer written from requirement 003 and from the behaviour of the programs that follow it: TCP, an id of 32 hex
digits and a line break in each direction, then JSON messages without a delimiter.

As these programs, it
* takes each read of at most 4096 bytes as one message, and loses all of a read that holds two;
* reads only messages whose timestamp is an RFC 3339 string;
* sends no heartbeats, and checks at an interval that each connection gave a message within a timeout;
* forgets an id when one of two connections with it closes, and then ignores the other connection;
* dials its configured peers again, but never a peer that dialled it.

    python3 tests/peers/mesh.py [--id 32-HEX-DIGITS] [--listen HOST:PORT] [--peer HOST:PORT ...] [--check 15] [--timeout 5]

Commands, one per line: chat TEXT | again | peer_list JSON-ARRAY | dial HOST:PORT | burst COUNT | counts | quit
"""

import collections
import json
import os
import re
import socket
import time

from wires import Loop, argument_parser, emit

MOST_READ = 4096
MOST_GREETING = 64
REMEMBERED = 100
# Largest number of bytes that wait for one connection. More ends it.
MOST_UNSENT = 1 << 20
KNOWN_FIELDS = {"sender_id": str, "sequence_no": int, "type": str, "payload": str, "timestamp": str}
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
FIRST_REDIAL, MOST_REDIAL = 1.0, 300.0


class Connection:
    def __init__(self, stream, is_dialler, redialled):
        self.stream = stream
        # The id of the other end, once it has greeted.
        self.id = None
        # Whether this peer dialled, and the address if it is a configured one.
        self.is_dialler, self.redialled = is_dialler, redialled
        self.heard_at = time.monotonic()
        self.unsent = b""


class Peer:
    def __init__(self, flags):
        self.id = flags.id
        self.number = 0
        self.last = None
        self.connections = []
        # The newest connection of each known id. A connection of another id is ignored.
        self.known = {}
        self.remembered = collections.deque(maxlen=REMEMBERED)
        self.counts = collections.Counter()
        self.timeout = flags.timeout
        self.loop = Loop(self.command)
        self.listener = socket.create_server(address(flags.listen))
        self.loop.watch(self.listener, self.accept)
        self.loop.every(flags.check, self.check)
        # By address: wait after the next failure, and time of the next dial (None while connected).
        self.redials = {where: [FIRST_REDIAL, 0.0] for where in flags.peer or []}
        self.loop.every(0.1, self.redial)
        emit("ready", id=self.id, listen="%s:%s" % self.listener.getsockname())
        self.redial()

    def accept(self):
        stream, _ = self.listener.accept()
        self.greet(Connection(stream, False, None))

    def dial(self, where, redialled=None):
        self.greet(Connection(socket.create_connection(address(where), timeout=5), True, redialled))

    def redial(self):
        for where, state in self.redials.items():
            wait, at = state
            if at is None or at > time.monotonic():
                continue
            state[1] = None
            try:
                self.dial(where, where)
            except OSError:
                state[:] = [min(wait * 1.5, MOST_REDIAL), time.monotonic() + wait]

    def greet(self, connection):
        """Sends the greeting. The greeting of the other end follows."""
        connection.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.stream.setblocking(False)
        self.connections.append(connection)
        self.loop.watch(connection.stream, lambda: self.read(connection))
        if connection.redialled:
            self.redials[connection.redialled] = [FIRST_REDIAL, None]
        self.write(connection, f"{self.id}\n".encode())

    def read_greeting(self, connection, data):
        """Reads the greeting of the other end. It must be one read with exactly one line."""
        greeting = data.decode("utf-8", "replace")
        other = greeting.removesuffix("\n")
        if len(greeting) != 33 or len(other) != 32 or set(other) - set("0123456789abcdef"):
            self.close(connection, f"the greeting is {greeting!r}")
            return
        connection.id = other
        self.known[other] = connection
        count = sum(each.id == other for each in self.connections)
        emit("linked", id=other, connections=count, dialled=connection.is_dialler)

    def close(self, connection, why):
        if connection not in self.connections:
            return
        self.connections.remove(connection)
        self.loop.forget(connection.stream)
        connection.stream.close()
        # One of two connections is enough to forget the id.
        self.known.pop(connection.id, None)
        if connection.redialled:
            self.redials[connection.redialled] = [FIRST_REDIAL * 1.5, time.monotonic() + FIRST_REDIAL]
        if connection.id:
            emit("unlinked", id=connection.id, why=why)
        else:
            emit("ungreeted", why=why)

    def check(self):
        for connection in list(self.connections):
            if time.monotonic() - connection.heard_at > self.timeout:
                self.close(connection, "silent")

    def read(self, connection):
        try:
            data = connection.stream.recv(MOST_READ if connection.id else MOST_GREETING)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close(connection, "ended")
            return
        if connection.id is None:
            self.read_greeting(connection, data)
            return
        if connection.id not in self.known:
            self.counts["ignored"] += 1
            emit("ignored", id=connection.id, bytes=len(data))
            return
        self.counts["reads"] += 1
        try:
            message = json.loads(data)
        except ValueError as why:
            # Two messages in one read, or half of one, are lost, as with the existing peers.
            merged = data.count(b'"sender_id"')
            self.counts["merged" if merged > 1 else "broken"] += 1
            emit("broken", why=str(why), messages=merged, bytes=len(data), text=data.decode("utf-8", "replace"))
            return
        wrong = [name for name, form in KNOWN_FIELDS.items() if not isinstance(message.get(name), form)]
        if wrong or not RFC_3339.fullmatch(message["timestamp"]):
            self.counts["broken"] += 1
            emit("broken", why=f"wrong: {wrong or 'timestamp'}", text=data.decode())
            return
        connection.heard_at = time.monotonic()
        if message["type"] == "chat":
            key = (message["sender_id"], message["sequence_no"])
            if key in self.remembered or key[0] == self.id:
                self.counts["repeated"] += 1
                emit("repeated", sender=key[0], number=key[1])
                return
            self.remembered.append(key)
            self.send_to_all(data, connection)
        emit("message", message=message, bytes=len(data), link=connection.id)

    def send(self, kind, payload):
        self.number += 1
        message = {"sender_id": self.id, "sequence_no": self.number, "type": kind, "payload": payload}
        message["timestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.last = json.dumps(message, separators=(",", ":")).encode()
        emit("sent", payload=payload)
        self.send_to_all(self.last)

    def send_to_all(self, data, source=None):
        for other, connection in list(self.known.items()):
            if source is None or other != source.id:
                self.write(connection, data)

    def write(self, connection, data):
        connection.unsent += data
        self.flush(connection)

    def flush(self, connection):
        try:
            sent = connection.stream.send(connection.unsent)
            connection.unsent = connection.unsent[sent:]
        except BlockingIOError:
            pass
        except OSError:
            self.close(connection, "failed")
            return
        if len(connection.unsent) > MOST_UNSENT:
            self.close(connection, "slow")
        elif connection.unsent:
            self.loop.once(0.01, lambda: connection in self.connections and self.flush(connection))

    def command(self, verb, rest):
        if verb == "chat":
            self.send("chat", rest)
        elif verb == "again":
            self.send_to_all(self.last)
        elif verb == "peer_list":
            self.send("peer_list", rest)
        elif verb == "dial":
            self.dial(rest)
        elif verb == "burst":
            for number in range(int(rest)):
                self.send("chat", f"burst {number}")
        elif verb == "counts":
            emit("counts", **self.counts)
        else:
            emit("unknown", verb=verb)


def address(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--id", default=os.urandom(16).hex(), help="32 hex digits [random]")
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--peer", action="append", help="peer to dial, again after each end of the connection")
    parser.add_argument("--check", type=float, default=15, help="seconds between two checks of the connections")
    parser.add_argument("--timeout", type=float, default=5, help="how long a connection may be silent at a check, in seconds")
    Peer(parser.parse_args()).loop.run()


if __name__ == "__main__":
    main()
