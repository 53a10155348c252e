"""A small peer of requirement 003: TCP, an id of 32 hex digits and a line break each way, then JSON messages without a
delimiter. It takes one read of at most 4096 bytes for one message and never sends a heartbeat, as the peers do that this
one stands for.

    python3 tests/peers/mesh.py --id 32-HEX-DIGITS [--listen HOST:PORT] [--dial HOST:PORT]

Commands, one a line: chat TEXT | again | peer_list JSON-ARRAY | dial HOST:PORT | burst COUNT | quit
"""

import collections
import json
import socket
import time

from wires import Loop, described, say

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
        say("ready", id=self.id, listen="%s:%s" % self.listener.getsockname())
        if flags.dial:
            self.dial(flags.dial)

    def accept(self):
        link, _ = self.listener.accept()
        self.greet(link)

    def dial(self, where):
        self.greet(socket.create_connection(address(where)))

    def greet(self, link):
        """Says who is here and waits for who is there: one read, which has to be the whole line and nothing else."""
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.settimeout(5)
        link.sendall(f"{self.id}\n".encode())
        greeting = link.recv(MOST_GREETING).decode("utf-8", "replace")
        other = greeting.removesuffix("\n")
        if len(greeting) != 33 or len(other) != 32 or set(other) - set("0123456789abcdef"):
            say("ungreeted", text=greeting)
            link.close()
            return
        self.links[link] = other
        self.loop.watch(link, lambda: self.read(link))
        say("linked", id=other)

    def read(self, link):
        try:
            data = link.recv(MOST_READ)
        except OSError as error:
            data = b""
            say("failed", why=str(error))
        if not data:
            say("unlinked", id=self.links.pop(link))
            self.loop.forget(link)
            link.close()
            return
        try:
            message = json.loads(data)
        except ValueError as why:
            # Two messages in one read, or half of one: lost, as it would be with those peers.
            say("broken", why=str(why), bytes=len(data), text=data.decode("utf-8", "replace"))
            return
        for name, form in KNOWN_FIELDS.items():
            if not isinstance(message.get(name), form) or "timestamp" not in message:
                say("broken", why=f"{name} or timestamp is wrong", text=data.decode())
                return
        if message["type"] == "chat":
            key = (message["sender_id"], message["sequence_no"])
            if key in self.remembered or key[0] == self.id:
                say("repeated", message=message)
                return
            self.remembered.append(key)
            for other in list(self.links):
                if other is not link:
                    other.sendall(data)
        say("message", message=message, bytes=len(data), link=self.links[link])

    def send(self, kind, payload):
        self.number += 1
        message = {"sender_id": self.id, "sequence_no": self.number, "type": kind, "payload": payload}
        message["timestamp"] = int(time.time())
        self.last = json.dumps(message).encode()
        self.everybody(self.last)

    def everybody(self, data):
        for link in list(self.links):
            link.sendall(data)

    def command(self, verb, rest):
        if verb == "chat":
            self.send("chat", rest)
        elif verb == "again":
            self.everybody(self.last)
        elif verb == "peer_list":
            self.send("peer_list", rest)
        elif verb == "dial":
            self.dial(rest)
        elif verb == "burst":
            for number in range(int(rest)):
                self.send("chat", f"burst {number}")
        else:
            say("unknown", verb=verb)


def address(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


def main():
    parser = described(__doc__)
    parser.add_argument("--id", required=True)
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--dial")
    Peer(parser.parse_args()).loop.run()


if __name__ == "__main__":
    main()
