//! Whether the tables belong together.

use super::encode::read_shares;
use super::write::{TOPICS_INDEXED_MAX, count};
use super::{Record as _, Script, Session};
use crate::store::StoreError;

/// How many heads are read at once.
const HEADS: u64 = 4096;

/// What is wrong, a sentence each.
pub(super) fn integrity<S: Session>(session: &mut S) -> Result<Vec<String>, StoreError> {
    let mut problems = session.integrity()?;
    let orphans = [
        (
            "segments are without messages",
            "heads h WHERE NOT EXISTS (SELECT 1 FROM bodies b WHERE b.position = h.position)",
        ),
        ("messages belong to no segment", "bodies b WHERE NOT EXISTS (SELECT 1 FROM heads h WHERE h.first = b.first)"),
        (
            "entries of the index lead to no segment",
            "holds o WHERE NOT EXISTS (SELECT 1 FROM heads h WHERE h.first = o.first)",
        ),
        (
            "entries of the index are for no topic",
            "holds o WHERE o.topic <> 0 AND NOT EXISTS (SELECT 1 FROM topics t WHERE t.id = o.topic)",
        ),
    ];
    for (what, which) in orphans {
        let found = session.number(&format!("SELECT COUNT(*) FROM {which}"))?;
        if found > 0 {
            problems.push(format!("{found} {what}"));
        }
    }
    let (found, entries) = look_through_heads(session)?;
    let indexed = session.number("SELECT COUNT(*) FROM holds")?;
    if indexed != entries {
        problems.push(format!("the index has {indexed} entries, not {entries}"));
    }
    let counted = count(session)?;
    if counted != found {
        let ((segments, bytes), (found, found_bytes)) = (counted, found);
        problems.push(format!("{segments} segments of {bytes} bytes are counted, not {found} of {found_bytes}"));
    }
    Ok(problems)
}

/// Segments and their bytes, and how many entries of the index they ought to have.
fn look_through_heads<S: Session>(session: &mut S) -> Result<((u64, u64), u64), StoreError> {
    let (mut segments, mut bytes, mut entries, mut after) = (0, 0, 0, 0);
    loop {
        let mut find = Script::new("SELECT first, bytes, shares FROM heads WHERE first > ? ORDER BY first LIMIT ?");
        find.number(after).number(HEADS);
        let rows = session.rows(find)?;
        for row in &rows {
            after = row.number(0)?;
            segments += 1;
            bytes += row.number(1)?;
            entries += match read_shares(&row.bytes(2)?)?.len() {
                topics @ 0..=TOPICS_INDEXED_MAX => topics as u64,
                _ => 1,
            };
        }
        if (rows.len() as u64) < HEADS {
            return Ok(((segments, bytes), entries));
        }
    }
}
