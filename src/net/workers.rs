//! One single-threaded runtime per core; connections are spread over them in turn.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The threads that connections run on.
pub struct Workers {
    handles: Vec<Handle>,
    /// Dropped to stop the threads.
    stops: Vec<oneshot::Sender<()>>,
    threads: Vec<std::thread::JoinHandle<()>>,
    next: AtomicUsize,
}

impl Workers {
    /// Starts `count` threads (at least one).
    ///
    /// # Errors
    /// The system gives no thread or no runtime.
    pub fn start(count: usize) -> io::Result<Self> {
        let mut workers =
            Self { handles: Vec::new(), stops: Vec::new(), threads: Vec::new(), next: AtomicUsize::new(0) };
        for number in 0..count.max(1) {
            // Verifying a password blocks a thread; a few per core are as many as can run.
            let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
            let (stop, stopped) = oneshot::channel::<()>();
            workers.handles.push(runtime.handle().clone());
            workers.stops.push(stop);
            let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                // An error says that the sender was dropped, which is how the thread is told to stop.
                let _ = runtime.block_on(stopped);
                runtime.shutdown_background();
            })?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Runs a connection on the thread whose turn it is.
    pub fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.handles.len();
        self.handles[turn].spawn(connection);
    }

    /// Stops the threads; connections that are still there are dropped.
    pub fn stop(mut self) {
        self.stops.clear();
        for thread in self.threads.drain(..) {
            // A panic of a worker was printed when it happened.
            let _ = thread.join();
        }
    }
}
