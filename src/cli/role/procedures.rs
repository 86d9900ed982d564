//! `fennec.admin.role.*`: what `fennec role` does, for who runs the broker from afar.

use super::edit::{NewRole, Pattern, Subject};
use super::list;
use crate::cli::access::Access;
use crate::cli::user::edit::UsersFile;
use crate::node::house::{Failure, NamedArguments};
use crate::types::value::Value;

pub const PROCEDURES: [&str; 6] = [
    "fennec.admin.role.list",
    "fennec.admin.role.add",
    "fennec.admin.role.remove",
    "fennec.admin.role.allow",
    "fennec.admin.role.deny",
    "fennec.admin.role.clear",
];

/// All roles and their permissions.
pub fn all(access: &Access) -> Value {
    Value::map([("roles", Value::List(list(&access.config())))])
}

/// Does what a procedure is for, to the role of this name.
///
/// # Errors
/// It cannot be done, or not so.
pub fn change(file: &UsersFile, procedure: &str, name: &str, mut given: NamedArguments) -> Result<(), Failure> {
    match procedure {
        "fennec.admin.role.add" => {
            let (realms, authorizer) = (given.texts("realms")?, given.text("authorizer")?);
            given.end()?;
            file.add_role(&NewRole { name: name.to_owned(), realms, authorizer })?;
        }
        "fennec.admin.role.remove" => {
            given.end()?;
            file.remove_role(name)?;
        }
        _ => {
            let subject = subject(given)?;
            let allow = match procedure {
                "fennec.admin.role.allow" => Some(true),
                "fennec.admin.role.deny" => Some(false),
                _ => None,
            };
            file.permit(name, &subject, allow)?;
        }
    }
    Ok(())
}

fn subject(mut given: NamedArguments) -> Result<Subject, Failure> {
    let actions = given.texts("action")?;
    let (topic, uri, policy) = (given.text("topic")?, given.text("uri")?, given.text("match")?);
    given.end()?;
    if actions.is_empty() {
        return Err(Failure::invalid("the argument action is missing"));
    }
    let pattern = match (topic, uri) {
        (Some(topic), None) if policy.is_none() => Pattern::Topic(topic),
        (None, Some(uri)) => Pattern::Uri { uri, policy: policy.unwrap_or_else(|| "exact".to_owned()) },
        _ => return Err(Failure::invalid("either topic, or uri and perhaps match, must be there")),
    };
    Ok(Subject { actions, pattern })
}
