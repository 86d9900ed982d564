//! A device, a link that flaps, and somebody who watches at the centre. `supervisord/edge.supervisord.ini` starts them with two brokers:
//!
//! ```text
//! device --> edge broker ==link (up, cut in silence, down)== central broker --> watch
//! ```
//!
//! ```console
//! $ cargo run --release --example edge -- device NAME URL
//! $ cargo run --release --example edge -- link NAME LISTEN TARGET [SECONDS]
//! $ cargo run --release --example edge -- watch NAME URL
//! ```
//!
//! The device publishes a number every fifth of a second. The watcher says what has come, and complains of a number that is missing or
//! there twice: it never does, however the link behaves, and whichever broker is killed.

use std::error::Error as StdError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fennec::client::machine::{Event, Publication, Subscription};
use fennec::client::tls::Trust;
use fennec::client::url::{Protocol, Url};
use fennec::client::{Client, Error, Target, wamp};
use fennec::types::event::{Properties, Qos};
use fennec::types::payload::{Codec, Format, PayloadRef};
use fennec::types::topic::MatchPolicy;
use fennec::types::value::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout, timeout_at};

const TOPIC: &str = "sensors.demo";
/// Between two numbers.
const PERIOD: Duration = Duration::from_millis(200);
/// How long the link is up, cut in silence, and down.
const SPELL_S: f64 = 6.0;
/// Before a connection is tried again.
const REST: Duration = Duration::from_millis(500);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn StdError>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        done = play(&arguments) => done,
        _ = terminated.recv() => Ok(()),
    }
}

async fn play(arguments: &[&str]) -> Result<(), Box<dyn StdError>> {
    match arguments {
        ["device", name, url] => device(name, &Url::parse(url, Protocol::Wamp)?).await,
        ["watch", name, url] => watch(name, &Url::parse(url, Protocol::Wamp)?).await,
        ["link", name, listen, target] => link(name, listen, target, SPELL_S).await,
        ["link", name, listen, target, seconds] => link(name, listen, target, seconds.parse()?).await,
        _ => Err("say device, link or watch; see the beginning of demo/edge.rs".into()),
    }
}

fn say(name: &str, what: &str) {
    println!("{name:<8}| {what}");
}

fn client(url: &Url) -> Client {
    let format = Format::Json;
    let options = wamp::Options {
        realm: "realm1".to_owned(),
        user: None,
        password: None,
        format,
        keep_alive: Duration::from_secs(5),
    };
    let target = Target { url: url.clone(), trust: Trust::System, timeout: Duration::from_secs(5) };
    Client::new(target, wamp::speech(format), Box::new(wamp::Wamp::new(options)))
}

/// Publishes `[life, number]`: the numbers of a life begin with 1.
async fn device(name: &str, url: &Url) -> Result<(), Box<dyn StdError>> {
    let life = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let mut number = 1_u64;
    loop {
        let mut client = client(url);
        match measure(&mut client, life, &mut number).await {
            Ok(()) => {}
            Err(error) => say(name, &format!("{error}")),
        }
        sleep(REST).await;
    }
}

async fn measure(client: &mut Client, life: u64, number: &mut u64) -> Result<(), Error> {
    client.connect().await?;
    loop {
        let args = format!("[{life},{number}]");
        let token = client.machine().publish(&Publication {
            topic: TOPIC,
            payload: PayloadRef::Args { format: Format::Json, args: Some(args.as_bytes()), kwargs: None },
            qos: Qos::AtLeastOnce,
            retain: false,
            properties: &Properties::default(),
            expiry_s: None,
            options: &[],
        })?;
        // Whether it came is not known if this fails: then the next has a number of its own.
        *number += 1;
        loop {
            if let Event::Published { token: of, outcome } = client.event().await?
                && of == token
            {
                outcome?;
                break;
            }
        }
        // What comes meanwhile is of no interest.
        let _ = timeout(PERIOD, async { while client.event().await.is_ok() {} }).await;
    }
}

/// Says what has come; after a break it goes on behind what came last.
async fn watch(name: &str, url: &Url) -> Result<(), Box<dyn StdError>> {
    let mut seen = Seen::default();
    loop {
        let mut client = client(url);
        if let Err(error) = follow(&mut client, name, &mut seen).await {
            say(name, &format!("{error}"));
        }
        sleep(REST).await;
    }
}

#[derive(Default)]
struct Seen {
    life: u64,
    last: u64,
    publication: Option<u64>,
}

async fn follow(client: &mut Client, name: &str, seen: &mut Seen) -> Result<(), Error> {
    client.connect().await?;
    let after: Vec<(&str, Value)> = seen.publication.map(|id| ("after", Value::from(id))).into_iter().collect();
    client.machine().subscribe(&Subscription {
        topic: TOPIC,
        qos: Qos::AtLeastOnce,
        retained: false,
        no_local: false,
        retain_as_published: false,
        policy: MatchPolicy::Exact,
        options: &after,
    })?;
    loop {
        let Event::Message(message) = client.event().await? else { continue };
        seen.publication = message.publication.or(seen.publication);
        let document = message.payload.as_ref().document(Codec::Auto);
        let list = document.get("args").and_then(Value::as_list).or(document.as_list()).unwrap_or_default();
        if let [life, number] = list
            && let (Some(life), Some(number)) = (life.as_u64(), number.as_u64())
        {
            seen.note(name, life, number);
        }
    }
}

impl Seen {
    /// A number may be missing whose publication was not acknowledged; one that is there twice never is.
    fn note(&mut self, name: &str, life: u64, number: u64) {
        if life == self.life && number <= self.last {
            say(name, &format!("{number} is there twice, or not in order"));
        }
        (self.life, self.last) = (life, number);
        say(name, &format!("got {number}"));
    }
}

/// Carries bytes for a while, then swallows them, then ends all connections.
async fn link(name: &str, listen: &str, target: &str, seconds: f64) -> Result<(), Box<dyn StdError>> {
    let listener = TcpListener::bind(listen).await?;
    let spell = Duration::try_from_secs_f64(seconds)?;
    loop {
        say(name, "is up");
        let until = Instant::now() + spell;
        let mut carried = tokio::task::JoinSet::new();
        // Until the spell is over.
        let _ = timeout_at(until, async {
            while let Ok((mut near, _)) = listener.accept().await {
                let target = target.to_owned();
                carried.spawn(async move {
                    let Ok(mut far) = TcpStream::connect(target).await else { return None };
                    // How it ends is of no interest, but the two stay open when it is cut.
                    let cut = timeout_at(until, copy_bidirectional(&mut near, &mut far)).await;
                    cut.is_err().then_some((near, far))
                });
            }
        })
        .await;
        say(name, "is cut, and nobody is told");
        sleep(spell).await;
        say(name, "is down");
        carried.shutdown().await;
        sleep(spell / 2).await;
    }
}
