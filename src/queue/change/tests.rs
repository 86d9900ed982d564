use super::*;

/// `N1` or `S1`, and the disk that stands in the first table for it.
fn node(name: &str) -> NodeId {
    match name.as_bytes()[0] {
        b'E' => NodeId::entry(name),
        b'N' => NodeId::storage(name),
        _ => NodeId::sync(name),
    }
}

fn disk(name: &str) -> StoreId {
    StoreId(name.bytes().fold(0, |sum, byte| sum * 256 + u128::from(byte)))
}

fn member(name: &str) -> Member {
    Member { node: node(name), store: disk(name) }
}

fn members(syncs: &str, slots: &[&str], storage_quorum: u32) -> Members {
    let group = |names: &str| names.split(' ').map(member).collect();
    Members { syncs: group(syncs), slots: slots.iter().map(|names| group(names)).collect(), storage_quorum }
}

fn wanted(syncs: &str, slots: &[&str], storage_quorum: u32) -> Wanted {
    let group = |names: &str| names.split(' ').map(node).collect();
    let slots = slots.iter().map(|names| group(names)).collect();
    Wanted { entries: vec![node("E1")], syncs: group(syncs), slots, storage_quorum }
}

/// A cluster as its syncs see it, all of them alike.
struct Seen {
    members: Members,
    members_at: u64,
    position: u64,
    /// Those who are linked, and up to where they have everything.
    up: BTreeMap<&'static str, u64>,
}

impl Seen {
    /// Of S1 S2 S3 and N1 N2 N3, at position 100.
    fn new() -> Self {
        let members = members("S1 S2 S3", &["N1 N2 N3"], 2);
        let up = ["S1", "S2", "S3", "N1", "N2", "N3"].map(|name| (name, 100)).into();
        Self { members, members_at: 0, position: 100, up }
    }

    fn views(&self) -> Vec<View> {
        let view = |(name, position): (&&str, &u64)| View {
            sync: node(name),
            standing: if self.members.has(&node(name)) { Standing::Votes } else { Standing::Listens },
            position: *position,
            members_at: self.members_at,
            members: self.members.clone(),
            disks: self.up.iter().map(|(name, position)| (node(name), (disk(name), *position))).collect(),
            linked: self.up.keys().chain([&"E1"]).map(|name| (*name).to_owned()).collect(),
        };
        self.up.iter().filter(|(name, _)| name.starts_with('S')).map(view).collect()
    }

    fn elect(&mut self, members: Members) {
        self.position += 1;
        (self.members, self.members_at) = (members, self.position);
    }

    #[track_caller]
    fn waits(&self, change: &mut Change, why: &str) {
        match change.step(&self.views()) {
            Ok(Step::Wait(whys)) => assert!(whys.iter().any(|text| text.contains(why)), "{whys:?}"),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn asks(&self, change: &mut Change) -> Members {
        match change.step(&self.views()) {
            Ok(Step::Ask(OrderCommand::Members { behind, members })) => {
                assert_eq!(behind, self.members_at);
                members
            }
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn refuses(&self, wanted: Wanted, why: &str) {
        let refused = Change::new(wanted).step(&self.views()).unwrap_err().to_string();
        assert_eq!(refused, why);
    }
}

#[test]
fn a_storage_is_taken_in_when_it_has_everything() {
    let mut seen = Seen::new();
    let mut change = Change::new(wanted("S1 S2 S3", &["N1 N2 N3 N4"], 3));
    seen.waits(&mut change, "N4 is not linked to a sync that has a vote");
    seen.up.insert("N4", 40);
    seen.waits(&mut change, "N4 has everything up to position 40 of 100");
    // What comes meanwhile it will have by following.
    seen.position = 200;
    seen.up.insert("N4", 100);
    let table = seen.asks(&mut change);
    assert_eq!(table, members("S1 S2 S3", &["N1 N2 N3 N4"], 3));
    seen.elect(table);
    seen.waits(&mut change, "of slot 0 3 must have everything up to position 201: none have it, N1 N2 N3 N4 not");
    for name in ["N1", "N2", "N4"] {
        seen.up.insert(name, 201);
    }
    assert_eq!(change.step(&seen.views()), Ok(Step::Done { position: 201 }));
}

#[test]
fn what_is_as_wanted_is_done_in_whatever_order_it_stands() {
    let mut change = Change::new(wanted("S3 S1 S2", &["N2 N1 N3"], 2));
    assert_eq!(change.step(&Seen::new().views()), Ok(Step::Done { position: 0 }));
}

#[test]
fn a_storage_leaves_when_a_quorum_of_the_rest_has_everything() {
    let mut seen = Seen::new();
    let mut change = Change::new(wanted("S1 S2 S3", &["N1 N2"], 2));
    seen.up.insert("N2", 99);
    seen.waits(&mut change, "N1 have it, N2 not");
    seen.up.insert("N2", 100);
    let table = seen.asks(&mut change);
    seen.elect(table);
    seen.up.insert("N1", 101);
    seen.waits(&mut change, "N2 not");
    seen.up.insert("N2", 101);
    assert_eq!(change.step(&seen.views()), Ok(Step::Done { position: 101 }));
}

#[test]
fn a_storage_under_another_disk_than_the_table_has_does_not_count() {
    let mut seen = Seen::new();
    seen.members.slots[0][0].store = StoreId(7);
    let mut change = Change::new(wanted("S1 S2 S3", &["N1 N2"], 2));
    seen.waits(&mut change, "N2 have it, N1 not");
}

#[test]
fn too_few_that_are_up_are_refused() {
    let mut seen = Seen::new();
    seen.up.remove("N2");
    seen.refuses(
        wanted("S1 S2 S3", &["N1 N2"], 2),
        "slot 0 would have 1 storages that are up, and 2 are needed: N2 not",
    );
    seen.refuses(wanted("S1 S2 S3", &["N2"], 1), "slot 0 would have 0 storages that are up, and 1 are needed: N2 not");
    seen.up.remove("S2");
    seen.refuses(wanted("S2 S3", &["N1 N3"], 2), "1 of 2 syncs would be up: more than half of them must");
    seen.up.remove("S1");
    seen.refuses(wanted("S1 S2 S3", &["N1 N3"], 2), "1 of 3 syncs answer and have a vote: more than half of them must");
}

#[test]
fn another_change_is_neither_undone_nor_joined() {
    let mut seen = Seen::new();
    let mut late = Change::new(wanted("S1 S2 S3", &["N1 N2 N3 N4"], 2));
    seen.waits(&mut late, "N4");
    seen.elect(members("S1 S2 S3", &["N1 N2"], 2));
    let begun =
        "the last change is not done: of slot 0 2 must have everything up to position 101: none have it, N1 N2 not";
    seen.refuses(wanted("S1 S2 S3", &["N1 N2 N3"], 2), begun);
    assert_eq!(late.step(&seen.views()), Err(Refused::Overtaken { position: 101 }));
}

#[test]
fn a_disk_that_was_wiped_and_is_back_is_no_other_change() {
    let mut seen = Seen::new();
    let mut change = Change::new(wanted("S1 S2 S3", &["N2 N3 N4"], 2));
    seen.waits(&mut change, "N4");
    let mut table = seen.members.clone();
    table.slots[0][0].store = StoreId(7);
    seen.elect(table);
    for name in ["N1", "N2", "N3", "N4"] {
        seen.up.insert(name, 101);
    }
    assert_eq!(seen.asks(&mut change), members("S1 S2 S3", &["N2 N3 N4"], 2));
}

#[test]
fn one_sync_comes_or_goes_at_a_time() {
    let mut seen = Seen::new();
    let at_once = |come, go| format!("one sync may come or go at a time: {come} would come, {go} go");
    seen.refuses(wanted("S1 S2 S3 S4 S5", &["N1 N2 N3"], 2), &at_once("S4 S5", "none"));
    seen.refuses(wanted("S1 S2 S4", &["N1 N2 N3"], 2), &at_once("S4", "S3"));
    let mut comes = Change::new(wanted("S1 S2 S3 S4", &["N1 N2 N3"], 2));
    seen.waits(&mut comes, "S4 is not linked to a sync that has a vote");
    seen.up.insert("S4", 100);
    let mut views = seen.views();
    views[3].linked.remove("E1");
    let Ok(Step::Wait(why)) = comes.step(&views) else { panic!() };
    assert_eq!(why, ["S4 is not linked to E1: has it read the file?"]);
    assert_eq!(seen.asks(&mut comes), members("S1 S2 S3 S4", &["N1 N2 N3"], 2));
    let mut goes = Change::new(wanted("S1 S2", &["N1 N2 N3"], 2));
    assert_eq!(seen.asks(&mut goes), members("S1 S2", &["N1 N2 N3"], 2));
}
