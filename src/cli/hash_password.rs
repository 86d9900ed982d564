//! `fennec hash-password`: reads a password and prints what the configuration keeps of it.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write, stderr, stdin};
use std::path::Path;
use std::process::{Command, Stdio};

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, SaltString};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::args::HashPasswordArgs;
use super::{Failure, print};
use crate::node::users::{Credentials, Kdf, SALT_BYTES, Salted, Scram, ScramKeys};

/// Longest password that MQTT can carry (MQTT 5, 1.5.6).
const PASSWORD_BYTES_MAX: usize = 65_535;
/// What WAMP clients expect of a derived key.
const KEYLEN: u32 = 32;

/// What is kept of a password: enough for every way of proving to know it.
pub(super) struct Secrets {
    /// For MQTT passwords, WAMP tickets, HTTP basic authentication.
    pub password_hash: String,
    pub wampcra_key: String,
    pub wampcra: Salted,
    pub scram: Vec<Scram>,
}

pub(super) fn run(args: HashPasswordArgs) -> Result<(), Failure> {
    check_name(&args.name).map_err(|what| Failure::Refused(vec![format!("--name: {what}")]))?;
    let password = read_password(None)?;
    let secrets = Secrets::new(&password, args.iterations).map_err(Failure::Run)?;
    print(&entry(&args.name, &secrets))
}

/// Whether a user can have this name; else why not.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    match name.is_empty() || name.chars().any(char::is_control) {
        true => Err(format!("{name:?} is no user name")),
        false => Ok(()),
    }
}

/// The `[[user]]` entry, as TOML.
fn entry(name: &str, secrets: &Secrets) -> String {
    let Secrets { password_hash, wampcra_key, wampcra: Salted { salt, iterations, keylen }, scram } = secrets;
    let scram: String = scram.iter().map(|scram| format!("  {},\n", scram_table(scram))).collect();
    let name = name.replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        "[[user]]\nname = \"{name}\"\npassword_hash = \"{password_hash}\"\nwampcra = {{ key = \"{wampcra_key}\", salt = \"{salt}\", \
         iterations = {iterations}, keylen = {keylen} }}\nscram = [\n{scram}]\n",
    )
}

impl Secrets {
    /// Takes tens of milliseconds. `iterations`: rounds that WAMP clients derive their key with.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(password: &str, iterations: u32) -> Result<Secrets, String> {
        Secrets::salted(password, iterations, [random_salt()?, random_salt()?, random_salt()?, random_salt()?])
    }

    fn salted(password: &str, iterations: u32, salts: [[u8; SALT_BYTES]; 4]) -> Result<Secrets, String> {
        let [hash_salt, key_salt, argon2_salt, pbkdf2_salt] = salts;
        let failed = |error| format!("cannot hash the password: {error}");
        let salt = SaltString::encode_b64(&hash_salt).map_err(failed)?;
        let hash = Argon2::default().hash_password(password.as_bytes(), &salt).map_err(failed)?;
        let wampcra = Salted { salt: STANDARD_NO_PAD.encode(key_salt), iterations, keylen: KEYLEN };
        let scram = Credentials::scram_of(password, [argon2_salt, pbkdf2_salt]);
        let scram = scram.map_err(|error| format!("cannot hash the password: {error}"))?;
        Ok(Secrets { password_hash: hash.to_string(), wampcra_key: wampcra.derive(password), wampcra, scram })
    }
}

/// One element of `scram`, as an inline table of TOML.
pub(super) fn scram_table(scram: &Scram) -> String {
    let keys = |prefix: &str, keys: &ScramKeys| {
        let (stored, server) = (STANDARD.encode(keys.stored), STANDARD.encode(keys.server));
        format!(", {prefix}stored_key = \"{stored}\", {prefix}server_key = \"{server}\"")
    };
    let memory = match scram.kdf {
        Kdf::Argon2id { memory_kib } => format!(", memory_kib = {memory_kib}"),
        Kdf::Pbkdf2 => String::new(),
    };
    format!(
        "{{ kdf = \"{}\", salt = \"{}\", iterations = {}{memory}{}{} }}",
        scram.kdf.name(),
        STANDARD.encode(&scram.salt),
        scram.iterations,
        keys("", &scram.keys),
        scram.text_keys.map(|text| keys("text_", &text)).unwrap_or_default()
    )
}

fn random_salt() -> Result<[u8; SALT_BYTES], String> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|error| format!("the system gives no random numbers: {error}"))?;
    Ok(salt)
}

/// From the file; else from a terminal, asked for twice and not shown; else all of standard input. Its last line end is no part of it.
pub(super) fn read_password(file: Option<&Path>) -> Result<String, Failure> {
    let password = match file {
        Some(path) => {
            let named =
                |error| Failure::Refused(vec![format!("{}: cannot read the password: {error}", path.display())]);
            read_all(File::open(path).map_err(named)?).map_err(named)?
        }
        None if stdin().is_terminal() => ask_twice()?,
        None => read_all(stdin().lock()).map_err(cannot_read)?,
    };
    check_password(&password).map_err(|what| Failure::Refused(vec![what]))?;
    Ok(password)
}

/// Whether a user can have this password; else why not.
pub(super) fn check_password(password: &str) -> Result<(), String> {
    if password.is_empty() {
        return Err("the password is empty".to_owned());
    }
    match password.len() > PASSWORD_BYTES_MAX {
        true => Err(format!("the password is longer than {PASSWORD_BYTES_MAX} bytes")),
        false => Ok(()),
    }
}

fn read_all(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    // Two bytes more for a line end, one to see that it is too long.
    from.take(PASSWORD_BYTES_MAX as u64 + 3).read_to_string(&mut text)?;
    Ok(without_line_end(&text).to_owned())
}

fn without_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

fn ask_twice() -> Result<String, Failure> {
    let _hidden = Hidden::start();
    let password = ask("Password: ")?;
    if ask("Again: ")? != password {
        return Err(Failure::Refused(vec!["the two passwords differ".to_owned()]));
    }
    Ok(password)
}

fn ask(prompt: &str) -> Result<String, Failure> {
    let mut answer = String::new();
    write!(stderr(), "{prompt}").and_then(|()| stderr().flush()).map_err(cannot_read)?;
    stdin().read_line(&mut answer).map_err(cannot_read)?;
    // The line end that was typed is not shown either.
    writeln!(stderr()).map_err(cannot_read)?;
    Ok(without_line_end(&answer).to_owned())
}

fn cannot_read(error: std::io::Error) -> Failure {
    Failure::Run(format!("cannot read the password: {error}"))
}

/// While it lives the terminal does not show what is typed.
struct Hidden;

impl Hidden {
    fn start() -> Hidden {
        stty("-echo");
        Hidden
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        stty("echo");
    }
}

/// By the command every Unix has, so that nothing here needs `unsafe`. Without it the password is shown.
fn stty(mode: &str) {
    let _ = Command::new("stty").arg(mode).stdin(Stdio::inherit()).stderr(Stdio::null()).status();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::users::check_hash;

    #[test]
    fn one_line_end_is_not_part_of_the_password() {
        for (typed, password) in [("a\n", "a"), ("a\r\n", "a"), ("a", "a"), ("a\n\n", "a\n"), (" a ", " a "), ("", "")]
        {
            assert_eq!(without_line_end(typed), password, "{typed:?}");
        }
    }

    #[test]
    fn the_entry_has_a_hash_that_is_accepted_and_never_the_password() {
        let secrets =
            Secrets::salted("s3cret", 1000, [[1; SALT_BYTES], [2; SALT_BYTES], [3; SALT_BYTES], [4; SALT_BYTES]])
                .unwrap();
        let text = entry("al \"x\"", &secrets);
        assert!(text.contains("name = \"al \\\"x\\\"\"\n"), "{text}");
        let hash = text.lines().find_map(|line| line.strip_prefix("password_hash = \"")?.strip_suffix('"'));
        assert_eq!(check_hash(hash.unwrap()), Ok(()));
        assert!(text.contains("iterations = 1000, keylen = 32") && !text.contains("s3cret"), "{text}");
    }

    #[test]
    fn a_name_that_would_break_the_file_is_refused() {
        for name in ["", "a\nb"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }
}
