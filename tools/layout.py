#!/usr/bin/env python3
"""Finds out which functions a peer runs and writes layout.ld, with which the linker puts them next to each other.

    cargo build --release
    tools/layout.py [PROGRAM]

What a peer occupies is mostly its own program, of which the kernel maps 64 KB around every place that is run; so it
matters more where functions lie than how large they are (ARCHITECTURE.md, "The release build"). Make the file anew when
the figure of `cargo bench --bench figures -- chat` grows: a function that it does not name, or under another name, lies
elsewhere, which costs memory and nothing else.

Needs qemu-x86_64 (Debian's package qemu-user), which notes each piece of code when it is run for the first time, and nm
(binutils). Starts three peers on 127.0.0.1 and ends them; takes half a minute.
"""

import bisect
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "layout.ld"

# How long a peer that is emulated may take to greet another, and to do what it was told.
SOON_S = 20
# After which a peer has nothing left to do but to be there.
SETTLED_S = 5

# What a peer is for: first what each does, then what it does when it is used.
TALK = ["hello", "POST and again", "DM b one line", "LIST", "HISTORY", "VERBOSE", "HELP"]

HEAD = """\
/* Made by tools/layout.py. The functions that a peer runs, in the order in which it first does, next to each other: the
   kernel maps 64 KB around each place that is run, so scattered they would occupy three times as much. A name ends where
   the hashes of one compiler begin. What is missing or has another name lies with all the rest. */
SECTIONS
{
  .text.peer :
  {
"""

TAIL = """\
  }
}
INSERT BEFORE .text;
"""


class Peer:
    """A peer's process, which tells what happens in lines of JSON."""

    def __init__(self, command, *flags):
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("P2P_", "ROLLCALL_"))}
        self.process = subprocess.Popen(
            [*command, "peer", "--json", "--listen", "127.0.0.1:0", *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.listens_at = self.until("ready")["listen"]

    def until(self, event):
        """Waits for an event of this kind."""
        deadline = time.monotonic() + SOON_S
        while time.monotonic() < deadline:
            line = self.process.stdout.readline()
            if not line:
                sys.exit(f"error: a peer ended before it told of {event!r}")
            if json.loads(line)["event"] == event:
                return json.loads(line)
        sys.exit(f"error: a peer told nothing of {event!r} within {SOON_S} s")

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self):
        """As a person does who leaves."""
        self.process.stdin.close()
        self.process.wait(SOON_S)


def idle(traced, plain):
    """Two links and nothing to say."""
    other = Peer(plain, "--no-lan", "--name", "b")
    peer = Peer(traced, "--no-lan", "--name", "a", "--peers", other.listens_at)
    peer.until("found")
    third = Peer(plain, "--no-lan", "--name", "c", "--peers", peer.listens_at)
    third.until("found")
    time.sleep(SETTLED_S)
    for each in (third, peer, other):
        each.end()


def used(traced, plain):
    """The LAN, too, and everything that a person can say."""
    with tempfile.TemporaryDirectory() as kept:
        lan = ["--lan-addresses", "127.0.0.1"]
        other = Peer(plain, *lan, "--name", "b")
        peer = Peer(traced, *lan, "--name", "a", "--peers", other.listens_at, "--dir", kept, "--metrics", "127.0.0.1:0")
        peer.until("found")
        for line in TALK:
            peer.say(line)
            other.say(line)
        peer.until("post")
        time.sleep(SETTLED_S)
        for each in (peer, other):
            each.end()


def addresses(trace):
    """Where code was run, from the start of the program's file, in the order of the first time."""
    base, starts = None, re.compile(r"^([0-9a-f]{16})-[0-9a-f]{16} [0-9a-f]{16} r")
    with open(trace, encoding="ascii", errors="replace") as lines:
        for line in lines:
            if line.startswith("0x"):
                yield int(line.split(":", 1)[0], 16) - base
            elif base is None and (mapped := starts.match(line)):
                base = int(mapped[1], 16)


def symbols(program):
    """Where each function begins, how long it is, and what the linker calls it; in this order."""
    listed = subprocess.run(["nm", "--print-size", "--defined-only", program], check=True, capture_output=True, text=True)
    rows = (line.split() for line in listed.stdout.splitlines())
    return sorted((int(row[0], 16), int(row[1], 16), row[3]) for row in rows if len(row) == 4 and row[2] in "tTwW")


def pattern(symbol):
    """The symbol without what differs from one compiler to the next, and from one copy to another."""
    if symbol.startswith("_R"):
        return re.sub(r"Cs[0-9A-Za-z]+_", "Cs*_", re.sub(r"\.[.\w]+$", "", symbol)) + "*"
    return re.sub(r"17h[0-9a-f]{16}E.*$", "17h*", symbol)


def main():
    program = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/rollcall").resolve()
    if not program.exists():
        sys.exit(f"error: there is no {program}: cargo build --release makes it")
    functions = symbols(program)
    starts = [start for start, _, _ in functions]
    # A set that keeps the order.
    patterns = {}
    for scene in (idle, used):
        with tempfile.TemporaryDirectory() as directory:
            trace = Path(directory) / "trace"
            scene(["qemu-x86_64", "-d", "page,in_asm", "-D", str(trace), str(program)], [str(program)])
            for address in addresses(trace):
                at = bisect.bisect_right(starts, address) - 1
                if at >= 0 and address < functions[at][0] + functions[at][1]:
                    patterns[pattern(functions[at][2])] = None
        print(f"{scene.__name__}: {len(patterns)} names", file=sys.stderr)
    TARGET.write_text(HEAD + "".join(f"    *(.text.{name})\n" for name in patterns) + TAIL, encoding="ascii")


if __name__ == "__main__":
    main()
