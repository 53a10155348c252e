"""Small LAN peer written from requirement 002: each message is one UDP datagram with `KEY:VALUE` lines.

It rejects any other format. A space after the colon is an error, as for the existing peers that it represents. It ignores
unknown keys, so also tokens, as the older ones do. With --newest it represents the newest ones: it rejects a POST or DM
without a token, sends its posts to followers only, and announces its leave.

    python3 tests/peers/compact.py --name al [--newest] [--storm NAME] [--broadcast ADDRESS]...

Commands in any case, one per line: announce | post TEXT | dm USER TEXT | profile NAME|STATUS|FILE | ask USER |
follow USER | unfollow USER | raw USER JSON-TEXT | flood COUNT own|shared same|new USER | counts | peers | quit
"""

import base64
import json
import secrets
import time

from wires import LAN_PORT, MAX_DATAGRAM, SCOPES, Lan, Loop, check_token, emit, lan_flags, token

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
# Types of the newest programs; older ones ignore them.
NEWEST_FIELDS = {
    "FOLLOW": ["FROM", "TO", "TIMESTAMP", "MESSAGE_ID"],
    "UNFOLLOW": ["FROM", "TO", "TIMESTAMP", "MESSAGE_ID"],
    "REVOKE": [],
}
AVATAR = ["AVATAR_TYPE", "AVATAR_ENCODING", "AVATAR_DATA"]


class InvalidDatagram(Exception):
    """Error: such a peer rejects the datagram."""


def decode(data, newest):
    """Returns the type, the sender and the fields."""
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
    if kind in NEWEST_FIELDS and not newest:
        return None, None, fields
    known = FIELDS | NEWEST_FIELDS
    if kind not in known:
        raise InvalidDatagram(f"type {kind}")
    sender = fields.get("USER_ID") or fields.get("FROM")
    if newest and kind in SCOPES:
        given = fields.get("TOKEN", "")
        sender = sender or given.split("|")[0]
        check_token(given, sender, kind)
    # Unknown keys are ignored.
    keys = [key for key in fields if key in known[kind] + AVATAR]
    if keys != known[kind] and not (kind == "PROFILE" and keys == known[kind] + AVATAR):
        raise InvalidDatagram(f"the fields of {kind} are {keys}")
    number = fields.get("MESSAGE_ID")
    if number is not None and (len(number) != 16 or set(number) - set("0123456789abcdef")):
        raise InvalidDatagram(f"MESSAGE_ID {number}")
    if "TIMESTAMP" in fields and abs(int(fields["TIMESTAMP"]) - time.time()) > 86400:
        raise InvalidDatagram(f"TIMESTAMP {fields['TIMESTAMP']}")
    return kind, sender, fields


def encode(kind, **fields):
    lines = [f"TYPE:{kind}"]
    for key in (FIELDS | NEWEST_FIELDS)[kind] + AVATAR + ["TOKEN"]:
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
        self.newest = flags.newest
        self.followers = set()
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
            kind, sender, fields = decode(data, self.newest)
        except (InvalidDatagram, ValueError) as why:
            emit("rejected", why=str(why), source=source, shared=shared, text=data.decode("utf-8", "replace"))
            return
        if kind is None or sender == self.user:
            return
        self.heard += 1
        emit("heard", type=kind, fields=fields, source=source, shared=shared)
        if kind == "REVOKE":
            self.known.pop(sender, None)
            self.followers.discard(sender)
            return
        is_new = sender not in self.known
        self.known[sender] = source
        if kind == "PEER_DISCOVERY":
            where = (source[0], int(fields["PORT"]))
            self.known[sender] = where
            # Existing peers answer every announcement. Without --storm, only new peers get one.
            if is_new if self.storm is None else sender.startswith(self.storm):
                self.lan.send(self.discovery(), where)
        if kind == "FOLLOW" and fields["TO"] == self.user:
            self.followers.add(sender)
        if kind == "UNFOLLOW" and fields["TO"] == self.user:
            self.followers.discard(sender)
        if kind == "PEER_LIST_REQUEST":
            names = json.dumps(sorted(self.known))
            answer = encode("PEER_LIST_RESPONSE", FROM=self.user, PEERS=names, COUNT=len(self.known))
            self.lan.send(answer, source)

    def send_to_all(self, data):
        for where in self.known.values():
            self.lan.send(data, where)

    def sealed(self, kind, **fields):
        """Encodes a datagram; with the token of the newest programs if this is one."""
        more = {"TOKEN": token(self.user, kind)} if self.newest else {}
        return encode(kind, **fields, **more)

    def leave(self):
        if self.newest:
            self.send_to_all(self.sealed("REVOKE"))

    def command(self, verb, rest):
        verb = verb.lower()
        if verb == "announce":
            self.announce()
        elif verb == "post":
            post = self.sealed("POST", USER_ID=self.user, CONTENT=rest)
            for user, where in self.known.items():
                if user in self.followers or not self.newest:
                    self.lan.send(post, where)
        elif verb == "dm":
            to, _, text = rest.partition(" ")
            self.lan.send(self.sealed("DM", FROM=self.user, TO=to, CONTENT=text), self.known[to])
        elif verb in ("follow", "unfollow"):
            self.lan.send(self.sealed(verb.upper(), FROM=self.user, TO=rest), self.known[rest])
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
    parser.add_argument("--newest", action="store_true", help="require tokens, and post to followers only")
    peer = Peer(parser.parse_args())
    try:
        peer.loop.run()
    finally:
        peer.leave()


if __name__ == "__main__":
    main()
