#!/usr/bin/env python3
"""Rates of the line protocol: how many lines a second one client publishes, and subscribers hear.

    wiber-server --data-dir /tmp/rates &
    scripts/lines_rates.py [PORT]

Messages have 100 bytes. Lines are counted by their newlines, so that the measuring takes little of the machine itself.
"""
import selectors
import socket
import sys
import threading
import time

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 8888
REST = "x" * 92


def connect(*said):
    client = socket.create_connection(("127.0.0.1", PORT))
    for line in said:
        client.sendall(line.encode() + b"\n")
    hears = client.makefile("rb", buffering=0)
    for _ in range(1 + len(said)):
        line = b""
        while not line.endswith(b"\n"):
            line += hears.read(1)
        assert line.startswith(b"OK "), line
    return client


def count_lines(clients, wanted):
    """Reads until so many lines have come in all; how many came to each."""
    selector = selectors.DefaultSelector()
    counts = {client: 0 for client in clients}
    for client in clients:
        selector.register(client, selectors.EVENT_READ)
    total = 0
    while total < wanted:
        for key, _ in selector.select():
            lines = key.fileobj.recv(1 << 20).count(b"\n")
            counts[key.fileobj] += lines
            total += lines
    return list(counts.values())


def publish(topic, count):
    """Publishes without waiting; returns once all is answered."""
    client = connect()
    text = b"".join(f"PUB {topic} {number:07} {REST}\n".encode() for number in range(count))
    writing = threading.Thread(target=client.sendall, args=(text,))
    writing.start()
    count_lines([client], count)
    writing.join()


def row(name, lines, began):
    seconds = time.monotonic() - began
    print(f"| {name} | {lines / seconds / 1000:.0f}k |")


def main():
    mark = int(time.time())
    publish(f"warm-{mark}", 50_000)
    began = time.monotonic()
    publish(f"pub-{mark}", 500_000)
    row("published by one client", 500_000, began)
    client = connect()
    began = time.monotonic()
    for _ in range(2_000):
        client.sendall(f"PUB one-{mark} {REST}\n".encode())
        count_lines([client], 1)
    row("published by one client that waits for each answer", 2_000, began)
    for name, topic, subscribers, command, each, count in [
        ("heard by one subscriber while it is published", "a", 1, "SUB {}", 1, 300_000),
        ("heard by 100 subscribers, together", "b", 100, "SUB {}", 100, 30_000),
        ("heard by a group of 10, together", "c", 10, "SUB {} g", 1, 300_000),
    ]:
        topic = f"{topic}-{mark}"
        clients = [connect(command.format(topic)) for _ in range(subscribers)]
        publishing = threading.Thread(target=publish, args=(topic, count))
        began = time.monotonic()
        publishing.start()
        counts = count_lines(clients, count * each)
        row(name, count * each, began)
        publishing.join()
        assert max(counts) - min(counts) <= count // 2, counts


main()
