//! `/admin/…`: the procedures `fennec.admin.*` for whoever has `curl`. A path and a method are a procedure, the query its options.
//!
//! Nobody gets in without a role that names them: who does not say who he is, is asked to.

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};

use super::answer::{self, Answer, Failure};
use super::fields::{decoded, parameters};
use super::route::Visit;
use super::{Server, call};
use crate::node::users::ANONYMOUS;
use crate::router::authorize::{Action, Verdict};
use crate::types::payload::Format;
use crate::types::topic::Topic;
use crate::types::value::Value;

/// Where it is.
pub const ROOT: &str = "/admin/";

/// What a request asks for.
#[derive(Debug, PartialEq)]
struct Asked {
    procedure: &'static str,
    args: Vec<Value>,
    realm: Option<String>,
}

/// What there is under the path.
enum Place {
    /// One procedure for each method.
    Things { methods: &'static [(&'static str, &'static str)], allow: &'static str },
    /// The same with what the path names as the first argument.
    Thing { methods: &'static [(&'static str, &'static str)], allow: &'static str, name: String },
}

fn place(path: &str) -> Option<Place> {
    let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let things = |methods, allow| Some(Place::Things { methods, allow });
    let thing = |methods, allow, name: &str| Some(Place::Thing { methods, allow, name: decoded(name)? });
    match (first, rest) {
        ("sessions", None) => things(&[("GET", "fennec.admin.sessions")], "GET"),
        ("sessions", Some(name)) => {
            thing(&[("GET", "fennec.admin.session"), ("DELETE", "fennec.admin.kick")], "GET, DELETE", name)
        }
        ("subscriptions", None) => things(&[("GET", "fennec.admin.subscriptions")], "GET"),
        ("registrations", None) => things(&[("GET", "fennec.admin.registrations")], "GET"),
        ("retained", None) => things(&[("GET", "fennec.admin.retained")], "GET"),
        ("retained", Some(name)) => {
            let methods = &[("GET", "fennec.admin.retained_get"), ("DELETE", "fennec.admin.retained_delete")];
            thing(methods, "GET, DELETE", name)
        }
        ("durables", None) => things(&[("GET", "fennec.admin.durables")], "GET"),
        ("durables", Some(name)) => thing(&[("DELETE", "fennec.admin.durable_delete")], "DELETE", name),
        ("users", None) => things(&[("GET", "fennec.admin.user.list"), ("POST", "fennec.admin.user.add")], "GET, POST"),
        ("users", Some(rest)) if rest.ends_with("/role") => {
            thing(&[("PUT", "fennec.admin.user.role")], "PUT", rest.trim_end_matches("/role"))
        }
        ("roles", None) => things(&[("GET", "fennec.admin.role.list"), ("POST", "fennec.admin.role.add")], "GET, POST"),
        ("roles", Some(rest)) => match rest.rsplit_once('/') {
            Some((name, "allow")) => thing(&[("PUT", "fennec.admin.role.allow")], "PUT", name),
            Some((name, "deny")) => thing(&[("PUT", "fennec.admin.role.deny")], "PUT", name),
            Some((name, "clear")) => thing(&[("PUT", "fennec.admin.role.clear")], "PUT", name),
            _ => thing(&[("DELETE", "fennec.admin.role.remove")], "DELETE", rest),
        },
        ("users", Some(name)) => {
            let methods = &[("PUT", "fennec.admin.user.passwd"), ("DELETE", "fennec.admin.user.remove")];
            thing(methods, "PUT, DELETE", name)
        }
        ("log-level", None) => {
            things(&[("GET", "fennec.admin.log_level"), ("PUT", "fennec.admin.log_level")], "GET, PUT")
        }
        ("reload", None) => things(&[("POST", "fennec.admin.reload")], "POST"),
        _ => None,
    }
}

/// What a request asks for, its body aside.
fn read(method: &Method, path: &str, query: &str) -> Result<Asked, Failure> {
    let nothing = || Failure::NothingThere { path: path.to_owned() };
    let place = path.strip_prefix(ROOT).and_then(place).ok_or_else(nothing)?;
    let (methods, allow, name) = match place {
        Place::Things { methods, allow } => (methods, allow, None),
        Place::Thing { methods, allow, name } => (methods, allow, Some(name)),
    };
    let found = methods.iter().find(|(known, _)| *known == method.as_str());
    let (_, procedure) = *found.ok_or(Failure::WrongMethod { allow })?;
    let (mut realm, mut options) = (None, Vec::new());
    for (name, text) in parameters(query)? {
        match &*name {
            "realm" => realm = Some(text),
            name => options.push((name.to_owned(), option(procedure, name, text))),
        }
    }
    let mut args: Vec<Value> = name.into_iter().map(|name| first_argument(procedure, name)).collect();
    if !options.is_empty() {
        args.push(Value::Map(options));
    }
    Ok(Asked { procedure, args, realm })
}

/// A session is named by its id, which is a number, or by a client id.
fn first_argument(procedure: &str, name: String) -> Value {
    let id = name.parse::<u64>().ok().filter(|_| matches!(procedure, "fennec.admin.session" | "fennec.admin.kick"));
    id.map_or_else(|| Value::from(name), Value::from)
}

/// A parameter as the procedure takes it: it says itself what is wrong with one that is not what it should be.
fn option(procedure: &str, name: &str, text: String) -> Value {
    let numbers =
        matches!(procedure, "fennec.admin.sessions" | "fennec.admin.subscriptions" | "fennec.admin.registrations");
    let number = name == "limit" || (name == "after" && numbers);
    match (name, text.as_str()) {
        ("connected" | "forget", "true" | "1") => Value::Bool(true),
        ("connected" | "forget", "false" | "0") => Value::Bool(false),
        _ if number => text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from),
        _ => Value::from(text),
    }
}

impl Visit {
    pub(super) async fn admin(&self, request: Request<Incoming>) -> Result<Answer, Failure> {
        self.check_open(request.headers())?;
        let query = request.uri().query().unwrap_or_default().to_owned();
        let mut asked = read(request.method(), request.uri().path(), &query)?;
        let visitor = self.identify(request.headers()).await?;
        if request.method() == Method::PUT
            || matches!(asked.procedure, "fennec.admin.user.add" | "fennec.admin.role.add")
        {
            let body = self.read_json(request).await?;
            asked.args.push(options_of(&body)?);
        }
        let guest = match self.enter(&visitor, asked.realm.as_deref()) {
            Err(Failure::NotAuthorized { .. }) if *visitor.proved.user.name == *ANONYMOUS => {
                return Err(Failure::NoCredentials);
            }
            entered => entered?,
        };
        let procedure = Topic::from_uri(asked.procedure);
        let procedure = procedure.map_err(|error| Failure::InvalidTopic { field: "procedure", error })?;
        if *visitor.proved.user.name == *ANONYMOUS && guest.rights.judge(Action::Call, &procedure) == Verdict::No {
            return Err(Failure::NoCredentials);
        }
        self.server.administer(&guest, procedure, &asked.args).await
    }
}

/// The object that is the body.
fn options_of(body: &[u8]) -> Result<Value, Failure> {
    let value = Value::decode(Format::Json, body).ok().filter(|value| value.as_map().is_some());
    value.ok_or_else(|| Failure::Invalid("the body must be a JSON object".to_owned()))
}

impl Server {
    /// Calls a procedure, and answers with its result as it is.
    async fn administer(
        &self,
        guest: &super::route::Guest,
        procedure: Topic,
        args: &[Value],
    ) -> Result<Answer, Failure> {
        let args = Value::List(args.to_vec()).to_bytes(Format::Json);
        let answer = self.ask(guest, &procedure, &call::Request::with(&args)).await?;
        Ok(match answer {
            Some(answer) if answer.error.is_none() => {
                let told = answer.payload.as_ref().document(answer.codec);
                answer::json(StatusCode::OK, told.to_bytes(Format::Json))
            }
            answer => call::say(answer.as_ref()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, path: &str, query: &str) -> Result<(String, String), StatusCode> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let asked = read(&method, path, query).map_err(|failure| failure.status())?;
        let args = String::from_utf8(Value::List(asked.args).to_bytes(Format::Json)).unwrap();
        Ok((asked.procedure.to_owned(), args))
    }

    #[test]
    fn a_method_and_a_path_are_a_procedure_and_its_arguments() {
        for (method, path, query, procedure, args) in [
            ("GET", "/admin/sessions", "", "sessions", "[]"),
            (
                "GET",
                "/admin/sessions",
                "limit=5&after=7&connected=true&authid=x",
                "sessions",
                r#"[{"limit":5,"after":7,"connected":true,"authid":"x"}]"#,
            ),
            ("GET", "/admin/sessions/17", "", "session", "[17]"),
            ("GET", "/admin/sessions/lamp%2F1", "", "session", r#"["lamp/1"]"#),
            ("DELETE", "/admin/sessions/17", "message=go+away", "kick", r#"[17,{"message":"go away"}]"#),
            ("GET", "/admin/retained", "after=a.b&limit=x", "retained", r#"[{"after":"a.b","limit":"x"}]"#),
            ("GET", "/admin/retained/17", "", "retained_get", r#"["17"]"#),
            ("DELETE", "/admin/retained/a.b", "", "retained_delete", r#"["a.b"]"#),
            ("DELETE", "/admin/durables/d", "", "durable_delete", r#"["d"]"#),
            ("GET", "/admin/log-level", "", "log_level", "[]"),
            ("POST", "/admin/reload", "", "reload", "[]"),
            ("GET", "/admin/users", "", "user.list", "[]"),
            ("POST", "/admin/users", "", "user.add", "[]"),
            ("DELETE", "/admin/users/ann", "", "user.remove", r#"["ann"]"#),
        ] {
            let expected = (format!("fennec.admin.{procedure}"), args.to_owned());
            assert_eq!(asked(method, path, query), Ok(expected), "{method} {path}?{query}");
        }
    }

    #[test]
    fn what_is_not_there_is_404_and_what_is_not_done_there_405() {
        for (method, path, status) in [
            ("GET", "/admin/", StatusCode::NOT_FOUND),
            ("GET", "/admin/nothing", StatusCode::NOT_FOUND),
            ("GET", "/admin/reload/x", StatusCode::NOT_FOUND),
            ("GET", "/admin/sessions/%ff", StatusCode::NOT_FOUND),
            ("POST", "/admin/sessions", StatusCode::METHOD_NOT_ALLOWED),
            ("GET", "/admin/reload", StatusCode::METHOD_NOT_ALLOWED),
            ("PUT", "/admin/retained/a", StatusCode::METHOD_NOT_ALLOWED),
        ] {
            assert_eq!(asked(method, path, "").unwrap_err(), status, "{method} {path}");
        }
    }
}
