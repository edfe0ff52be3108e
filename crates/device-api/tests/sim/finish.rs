//! Calls of a store at one moment of the virtual time.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use tokio::runtime::{Builder, Runtime};

/// Runs a future of the store to its end on this thread, in no virtual time at all. Within it there is no virtual time, because
/// the store waits for a disk.
pub fn finish<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static REAL_TIME: Runtime = Builder::new_current_thread().enable_time().build().unwrap();
    }
    REAL_TIME.with(|real_time| {
        let _entered = real_time.enter();
        block_on(future)
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    // A task's budget is filled up when it yields, and this one does not.
    let mut future = pin!(tokio::task::unconstrained(future));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
