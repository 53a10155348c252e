"""Soak of a mesh of real `rollcall peer` processes and of the small foreign peers (mesh.py), on loopback, with kills and
restarts on both sides. It ends with status 1 if a message was lost for another reason than the reader of mesh.py, or if
one of ours dialled a foreign peer that had a connection with it.

    cargo build && python3 tests/peers/mixed_mesh.py        # ten minutes, three and three
    python3 tests/peers/mixed_mesh.py --minutes 2 --burst   # also 200 pasted lines now and then
    python3 tests/peers/mixed_mesh.py --ours 0 --theirs 6   # what they lose among themselves

ROLLCALL_BIN names the program [target/debug/rollcall].

A message counts from the moment at which its sender reports it as sent. Its sender and its receiver
must have run from SETTLED seconds before to SETTLED seconds after that moment. Every such message
must arrive. One that a foreign peer did not get is excused if it was in a read together with
another message: those programs lose such reads.

A foreign peer dials its configured addresses even if the peer there is connected already. Such second
connections are its own, and are only counted.
"""

import argparse
import collections
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SETTLED = 8.0
# Seconds between two kills, and until the restart.
KILL_INTERVAL, RESTART_AFTER = 15.0, 5.0
BURST_INTERVAL, BURST_LINES = 60.0, 200
# Seconds from a kill until a burst: the author must run for SETTLED seconds after its last line.
BURST_AFTER_KILL = 2.0
TEXT = re.compile(r"\w+ says \d+")
SECOND_OF_OURS = "second connections dialled by ours"


class Peer:
    """A peer that is started again after each kill. `runs` has the start and the end of each run."""

    # The ids of our peers.
    our_ids = set()

    def __init__(self, name, command):
        self.name, self.command = name, command
        self.is_foreign = name.startswith("f")
        # Texts that were typed in this run and not sent yet; moment and text of the sent ones.
        self.runs, self.typed, self.sent = [], collections.deque(), []
        self.count = 0
        # Number of times that each text was shown, and the texts in merged reads.
        self.shown, self.merged = collections.Counter(), set()
        self.events = collections.Counter()
        self.start()

    def start(self):
        self.typed = collections.deque()
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
        )
        self.runs.append([time.monotonic(), float("inf")])
        threading.Thread(target=self.read, args=(self.process.stdout, self.typed), daemon=True).start()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.runs[-1][1] = time.monotonic()

    def is_up(self):
        return self.runs[-1][1] == float("inf")

    def ran_around(self, moment):
        return any(start <= moment - SETTLED and moment + SETTLED <= end for start, end in self.runs)

    def say(self):
        self.count += 1
        text = f"{self.name} says {self.count}"
        self.typed.append(text)
        self.type(f"chat {text}" if self.is_foreign else text)
        return text

    def type(self, line):
        try:
            self.process.stdin.write(line + "\n")
        except OSError as error:
            self.events[f"input failed: {error}"] += 1

    def read(self, lines, typed):
        for line in lines:
            event = json.loads(line)
            kind = event["event"]
            if kind == "ready" and not self.is_foreign:
                self.our_ids.add(event["id"])
            elif kind == "sent":
                self.sent.append((time.monotonic(), typed.popleft()))
            elif kind == "post":
                self.shown[event["text"]] += 1
            elif kind == "message":
                message = event["message"]
                if message["type"] == "chat":
                    self.shown[message["payload"]] += 1
            elif kind == "broken":
                self.events["merged reads" if event.get("messages", 0) > 1 else "unreadable messages"] += 1
                self.merged.update(TEXT.findall(event["text"]))
            elif kind == "unlinked":
                self.events[f"unlinked: {event['why']}"] += 1
            elif kind == "linked" and event["connections"] > 1:
                self.events[self.second_connection(event)] += 1
            elif kind in ("ignored", "ungreeted", "lost", "refused"):
                self.events[kind] += 1

    def second_connection(self, event):
        """Who made a second connection of this foreign peer with a peer."""
        if event["dialled"]:
            return "second connections dialled by itself"
        return SECOND_OF_OURS if event["id"] in self.our_ids else "second connections dialled by another foreign peer"


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def commands(flags, folder):
    """The command of each peer. Each foreign peer dials all of ours and the foreign peers before it. Our later peers dial
    our first one, and the last foreign peer, which has dialled them."""
    ports = free_ports(flags.ours + flags.theirs)
    ours, theirs = [[f"127.0.0.1:{port}" for port in part] for part in (ports[: flags.ours], ports[flags.ours :])]
    program = os.environ.get("ROLLCALL_BIN", "target/debug/rollcall")
    for index, listen in enumerate(ours):
        command = [program, "peer", "--json", "--no-lan", "--name", f"o{index}", "--listen", listen]
        command += ["--dir", f"{folder}/o{index}", "--log-level", "error"]
        if index > 0:
            command += ["--peers", ",".join(ours[:1] + theirs[-1:])]
        yield f"o{index}", command
    for index, listen in enumerate(theirs):
        command = [sys.executable, os.path.join(HERE, "mesh.py"), "--listen", listen]
        for peer in ours + theirs[:index]:
            command += ["--peer", peer]
        yield f"f{index}", command


def run(flags, peers):
    """Sends, kills and restarts until the time is over. Returns the texts of the bursts."""
    start = time.monotonic()
    end = start + flags.minutes * 60
    next_kill, next_line = start + 2 * SETTLED, start + 2.0
    next_burst = next_kill + BURST_AFTER_KILL
    down, victims, burst_texts = None, 0, set()
    while time.monotonic() < end:
        now = time.monotonic()
        if now >= next_line:
            next_line += 1 / flags.rate
            random.choice([peer for peer in peers if peer.is_up()]).say()
        if flags.burst and now >= next_burst:
            next_burst += BURST_INTERVAL
            author = random.choice([peer for peer in peers if peer.is_up() and not peer.is_foreign])
            burst_texts.update(author.say() for _ in range(BURST_LINES))
        if down and now >= down[0]:
            down[1].start()
            down = None
        if not down and now >= next_kill and now + 2 * SETTLED < end:
            next_kill += KILL_INTERVAL
            # In turn one of ours and one of theirs.
            side = [peer for peer in peers if peer.is_foreign == (victims % 2 == 1)] or peers
            victims += 1
            victim = random.choice(side)
            victim.kill()
            down = (now + RESTART_AFTER, victim)
        time.sleep(max(0.0, min(next_line, end) - time.monotonic()))
    # Less than the 5 s after which an idle foreign peer may end its connections.
    time.sleep(4.5)
    return burst_texts


def report(peers, burst_texts):
    """Prints what each peer got. Returns whether nothing was lost without an excuse, and ours made no second connection."""
    is_good, burst_due, burst_got = True, 0, 0
    settled = [(author, at, text) for author in peers for at, text in author.sent if author.ran_around(at)]
    start = peers[0].runs[0][0]
    for peer in peers:
        moments = {text: at for author, at, text in settled if author is not peer and peer.ran_around(at)}
        due = list(moments)
        missing = [text for text in due if not peer.shown[text]]
        excused = [text for text in missing if peer.is_foreign and text in peer.merged]
        burst_due += sum(text in burst_texts for text in due)
        burst_got += sum(text in burst_texts and peer.shown[text] > 0 for text in due)
        repeated = sum(count - 1 for count in peer.shown.values() if count > 1)
        lost = [f"{text} after {moments[text] - start:.0f} s" for text in missing if text not in excused]
        is_good &= not lost and not peer.events[SECOND_OF_OURS]
        print(
            f"{peer.name}: {len(peer.runs)} runs, sent {len(peer.sent)}, due {len(due)}, got {len(due) - len(missing)}, "
            f"lost by its reader {len(excused)}, lost otherwise {len(lost)} {lost[:5] or ''}, "
            f"shown again {repeated}, {dict(peer.events)}"
        )
    if burst_texts:
        print(f"{len(burst_texts)} lines in bursts: due {burst_due} at all peers together, got {burst_got}")
    return is_good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=33, help="messages a second of all peers together [33]")
    parser.add_argument("--ours", type=int, default=3)
    parser.add_argument("--theirs", type=int, default=3)
    parser.add_argument("--burst", action="store_true", help="paste 200 lines at one of ours every minute")
    parser.add_argument("--seed", type=int, help="seed of the order of senders and kills")
    flags = parser.parse_args()
    random.seed(flags.seed)
    with tempfile.TemporaryDirectory() as folder:
        peers = []
        for name, command in commands(flags, folder):
            peers.append(Peer(name, command))
            time.sleep(0.3)
        try:
            burst_texts = run(flags, peers)
        finally:
            for peer in peers:
                if peer.is_up():
                    peer.kill()
        time.sleep(0.5)
        print(f"{sum(len(peer.sent) for peer in peers)} messages in {flags.minutes:g} minutes")
        sys.exit(0 if report(peers, burst_texts) else 1)


if __name__ == "__main__":
    main()
