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
        Request::Metadata(request) => as_asked.of(Api::Metadata, &listener.metadata(asked, request).await),
        Request::DescribeCluster(request) => {
            as_asked.of(Api::DescribeCluster, &listener.describe_cluster(asked, request).await)
        }
        Request::DescribeLogDirs(request) => {
            as_asked.of(Api::DescribeLogDirs, &listener.describe_log_dirs(asked, request).await)
        }
        Request::CreateTopics(request) => as_asked.of(Api::CreateTopics, &listener.create_topics(asked, request).await),
        Request::DeleteTopics(request) => as_asked.of(Api::DeleteTopics, &listener.delete_topics(asked, request).await),
        Request::CreatePartitions(request) => {
            as_asked.of(Api::CreatePartitions, &listener.create_partitions(asked, request).await)
        }
        Request::DescribeConfigs(request) => {
            as_asked.of(Api::DescribeConfigs, &listener.describe_configs(asked, request).await)
        }
        Request::AlterConfigs(request) => as_asked.of(Api::AlterConfigs, &listener.alter_configs(asked, request).await),
        Request::IncrementalAlterConfigs(request) => {
            as_asked.of(Api::IncrementalAlterConfigs, &listener.incremental_alter_configs(asked, request).await)
        }
        Request::DescribeAcls(request) => as_asked.of(Api::DescribeAcls, &listener.describe_acls(asked, request).await),
        Request::CreateAcls(request) => as_asked.of(Api::CreateAcls, &listener.create_acls(asked, request).await),
        Request::DeleteAcls(request) => as_asked.of(Api::DeleteAcls, &listener.delete_acls(asked, request).await),
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
