#!/usr/bin/env python3
"""Measure what a registration costs on a storage: time, and CPU time of the node.

    tools/registration_cost.py target/release/rollcall [COUNT]

Starts a cluster of one node in a temporary directory, with the storage of the environment (S3_BUCKET and
others, see docs/storage.md), registers COUNT users [500] one after the other, and stops the node. The users
stay in the storage: use an empty bucket that can be deleted afterwards.
"""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid

ELECTION_PORT, API_PORT = 17080, 17081
START_SECONDS = 30


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def post(connection, name):
    body = json.dumps({"username": name, "addr": "10.0.0.1:9000"})
    connection.request("POST", "/register", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    response.read()
    return response.status


def wait_for_leader(connection):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if post(connection, f"first-{uuid.uuid4().hex[:12]}") == 201:
                return
        except OSError:
            connection.close()
        time.sleep(0.1)
    sys.exit("the node does not lead; its log is above")


def main():
    program, count = os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 500
    node = f"127.0.0.1:{ELECTION_PORT}"
    environment = os.environ | {"API_PORT": str(API_PORT), "ROLLCALL_API_BIND": "127.0.0.1", "RUST_LOG": "warn"}
    environment["ROLLCALL_REGISTRATION_RATE"] = "0"
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "--this-node", node, "--peers", node, "--exit-with-stdin"]
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        try:
            connection = http.client.HTTPConnection("127.0.0.1", API_PORT, timeout=30)
            wait_for_leader(connection)
            run = uuid.uuid4().hex[:8]
            cpu, start = cpu_seconds(process.pid), time.monotonic()
            refused = [status for n in range(count) if (status := post(connection, f"user-{run}-{n}")) != 201]
            took, cpu = time.monotonic() - start, cpu_seconds(process.pid) - cpu
        finally:
            process.stdin.close()
            process.wait(30)
    if refused:
        sys.exit(f"{len(refused)} of {count} registrations failed: {sorted(set(refused))}")
    print(f"{count} registrations: {1000 * took / count:.2f} ms and {1000 * cpu / count:.3f} ms of CPU time each")


if __name__ == "__main__":
    main()
