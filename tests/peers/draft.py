"""Small LAN peer of the LSNP draft: `KEY: VALUE` lines, profiles without time and id, PING and ACK, TTL and TOKEN.

It rejects any other format. It announces itself with its profile; it understands PEER_DISCOVERY but does not send it. It
listens at the shared port only, and sends to the shared port only: each datagram is sent from a socket of its own, which is
closed at once.

    python3 tests/peers/draft.py --name di [--silent] [--claim ADDRESS] [--broadcast ADDRESS]...

Commands in any case, one per line: announce | ping | post TEXT | dm USER TEXT | profile NAME|STATUS|FILE | ask USER |
peers | quit
"""

import base64
import json
import secrets
import socket
import time

from wires import (
    BROADCAST_ADDRESSES, LAN_PORT, MAX_DATAGRAM, SCOPES, Lan, Loop, check_token, emit, lan_flags, token,
)

ANNOUNCE_EVERY = 30
TTL = 3600
REQUIRED = {
    "PROFILE": {"USER_ID", "DISPLAY_NAME", "STATUS"},
    "PING": {"USER_ID"},
    "ACK": {"MESSAGE_ID", "STATUS"},
    "POST": {"USER_ID", "CONTENT", "TTL", "MESSAGE_ID", "TOKEN"},
    "DM": {"FROM", "TO", "CONTENT", "TIMESTAMP", "MESSAGE_ID", "TOKEN"},
    "FOLLOW": {"FROM", "TO", "TIMESTAMP", "MESSAGE_ID", "TOKEN"},
    "UNFOLLOW": {"FROM", "TO", "TIMESTAMP", "MESSAGE_ID", "TOKEN"},
    "REVOKE": {"TOKEN"},
    "PEER_DISCOVERY": {"USER_ID", "PORT"},
    "PEER_LIST_REQUEST": {"FROM"},
    "PEER_LIST_RESPONSE": {"FROM", "PEERS", "COUNT"},
}
# Profiles of the draft do not have these fields; a strict reader would reject them.
FORBIDDEN = {"PROFILE": {"TIMESTAMP", "MESSAGE_ID"}}


def decode(data):
    text = data.decode("utf-8")
    fields = {}
    for line in text.split("\n"):
        if not line:
            continue
        key, found, value = line.partition(": ")
        if not found or ":" in key:
            raise ValueError(f"no 'KEY: VALUE': {line[:40]!r}")
        if key in fields:
            raise ValueError(f"{key} twice")
        fields[key] = value
    kind = fields.pop("TYPE", None)
    if kind not in REQUIRED:
        raise ValueError(f"type {kind}")
    missing = REQUIRED[kind] - set(fields)
    surplus = FORBIDDEN.get(kind, set()) & set(fields)
    if missing or surplus:
        raise ValueError(f"{kind} lacks {sorted(missing)} and must not have {sorted(surplus)}")
    sender = fields.get("USER_ID") or fields.get("FROM")
    if kind in SCOPES:
        sender = sender or fields["TOKEN"].split("|")[0]
        check_token(fields["TOKEN"], sender, kind)
    return kind, sender, fields


def encode(kind, **fields):
    lines = [("TYPE", kind), *fields.items()]
    return ("".join(f"{key}: {value}\n" for key, value in lines) + "\n").encode()


class SharedPortOnly(Lan):
    """Sockets of a peer that listens at the shared port only: `own` receives what is sent to its address alone."""

    def __init__(self, address, broadcast):
        self.address = address
        self.broadcast = broadcast or BROADCAST_ADDRESSES
        self.port = LAN_PORT
        self.own, self.shared = self._listen(address), self._listen("0.0.0.0")

    def _listen(self, address):
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, LAN_PORT))
        return listener

    def send(self, data, where):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sender.bind((self.address, 0))
            sender.sendto(data, where)


class Peer:
    def __init__(self, flags):
        self.user = f"{flags.name}@{flags.claim}"
        self.lan = SharedPortOnly(flags.claim, flags.broadcast)
        self.own_profile = {"DISPLAY_NAME": flags.name, "STATUS": "here"}
        self.known = {}
        self.loop = Loop(self.command)
        self.loop.watch(self.lan.own, lambda: self.receive(self.lan.own, False))
        self.loop.watch(self.lan.shared, lambda: self.receive(self.lan.shared, True))
        emit("ready", user=self.user, port=self.lan.port)
        if not flags.silent:
            self.announce()
            self.loop.every(ANNOUNCE_EVERY, self.announce)

    def announce(self):
        self.lan.broadcast_to_all(encode("PROFILE", USER_ID=self.user, **self.own_profile))

    def receive(self, socket, shared):
        data, source = socket.recvfrom(MAX_DATAGRAM)
        try:
            kind, sender, fields = decode(data)
        except ValueError as why:
            emit("rejected", why=str(why), source=source, shared=shared)
            return
        if sender == self.user:
            return
        emit("heard", type=kind, fields=fields, source=source, shared=shared)
        if kind == "REVOKE":
            self.known.pop(sender, None)
        elif sender:
            # Such a peer sends to the shared port. On one machine that reaches only one of the
            # peers, so there it sends to the announced port.
            port = self.known.get(sender, (None, LAN_PORT))[1]
            if kind == "PEER_DISCOVERY" and source[0].startswith("127."):
                port = int(fields["PORT"])
            self.known[sender] = (source[0], port)
        if kind == "DM" and fields["TO"] == self.user:
            self.lan.send(encode("ACK", MESSAGE_ID=fields["MESSAGE_ID"], STATUS="RECEIVED"), self.known[sender])
        if kind == "PEER_LIST_REQUEST":
            names = json.dumps(sorted(self.known))
            self.lan.send(encode("PEER_LIST_RESPONSE", FROM=self.user, PEERS=names, COUNT=len(self.known)), self.known[sender])

    def send_to_all(self, data):
        for where in self.known.values():
            self.lan.send(data, where)

    def command(self, verb, rest):
        number = secrets.token_hex(8)
        verb = verb.lower()
        if verb == "announce":
            self.announce()
        elif verb == "ping":
            self.lan.broadcast_to_all(encode("PING", USER_ID=self.user))
        elif verb == "post":
            post = {"USER_ID": self.user, "CONTENT": rest, "TTL": TTL, "MESSAGE_ID": number}
            self.send_to_all(encode("POST", **post, TOKEN=token(self.user, "POST")))
        elif verb == "dm":
            to, _, text = rest.partition(" ")
            words = {"FROM": self.user, "TO": to, "CONTENT": text, "TIMESTAMP": int(time.time()), "MESSAGE_ID": number}
            self.lan.send(encode("DM", **words, TOKEN=token(self.user, "DM")), self.known[to])
            emit("sent", type="DM", id=number)
        elif verb == "profile":
            self.profile(*rest.split("|"))
        elif verb == "ask":
            self.lan.send(encode("PEER_LIST_REQUEST", FROM=self.user), self.known[rest])
        elif verb == "peers":
            emit("peers", peers=sorted(self.known))
        else:
            emit("unknown", verb=verb)

    def profile(self, name, status, file=""):
        self.own_profile = {"DISPLAY_NAME": name, "STATUS": status}
        if file:
            with open(file, "rb") as picture:
                data = base64.b64encode(picture.read()).decode()
            self.own_profile |= {"AVATAR_TYPE": "image/png", "AVATAR_ENCODING": "base64", "AVATAR_DATA": data}
        self.send_to_all(encode("PROFILE", USER_ID=self.user, **self.own_profile))


def main():
    parser = lan_flags(__doc__)
    parser.add_argument("--claim", default="127.0.0.1", help="own address: the one in the user id")
    parser.add_argument("--silent", action="store_true", help="announce only on command")
    Peer(parser.parse_args()).loop.run()


if __name__ == "__main__":
    main()
