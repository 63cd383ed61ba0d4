//! What a request is answered with.

use std::sync::Arc;

use bytes::BytesMut;
use kafka_protocol::messages::ApiVersionsRequest;
use kafka_protocol::protocol::Encodable;

use super::KafkaListener;
use super::asked::Asked;
use super::fetch::FetchedReply;
use crate::protocol::kafka::{
    Api, KafkaError, Request, Unencodable, is_software_name, refuse_api_versions, respond, respond_api_versions,
};

/// What goes out.
#[derive(Debug)]
pub(super) enum Reply {
    /// A whole response.
    Bytes(BytesMut),
    /// A response around batches.
    Fetched(Box<FetchedReply>),
    /// None is wanted.
    Nothing,
    /// None can be given, and the connection ends: why.
    Close(&'static str),
}

impl Reply {
    /// The response that is written here.
    pub(super) fn written(write: impl FnOnce(&mut BytesMut) -> Result<(), Unencodable>) -> Reply {
        let mut out = BytesMut::new();
        match write(&mut out) {
            Ok(()) => Reply::Bytes(out),
            Err(error) => {
                tracing::error!(%error, "a Kafka response cannot be encoded; its connection is closed");
                Reply::Close("a response that cannot be encoded")
            }
        }
    }
}

/// Answers ApiVersions in a version from the future.
pub(super) fn unknown_api_versions(correlation_id: i32) -> Reply {
    Reply::written(|out| refuse_api_versions(out, correlation_id))
}

/// Does what any request but Produce asks for.
pub(super) async fn reply(
    listener: &Arc<KafkaListener>,
    asked: &Asked,
    correlation_id: i32,
    request: Request,
) -> Reply {
    let as_asked = Answer { asked, correlation_id };
    match request {
        Request::Fetch(request) => listener.fetch(asked, correlation_id, request).await,
        Request::ApiVersions(request) => api_versions(asked, correlation_id, &request),
        Request::ListOffsets(request) => as_asked.of(Api::ListOffsets, &listener.list_offsets(asked, request).await),
        Request::OffsetForLeaderEpoch(request) => {
            as_asked.of(Api::OffsetForLeaderEpoch, &listener.offset_for_leader_epoch(asked, request).await)
        }
        Request::InitProducerId(request) => {
            as_asked.of(Api::InitProducerId, &listener.init_producer_id(asked, request).await)
        }
        Request::DescribeProducers(request) => {
            as_asked.of(Api::DescribeProducers, &listener.describe_producers(asked, request).await)
        }
        Request::DeleteRecords(request) => {
            as_asked.of(Api::DeleteRecords, &listener.delete_records(asked, request).await)
        }
        Request::Metadata(request) => as_asked.of(Api::Metadata, &listener.metadata(asked, request).await),
        Request::DescribeCluster(request) => {
            as_asked.of(Api::DescribeCluster, &listener.describe_cluster(asked, request).await)
        }
        Request::DescribeLogDirs(request) => {
            as_asked.of(Api::DescribeLogDirs, &listener.describe_log_dirs(asked, request).await)
        }
        Request::FindCoordinator(request) => {
            as_asked.of(Api::FindCoordinator, &listener.find_coordinator(asked, request).await)
        }
        Request::JoinGroup(request) => as_asked.of(Api::JoinGroup, &listener.join_group(asked, request).await),
        Request::SyncGroup(request) => as_asked.of(Api::SyncGroup, &listener.sync_group(asked, request).await),
        Request::Heartbeat(request) => as_asked.of(Api::Heartbeat, &listener.heartbeat(asked, request).await),
        Request::LeaveGroup(request) => as_asked.of(Api::LeaveGroup, &listener.leave_group(asked, request).await),
        Request::DescribeGroups(request) => {
            as_asked.of(Api::DescribeGroups, &listener.describe_groups(asked, request).await)
        }
        Request::ListGroups(request) => as_asked.of(Api::ListGroups, &listener.list_groups(asked, request).await),
        Request::DeleteGroups(request) => as_asked.of(Api::DeleteGroups, &listener.delete_groups(asked, request).await),
        Request::OffsetCommit(request) => as_asked.of(Api::OffsetCommit, &listener.offset_commit(asked, request).await),
        Request::OffsetFetch(request) => as_asked.of(Api::OffsetFetch, &listener.offset_fetch(asked, request).await),
        Request::OffsetDelete(request) => as_asked.of(Api::OffsetDelete, &listener.offset_delete(asked, request).await),
        // Those that are appended are not answered here.
        _ => as_asked.closed(),
    }
}

/// How an answer is to be encoded.
struct Answer<'a> {
    asked: &'a Asked,
    correlation_id: i32,
}

impl Answer<'_> {
    fn of<T: Encodable>(&self, api: Api, body: &T) -> Reply {
        Reply::written(|out| respond(out, api, self.asked.version, self.correlation_id, body))
    }

    fn closed(&self) -> Reply {
        Reply::Close("a request that is not served")
    }
}

fn api_versions(asked: &Asked, correlation_id: i32, request: &ApiVersionsRequest) -> Reply {
    let names = [&request.client_software_name, &request.client_software_version];
    let is_named = asked.version < 3 || names.iter().all(|name| is_software_name(name.as_str()));
    let refused = (!is_named).then_some(KafkaError::InvalidRequest);
    Reply::written(|out| respond_api_versions(out, asked.version, correlation_id, refused))
}
