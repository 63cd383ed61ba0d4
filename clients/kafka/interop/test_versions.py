"""Every API that is advertised, in every version: a request written by kafka-python's codec is answered, and the answer is one.

Clients of all ages choose other versions; a field that one version has no place for must not end the connection.
"""

from __future__ import annotations

import re
import socket
import struct
import unittest
from typing import Any

from .server import BOUND, KafkaTestCase

try:
    import kafka.protocol.admin as admin
    import kafka.protocol.consumer as consumer
    import kafka.protocol.metadata as metadata
    import kafka.protocol.producer as producer
    from kafka.record.memory_records import MemoryRecordsBuilder
except ImportError:
    raise unittest.SkipTest("kafka-python's codecs are not installed") from None


def _classes(suffix: str) -> dict[int, Any]:
    found = {}
    for module in (admin, consumer, metadata, producer):
        for name in dir(module):
            if name.endswith(suffix):
                one = getattr(module, name)
                found[one.API_KEY] = one
    return found


REQUESTS, RESPONSES = _classes("Request"), _classes("Response")

#: APIs that are asked elsewhere, or that nobody here can ask.
ELSEWHERE = {18: "ApiVersions is how this test begins", 30: "without requests in the codec", 31: "without requests in the codec"}
#: Errors that requests as plain as these may be answered with, by API key: of groups, members and topics that are not
#: there, and of the authorizer that is not.
EXPECTED = {
    12: {25},
    13: {0, 25},
    14: {25},
    15: {0, 69},
    11: {0, 79},
    20: {0, 3},
    29: {54},
    42: {0, 69},
    47: {0, 69},
}


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _batch() -> bytes:
    builder = MemoryRecordsBuilder(magic=2, compression_type=0, batch_size=1 << 20)
    builder.append(timestamp=1_700_000_000_000, key=b"key", value=b"value", headers=[])
    builder.close()
    return bytes(builder.buffer())


class Versions(KafkaTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.topic_name = self.topic()

    def values(self, key: int, version: int) -> dict[str, Any]:
        """What the fields of requests are filled with, by name; others have their default or are empty."""
        topic, group = self.topic_name, self.name("g") if key in (42, 47) else "interop"
        name = {19: self.name, 20: self.name}.get(key, lambda: topic)()
        return {
            "client_software_name": "interop",
            "client_software_version": "1.0",
            "name": name,
            "topic": topic,
            "topic_names": [name],
            "group_id": group,
            "groups": [group],
            "groups_names": [group],
            "key": group,
            "coordinator_keys": [group],
            "protocol_type": "consumer",
            "protocol_name": "range",
            "metadata": b"\0\0\0\0\0\0\0\0\0\0",
            "session_timeout_ms": 6000,
            "rebalance_timeout_ms": 1000,
            "count": 1 + version + 2,
            "num_partitions": 1,
            "replication_factor": 1,
            "acks": 1,
            "timeout_ms": 5000,
            "max_wait_ms": 10,
            "min_bytes": 1,
            "max_bytes": 1 << 20,
            "partition_max_bytes": 1 << 20,
            "timestamp": -1,
            "resource_type": 2,
            "resource_name": topic,
            "resource_type_filter": 1,
            "pattern_type_filter": 1,
            "operation": 1,
            "permission_type": 1,
            "endpoint_type": 1,
            "records": _batch(),
            "value": "86400000",
            "transaction_timeout_ms": 1000,
            "generation_id": -1,
            "generation_id_or_member_epoch": -1,
            "session_epoch": -1,
            "replica_id": -1,
            "current_leader_epoch": -1,
            "producer_id": -1,
            "producer_epoch": -1,
            "last_fetched_epoch": -1,
            "log_start_offset": -1,
            "committed_leader_epoch": -1,
            "member_epoch": -1,
            "retention_time_ms": -1,
            "commit_timestamp": -1,
        }

    def request(self, key: int, version: int) -> Any:
        values = self.values(key, version)

        def struct_of(owner: Any, fields: list[dict[str, Any]], inside: str) -> dict[str, Any]:
            built: dict[str, Any] = {}
            for field in fields:
                name, kind = _snake(field["name"]), field["type"]
                if "tag" in field or not _includes(field["versions"], version):
                    continue
                if field.get("default") == "null" and name == "assignments":
                    built[name] = None
                elif "fields" in field:
                    inner = getattr(owner, kind.removeprefix("[]"))
                    is_empty = name in ("assignments", "forgotten_topics_data", "members")
                    built[name] = [] if is_empty else [inner(**struct_of(inner, field["fields"], name))]
                elif inside == "configs" and name == "name":
                    built[name] = "retention.ms"
                elif name in ("partition_indexes", "partitions") and kind.startswith("[]"):
                    built[name] = [0]
                elif name in values:
                    built[name] = values[name]
                elif name in ("transactional_id", "group_instance_id", "configuration_keys", "reason") or name.endswith("_filter"):
                    built[name] = [] if kind.startswith("[]") else None
                elif kind.startswith("[]"):
                    built[name] = []
                elif kind == "string":
                    built[name] = ""
                elif kind == "bytes":
                    built[name] = b""
                elif kind == "bool":
                    built[name] = False
                elif kind != "uuid":
                    built[name] = 0
            return built

        chosen = REQUESTS[key]
        return chosen(version=version, **struct_of(chosen, chosen.json["fields"], ""))

    def ask(self, connection: socket.socket, key: int, version: int) -> Any:
        request = self.request(key, version)
        request.with_header(correlation_id=key * 100 + version, client_id="versions")
        connection.sendall(request.encode(header=True, framed=True))
        frame = _exactly(connection, struct.unpack(">i", _exactly(connection, 4))[0])
        response = RESPONSES[key].decode(frame, version=version, header=True)
        self.assertEqual(response.header.correlation_id, key * 100 + version)
        return response

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.server.kafka_port), BOUND)
        self.addCleanup(connection.close)
        return connection

    def test_every_version_of_every_api_is_answered(self) -> None:
        advertised = self.ask(self.connect(), 18, 0)
        rows = {row.api_key: (row.min_version, row.max_version) for row in advertised.api_keys}
        asked = 0
        for key, (lowest, highest) in sorted(rows.items()):
            if key in ELSEWHERE or key not in REQUESTS:
                continue
            lowest = max(lowest, 3) if key == 0 else lowest  # Produce is advertised from 0 for what clients conclude from it
            for version in range(lowest, min(highest, REQUESTS[key].max_version) + 1):
                with self.subTest(api=REQUESTS[key].__name__, version=version):
                    response = self.ask(self.connect(), key, version)
                    codes = set(_codes(response.to_dict()))
                    self.assertLessEqual(codes, EXPECTED.get(key, {0}), response)
                    asked += 1
        self.assertGreater(asked, 80)

    def test_a_version_of_api_versions_from_the_future(self) -> None:
        """The answer is in version 0 and says which are known, so that clients ask again (KIP-511)."""
        connection = self.connect()
        header = struct.pack(">hhih", 18, 99, 7, 1) + b"x" + b"\0"
        connection.sendall(struct.pack(">i", len(header)) + header)
        frame = _exactly(connection, struct.unpack(">i", _exactly(connection, 4))[0])
        correlation, error = struct.unpack_from(">ih", frame)
        self.assertEqual((correlation, error), (7, 35))
        self.assertTrue(self.ask(connection, 18, 3).api_keys)


def _includes(versions: str, version: int) -> bool:
    low, _, high = versions.partition("-")
    if versions.endswith("+"):
        return version >= int(versions[:-1])
    return int(low) <= version <= int(high or low)


def _codes(found: Any) -> list[int]:
    if isinstance(found, dict):
        own = [found["error_code"]] if "error_code" in found else []
        return own + [code for value in found.values() for code in _codes(value)]
    if isinstance(found, (list, tuple)):
        return [code for value in found for code in _codes(value)]
    return []


def _exactly(connection: socket.socket, count: int) -> bytes:
    connection.settimeout(BOUND)
    came = b""
    while len(came) < count:
        more = connection.recv(count - len(came))
        if not more:
            raise AssertionError("the server closed the connection")
        came += more
    return came
