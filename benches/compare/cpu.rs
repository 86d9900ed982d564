//! What a process used: CPU time and memory, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

/// Clock ticks per second in `/proc/<pid>/stat`. The kernel's ABI to user space fixes it on every architecture Rust's
/// standard library supports Linux on.
const TICKS_PER_SECOND: u64 = 100;

/// Clocks of the broker, the driver and the machine, at one moment.
#[derive(Clone, Debug)]
pub struct Reading {
    at: Instant,
    broker: Vec<CpuTime>,
    driver: CpuTime,
    machine_ns: u64,
}

/// What was used between two readings.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub elapsed: Duration,
    pub broker: Option<CpuSpent>,
    pub driver: CpuSpent,
    /// CPU time of everything else on the machine: where it is not small, the numbers are not worth much.
    pub others_ns: u64,
}

impl Reading {
    /// Reads the clocks now; the broker's if its process is known.
    pub fn now(broker_pid: Option<u32>) -> io::Result<Self> {
        Self::of(broker_pid.as_slice())
    }

    /// The same of a broker of several processes.
    pub fn of(broker_pids: &[u32]) -> io::Result<Self> {
        Ok(Self {
            at: Instant::now(),
            broker: broker_pids.iter().map(|pid| CpuTime::of(*pid)).collect::<io::Result<_>>()?,
            driver: CpuTime::of(std::process::id())?,
            machine_ns: machine_ns()?,
        })
    }

    pub fn since(&self, earlier: &Self) -> Spent {
        let broker = self.broker.iter().zip(&earlier.broker).map(|(now, earlier)| now.since(earlier));
        let broker = broker.reduce(CpuSpent::and);
        let driver = self.driver.since(&earlier.driver);
        let known_ns = driver.total_ns + broker.map_or(0, |broker| broker.total_ns);
        let others_ns = (self.machine_ns - earlier.machine_ns).saturating_sub(known_ns);
        Spent { elapsed: self.at - earlier.at, broker, driver, others_ns }
    }
}

/// CPU time that a process has used so far.
#[derive(Clone, Debug)]
struct CpuTime {
    /// User and system time of the process, threads that ended included; to 10 ms.
    process_ns: u64,
    /// Time on a CPU of each living thread, to the nanosecond.
    threads_ns: BTreeMap<u32, u64>,
}

/// CPU time between two moments.
#[derive(Clone, Copy, Debug)]
pub struct CpuSpent {
    pub total_ns: u64,
    /// Of the thread that used most: near to the elapsed time, it was the bottleneck.
    pub busiest_thread_ns: u64,
}

impl CpuSpent {
    fn and(self, other: Self) -> Self {
        let busiest_thread_ns = self.busiest_thread_ns.max(other.busiest_thread_ns);
        Self { total_ns: self.total_ns + other.total_ns, busiest_thread_ns }
    }
}

impl CpuTime {
    /// Reads the CPU time of process `pid`.
    fn of(pid: u32) -> io::Result<Self> {
        Ok(Self { process_ns: process_ns(pid)?, threads_ns: threads_ns(pid)? })
    }

    /// What was used since `earlier`. While the threads are the same ones, their exact times are summed up; else the
    /// process total counts.
    fn since(&self, earlier: &Self) -> CpuSpent {
        let spent = |(id, now): (&u32, &u64)| now.saturating_sub(earlier.threads_ns.get(id).copied().unwrap_or(0));
        let same_threads = !self.threads_ns.is_empty() && self.threads_ns.keys().eq(earlier.threads_ns.keys());
        let total_ns = match same_threads {
            true => self.threads_ns.iter().map(spent).sum(),
            false => self.process_ns.saturating_sub(earlier.process_ns),
        };
        CpuSpent { total_ns, busiest_thread_ns: self.threads_ns.iter().map(spent).max().unwrap_or(0) }
    }
}

fn process_ns(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the command in parentheses and may hold anything; utime and stime are fields 14 and 15.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 =
        fields.split_ascii_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks * (1_000_000_000 / TICKS_PER_SECOND))
}

/// Time that all cores of the machine were not idle, and time that other machines took from it.
fn machine_ns() -> io::Result<u64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let times = stat.lines().next().unwrap_or_default().split_ascii_whitespace().skip(1);
    // user, nice, system, idle, iowait, irq, softirq, steal; what guests used is part of user.
    let ticks = times.take(8).enumerate().filter(|(place, _)| !matches!(place, 3 | 4));
    Ok(ticks.filter_map(|(_, time)| time.parse::<u64>().ok()).sum::<u64>() * (1_000_000_000 / TICKS_PER_SECOND))
}

/// Empty where the kernel keeps no scheduler statistics.
fn threads_ns(pid: u32) -> io::Result<BTreeMap<u32, u64>> {
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let entry = entry?;
        // A thread may end while we look.
        let Ok(schedstat) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
        let id = entry.file_name().to_string_lossy().parse();
        let on_cpu_ns = schedstat.split_ascii_whitespace().next().unwrap_or_default().parse();
        if let (Ok(id), Ok(on_cpu_ns)) = (id, on_cpu_ns) {
            threads.insert(id, on_cpu_ns);
        }
    }
    Ok(threads)
}

/// Resident memory of process `pid` in kB.
pub fn resident_kb(pid: u32) -> io::Result<u64> {
    number_of(pid, "status", "VmRSS:")
}

/// Bytes that process `pid` had written to disk so far (more precisely: made the system write, sooner or later).
pub fn disk_bytes(pid: u32) -> io::Result<u64> {
    number_of(pid, "io", "write_bytes:")
}

fn number_of(pid: u32, file: &str, name: &str) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
    number.ok_or_else(|| io::Error::other(format!("no {name} in /proc/{pid}/{file}")))
}
