//! What a request is answered with.

use std::sync::Arc;

use bytes::BytesMut;
use kafka_protocol::messages::ApiVersionsRequest;

use super::KafkaListener;
use super::asked::Asked;
use super::fetch::FetchedReply;
use crate::listener::memory::{Loan, OWN_BYTES};
use crate::protocol::kafka::{
    Api, KafkaError, Request, Unencodable, is_software_name, refuse_api_versions, respond, respond_api_versions,
};

/// What goes out.
#[derive(Debug)]
pub(super) enum Reply {
    /// A whole response.
    Bytes(BytesMut),
    /// A large one, and what was lent for it.
    Lent(BytesMut, Loan),
    /// A response around batches.
    Fetched(Box<FetchedReply>),
    /// None is wanted.
    Nothing,
    /// None can be given, and the connection ends: why.
    Close(&'static str),
}

impl Reply {
    /// The response that is written here.
    pub(super) fn written(
        api: Api,
        version: i16,
        write: impl FnOnce(&mut BytesMut) -> Result<(), Unencodable>,
    ) -> Reply {
        let mut out = BytesMut::new();
        match write(&mut out) {
            Ok(()) => Reply::Bytes(out),
            Err(error) => Reply::unencodable(api, version, &error),
        }
    }

    /// What goes out where a response cannot be written, which is our own mistake.
    pub(super) fn unencodable(api: Api, version: i16, error: &Unencodable) -> Reply {
        tracing::error!(?api, version, %error, "a Kafka response cannot be encoded; its connection is closed");
        Reply::Close("a response that cannot be encoded")
    }
}

/// Answers ApiVersions in a version from the future.
pub(super) fn unknown_api_versions(correlation_id: i32) -> Reply {
    Reply::written(Api::ApiVersions, 0, |out| refuse_api_versions(out, correlation_id))
}

/// Which of the listener's methods answers which request, where the crate encodes the answer.
macro_rules! answer {
    ($listener:ident, $asked:ident, $correlation_id:ident, $request:ident: $($api:ident => $method:ident,)*) => {
        match $request {
            Request::Fetch(request) => $listener.fetch($asked, $correlation_id, request).await,
            Request::ApiVersions(request) => api_versions($asked, $correlation_id, &request),
            Request::Produce(_) => Reply::Close("a Produce that was not appended"),
            $(Request::$api(request) => {
                let body = $listener.$method($asked, request).await;
                Reply::written(Api::$api, $asked.version, |out| {
                    respond(out, Api::$api, $asked.version, $correlation_id, &body)
                })
            })*
        }
    };
}

/// Does what a request asks for, and takes memory for what is answered where that is much. Produce is appended before
/// anything is answered: see [`super::produce`].
pub(super) async fn reply(
    listener: &Arc<KafkaListener>,
    asked: &Asked,
    correlation_id: i32,
    request: Request,
) -> Reply {
    if can_be_long(&request) {
        return long_reply(listener, asked, correlation_id, request).await;
    }
    let reply = answer(listener, asked, correlation_id, request).await;
    let Reply::Bytes(bytes) = reply else { return reply };
    if bytes.len() <= OWN_BYTES {
        return Reply::Bytes(bytes);
    }
    let loan = listener.outgoing_memory.take(bytes.len()).await;
    Reply::Lent(bytes, loan)
}

/// Whether a short request can have a long answer. Such requests only ask.
const fn can_be_long(request: &Request) -> bool {
    matches!(
        request,
        Request::Metadata(_)
            | Request::OffsetFetch(_)
            | Request::DescribeGroups(_)
            | Request::ListGroups(_)
            | Request::DescribeConfigs(_)
            | Request::DescribeLogDirs(_)
            | Request::DescribeProducers(_)
    )
}

/// An answer that may be long: how long is known only when it is made. Where there is no memory for it, it is dropped, waits
/// for as much in turn, and is made again; only a few are made at a time.
async fn long_reply(listener: &Arc<KafkaListener>, asked: &Asked, correlation_id: i32, request: Request) -> Reply {
    let mut loan = listener.outgoing_memory.nothing();
    loop {
        let making = listener.long_answers.acquire().await;
        let reply = answer(listener, asked, correlation_id, request.clone()).await;
        let Reply::Bytes(bytes) = reply else { return reply };
        if bytes.len() <= OWN_BYTES {
            return Reply::Bytes(bytes);
        }
        if loan.reach(bytes.len()) {
            return Reply::Lent(bytes, loan);
        }
        let length = bytes.len();
        // Nobody waits for memory while he holds any.
        drop((bytes, loan, making));
        loan = listener.outgoing_memory.take(length).await;
    }
}

async fn answer(listener: &Arc<KafkaListener>, asked: &Asked, correlation_id: i32, request: Request) -> Reply {
    answer! { listener, asked, correlation_id, request:
        ListOffsets => list_offsets,
        Metadata => metadata,
        OffsetCommit => offset_commit,
        OffsetFetch => offset_fetch,
        FindCoordinator => find_coordinator,
        JoinGroup => join_group,
        Heartbeat => heartbeat,
        LeaveGroup => leave_group,
        SyncGroup => sync_group,
        DescribeGroups => describe_groups,
        ListGroups => list_groups,
        CreateTopics => create_topics,
        DeleteTopics => delete_topics,
        DeleteRecords => delete_records,
        InitProducerId => init_producer_id,
        OffsetForLeaderEpoch => offset_for_leader_epoch,
        DescribeAcls => describe_acls,
        CreateAcls => create_acls,
        DeleteAcls => delete_acls,
        DescribeConfigs => describe_configs,
        AlterConfigs => alter_configs,
        DescribeLogDirs => describe_log_dirs,
        CreatePartitions => create_partitions,
        DeleteGroups => delete_groups,
        IncrementalAlterConfigs => incremental_alter_configs,
        OffsetDelete => offset_delete,
        DescribeCluster => describe_cluster,
        DescribeProducers => describe_producers,
    }
}

fn api_versions(asked: &Asked, correlation_id: i32, request: &ApiVersionsRequest) -> Reply {
    let names = [&request.client_software_name, &request.client_software_version];
    let is_named = asked.version < 3 || names.iter().all(|name| is_software_name(name.as_str()));
    let refused = (!is_named).then_some(KafkaError::InvalidRequest);
    Reply::written(Api::ApiVersions, asked.version, |out| {
        respond_api_versions(out, asked.version, correlation_id, refused)
    })
}
