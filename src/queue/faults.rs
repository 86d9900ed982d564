//! Bugs that the simulation plants, to show that its checks find them. In a release none of this is there.

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A draft may challenge whatever was elected of its entry before.
    NoPrevious,
    /// A draft may challenge although its segment was elected, if that was forgotten.
    LateDraft,
    /// Nobody learns of a draft from another sync's PICK_CHALLENGER.
    DraftsNotPassedOn,
    /// A sync votes although others heard more of its disk than it knows.
    WipedSyncVotes,
    /// INIT leaves the locks of the life before where they are, for an entry that comes back quickly.
    LocksOutliveTheirLife,
    /// A storage whose disk is an older copy goes on under its old store id.
    RestoredDiskCounts,
}

#[cfg(debug_assertions)]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

/// Leaves out a rule, for all roles that run in this thread.
#[cfg(debug_assertions)]
pub fn plant(fault: Option<Fault>) {
    PLANTED.set(fault);
}

#[cfg(debug_assertions)]
pub(super) fn has(fault: Fault) -> bool {
    PLANTED.get() == Some(fault)
}

#[cfg(not(debug_assertions))]
#[inline]
pub(super) const fn has(_: Fault) -> bool {
    false
}
