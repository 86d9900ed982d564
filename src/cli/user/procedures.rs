//! `fennec.admin.user.*`: what `fennec user` does, for who runs the broker from afar. Only a role that names these procedures may
//! call them.

use std::sync::{Arc, Weak};

use tokio::runtime::Handle;

use super::edit::{EditError, NewUser, UsersFile};
use super::list;
use crate::cli::access::Access;
use crate::cli::hash_password::{Secrets, check_name, check_password};
use crate::node::house::{Declined, Guest, GuestCall};
use crate::types::value::Value;

const PROCEDURES: [&str; 4] =
    ["fennec.admin.user.list", "fennec.admin.user.add", "fennec.admin.user.passwd", "fennec.admin.user.remove"];
/// Rounds that WAMP clients derive their key with.
const ITERATIONS: u32 = 10_000;

/// Where calls come in.
struct Entrance {
    access: Weak<Access>,
    runtime: Handle,
}

/// Answers the procedures, on threads of this runtime that may block.
pub fn install(access: &Arc<Access>, runtime: &Handle) {
    for procedure in PROCEDURES {
        let entrance = Entrance { access: Arc::downgrade(access), runtime: runtime.clone() };
        access.node().offer(procedure, Arc::new(entrance));
    }
}

impl Guest for Entrance {
    fn take(&self, call: GuestCall) {
        let Some(access) = self.access.upgrade() else { return };
        // A password takes tens of milliseconds, and a file may be slow.
        self.runtime.spawn_blocking(move || {
            let answer = answer(&access, &call);
            call.answer(answer);
        });
    }
}

fn declined(uri: &'static str, text: impl Into<String>) -> Declined {
    Declined { uri, text: text.into() }
}

fn invalid(text: impl Into<String>) -> Declined {
    declined("wamp.error.invalid_argument", text)
}

impl From<EditError> for Declined {
    fn from(error: EditError) -> Self {
        let uri = match error {
            EditError::NoSuchUser(..) => "fennec.error.no_such_user",
            EditError::IsThere(_) => "fennec.error.user_exists",
            EditError::Wrong(_) => "wamp.error.invalid_argument",
            EditError::Io(_) => "fennec.error.store_unavailable",
        };
        declined(uri, error.to_string())
    }
}

fn answer(access: &Arc<Access>, call: &GuestCall) -> Result<Value, Declined> {
    let mut given = Given::read(call)?;
    if call.procedure() == "fennec.admin.user.list" {
        given.end()?;
        return Ok(Value::map([("users", Value::List(list(&access.config())))]));
    }
    let file = access.users_file();
    let file = file.ok_or_else(|| declined("wamp.error.unavailable", "the configuration names no users_file"))?;
    let name = given.required("name")?;
    match call.procedure() {
        "fennec.admin.user.add" => add(&file, name, given)?,
        "fennec.admin.user.passwd" => {
            let secrets = given.secrets()?;
            given.end()?;
            file.set_password(&name, &secrets)?;
        }
        _ => {
            given.end()?;
            file.remove(&name)?;
        }
    }
    // What was asked for holds when it is answered.
    access.reload().map_err(|problems| declined("fennec.error.store_unavailable", problems.join("; ")))?;
    Ok(Value::Null)
}

fn add(file: &UsersFile, name: String, mut given: Given) -> Result<(), Declined> {
    check_name(&name).map_err(invalid)?;
    let user = NewUser { name, role: given.text("role")?, realms: given.texts("realms")? };
    let secrets = given.secrets()?;
    given.end()?;
    Ok(file.add(&user, &secrets)?)
}

/// Arguments by name; the first may be told by its place.
struct Given(Vec<(String, Value)>);

impl Given {
    fn read(call: &GuestCall) -> Result<Self, Declined> {
        let (args, mut given) = call.arguments()?;
        for (at, value) in args.into_iter().enumerate() {
            match value {
                Value::Map(entries) => given.extend(entries),
                value if at == 0 => given.push(("name".to_owned(), value)),
                _ => return Err(invalid("there are too many arguments")),
            }
        }
        Ok(Self(given))
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().rposition(|(key, _)| key == name)?;
        Some(self.0.swap_remove(at).1).filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, Declined> {
        let wrong = || invalid(format!("{name} must be a string"));
        self.take(name).map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong)).transpose()
    }

    fn required(&mut self, name: &str) -> Result<String, Declined> {
        self.text(name)?.ok_or_else(|| invalid(format!("the argument {name} is missing")))
    }

    fn texts(&mut self, name: &str) -> Result<Vec<String>, Declined> {
        let wrong = || invalid(format!("{name} must be a string or a list of strings"));
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Text(one)) => Ok(vec![one]),
            Some(value) => {
                let list = value.as_list().ok_or_else(wrong)?;
                list.iter().map(|one| one.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
            }
        }
    }

    fn secrets(&mut self) -> Result<Secrets, Declined> {
        let password = self.required("password")?;
        check_password(&password).map_err(invalid)?;
        Secrets::new(&password, ITERATIONS).map_err(|what| declined("fennec.error.store_unavailable", what))
    }

    fn end(self) -> Result<(), Declined> {
        match self.0.first() {
            Some((name, _)) => Err(invalid(format!("there is no argument {name:?}"))),
            None => Ok(()),
        }
    }
}
