//! Connections that showed a certificate: to be found again when it is not believed any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio_rustls::rustls::pki_types::CertificateDer;

/// By which one connection is ended at its next read or write.
#[derive(Debug, Default)]
pub struct Cut {
    /// What the client showed, its own certificate first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    done: AtomicBool,
    pub waker: AtomicWaker,
}

impl Cut {
    pub(super) fn new(chain: Vec<CertificateDer<'static>>) -> Self {
        Self { chain, ..Self::default() }
    }

    /// Whether the connection is to end.
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) {
        self.done.store(true, Ordering::Release);
        self.waker.wake();
    }
}

/// All that are open. Those that ended are forgotten when there are twice as many as at the last look.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    all: Mutex<(Vec<Weak<Cut>>, usize)>,
}

/// So few are not worth a look.
const FEW: usize = 64;

impl Cuts {
    pub fn add(&self, cut: &Arc<Cut>) {
        let (all, looked_at) = &mut *self.all.lock();
        if all.len() >= FEW.max(2 * *looked_at) {
            all.retain(|cut| cut.strong_count() > 0);
            *looked_at = all.len();
        }
        all.push(Arc::downgrade(cut));
    }

    pub fn open(&self) -> Vec<Arc<Cut>> {
        self.all.lock().0.iter().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_is_forgotten() {
        let cuts = Cuts::default();
        let kept: Vec<_> = (0..3).map(|_| Arc::new(Cut::default())).collect();
        kept.iter().for_each(|cut| cuts.add(cut));
        (0..10_000).for_each(|_| cuts.add(&Arc::new(Cut::default())));
        assert!(cuts.all.lock().0.len() <= FEW + 1, "{}", cuts.all.lock().0.len());
        assert_eq!(cuts.open().len(), 3);
    }
}
