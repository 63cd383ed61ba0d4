#!/usr/bin/env python3
"""Processor time that the server takes for a message: librdkafka over Kafka's protocol beside our client over the native one.

    scripts/kafka_cpu.py target/release [SIZE [MESSAGES [ROUNDS]]]

Needs confluent-kafka. In each round a server of its own, to which as many messages are published, and read, both ways, to topics of
four partitions, all durable; which way comes first changes from round to round. What a client does to keep up is its own time and not
counted.
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import confluent_kafka

BINARIES = sys.argv[1]
SIZE, MESSAGES, ROUNDS = (int(number) for number in (sys.argv[2:] + ["1024", "1000000", "5"][len(sys.argv) - 2 :]))
PARTITIONS = 4
# Messages handed over at a time: what becomes of them is for librdkafka to say.
CHUNK = 100


def start(directory):
    """A server on free ports; the process, and its native and Kafka addresses."""
    chosen = {"QB_DATA_DIR": directory, "QB_SERVER_PORT": "0", "QB_KAFKA__PORT": "0", "QB_LINES__ENABLED": "false"}
    chosen["QB_TOPICS__CREATE"] = json.dumps({"native": PARTITIONS, "kafka": PARTITIONS})
    server = subprocess.Popen(
        [f"{BINARIES}/wiber-server"], env={**os.environ, **chosen}, stderr=subprocess.PIPE, text=True, cwd=directory
    )
    addresses = {}
    for line in server.stderr:
        for protocol in ("native", "Kafka"):
            if f"listening ({protocol} protocol)" in line:
                addresses[protocol] = line.split("address=")[1].split()[0]
        if len(addresses) == 2:
            return server, addresses["native"], addresses["Kafka"]
    raise SystemExit("the server does not start")


def ticks(server):
    """Processor time the server has used, in hundredths of a second."""
    with open(f"/proc/{server.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(") ", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def kafka_publish(address, topic):
    settings = {"bootstrap.servers": address, "acks": "all", "linger.ms": 5, "queue.buffering.max.messages": 1_000_000}
    producer = confluent_kafka.Producer(settings)
    value = os.urandom(SIZE // 2).hex().encode()
    for number in range(0, MESSAGES, CHUNK):
        batch = [{"value": value}] * min(CHUNK, MESSAGES - number)
        while batch:
            accepted = producer.produce_batch(topic, batch, partition=number // CHUNK % PARTITIONS)
            batch = batch[accepted:]
            producer.poll(0.01 if batch else 0)
    assert producer.flush(120) == 0


def kafka_read(address, topic):
    consumer = confluent_kafka.Consumer({"bootstrap.servers": address, "group.id": "measuring"})
    consumer.assign([confluent_kafka.TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    came = 0
    while came < MESSAGES:
        came += sum(message.error() is None for message in consumer.consume(10_000, 1))
    consumer.close()


def native(address, command, topic):
    port = address.rsplit(":", 1)[1]
    what = ["bench", command, "--port", port, "--topic", topic, "--messages", str(MESSAGES), "--size", str(SIZE)]
    subprocess.run([f"{BINARIES}/wiber-client", *what], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def measure(server, work):
    before = ticks(server)
    work()
    # What the server does afterwards for it (syncs, segments) is its own as well.
    time.sleep(0.2)
    return (ticks(server) - before) * 10_000 / MESSAGES


def round_of(number, results):
    with tempfile.TemporaryDirectory() as directory:
        server, at_native, at_kafka = start(directory)
        try:
            publishing = [
                ("publish, native", lambda: native(at_native, "publish", "native")),
                ("publish, Kafka", lambda: kafka_publish(at_kafka, "kafka")),
            ]
            reading = [
                ("read, native", lambda: native(at_native, "consume", "native")),
                ("read, Kafka", lambda: kafka_read(at_kafka, "kafka")),
            ]
            step = -1 if number % 2 else 1
            for name, work in publishing[::step] + reading[::step]:
                results.setdefault(name, []).append(measure(server, work))
        finally:
            server.terminate()
            server.wait()


def main():
    results = {}
    for number in range(ROUNDS):
        round_of(number, results)
    print(f"{MESSAGES} messages of {SIZE} bytes, {ROUNDS} rounds: microseconds of the server for a message")
    for name, values in results.items():
        print(f"{name:<16} median {statistics.median(values):.3f}  from {min(values):.3f} to {max(values):.3f}")


main()
