//! Many small jobs that block on files, done side by side where there are threads for them.

use std::sync::Arc;

use parking_lot::Mutex;

use super::options::{Job, WorkQueue};

/// Does every job and returns what they gave, in the order of the jobs. Blocks until the last one is done. A job may
/// itself call this.
///
/// # Panics
/// Where a job panics.
pub fn run_jobs<T: Send + 'static>(queue: &dyn WorkQueue, jobs: Vec<impl FnOnce() -> T + Send + 'static>) -> Vec<T> {
    let results: Arc<Vec<Mutex<Option<T>>>> = Arc::new(jobs.iter().map(|_| Mutex::new(None)).collect());
    let jobs = jobs.into_iter().enumerate().map(|(place, job)| {
        let results = Arc::clone(&results);
        Box::new(move || *results[place].lock() = Some(job())) as Job
    });
    queue.run_all(jobs.collect());
    results.iter().map(|result| result.lock().take().expect("every job was run to its end")).collect()
}
