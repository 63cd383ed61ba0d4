//! Who may do what: everybody everything, for there is no authorizer. Kafka without one answers so too.

use std::sync::Arc;

use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use kafka_protocol::messages::{
    CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest, DeleteAclsResponse, DescribeAclsRequest,
    DescribeAclsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::KafkaListener;
use super::asked::Asked;
use crate::protocol::kafka::KafkaError;

const DISABLED: i16 = KafkaError::SecurityDisabled.to_wire();

fn why() -> Option<StrBytes> {
    Some(StrBytes::from_static_str("No Authorizer is configured on the broker"))
}

impl KafkaListener {
    pub(super) async fn describe_acls(
        self: &Arc<Self>,
        _asked: &Asked,
        _request: DescribeAclsRequest,
    ) -> DescribeAclsResponse {
        DescribeAclsResponse::default().with_error_code(DISABLED).with_error_message(why())
    }

    pub(super) async fn create_acls(
        self: &Arc<Self>,
        _asked: &Asked,
        request: CreateAclsRequest,
    ) -> CreateAclsResponse {
        let refused = AclCreationResult::default().with_error_code(DISABLED).with_error_message(why());
        CreateAclsResponse::default().with_results(vec![refused; request.creations.len()])
    }

    pub(super) async fn delete_acls(
        self: &Arc<Self>,
        _asked: &Asked,
        request: DeleteAclsRequest,
    ) -> DeleteAclsResponse {
        let refused = DeleteAclsFilterResult::default().with_error_code(DISABLED).with_error_message(why());
        DeleteAclsResponse::default().with_filter_results(vec![refused; request.filters.len()])
    }
}
