//! `wiber-client health`: whether a broker answers; made for the health checks of containers.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::Context;
use super::failure::Failure;
use super::text::seconds;
use crate::client::{Client, ClientError};

/// Ask a broker for a sign of life
///
/// Connects, exchanges a heartbeat, and prints one line. Exit codes: 0 it answered, 3 it cannot be reached or what
/// answers is no broker, 1 it answered wrongly or stopped answering.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiber-client health
  wiber-client health --host broker --timeout 2 --output json")]
pub(super) struct Health {
    /// Seconds it may take in all
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    timeout: Duration,
}

impl Health {
    pub(super) async fn run(self, context: &Context, out: &mut dyn Write) -> Result<(), Failure> {
        let mut options = context.options.clone();
        options.connect_timeout = self.timeout;
        options.request_timeout = self.timeout;
        let address = format!("{}:{}", options.host, options.port);
        let asked = async {
            let client = Client::connect(options.clone()).await;
            let client = client.map_err(|source| Failure::of_connecting(&options, source))?;
            let sent_at = Instant::now();
            let answered = client.heartbeat().await;
            answered.map_err(|source| Failure::Request { doing: format!("get a heartbeat from {address}"), source })?;
            Ok(sent_at.elapsed())
        };
        let round_trip = match timeout(self.timeout, asked).await {
            Ok(asked) => asked?,
            Err(_) => {
                let source = ClientError::TimedOut { after: self.timeout };
                return Err(Failure::NoBroker { address, source });
            }
        };
        let ms = round_trip.as_secs_f64() * 1e3;
        let text = format!("{address} is healthy: it answered within {ms:.1} ms");
        let json = json!({ "status": "healthy", "address": address, "round_trip_ms": (ms * 1e3).round() / 1e3 });
        super::output::print(out, context.output, &text, &json)
    }
}
