//! Tests of the client against a stand-in for a broker.

use tokio::net::TcpListener;

use super::*;
use crate::protocol::native::ErrorCode;

async fn connected(options: ClientOptions) -> Client {
    let port = stand_in::start().await;
    let options = ClientOptions { port, ..options };
    Client::connect(options).await.expect("connects")
}

#[tokio::test]
async fn publishes_are_pipelined_and_come_back_in_order() {
    let client =
        connected(ClientOptions { window_frames: 10, window_bytes: 64, messages_ahead: 2, ..ClientOptions::default() })
            .await;
    assert_eq!(client.create_topic("t", Some(1), Some(1)).await.expect("created"), 1);
    let body = |i: usize| format!("{i} {}", "x".repeat(i % 100));
    let mut under_way = Vec::new();
    for i in 0..500 {
        let publishing = client.publish("t", NewRecord::new(body(i)).key("k")).await;
        under_way.push(publishing.expect("sent"));
    }
    for (i, publishing) in under_way.into_iter().enumerate() {
        let position = publishing.await.expect("stored").expect("answered");
        assert_eq!(position.offset.get(), i as u64);
    }
    let options = SubscribeOptions::default();
    let mut subscription = client.subscribe("t", options).await.expect("subscribed");
    for i in 0..400 {
        let message = subscription.next().await.expect("open").expect("delivered");
        assert_eq!(message.offset().get(), i as u64);
        assert_eq!(&message.body()[..], body(i).as_bytes());
        assert_eq!(message.key().as_deref(), Some(&b"\xff"[..]));
        assert_eq!(message.headers().collect::<Vec<_>>(), [("colour", "red")]);
        subscription.ack(&message).await.expect("sent");
    }
    // What nobody reads any more does not hold up the answer.
    subscription.unsubscribe().await.expect("unsubscribed");
    client.heartbeat().await.expect("still there");
}

#[tokio::test]
async fn refusals_carry_their_code() {
    let client = connected(ClientOptions::default()).await;
    let publishing = client.publish("u", NewRecord::new("x")).await.expect("sent");
    let error = publishing.await.expect_err("unknown");
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopic));
    assert_eq!(error.to_string(), "no such topic (unknown_topic)");
    let error = client.publish("t", NewRecord::new("x").property("a=b", "c")).await;
    assert!(matches!(error, Err(ClientError::Invalid(_))));
}

#[tokio::test]
async fn a_lost_connection_ends_everything_with_its_reason() {
    let client = connected(ClientOptions::default()).await;
    let options = SubscribeOptions::default();
    let mut subscription = client.subscribe("t", options).await.expect("subscribed");
    let publishing = client.publish("t", NewRecord::new("hang up")).await.expect("sent");
    let lost = |error: ClientError| matches!(error, ClientError::Closed { .. });
    assert!(lost(publishing.await.expect_err("hung up")));
    assert!(lost(subscription.next().await.expect("an end").expect_err("hung up")));
    assert!(subscription.next().await.is_none());
    let error = client.heartbeat().await.expect_err("hung up");
    assert!(!error.to_string().contains("by this side"), "{error}");
}

#[tokio::test]
async fn a_silent_broker_is_given_up() {
    let client =
        connected(ClientOptions { request_timeout: std::time::Duration::from_millis(40), ..ClientOptions::default() })
            .await;
    let options = SubscribeOptions::default();
    let mut subscription = client.subscribe("t", options).await.expect("subscribed");
    let record = NewRecord::new("fall silent").ack(AckLevel::None);
    client.publish("t", record).await.expect("sent");
    let end = subscription.next().await.expect("an end").expect_err("silent");
    assert!(end.to_string().contains("silent"), "{end}");
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let options = ClientOptions { port, ..ClientOptions::default() };
    let error = Client::connect(options).await.expect_err("closed");
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
}
