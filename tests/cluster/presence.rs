//! One view of who is there: asked for, heard of and ended from any entry.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::LIMIT;
use crate::broker::Cluster;
use crate::calls::Wamp;
use crate::people::World;

/// Everybody may do everything, and run the broker.
const CONFIG: &str = r##"
[[role]]
name = "anonymous"
permissions = [
  { action = ["publish", "subscribe", "call", "register"], topic = "#" },
  { action = "call", uri = "wamp.session.", match = "prefix" },
  { action = "call", uri = "fennec.admin.", match = "prefix" },
]
"##;
const POLL: Duration = Duration::from_millis(20);
const SECOND: Duration = Duration::from_secs(1);

impl Wamp {
    /// The only thing that a call of the broker's gives (null: none), or the URI of its error.
    fn told(&mut self, procedure: &str, args: Value) -> Result<Value, String> {
        let request = self.next_request();
        self.say(json!([48, request, {}, procedure, args]));
        let answer = self.answer(request);
        match answer[0].as_u64() {
            Some(50) => Ok(answer[3][0].clone()),
            _ => Err(answer[4].as_str().expect("a URI").to_owned()),
        }
    }

    /// Asks until the answer is right: what another entry has is known a moment later, and one may take too long.
    fn asks_until(&mut self, procedure: &str, args: Value, is_right: impl Fn(&Result<Value, String>) -> bool) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            let told = self.told(procedure, args.clone());
            if is_right(&told) {
                return told.unwrap_or(Value::Null);
            }
            assert!(Instant::now() < deadline, "{procedure}{args}: {told:?}");
            std::thread::sleep(POLL);
        }
    }

    fn is_told(&mut self, procedure: &str, args: Value, expected: Value) {
        self.asks_until(procedure, args, |told| told.as_ref() == Ok(&expected));
    }

    fn is_refused(&mut self, procedure: &str, args: Value, uri: &str) {
        self.asks_until(procedure, args, |told| told.as_ref().is_err_and(|error| error == uri));
    }

    /// Has a session ended: what is said of it the session itself has to show.
    fn ends(&mut self, procedure: &str, args: Value) {
        // If that took too long for an answer, it is gone when it is asked for again.
        let is_gone = |error: &String| error == "wamp.error.no_such_session";
        self.asks_until(procedure, args, |told| told.as_ref().map_or_else(is_gone, |_| true));
    }

    fn subscribed(&mut self, topic: &str, options: Value) -> u64 {
        let request = self.next_request();
        self.say(json!([32, request, options, topic]));
        let answer = self.hear().expect("an answer");
        assert_eq!(answer[0], 33, "{answer}");
        answer[2].as_u64().expect("an id")
    }

    /// Waits for the event that tells that a session has left.
    fn hears_leave(&mut self, id: u64) {
        let is_it = |event: &Value| event[3]["topic"] == "wamp.session.on_leave" && event[4][0] == id;
        while !is_it(&self.hear().expect("a connection")) {}
    }

    /// Waits for the event that tells that a session has joined; hands back its id.
    fn hears_join(&mut self, field: &str, value: &Value) -> u64 {
        loop {
            let event = self.hear().expect("a connection");
            if event[3]["topic"] == "wamp.session.on_join" && event[4][0][field] == *value {
                return event[4][0]["session"].as_u64().expect("an id");
            }
        }
    }

    /// Whether it hears of this session within a second.
    fn soon_hears_of(&mut self, id: u64) -> bool {
        let deadline = Instant::now() + SECOND;
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            let Some(event) = self.hear_within(left) else { continue };
            if event[4][0]["session"] == id {
                return true;
            }
        }
        false
    }
}

/// A client at the first entry that hears of the sessions of all.
fn listener(world: &World) -> Wamp {
    let mut listener = Wamp::join(world.cluster.ports(0));
    listener.subscribed("wamp.session.", json!({"match": "prefix"}));
    for entry in [1, 2] {
        let deadline = Instant::now() + LIMIT;
        // The entry may hear of the subscription a moment later.
        while !listener.soon_hears_of(Wamp::join(world.cluster.ports(entry)).id) {
            assert!(Instant::now() < deadline, "nothing is heard of entry {entry}\n{}", world.cluster.all_said());
        }
    }
    listener
}

fn has(told: &Result<Value, String>, ids: &[u64]) -> bool {
    let list = told.as_ref().ok().and_then(Value::as_array);
    list.is_some_and(|list| ids.iter().all(|id| list.contains(&json!(id))))
}

#[test]
fn sessions_subscriptions_and_registrations_are_one_view_at_every_entry() {
    let mut world = World::of(Cluster::start_configured(LIMIT, CONFIG));
    let mut listener = listener(&world);
    let mut asks = Wamp::join(world.cluster.ports(0));
    sessions(&world, &mut listener, &mut asks);
    let [there, lost] = things(&world, &mut asks);

    // What an entry has that does not answer is not known; what the others have is.
    world.cluster.kill("E3");
    asks.is_told("wamp.session.count", json!([]), json!(3));
    asks.asks_until("wamp.session.list", json!([]), |told| has(told, &[there.id]));
    asks.is_refused("wamp.session.kill", json!([lost.id]), "wamp.error.unavailable");
    asks.asks_until("fennec.admin.sessions", json!([]), |told| {
        told.as_ref().is_ok_and(|listed| listed["unanswered"] == json!(["E3"]))
    });
}

/// Of the sessions of others, one is changed and killed, one is kicked.
fn sessions(world: &World, listener: &mut Wamp, asks: &mut Wamp) {
    let mut there = Wamp::join(world.cluster.ports(1));
    let there_id = listener.hears_join("session", &json!(there.id));
    let lamp = world.passing_mqtt(2, "lamp");
    let lamp_id = listener.hears_join("client_id", &json!("lamp"));
    asks.is_told("wamp.session.count", json!([]), json!(4));
    let own_id = asks.id;
    let all = [listener.id, own_id, there_id, lamp_id];
    asks.asks_until("wamp.session.list", json!([]), |told| has(told, &all));
    asks.asks_until("wamp.session.modify_details", json!([there_id, {"room": 7}]), Result::is_ok);
    let details = asks.asks_until("wamp.session.get", json!([there_id]), Result::is_ok);
    assert_eq!((&details["session"], &details["room"]), (&json!(there_id), &json!(7)));
    let entry_of = |listed: &Value, id: u64| {
        let row = listed["sessions"].as_array()?.iter().find(|row| row["session"] == id)?;
        row["entry"].as_str().map(str::to_owned)
    };
    asks.asks_until("fennec.admin.sessions", json!([{"connected": true}]), |told| {
        let of = |id| told.as_ref().ok().and_then(|listed| entry_of(listed, id)).unwrap_or_default();
        [of(own_id), of(there_id), of(lamp_id)] == ["E1", "E2", "E3"]
    });

    asks.ends("wamp.session.kill", json!([there_id]));
    assert_eq!(there.hear().expect("GOODBYE")[2], "wamp.close.killed");
    listener.hears_leave(there_id);
    asks.is_refused("wamp.session.get", json!([there_id]), "wamp.error.no_such_session");
    asks.ends("fennec.admin.kick", json!(["lamp"]));
    listener.hears_leave(lamp_id);
    drop(lamp);
    for (entry, procedure) in [("E1", "wamp.session.kill"), ("E2", "wamp.session.kill"), ("E3", "fennec.admin.kick")] {
        let is_note = |line: &str| line.contains("audit") && line.contains(procedure);
        let is_noted = |cluster: &Cluster| cluster.said(entry).lines().any(is_note);
        world.cluster.until(&format!("{entry} notes {procedure}"), LIMIT, is_noted);
    }
}

/// What two clients at other entries are subscribed to and registered for.
fn things(world: &World, asks: &mut Wamp) -> [Wamp; 2] {
    let mut others = [1, 2].map(|entry| Wamp::join(world.cluster.ports(entry)));
    let ids = others.each_ref().map(|other| other.id);
    let [one, other] = others.each_mut().map(|other| other.subscribed("view.topic", json!({})));
    assert_eq!(one, other, "it is one subscription");
    asks.is_told("wamp.subscription.lookup", json!(["view.topic"]), json!(one));
    asks.is_told("wamp.subscription.count_subscribers", json!([one]), json!(2));
    asks.asks_until("wamp.subscription.list_subscribers", json!([one]), |told| has(told, &ids));
    let options = json!({"invoke": "roundrobin"});
    let registered = |other: &mut Wamp| other.register("view.procedure", options.clone()).expect("a registration");
    let [one, other] = others.each_mut().map(registered);
    assert_eq!(one, other, "it is one registration");
    asks.is_told("wamp.registration.lookup", json!(["view.procedure"]), json!(one));
    asks.is_told("wamp.registration.count_callees", json!([one]), json!(2));
    asks.asks_until("wamp.registration.list_callees", json!([one]), |told| has(told, &ids));
    others
}
