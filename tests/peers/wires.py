"""Shared parts of the small peers: JSON lines as output, commands as input, and an event loop for both and for sockets."""

import argparse
import json
import os
import selectors
import socket
import sys
import time

LAN_PORT = 50999
OWN_PORTS = range(8000, 10000)
MAX_DATAGRAM = 65535
# Addresses that reach all peers of this machine and network.
BROADCAST_ADDRESSES = ["255.255.255.255", "127.0.0.1"]


def emit(event, **fields):
    """Writes an event as one JSON line."""
    print(json.dumps({"event": event, **fields}), flush=True)


def argument_parser(description):
    """Creates the parser for the flags of a peer."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def lan_flags(description):
    """Creates the parser for the flags of a LAN peer."""
    parser = argument_parser(description)
    parser.add_argument("--name", required=True)
    parser.add_argument("--broadcast", action="append", help=f"broadcast addresses [{' and '.join(BROADCAST_ADDRESSES)}]")
    return parser


TOKEN_SECONDS = 3600
# Scope of the token of each type.
SCOPES = {"POST": "broadcast", "DM": "chat", "FOLLOW": "follow", "UNFOLLOW": "follow", "REVOKE": "broadcast"}


def token(user, kind):
    """The token of a datagram of this type."""
    return f"{user}|{int(time.time()) + TOKEN_SECONDS}|{SCOPES[kind]}"


def check_token(text, sender, kind):
    """Raises ValueError unless the text is a token of the sender for this type that has not expired."""
    user, end, scope = text.split("|")
    if user != sender or int(end) < time.time() or (scope != SCOPES[kind] and kind != "REVOKE"):
        raise ValueError(f"TOKEN {text} is not {sender}'s for {kind}")


class Loop:
    """Event loop for sockets, commands and timers. It ends when standard input is closed."""

    def __init__(self, command):
        self.selector = selectors.DefaultSelector()
        self.command = command
        self.incomplete_line = b""
        self.timers = []
        self.watch(sys.stdin, self._read_commands)

    def watch(self, readable, handler):
        self.selector.register(readable, selectors.EVENT_READ, handler)

    def forget(self, readable):
        self.selector.unregister(readable)

    def every(self, seconds, handler):
        self.timers.append([time.monotonic() + seconds, seconds, handler])

    def once(self, seconds, handler):
        self.timers.append([time.monotonic() + seconds, None, handler])

    def _read_commands(self):
        data = os.read(sys.stdin.fileno(), 65536)
        if not data:
            raise SystemExit(0)
        *lines, self.incomplete_line = (self.incomplete_line + data).split(b"\n")
        for line in lines:
            verb, _, rest = line.decode().partition(" ")
            if verb == "quit":
                raise SystemExit(0)
            self.command(verb, rest)

    def run(self):
        while True:
            wait = min((timer[0] for timer in self.timers), default=time.monotonic() + 60) - time.monotonic()
            for key, _ in self.selector.select(max(0, wait)):
                key.data()
            for timer in [timer for timer in self.timers if timer[0] <= time.monotonic()]:
                if timer[1] is None:
                    self.timers.remove(timer)
                else:
                    timer[0] += timer[1]
                timer[2]()


class Lan:
    """Sockets of a LAN peer: an own port and the shared port."""

    def __init__(self, broadcast):
        self.broadcast = broadcast or BROADCAST_ADDRESSES
        self.own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.own.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        # Starts at a random port: other peers on this machine choose theirs at the same time.
        start = int.from_bytes(os.urandom(2), "big")
        for offset in OWN_PORTS:
            self.port = OWN_PORTS[(start + offset) % len(OWN_PORTS)]
            try:
                self.own.bind(("0.0.0.0", self.port))
                break
            except OSError:
                continue
        else:
            sys.exit("error: no UDP port of 8000 to 9999 is free")
        self.shared = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.shared.bind(("0.0.0.0", LAN_PORT))
        self.sent = 0

    def send(self, data, where):
        self.sent += 1
        self.own.sendto(data, where)

    def broadcast_to_all(self, data):
        for address in self.broadcast:
            try:
                self.send(data, (address, LAN_PORT))
            except OSError:
                pass  # Without a network there is still loopback.
