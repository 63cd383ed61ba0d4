"""A client as one writes it from the frame's description alone, with the habits of those that are out there:

a blocking socket, one thread that reads, a map of pending requests by sequence number in which the reply to each is looked
for (whatever its type), handlers of subscriptions that are registered only once the ACK has been read, `version` and
`created_at` on every frame, a thread that sends heartbeats. Standard library only.

Run as a program it plays a scenario against HOST PORT, says what it saw, and fails where a record is missing.
"""

import socket
import struct
import sys
import threading
import time
import uuid

DATA, ACK, HEARTBEAT, CREATE_TOPIC, SUBSCRIBE, UNSUBSCRIBE, PUBLISH = range(1, 8)


class Message:
    def __init__(self, message_type, sequence_number, timestamp, properties, body):
        self.message_type = message_type
        self.sequence_number = sequence_number
        self.timestamp = timestamp
        self.properties = properties
        self.body = body


def encode(message_type, sequence_number, properties, body=b""):
    properties = dict(properties, version="1.0", created_at=str(time.time()))
    block = b"".join(f"{key}={value}".encode("utf-8") + b"\0" for key, value in properties.items())
    total = 4 + 4 + 8 + 8 + 4 + len(block) + 4 + len(body)
    head = struct.pack(">IIQQ", total, message_type, sequence_number, int(time.time() * 1000))
    return head + struct.pack(">I", len(block)) + block + struct.pack(">I", len(body)) + body


def decode(data):
    message_type, sequence_number, timestamp = struct.unpack(">IQQ", data[:20])
    (length,) = struct.unpack(">I", data[20:24])
    block, rest = data[24 : 24 + length], data[24 + length :]
    properties = {}
    for pair in block.split(b"\0"):
        if pair:
            key, value = pair.decode("utf-8").split("=", 1)
            properties[key] = value
    (length,) = struct.unpack(">I", rest[:4])
    return Message(message_type, sequence_number, timestamp, properties, rest[4 : 4 + length])


class BrokerClient:
    def __init__(self, host="127.0.0.1", port=9999, client_id=None, handler_delay=0.0):
        self.host, self.port = host, port
        self.client_id = client_id or f"client_{uuid.uuid4().hex[:8]}"
        self.handler_delay = handler_delay
        self.sequence = 0
        self.lock = threading.Lock()
        self.send_lock = threading.Lock()
        self.pending = {}
        self.handlers = {}
        self.unhandled = []
        self.running = False

    def __enter__(self):
        self.connect()
        return self

    def __exit__(self, *_):
        self.disconnect()

    def connect(self):
        self.socket = socket.create_connection((self.host, self.port))
        self.running = True
        threading.Thread(target=self._receive, daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()

    def disconnect(self):
        self.running = False
        self.socket.close()

    def _send(self, frame):
        with self.send_lock:
            self.socket.sendall(frame)

    def _read_exactly(self, count):
        data = b""
        while len(data) < count:
            chunk = self.socket.recv(count - len(data))
            if not chunk:
                raise ConnectionError("closed by the server")
            data += chunk
        return data

    def _receive(self):
        try:
            while self.running:
                (total,) = struct.unpack(">I", self._read_exactly(4))
                self._take(decode(self._read_exactly(total - 4)))
        except (OSError, ConnectionError):
            self.running = False

    def _take(self, message):
        with self.lock:
            waiting = self.pending.get(message.sequence_number)
        # Any frame with the number of a pending request counts as its reply.
        if waiting is not None:
            waiting["reply"] = message
            waiting["event"].set()
        elif message.message_type == DATA:
            topic, partition = message.properties["topic"], int(message.properties["partition"])
            handler, auto_ack = self.handlers.get((topic, partition), (None, True))
            if handler is None:
                self.unhandled.append(message.sequence_number)
                return
            handler(message)
            if not auto_ack:
                properties = {"topic": topic, "partition": partition, "client_id": self.client_id}
                self._send(encode(ACK, message.sequence_number, properties))

    def _beat(self):
        while self.running:
            time.sleep(0.2)
            try:
                self._send(encode(HEARTBEAT, 0, {"client_id": self.client_id}))
            except OSError:
                return

    def _request(self, message_type, properties, body=b"", timeout=30.0):
        with self.lock:
            self.sequence += 1
            sequence = self.sequence
            waiting = self.pending[sequence] = {"event": threading.Event(), "reply": None}
        self._send(encode(message_type, sequence, properties, body))
        answered = waiting["event"].wait(timeout)
        with self.lock:
            del self.pending[sequence]
        if not answered:
            raise TimeoutError(f"no reply to {message_type} {properties}")
        reply = waiting["reply"]
        if reply.message_type != ACK:
            raise ValueError(f"a frame of type {reply.message_type} where the reply to {sequence} was due")
        return reply

    def create_topic(self, name, partitions=1, retention_hours=24):
        properties = {"topic": name, "partitions": partitions, "retention_hours": retention_hours}
        return self._request(CREATE_TOPIC, properties).properties.get("status") == "success"

    def publish(self, topic, data, partition=None, **properties):
        properties = dict(properties, topic=topic, client_id=self.client_id)
        if partition is not None:
            properties["partition"] = partition
        return self._request(PUBLISH, properties, data).properties.get("status") == "success"

    def publish_text(self, topic, text, partition=None, **properties):
        return self.publish(topic, text.encode("utf-8"), partition, **properties)

    def subscribe(self, topic, partition=0, offset=0, auto_ack=True, handler=None):
        properties = {"topic": topic, "client_id": self.client_id, "partition": partition, "offset": offset}
        reply = self._request(SUBSCRIBE, dict(properties, auto_ack=str(auto_ack).lower()))
        if reply.properties.get("status") != "success":
            return False
        time.sleep(self.handler_delay)
        self.handlers[(topic, partition)] = (handler, auto_ack)
        return True

    def unsubscribe(self, topic, partition=0):
        properties = {"topic": topic, "client_id": self.client_id, "partition": partition}
        reply = self._request(UNSUBSCRIBE, properties)
        self.handlers.pop((topic, partition), None)
        return reply.properties.get("status") == "success"


class Gathered:
    def __init__(self):
        self.messages = []
        self.changed = threading.Condition()

    def __call__(self, message):
        with self.changed:
            self.messages.append(message)
            self.changed.notify_all()

    def wait_for(self, count, timeout=60.0):
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.messages) >= count, timeout):
                raise TimeoutError(f"{len(self.messages)} of {count} records came")
            return list(self.messages)


def check(condition, text):
    if not condition:
        raise AssertionError(text)


def round_trip(host, port):
    with BrokerClient(host, port, client_id="original") as client:
        check(client.create_topic("original", partitions=3), "create")
        check(client.create_topic("original", partitions=3), "create again")
        check(not client.create_topic("original", partitions=4), "create with other partitions")
        check(not client.publish("absent", b"x"), "publish to a topic that is not there")
        for number in range(100):
            check(client.publish_text("original", f"zażółć {number}", partition=0, kind="text", number=number), "publish")
        gathered = Gathered()
        check(client.subscribe("original", 0, 0, handler=gathered), "subscribe")
        for offset, message in enumerate(gathered.wait_for(100)):
            check(message.sequence_number == offset, f"offset {message.sequence_number} for {offset}")
            check(message.body.decode("utf-8") == f"zażółć {offset}", "body")
            check(message.properties["kind"] == "text" and message.properties["number"] == str(offset), "headers")
            check("version" not in message.properties and "created_at" not in message.properties, "steering")
        # Publishing beside a subscription: numbers of requests and offsets meet, and must not be mistaken.
        for number in range(300):
            check(client.publish("original", str(number).encode(), partition=0), f"publish {number}")
        check(len(gathered.wait_for(400)) == 400, "each once")
        check(client.unsubscribe("original", 0), "unsubscribe")
        check(not client.unsubscribe("original", 0), "unsubscribe again")
        check(client.unhandled == [], f"records without a handler: {client.unhandled}")
    print("round trip: 400 records")


def slow_handlers(host, port, count, delay):
    with BrokerClient(host, port) as publisher:
        check(publisher.create_topic("slow"), "create")
        for number in range(20):
            check(publisher.publish("slow", str(number).encode()), "publish")
    results = []

    def one():
        try:
            with BrokerClient(host, port, handler_delay=delay) as client:
                gathered = Gathered()
                check(client.subscribe("slow", 0, 0, handler=gathered), "subscribe")
                offsets = [message.sequence_number for message in gathered.wait_for(20)]
                check(offsets == list(range(20)), f"{offsets}, without a handler {client.unhandled}")
            results.append(None)
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failed = [error for error in results if error is not None]
    check(not failed and len(results) == count, f"{len(failed)} of {count} missed records: {failed[:3]}")
    print(f"slow handlers: {count} of {count}")


def at_least_once(host, port):
    with BrokerClient(host, port, client_id="careful") as client:
        check(client.create_topic("careful"), "create")
        for number in range(2500):
            check(client.publish("careful", str(number).encode()), "publish")
        gathered = Gathered()
        check(client.subscribe("careful", 0, 0, auto_ack=False, handler=gathered), "subscribe")
        offsets = [message.sequence_number for message in gathered.wait_for(2500)]
        check(offsets == list(range(2500)), "each once, in order")
        check(client.unsubscribe("careful"), "unsubscribe")
        check(client.running, "the connection lives")
    print("at least once: 2500 records acknowledged")


def main():
    host, port, scenario = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    if scenario == "round-trip":
        round_trip(host, port)
    elif scenario == "slow-handlers":
        slow_handlers(host, port, int(sys.argv[4]), float(sys.argv[5]))
    elif scenario == "at-least-once":
        at_least_once(host, port)
    else:
        raise SystemExit(f"no scenario {scenario}")


if __name__ == "__main__":
    main()
