//! A connection that is made when somebody needs it, and anew when it was lost.

use super::{Client, ClientError, ClientOptions};

/// A connection made on demand; whoever needs it meanwhile waits for it.
#[derive(Debug)]
pub(super) struct OnDemand {
    options: ClientOptions,
    client: tokio::sync::Mutex<Option<Client>>,
}

impl OnDemand {
    pub(super) fn new(options: ClientOptions) -> OnDemand {
        OnDemand { options, client: tokio::sync::Mutex::new(None) }
    }

    pub(super) fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// The connection.
    pub(super) async fn client(&self) -> Result<Client, ClientError> {
        let mut client = self.client.lock().await;
        if let Some(client) = client.as_ref().filter(|client| !client.is_closed()) {
            return Ok(client.clone());
        }
        let made = Client::connect(self.options.clone()).await?;
        *client = Some(made.clone());
        Ok(made)
    }
}
