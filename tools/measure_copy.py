#!/usr/bin/env python3
"""Measures `rollcall storage copy`: objects per second, processor time and resident memory.

Makes a local bucket of users with images, and copies it twice. The second pass writes nothing: it
compares. Credentials and endpoints of the target come from the environment, as for the command.

    tools/measure_copy.py                                # 10,000 users with two images, local
    tools/measure_copy.py --users 1000 --to gcs:BUCKET   # to another store, which should be empty
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path


def make_bucket(bucket, users, images, image_bytes):
    """Writes the users. The images are not pictures: a copy does not look into them."""
    random.seed(7)
    for number in range(users):
        name = f"user{number:06}"
        folder = bucket / "users" / name
        (folder / "images").mkdir(parents=True)
        profile = {
            "id": f"00000000-0000-4000-8000-{number:012}",
            "username": name,
            "addr": "192.0.2.1:9000",
            "status": "active",
            "registered_at": "2026-01-01T00:00:00Z",
            "last_seen": None,
            "metadata": {"number": number},
        }
        (folder / "profile.json").write_text(json.dumps(profile))
        for image in range(images):
            (folder / "images" / f"{1733511234 + image}-{number:08x}.png").write_bytes(random.randbytes(image_bytes))


def copy(program, source, target):
    """Runs one pass. Returns the JSON document, and the resources that the process used."""
    command = [program, "storage", "copy", "--json", "--from", f"local:{source}", "--to", target]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    document = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"the copy ended with exit code {process.returncode}: {document.decode()}")
    return json.loads(document), usage


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--images", type=int, default=2, help="images of each user")
    parser.add_argument("--image-bytes", type=int, default=20_000, help="size of each image")
    parser.add_argument("--to", help="target store; without it a temporary directory")
    args = parser.parse_args()
    root = Path(__file__).resolve().parent.parent
    program = os.environ.get("ROLLCALL_BIN", str(root / "target/release/rollcall"))
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "from"
        make_bucket(source, args.users, args.images, args.image_bytes)
        for name in ["first pass", "second pass"]:
            document, usage = copy(program, source, args.to or f"local:{directory}/to")
            objects = document["created"] + document["unchanged"]
            seconds = document["ms"] / 1000
            print(
                f"{name}: {objects} objects in {seconds:.1f} s, {objects / max(seconds, 0.001):.0f} per second, "
                f"{document['created']} written, {document['bytes']} bytes; "
                f"processor {usage.ru_utime + usage.ru_stime:.1f} s, memory {usage.ru_maxrss / 1024:.0f} MiB"
            )


if __name__ == "__main__":
    main()
