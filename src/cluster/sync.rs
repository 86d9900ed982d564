//! A sync node but for its links and threads: the sync role, the leases of entries, and the file of promises.
//!
//! ```text
//! envelopes --handle--> SyncRole --Promise, Send--> write: append, fsync, then send
//! RENEW     --handle--> LeaseWatch --silent--> SyncRole backs LOST
//! ```
//!
//! All that is handled between two writes shares one fsync. A file that has grown is replaced by what has to be known still. A
//! disk that has forgotten what it said is begun anew, under a new store id: others know that it has no vote until MEMBERS names it.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::counts::Counts;
use crate::queue::envelope::{Envelope, NodeId, OrderCommand, RoleMessage};
use crate::queue::lease::LeaseWatch;
use crate::queue::quorum::{Members, StoreId};
use crate::queue::sync::promises::{self, Record};
use crate::queue::sync::{Output, Standing, Start, SyncRole};

/// Bytes at which the file is replaced by what has to be known still.
const FILE_BYTES_MAX: u64 = 4 << 20;
const FILE: &str = "promises";
/// How often a sync without a vote asks for one.
const ASK_US: u64 = 1_000_000;

/// Makes ids of disks that are not guessed to be another's.
pub type Fresh = Box<dyn FnMut() -> StoreId + Send>;

/// See the module.
pub struct SyncNode {
    own: NodeId,
    /// Who takes part at first.
    first: Members,
    role: SyncRole,
    watch: LeaseWatch,
    /// Position of the table of members that the watch knows.
    members_at: u64,
    /// LOST that this sync backs.
    backed: BTreeSet<(NodeId, u64)>,
    linked: BTreeSet<NodeId>,
    /// When it asked for a vote the last time, while it has none.
    asked_us: Option<u64>,
    folder: PathBuf,
    file: File,
    file_bytes: u64,
    fresh: Fresh,
    counts: Arc<Counts>,
    /// The last round of the present vote in which this sync has said something.
    round: u32,
    outputs: Vec<Output>,
    out: Vec<Envelope>,
}

impl SyncNode {
    /// Takes up what the folder holds. `lease_us`: an entry that is silent for so long is given up.
    ///
    /// # Errors
    /// The file cannot be read or written. One that is damaged is begun anew.
    pub fn open(own: NodeId, first: Members, folder: &Path, lease_us: u64, mut fresh: Fresh) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let role = match read(&own, &first, &bytes) {
            Ok(Some((role, len))) => {
                let file = OpenOptions::new().append(true).open(&path)?;
                file.set_len(len as u64)?;
                Some((role, file, len as u64))
            }
            Ok(None) => None,
            Err(why) => {
                tracing::error!(sync = %own, why, "the promises are begun anew: this sync has no vote until the cluster has taken it in again");
                None
            }
        };
        let (role, file, file_bytes) = match role {
            Some(known) => known,
            None => begin(&own, &first, folder, fresh())?,
        };
        Ok(Self {
            own,
            first,
            role,
            watch: LeaseWatch::new(lease_us),
            members_at: 0,
            backed: BTreeSet::new(),
            linked: BTreeSet::new(),
            asked_us: None,
            folder: folder.to_owned(),
            file,
            file_bytes,
            fresh,
            counts: Arc::default(),
            round: 0,
            outputs: Vec::new(),
            out: Vec::new(),
        })
    }

    /// Has it count there.
    pub fn count_in(&mut self, counts: &Arc<Counts>) {
        self.counts = counts.clone();
    }

    pub fn role(&self) -> &SyncRole {
        &self.role
    }

    /// The link to a node is up.
    pub fn connected(&mut self, node: &NodeId) {
        self.linked.insert(node.clone());
        self.role.connected(node, &mut self.outputs);
    }

    /// The link to a node is down.
    pub fn disconnected(&mut self, node: &NodeId) {
        self.linked.remove(node);
        self.role.disconnected(node);
    }

    /// Takes what another node says. `monotonic_us`: a clock that never goes back.
    pub fn handle(&mut self, now_us: u64, monotonic_us: u64, envelope: Envelope) {
        let Envelope { from, message, .. } = envelope;
        let RoleMessage::Renew { incarnation, sent_us, members_at } = message else {
            return self.role.handle(now_us, &from, message, &mut self.outputs);
        };
        let order = self.role.order();
        let message = match self.watch.heard(monotonic_us, &from, incarnation) {
            false => RoleMessage::RenewRefused { incarnation },
            // A majority of that table is none any more.
            true if order.members.has_stores() && members_at.is_none_or(|at| at < order.members_at) => {
                RoleMessage::MembersAre { position: order.members_at, members: order.members.clone() }
            }
            true => RoleMessage::Renewed { incarnation, sent_us },
        };
        self.outputs.push(Output::Send(Envelope { from: self.own.clone(), to: from, message }));
    }

    /// Time has passed.
    pub fn tick(&mut self, now_us: u64, monotonic_us: u64) {
        let members_at = self.role.order().members_at;
        if std::mem::replace(&mut self.members_at, members_at) != members_at {
            self.watch.restart(monotonic_us);
        }
        for (entry, life) in &self.role.order().lives {
            match life.lost {
                true => self.watch.ends(entry, life.incarnation),
                false => self.watch.begins(monotonic_us, entry, life.incarnation),
            }
        }
        self.back_lost(now_us, monotonic_us);
        self.role.tick(now_us, &mut self.outputs);
        self.ask_for_vote(monotonic_us);
    }

    /// Backs LOST of the lives that are silent, and of no others.
    fn back_lost(&mut self, now_us: u64, monotonic_us: u64) {
        let silent: BTreeSet<_> = self.watch.silent(monotonic_us).into_iter().collect();
        let lost = |(entry, incarnation): &(NodeId, u64)| OrderCommand::Lost {
            entry: entry.clone(),
            incarnation: *incarnation,
        };
        for heard in self.backed.difference(&silent) {
            self.role.withdraw(&lost(heard), &mut self.outputs);
        }
        for life in &silent {
            if !self.backed.contains(life) {
                tracing::warn!(sync = %self.own, entry = %life.0, incarnation = life.1, "the entry is silent");
            }
            // Again and again, for it counts for nothing while this sync has no vote.
            self.role.handle(now_us, &self.own, RoleMessage::AskCommand(lost(life)), &mut self.outputs);
        }
        self.backed = silent;
    }

    /// Of a disk that is not in the table of members, because it is new or has forgotten promises: once this sync knows the order, the
    /// others are asked to put it in the place of the one before. They do if a majority that has votes is up.
    fn ask_for_vote(&mut self, monotonic_us: u64) {
        if self.standing() != Standing::Listens {
            if self.standing() == Standing::Votes && self.asked_us.take().is_some() {
                tracing::info!(sync = %self.own, "this disk has a vote now");
            }
            return;
        }
        let order = self.role.order();
        if order.position == 0 || self.asked_us.is_some_and(|asked_us| monotonic_us < asked_us + ASK_US) {
            return;
        }
        let mut members = order.members.clone();
        let Some(own) = members.syncs.iter_mut().find(|member| member.node == self.own) else { return };
        own.store = self.role.store();
        if self.asked_us.replace(monotonic_us).is_none() {
            tracing::info!(sync = %self.own, "this disk has no vote, and asks for one");
        }
        for to in members.syncs.iter().map(|member| &member.node).filter(|node| **node != self.own) {
            let message =
                RoleMessage::AskCommand(OrderCommand::Members { behind: order.members_at, members: members.clone() });
            self.outputs.push(Output::Send(Envelope { from: self.own.clone(), to: to.clone(), message }));
        }
    }

    /// Writes what was promised; then what follows may be sent.
    ///
    /// # Errors
    /// The disk fails: nobody knows what of it is there, so the node has to stop.
    pub fn write(&mut self) -> io::Result<()> {
        let (mut records, mut must_sync, mut forgot) = (Vec::new(), false, false);
        for output in std::mem::take(&mut self.outputs) {
            match output {
                Output::Send(envelope) => self.out.push(envelope),
                Output::Promise(record) => {
                    self.count(&record);
                    records.push(record);
                    must_sync = true;
                }
                Output::Note(record) => {
                    self.count(&record);
                    records.push(record);
                }
                Output::Forgot => forgot = true,
            }
        }
        if forgot {
            return self.begin_anew();
        }
        self.append(&records, must_sync)?;
        if self.file_bytes > FILE_BYTES_MAX {
            (self.file, self.file_bytes) = replace(&self.folder, &self.role.records())?;
        }
        Ok(())
    }

    /// What is to be sent, in order.
    pub fn take(&mut self) -> Vec<Envelope> {
        std::mem::take(&mut self.out)
    }

    fn count(&mut self, record: &Record) {
        match record {
            Record::Said { position, statement, .. } => {
                self.round = statement.step(*position).round;
                self.counts.statements.fetch_add(1, Ordering::Relaxed);
            }
            Record::Decided { .. } => self.counts.decided_in(std::mem::take(&mut self.round)),
            _ => {}
        }
    }

    fn append(&mut self, records: &[Record], must_sync: bool) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let frame = promises::encode(records);
        self.file.write_all(&frame)?;
        self.file_bytes += frame.len() as u64;
        if must_sync {
            let begun = Instant::now();
            self.file.sync_data()?;
            self.counts.disk.observe_us(begun.elapsed().as_micros() as u64);
        }
        Ok(())
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        tracing::error!(sync = %self.own, "this disk has forgotten promises: it has no vote until the cluster has taken it in again");
        self.out.clear();
        (self.role, self.file, self.file_bytes) = begin(&self.own, &self.first, &self.folder, (self.fresh)())?;
        for node in self.linked.clone() {
            self.role.connected(&node, &mut self.outputs);
        }
        Ok(())
    }

    /// The highest position that it took part in; `None`: it has no vote.
    pub fn took_part(&self) -> Option<u64> {
        (self.standing() == Standing::Votes).then(|| self.role.took_part())
    }

    /// Whether it has a vote, and why not.
    pub fn standing(&self) -> Standing {
        self.role.standing()
    }
}

/// The role, and the bytes that hold; `None`: there is no file, or nothing in it.
fn read(own: &NodeId, first: &Members, bytes: &[u8]) -> Result<Option<(SyncRole, usize)>, String> {
    let decoded = promises::decode(bytes).map_err(|damaged| damaged.to_string())?;
    let store = match decoded.records.first() {
        None => return Ok(None),
        Some(Record::Disk(store)) => *store,
        Some(_) => return Err("the promises do not say which disk this is".to_owned()),
    };
    let start = Start { store, records: decoded.records };
    let role = SyncRole::found(own.clone(), first.clone(), start).map_err(|error| error.to_string())?;
    Ok(Some((role, decoded.len)))
}

/// An empty disk with a new id.
fn begin(own: &NodeId, first: &Members, folder: &Path, store: StoreId) -> io::Result<(SyncRole, File, u64)> {
    let start = Start { store, records: Vec::new() };
    let role = SyncRole::found(own.clone(), first.clone(), start).map_err(io::Error::other)?;
    let (file, bytes) = replace(folder, &role.records())?;
    Ok((role, file, bytes))
}

/// Puts a file with these records in the place of the one that is there; returns it with its length.
fn replace(folder: &Path, records: &[Record]) -> io::Result<(File, u64)> {
    let (path, new) = (folder.join(FILE), folder.join("promises.new"));
    let frame = promises::encode(records);
    let mut file = File::create(&new)?;
    file.write_all(&frame)?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    File::open(folder)?.sync_all()?;
    Ok((OpenOptions::new().append(true).open(&path)?, frame.len() as u64))
}
