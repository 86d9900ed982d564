//! On which thread connections run: together while one thread has time for all, apart when it has not.
//!
//! A message between connections of one thread costs no wake-up of another, which is most of its cost when messages come one by
//! one: on two cores, 100 clients that send single messages took a third less processor time on one thread than on two. A busy
//! thread gives half of its active connections away, so that a flood still has all cores; when the load is small again, they
//! come back together.

/// What one thread did since the last look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Share of the time that it was busy, in percent.
    pub busy: u32,
    /// Connections that had something to do.
    pub active: usize,
}

/// Connections to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shed {
    pub from: usize,
    pub to: usize,
    pub count: usize,
}

/// From this share of its time on a thread gives connections away, if another is this much less busy.
const BUSY: u32 = 75;
const GAP: u32 = 40;
/// It has to be so in so many looks in a row: a burst passes.
const BUSY_LOOKS: u32 = 2;
/// Two threads that are busy for no more than this together are one too many.
const CALM: u32 = 40;
/// For so many looks in a row it has to be calm before connections come back together.
const CALM_LOOKS: u32 = 10;
/// Looks after a move in which nothing is decided, so that its effect is seen.
const PAUSE_LOOKS: u32 = 8;

/// Decides, from look to look.
#[derive(Debug, Default)]
pub struct Balance {
    busy_looks: u32,
    calm_looks: u32,
    pause_looks: u32,
}

impl Balance {
    /// Takes one look at all threads. `None`: all stay where they are.
    pub fn look(&mut self, loads: &[Load]) -> Option<Shed> {
        if self.pause_looks > 0 {
            self.pause_looks -= 1;
            return None;
        }
        let shed = self.apart(loads).or_else(|| self.together(loads))?;
        *self = Self { pause_looks: PAUSE_LOOKS, ..Self::default() };
        Some(shed)
    }

    fn apart(&mut self, loads: &[Load]) -> Option<Shed> {
        let (from, busiest) = loads.iter().enumerate().max_by_key(|(_, load)| load.busy)?;
        let (to, idlest) = loads.iter().enumerate().min_by_key(|(_, load)| load.busy)?;
        if busiest.busy < BUSY || busiest.busy - idlest.busy < GAP || busiest.active < 2 {
            self.busy_looks = 0;
            return None;
        }
        self.busy_looks += 1;
        (self.busy_looks >= BUSY_LOOKS).then_some(Shed { from, to, count: busiest.active / 2 })
    }

    fn together(&mut self, loads: &[Load]) -> Option<Shed> {
        let (from, last) = loads.iter().enumerate().skip(1).rfind(|(_, load)| load.active > 0)?;
        let (to, first) = loads[..from].iter().enumerate().min_by_key(|(_, load)| load.busy)?;
        if last.busy + first.busy > CALM {
            self.calm_looks = 0;
            return None;
        }
        self.calm_looks += 1;
        (self.calm_looks >= CALM_LOOKS).then_some(Shed { from, to, count: last.active })
    }
}

/// The thread that a new connection begins on: the first that has time.
pub fn place(busy: impl Iterator<Item = u32> + Clone) -> usize {
    let has_time = busy.clone().position(|busy| busy < BUSY);
    has_time.or_else(|| busy.enumerate().min_by_key(|(_, busy)| *busy).map(|(at, _)| at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(all: &[(u32, usize)]) -> Vec<Load> {
        all.iter().map(|(busy, active)| Load { busy: *busy, active: *active }).collect()
    }

    /// What the last of so many looks at the same loads decides.
    fn last_of(looks: u32, all: &[(u32, usize)]) -> Option<Shed> {
        let mut balance = Balance::default();
        (0..looks).map(|_| balance.look(&loads(all))).last().flatten()
    }

    #[test]
    fn a_thread_that_stays_busy_gives_half_of_its_active_connections_to_the_idlest() {
        let all = [(20, 3), (95, 10), (5, 1)];
        assert_eq!(last_of(BUSY_LOOKS - 1, &all), None);
        assert_eq!(last_of(BUSY_LOOKS, &all), Some(Shed { from: 1, to: 2, count: 5 }));
    }

    #[test]
    fn one_active_connection_stays_where_it_is() {
        assert_eq!(last_of(BUSY_LOOKS, &[(100, 1), (0, 0)]), None);
    }

    #[test]
    fn threads_that_are_all_busy_keep_what_they_have() {
        assert_eq!(last_of(BUSY_LOOKS, &[(95, 10), (70, 10)]), None);
    }

    #[test]
    fn after_a_move_its_effect_is_awaited() {
        let mut balance = Balance::default();
        let busy = loads(&[(100, 8), (0, 0)]);
        let moves: Vec<u32> = (1..=20).filter(|_| balance.look(&busy).is_some()).collect();
        assert_eq!(moves, [BUSY_LOOKS, 2 * BUSY_LOOKS + PAUSE_LOOKS]);
    }

    #[test]
    fn a_lasting_calm_brings_connections_together_on_the_first_thread() {
        let mut balance = Balance::default();
        let calm = loads(&[(5, 10), (5, 4)]);
        let first = (1..=CALM_LOOKS).find_map(|look| balance.look(&calm).map(|shed| (look, shed)));
        assert_eq!(first, Some((CALM_LOOKS, Shed { from: 1, to: 0, count: 4 })));
    }

    #[test]
    fn a_short_calm_changes_nothing() {
        let mut balance = Balance::default();
        for look in 0..100 {
            let busy = if look % CALM_LOOKS == 0 { CALM } else { 1 };
            assert_eq!(balance.look(&loads(&[(busy, 4), (1, 4)])), None);
        }
    }

    #[test]
    fn a_new_connection_begins_on_the_first_thread_that_has_time() {
        assert_eq!(place([0, 0].into_iter()), 0);
        assert_eq!(place([80, 10].into_iter()), 1);
        assert_eq!(place([90, 80].into_iter()), 1);
    }
}
