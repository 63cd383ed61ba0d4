//! What it takes to load a broker and to measure it: messages that can be recognised, a clock and a schedule to send them
//! by, a record of latencies, the server's processor time and memory, and the report of it all.
//!
//! Nothing here speaks a protocol: the driver of any broker can use it.
//!
//! ```
//! use wiber::load::{Clock, Payload, Recorder, RunId, Verifier};
//!
//! let clock = Clock::start();
//! let payload = Payload::new(RunId(7), 100);
//! let (mut message, mut verifier, mut latencies) = (Vec::new(), Verifier::of_run(&payload, 1), Recorder::new());
//! payload.write(0, 0, clock.now_ns(), &mut message);
//! // … it is sent, and comes back from partition 0 …
//! let header = verifier.take(0, &message).expect("as it was sent");
//! latencies.record(clock.now_ns() - header.time_ns, 1);
//! assert_eq!(verifier.verified().messages, 1);
//! ```

mod clock;
mod filler;
mod pacer;
mod payload;
mod recorder;
mod report;
mod schedule;
mod server_usage;
mod verifier;

pub use clock::Clock;
pub use pacer::Pacer;
pub use payload::{HEADER_BYTES, Header, Payload, RunId};
pub use recorder::{Latencies, Recorder};
pub use report::{Faults, Report, Settings, Side, Workload};
pub use schedule::Schedule;
pub use server_usage::{ServerUsage, Usage, own_cpu_s};
pub use verifier::{Verified, Verifier};
