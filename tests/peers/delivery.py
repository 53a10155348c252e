"""Counts the posts that arrived in the row `mixed` of tests/peers_netns.sh.

    python3 tests/peers/delivery.py FOLDER

A post is expected at a receiver if both peers were up from SETTLE ms before it until LATE ms after it, and if one of the
two is a peer of this program. The peers of other programs lose posts among themselves: those of the two dialects do not
understand each other, and the newest one posts to followers only. Those posts are counted separately.
"""

import collections
import json
import sys

OURS = {"0", "1", "2"}
# LATE is long: a killed process loses the events that it has not written yet.
SETTLE, LATE = 6000, 4000


def lines(folder, name):
    with open(f"{folder}/{name}") as file:
        return [line.rstrip("\n").split(" ", 2) for line in file]


def received(folder, host):
    texts = collections.Counter()
    with open(f"{folder}/h{host}.out") as file:
        for line in file:
            try:
                event = json.loads(line)
            except ValueError:
                continue  # A killed peer leaves an incomplete line.
            if event["event"] == "post":
                texts[event["text"]] += 1
            elif event["event"] == "heard" and event["type"] == "POST":
                texts[event["fields"]["CONTENT"]] += 1
    return texts


def main():
    folder = sys.argv[1]
    lives, kills = collections.defaultdict(list), collections.Counter()
    for at, host, change in lines(folder, "lives"):
        if change == "up":
            lives[host].append([int(at), float("inf")])
        else:
            lives[host][-1][1] = int(at)
            kills["ours" if host in OURS else "theirs"] += 1
    texts = {host: received(folder, host) for host in lives}
    counts, missing = collections.Counter(), collections.Counter()
    for at, sender, text in lines(folder, "posted"):
        at = int(at)
        is_up = lambda host: any(start + SETTLE < at and at + LATE < end for start, end in lives[host])
        for host in lives:
            if host == sender or not is_up(host) or not is_up(sender):
                continue
            found = texts[host][text]
            if sender in OURS or host in OURS:
                counts["expected"] += 1
                counts["missing"] += found == 0
                missing[f"h{sender}>h{host}"] += found == 0
                counts["twice"] += found > 1
            else:
                counts["theirs"] += 1
                counts["theirs missing"] += found == 0
    print(
        f"three peers of ours beside three others, {kills['ours']} of ours and {kills['theirs']} of theirs killed and started"
        f" again: of {counts['expected']} posts to and from ours {counts['missing']} missing, {counts['twice']} twice,"
        f" {' '.join(f'{pair} {count}' for pair, count in missing.items() if count) or 'no pair lost any'}; of"
        f" {counts['theirs']} among themselves {counts['theirs missing']} missing"
    )


if __name__ == "__main__":
    main()
