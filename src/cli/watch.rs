//! Files that are read again when they change, or when SIGHUP or somebody asks for it.
//!
//! They are looked at again and again: that works wherever files are, in folders that are swapped by a link as well (Kubernetes'
//! secrets), which notices of the system are missed for. What cannot be used changes nothing: the log and the metrics tell it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;

use crate::http::metrics::{Text, escaped, read};
use crate::net::tls::Tls;

/// How long a turn is.
const TURN: Duration = Duration::from_millis(300);
/// Files that are written one after the other, by whoever renews certificates, are looked at every so many turns: two seconds.
const TLS_TURNS: u64 = 7;
/// One file, of which is hoped that it holds soon.
const USERS_TURNS: u64 = 1;
/// How often connections are looked at whose certificate may have ceased to be believed without any file being changed: a minute.
const RECHECK_TURNS: u64 = 200;

/// What came of reading files: a line for each mistake.
pub(super) type Done = Result<(), Vec<String>>;

/// Looks at the files, and reads them if they have changed, or in any case (true). `None`: there was nothing to do.
pub(super) type Look = Box<dyn Fn(bool) -> Option<Done> + Send + Sync>;

/// All that is read again. Cloning shares it.
#[derive(Clone)]
pub(super) struct Watch {
    things: Arc<[Thing]>,
    tls: Arc<[(String, Tls)]>,
}

struct Thing {
    name: String,
    /// It is looked at every so many turns.
    turns: u64,
    look: Look,
    done: AtomicU64,
    failed: AtomicU64,
    stale: AtomicBool,
}

impl Watch {
    /// `tls`: listeners by their key.
    pub fn new(tls: Vec<(String, Tls)>, users: Look) -> Self {
        let of_tls = tls.iter().cloned().map(|(key, tls)| Thing::new(key.clone(), TLS_TURNS, look_of(key, tls)));
        let users = Thing::new("users".to_owned(), USERS_TURNS, users);
        Self { things: of_tls.chain([users]).collect(), tls: tls.into() }
    }

    /// Reads everything again. Blocks on the disk. Tells what it was, and what is wrong with it.
    pub fn read(&self) -> Vec<(&str, Done)> {
        self.things.iter().filter_map(|thing| Some((&*thing.name, thing.look(true)?))).collect()
    }

    /// Looks at what this turn is for. Blocks on the disk.
    fn turn(&self, number: u64) {
        for thing in self.things.iter().filter(|thing| number.is_multiple_of(thing.turns)) {
            thing.look(false);
        }
        if number.is_multiple_of(RECHECK_TURNS) {
            self.tls.iter().for_each(|(listener, tls)| cut_unverified(listener, tls));
        }
    }

    /// Looks again and again, and reads everything when the signal comes. Never ends.
    pub async fn run(self, mut hangup: Signal) {
        let mut turns = tokio::time::interval(TURN);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut number = 0;
        loop {
            let asked = tokio::select! {
                _ = turns.tick() => false,
                _ = hangup.recv() => true,
            };
            number += u64::from(!asked);
            let watch = self.clone();
            // A panic of it was printed, and the next look may fare better.
            let _ = tokio::task::spawn_blocking(move || match asked {
                true => drop(watch.read()),
                false => watch.turn(number),
            })
            .await;
        }
    }

    pub fn metrics(&self, text: &mut Text) {
        let all =
            |text: &mut Text, name: &str, kind: &str, help: &str, sample: &dyn Fn(&Thing) -> Vec<(String, u64)>| {
                text.family(name, kind, help);
                for thing in self.things.iter() {
                    for (label, value) in sample(thing) {
                        text.sample(name, &format!("what=\"{}\"{label}", escaped(&thing.name)), value);
                    }
                }
            };
        let help = "Times that files were read again.";
        all(text, "fennec_reloads_total", "counter", help, &|thing| {
            let of = |result: &str, count| (format!(",result=\"{result}\""), read(count));
            vec![of("ok", &thing.done), of("failed", &thing.failed)]
        });
        let help = "1 if the files as they are now cannot be used, and what was read before is.";
        all(text, "fennec_reload_stale", "gauge", help, &|thing| {
            vec![(String::new(), u64::from(thing.stale.load(Ordering::Relaxed)))]
        });
        let name = "fennec_tls_certificate_expiry_seconds";
        text.family(name, "gauge", "When a certificate chain ceases to be valid, in seconds since 1970.");
        for (listener, tls) in self.tls.iter() {
            for shown in tls.shown().iter() {
                let Some(not_after_s) = shown.not_after_s else { continue };
                let cert = escaped(&shown.cert.display().to_string());
                text.sample(name, &format!("listener=\"{}\",cert=\"{cert}\"", escaped(listener)), not_after_s);
            }
        }
    }
}

/// Reads the files of a listener. Connections whose certificate is not believed then are ended, where that is wanted.
fn look_of(listener: String, tls: Tls) -> Look {
    Box::new(move |at_once| {
        let done = tls.look(at_once)?;
        cut_unverified(&listener, &tls);
        Some(done.map_err(|error| vec![error.to_string()]))
    })
}

fn cut_unverified(listener: &str, tls: &Tls) {
    let count = tls.cut_unverified();
    if count > 0 {
        tracing::info!(listener, count, "connections ended: their certificate is not believed any more");
    }
}

impl Thing {
    fn new(name: String, turns: u64, look: Look) -> Self {
        Self { name, turns, look, done: AtomicU64::new(0), failed: AtomicU64::new(0), stale: AtomicBool::new(false) }
    }

    fn look(&self, at_once: bool) -> Option<Done> {
        let done = (self.look)(at_once)?;
        self.stale.store(done.is_err(), Ordering::Relaxed);
        let count = if done.is_ok() { &self.done } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
        match &done {
            Ok(()) => tracing::info!(what = self.name, "files were read again"),
            Err(mistakes) => {
                mistakes
                    .iter()
                    .for_each(|mistake| tracing::error!(what = self.name, "{mistake}; what was read before stays"));
            }
        }
        Some(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_told_and_counted_until_it_is_mended() {
        let broken = Arc::new(AtomicBool::new(true));
        let asked = broken.clone();
        let look: Look = Box::new(move |at_once| {
            at_once.then(|| if asked.load(Ordering::Relaxed) { Err(vec!["it is broken".to_owned()]) } else { Ok(()) })
        });
        let watch = Watch::new(Vec::new(), look);
        let has = |line: &str| {
            let mut text = Text::default();
            watch.metrics(&mut text);
            let text = text.into_string();
            assert!(text.contains(line), "{line} is not in {text}");
        };
        watch.turn(1);
        has("fennec_reloads_total{what=\"users\",result=\"failed\"} 0\n");
        assert_eq!(watch.read(), [("users", Err(vec!["it is broken".to_owned()]))]);
        has("fennec_reload_stale{what=\"users\"} 1\n");
        has("fennec_reloads_total{what=\"users\",result=\"failed\"} 1\n");
        broken.store(false, Ordering::Relaxed);
        assert_eq!(watch.read(), [("users", Ok(()))]);
        has("fennec_reload_stale{what=\"users\"} 0\n");
        has("fennec_reloads_total{what=\"users\",result=\"ok\"} 1\n");
    }
}
