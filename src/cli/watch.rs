//! Files that are read again when they change, or when SIGHUP or somebody asks for it.
//!
//! They are looked at every two seconds: that works wherever files are, in folders that are swapped by a link as well (Kubernetes'
//! secrets), which notices of the system are missed for. What cannot be used changes nothing: the log and the metrics tell it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::time::{Instant, MissedTickBehavior};

use crate::http::metrics::{Text, escaped, read};
use crate::net::tls::Tls;

const LOOK: Duration = Duration::from_secs(2);
/// How often connections are looked at whose certificate may have ceased to be believed without any file being changed.
const RECHECK: Duration = Duration::from_secs(60);

/// Looks at the files, whether they changed (false) or in any case (true), and follows them. `None`: there was nothing to do.
pub(super) type Look = Box<dyn Fn(bool) -> Option<Result<(), String>> + Send + Sync>;

/// All that is read again. Cloning shares it.
#[derive(Clone, Default)]
pub(super) struct Watch {
    things: Arc<Vec<Thing>>,
    tls: Arc<Vec<(String, Tls)>>,
}

struct Thing {
    name: String,
    look: Look,
    done: AtomicU64,
    failed: AtomicU64,
    stale: AtomicBool,
}

impl Watch {
    /// `tls`: listeners by their key. `others`: what else is made of files, by name.
    pub fn new(tls: Vec<(String, Tls)>, others: Vec<(String, Look)>) -> Self {
        let of_tls = tls.iter().map(|(key, tls)| {
            let tls = tls.clone();
            let look: Look = Box::new(move |at_once| Some(tls.look(at_once)?.map_err(|error| error.to_string())));
            (key.clone(), look)
        });
        let new = |(name, look)| Thing {
            name,
            look,
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            stale: AtomicBool::new(false),
        };
        Self { things: Arc::new(of_tls.chain(others).map(new).collect()), tls: Arc::new(tls) }
    }

    /// Looks at everything. Blocks on the disk. Tells what was read again, and what is wrong with it.
    pub fn look(&self, at_once: bool) -> Vec<(String, Result<(), String>)> {
        let done =
            self.things.iter().filter_map(|thing| Some((thing.name.clone(), thing.look(at_once)?))).collect::<Vec<_>>();
        if !done.is_empty() {
            self.recheck();
        }
        done
    }

    /// Ends connections whose certificate is not believed any more, where that is wanted.
    fn recheck(&self) {
        for (listener, tls) in self.tls.iter() {
            let count = tls.cut_unverified();
            if count > 0 {
                tracing::info!(listener, count, "connections ended: their certificate is not believed any more");
            }
        }
    }

    /// Looks again and again, at once when the signal comes. Never ends.
    pub async fn run(self, mut hangup: Signal) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut checked = Instant::now();
        loop {
            let asked = tokio::select! {
                _ = looks.tick() => false,
                _ = hangup.recv() => true,
            };
            let due = checked.elapsed() >= RECHECK;
            if due {
                checked = Instant::now();
            }
            let watch = self.clone();
            // A panic of it was printed, and the next look may fare better.
            let _ = tokio::task::spawn_blocking(move || {
                watch.look(asked);
                if due {
                    watch.recheck();
                }
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

impl Thing {
    fn look(&self, at_once: bool) -> Option<Result<(), String>> {
        let done = (self.look)(at_once)?;
        self.stale.store(done.is_err(), Ordering::Relaxed);
        let count = if done.is_ok() { &self.done } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
        match &done {
            Ok(()) => tracing::info!(what = self.name, "files were read again"),
            Err(error) => tracing::error!(what = self.name, "{error}; what was read before stays"),
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
            at_once.then(|| if asked.load(Ordering::Relaxed) { Err("it is broken".to_owned()) } else { Ok(()) })
        });
        let watch = Watch::new(Vec::new(), vec![("users".to_owned(), look)]);
        let has = |line: &str| {
            let mut text = Text::default();
            watch.metrics(&mut text);
            let text = text.into_string();
            assert!(text.contains(line), "{line} is not in {text}");
        };
        assert!(watch.look(false).is_empty());
        assert_eq!(watch.look(true), [("users".to_owned(), Err("it is broken".to_owned()))]);
        has("fennec_reload_stale{what=\"users\"} 1\n");
        has("fennec_reloads_total{what=\"users\",result=\"failed\"} 1\n");
        broken.store(false, Ordering::Relaxed);
        assert_eq!(watch.look(true), [("users".to_owned(), Ok(()))]);
        has("fennec_reload_stale{what=\"users\"} 0\n");
        has("fennec_reloads_total{what=\"users\",result=\"ok\"} 1\n");
    }
}
