//! One answer of what several entries have answered.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::Told;
use crate::node::house::admin;
use crate::node::house::answer::{Answer, Failure};
use crate::node::house::arguments::Arguments;
use crate::node::house::callee::Call;
use crate::types::value::Value;

/// How the answers of entries to one procedure become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Numbers: their sum.
    Sum,
    /// Lists of ids: all of them.
    Ids,
    /// Lists of ids by match policy: all of each.
    Lists,
    /// One entry has it, or nobody.
    One,
    /// An id or null: the id, which is the same everywhere.
    Found,
    /// A list of ids or null: all of them, sorted.
    Matches,
    /// The details of something that several may have: of the one that has had it first.
    Earliest,
    /// Pages of sessions.
    Sessions,
    /// Pages of subscriptions, with the number of their subscribers.
    Subscriptions,
}

/// Part of a list, as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    pub limit: usize,
    /// Those that hold most, and not by number.
    pub by_bytes: bool,
}

/// Procedures that are answered for all entries. Registrations are known at all entries, but for their callees.
const RULES: [(&str, Rule); 19] = [
    ("wamp.session.count", Rule::Sum),
    ("wamp.session.list", Rule::Ids),
    ("wamp.session.get", Rule::One),
    ("wamp.session.kill", Rule::One),
    ("wamp.session.kill_by_authid", Rule::Ids),
    ("wamp.session.kill_by_authrole", Rule::Sum),
    ("wamp.session.kill_all", Rule::Sum),
    ("wamp.session.modify_details", Rule::One),
    ("wamp.registration.list_callees", Rule::Ids),
    ("wamp.subscription.list", Rule::Lists),
    ("wamp.subscription.lookup", Rule::Found),
    ("wamp.subscription.match", Rule::Matches),
    ("wamp.subscription.get", Rule::Earliest),
    ("wamp.subscription.list_subscribers", Rule::Ids),
    ("wamp.subscription.count_subscribers", Rule::Sum),
    ("fennec.admin.sessions", Rule::Sessions),
    ("fennec.admin.session", Rule::One),
    ("fennec.admin.kick", Rule::One),
    ("fennec.admin.subscriptions", Rule::Subscriptions),
];

/// What holds bytes, of a session.
const BYTES: [&str; 3] = ["outbox_bytes", "backlog_bytes", "inflight_bytes"];

impl Paging {
    /// # Errors
    /// As the procedure itself has.
    pub fn read(call: &Call) -> Result<Self, Failure> {
        let mut options = Arguments::read(call)?.any_options()?;
        let by_bytes = options.text("order_by")?.as_deref() == Some("bytes");
        Ok(Self { limit: admin::limit(&mut options)?, by_bytes })
    }
}

impl Rule {
    /// `None`: this entry answers for all.
    pub fn of(uri: &str) -> Option<Self> {
        RULES.iter().find(|(known, _)| *known == uri).map(|(_, rule)| *rule)
    }

    pub fn has_pages(self) -> bool {
        matches!(self, Self::Sessions | Self::Subscriptions)
    }

    /// Whether nobody else has to be asked.
    pub fn is_whole(self, own: &Told) -> bool {
        match own {
            Err(failure) => !is_absence(failure),
            Ok(answer) => match self {
                Self::One => true,
                Self::Found => !first(answer).is_null(),
                _ => false,
            },
        }
    }

    /// Whether something was there, if it was to be changed.
    pub fn did_something(self, told: &Told) -> bool {
        let Ok(answer) = told else { return false };
        match self {
            Self::Sum => first(answer).as_u64() != Some(0),
            Self::Ids => first(answer).as_list().is_none_or(|ids| !ids.is_empty()),
            _ => true,
        }
    }
}

/// That something is not there: another entry may have it.
fn is_absence(failure: &Failure) -> bool {
    failure.uri.starts_with("wamp.error.no_such_")
}

fn first(answer: &Answer) -> &Value {
    answer.args.first().unwrap_or(&Value::Null)
}

/// What this entry has answered, the others, and those that have not (`silent`), as one answer. `paging`: of pages.
pub fn merge(rule: Rule, paging: Option<Paging>, own: Told, others: Vec<Told>, silent: &[Arc<str>]) -> Told {
    let (mut answers, mut refused, mut absent) = (Vec::new(), None, None);
    for told in std::iter::once(own).chain(others) {
        match told {
            Ok(answer) => answers.push(answer),
            Err(failure) if is_absence(&failure) => absent = absent.or(Some(failure)),
            Err(failure) => refused = refused.or(Some(failure)),
        }
    }
    if answers.is_empty() {
        return Err(why_not(refused, absent, silent));
    }
    if rule == Rule::One {
        return Ok(answers.swap_remove(0));
    }
    let values: Vec<Value> = answers.into_iter().filter_map(|answer| answer.args.into_iter().next()).collect();
    Ok(Answer::one(match rule {
        Rule::Sum => Value::from(values.iter().filter_map(Value::as_u64).sum::<u64>()),
        Rule::Ids => Value::List(distinct(values)),
        Rule::Lists => lists(values),
        Rule::One | Rule::Found => values.into_iter().find(|value| !value.is_null()).unwrap_or(Value::Null),
        Rule::Matches => {
            let found = sorted(distinct(values));
            if found.is_empty() { Value::Null } else { Value::List(found) }
        }
        Rule::Earliest => earliest(values).unwrap_or(Value::Null),
        Rule::Sessions => page("sessions", "session", paging, values, same_session, silent),
        Rule::Subscriptions => page("subscriptions", "id", paging, values, same_subscription, silent),
    }))
}

fn why_not(refused: Option<Failure>, absent: Option<Failure>, silent: &[Arc<str>]) -> Failure {
    match (refused, absent) {
        (Some(refused), _) => refused,
        (None, Some(absent)) if silent.is_empty() => absent,
        _ => Failure::new("wamp.error.unavailable", format!("not found, but {} may have it", silent.join(", "))),
    }
}

/// The items of all lists, each once.
fn distinct(lists: Vec<Value>) -> Vec<Value> {
    let mut known = HashSet::new();
    let items = lists.into_iter().flat_map(|list| match list {
        Value::List(items) => items,
        _ => Vec::new(),
    });
    items.filter(|item| item.as_u64().is_some_and(|id| known.insert(id))).collect()
}

fn sorted(mut ids: Vec<Value>) -> Vec<Value> {
    ids.sort_unstable_by_key(Value::as_u64);
    ids
}

fn lists(values: Vec<Value>) -> Value {
    let mut by_name: Vec<(String, Vec<Value>)> = Vec::new();
    for (name, list) in values.into_iter().flat_map(entries) {
        match by_name.iter_mut().find(|(known, _)| *known == name) {
            Some((_, lists)) => lists.push(list),
            None => by_name.push((name, vec![list])),
        }
    }
    Value::Map(by_name.into_iter().map(|(name, lists)| (name, Value::List(sorted(distinct(lists))))).collect())
}

fn entries(value: Value) -> Vec<(String, Value)> {
    match value {
        Value::Map(entries) => entries,
        _ => Vec::new(),
    }
}

/// Times are texts that are in order as those are.
fn earliest(values: Vec<Value>) -> Option<Value> {
    let created = |value: &Value| value.get("created").and_then(Value::as_str).map(str::to_owned);
    values.into_iter().min_by_key(created)
}

/// The page of all entries: each has told as many as the page has, so none is missing.
fn page(
    list: &'static str,
    number: &str,
    paging: Option<Paging>,
    pages: Vec<Value>,
    join: impl Fn(Value, Value) -> Value,
    silent: &[Arc<str>],
) -> Value {
    let mut rows: BTreeMap<u64, Value> = BTreeMap::new();
    let mut more = false;
    for (name, value) in pages.into_iter().flat_map(entries) {
        match value {
            Value::List(entries) if name == list => {
                for entry in entries {
                    let Some(id) = entry.get(number).and_then(Value::as_u64) else { continue };
                    let row = match rows.remove(&id) {
                        Some(known) => join(known, entry),
                        None => entry,
                    };
                    rows.insert(id, row);
                }
            }
            _ => more |= name == "next",
        }
    }
    let Paging { limit, by_bytes } = paging.unwrap_or(Paging { limit: usize::MAX, by_bytes: false });
    more |= rows.len() > limit;
    let mut rows: Vec<(u64, Value)> = rows.into_iter().collect();
    if by_bytes {
        rows.sort_by_key(|(_, row)| std::cmp::Reverse(held(row)));
    }
    rows.truncate(limit);
    let next = rows.last().filter(|_| more && !by_bytes).map(|(id, _)| Value::from(*id));
    let mut answer = vec![(list, Value::List(rows.into_iter().map(|(_, row)| row).collect()))];
    answer.extend(next.map(|next| ("next", next)));
    if !silent.is_empty() {
        answer.push(("unanswered", Value::List(silent.iter().map(|entry| Value::from(&**entry)).collect())));
    }
    Value::map(answer)
}

/// Bytes that a session holds; then what it was sent and has not acknowledged.
fn held(row: &Value) -> (u64, u64) {
    let number = |name| row.get(name).and_then(Value::as_u64).unwrap_or(0);
    (BYTES.into_iter().map(number).sum(), number("inflight_messages"))
}

/// Of a session that is away the entry tells most that had its connection last.
fn same_session(one: Value, other: Value) -> Value {
    if one.get("entry").is_some() { one } else { other }
}

fn same_subscription(one: Value, other: Value) -> Value {
    let count = |value: &Value| value.get("subscribers").and_then(Value::as_u64).unwrap_or(0);
    let subscribers = count(&one) + count(&other);
    let mut entry = earliest(vec![one, other]).map(entries).unwrap_or_default();
    entry.iter_mut().filter(|(name, _)| name == "subscribers").for_each(|(_, value)| *value = Value::from(subscribers));
    Value::Map(entry)
}
