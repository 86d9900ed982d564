//! A PostgreSQL server for tests, of their own: as a user that is not root, in a folder for temporary files, on a socket in it.
//!
//! It ends, and its folder goes, when the test's process has ended, however that was.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

struct Server {
    socket: PathBuf,
    /// As long as its standard input is open, the server runs.
    _shell: Child,
}

/// The URL of a store that nobody else has: a new schema of the server that this process's tests share. `None`: there is no
/// PostgreSQL on this machine, which has been said; with `CI` set, that is a failure.
pub fn store_url() -> Option<String> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    static SCHEMAS: AtomicU32 = AtomicU32::new(1);
    let Server { socket, .. } = SERVER.get_or_init(start).as_ref()?;
    let schema = SCHEMAS.fetch_add(1, Ordering::Relaxed);
    Some(format!("postgres:///postgres?host={}&user=postgres&schema=s{schema}", socket.display()))
}

fn start() -> Option<Server> {
    let Some(programs) = programs() else {
        assert!(
            std::env::var_os("CI").is_none(),
            "no PostgreSQL: initdb is neither in PATH nor in /usr/lib/postgresql"
        );
        eprintln!(
            "NOT TESTED: the store on PostgreSQL, for this machine has none (Debian: apt-get install postgresql)"
        );
        return None;
    };
    let folder = tempfile::Builder::new().prefix("fennec-postgres-").tempdir().expect("a folder").keep();
    let user = user_id(&folder);
    let as_user = |program: &mut Command| {
        if let Some((user, group)) = user {
            program.uid(user).gid(group);
        }
        program.current_dir(&folder);
    };
    if let Some((user, group)) = user {
        chown(&folder, Some(user), Some(group)).expect("to give the folder away");
    }
    let mut initdb = Command::new(programs.join("initdb"));
    as_user(&mut initdb);
    // Texts sort by the rules of a language, unless a column says otherwise: the store must.
    initdb.args(["-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]);
    initdb.args(["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"]);
    let made = initdb.output().expect("initdb");
    assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));

    // The shell waits for its standard input to end, which is when this process does.
    let script = r#""$0" -D data -k "$PWD" -h "" -c fsync=off -c shared_buffers=32MB -c max_connections=200 2>&1 <&- &
        read _; kill -QUIT $!; wait; cd /; rm -rf "$1""#;
    let mut shell = Command::new("sh");
    as_user(&mut shell);
    shell.arg("-c").arg(script).arg(programs.join("postgres")).arg(&folder);
    let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sh");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let mut seen = String::new();
    loop {
        let line = lines.next().and_then(Result::ok).unwrap_or_else(|| panic!("the server did not start: {seen}"));
        seen += &format!("{line}\n");
        if line.contains("ready to accept connections") {
            break;
        }
    }
    // What it says later interests nobody, but it must be read.
    std::thread::spawn(move || lines.for_each(drop));
    Some(Server { socket: folder, _shell: child })
}

/// Where the server's programs are.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    folders.extend(versions.map(|version| version.path().join("bin")));
    let found = folders.into_iter().find(|folder| folder.join("initdb").exists())?;
    // Debian's links lead to where all of them are.
    found.join("initdb").canonicalize().ok()?.parent().map(Path::to_owned)
}

/// The server refuses to run as root: then as the user `postgres`, or else `nobody`.
fn user_id(folder: &Path) -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    if fs::metadata(folder).expect("the folder").uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let find = |name: &str| {
        let mut fields =
            users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|f| f[0] == name)?.into_iter();
        Some((fields.nth(2)?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    find("postgres").or_else(|| find("nobody"))
}
