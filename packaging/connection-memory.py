#!/usr/bin/env python3
"""What a connection that is open and idle costs a callee: memory and descriptors.

    packaging/connection-memory.py target/release/callee
"""

import os
import socket
import subprocess
import sys
import tempfile
import time

FEW, MORE = 100, 400


def main(callee):
    with tempfile.TemporaryDirectory() as folder:
        at = os.path.join(folder, "callee.sock")
        database = os.path.join(folder, "db.sqlite")
        limits = ["--connections=1000", "--connections-per-peer=900"]
        command = [callee, f"--listen=unix:{at}", f"--d1=DB={database}", "--d1-create", *limits]
        daemon = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            while not os.path.exists(at):
                time.sleep(0.01)
            held = [connect(at) for _ in range(FEW)]
            before = used(daemon.pid)
            held += [connect(at) for _ in range(MORE)]
            after = used(daemon.pid)
        finally:
            daemon.terminate()
            daemon.wait()
    memory, descriptors = ((b - a) / MORE for a, b in zip(before, after))
    rest = after[1] - len(held)
    print(f"{memory:.0f} KiB and {descriptors:.0f} descriptor a connection; {rest} descriptors besides")


def connect(at):
    """A connection that has been opened, as workerd does."""
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(at)
    peer.sendall(b"CONNECT DB HTTP/1.1\r\n\r\n")
    assert peer.recv(100).startswith(b"HTTP/1.1 200")
    return peer


def used(pid):
    """Resident memory in KiB, and descriptors."""
    with open(f"/proc/{pid}/status") as status:
        memory = next(line for line in status if line.startswith("VmRSS"))
    return int(memory.split()[1]), len(os.listdir(f"/proc/{pid}/fd"))


if __name__ == "__main__":
    main(sys.argv[1])
