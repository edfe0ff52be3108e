//! Runs certificate checks on blocking threads, at most one per processor at a time.

use async_trait::async_trait;
use provisioning::ports::Compute;
use tokio::{sync::Semaphore, task};

/// Threads for computations.
pub(crate) struct ComputeThreads {
    places: Semaphore,
}

impl Default for ComputeThreads {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        ComputeThreads { places: Semaphore::new(processors) }
    }
}

#[async_trait]
impl Compute for ComputeThreads {
    async fn run(&self, work: Box<dyn FnOnce() + Send>) {
        let Ok(_place) = self.places.acquire().await else { return };
        if let Err(error) = task::spawn_blocking(work).await {
            tracing::error!(%error, "a computation ended early");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The only async thread answers what the computation waits for.
    #[tokio::test]
    async fn an_async_thread_is_not_held_up() {
        let (send, receive) = std::sync::mpsc::channel();
        let (threads, work) = (ComputeThreads::default(), Box::new(move || receive.recv().unwrap()));
        let run = threads.run(work);
        tokio::join!(run, async { send.send(()).unwrap() });
    }
}
