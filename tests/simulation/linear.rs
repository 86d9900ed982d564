//! Whether what clients saw of a key can be told as one thing after the other (Wing and Gong, 1993).

use std::collections::HashSet;

/// An operation on a key, as a client saw it.
#[derive(Clone, Debug)]
pub struct Operation {
    pub kind: Kind,
    pub invoked: u64,
    /// When and what it heard; `None`: nothing.
    pub heard: Option<(u64, bool)>,
}

/// What is wanted. A value is known by the place of the operation that set it.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Put,
    /// If there is no value.
    PutAbsent,
    /// If the value is that of this operation.
    PutAfter(usize),
    ClearAfter(usize),
}

impl Kind {
    /// The value after it, if it is applied to this one.
    fn apply(self, own: usize, value: Option<usize>) -> Option<Option<usize>> {
        match self {
            Self::Put => Some(Some(own)),
            Self::PutAbsent => value.is_none().then_some(Some(own)),
            Self::PutAfter(other) => (value == Some(other)).then_some(Some(own)),
            Self::ClearAfter(other) => (value == Some(other)).then_some(None),
        }
    }
}

/// Whether there is such an order. At most 128 operations.
pub fn is_linear(history: &[Operation]) -> bool {
    assert!(history.len() <= 128);
    search(history, 0, None, &mut HashSet::new())
}

fn search(history: &[Operation], done: u128, value: Option<usize>, seen: &mut HashSet<(u128, Option<usize>)>) -> bool {
    let open = || history.iter().enumerate().filter(|(at, _)| done & 1 << at == 0);
    let Some(first_end) = open().filter_map(|(_, operation)| operation.heard.map(|(at, _)| at)).min() else {
        // Those that heard nothing need not have happened.
        return true;
    };
    if !seen.insert((done, value)) {
        return false;
    }
    let candidates: Vec<usize> =
        open().filter(|(_, operation)| operation.invoked <= first_end).map(|(at, _)| at).collect();
    candidates.into_iter().any(|at| {
        let after = history[at].kind.apply(at, value);
        let next = match (history[at].heard, after) {
            (Some((_, true)) | None, Some(after)) => after,
            (Some((_, false)), None) => value,
            _ => return false,
        };
        search(history, done | 1 << at, next, seen)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(kind: Kind, invoked: u64, heard: Option<(u64, bool)>) -> Operation {
        Operation { kind, invoked, heard }
    }

    #[test]
    fn what_overlaps_may_be_in_either_order() {
        let two = |second| {
            [operation(Kind::PutAbsent, 0, Some((10, true))), operation(Kind::PutAbsent, second, Some((20, false)))]
        };
        assert!(is_linear(&two(5)) && is_linear(&two(15)));
        let both = [operation(Kind::PutAbsent, 0, Some((10, true))), operation(Kind::PutAbsent, 5, Some((20, true)))];
        assert!(!is_linear(&both));
    }

    #[test]
    fn what_nobody_heard_of_may_have_happened_at_any_time_or_not_at_all() {
        let history = |last: bool| {
            [
                operation(Kind::Put, 0, Some((1, true))),
                operation(Kind::ClearAfter(0), 2, None),
                operation(Kind::PutAbsent, 3, Some((4, false))),
                operation(Kind::PutAbsent, 5, Some((6, last))),
            ]
        };
        assert!(is_linear(&history(true)) && is_linear(&history(false)));
    }

    #[test]
    fn a_stale_success_is_seen() {
        let history = [
            operation(Kind::Put, 0, Some((1, true))),
            operation(Kind::Put, 2, Some((3, true))),
            operation(Kind::PutAfter(0), 4, Some((5, true))),
        ];
        assert!(!is_linear(&history));
    }
}
