//! Roles and their permissions in the file of users.

use toml_edit::{Array, ArrayOfTables, InlineTable, Item, Table, TableLike, Value, value};

use crate::cli::user::edit::{EditError, UsersFile, list_in, position_in};

/// The list of a role's permissions.
const PERMISSIONS: &str = "permissions";
const ROLE: &str = "role";

/// A role to be added, without permissions.
#[derive(Clone, Debug, Default)]
pub struct NewRole {
    pub name: String,
    /// Empty: all.
    pub realms: Vec<String>,
    /// Who is asked where no permission matches.
    pub authorizer: Option<String>,
}

/// What permissions are about, as it is written in the file: what cannot be read the broker would refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub actions: Vec<String>,
    pub pattern: Pattern,
}

/// Topics or procedures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// An MQTT topic filter.
    Topic(String),
    /// A WAMP URI, and how it is matched.
    Uri { uri: String, policy: String },
}

impl UsersFile {
    /// Adds a role.
    ///
    /// # Errors
    /// There is one of this name in the file, the configuration does not know its realms, or the file cannot be written.
    pub fn add_role(&self, role: &NewRole) -> Result<(), EditError> {
        self.change(|document| {
            if position_in(document, ROLE, &role.name).is_some() {
                return Err(EditError::RoleIsThere(role.name.clone()));
            }
            let mut table = Table::new();
            table["name"] = value(&role.name);
            if !role.realms.is_empty() {
                table["realms"] = value(role.realms.iter().collect::<Array>());
            }
            if let Some(authorizer) = &role.authorizer {
                table["authorizer"] = value(authorizer);
            }
            let list = document.entry(ROLE).or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
            let wrong = || EditError::Wrong(vec!["role is no list of tables".into()]);
            list.as_array_of_tables_mut().ok_or_else(wrong)?.push(table);
            Ok(())
        })
    }

    /// Removes a role.
    ///
    /// # Errors
    /// There is none of this name in the file, somebody has it, or the file cannot be written.
    pub fn remove_role(&self, name: &str) -> Result<(), EditError> {
        self.change(|document| {
            let at = position_in(document, ROLE, name).ok_or_else(|| self.no_role(name))?;
            if let Some(list) = list_in(document, ROLE) {
                list.remove(at);
            }
            Ok(())
        })
    }

    /// Allows or denies something to a role, whatever was said of that before; `None`: nothing is said of it any more.
    ///
    /// # Errors
    /// There is no such role in the file, nothing was said that could be taken back, the broker would refuse it, or the file cannot
    /// be written.
    pub fn permit(&self, role: &str, subject: &Subject, allow: Option<bool>) -> Result<(), EditError> {
        self.change(|document| {
            let at = position_in(document, ROLE, role).ok_or_else(|| self.no_role(role))?;
            let Some(table) = list_in(document, ROLE).and_then(|list| list.get_mut(at)) else { return Ok(()) };
            let found = take_back(table, subject);
            match allow {
                Some(allow) => add(table, subject, allow),
                None if !found => return Err(EditError::NothingSaid),
                None => {}
            }
            Ok(())
        })
    }

    fn no_role(&self, name: &str) -> EditError {
        EditError::NoSuchRole(name.to_owned(), self.shown())
    }
}

/// Removes the actions of a subject from all permissions of its pattern. Tells whether there were some.
fn take_back(role: &mut Table, subject: &Subject) -> bool {
    let mut found = false;
    let mut stays = |entry: &mut dyn TableLike| {
        let removed = subject.take_from(entry);
        found |= removed.is_some();
        removed != Some(0)
    };
    match role.get_mut(PERMISSIONS) {
        Some(Item::ArrayOfTables(tables)) => {
            let gone: Vec<usize> =
                tables.iter_mut().enumerate().filter_map(|(at, table)| (!stays(table)).then_some(at)).collect();
            gone.into_iter().rev().for_each(|at| tables.remove(at));
        }
        Some(Item::Value(Value::Array(list))) => {
            let mut is_gone = |value: &mut Value| value.as_inline_table_mut().is_some_and(|table| !stays(table));
            let gone: Vec<usize> =
                list.iter_mut().enumerate().filter_map(|(at, value)| is_gone(value).then_some(at)).collect();
            for at in gone.into_iter().rev() {
                list.remove(at);
            }
        }
        _ => {}
    }
    found
}

fn add(role: &mut Table, subject: &Subject, allow: bool) {
    let entries = subject.entries(allow);
    if let Some(Item::ArrayOfTables(tables)) = role.get_mut(PERMISSIONS) {
        let mut table = Table::new();
        for (name, value) in entries {
            table[name] = Item::Value(value);
        }
        return tables.push(table);
    }
    let list = role.entry(PERMISSIONS).or_insert(Item::Value(Value::Array(Array::new())));
    // Anything else the broker will refuse.
    let Some(list) = list.as_array_mut() else { return };
    let table: InlineTable = entries.into_iter().collect();
    list.push_formatted(Value::InlineTable(table).decorated("\n  ", ""));
    list.set_trailing_comma(true);
    list.set_trailing("\n");
}

impl Subject {
    /// How many actions are left to a permission of this pattern; `None`: it has none of these.
    fn take_from(&self, entry: &mut dyn TableLike) -> Option<usize> {
        if !self.pattern.is_that_of(entry) {
            return None;
        }
        let mut actions: Vec<String> = match entry.get("action")?.as_value()? {
            Value::Array(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            one => one.as_str().map(str::to_owned).into_iter().collect(),
        };
        let before = actions.len();
        actions.retain(|action| !self.actions.contains(action));
        let left = actions.len();
        if left == before {
            return None;
        }
        entry.insert("action", Item::Value(one_or_list(&actions)));
        Some(left)
    }

    fn entries(&self, allow: bool) -> Vec<(&'static str, Value)> {
        let mut entries = vec![("action", one_or_list(&self.actions))];
        match &self.pattern {
            Pattern::Topic(topic) => entries.push(("topic", topic.into())),
            Pattern::Uri { uri, policy } => {
                entries.push(("uri", uri.into()));
                if policy != EXACT {
                    entries.push(("match", policy.into()));
                }
            }
        }
        if !allow {
            entries.push(("allow", false.into()));
        }
        entries
    }
}

const EXACT: &str = "exact";

impl Pattern {
    fn is_that_of(&self, entry: &dyn TableLike) -> bool {
        let text = |name: &str| entry.get(name).and_then(Item::as_str);
        match self {
            Self::Topic(topic) => text("topic") == Some(topic),
            Self::Uri { uri, policy } => text("uri") == Some(uri) && text("match").unwrap_or(EXACT) == policy,
        }
    }
}

fn one_or_list(texts: &[String]) -> Value {
    match texts {
        [one] => one.into(),
        several => Value::Array(several.iter().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(actions: &[&str], topic: &str) -> Subject {
        let actions = actions.iter().map(|action| (*action).to_owned()).collect();
        Subject { actions, pattern: Pattern::Topic(topic.to_owned()) }
    }

    /// What a file is after a change of the role `r`.
    fn check(before: &str, subject: &Subject, allow: Option<bool>, expected: Result<&str, EditError>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        std::fs::write(&path, before).unwrap();
        let done = UsersFile::new(path.clone(), None).permit("r", subject, allow);
        let after = std::fs::read_to_string(&path).unwrap();
        assert_eq!(done.map(|()| after.as_str()), expected.map(|text| text as &str), "{subject:?}");
    }

    #[test]
    fn permissions_are_added_changed_and_taken_back_in_either_spelling() {
        let bare = "[[role]]\nname = \"r\" # mine\n";
        let said = "[[role]]\nname = \"r\" # mine\npermissions = [\n  { action = \"publish\", topic = \"a/#\" },\n]\n";
        let both = [subject(&["publish"], "a/#"), subject(&["publish", "subscribe"], "a/#")];
        check(bare, &both[0], Some(true), Ok(said));
        let denied = said.replace("\"a/#\" }", "\"a/#\", allow = false }");
        check(said, &both[0], Some(false), Ok(&denied));
        check(said, &subject(&["subscribe"], "a/#"), None, Err(EditError::NothingSaid));
        check(said, &subject(&["publish"], "b"), None, Err(EditError::NothingSaid));
        let tables =
            "[[role]]\nname = \"r\"\n[[role.permissions]]\naction = [\"publish\", \"call\"]\ntopic = \"a/#\"\n";
        let less = tables.replace("[\"publish\", \"call\"]", "\"call\"");
        check(tables, &both[1], None, Ok(&less));
        let more = format!("{less}\n[[role.permissions]]\naction = [\"publish\", \"subscribe\"]\ntopic = \"a/#\"\n");
        check(tables, &both[1], Some(true), Ok(&more));
    }

    #[test]
    fn uris_are_told_apart_by_how_they_are_matched() {
        let of = |policy: &str| Subject {
            actions: vec!["call".to_owned()],
            pattern: Pattern::Uri { uri: "a.".to_owned(), policy: policy.to_owned() },
        };
        let said = "[[role]]\nname = \"r\"\npermissions = [{ action = \"call\", uri = \"a.\", match = \"prefix\" }]\n";
        check(said, &of("exact"), None, Err(EditError::NothingSaid));
        check(said, &of("prefix"), None, Ok("[[role]]\nname = \"r\"\npermissions = []\n"));
    }

    #[test]
    fn roles_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let file = UsersFile::new(path.clone(), None);
        let role =
            NewRole { name: "r".to_owned(), realms: vec!["one".to_owned()], authorizer: Some("hook".to_owned()) };
        file.add_role(&role).unwrap();
        assert_eq!(file.add_role(&role), Err(EditError::RoleIsThere("r".to_owned())));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "[[role]]\nname = \"r\"\nrealms = [\"one\"]\nauthorizer = \"hook\"\n");
        file.remove_role("r").unwrap();
        assert!(matches!(file.remove_role("r"), Err(EditError::NoSuchRole(..))));
        let nobody = file.permit("r", &subject(&["call"], "a"), Some(true));
        assert!(matches!(nobody, Err(EditError::NoSuchRole(..))), "{nobody:?}");
    }
}
