//! `fennec hash-password`: reads a password and prints what the configuration keeps of it.

use std::io::{IsTerminal, Read, Write, stderr, stdin};
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

pub(super) fn run(args: HashPasswordArgs) -> Result<(), Failure> {
    let password = read_password()?;
    let salts = [random_salt()?, random_salt()?, random_salt()?, random_salt()?];
    print(&entry(&args.name, &password, args.iterations, salts)?)
}

/// The `[[user]]` entry, as TOML.
fn entry(name: &str, password: &str, iterations: u32, salts: [[u8; SALT_BYTES]; 4]) -> Result<String, Failure> {
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(Failure::Refused(vec![format!("--name: {name:?} is no user name")]));
    }
    let [hash_salt, key_salt, argon2_salt, pbkdf2_salt] = salts;
    let failed = |error| Failure::Run(format!("cannot hash the password: {error}"));
    let salt = SaltString::encode_b64(&hash_salt).map_err(failed)?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt).map_err(failed)?;
    let salted = Salted { salt: STANDARD_NO_PAD.encode(key_salt), iterations, keylen: KEYLEN };
    let key = salted.derive(password);
    let scram = Credentials::scram_of(password, [argon2_salt, pbkdf2_salt]);
    let scram = scram.map_err(|error| Failure::Run(format!("cannot hash the password: {error}")))?;
    let name = name.replace('\\', "\\\\").replace('"', "\\\"");
    Ok(format!(
        "[[user]]\nname = \"{name}\"\npassword_hash = \"{hash}\"\nwampcra = {{ key = \"{key}\", salt = \"{}\", \
         iterations = {iterations}, keylen = {KEYLEN} }}\nscram = [\n{}]\n",
        salted.salt,
        scram.iter().map(scram_line).collect::<String>()
    ))
}

/// One element of `scram`.
fn scram_line(scram: &Scram) -> String {
    let keys = |prefix: &str, keys: &ScramKeys| {
        let (stored, server) = (STANDARD.encode(keys.stored), STANDARD.encode(keys.server));
        format!(", {prefix}stored_key = \"{stored}\", {prefix}server_key = \"{server}\"")
    };
    let memory = match scram.kdf {
        Kdf::Argon2id { memory_kib } => format!(", memory_kib = {memory_kib}"),
        Kdf::Pbkdf2 => String::new(),
    };
    format!(
        "  {{ kdf = \"{}\", salt = \"{}\", iterations = {}{memory}{}{} }},\n",
        scram.kdf.name(),
        STANDARD.encode(&scram.salt),
        scram.iterations,
        keys("", &scram.keys),
        scram.text_keys.map(|text| keys("text_", &text)).unwrap_or_default()
    )
}

fn random_salt() -> Result<[u8; SALT_BYTES], Failure> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|error| Failure::Run(format!("the system gives no random numbers: {error}")))?;
    Ok(salt)
}

/// From a terminal, asked for twice and not shown; else all of standard input but its last line end.
fn read_password() -> Result<String, Failure> {
    let password = if stdin().is_terminal() { ask_twice()? } else { read_all()? };
    if password.is_empty() {
        return Err(Failure::Refused(vec!["the password is empty".to_owned()]));
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(Failure::Refused(vec![format!("the password is longer than {PASSWORD_BYTES_MAX} bytes")]));
    }
    Ok(password)
}

fn read_all() -> Result<String, Failure> {
    let mut text = String::new();
    // Two bytes more for a line end, one to see that it is too long.
    let limit = PASSWORD_BYTES_MAX as u64 + 3;
    stdin().lock().take(limit).read_to_string(&mut text).map_err(cannot_read)?;
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
        let text =
            entry("al \"x\"", "s3cret", 1000, [[1; SALT_BYTES], [2; SALT_BYTES], [3; SALT_BYTES], [4; SALT_BYTES]])
                .unwrap();
        assert!(text.contains("name = \"al \\\"x\\\"\"\n"), "{text}");
        let hash = text.lines().find_map(|line| line.strip_prefix("password_hash = \"")?.strip_suffix('"'));
        assert_eq!(check_hash(hash.unwrap()), Ok(()));
        assert!(text.contains("iterations = 1000, keylen = 32") && !text.contains("s3cret"), "{text}");
    }

    #[test]
    fn a_name_that_would_break_the_file_is_refused() {
        for name in ["", "a\nb"] {
            let refused = entry(name, "s3cret", 1, [[1; SALT_BYTES]; 4]);
            assert!(matches!(refused, Err(Failure::Refused(_))), "{name:?}");
        }
    }
}
