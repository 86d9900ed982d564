//! What the process uses of the memory that it may use, as the system tells it (Linux).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::node::Node;

/// Share of what there is, in percent, unless the configuration says how much.
const SHARE_PERCENT: u64 = 75;
/// How often it is looked what is used; what there is (it may be changed for a running container); and how long what was shed has
/// to be gone before more is.
const USED_MS: u64 = 100;
const BUDGET_MS: u64 = 10_000;
const SHED_MS: u64 = 2000;

/// Looks at the numbers and tells the node.
pub(super) struct MemoryWatch {
    used_at_ms: u64,
    budget_at_ms: u64,
    shed_at_ms: u64,
    budget: u64,
}

impl MemoryWatch {
    pub fn new() -> Self {
        Self { used_at_ms: 0, budget_at_ms: 0, shed_at_ms: 0, budget: 0 }
    }

    /// To be called several times a second.
    pub fn look(&mut self, node: &Arc<Node>, now_ms: u64) {
        if now_ms < self.used_at_ms + USED_MS {
            return;
        }
        self.used_at_ms = now_ms;
        if now_ms >= self.budget_at_ms + BUDGET_MS {
            self.budget_at_ms = now_ms;
            self.budget = node.limits.memory_bytes_max.unwrap_or_else(|| share(there_is(Path::new("/"))));
        }
        let Some(used) = fs::read_to_string("/proc/self/status").ok().and_then(|status| kibibytes(&status, "VmRSS:"))
        else {
            return;
        };
        let changed = node.memory.note(used, self.budget);
        let tight = node.memory.is_tight();
        match (changed, tight) {
            (true, true) => {
                // Whoever reads what waits for it frees memory by itself.
                self.shed_at_ms = now_ms;
                tracing::warn!(
                    used,
                    budget = self.budget,
                    "no memory for more: connections, subscriptions, publications and calls are refused"
                );
            }
            (true, false) => tracing::info!(used, budget = self.budget, "there is memory again"),
            (false, _) => {}
        }
        if tight && now_ms >= self.shed_at_ms + SHED_MS {
            self.shed_at_ms = now_ms;
            let count = node.shed();
            if count > 0 {
                tracing::warn!(count, "clients were disconnected that do not read what they subscribed to");
            }
            // The freed memory of this process is the process's until it is given back; that takes a while.
            tokio::task::spawn_blocking(give_back);
        }
    }
}

/// Has the allocator give back what is free.
fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> i32;
        }
        // SAFETY: it may be called at any time, from any thread (malloc_trim(3)).
        unsafe { malloc_trim(0) };
    }
}

fn share(there_is: u64) -> u64 {
    there_is / 100 * SHARE_PERCENT
}

/// Bytes of memory of the machine or of the process's control group, whichever is less; 0: not known. `root` is `/`, but for tests.
fn there_is(root: &Path) -> u64 {
    let machine = fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| kibibytes(&text, "MemTotal:"));
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(|line| group_limit(root, line));
    limits.chain(machine).min().unwrap_or(0)
}

/// The least limit of a control group and those around it. A line of `/proc/self/cgroup`: number, controllers, path (cgroups(7));
/// without controllers it is version 2.
fn group_limit(root: &Path, line: &str) -> Option<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let (mount, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|one| one == "memory") => ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        _ => return None,
    };
    let mount = root.join(mount);
    // In a container the path may be that of the host: then what is mounted is the group itself.
    let folders: Vec<PathBuf> =
        Path::new(path.trim_start_matches('/')).ancestors().map(|path| mount.join(path)).collect();
    let read = |folder: &PathBuf| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok();
    folders.iter().filter_map(read).min()
}

/// The value of a line such as `VmRSS:  1234 kB`, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|count| count * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What there is in a system with these files.
    fn check(files: &[(&str, &str)], expected: u64) {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(there_is(root.path()), expected, "{files:?}");
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:        8000000 kB\nMemFree: 1 kB\n");
    const ALL: u64 = 8_000_000 * 1024;

    #[test]
    fn the_least_limit_counts() {
        let v2 = ("proc/self/cgroup", "0::/system.slice/fennec.service\n");
        check(&[MACHINE], ALL);
        check(&[], 0);
        check(&[MACHINE, v2], ALL);
        let own = ("sys/fs/cgroup/system.slice/fennec.service/memory.max", "500000000\n");
        check(&[MACHINE, v2, own], 500_000_000);
        let around = ("sys/fs/cgroup/system.slice/memory.max", "400000000\n");
        check(&[MACHINE, v2, own, around], 400_000_000);
        let none = ("sys/fs/cgroup/system.slice/fennec.service/memory.max", "max\n");
        check(&[MACHINE, v2, none], ALL);
    }

    #[test]
    fn a_container_that_sees_only_its_own_group_finds_its_limit() {
        let path = "0::/../../kubepods/pod7/container\n";
        check(&[MACHINE, ("proc/self/cgroup", path), ("sys/fs/cgroup/memory.max", "1000000\n")], 1_000_000);
        check(&[MACHINE, ("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "1000000\n")], 1_000_000);
    }

    #[test]
    fn version_1_has_its_own_files() {
        let groups = ("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/docker/x\n1:name=systemd:/\n");
        let limit = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2000000\n");
        check(&[MACHINE, groups, limit], 2_000_000);
        check(
            &[MACHINE, groups, ("sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "9223372036854771712\n")],
            ALL,
        );
    }

    #[test]
    fn what_this_process_uses_is_known() {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        assert!(kibibytes(&status, "VmRSS:").unwrap() > 1_000_000);
    }
}
