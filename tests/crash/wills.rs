//! Clients that leave a will, and go without a word.

use std::sync::Arc;
use std::time::Duration;

use fennec::mqtt::codec::{
    self, Connack, Connect, ConnectProperties, Disconnect, Level, Packet, ReasonCode, Role, Will, frame_length,
};
use fennec::types::event::Qos;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::clients::{Phase, RETRY, Stage, text};
use crate::dice::Dice;
use crate::history::{Fate, Promise, Recorder};

/// How long a connection is kept, unless the broker goes before.
const STAYS_MS: std::ops::RangeInclusive<u64> = 1..=60;
/// One in so many says goodbye, so that its will is not published.
const GOODBYE_ONE_IN: u64 = 4;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Without a word, or the broker was killed.
    Cut,
    /// With DISCONNECT, and then an end from the other side.
    Goodbye,
}

/// See the module.
pub struct Testator {
    name: &'static str,
    /// How long the session outlives its connection. The will does not wait for that.
    session_expiry_s: u32,
    recorder: Arc<Recorder>,
    dice: Dice,
    /// The number of the last will.
    number: u64,
    /// The last connection that stood: its will, how it ended, and the life of the broker.
    before: Option<(u64, Ended, u32)>,
}

impl Testator {
    pub fn new(name: &'static str, session_expiry_s: u32, recorder: &Arc<Recorder>, dice: Dice) -> Self {
        Self { name, session_expiry_s, recorder: recorder.clone(), dice, number: 0, before: None }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Comes and goes until the end; then it comes once more, without a will.
    pub async fn live(mut self, mut stages: watch::Receiver<Stage>) -> &'static str {
        loop {
            let stage = *stages.borrow_and_update();
            let Some(ports) = stage.ports.filter(|_| stage.phase != Phase::Subscribing) else {
                // The test holds the other end as long as clients live.
                let _ = stages.changed().await;
                continue;
            };
            let is_last = stage.phase >= Phase::Finishing;
            let Some(stream) = self.connect(ports.mqtt, is_last).await else {
                drop(timeout(RETRY, stages.changed()).await);
                continue;
            };
            self.settle(stage.life);
            if is_last {
                self.goodbye(stream).await;
                return self.name;
            }
            let ended = self.stay(stream, stage.life, &mut stages).await;
            self.before = Some((self.number, ended, stage.life));
        }
    }

    /// Connects with the next will.
    async fn connect(&mut self, port: u16, is_last: bool) -> Option<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let payload = text(self.name, self.number + 1);
        let topic = format!("crash/{}", self.name);
        let will = Will { topic: &topic, payload: payload.as_bytes(), qos: Qos::ExactlyOnce, ..Will::default() };
        let connect = Connect {
            level: Level::V5,
            clean_start: false,
            keep_alive_s: 0,
            client_id: self.name,
            will: (!is_last).then_some(will),
            user_name: None,
            password: None,
            properties: ConnectProperties { session_expiry_s: self.session_expiry_s, ..ConnectProperties::default() },
        };
        let mut packet = Vec::new();
        connect.encode(&mut packet).expect("a CONNECT");
        if !is_last {
            self.number += 1;
            self.recorder.sent(self.name, Promise::ExactlyOnce, self.number);
        }
        stream.write_all(&packet).await.ok()?;
        // Without CONNACK nobody knows whether there was a connection.
        is_connack(&read_packet(&mut stream).await?).then_some(stream)
    }

    /// The broker has this connection: what became of the one before is in the log, if it has not died since.
    fn settle(&mut self, now: u32) {
        match self.before.take() {
            Some((number, Ended::Cut, _)) => self.recorder.settled(self.name, number, Fate::Acknowledged(None)),
            Some((number, Ended::Goodbye, life)) if life == now => {
                self.recorder.settled(self.name, number, Fate::Refused);
            }
            _ => {}
        }
    }

    /// Stays for a while.
    async fn stay(&mut self, stream: TcpStream, life: u32, stages: &mut watch::Receiver<Stage>) -> Ended {
        let stays = Duration::from_millis(self.dice.within(STAYS_MS));
        let broker_goes = stages.wait_for(|stage| stage.ports.is_none() || stage.life != life);
        if timeout(stays, broker_goes).await.is_ok() {
            return Ended::Cut;
        }
        if !self.dice.one_in(GOODBYE_ONE_IN) {
            return Ended::Cut;
        }
        self.goodbye(stream).await;
        // Perhaps by its death; the next connection shows that.
        Ended::Goodbye
    }

    /// Says goodbye, and waits for the end.
    async fn goodbye(&self, mut stream: TcpStream) {
        let mut packet = Vec::new();
        Disconnect::new(ReasonCode::NORMAL_DISCONNECTION).encode(Level::V5, &mut packet).expect("a DISCONNECT");
        if stream.write_all(&packet).await.is_ok() {
            let _ = stream.read(&mut [0; 64]).await;
        }
    }
}

/// The first packet that comes.
async fn read_packet(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if let Ok(Some(length)) = frame_length(&bytes, usize::MAX)
            && length <= bytes.len()
        {
            bytes.truncate(length);
            return Some(bytes);
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn is_connack(packet: &[u8]) -> bool {
    let connack = codec::decode(packet, Level::V5, Role::Client);
    matches!(connack, Ok(Packet::Connack(connack)) if matches!(*connack, Connack { reason: ReasonCode::Success, .. }))
}
