#!/usr/bin/env python3
"""Remakes the record batches in src/record/testdata/ from Kafka client libraries other than ours.

Needs aiokafka, cramjam and confluent-kafka (librdkafka) from the Python package index:

    python3 -m venv venv && venv/bin/pip install aiokafka cramjam confluent-kafka
    venv/bin/python scripts/golden_batches.py

aiokafka builds its batches offline. librdkafka sends its batches to a broker of a few lines below, which takes the
record sets out of the produce requests as they came. Every file holds one batch, in hexadecimal.

    venv/bin/python scripts/golden_batches.py --read FILE...

prints what aiokafka reads in batches (hexadecimal) of ours instead.
"""

import gzip
import pathlib
import socketserver
import struct
import sys
import threading

import aiokafka
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

TESTDATA = pathlib.Path(__file__).resolve().parent.parent / "src" / "record" / "testdata"
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
BASE = 1_700_000_000_000

# timestamp, key, value, headers; the tests build the same.
RECORDS = [
    (BASE, b"k0", b"hello", []),
    (BASE + 5, None, b"no key", []),
    (BASE - 70, b"tombstone", None, []),
    (BASE + 1_000_000_000, b"", b"", [("h1", b"v1"), ("h1", b""), ("", None), ("\u00e9", b"\x00\xff")]),
    (BASE + 3, b"long" * 50, b"0123456789" * 100, []),
]


def write(name, batch):
    text = bytes(batch).hex()
    lines = [text[at:at + 120] for at in range(0, len(text), 120)]
    (TESTDATA / f"{name}.hex").write_text("\n".join(lines) + "\n")
    print(f"{name}: {len(batch)} bytes")


def aiokafka_batch(codec, producer=(-1, -1, -1)):
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=CODECS[codec], is_transactional=0, producer_id=producer[0],
        producer_epoch=producer[1], base_sequence=producer[2], batch_size=1 << 20)
    for offset, (timestamp, key, value, headers) in enumerate(RECORDS):
        builder.append(offset, timestamp=timestamp, key=key, value=value, headers=headers)
    return builder.build()


class FakeBroker(socketserver.BaseRequestHandler):
    """Just enough of a broker for one producer of one topic."""

    VERSIONS = {0: (3, 7), 1: (4, 10), 3: (0, 1), 10: (0, 0), 18: (0, 0), 22: (0, 0)}

    def take(self, count):
        data = b""
        while len(data) < count:
            piece = self.request.recv(count - len(data))
            if not piece:
                raise ConnectionError
            data += piece
        return data

    def handle(self):
        try:
            while True:
                request = self.take(struct.unpack(">i", self.take(4))[0])
                api, version, correlation, client = struct.unpack(">hhih", request[:10])
                answer = self.answer(api, version, request[10 + max(client, 0):])
                self.request.sendall(struct.pack(">ii", 4 + len(answer), correlation) + answer)
        except ConnectionError:
            pass

    def answer(self, api, version, body):
        if api == 18:
            error = 0 if version == 0 else 35
            entries = b"".join(struct.pack(">hhh", k, *v) for k, v in self.VERSIONS.items())
            return struct.pack(">hi", error, len(self.VERSIONS)) + entries
        if api == 3:
            host, port = self.server.server_address
            name = host.encode()
            return (struct.pack(">iih", 1, 1, len(name)) + name + struct.pack(">ih", port, -1)
                    + struct.pack(">ii", 1, 1) + struct.pack(">hh", 0, 6) + b"golden" + b"\0"
                    + struct.pack(">ihiiiiii", 1, 0, 0, 1, 1, 1, 1, 1))
        if api == 22:
            return struct.pack(">ihqh", 0, 0, 4711, 3)
        if api == 0:
            at = 2 + max(struct.unpack(">h", body[:2])[0], 0) + 2 + 4 + 4
            at += 2 + struct.unpack(">h", body[at:at + 2])[0] + 4 + 4
            size, = struct.unpack(">i", body[at:at + 4])
            self.server.batches.append(body[at + 4:at + 4 + size])
            log_start = struct.pack(">q", 0) if version >= 5 else b""
            return (struct.pack(">ih", 1, 6) + b"golden" + struct.pack(">iihqq", 1, 0, 0, 0, -1) + log_start
                    + struct.pack(">i", 0))
        raise ConnectionError(f"request {api} is not expected")


def librdkafka_batch(codec, idempotent=False):
    import confluent_kafka
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), FakeBroker) as server:
        server.daemon_threads = True
        server.batches = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host, port = server.server_address
        producer = confluent_kafka.Producer({
            "bootstrap.servers": f"{host}:{port}", "linger.ms": 1000, "compression.type": codec,
            "enable.idempotence": idempotent})
        for timestamp, key, value, headers in RECORDS:
            producer.produce("golden", partition=0, timestamp=timestamp, key=key, value=value,
                             headers=headers or None)
        assert producer.flush(20) == 0
        server.shutdown()
        assert len(server.batches) == 1, len(server.batches)
        return server.batches[0]


def read(path):
    batch = DefaultRecordBatch(bytes.fromhex(pathlib.Path(path).read_text()))
    print(path, "crc", batch.validate_crc(), "codec", batch.compression_type, "control", batch.is_control_batch,
          "producer", (batch.producer_id, batch.producer_epoch, batch.base_sequence))
    found = [(r.timestamp, r.key, r.value, [tuple(h) for h in r.headers]) for r in batch]
    print("  the golden records" if found == RECORDS else found)


def main():
    if sys.argv[1:2] == ["--read"]:
        for path in sys.argv[2:]:
            read(path)
        return
    gzip.time.time = lambda: 0
    for codec in CODECS:
        write(f"aiokafka_{codec}", aiokafka_batch(codec))
        write(f"librdkafka_{codec}", librdkafka_batch(codec))
    write("aiokafka_idempotent", aiokafka_batch("none", producer=(1234, 5, 77)))
    write("librdkafka_idempotent", librdkafka_batch("none", idempotent=True))
    print("aiokafka", aiokafka.__version__)


if __name__ == "__main__":
    main()
