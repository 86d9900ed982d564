//! Live, backlog and held topics: cursors only.

use crate::outbound::uplink::machine::lanes::Lanes;

/// A line for each lane.
fn lines(lanes: &Lanes) -> Vec<String> {
    let line = |lane: &crate::outbound::uplink::machine::lanes::Lane| {
        let until = lane.until.map_or("".to_owned(), |until| until.to_string());
        format!("{:?} {}..{until}{}", lane.patterns, lane.next, if lane.held { " held" } else { "" })
    };
    lanes.iter().map(line).collect()
}

#[test]
fn what_the_live_lane_owes_becomes_a_backlog() {
    let mut lanes = Lanes::new(2, 9);
    assert!(!lanes.split(109, 100), "not more than may be");
    assert!(lanes.split(110, 100));
    assert_eq!(lines(&lanes), ["[0, 1] 111..", "[0, 1] 10..111"]);
    assert!(!lanes.split(900, 100), "there is a backlog already");
    lanes.advance(1, 111);
    assert_eq!(lines(&lanes), ["[0, 1] 111.."]);
}

#[test]
fn a_pattern_that_is_not_accepted_is_held_where_it_is() {
    let mut lanes = Lanes::new(2, 0);
    lanes.advance(0, 5);
    assert!(lanes.accept(&[true, false]));
    assert_eq!(lines(&lanes), ["[0] 5..", "[1] 5.. held"]);
    lanes.advance(0, 50);
    assert!(!lanes.accept(&[true, false]), "nothing changes");
    assert!(lanes.accept(&[true, true]));
    assert_eq!(lines(&lanes), ["[0, 1] 50..", "[1] 5..50"], "what was held is sent, and new ones go with the others");
    lanes.advance(1, 50);
    assert_eq!(lines(&lanes), ["[0, 1] 50.."]);
}

#[test]
fn of_a_backlog_only_what_is_not_sent_yet_is_held() {
    let mut lanes = Lanes::new(2, 0);
    lanes.split(1000, 10);
    lanes.advance(1, 400);
    lanes.advance(0, 1200);
    lanes.accept(&[true, false]);
    assert_eq!(lines(&lanes), ["[0] 1200..", "[0] 400..1001", "[1] 1200.. held", "[1] 400..1001 held"]);
    lanes.advance(0, 1300);
    lanes.accept(&[true, true]);
    assert_eq!(lines(&lanes), ["[0, 1] 1300..", "[0] 400..1001", "[1] 1200..1300", "[1] 400..1001"]);
}

#[test]
fn without_any_accepted_pattern_all_wait() {
    let mut lanes = Lanes::new(2, 0);
    lanes.accept(&[false, false]);
    assert_eq!(lines(&lanes), ["[] 1..", "[0] 1.. held", "[1] 1.. held"]);
    assert!(lanes.iter().all(|lane| !lane.may_have(100)));
    assert_eq!(lanes.oldest(), 1);
    lanes.accept(&[true, false]);
    assert!(lanes.iter().all(|lane| !lane.may_have(100)) || lines(&lanes)[0] == "[0] 1..");
}

#[test]
fn lanes_do_not_pile_up() {
    let mut lanes = Lanes::new(1, 0);
    for round in 1..1000 {
        lanes.advance(0, round * 10);
        lanes.accept(&[false]);
        lanes.advance(0, round * 10 + 5);
        lanes.accept(&[true]);
    }
    assert!(lanes.iter().count() <= 66, "{}", lanes.iter().count());
    assert!(lanes.is_sound(1));
}
