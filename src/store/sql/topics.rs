//! The writer's knowledge of topics: an id for each name.

use std::collections::HashMap;

use super::write::chunks;
use super::{Record as _, Script, Session};
use crate::queue::segment::TopicShare;
use crate::store::StoreError;

/// Topics kept in memory. Above, all are forgotten and looked up again as they come.
const KNOWN_MAX: usize = 100_000;
/// A topic that a broad segment holds counts as held for so many numbers more, so that it is not written with each segment.
const BROAD_FOR: u64 = 1 << 20;
/// How many are looked up or written by a statement.
const LENGTHS: [usize; 4] = [64, 16, 4, 1];

/// What the database holds, and the transaction under way has added: to be forgotten when that fails.
#[derive(Debug, Default)]
pub(super) struct Topics {
    /// By realm and name.
    known: HashMap<Box<str>, HashMap<Box<str>, Known>>,
    len: usize,
    /// No id of this process is ever given again, for readers remember them.
    last_id: u64,
    /// Where looking for unused ones goes on.
    swept: u64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    id: u64,
    /// See the table.
    broad_until: u64,
}

impl Topics {
    /// `before`: the last id that was given before.
    pub(super) fn open<S: Session>(session: &mut S, before: u64) -> Result<Self, StoreError> {
        let last = session.number("SELECT COALESCE(MAX(id), 0) FROM topics")?;
        Ok(Self { last_id: last.max(before), ..Self::default() })
    }

    pub(super) fn last_id(&self) -> u64 {
        self.last_id
    }

    /// After a transaction failed.
    pub(super) fn forget(&mut self) {
        self.known.clear();
        self.len = 0;
    }

    fn get(&self, share: &TopicShare) -> Option<Known> {
        self.known.get(&share.realm)?.get(&share.topic).copied()
    }

    /// The id of a topic, if it can be told without the database.
    pub(super) fn id(&self, share: &TopicShare) -> Option<u64> {
        self.get(share).map(|known| known.id)
    }

    fn put(&mut self, realm: Box<str>, name: Box<str>, known: Known) {
        if self.known.entry(realm).or_default().insert(name, known).is_none() {
            self.len += 1;
        }
    }

    /// Whether the ids can be told without the database.
    pub(super) fn know_all(&self, shares: &[TopicShare]) -> bool {
        shares.iter().all(|share| self.get(share).is_some())
    }

    /// The ids of these topics, in their order. New ones are written. `broad`: the number of the broad segment that holds them.
    pub(super) fn ids<S: Session>(
        &mut self,
        session: &mut S,
        shares: &[TopicShare],
        broad: Option<u64>,
    ) -> Result<Vec<u64>, StoreError> {
        if self.len > KNOWN_MAX {
            self.forget();
        }
        self.look_up(session, shares)?;
        self.add(session, shares)?;
        if let Some(first) = broad {
            self.mark_broad(session, shares, first)?;
        }
        let known = shares.iter().filter_map(|share| self.get(share));
        Ok(known.map(|known| known.id).collect())
    }

    fn look_up<S: Session>(&mut self, session: &mut S, shares: &[TopicShare]) -> Result<(), StoreError> {
        let missing: Vec<&TopicShare> = shares.iter().filter(|share| self.get(share).is_none()).collect();
        for chunk in chunks(&missing, &LENGTHS) {
            let [before, item, behind] = S::DIALECT.of_names();
            let mut find = Script::<S>::new("SELECT id, broad_until, realm, name FROM topics");
            find.push(before).list(item, chunk.len()).push(behind);
            for share in chunk {
                find.text(&share.realm).text(&share.topic);
            }
            for row in session.rows(find)? {
                let known = Known { id: row.number(0)?, broad_until: row.number(1)? };
                self.put(row.text(2)?.into(), row.text(3)?.into(), known);
            }
        }
        Ok(())
    }

    fn add<S: Session>(&mut self, session: &mut S, shares: &[TopicShare]) -> Result<(), StoreError> {
        let mut new = Vec::new();
        for share in shares {
            if self.get(share).is_none() {
                self.last_id += 1;
                self.put(share.realm.clone(), share.topic.clone(), Known { id: self.last_id, broad_until: 0 });
                new.push((self.last_id, share));
            }
        }
        for chunk in chunks(&new, &LENGTHS) {
            let mut insert = Script::<S>::new("INSERT INTO topics VALUES ");
            insert.list("(?,?,?,0)", chunk.len());
            for (id, share) in chunk {
                insert.number(*id).text(&share.realm).text(&share.topic);
            }
            session.run(insert)?;
        }
        Ok(())
    }

    fn mark_broad<S: Session>(&mut self, session: &mut S, shares: &[TopicShare], first: u64) -> Result<(), StoreError> {
        let until = first + BROAD_FOR;
        let mut marked = Vec::new();
        for share in shares {
            let known = self.known.get_mut(&share.realm).and_then(|topics| topics.get_mut(&share.topic));
            if let Some(known) = known.filter(|known| known.broad_until < first) {
                known.broad_until = until;
                marked.push(known.id);
            }
        }
        for chunk in chunks(&marked, &LENGTHS) {
            let mut update = Script::<S>::new("UPDATE topics SET broad_until = ? WHERE id IN (");
            update.list("?", chunk.len()).push(")").number(until);
            for &id in chunk {
                update.number(id);
            }
            session.run(update)?;
        }
        Ok(())
    }

    /// Looks through the next `count` topics and deletes those that no segment holds.
    pub(super) fn sweep<S: Session>(&mut self, session: &mut S, count: usize) -> Result<(), StoreError> {
        let mut find = Script::<S>::new(
            "SELECT id, realm, name, CAST(CASE WHEN \
             broad_until < COALESCE((SELECT MIN(first) FROM heads), 4611686018427387904) \
             AND NOT EXISTS (SELECT 1 FROM holds WHERE topic = id) THEN 1 ELSE 0 END AS BIGINT) \
             FROM topics WHERE id > ? ORDER BY id LIMIT ?",
        );
        find.number(self.swept).number(count as u64);
        let rows = session.rows(find)?;
        self.swept = 0;
        let mut unused = Vec::new();
        for row in &rows {
            let id = row.number(0)?;
            if rows.len() == count {
                self.swept = id;
            }
            if row.number(3)? == 0 {
                continue;
            }
            let (realm, name) = (row.text(1)?, row.text(2)?);
            if self.known.get_mut(&*realm).and_then(|topics| topics.remove(&*name)).is_some() {
                self.len -= 1;
            }
            unused.push(id);
        }
        for chunk in chunks(&unused, &LENGTHS) {
            let mut delete = Script::<S>::new("DELETE FROM topics WHERE id IN (");
            delete.list("?", chunk.len()).push(")");
            for &id in chunk {
                delete.number(id);
            }
            session.run(delete)?;
        }
        Ok(())
    }
}
