"""Small mesh peer written from requirement 003: TCP, an id of 32 hex digits and a line break in each direction, then JSON
messages without a delimiter.

It parses each read of at most 4096 bytes as one message and sends no heartbeats, as the existing peers that it represents.

    python3 tests/peers/mesh.py --id 32-HEX-DIGITS [--listen HOST:PORT] [--dial HOST:PORT]

Commands, one per line: chat TEXT | again | peer_list JSON-ARRAY | dial HOST:PORT | burst COUNT | quit
"""

import collections
import json
import socket
import time

from wires import Loop, argument_parser, emit

MOST_READ = 4096
MOST_GREETING = 64
REMEMBERED = 100
KNOWN_FIELDS = {"sender_id": str, "sequence_no": int, "type": str, "payload": str}


class Peer:
    def __init__(self, flags):
        self.id = flags.id
        self.number = 0
        self.last = None
        self.links = {}
        self.remembered = collections.deque(maxlen=REMEMBERED)
        self.loop = Loop(self.command)
        self.listener = socket.create_server(address(flags.listen))
        self.loop.watch(self.listener, self.accept)
        emit("ready", id=self.id, listen="%s:%s" % self.listener.getsockname())
        if flags.dial:
            self.dial(flags.dial)

    def accept(self):
        link, _ = self.listener.accept()
        self.greet(link)

    def dial(self, where):
        self.greet(socket.create_connection(address(where)))

    def greet(self, link):
        """Exchanges greetings. The greeting of the other end must be one read with exactly one line."""
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.settimeout(5)
        link.sendall(f"{self.id}\n".encode())
        greeting = link.recv(MOST_GREETING).decode("utf-8", "replace")
        other = greeting.removesuffix("\n")
        if len(greeting) != 33 or len(other) != 32 or set(other) - set("0123456789abcdef"):
            emit("ungreeted", text=greeting)
            link.close()
            return
        self.links[link] = other
        self.loop.watch(link, lambda: self.read(link))
        emit("linked", id=other)

    def read(self, link):
        try:
            data = link.recv(MOST_READ)
        except OSError as error:
            data = b""
            emit("failed", why=str(error))
        if not data:
            emit("unlinked", id=self.links.pop(link))
            self.loop.forget(link)
            link.close()
            return
        try:
            message = json.loads(data)
        except ValueError as why:
            # Two messages in one read, or half of one, are lost, as with the existing peers.
            emit("broken", why=str(why), bytes=len(data), text=data.decode("utf-8", "replace"))
            return
        for name, form in KNOWN_FIELDS.items():
            if not isinstance(message.get(name), form) or "timestamp" not in message:
                emit("broken", why=f"{name} or timestamp is wrong", text=data.decode())
                return
        if message["type"] == "chat":
            key = (message["sender_id"], message["sequence_no"])
            if key in self.remembered or key[0] == self.id:
                emit("repeated", message=message)
                return
            self.remembered.append(key)
            for other in list(self.links):
                if other is not link:
                    other.sendall(data)
        emit("message", message=message, bytes=len(data), link=self.links[link])

    def send(self, kind, payload):
        self.number += 1
        message = {"sender_id": self.id, "sequence_no": self.number, "type": kind, "payload": payload}
        message["timestamp"] = int(time.time())
        self.last = json.dumps(message).encode()
        self.send_to_all(self.last)

    def send_to_all(self, data):
        for link in list(self.links):
            link.sendall(data)

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
        else:
            emit("unknown", verb=verb)


def address(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


def main():
    parser = argument_parser(__doc__)
    parser.add_argument("--id", required=True)
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--dial")
    Peer(parser.parse_args()).loop.run()


if __name__ == "__main__":
    main()
