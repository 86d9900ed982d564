//! The vote of the syncs, checked in every state that can be reached: what is said may be heard late, in any order, often or never;
//! syncs die, and come back with what is on their disks. It is the machine of the product that is checked ([`votes`]), not a drawing
//! of it.
//!
//! The rule of the blueprint, and faults that are planted, show that the checker finds what is wrong.

use fennec::queue::envelope::Draft;
use fennec::queue::sync::Statement;

use self::blueprint::Blueprint;
use self::harness::{Bounds, Syncs};
use self::votes::{BASE, Said, Voter, draft, voters};

mod blueprint;
mod harness;
mod votes;

/// Two drafts that compete: of the first segments of two entries.
fn rivals() -> [Draft; 2] {
    [draft(1, 100, 0), draft(2, 200, 0)]
}

/// Three syncs that vote on one position, and a round at most. Each draft is heard by these syncs, some time.
fn three(drafts: &[Draft], heard: &[&[usize]]) -> Syncs<Voter> {
    let told = |(draft, heard): (&Draft, &&[usize])| {
        let said = Said::Draft(draft.clone());
        heard.iter().map(|to| (*to, said.clone())).collect::<Vec<_>>()
    };
    Syncs {
        start: voters(3),
        said: vec![],
        told: drafts.iter().zip(heard).flat_map(told).collect(),
        drafts: drafts.to_vec(),
        forgetful: vec![],
        deaths: vec![],
        fault: |_, message| Some(message.clone()),
        bounds: Bounds { position: BASE + 1, round: 1 },
        progress: BASE + 1,
    }
}

/// As [`three`], when all have said which draft they back: S1 the first, S2 and S3 the other.
fn three_that_picked() -> Syncs<Voter> {
    let mut syncs = three(&rivals(), &[&[0], &[1, 2]]);
    for (to, said) in std::mem::take(&mut syncs.told) {
        syncs.pick(to, &said);
    }
    syncs
}

/// All are restarted whenever they have said something.
fn forgetful(syncs: Syncs<Voter>) -> Syncs<Voter> {
    Syncs { forgetful: vec![0, 1, 2], ..syncs }
}

#[test]
fn three_syncs_agree_on_one_of_two_drafts() {
    three(&rivals(), &[&[0], &[1]]).holds(10_000);
}

#[test]
fn two_rounds_agree_and_who_comes_back_says_what_it_said() {
    let bounds = Bounds { position: BASE + 1, round: 2 };
    forgetful(Syncs { bounds, ..three_that_picked() }).holds(10_000);
}

#[test]
fn a_minority_that_dies_stops_nobody() {
    forgetful(Syncs { deaths: vec![0, 1, 2], ..three_that_picked() }).holds(5_000);
}

#[test]
fn segments_of_an_entry_are_elected_once_and_in_order() {
    let two_positions = three(&[draft(1, 100, 0), draft(1, 200, 100)], &[&[0], &[1]]);
    let bounds = Bounds { position: BASE + 2, round: 1 };
    forgetful(Syncs { bounds, progress: BASE + 2, ..two_positions }).holds(2_000);
}

#[test]
fn planted_a_1_that_does_not_carry_its_challenger() {
    let mut syncs = three_that_picked();
    // Who hears a 1 takes it for the challenger that it has picked itself.
    syncs.fault = |to, message| {
        Some(match message {
            Said::Statement(position, Statement::State { round, challenger: Some(_) }) => {
                Said::Statement(*position, Statement::State { round: *round, challenger: Some(to.picked()?) })
            }
            Said::Statement(position, Statement::Vote { round, vote, .. }) => {
                Said::Statement(*position, Statement::Vote { round: *round, vote: *vote, challenger: to.picked() })
            }
            message => message.clone(),
        })
    };
    let way = forgetful(syncs).breaks("agreement");
    assert!(way.contains("knows 3: segment 100") && way.contains("VOTE 3/1: 1, segment 200"), "{way}");
}

#[test]
fn planted_a_wiped_sync_that_votes_at_once() {
    let mut syncs = three_that_picked();
    syncs.forgetful = vec![1];
    syncs.start[1].is_wiped = true;
    let way = syncs.breaks("agreement");
    assert!(way.contains("S2 says PICK_CHALLENGER 3: segment 100"), "it had picked the other: {way}");
}

#[test]
fn planted_drafts_that_are_not_passed_on() {
    let mut syncs = three(&rivals()[..1], &[&[0]]);
    // Who has no draft of its own does not hear of others'.
    syncs.fault = |to, message| match message {
        Said::Statement(_, Statement::Pick { .. }) if to.picked().is_none() => None,
        message => Some(message.clone()),
    };
    let way = syncs.breaks("progress");
    assert_eq!(way.matches(" says ").count(), 1, "nobody joins: {way}");
}

#[test]
fn planted_the_previous_rule_left_out() {
    let drafts = [draft(1, 100, 0), draft(1, 200, 100)];
    let mut syncs = three(&drafts, &[&[0], &[1]]);
    syncs.bounds.position = BASE + 2;
    // Each draft says it is next after whatever was elected last.
    syncs.fault = |to, message| {
        Some(match message {
            Said::Draft(draft) => Said::Draft(Draft { previous: to.last(&draft.id.entry), ..draft.clone() }),
            message => message.clone(),
        })
    };
    let way = syncs.breaks("validity");
    assert!(way.contains("knows 3: segment 200"), "{way}");
}

#[test]
fn the_blueprint_gives_a_segment_two_positions() {
    let told = [(0, 0), (1, 1), (2, 0)];
    let syncs = Syncs {
        start: (0..3).map(|place| Blueprint::new(place, 3)).collect(),
        said: vec![],
        told: told.map(|(to, draft)| (to, blueprint::Said::Draft(rivals()[draft].clone()))).to_vec(),
        drafts: rivals().to_vec(),
        forgetful: vec![],
        deaths: vec![],
        fault: |_, message| Some(message.clone()),
        bounds: Bounds { position: 2, round: 0 },
        progress: 2,
    };
    let way = syncs.breaks("a segment has one position");
    let documentation = std::fs::read_to_string("docs/cluster/vote.md").unwrap();
    assert!(documentation.contains(&way), "docs/cluster/vote.md is to show how:\n{way}");
}
