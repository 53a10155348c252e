"""Small LAN peer written from requirement 002: each message is one UDP datagram with `KEY:VALUE` lines.

It rejects any other format. A space after the colon is an error, as for the existing peers that it represents.

    python3 tests/peers/compact.py --name al [--storm NAME] [--broadcast ADDRESS]...

Commands, one per line: announce | post TEXT | dm USER TEXT | profile NAME|STATUS|FILE | ask USER | raw USER JSON-TEXT |
flood COUNT own|shared same|new USER | counts | peers | quit
"""

import base64
import json
import secrets
import time

from wires import LAN_PORT, MAX_DATAGRAM, Lan, Loop, emit, lan_flags

ANNOUNCE_EVERY = 30
# Fields of each type in order, from the table of the requirement.
FIELDS = {
    "PEER_DISCOVERY": ["USER_ID", "PORT", "TIMESTAMP", "MESSAGE_ID"],
    "POST": ["USER_ID", "CONTENT", "TIMESTAMP", "MESSAGE_ID"],
    "DM": ["FROM", "TO", "CONTENT", "TIMESTAMP", "MESSAGE_ID"],
    "PROFILE": ["USER_ID", "DISPLAY_NAME", "STATUS", "TIMESTAMP", "MESSAGE_ID"],
    "PEER_LIST_REQUEST": ["FROM"],
    "PEER_LIST_RESPONSE": ["FROM", "PEERS", "COUNT", "TIMESTAMP", "MESSAGE_ID"],
}
AVATAR = ["AVATAR_TYPE", "AVATAR_ENCODING", "AVATAR_DATA"]


class InvalidDatagram(Exception):
    """Error: such a peer rejects the datagram."""


def decode(data):
    text = data.decode("utf-8")
    if not text.endswith("\n\n"):
        raise InvalidDatagram("it does not end with an empty line")
    fields = {}
    # Splits at all line breaks of Python, so a value with one of them would forge a field.
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if not colon:
            continue
        if value.startswith(" "):
            raise InvalidDatagram(f"a space after {key}:")
        fields[key] = value  # The last value of a repeated key counts.
    kind = fields.pop("TYPE", None)
    if kind not in FIELDS:
        raise InvalidDatagram(f"type {kind}")
    keys = list(fields)
    if keys != FIELDS[kind] and not (kind == "PROFILE" and keys == FIELDS[kind] + AVATAR):
        raise InvalidDatagram(f"the fields of {kind} are {keys}")
    number = fields.get("MESSAGE_ID")
    if number is not None and (len(number) != 16 or set(number) - set("0123456789abcdef")):
        raise InvalidDatagram(f"MESSAGE_ID {number}")
    if "TIMESTAMP" in fields and abs(int(fields["TIMESTAMP"]) - time.time()) > 86400:
        raise InvalidDatagram(f"TIMESTAMP {fields['TIMESTAMP']}")
    return kind, fields


def encode(kind, **fields):
    lines = [f"TYPE:{kind}"]
    for key in FIELDS[kind] + AVATAR:
        if key == "TIMESTAMP":
            fields[key] = int(time.time())
        if key == "MESSAGE_ID":
            fields[key] = secrets.token_hex(8)
        if key in fields:
            lines.append(f"{key}:{fields[key]}")
    return ("\n".join(lines) + "\n\n").encode()


class Peer:
    def __init__(self, flags):
        self.user = f"{flags.name}@{flags.claim}"
        self.storm = flags.storm
        self.lan = Lan(flags.broadcast)
        self.known = {}
        self.heard = 0
        self.loop = Loop(self.command)
        self.loop.watch(self.lan.own, lambda: self.receive(self.lan.own, False))
        self.loop.watch(self.lan.shared, lambda: self.receive(self.lan.shared, True))
        emit("ready", user=self.user, port=self.lan.port)
        self.announce()
        self.loop.every(ANNOUNCE_EVERY, self.announce)

    def discovery(self):
        return encode("PEER_DISCOVERY", USER_ID=self.user, PORT=self.lan.port)

    def announce(self):
        self.lan.broadcast_to_all(self.discovery())

    def receive(self, socket, shared):
        data, source = socket.recvfrom(MAX_DATAGRAM)
        try:
            kind, fields = decode(data)
        except (InvalidDatagram, ValueError) as why:
            emit("rejected", why=str(why), source=source, shared=shared, text=data.decode("utf-8", "replace"))
            return
        sender = fields.get("USER_ID") or fields.get("FROM")
        if sender == self.user:
            return
        self.heard += 1
        emit("heard", type=kind, fields=fields, source=source, shared=shared)
        is_new = sender not in self.known
        self.known[sender] = source
        if kind == "PEER_DISCOVERY":
            where = (source[0], int(fields["PORT"]))
            self.known[sender] = where
            # Existing peers answer every announcement. Without --storm, only new peers get one.
            if is_new if self.storm is None else sender.startswith(self.storm):
                self.lan.send(self.discovery(), where)
        if kind == "PEER_LIST_REQUEST":
            names = json.dumps(sorted(self.known))
            answer = encode("PEER_LIST_RESPONSE", FROM=self.user, PEERS=names, COUNT=len(self.known))
            self.lan.send(answer, source)

    def send_to_all(self, data):
        for where in self.known.values():
            self.lan.send(data, where)

    def command(self, verb, rest):
        if verb == "announce":
            self.announce()
        elif verb == "post":
            self.send_to_all(encode("POST", USER_ID=self.user, CONTENT=rest))
        elif verb == "dm":
            to, _, text = rest.partition(" ")
            self.lan.send(encode("DM", FROM=self.user, TO=to, CONTENT=text), self.known[to])
        elif verb == "profile":
            self.profile(*rest.split("|"))
        elif verb == "ask":
            self.lan.send(encode("PEER_LIST_REQUEST", FROM=self.user), self.known[rest])
        elif verb == "raw":
            to, _, text = rest.partition(" ")
            self.lan.send(json.loads(text).encode(), self.known[to])
        elif verb == "flood":
            self.flood(*rest.split(" "))
        elif verb == "counts":
            emit("counts", heard=self.heard, sent=self.lan.sent)
        elif verb == "peers":
            emit("peers", peers=sorted(self.known))
        else:
            emit("unknown", verb=verb)

    def profile(self, name, status, file=""):
        avatar = {}
        if file:
            with open(file, "rb") as picture:
                data = picture.read()
            avatar = {"AVATAR_TYPE": "image/png", "AVATAR_ENCODING": "base64"}
            avatar["AVATAR_DATA"] = base64.b64encode(data).decode()
        self.send_to_all(encode("PROFILE", USER_ID=self.user, DISPLAY_NAME=name, STATUS=status, **avatar))

    def flood(self, count, port, names, to):
        """Sends announcements at full speed, to the own port of the peer or to the shared port, with one name or many."""
        where = self.known[to]
        where = (where[0], LAN_PORT) if port == "shared" else where
        # The shared port needs the broadcast address: unicast reaches only one of several peers.
        targets = self.lan.broadcast if port == "shared" else [where[0]]
        for number in range(int(count)):
            user = self.user if names == "same" else f"n{number}-{self.user}"
            data = encode("PEER_DISCOVERY", USER_ID=user, PORT=self.lan.port)
            for target in targets:
                self.lan.send(data, (target, where[1]))
        emit("flooded", count=int(count))


def main():
    parser = lan_flags(__doc__)
    parser.add_argument("--claim", default="127.0.0.1", help="address in the user id")
    parser.add_argument("--storm", help="answer every announcement of users whose names have this prefix")
    Peer(parser.parse_args()).loop.run()


if __name__ == "__main__":
    main()
