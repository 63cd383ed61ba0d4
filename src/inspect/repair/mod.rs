//! Mending a damaged partition: what is whole stays, what is lost becomes a known gap, and nothing is deleted.
//!
//! [`plan_repair`] reads and decides, [`apply_repair`] writes. Offsets of whole batches never change. A segment that was
//! damaged is sealed and the next one begins behind it, so that no offset and no batch number is given out twice.
//!
//! The order of the steps makes a crash between any two harmless:
//! 1. Everything to be changed is copied into `set-aside/`, durably. A crash leaves copies.
//! 2. Each damaged log is written anew beside the old one, synced, and renamed over it; then its index is replaced, with
//!    a durable mark at the new end. Until `partition.json` knows the gaps, such a log has a jump in its offsets, or
//!    ends before its mark, below what is known to be durable: a start calls that damage, cuts nothing and refuses
//!    writes, just as before, and a second repair finds the very same gaps.
//! 3. A log without any whole batch is moved into `set-aside/`. A start calls it missing, and a second repair finds the
//!    same gap: from its `.idx`, which stays till the end, or from the segment behind it.
//! 4. `partition.json` is replaced, with the gaps, the lengths and the segments as they now are: from here on all is
//!    whole.
//! 5. The files of the new active segment are made, and what no segment owns any more follows into `set-aside/`; a start
//!    would do the same.

mod apply;
mod plan;
mod quarantine;

pub use apply::{AppliedRepair, apply_repair};
pub use plan::{RepairAction, RepairPlan, plan_repair};
