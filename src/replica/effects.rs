//! What a change of state asks for, gathered under the lock and carried out after it.

use std::task::Waker;

use super::ack::{AckFailure, Waiting};
use super::deletion::Settled;
use super::options::Work;

/// Answers to send, to publishers and to who deletes, work to submit, and whether the high watermark may move.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) answers: Vec<(Vec<Waiting>, Option<AckFailure>)>,
    pub(crate) submit: Vec<Work>,
    pub(crate) commits: bool,
    pub(crate) deletions: Vec<Settled>,
    /// Who waits for space, or for records that will never come.
    pub(crate) wakers: Vec<Waker>,
}

impl Effects {
    /// Takes this kind of work out of what is to be submitted.
    pub(crate) fn take_work(&mut self, wanted: Work) -> Option<Work> {
        let at = self.submit.iter().position(|work| *work == wanted)?;
        Some(self.submit.remove(at))
    }

    pub(crate) fn answer(&mut self, waiting: Vec<Waiting>, failure: Option<&AckFailure>) {
        if !waiting.is_empty() {
            self.answers.push((waiting, failure.cloned()));
        }
    }
}
