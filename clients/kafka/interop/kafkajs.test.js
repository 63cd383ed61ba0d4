'use strict';
// kafkajs against the server that WIBER_KAFKA names. Every wait has an end: each test has a limit, and so has the run.

const assert = require('node:assert/strict');
const { randomUUID } = require('node:crypto');
const { test } = require('node:test');
const kafkajs = require('kafkajs');
const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, AclResourceTypes, ResourcePatternTypes, AclOperationTypes, AclPermissionTypes } = kafkajs;

const LIMIT = { timeout: 60_000 };
const kafka = new Kafka({
  clientId: 'interop',
  brokers: [process.env.WIBER_KAFKA],
  logLevel: kafkajs.logLevel.NOTHING,
  retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 20 },
});
const name = (what) => `${what}-${randomUUID().slice(0, 13)}`;

// What it cannot do itself comes from packages, where they are.
function optional(module) {
  try {
    return require(module);
  } catch {
    return undefined;
  }
}
const snappy = optional('kafkajs-snappy');
const lz4 = optional('lz4js');
if (snappy) CompressionCodecs[CompressionTypes.Snappy] = snappy;
if (lz4) {
  CompressionCodecs[CompressionTypes.LZ4] = () => ({
    compress: async (encoder) => Buffer.from(lz4.compress(encoder.buffer)),
    decompress: async (buffer) => Buffer.from(lz4.decompress(buffer)),
  });
}

async function connected(t, client, use) {
  await client.connect();
  t.after(() => client.disconnect());
  return use ? use(client) : client;
}

async function topic(t, numPartitions = 1, configEntries = []) {
  const made = name('t');
  const admin = await connected(t, kafka.admin());
  await admin.createTopics({ topics: [{ topic: made, numPartitions, replicationFactor: 1, configEntries }], waitForLeaders: true });
  return made;
}

const producer = (t, settings = {}) =>
  connected(t, kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner, ...settings }));

const consumerOf = (t, groupId) =>
  connected(t, kafka.consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 300, rebalanceTimeout: 3000, maxWaitTimeInMs: 100 }));

// So many messages of a topic, from its start where the group has no position.
async function read(consumer, of, count) {
  const came = [];
  await consumer.subscribe({ topic: of, fromBeginning: true });
  await new Promise((resolve, reject) => {
    consumer
      .run({
        autoCommit: false,
        eachMessage: async ({ partition, message }) => {
          came.push({ partition, ...message });
          if (came.length >= count) resolve();
        },
      })
      .catch(reject);
  });
  return came;
}

for (const [codec, type, isThere] of [
  ['none', CompressionTypes.None, true],
  ['gzip', CompressionTypes.GZIP, true],
  ['snappy', CompressionTypes.Snappy, snappy],
  ['lz4', CompressionTypes.LZ4, lz4],
]) {
  test(`batches of codec ${codec} come back whole`, { ...LIMIT, skip: !isThere }, async (t) => {
    const of = await topic(t);
    const messages = Array.from({ length: 100 }, (_, n) => ({ key: `k${n}`, value: `${codec} ${n} `.repeat(20), partition: 0 }));
    const [stored] = await (await producer(t)).send({ topic: of, messages, compression: type });
    assert.equal(stored.baseOffset, '0');
    const came = await read(await consumerOf(t, name('g')), of, 100);
    assert.deepEqual(came.map((m) => m.value.toString()), messages.map((m) => m.value));
    assert.deepEqual(came.map((m) => m.offset), messages.map((_, n) => String(n)));
  });
}

test('keys, headers, nulls and times', LIMIT, async (t) => {
  const of = await topic(t);
  await (await producer(t)).send({
    topic: of,
    messages: [
      { key: 'key', value: 'value', headers: { one: '1', many: ['2', '3'] }, timestamp: '1700000000123' },
      { key: 'gone', value: null, timestamp: '1700000000124' },
    ],
  });
  const [value, gone] = await read(await consumerOf(t, name('g')), of, 2);
  assert.deepEqual([value.key.toString(), value.value.toString(), value.timestamp], ['key', 'value', '1700000000123']);
  assert.equal(value.headers.one.toString(), '1');
  assert.deepEqual(value.headers.many.map(String), ['2', '3']);
  assert.deepEqual([gone.key.toString(), gone.value, gone.timestamp], ['gone', null, '1700000000124']);
});

test('every acknowledgement, and an idempotent producer', LIMIT, async (t) => {
  const of = await topic(t);
  const plain = await producer(t);
  for (const acks of [0, 1, -1]) await plain.send({ topic: of, acks, messages: [{ value: `acks ${acks}` }] });
  const sure = await producer(t, { idempotent: true });
  for (let n = 0; n < 3; n++) await sure.send({ topic: of, messages: [{ value: `sure ${n}` }] });
  const came = await read(await consumerOf(t, name('g')), of, 6);
  assert.deepEqual(came.map((m) => m.value.toString()), ['acks 0', 'acks 1', 'acks -1', 'sure 0', 'sure 1', 'sure 2']);
});

test('what is refused', LIMIT, async (t) => {
  const sender = await producer(t, { retry: { retries: 0 } });
  const small = await topic(t, 1, [{ name: 'max.message.bytes', value: '2000' }]);
  await assert.rejects(sender.send({ topic: small, messages: [{ value: 'x'.repeat(300_000) }] }), { type: 'MESSAGE_TOO_LARGE' });
  const compacted = await topic(t, 1, [{ name: 'cleanup.policy', value: 'compact' }]);
  await assert.rejects(sender.send({ topic: compacted, messages: [{ value: 'no key' }] }));
});

test('a group divides a topic, and goes on where it committed', LIMIT, async (t) => {
  const of = await topic(t, 4);
  const groupId = name('g');
  const members = [await consumerOf(t, groupId), await consumerOf(t, groupId)];
  const assigned = members.map(() => new Set());
  const seen = [];
  let isHalved;
  const halved = new Promise((resolve) => (isHalved = resolve));
  let isRead;
  const allRead = new Promise((resolve) => (isRead = resolve));
  for (const [index, member] of members.entries()) {
    member.on(member.events.GROUP_JOIN, ({ payload }) => {
      assigned[index] = new Set(payload.memberAssignment[of] ?? []);
      if (assigned.every((set) => set.size === 2)) isHalved();
    });
    await member.subscribe({ topic: of, fromBeginning: true });
    await member.run({
      autoCommitThreshold: 1,
      eachMessage: async ({ partition, message }) => {
        seen.push(`${partition}:${message.offset}`);
        if (new Set(seen).size === 40) isRead();
      },
    });
  }
  await halved;
  assert.deepEqual([...assigned[0], ...assigned[1]].sort(), [0, 1, 2, 3]);
  const messages = Array.from({ length: 40 }, (_, n) => ({ value: String(n), partition: n % 4 }));
  await (await producer(t)).send({ topic: of, messages });
  await allRead;
  for (const member of members) await member.stop();
  const admin = await connected(t, kafka.admin());
  const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [of] });
  assert.deepEqual(partitions.map((p) => p.offset), ['10', '10', '10', '10']);
});

test('topics, settings, offsets and the cluster', LIMIT, async (t) => {
  const admin = await connected(t, kafka.admin());
  const of = await topic(t, 2, [{ name: 'retention.ms', value: '100000000' }]);
  assert.equal(await admin.createTopics({ topics: [{ topic: of, numPartitions: 2 }] }), false);
  await admin.createPartitions({ topicPartitions: [{ topic: of, count: 3 }] });
  const { topics } = await admin.fetchTopicMetadata({ topics: [of] });
  assert.equal(topics[0].partitions.length, 3);
  const resource = { type: ConfigResourceTypes.TOPIC, name: of };
  const setting = async () => {
    const { resources } = await admin.describeConfigs({ includeSynonyms: false, resources: [{ ...resource, configNames: ['retention.ms'] }] });
    return resources[0].configEntries.find((entry) => entry.configName === 'retention.ms').configValue;
  };
  assert.equal(await setting(), '100000000');
  await admin.alterConfigs({ validateOnly: false, resources: [{ ...resource, configEntries: [{ name: 'retention.ms', value: '200000000' }] }] });
  assert.equal(await setting(), '200000000');
  await (await producer(t)).send({ topic: of, messages: Array.from({ length: 5 }, () => ({ value: 'x', partition: 0, timestamp: '1700000000000' })) });
  await admin.deleteTopicRecords({ topic: of, partitions: [{ partition: 0, offset: '3' }] });
  const first = (await admin.fetchTopicOffsets(of)).find((p) => p.partition === 0);
  assert.deepEqual([first.low, first.high], ['3', '5']);
  const timed = (await admin.fetchTopicOffsetsByTimestamp(of, 1699999999999)).find((p) => p.partition === 0);
  assert.equal(timed.offset, '3');
  const cluster = await admin.describeCluster();
  assert.deepEqual(cluster.brokers.map((b) => `${b.host}:${b.port}`), [process.env.WIBER_KAFKA]);
  await admin.deleteTopics({ topics: [of] });
  assert.ok(!(await admin.listTopics()).includes(of));
});

test('groups are listed, set, described and deleted', LIMIT, async (t) => {
  const admin = await connected(t, kafka.admin());
  const of = await topic(t, 2);
  const groupId = name('g');
  await admin.setOffsets({ groupId, topic: of, partitions: [{ partition: 0, offset: '7' }] });
  const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [of] });
  assert.equal(partitions.find((p) => p.partition === 0).offset, '7');
  const { groups } = await admin.listGroups();
  assert.ok(groups.some((group) => group.groupId === groupId));
  const described = await admin.describeGroups([groupId]);
  assert.equal(described.groups[0].state, 'Empty');
  await admin.deleteGroups([groupId]);
  assert.ok(!(await admin.listGroups()).groups.some((group) => group.groupId === groupId));
});

test('access control is not there', LIMIT, async (t) => {
  const admin = await connected(t, kafka.admin({ retry: { retries: 0 } }));
  const everything = {
    resourceType: AclResourceTypes.ANY,
    resourcePatternType: ResourcePatternTypes.ANY,
    operation: AclOperationTypes.ANY,
    permissionType: AclPermissionTypes.ANY,
  };
  await assert.rejects(admin.describeAcls(everything), { type: 'SECURITY_DISABLED' });
});
