//! The built binary as a child process: what it prints where, and the code it ends with.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

fn fennec(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fennec"));
    let inherited = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FENNEC_"));
    inherited.for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.args(arguments).stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn check(output: &Output, code: i32, stdout: &str, stderr: &str) {
    let found = (output.status.code(), text(&output.stdout), text(&output.stderr));
    assert_eq!(found, (Some(code), stdout.to_owned(), stderr.to_owned()));
}

#[test]
fn check_config_says_ok_or_names_every_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    let path = path.to_str().unwrap();
    fs::write(path, "[limits]\nsessions_max = 5\n").unwrap();
    check(&fennec(&["check-config", path]).output().unwrap(), 0, &format!("{path}: ok\n"), "");
    check(&fennec(&["check-config"]).env("FENNEC_CONFIG", path).output().unwrap(), 0, &format!("{path}: ok\n"), "");
    fs::write(path, "[limits]\nsesions_max = 5\ndrain_s = -1\n").unwrap();
    let stderr = format!(
        "fennec: {path}:2:1: limits.sesions_max: unknown key; did you mean \"sessions_max\"?\n\
         fennec: {path}:3:11: limits.drain_s: must be from 0 to 3600\n"
    );
    check(&fennec(&["check-config", path]).output().unwrap(), 2, "", &stderr);
    check(&fennec(&["--config", path]).output().unwrap(), 2, "", &stderr);
}

#[test]
fn a_mistake_in_the_environment_is_named() {
    let output = fennec(&["check-config"]).env("FENNEC_LISTEN_MQT", "x").output().unwrap();
    let stderr = "fennec: FENNEC_LISTEN_MQT: unknown variable; did you mean \"FENNEC_LISTEN_MQTT\"?\n";
    check(&output, 2, "", stderr);
    let output = fennec(&["check-config"]).env("FENNEC_LISTEN_MQTT", "127.0.0.1:1883").output().unwrap();
    check(&output, 0, "ok (no file, only the environment)\n", "");
}

#[test]
fn what_was_typed_wrong_is_told_in_one_line() {
    let stderr =
        "fennec: unexpected argument '--mqt' found; tip: a similar argument exists: '--mqtt'; see `fennec --help`\n";
    check(&fennec(&["--mqt", "x"]).output().unwrap(), 2, "", stderr);
}

#[test]
fn help_and_version_are_no_failure() {
    for argument in ["--help", "--version", "serve --help", "check-config --help"] {
        let output = fennec(&argument.split(' ').collect::<Vec<_>>()).output().unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty() && !output.stdout.is_empty(),
            "{argument}: {output:?}"
        );
    }
}

#[test]
fn what_hash_password_prints_is_a_configuration() {
    let mut child = fennec(&["hash-password", "--name", "alice"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"s3cret\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    fs::write(&path, &output.stdout).unwrap();
    let path = path.to_str().unwrap();
    check(&fennec(&["check-config", path]).output().unwrap(), 0, &format!("{path}: ok\n"), "");
}

#[test]
fn an_empty_password_is_refused() {
    let output = fennec(&["hash-password"]).output().unwrap();
    check(&output, 2, "", "fennec: the password is empty\n");
}

#[test]
fn cluster_check_prints_who_takes_part_or_every_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cluster.toml");
    let path = path.to_str().unwrap();
    let data = folder.path().join("data");
    let file = format!(
        "name = \"shop\"\nkey = \"0123456789abcdef0123456789abcdef\"\ndata = {data:?}\n\
         [[process]]\nentry = \"E1\"\nlink = \"127.0.0.1:7001\"\nmqtt = \"127.0.0.1:1883\"\n\
         [[process]]\nndb = \"N1\"\nsync = \"S1\"\nlink = \"127.0.0.1:7002\"\n"
    );
    fs::write(path, &file).unwrap();
    let data = data.display();
    let stdout = format!(
        "cluster shop: 1 entry, 1 ndb, 1 sync in 2 processes\n\
         \x20 E1     entry     127.0.0.1:7001  mqtt 127.0.0.1:1883\n\
         \x20 N1,S1  ndb,sync  127.0.0.1:7002  {data}/N1, {data}/S1\n\
         slot 0: N1\n\
         acknowledged when 1 of 1 storages of a slot have it: survives the loss of 0, goes on without 0\n\
         ordered by 1 of 1 syncs: goes on without 0\n\
         links: not encrypted\n\
         {path}: ok\n"
    );
    check(&fennec(&["cluster", "check", "--cluster", path]).output().unwrap(), 0, &stdout, "");
    let stdout = format!(
        "process N1,S1 of cluster shop\n\
         \x20 N1,S1  ndb,sync  127.0.0.1:7002  {data}/N1, {data}/S1\n\
         listens for links at 127.0.0.1:7002\n\
         is dialled by E1\n\
         {path}: ok\n"
    );
    check(&fennec(&["cluster", "check", "--cluster", path, "--id", "S1,N1"]).output().unwrap(), 0, &stdout, "");
    let stderr = "fennec: --id: N1 is no process of this cluster: N1 runs in N1,S1\n";
    check(&fennec(&["cluster", "check", "--cluster", path, "--id", "N1"]).output().unwrap(), 2, "", stderr);
    fs::write(path, file.replace("127.0.0.1:7002", "10.0.0.2:7002").replace("N1", "E1")).unwrap();
    let stderr = format!(
        "fennec: {path}:9:7: process[1].ndb: \"E1\" is taken by process[0].entry\n\
         fennec: {path}:11:8: process[1].link: 10.0.0.2:7002 is not on loopback: configure [tls], or say \
         insecure_links = true if nobody else is in that network\n"
    );
    check(&fennec(&["cluster", "check", "--cluster", path]).output().unwrap(), 2, "", &stderr);
}

#[test]
fn cluster_status_tells_who_does_not_answer_and_waits_for_nobody() {
    // The system takes connections for them; they say nothing.
    let silent = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [a, b] = silent.each_ref().map(|listener| listener.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cluster.toml");
    let file = format!(
        "name = \"shop\"\nkey = \"0123456789abcdef0123456789abcdef\"\ndata = \"data\"\n\
         [[process]]\nsync = \"S1\"\nlink = \"{b}\"\n[[process]]\nentry = \"E1\"\nndb = \"N1\"\nlink = \"{a}\"\n"
    );
    fs::write(&path, &file).unwrap();
    let path = path.to_str().unwrap();
    let width = a.to_string().len().max(b.to_string().len());
    let (address, a, b) = (format!("{:width$}", "address"), format!("{a:width$}"), format!("{b:width$}"));
    let stdout = format!(
        "cluster shop\n\
         \x20 node  role   {address}  version  up  links  position  lag  pending  state\n\
         \x20 E1    entry  {a}  -        -   -      -         -    -        unreachable: does not answer within 200ms\n\
         \x20 N1    ndb    {a}  -        -   -      -         -    -        unreachable: does not answer within 200ms\n\
         \x20 S1    sync   {b}  -        -   -      -         -    -        unreachable: does not answer within 200ms\n\
         sync quorum: no, 0 of 1 vote, 1 needed (S1)\n\
         storage quorum of slot 0: no, 0 of 1 count, 1 needed (N1)\n\
         durable publishing is not possible\n"
    );
    let status = |more: &[&str]| fennec(&[&["cluster", "status", "--cluster", path], more].concat()).output().unwrap();
    check(&status(&["--timeout", "200"]), 2, &stdout, "");
    let printed: serde_json::Value = serde_json::from_slice(&status(&["--timeout", "200", "--json"]).stdout).unwrap();
    assert_eq!((&printed["verdict"], &printed["nodes"][1]["id"]), (&"impossible".into(), &"N1".into()));
    fs::write(path, file.replace("ndb", "nbd")).unwrap();
    let output = status(&[]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(2), &b""[..]), "{output:?}");
}
