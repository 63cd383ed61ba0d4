//! The names that a prompt completes.

use std::time::Duration;

use tokio::time::timeout;

use crate::client::{Client, ClientError, ClientOptions};

/// How long a prompt waits for the names: nobody waits for a completion.
const PATIENCE: Duration = Duration::from_millis(300);

/// What there is at the broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) topics: Vec<String>,
    pub(super) groups: Vec<String>,
}

/// The names there are; fewer where the broker does not say in time.
pub(super) async fn of(options: &ClientOptions) -> Known {
    let mut known = Known::default();
    let asked = async {
        let client = Client::connect(options.clone()).await?;
        known.topics = client.topics().await?.into_iter().map(|topic| topic.topic).collect();
        known.groups = client.groups().await?.into_iter().map(|group| group.group).collect();
        Ok::<(), ClientError>(())
    };
    // Without them nothing is completed, and nothing else is worse.
    let _known_or_not = timeout(PATIENCE, asked).await;
    known
}
