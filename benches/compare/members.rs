//! The processes of a cluster, each with a folder of its own.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longest wait until all take clients.
const START: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// All end with this value.
pub struct Members {
    folder: TempDir,
    processes: Vec<Process>,
    /// Where clients are taken: by each entry, or server.
    pub clients: Vec<SocketAddr>,
}

struct Process {
    name: String,
    command: Vec<String>,
    child: Option<Child>,
}

impl Members {
    /// Three syncs, three storages and three entries, in this order.
    pub fn fennec(binary: &Path) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let ports = free_ports(12)?;
        let mut toml = format!(
            "name = 'bench'\nkey = 'a key that is long enough for a bench'\ndata = '{}'\n",
            folder.path().join("data").display()
        );
        let mut processes = Vec::new();
        let roles = ["sync", "ndb", "entry"].into_iter().flat_map(|role| (1..=3).map(move |number| (role, number)));
        for (index, (role, number)) in roles.enumerate() {
            let id = format!("{}{number}", &role[..1].to_uppercase());
            toml.push_str(&format!("[[process]]\n{role} = '{id}'\nlink = '{}'\n", ports[index]));
            if role == "entry" {
                toml.push_str(&format!("mqtt = '{}'\n", ports[index + 3]));
            }
            let [cluster, config] = ["cluster.toml", "fennec.toml"].map(|name| text(&folder.path().join(name)));
            let command =
                [&text(binary), role, "--id", &id, "--log", "warn", "--cluster", &cluster, "--config", &config];
            processes.push(Process { name: id.clone(), command: command.map(str::to_owned).into(), child: None });
        }
        fs::write(folder.path().join("cluster.toml"), toml)?;
        fs::write(folder.path().join("fennec.toml"), "[[durable]]\ntopic = 'bench/#'\nmax_bytes = 1099511627776\n")?;
        Self { folder, processes, clients: ports[9..].to_vec() }.begin()
    }

    /// Three servers. `synced`: each write is on disk before it counts, as with fennec; without, as it comes, the system writes
    /// when it likes.
    pub fn jetstream(binary: &Path, synced: bool) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let ports = free_ports(6)?;
        let routes: Vec<String> = ports[3..].iter().map(|port| format!("nats://{port}")).collect();
        let mut processes = Vec::new();
        for index in 0..3 {
            let name = format!("n{}", index + 1);
            let own = folder.path().join(&name);
            fs::create_dir(&own)?;
            let sync = if synced { ", sync_interval: always" } else { "" };
            let config = format!(
                "server_name: {name}\nlisten: '{}'\njetstream {{ store_dir: '{}'{sync} }}\n\
                 cluster {{ name: bench, listen: '{}', routes: [{}] }}\n",
                ports[index],
                own.display(),
                ports[index + 3],
                routes.join(", ")
            );
            let path = folder.path().join(format!("{name}.conf"));
            fs::write(&path, config)?;
            let command = vec![text(binary), "-c".to_owned(), text(&path)];
            processes.push(Process { name, command, child: None });
        }
        Self { folder, processes, clients: ports[..3].to_vec() }.begin()
    }

    fn begin(mut self) -> io::Result<Self> {
        for index in 0..self.processes.len() {
            self.launch(index)?;
        }
        self.wait()?;
        Ok(self)
    }

    /// Starts a process that does not run.
    pub fn launch(&mut self, index: usize) -> io::Result<()> {
        let process = &mut self.processes[index];
        let printed = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join(&process.name).with_extension("log"))?;
        // The bench starts itself and then becomes the member, so that none outlives a bench that is killed.
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--become-member").args(process.command.iter().map(|arg| format!("--member-arg={arg}")));
        command.stdin(Stdio::null()).stdout(printed.try_clone()?).stderr(printed);
        process.child = Some(command.spawn()?);
        Ok(())
    }

    /// Waits until all take clients.
    pub fn wait(&self) -> io::Result<()> {
        let begin = Instant::now();
        while !self.clients.iter().all(|client| TcpStream::connect(client).is_ok()) {
            if begin.elapsed() > START {
                return Err(self.failure("not all take clients"));
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    pub fn names(&self) -> Vec<String> {
        self.processes.iter().map(|process| process.name.clone()).collect()
    }

    pub fn pids(&self) -> Vec<u32> {
        self.processes.iter().filter_map(|process| process.child.as_ref()).map(Child::id).collect()
    }

    /// SIGKILL.
    pub fn kill(&mut self, index: usize) -> io::Result<()> {
        let Some(mut child) = self.processes[index].child.take() else { return Ok(()) };
        child.kill()?;
        child.wait().map(drop)
    }

    /// SIGSTOP or SIGCONT.
    pub fn signal(&self, index: usize, signal: Signal) -> io::Result<()> {
        let pid = self.processes[index].child.as_ref().and_then(|child| Pid::from_raw(child.id() as i32));
        Ok(kill_process(pid.ok_or_else(|| io::Error::other("it does not run"))?, signal)?)
    }

    /// What went wrong, with the last lines that each has printed.
    pub fn failure(&self, what: &str) -> io::Error {
        let mut text = what.to_owned();
        for Process { name, .. } in &self.processes {
            let printed = fs::read(self.folder.path().join(name).with_extension("log")).unwrap_or_default();
            let printed = String::from_utf8_lossy(&printed);
            let last: Vec<&str> = printed.lines().rev().take(3).collect();
            if !last.is_empty() {
                text.push_str(&format!("; {name} said: {}", last.into_iter().rev().collect::<Vec<_>>().join(" | ")));
            }
        }
        io::Error::other(text)
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        for child in self.processes.iter_mut().filter_map(|process| process.child.as_mut()) {
            // Errors mean that it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Turns this process into another program, which ends with whoever started it. Returns only if that fails.
pub fn become_member(command: &[String]) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let (program, args) = command.split_first().ok_or_else(|| io::Error::other("no program"))?;
    Err(Command::new(program).args(args).exec())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Ports that are free now; all are held until all are known, so that they differ.
fn free_ports(count: usize) -> io::Result<Vec<SocketAddr>> {
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<io::Result<_>>()?;
    held.iter().map(TcpListener::local_addr).collect()
}
