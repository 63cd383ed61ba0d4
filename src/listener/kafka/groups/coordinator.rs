//! FindCoordinator: this broker coordinates all groups, and no transactions.

use std::sync::Arc;

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use crate::listener::kafka::KafkaListener;
use crate::listener::kafka::asked::Asked;
use crate::listener::kafka::cluster::NODE_ID;
use crate::protocol::kafka::{KafkaError, NO_ERROR};

/// Keys that are groups …
const GROUP: i8 = 0;
/// … and transactions.
const TRANSACTION: i8 = 1;

/// The first version that asks for several keys.
const SEVERAL_SINCE: i16 = 4;

impl KafkaListener {
    pub(in crate::listener::kafka) async fn find_coordinator(
        self: &Arc<Self>,
        asked: &Asked,
        request: FindCoordinatorRequest,
    ) -> FindCoordinatorResponse {
        let refused = match request.key_type {
            GROUP => None,
            // The one code after which clients give up at once.
            TRANSACTION => Some((KafkaError::TransactionalIdAuthorizationFailed, "Transactions are not served.")),
            _ => Some((KafkaError::InvalidRequest, "Unknown coordinator type.")),
        };
        let (id, (host, port), code, message) = match refused {
            None => (NODE_ID, self.advertised(asked), NO_ERROR, None),
            Some((error, message)) => {
                (-1, (StrBytes::new(), -1), error.to_wire(), Some(StrBytes::from_static_str(message)))
            }
        };
        if asked.version < SEVERAL_SINCE {
            let found = FindCoordinatorResponse::default().with_node_id(BrokerId(id)).with_host(host).with_port(port);
            return found.with_error_code(code).with_error_message(message);
        }
        let coordinator = |key| {
            let found = Coordinator::default().with_key(key).with_node_id(BrokerId(id)).with_host(host.clone());
            found.with_port(port).with_error_code(code).with_error_message(message.clone())
        };
        let coordinators = request.coordinator_keys.into_iter().map(coordinator).collect();
        FindCoordinatorResponse::default().with_coordinators(coordinators)
    }
}
