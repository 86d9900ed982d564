use super::*;
use crate::types::topic::Topic;

fn realm() -> Arc<str> {
    "realm1".into()
}

fn pattern(text: &str) -> TopicPattern {
    TopicPattern::from_filter(text).unwrap()
}

fn plain() -> Wanted {
    Wanted { plain: true, ..Wanted::default() }
}

fn groups(names: &[&str]) -> Wanted {
    Wanted { plain: false, groups: names.iter().map(|name| (*name).into()).collect() }
}

/// `t` or, of a group, `g:t`; sorted.
fn texts(interests: &[Interest]) -> Vec<String> {
    let text = |interest: &Interest| {
        let pattern = interest.pattern.filter().unwrap_or_default();
        interest.group.as_ref().map_or(pattern.to_owned(), |group| format!("{group}:{pattern}"))
    };
    let mut texts: Vec<String> = interests.iter().map(text).collect();
    texts.sort();
    texts
}

#[test]
fn only_the_first_and_the_last_subscription_of_a_pattern_are_told() {
    let mut own = Own::default();
    own.set(&realm(), &pattern("t"), plain());
    let told = own.take().unwrap();
    assert_eq!((told.version, told.whole, texts(&told.wanted)), (1, false, vec!["t".to_owned()]));
    own.set(&realm(), &pattern("t"), plain());
    assert_eq!(own.take(), None);
    own.set(&realm(), &pattern("t"), Wanted::default());
    let told = own.take().unwrap();
    assert_eq!((told.version, texts(&told.unwanted)), (2, vec!["t".to_owned()]));
    assert!(own.whole_set().wanted.is_empty());
}

#[test]
fn what_comes_and_goes_between_two_words_is_as_it_was() {
    let (mut own, mut theirs) = (Own::default(), Theirs::default());
    own.set(&realm(), &pattern("a"), plain());
    theirs
        .hear({
            own.take();
            own.whole_set()
        })
        .unwrap();
    own.set(&realm(), &pattern("a"), Wanted::default());
    own.set(&realm(), &pattern("a"), plain());
    own.set(&realm(), &pattern("b"), plain());
    own.set(&realm(), &pattern("b"), Wanted::default());
    if let Some(told) = own.take() {
        assert_eq!(theirs.hear(told), Ok(Heard::default()));
    }
}

#[test]
fn groups_of_a_pattern_are_told_one_by_one() {
    let mut own = Own::default();
    own.set(&realm(), &pattern("t"), groups(&["a", "b"]));
    assert_eq!(texts(&own.take().unwrap().wanted), ["a:t", "b:t"]);
    own.set(&realm(), &pattern("t"), groups(&["b", "c"]));
    let told = own.take().unwrap();
    assert_eq!((texts(&told.wanted), texts(&told.unwanted)), (vec!["c:t".to_owned()], vec!["a:t".to_owned()]));
}

#[test]
fn too_many_patterns_widen_to_everything_and_half_as_many_narrow_again() {
    let (mut own, mut theirs) = (Own::new(4), Theirs::default());
    own.set(&realm(), &pattern("g"), groups(&["a"]));
    for name in ["1", "2", "3", "4"] {
        own.set(&realm(), &pattern(name), plain());
    }
    theirs.hear(Told { whole: true, ..own.take().unwrap() }).unwrap();
    own.set(&realm(), &pattern("5"), plain());
    let told = own.take().unwrap();
    assert!(told.whole && told.everything);
    assert_eq!(texts(&told.wanted), ["a:g"], "groups cannot be widened");
    let heard = theirs.hear(told).unwrap();
    assert_eq!((heard.everything, heard.unwanted.len()), (Some(true), 4));
    for name in ["5", "4"] {
        own.set(&realm(), &pattern(name), Wanted::default());
        assert_eq!(own.take(), None, "three of four are too many to narrow");
    }
    own.set(&realm(), &pattern("3"), Wanted::default());
    let heard = theirs.hear(own.take().unwrap()).unwrap();
    assert_eq!((heard.everything, texts(&heard.wanted)), (Some(false), vec!["1".to_owned(), "2".to_owned()]));
}

#[test]
fn groups_beyond_the_bound_are_left_out_and_counted() {
    let mut own = Own::new(1);
    own.set(&realm(), &pattern("t"), groups(&["a", "b"]));
    assert_eq!(texts(&own.take().unwrap().wanted), ["a:t"]);
    assert_eq!(own.left_out(), 1);
}

#[test]
fn who_misses_a_change_takes_nothing_but_the_whole_set() {
    let (mut own, mut theirs) = (Own::default(), Theirs::default());
    let mut change = |name| {
        own.set(&realm(), &pattern(name), plain());
        (own.take().unwrap(), own.whole_set())
    };
    let ((first, _), (second, whole), (third, _)) = (change("1"), change("2"), change("3"));
    assert!(theirs.hear(first).is_err(), "a change of nothing");
    theirs.hear(whole).unwrap();
    assert!(theirs.hear(second).is_err(), "a change that the set has");
    assert_eq!(texts(&theirs.hear(third).unwrap().wanted), ["3"]);
    assert_eq!(texts(&theirs.forget().unwanted), ["1", "2", "3"]);
}

#[test]
fn the_last_of_all_versions_is_followed_by_none() {
    let mut theirs = Theirs::default();
    theirs.hear(Told { version: u64::MAX, whole: true, ..Told::default() }).unwrap();
    assert!(theirs.hear(Told { version: 0, ..Told::default() }).is_err());
}

#[test]
fn a_topic_reaches_each_peer_once() {
    let mut reach = Reach::default();
    for (peer, text) in [(1, "t/+"), (1, "t/1"), (0, "#"), (2, "u")] {
        reach.set(PeerId(peer), &pattern(text), None, true);
    }
    let peers = |reach: &Reach, topic: &str| reach.of(&Topic::from_name(topic).unwrap()).peers;
    assert_eq!(peers(&reach, "t/1"), [PeerId(0), PeerId(1)]);
    reach.set(PeerId(1), &pattern("t/+"), None, false);
    assert_eq!(peers(&reach, "t/1"), [PeerId(0), PeerId(1)]);
    reach.set(PeerId(1), &pattern("t/1"), None, false);
    assert_eq!(peers(&reach, "t/1"), [PeerId(0)]);
    reach.set_everything(PeerId(2), true);
    assert_eq!(peers(&reach, "t/1"), [PeerId(0), PeerId(2)]);
    assert!(reach.of(&Topic::from_name("$SYS/x").unwrap()).is_empty(), "each entry has its own");
}

#[test]
fn a_group_is_reached_at_the_entries_that_have_members() {
    let mut reach = Reach::default();
    let topic = Topic::from_name("t").unwrap();
    for peer in [2, 1] {
        reach.set(PeerId(peer), &pattern("t"), Some("g"), true);
    }
    let reached = reach.of(&topic);
    assert!(reached.peers.is_empty());
    assert_eq!(reached.groups[0].peers, [PeerId(1), PeerId(2)]);
    reach.set(PeerId(1), &pattern("t"), Some("g"), false);
    reach.set(PeerId(2), &pattern("t"), Some("g"), false);
    assert!(reach.of(&topic).is_empty());
}
