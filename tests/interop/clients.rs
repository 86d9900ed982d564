//! Fetches the client libraries, once, into `target/clients`.
//!
//! `venv` holds the Python packages of `requirements.txt`, `node/node_modules` those of `package-lock.json`. A file
//! `fetched` beside them holds the list they were made from: when the list changes, they are made anew. A lock keeps
//! two test runs from fetching at once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const REQUIREMENTS: &str = include_str!("requirements.txt");
const PACKAGE: &str = include_str!("package.json");
const PACKAGE_LOCK: &str = include_str!("package-lock.json");

/// The Python interpreter that finds the Python client libraries.
pub fn python() -> PathBuf {
    static FETCHED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let venv = FETCHED.get_or_init(|| fetched("venv", REQUIREMENTS, fetch_python));
    match venv {
        Ok(venv) => venv.join("bin/python"),
        Err(error) => panic!("no Python client libraries; python3 with venv and a reachable PyPI are needed: {error}"),
    }
}

/// The folder `node_modules` with the JavaScript client libraries.
pub fn node_modules() -> PathBuf {
    static FETCHED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let node = FETCHED.get_or_init(|| fetched("node", PACKAGE_LOCK, fetch_node));
    match node {
        Ok(node) => node.join("node_modules"),
        Err(error) => panic!("no JavaScript client libraries; node and npm with its registry are needed: {error}"),
    }
}

/// The folder `name` of the clients, made by `fetch` unless it stands already and was made from the same `list`.
fn fetched(name: &str, list: &str, fetch: fn(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    let text = |error: std::io::Error| error.to_string();
    let clients = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("clients");
    fs::create_dir_all(&clients).map_err(text)?;
    let lock = File::create(clients.join(format!("{name}.lock"))).map_err(text)?;
    lock.lock().map_err(text)?;
    let folder = clients.join(name);
    let marker = folder.join("fetched");
    // A virtual environment holds absolute paths, so it does not survive a move of the folder.
    let content = format!("{}\n{list}", folder.display());
    if fs::read_to_string(&marker).is_ok_and(|found| found == content) {
        return Ok(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(text)?;
    }
    fs::create_dir_all(&folder).map_err(text)?;
    fetch(&folder)?;
    fs::write(&marker, content).map_err(text)?;
    Ok(folder)
}

fn fetch_python(venv: &Path) -> Result<(), String> {
    run(Command::new("python3").args(["-m", "venv"]).arg(venv))?;
    let requirements = venv.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS).map_err(|error| error.to_string())?;
    let mut pip = Command::new(venv.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--only-binary",
        ":all:",
    ]);
    run(pip.arg("--requirement").arg(requirements))
}

fn fetch_node(folder: &Path) -> Result<(), String> {
    for (name, text) in [("package.json", PACKAGE), ("package-lock.json", PACKAGE_LOCK)] {
        fs::write(folder.join(name), text).map_err(|error| error.to_string())?;
    }
    // The optional packages only make some parts faster, by native code that would have to be built.
    let options = ["--no-save", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    run(Command::new("npm").arg("install").args(options).current_dir(folder))
}

/// Runs a command to its end; an error is what a person needs to know to mend it.
fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| format!("`{program}` did not start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("{command:?} ended with {}\n{out}{err}", output.status))
}

/// Whether a program that the tests cannot fetch is installed. If it is not, the test says so past the capture of
/// its output and is not run; in CI, where everything must be there, that is a failure.
pub fn is_installed(program: &str) -> bool {
    use std::io::Write;
    let paths = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&paths).any(|folder| folder.join(program).is_file()) {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "`{program}` is not installed");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // A closed standard error is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{test}: not run: `{program}` is not installed");
    false
}
