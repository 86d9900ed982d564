//! Workers share a resource that only one of them may use at a time. Start several, of this file or of `resource_lock.js`:
//!
//! ```console
//! $ cargo run --release --example resource_lock -- NAME [URL] [SECONDS]
//! ```
//!
//! A worker asks for the lock by publishing to the resource's topic, a retained value that is set only `when` there is none and
//! until then waits (`watch`), first come first served. PUBLISHED says that it holds the lock. It gives it back by clearing the
//! value. If it dies instead, its `will` clears it. So whoever watches the topic sees who holds the resource.

use std::error::Error as StdError;
use std::time::Duration;

use fennec::client::machine::{Event, Publication};
use fennec::client::tls::Trust;
use fennec::client::url::{Protocol, Url};
use fennec::client::{Client, Error, Target, wamp};
use fennec::types::event::{Properties, Qos};
use fennec::types::payload::{Format, PayloadRef};
use fennec::types::value::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

const RESOURCE: &str = "myapp.resource";
/// Where `supervisord/resource-lock.supervisord.ini` has its router.
const DEFAULT_URL: &str = "ws://127.0.0.1:9780/ws";
/// How long the resource is used each time.
const USE_S: f64 = 5.0;
/// How long a worker rests before it wants the resource, or a connection, again.
const REST: Duration = Duration::from_secs(1);

struct Worker {
    name: String,
    url: Url,
    used_for: Duration,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn StdError>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| format!("worker-{}", std::process::id()));
    let url = Url::parse(arguments.next().as_deref().unwrap_or(DEFAULT_URL), Protocol::Wamp)?;
    let used_for = Duration::try_from_secs_f64(arguments.next().map_or(Ok(USE_S), |text| text.parse())?)?;
    let worker = Worker { name, url, used_for };
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        error = worker.work_for_ever() => Err(error.into()),
        // Without a goodbye: the will gives back what is held.
        _ = terminated.recv() => Ok(()),
    }
}

impl Worker {
    fn say(&self, what: &str) {
        println!("{:<8}| {what}", self.name);
    }

    /// Connects, works, and connects again when the connection is lost.
    async fn work_for_ever(&self) -> Error {
        loop {
            // A new client each time: nothing of the last session is sent again.
            let error = match self.connect().await {
                Ok(mut client) => self.work(&mut client).await,
                Err(error) => error,
            };
            if !error.may_pass() {
                return error;
            }
            self.say(&format!("{error}; trying again"));
            tokio::time::sleep(REST).await;
        }
    }

    async fn connect(&self) -> Result<Client, Error> {
        let options = wamp::Options {
            realm: "realm1".to_owned(),
            user: self.url.user.clone(),
            password: self.url.password.clone(),
            format: Format::Json,
            keep_alive: Duration::from_secs(10),
        };
        let target = Target { url: self.url.clone(), trust: Trust::System, timeout: Duration::from_secs(10) };
        let mut client = Client::new(target, wamp::speech(Format::Json), Box::new(wamp::Wamp::new(options)));
        client.connect().await?;
        self.say(&format!("connected to {}", self.url));
        Ok(client)
    }

    /// Takes the lock, uses the resource, gives the lock back, rests; until the connection is lost.
    async fn work(&self, client: &mut Client) -> Error {
        loop {
            if let Err(error) = self.take_a_turn(client).await {
                return error;
            }
        }
    }

    async fn take_a_turn(&self, client: &mut Client) -> Result<(), Error> {
        self.say(&format!("waits for {RESOURCE}"));
        let holder = vec![
            ("worker".to_owned(), Value::Text(self.name.clone())),
            ("pid".to_owned(), Value::Int(std::process::id().into())),
        ];
        let args = Value::List(vec![Value::Map(holder)]).to_bytes(Format::Json);
        let lock = [("when", Value::Null), ("will", Value::Null), ("watch", Value::Bool(true))];
        publish(client, Some(&args), &lock).await?;
        self.say(&format!("holds {RESOURCE}"));
        idle(client, self.used_for).await?;
        self.say(&format!("releases {RESOURCE}"));
        publish(client, None, &[]).await?;
        idle(client, REST).await
    }
}

/// Publishes `args` (none: clears the value) and waits until the router has acknowledged it.
async fn publish(client: &mut Client, args: Option<&[u8]>, options: &[(&str, Value)]) -> Result<(), Error> {
    let publication = Publication {
        topic: RESOURCE,
        payload: PayloadRef::Args { format: Format::Json, args, kwargs: None },
        qos: Qos::AtLeastOnce,
        retain: true,
        properties: &Properties::default(),
        expiry_s: None,
        options,
    };
    let published = client.machine().publish(&publication)?;
    loop {
        match client.event().await? {
            Event::Published { token, outcome } if token == published => return outcome.map(drop),
            _ => {}
        }
    }
}

/// Lets time pass on a living connection. A lock is held only as long as its session lives.
async fn idle(client: &mut Client, time: Duration) -> Result<(), Error> {
    let listen = async {
        loop {
            client.event().await?;
        }
    };
    timeout(time, listen).await.unwrap_or(Ok(()))
}
