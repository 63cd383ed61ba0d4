//! The table of limits in the documentation says what the constants say.

use crate::broker::CLIENT_ID_BYTES_MAX;
use crate::broker::dedup::ID_BYTES_MAX;
use crate::broker::delivery::{UNACKED_BYTES_MAX, UNACKED_RECORDS_MAX};
use crate::broker::groups::{GROUP_PARTITIONS_MAX, GROUPS_MAX, MEMBERS_MAX, SELECTION_ENTRIES_MAX};
use crate::listener::COMING_MAX;
use crate::listener::door::TURNED_AWAY_MAX;
use crate::listener::native::batches::{FETCH_READ_BYTES_MAX, FETCHES_MAX};
use crate::listener::native::group_readers::GROUP_READERS_MAX;
use crate::listener::native::groups::RESET_POSITIONS_MAX;
use crate::listener::native::outbox::{BUFFERED_BYTES_MAX, READ_AHEAD_BYTES_MAX, REQUESTS_MAX};
use crate::listener::native::subscription::SUBSCRIPTIONS_MAX;
use crate::listener::native::topics::COMMANDS_MAX;
use crate::protocol::native::{FETCH_WAIT_MAX, FrameLimits, TOPICS_LISTED_MAX};

#[test]
fn the_documentation_has_a_row_for_every_limit() {
    let documentation = include_str!("../../../../docs/protocol.md");
    let mib = |bytes: usize| format!("{} MiB", bytes >> 20);
    let properties_bytes = FrameLimits::for_messages(1).properties_bytes_max;
    for (what, limit) in [
        ("connections being told so", TURNED_AWAY_MAX.to_string()),
        ("time such a frame takes to come", format!("{} s, while others wait", COMING_MAX.as_secs())),
        ("properties of a frame", format!("{} KiB", properties_bytes >> 10)),
        ("client_id that keeps a position", format!("{CLIENT_ID_BYTES_MAX} bytes")),
        ("id of a PUBLISH", format!("{ID_BYTES_MAX} bytes")),
        ("requests of a connection without an answer", REQUESTS_MAX.to_string()),
        ("bytes of a connection that wait to be sent", mib(BUFFERED_BYTES_MAX)),
        ("topic commands of a connection under way", COMMANDS_MAX.to_string()),
        ("FETCH of a connection under way", FETCHES_MAX.to_string()),
        ("bytes that a FETCH brings", format!("wiber.max_bytes, up to {}", mib(FETCH_READ_BYTES_MAX))),
        ("wait of a FETCH", format!("{} s", FETCH_WAIT_MAX.as_secs())),
        ("topics in one METADATA", TOPICS_LISTED_MAX.to_string()),
        ("subscriptions of a connection", SUBSCRIPTIONS_MAX.to_string()),
        ("groups that a connection reads by SUBSCRIBE with `wiber.group` alone", GROUP_READERS_MAX.to_string()),
        ("id of a group", format!("{CLIENT_ID_BYTES_MAX} bytes")),
        ("topics and patterns of a member", SELECTION_ENTRIES_MAX.to_string()),
        ("members of a group", MEMBERS_MAX.to_string()),
        ("groups", GROUPS_MAX.to_string()),
        ("partitions that a group divides", GROUP_PARTITIONS_MAX.to_string()),
        ("positions in one RESET_GROUP", RESET_POSITIONS_MAX.to_string()),
        ("bytes of records read ahead for all subscriptions of a connection", mib(READ_AHEAD_BYTES_MAX)),
        ("records of a subscription without the client's ACK", UNACKED_RECORDS_MAX.to_string()),
        ("bytes of them", mib(usize::try_from(UNACKED_BYTES_MAX).expect("fits"))),
    ] {
        let row = format!("\n| {what} | {limit}");
        assert!(documentation.contains(&row), "{row}");
    }
}
