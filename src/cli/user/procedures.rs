//! `fennec.admin.user.*` and `fennec.admin.role.*`: what `fennec user` and `fennec role` do, for who runs the broker from afar. Only
//! a role that names these procedures may call them.

use std::sync::{Arc, Weak};

use tokio::runtime::Handle;

use super::edit::{EditError, NewUser, UsersFile};
use super::list;
use crate::cli::access::Access;
use crate::cli::hash_password::{Secrets, check_name, check_password};
use crate::cli::role::procedures as role;
use crate::node::house::{Failure, Guest, GuestCall, NamedArguments};
use crate::types::value::Value;

const PROCEDURES: [&str; 5] = [
    "fennec.admin.user.list",
    "fennec.admin.user.add",
    "fennec.admin.user.passwd",
    "fennec.admin.user.role",
    "fennec.admin.user.remove",
];
/// Rounds that WAMP clients derive their key with.
const ITERATIONS: u32 = 10_000;

/// Where calls come in.
struct Entrance {
    access: Weak<Access>,
    runtime: Handle,
}

/// Answers the procedures, on threads of this runtime that may block.
pub fn install(access: &Arc<Access>, runtime: &Handle) {
    for procedure in PROCEDURES.into_iter().chain(role::PROCEDURES) {
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

impl From<EditError> for Failure {
    fn from(error: EditError) -> Self {
        let uri = match error {
            EditError::NoSuchUser(..) => "fennec.error.no_such_user",
            EditError::IsThere(_) => "fennec.error.user_exists",
            EditError::NoSuchRole(..) => "fennec.error.no_such_role",
            EditError::RoleIsThere(_) => "fennec.error.role_exists",
            EditError::NothingSaid => "fennec.error.no_such_permission",
            EditError::Wrong(_) => "wamp.error.invalid_argument",
            EditError::Io(_) => "fennec.error.store_unavailable",
        };
        Failure::new(uri, error.to_string())
    }
}

fn answer(access: &Arc<Access>, call: &GuestCall) -> Result<Value, Failure> {
    let mut given = call.named("name")?;
    if call.procedure() == "fennec.admin.user.list" {
        given.end()?;
        return Ok(Value::map([("users", Value::List(list(&access.config())))]));
    }
    if call.procedure() == "fennec.admin.role.list" {
        given.end()?;
        return Ok(role::all(access));
    }
    let file = access.users_file();
    let file = file.ok_or_else(|| Failure::new("wamp.error.unavailable", "the configuration names no users_file"))?;
    let name = given.required("name")?;
    match call.procedure() {
        "fennec.admin.user.add" => add(&file, name, given)?,
        "fennec.admin.user.passwd" => {
            let secrets = secrets(&mut given)?;
            given.end()?;
            file.set_password(&name, &secrets)?;
        }
        "fennec.admin.user.role" => {
            let role = given.required("role")?;
            given.end()?;
            file.set_role(&name, &role)?;
        }
        "fennec.admin.user.remove" => {
            given.end()?;
            file.remove(&name)?;
        }
        procedure => role::change(&file, procedure, &name, given)?,
    }
    // What was asked for holds when it is answered.
    access.reload().map_err(|problems| Failure::new("fennec.error.store_unavailable", problems.join("; ")))?;
    Ok(Value::Null)
}

fn add(file: &UsersFile, name: String, mut given: NamedArguments) -> Result<(), Failure> {
    check_name(&name).map_err(Failure::invalid)?;
    let user = NewUser { name, role: given.text("role")?, realms: given.texts("realms")? };
    let secrets = secrets(&mut given)?;
    given.end()?;
    Ok(file.add(&user, &secrets)?)
}

fn secrets(given: &mut NamedArguments) -> Result<Secrets, Failure> {
    let password = given.required("password")?;
    check_password(&password).map_err(Failure::invalid)?;
    Secrets::new(&password, ITERATIONS).map_err(|what| Failure::new("fennec.error.store_unavailable", what))
}
