//! The guard, and its tables against the crate's own decoder.

use kafka_protocol::messages::*;
use proptest::prelude::*;

use super::*;
use crate::protocol::kafka::api::APIS;

/// Requests made from the tables, by a little chance.
struct Maker {
    state: u64,
    version: i16,
    is_flexible: bool,
    bytes: Vec<u8>,
}

impl Maker {
    fn below(&mut self, end: u64) -> u8 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u8::try_from((self.state >> 33) % end).unwrap()
    }

    /// A length or count below 127.
    fn length(&mut self, classic_bytes: usize, length: u8) {
        if self.is_flexible {
            self.bytes.push(length + 1);
        } else {
            self.bytes.resize(self.bytes.len() + classic_bytes - 1, 0);
            self.bytes.push(length);
        }
    }

    fn fixed(&mut self, bytes: usize) {
        for _ in 0..bytes {
            let byte = self.below(256);
            self.bytes.push(byte);
        }
    }

    fn text(&mut self, length_bytes: usize) {
        let length = self.below(6);
        self.length(length_bytes, length);
        self.bytes.resize(self.bytes.len() + usize::from(length), b'x');
    }

    fn structure(&mut self, fields: &[Field]) {
        for field in fields {
            if !field.is_in(self.version) {
                continue;
            }
            match field.kind {
                Kind::Fixed(bytes) => self.fixed(bytes),
                Kind::Text => self.text(2),
                Kind::Blob => self.text(4),
                Kind::Array { shape, .. } => {
                    let count = self.below(4);
                    self.length(4, count);
                    for _ in 0..count {
                        match shape {
                            Shape::Fixed(bytes) => self.fixed(bytes),
                            Shape::Text => self.text(2),
                            Shape::Structure(fields) => self.structure(fields),
                        }
                    }
                }
            }
        }
        if self.is_flexible {
            let tagged: &[u8] = if self.below(4) == 0 { &[2, 60, 0, 61, 2, 7, 7] } else { &[0] };
            self.bytes.extend_from_slice(tagged);
        }
    }
}

fn made(api: Api, version: i16, seed: u64) -> Option<Vec<u8>> {
    let is_flexible = api.is_flexible(version);
    let mut maker = Maker { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15), version, is_flexible, bytes: Vec::new() };
    maker.structure(schema::of(api)?);
    Some(maker.bytes)
}

/// What the crate makes of a body: how many bytes it leaves, or nothing where it decodes nothing.
fn left_by_crate(api: Api, version: i16, body: &[u8]) -> Option<usize> {
    let mut body = Bytes::copy_from_slice(body);
    macro_rules! decoded {
        ($($api:ident => $request:ident,)*) => {
            match api {
                $(Api::$api => $request::decode(&mut body, version).map(drop),)*
            }
        };
    }
    let decoded = decoded! {
        Produce => ProduceRequest, Fetch => FetchRequest, ListOffsets => ListOffsetsRequest, Metadata => MetadataRequest,
        OffsetCommit => OffsetCommitRequest, OffsetFetch => OffsetFetchRequest,
        FindCoordinator => FindCoordinatorRequest, JoinGroup => JoinGroupRequest, Heartbeat => HeartbeatRequest,
        LeaveGroup => LeaveGroupRequest, SyncGroup => SyncGroupRequest, DescribeGroups => DescribeGroupsRequest,
        ListGroups => ListGroupsRequest, ApiVersions => ApiVersionsRequest, CreateTopics => CreateTopicsRequest,
        DeleteTopics => DeleteTopicsRequest, DeleteRecords => DeleteRecordsRequest,
        InitProducerId => InitProducerIdRequest, OffsetForLeaderEpoch => OffsetForLeaderEpochRequest,
        DescribeAcls => DescribeAclsRequest, CreateAcls => CreateAclsRequest, DeleteAcls => DeleteAclsRequest,
        DescribeConfigs => DescribeConfigsRequest, AlterConfigs => AlterConfigsRequest,
        DescribeLogDirs => DescribeLogDirsRequest, CreatePartitions => CreatePartitionsRequest,
        DeleteGroups => DeleteGroupsRequest, IncrementalAlterConfigs => IncrementalAlterConfigsRequest,
        OffsetDelete => OffsetDeleteRequest, DescribeCluster => DescribeClusterRequest,
        DescribeProducers => DescribeProducersRequest,
    };
    decoded.ok().map(|()| body.len())
}

fn each_version(mut check: impl FnMut(Api, i16)) {
    for row in APIS.iter().filter(|row| schema::of(row.api).is_some()) {
        (row.min..=row.max).for_each(|version| check(row.api, version));
    }
}

/// Every version of every request as the tables have it: the crate reads it to its end, and so does the guard; and where an end
/// is missing, both say so.
#[test]
fn the_tables_are_the_crates() {
    each_version(|api, version| {
        for seed in 0..40 {
            let body = made(api, version, seed).unwrap();
            assert_eq!(check(api, version, &body), Ok(body.len()), "{api:?} {version}: {body:?}");
            assert_eq!(left_by_crate(api, version, &body), Some(0), "{api:?} {version}: {body:?}");
            for end in 0..body.len() {
                assert_eq!(
                    check(api, version, &body[..end]),
                    Err(Malformed::Short),
                    "{api:?} {version}: {end} of {body:?}"
                );
            }
        }
    });
}

/// What follows a request is nobody's, and no reason to refuse it.
#[test]
fn what_follows_is_left() {
    each_version(|api, version| {
        let mut body = made(api, version, 7).unwrap();
        let length = body.len();
        body.extend_from_slice(&[0xFF; 3]);
        assert_eq!(check(api, version, &body), Ok(length));
    });
}

#[test]
fn counts_that_are_not_there_are_refused() {
    let million = 1_000_000_i32.to_be_bytes();
    assert_eq!(check(Api::Metadata, 1, &million), Err(Malformed::Short));
    assert_eq!(check(Api::Metadata, 9, &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F]), Err(Malformed::Short));
    // As many names as bytes allow, all empty: there, but a multiple of what came.
    let mut names = 500_000_i32.to_be_bytes().to_vec();
    names.resize(4 + 1_000_000, 0);
    assert!(matches!(check(Api::Metadata, 1, &names), Err(Malformed::TooMuch(_))));
    // Many structures with a tagged field each.
    let mut tagged = vec![0x81, 0x80, 0x01];
    tagged.extend([1, 1, 0, 0].repeat(16_384));
    assert!(matches!(check(Api::Metadata, 9, &tagged), Err(Malformed::TooMuch(_))));
}

/// A client that asks about all the topics it knows is not taken for an attacker.
#[test]
fn many_topics_may_be_asked_about() {
    let mut body = 2_000_i32.to_be_bytes().to_vec();
    (0..2_000).for_each(|number| body.extend_from_slice(format!("\0\x0btopic-{number:05}").as_bytes()));
    assert_eq!(check(Api::Metadata, 0, &body), Ok(body.len()));
}

#[test]
fn what_is_read_elsewhere_or_not_served_is_refused() {
    assert!(matches!(check(Api::Produce, 9, &[]), Err(Malformed::Refused(_))));
    assert!(matches!(check(Api::Metadata, 13, &[0; 100]), Err(Malformed::Refused(_))));
}

proptest! {
    /// Whatever the bytes: no panic, and what the guard passes the crate reads to the same place or refuses.
    #[test]
    fn any_bytes(key in 0_usize..APIS.len(), version in 0_i16..13, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let api = APIS[key].api;
        if let Ok(length) = check(api, version, &body) {
            let left = left_by_crate(api, version, &body);
            prop_assert!(left.is_none_or(|left| left == body.len() - length));
        }
    }

    /// The same for good requests with a byte changed.
    #[test]
    fn changed_requests(key in 0_usize..APIS.len(), version in 0_i16..13, seed in 0_u64..1_000, at in 0_usize..400, byte in any::<u8>()) {
        let api = APIS[key].api;
        if api.serves(version) && let Some(mut body) = made(api, version, seed) && !body.is_empty() {
            let at = at % body.len();
            body[at] = byte;
            if let Ok(length) = check(api, version, &body) {
                let left = left_by_crate(api, version, &body);
                prop_assert!(left.is_none_or(|left| left == body.len() - length));
            }
        }
    }
}
