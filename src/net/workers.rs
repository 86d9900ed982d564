//! One single-threaded runtime per core, and the connections that move between them (see [`super::balance`]).

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::balance::{Balance, Load, place};

/// The threads that connections run on.
pub struct Workers {
    crew: Arc<[Worker]>,
    looks: Mutex<Looks>,
    /// Dropped to stop the threads.
    stops: Vec<oneshot::Sender<()>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// What the threads and their connections know of one thread.
struct Worker {
    handle: Handle,
    /// Counts looks, so that a connection counts as active once in each.
    look: AtomicU32,
    active: AtomicUsize,
    /// Connections that are to move, and where to.
    shed: AtomicUsize,
    shed_to: AtomicUsize,
    /// Share of its time that it was busy at the last look, in percent.
    busy: AtomicU32,
}

struct Looks {
    balance: Balance,
    at: Instant,
    busy: Vec<Duration>,
}

thread_local! {
    /// The thread that this is, if connections run on it.
    static HERE: RefCell<Option<(Arc<[Worker]>, usize)>> = const { RefCell::new(None) };
}

/// Another thread, to which a connection is to move.
pub struct Destination {
    handle: Handle,
}

impl Destination {
    pub fn spawn(self, connection: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(connection);
    }
}

/// Says that a connection has something to do. `seen` is the connection's own: the look in which it was counted last. `movable`: it
/// could go elsewhere now. Returns where to, if it is to go.
pub fn active(seen: &mut u32, movable: bool) -> Option<Destination> {
    HERE.with_borrow(|here| {
        let (crew, at) = here.as_ref()?;
        let worker = &crew[*at];
        let look = worker.look.load(Ordering::Relaxed);
        if *seen == look {
            return None;
        }
        *seen = look;
        worker.active.fetch_add(1, Ordering::Relaxed);
        if !movable || worker.shed.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let left = worker.shed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.ok()?;
        let to = crew.get(worker.shed_to.load(Ordering::Relaxed))?;
        Some(Destination { handle: to.handle.clone() })
    })
}

impl Workers {
    /// Starts `count` threads (at least one).
    ///
    /// # Errors
    /// The system gives no thread or no runtime.
    pub fn start(count: usize) -> io::Result<Self> {
        // Verifying a password blocks a thread; a few per core are as many as can run.
        let build = |_| Builder::new_current_thread().enable_all().max_blocking_threads(4).build();
        let runtimes = (0..count.max(1)).map(build).collect::<io::Result<Vec<_>>>()?;
        let crew: Arc<[Worker]> = runtimes.iter().map(|runtime| Worker::new(runtime.handle().clone())).collect();
        let looks = Looks { balance: Balance::default(), at: Instant::now(), busy: vec![Duration::ZERO; crew.len()] };
        let mut workers = Self { crew, looks: Mutex::new(looks), stops: Vec::new(), threads: Vec::new() };
        for (number, runtime) in runtimes.into_iter().enumerate() {
            let (stop, stopped) = oneshot::channel::<()>();
            workers.stops.push(stop);
            let here = (workers.crew.clone(), number);
            let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                HERE.set(Some(here));
                // An error says that the sender was dropped, which is how the thread is told to stop.
                let _ = runtime.block_on(stopped);
                runtime.shutdown_background();
            })?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Runs a connection on the thread that has time for it.
    pub fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let at = place(self.crew.iter().map(|worker| worker.busy.load(Ordering::Relaxed)));
        self.crew[at].handle.spawn(connection);
    }

    /// Looks at the threads and has connections moved if that is worth it. To be called some twenty times a second.
    pub fn balance(&self) {
        let mut looks = self.looks.lock();
        let Looks { balance, at, busy } = &mut *looks;
        let since = at.elapsed();
        if since.is_zero() {
            return;
        }
        *at = Instant::now();
        let mut loads = Vec::with_capacity(self.crew.len());
        for (worker, before) in self.crew.iter().zip(busy) {
            let total = worker.handle.metrics().worker_total_busy_duration(0);
            let share = (total.saturating_sub(*before).as_micros() * 100 / since.as_micros().max(1)).min(100) as u32;
            *before = total;
            worker.busy.store(share, Ordering::Relaxed);
            loads.push(Load { busy: share, active: worker.active.swap(0, Ordering::Relaxed) });
            // What was not moved by now had nothing to do.
            worker.shed.store(0, Ordering::Relaxed);
        }
        if let Some(shed) = balance.look(&loads) {
            tracing::debug!(?shed, ?loads, "connections move to another thread");
            self.crew[shed.from].shed_to.store(shed.to, Ordering::Relaxed);
            self.crew[shed.from].shed.store(shed.count, Ordering::Relaxed);
        }
        for worker in self.crew.iter() {
            worker.look.fetch_add(1, Ordering::Relaxed);
        }
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

impl Worker {
    fn new(handle: Handle) -> Self {
        Self {
            handle,
            look: AtomicU32::new(1),
            active: AtomicUsize::new(0),
            shed: AtomicUsize::new(0),
            shed_to: AtomicUsize::new(0),
            busy: AtomicU32::new(0),
        }
    }
}
