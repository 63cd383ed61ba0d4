//! The client library: a broker's topics from an application, over the native protocol.
//!
//! - [`Client`]: one connection. Topics are created, described, altered and deleted, offsets listed, records fetched,
//!   positions committed; single records published ([`Client::publish`]) and subscribed to ([`Client::subscribe`]).
//!   It never reconnects by itself: a lost connection shows in every call that depended on it.
//! - [`Producer`]: records in batches, each stored once and in order, whatever happens to the connection.
//! - [`Subscriber`]: the records of a topic as a stream, each handed out once and in order, whatever happens to the
//!   connection; positions are kept at the broker. [`Merged`] puts the records of several partitions in the order in which
//!   they were published.
//!
//! ```no_run
//! # async fn example() -> Result<(), wiber::client::ClientError> {
//! use wiber::client::{Client, ClientOptions};
//! use wiber::client::{Producer, ProducerOptions, ProducerRecord, Subscriber, SubscriberOptions};
//!
//! let client = Client::connect(ClientOptions::default()).await?;
//! client.create_topic("orders", Some(3), None).await?;
//!
//! let producer = Producer::new(ProducerOptions::default()).await?;
//! let delivery = producer.send("orders", ProducerRecord::new("two coffees").key("table-7")).await?;
//! println!("stored at {:?}", delivery.await?);
//!
//! let mut subscriber = Subscriber::subscribe(SubscriberOptions::default(), "orders").await?;
//! while let Some(record) = subscriber.next().await {
//!     println!("{:?}", record?.value);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! To see every record at least once, also after a restart of the application, keep the position after the work is done:
//!
//! ```no_run
//! # async fn example() -> Result<(), wiber::client::ClientError> {
//! use wiber::client::{ClientOptions, DeliveryMode, StartAt, Subscriber, SubscriberOptions};
//!
//! let options = SubscriberOptions {
//!     client: ClientOptions { client_id: Some("kitchen".to_owned()), ..ClientOptions::default() },
//!     start: StartAt::Committed,
//!     mode: DeliveryMode::AtLeastOnce,
//!     ..SubscriberOptions::default()
//! };
//! let mut subscriber = Subscriber::subscribe(options, "orders").await?;
//! while let Some(record) = subscriber.next().await {
//!     let record = record?;
//!     // … the work …
//!     subscriber.commit(&record).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Where many records are at hand, or come in numbers, two calls take less time for each: [`Producer::send_all`] hands over
//! records of borrowed parts together, and [`Subscriber::next_view`] shows a record where it lies.
//!
//! ```no_run
//! # async fn example(producer: wiber::client::Producer) -> Result<(), wiber::client::ClientError> {
//! use wiber::client::RecordRef;
//!
//! producer.send_all("orders", &["two coffees", "a tea"]).await?.await?;
//! let orders = [("table-7", "two coffees"), ("table-2", "a tea")];
//! let records = orders.map(|(table, order)| RecordRef::new(order.as_bytes()).key(table.as_bytes()));
//! producer.send_all("orders", &records).await?.await?;
//! # Ok(())
//! # }
//! ```
//!
//! Everything runs on the Tokio runtime it is called in; each connection has one task there (`connection`), and so has
//! each producer and each subscriber.

mod address;
mod admin;
mod chance;
mod clock;
mod connection;
mod consumer;
mod error;
mod group;
mod history;
mod incoming;
mod link;
mod merged;
mod message;
mod on_demand;
mod outgoing;
mod pending;
mod producer;
mod publish;
mod reading;
mod receipts;
mod record;
mod requests;
mod stored;
mod subscriber;
mod subscription;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::protocol::native::{Frame, FrameType, Properties};
use connection::{BatchSink, Connection, Route};
use pending::ReplyTo;
use publish::Window;
use requests::{Handle, Pairs, Request, Requests};

pub use crate::protocol::native::{AckLevel, ErrorCode, StartAt};
pub use crate::record::{Compression, RecordHeader};
pub use crate::types::{
    CleanupPolicy, Offset, PartitionIndex, Stamp, Timestamp, TimestampType, TopicName, TopicPartition,
};
pub use admin::{FetchOptions, Fetched};
pub use consumer::{Assignments, Consumer, ConsumerMode, ConsumerOptions};
pub use error::ClientError;
pub use group::{GroupDescription, GroupMember, GroupPartition, GroupSummary};
pub use history::HistoryOptions;
pub use merged::{MergeOptions, Merged};
pub use message::Message;
pub use producer::{
    Delivered, Deliveries, Delivery, IN_FLIGHT_MAX, Producer, ProducerOptions, ProducerRecord, RecordRef,
};
pub use publish::{NewRecord, Position, Publishing};
pub use record::{Record, RecordView};
pub use subscriber::{DeliveryMode, OutOfRange, Partitions, Subscriber, SubscriberOptions};
pub use subscription::{SubscribeOptions, Subscription};
pub use topics::{
    Change, ClockSkew, EffectiveSettings, OffsetsQuery, PartitionDescription, PartitionOffsets, PartitionStatus,
    TopicAlteration, TopicDescription, TopicSettings, TopicSummary,
};

/// How to reach a broker, and how much may be under way.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Name or address of the broker.
    pub host: String,
    /// Port of its native listener.
    pub port: u16,
    /// Under which name positions are kept, and which records carry; none by default.
    pub client_id: Option<String>,
    /// Time to connect and to exchange a first heartbeat.
    pub connect_timeout: Duration,
    /// Time to wait for the reply to a request; also how long a broker may be silent before it is asked for a sign of
    /// life, and before it is given up.
    pub request_timeout: Duration,
    /// Publishes in flight at most.
    pub window_frames: u32,
    /// Bytes of the publishes in flight at most; a larger record goes alone.
    pub window_bytes: u32,
    /// Records of a subscription received ahead of the reader. A reader that lets them fill up holds up the connection.
    pub messages_ahead: usize,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            host: "127.0.0.1".to_owned(),
            port: 9999,
            client_id: None,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            window_frames: 1000,
            window_bytes: 4 << 20,
            messages_ahead: 1000,
        }
    }
}

/// A connection to a broker. Clones share it; it closes when the last clone and the last subscription are gone.
#[derive(Debug, Clone)]
pub struct Client {
    options: Arc<ClientOptions>,
    connection: Arc<Handle>,
    task: AbortHandle,
}

impl Client {
    /// Connects, and makes sure by a heartbeat that a broker answers.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] where there is no connection, [`ClientError::TimedOut`] or
    /// [`ClientError::Protocol`] where what answers, if anything, is no broker.
    pub async fn connect(options: ClientOptions) -> Result<Client, ClientError> {
        Client::connect_with(options, None).await
    }

    /// Connects; BATCH frames go to the sink.
    async fn connect_with(options: ClientOptions, batches: Option<BatchSink>) -> Result<Client, ClientError> {
        let address = format!("{}:{}", options.host, options.port);
        let connecting = TcpStream::connect((options.host.as_str(), options.port));
        let stream = match timeout(options.connect_timeout, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(source)) => return Err(ClientError::Unreachable { address, source: Arc::new(source) }),
            Err(elapsed) => {
                let source = Arc::new(elapsed.into());
                return Err(ClientError::Unreachable { address, source });
            }
        };
        // Without it, small requests wait for the acknowledgement of earlier ones; where it fails they just do.
        drop(stream.set_nodelay(true));
        let window = Window::new(options.window_frames, options.window_bytes);
        let (reader, writer) = stream.into_split();
        let writer = Arc::new(writer);
        let requests = Arc::new(Requests::new(Arc::clone(&writer), window, options.request_timeout));
        let connection = Connection::new(reader, writer, Arc::clone(&requests), options.request_timeout, batches);
        let task = tokio::spawn(connection.run()).abort_handle();
        let patience = options.connect_timeout;
        let client = Client { options: Arc::new(options), connection: Arc::new(Handle(requests)), task };
        match timeout(patience, client.heartbeat()).await {
            Ok(answered) => answered.map(|()| client),
            Err(_) => Err(ClientError::TimedOut { after: patience }),
        }
    }

    /// Creates a topic and returns its number of partitions. One that exists with the same number is no error.
    ///
    /// # Errors
    /// [`ClientError::Refused`], and what every call may meet.
    pub async fn create_topic(
        &self,
        topic: &str,
        partitions: Option<u32>,
        retention_hours: Option<u32>,
    ) -> Result<u32, ClientError> {
        let partitions = partitions.map(|count| count.to_string());
        let retention_hours = retention_hours.map(|hours| hours.to_string());
        let properties = [
            ("topic", Some(topic)),
            ("partitions", partitions.as_deref()),
            ("retention_hours", retention_hours.as_deref()),
        ];
        let properties = given(properties)?;
        let reply = self.request(FrameType::CreateTopic, properties, None).await?;
        error::number(&reply, "partitions")
    }

    /// Sends a record, once there is room in the window; the result comes when the returned future is awaited. Records
    /// are stored in the order of the calls.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] for properties that no frame can carry, [`ClientError::Closed`].
    pub async fn publish(&self, topic: &str, record: NewRecord) -> Result<Publishing, ClientError> {
        let mut record = record;
        let client_id = self.options.client_id.as_deref();
        match self.requests().try_publish(topic, client_id, &mut record)? {
            Some(publishing) => Ok(publishing),
            // Boxed, since few have to wait, and all would carry its room.
            None => Box::pin(self.publish_later(topic, record)).await,
        }
    }

    /// Waits for room, and sends the record.
    async fn publish_later(&self, topic: &str, record: NewRecord) -> Result<Publishing, ClientError> {
        let requests = self.requests();
        let client_id = self.options.client_id.as_deref();
        let bytes = record.properties_bytes(topic, client_id) + record.body().len();
        let room = requests.window.room_for(bytes).await.ok_or_else(|| requests.closed())?;
        let (ticket, receipt) = (!record.is_unanswered()).then(|| requests.receipt()).unzip();
        requests
            .send(Request {
                kind: FrameType::Publish,
                properties: Pairs::OfRecord { topic, client_id, record: &record },
                body: record.body().clone(),
                sequence: None,
                reply: ticket.map(ReplyTo::Publisher),
                route: None,
                window_bytes: Some(room.bytes()),
            })
            .await?;
        if receipt.is_some() {
            room.keep();
        }
        Ok(Publishing::new(receipt))
    }

    /// Subscribes to one partition of a topic.
    ///
    /// # Errors
    /// [`ClientError::Refused`], and what every call may meet.
    pub async fn subscribe(&self, topic: &str, options: SubscribeOptions) -> Result<Subscription, ClientError> {
        let partition = options.partition.to_string();
        let mut pairs = vec![("partition", partition)];
        pairs.extend(self.options.client_id.clone().map(|id| ("client_id", id)));
        pairs.extend(start_pairs(options.start));
        pairs.push(("auto_ack", options.auto_ack.to_string()));
        pairs.extend(options.stamps.then(|| ("wiber.stamps", "true".to_owned())));
        let properties = topics::about(topic, &pairs)?;
        let (sender, messages) = mpsc::channel(self.options.messages_ahead.max(1));
        let route = Route::new(topic, options.partition, options.stamps, sender)?;
        let reply = self.request(FrameType::Subscribe, properties, Some(route)).await?;
        let start_offset = error::number(&reply, "start_offset")?;
        Ok(Subscription::new(self.clone(), topic, options.partition, start_offset, messages))
    }

    /// Exchanges a heartbeat: when it returns, the broker has read everything sent before.
    ///
    /// # Errors
    /// What every call may meet.
    pub async fn heartbeat(&self) -> Result<(), ClientError> {
        self.request(FrameType::Heartbeat, Properties::EMPTY, None).await?;
        Ok(())
    }

    /// Whether the connection is gone.
    fn is_closed(&self) -> bool {
        self.requests().is_over()
    }

    /// Ends the connection at once, with everything under way.
    fn cut(&self) {
        self.task.abort();
    }

    /// Sends a request and waits for its reply.
    async fn request(
        &self,
        kind: FrameType,
        properties: Properties,
        route: Option<Route>,
    ) -> Result<Frame, ClientError> {
        let requests = self.requests();
        let (reply, answer) = oneshot::channel();
        let request = Request::new(kind, &properties, Some(ReplyTo::Waiter(reply)));
        requests.send(Request { route: route.map(Box::new), ..request }).await?;
        self.answer(answer).await
    }

    /// Sends a request with a body and waits for its reply.
    async fn request_with(&self, kind: FrameType, properties: Properties, body: Bytes) -> Result<Frame, ClientError> {
        let (reply, answer) = oneshot::channel();
        let request = Request::new(kind, &properties, Some(ReplyTo::Waiter(reply)));
        self.requests().send(Request { body, ..request }).await?;
        self.answer(answer).await
    }

    async fn answer(&self, answer: oneshot::Receiver<Result<Frame, ClientError>>) -> Result<Frame, ClientError> {
        let after = self.options.request_timeout;
        match timeout(after, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(self.requests().closed()),
            Err(_) => Err(ClientError::TimedOut { after }),
        }
    }

    fn requests(&self) -> &Requests {
        &self.connection.0
    }
}

/// The property that says where a subscription starts.
fn start_pairs(start: StartAt) -> Option<(&'static str, String)> {
    Some(match start {
        StartAt::Offset(offset) => ("offset", offset.to_string()),
        StartAt::Begin => ("wiber.start", "begin".to_owned()),
        StartAt::End => ("wiber.start", "end".to_owned()),
        StartAt::Committed => ("wiber.start", "committed".to_owned()),
        StartAt::Time(time) => ("wiber.start", time.to_string()),
    })
}

/// The properties that have a value.
fn given<const N: usize>(pairs: [(&str, Option<&str>); N]) -> Result<Properties, ClientError> {
    let given = pairs.into_iter().filter_map(|(name, value)| Some((name, value?)));
    Ok(Properties::from_pairs(given)?)
}

#[cfg(test)]
pub(crate) mod stand_in;
#[cfg(test)]
mod tests;
