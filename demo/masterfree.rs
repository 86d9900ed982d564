//! A band that plays on a cluster: publishers and listeners at every entry, over WAMP and MQTT.
//!
//! ```console
//! $ cargo run --release --example masterfree -- [--rounds N] [--kill] [--folder DIR]
//! ```
//!
//! In each round every player publishes some notes and waits for their acknowledgements. Listeners print the ids of the events that they
//! hear. At the end of a round all must have heard the same ids, ascending, and every note that was acknowledged. A player whose
//! entry is gone goes on at the next one: over WAMP behind the last event id that it heard, over MQTT with its session.
//!
//! With `--kill`, each round has one node of `supervisord/masterfree.supervisord.ini` killed (`kill -9`), and waits for
//! it to be back. Without `--rounds` the band plays for ever, with `--kill` one round for each node. Ends with 1 when
//! something is missing, comes twice, or in another order. `--folder`: where the files of the cluster are, if not in `supervisord`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fennec::client::machine::{Event, Message, Publication, Subscription};
use fennec::client::tls::Trust;
use fennec::client::url::{Protocol, Url};
use fennec::client::{Client, Error, Target, mqtt, wamp};
use fennec::mqtt::codec::Level;
use fennec::types::event::{Properties, Qos};
use fennec::types::payload::{Codec, Format, PayloadRef};
use fennec::types::topic::MatchPolicy;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// Notes of one player in one round, and the rest after each.
const NOTES: u64 = 5;
const BEAT: Duration = Duration::from_millis(200);
/// How long a round may take. A node that is being built at the first start takes longer, and the band waits for it.
const ROUND: Duration = Duration::from_secs(60);
/// How long anybody waits before it tries again.
const REST: Duration = Duration::from_millis(300);
/// Before anything that could be in a log.
const BEGINNING: &str = "2000-01-01T00:00:00Z";
/// Who ends the rounds.
const CONDUCTOR: &str = "conductor";

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let played = async {
        let orders = Orders::read()?;
        let cluster = Arc::new(Cluster::read(&orders.folder)?);
        Band::gather(cluster).await.play(&orders).await
    };
    match played.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("FAILED: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// What the arguments say.
struct Orders {
    /// `None`: for ever.
    rounds: Option<usize>,
    kill: bool,
    folder: PathBuf,
}

/// The nodes of `masterfree.cluster.toml`.
struct Cluster {
    /// Ports of each entry: WAMP and MQTT.
    entries: Vec<(u16, u16)>,
    /// In the order in which they are killed: a name, and the port on which others link to it.
    nodes: Vec<(String, u16)>,
    /// Where `masterfree.sh` leaves process ids.
    data: PathBuf,
}

/// The file, as far as a client needs it.
#[derive(serde::Deserialize)]
struct File {
    process: Vec<Process>,
}

#[derive(serde::Deserialize)]
struct Process {
    entry: Option<String>,
    ndb: Option<String>,
    sync: Option<String>,
    link: SocketAddr,
    mqtt: Option<SocketAddr>,
    http: Option<SocketAddr>,
}

impl Cluster {
    fn read(folder: &Path) -> Result<Self, Failure> {
        let File { process } = toml::from_str(&std::fs::read_to_string(folder.join("masterfree.cluster.toml"))?)?;
        let ports = |process: &Process| Some((process.http?.port(), process.mqtt?.port()));
        let named = |name: &Option<String>, process: &Process| Some((name.clone()?, process.link.port()));
        let mut nodes = Vec::new();
        // One of each role, then the next of each.
        let roles = [
            process.iter().filter_map(|process| named(&process.entry, process)).collect::<Vec<_>>(),
            process.iter().filter_map(|process| named(&process.ndb, process)).collect(),
            process.iter().filter_map(|process| named(&process.sync, process)).collect(),
        ];
        for at in 0..process.len() {
            nodes.extend(roles.iter().filter_map(|role| role.get(at).cloned()));
        }
        let data = folder.join("masterfree-data");
        Ok(Self { entries: process.iter().filter_map(ports).collect(), nodes, data })
    }
}

impl Orders {
    fn read() -> Result<Self, Failure> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("supervisord");
        let mut orders = Self { rounds: None, kill: false, folder };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--kill" => orders.kill = true,
                "--rounds" => orders.rounds = Some(arguments.next().ok_or("--rounds: how many?")?.parse()?),
                "--folder" => orders.folder = arguments.next().ok_or("--folder: which?")?.into(),
                _ => return Err(format!("{argument}: neither --kill, --rounds N nor --folder DIR").into()),
            }
        }
        Ok(orders)
    }
}

/// A note: who plays it, and which of its notes it is.
type Note = (String, u64);

/// What has come of the round.
#[derive(Default)]
struct Score {
    acknowledged: BTreeSet<Note>,
    /// Players that have all their acknowledgements.
    played: usize,
    /// By listener: the event ids with their notes, in the order in which they came.
    heard: BTreeMap<String, Vec<(String, Note)>>,
    /// Listeners that have heard the end of the round.
    ended: BTreeSet<String>,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Score>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Score> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Band {
    cluster: Arc<Cluster>,
    score: Shared,
    round: watch::Sender<u64>,
    conductor: Player,
    client: Client,
    players: usize,
    listeners: usize,
}

impl Band {
    /// A player and a listener for each entry and protocol. No listener misses a note of the first round.
    async fn gather(cluster: Arc<Cluster>) -> Self {
        let score = Shared(Arc::default());
        let (round, rounds) = watch::channel(0);
        let run = format!("{:x}", now_us() ^ u128::from(std::process::id()) << 64);
        let (mut players, mut listeners) = (0, 0);
        for (entry, protocol) in (0..cluster.entries.len()).flat_map(|at| [(at, Protocol::Wamp), (at, Protocol::Mqtt)])
        {
            let player = Player::new(&cluster, &run, "plays", (entry, protocol));
            let listener = Player::new(&cluster, &run, "hears", (entry, protocol));
            let client = listener.listen_from_the_beginning().await;
            tokio::spawn(listener.listen(client, score.clone()));
            tokio::spawn(player.play(rounds.clone(), score.clone()));
            (players, listeners) = (players + 1, listeners + 1);
        }
        let mut conductor = Player::new(&cluster, &run, "ends", (0, Protocol::Wamp));
        conductor.name = CONDUCTOR.to_owned();
        let mut client = conductor.client();
        conductor.connect(&mut client).await;
        Self { cluster, score, round, conductor, client, players, listeners }
    }

    async fn play(mut self, orders: &Orders) -> Result<(), Failure> {
        let mut round = 0;
        let rounds = orders.rounds.or(orders.kill.then_some(self.cluster.nodes.len()));
        while rounds.is_none_or(|rounds| round < rounds) {
            let victim = orders.kill.then(|| Victim::new(&self.cluster, round));
            round += 1;
            let begun = Instant::now();
            let played = timeout(ROUND, self.play_round(round as u64, victim.as_ref())).await;
            played.map_err(|_| format!("round {round} has no end: {}", self.who_waits()))??;
            let (notes, ids) = self.check()?;
            println!(
                "round {round}: {notes} notes acknowledged, {ids} events, {} listeners: one order, nothing missing, {:.1} s",
                self.listeners,
                begun.elapsed().as_secs_f64()
            );
            if let Some(victim) = victim {
                timeout(ROUND, victim.comes_back()).await.map_err(|_| format!("{} does not come back", victim.node))?;
                println!("{} is back", victim.node);
            }
        }
        Ok(())
    }

    async fn play_round(&mut self, round: u64, victim: Option<&Victim>) -> Result<(), Failure> {
        self.round.send_replace(round);
        if let Some(victim) = victim {
            sleep(BEAT * NOTES as u32 / 3).await;
            victim.kill()?;
            println!("{} is killed", victim.node);
        }
        while self.score.lock().played < self.players {
            sleep(BEAT).await;
        }
        self.conductor.publish(&mut self.client, round).await;
        while self.score.lock().ended.len() < self.listeners {
            sleep(BEAT).await;
        }
        Ok(())
    }

    fn who_waits(&self) -> String {
        let score = self.score.lock();
        let ended = score.ended.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        format!("{} of {} players are done, the end was heard by [{ended}]", score.played, self.players)
    }

    /// Whether all have heard the same and everything. Returns how many notes were acknowledged, and how many events there were.
    fn check(&self) -> Result<(usize, usize), Failure> {
        let score = std::mem::take(&mut *self.score.lock());
        let mut all = score.heard.iter();
        let (first, expected) = all.next().ok_or("nobody has heard anything")?;
        for (name, heard) in &score.heard {
            if let Some(pair) = heard.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
                return Err(format!("{name} heard {:?} before {:?}", pair[0], pair[1]).into());
            }
        }
        for (name, heard) in all {
            if let Some(at) = (0..heard.len().max(expected.len())).find(|at| heard.get(*at) != expected.get(*at)) {
                let (here, there) = (heard.get(at), expected.get(at));
                return Err(format!("as number {at} {name} heard {here:?}, {first} heard {there:?}").into());
            }
        }
        let heard: BTreeSet<&Note> = expected.iter().map(|(_, note)| note).collect();
        if let Some(missing) = score.acknowledged.iter().find(|note| !heard.contains(note)) {
            return Err(format!("nobody heard {missing:?}, which was acknowledged").into());
        }
        Ok((score.acknowledged.len(), expected.len()))
    }
}

fn now_us() -> u128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros())
}

/// One connection of the band, which moves from entry to entry when it has to.
struct Player {
    cluster: Arc<Cluster>,
    name: String,
    /// Distinguishes this band from others on the same cluster.
    run: String,
    entry: usize,
    protocol: Protocol,
    /// The last event id that was heard.
    cursor: Option<String>,
}

impl Player {
    fn new(cluster: &Arc<Cluster>, run: &str, does: &str, (entry, protocol): (usize, Protocol)) -> Self {
        let speaks = if protocol == Protocol::Mqtt { "mqtt" } else { "wamp" };
        let name = format!("E{}-{speaks}-{does}", entry + 1);
        Self { cluster: cluster.clone(), name, run: run.to_owned(), entry, protocol, cursor: None }
    }

    fn url(&self) -> Url {
        let (wamp, mqtt) = self.cluster.entries[self.entry];
        let text = match self.protocol {
            Protocol::Mqtt => format!("mqtt://127.0.0.1:{mqtt}"),
            Protocol::Wamp => format!("ws://127.0.0.1:{wamp}/ws"),
        };
        Url::parse(&text, self.protocol).expect("a URL made here")
    }

    fn client(&self) -> Client {
        let target = Target { url: self.url(), trust: Trust::System, timeout: Duration::from_secs(10) };
        match self.protocol {
            Protocol::Mqtt => {
                let machine = mqtt::Mqtt::new(mqtt::Options {
                    level: Level::V5,
                    client_id: format!("{}-{}", self.run, self.name),
                    user: None,
                    password: None,
                    keep_alive_s: 10,
                    session_expiry_s: 3600,
                    response_topic: format!("reply/{}", self.name),
                });
                Client::new(target, mqtt::SPEECH, Box::new(machine.expect("options that MQTT can say")))
            }
            Protocol::Wamp => {
                let machine = wamp::Wamp::new(wamp::Options {
                    realm: "realm1".to_owned(),
                    user: None,
                    password: None,
                    format: Format::Json,
                    keep_alive: Duration::from_secs(10),
                });
                Client::new(target, wamp::speech(Format::Json), Box::new(machine))
            }
        }
    }

    /// Tries one entry after the other, until one takes it. Says whether that has its session.
    async fn connect(&mut self, client: &mut Client) -> bool {
        loop {
            client.redirect(self.url());
            match client.connect().await {
                Ok(opened) => return opened.resumed,
                Err(_) => self.entry = (self.entry + 1) % self.cluster.entries.len(),
            }
            sleep(REST).await;
        }
    }

    /// Plays its notes of each round.
    async fn play(mut self, mut rounds: watch::Receiver<u64>, score: Shared) {
        let mut client = self.client();
        self.connect(&mut client).await;
        loop {
            tokio::select! {
                changed = rounds.changed() => if changed.is_err() {
                    return;
                },
                event = client.event() => {
                    if event.is_err() {
                        self.connect(&mut client).await;
                    }
                    continue;
                }
            }
            let round = *rounds.borrow_and_update();
            for note in (round - 1) * NOTES + 1..=round * NOTES {
                self.publish(&mut client, note).await;
                score.lock().acknowledged.insert((self.name.clone(), note));
                sleep(BEAT).await;
            }
            score.lock().played += 1;
        }
    }

    /// Publishes a note until it is acknowledged.
    async fn publish(&mut self, client: &mut Client, note: u64) {
        let topic = match self.protocol {
            Protocol::Mqtt => format!("band/{}/{}", self.run, self.name),
            Protocol::Wamp => format!("band.{}.{}", self.run, self.name),
        };
        let text = format!("{} {note}", self.name);
        loop {
            let published = client.machine().publish(&Publication {
                topic: &topic,
                payload: PayloadRef::Bytes(text.as_bytes()),
                // Less might come to a listener once more that moves to another entry.
                qos: Qos::ExactlyOnce,
                retain: false,
                properties: &Properties::default(),
                expiry_s: None,
                options: &[],
            });
            let token = published.expect("a publication that both protocols can say");
            loop {
                match client.event().await {
                    Ok(Event::Published { token: told, outcome }) if told == token => match outcome {
                        Ok(_) => return,
                        // There is no quorum, for example.
                        Err(_) => break,
                    },
                    Ok(_) => {}
                    // The machine sends again what was not acknowledged.
                    Err(_) => drop(self.connect(client).await),
                }
            }
            sleep(REST).await;
        }
    }

    /// Subscribes for the first time.
    async fn listen_from_the_beginning(&self) -> Client {
        let mut first = Self {
            name: self.name.clone(),
            run: self.run.clone(),
            cursor: None,
            cluster: self.cluster.clone(),
            ..*self
        };
        let mut client = first.client();
        loop {
            first.connect(&mut client).await;
            if first.subscribe(&mut client).await.is_ok() {
                return client;
            }
            sleep(REST).await;
        }
    }

    async fn subscribe(&self, client: &mut Client) -> Result<(), Error> {
        let (topic, options) = match self.protocol {
            Protocol::Mqtt => (format!("band/{}/+", self.run), Vec::new()),
            Protocol::Wamp => {
                let after = self.cursor.as_deref().unwrap_or(BEGINNING);
                (format!("band.{}.", self.run), vec![("after", after.into())])
            }
        };
        let token = client.machine().subscribe(&Subscription {
            topic: &topic,
            // QoS 1 would repeat what was not acknowledged when a connection was lost.
            qos: Qos::ExactlyOnce,
            retained: false,
            no_local: false,
            retain_as_published: false,
            policy: MatchPolicy::Wildcard,
            options: &options,
        })?;
        // Events may come before the answer, but none is published before the first answers are there.
        if self.cursor.is_some() {
            return Ok(());
        }
        loop {
            if let Event::Subscribed { token: told, outcome } = client.event().await?
                && told == token
            {
                return outcome.map(drop);
            }
        }
    }

    /// Listens for ever.
    async fn listen(mut self, mut client: Client, score: Shared) {
        loop {
            match client.event().await {
                Ok(Event::Message(message)) => self.hear(&message, &score),
                // The log cannot be read here at the moment.
                Ok(Event::Unsubscribed { .. } | Event::Subscribed { outcome: Err(_), .. }) | Err(_) => {
                    sleep(REST).await;
                    let has_session = self.connect(&mut client).await;
                    if !has_session && self.subscribe(&mut client).await.is_err() {
                        println!("{:<14}| cannot subscribe", self.name);
                    }
                }
                Ok(_) => {}
            }
        }
    }

    fn hear(&mut self, message: &Message, score: &Shared) {
        let document = message.payload.as_ref().document(Codec::Auto);
        let note = document.as_str().and_then(|text| text.split_once(' '));
        let Some((who, number)) = note.and_then(|(who, number)| Some((who, number.parse().ok()?))) else { return };
        let mut properties = message.properties.user_properties.iter();
        let property = properties.find(|(name, _)| name == "event_id").map(|(_, id)| id.as_str());
        let detail = message.details.iter().find(|(name, _)| name == "event_id").and_then(|(_, id)| id.as_str());
        let id = detail.or(property).unwrap_or_default().to_owned();
        println!("{:<14}| {id} {who} {number}", self.name);
        self.cursor = Some(id.clone());
        let mut score = score.lock();
        score.heard.entry(self.name.clone()).or_default().push((id, (who.to_owned(), number)));
        if who == CONDUCTOR {
            score.ended.insert(self.name.clone());
        }
    }
}

/// A node that is killed.
struct Victim {
    node: String,
    link: u16,
    /// Of its process id.
    file: PathBuf,
}

impl Victim {
    /// Of each round another.
    fn new(cluster: &Cluster, round: usize) -> Self {
        let (node, link) = cluster.nodes[round % cluster.nodes.len()].clone();
        Self { file: cluster.data.join(format!("{node}.pid")), node, link }
    }

    /// Its process, if it runs. What `supervisord/masterfree.sh` has left may be of a process that is no more.
    fn pid(&self) -> Option<rustix::process::Pid> {
        let text = std::fs::read_to_string(&self.file).ok()?;
        let pid = text.trim().parse().ok()?;
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let is_it = command.contains(&format!("\0--id\0{}\0", self.node));
        rustix::process::Pid::from_raw(pid).filter(|_| is_it)
    }

    fn kill(&self) -> Result<(), Failure> {
        let pid = self.pid().ok_or_else(|| format!("{} does not run under supervisord", self.node))?;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
        Ok(())
    }

    async fn comes_back(&self) {
        while self.pid().is_none() || TcpStream::connect(("127.0.0.1", self.link)).is_err() {
            sleep(REST).await;
        }
    }
}
