//! Syncs, what they have said, and all that may happen to them, for the model checker.
//!
//! What was said stays said: it may be heard by anyone, at any time, in any order, often, or never. So loss, delay, repetition and
//! reordering are in it, and a new link that repeats what was lost is, too. A *whole* state is one in which everybody has heard
//! everything: from there on nothing happens any more, so by then what has to happen must have happened.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use fennec::queue::envelope::{Draft, Elected};
use stateright::{Checker, Model, Path, Property};

/// One sync.
pub trait Machine: Clone + Debug + Hash + Send + Sync + 'static {
    type Message: Clone + Debug + Ord + Hash + Send + Sync + 'static;

    /// Hears what a sync said, or a storage (`None`). What it then says to all.
    fn hear(&mut self, from: Option<usize>, message: &Self::Message) -> Vec<Self::Message>;

    /// Whether the message may make a difference within the bounds of the check.
    fn wants(&self, message: &Self::Message, bounds: &Bounds) -> bool;

    /// Statements that follow from each other ascend.
    fn step(message: &Self::Message) -> u64;

    /// Whether who says this goes beyond the bounds.
    fn is_beyond(message: &Self::Message, bounds: &Bounds) -> bool;

    /// It stops and starts again, and is linked to all others.
    fn restart(&mut self, others: &[(usize, &Self)]);

    fn position(&self) -> u64;

    /// What it knows.
    fn decisions(&self) -> Vec<(u64, Elected)>;

    /// What follows from all that each sync has said.
    fn decided(said: &[&BTreeSet<Self::Message>]) -> BTreeSet<(u64, Elected)>;
}

/// How far it is looked.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// The last position whose vote is heard.
    pub position: u64,
    /// The last round of each.
    pub round: u32,
}

/// A planted fault: what becomes of a message on its way to a sync.
pub type Fault<M> = fn(to: &M, message: &<M as Machine>::Message) -> Option<<M as Machine>::Message>;

/// What is checked.
#[derive(Clone)]
pub struct Syncs<M: Machine> {
    pub start: Vec<M>,
    /// What they have said before.
    pub said: Vec<(usize, M::Message)>,
    /// What storages say to whom.
    pub told: Vec<(usize, M::Message)>,
    /// What may be elected, in the order of each entry.
    pub drafts: Vec<Draft>,
    /// These are restarted after each step: they know nothing but what is on their disks, and hear at once all that they need for
    /// the next. So there are far fewer states.
    pub forgetful: Vec<usize>,
    /// One of these may die for good.
    pub deaths: Vec<usize>,
    pub fault: Fault<M>,
    pub bounds: Bounds,
    /// In a whole state this position is decided at all that run.
    pub progress: u64,
}

#[derive(Clone, Debug)]
pub struct State<M: Machine> {
    nodes: Vec<Arc<Node<M>>>,
    dead: Option<usize>,
}

#[derive(Debug)]
struct Node<M: Machine> {
    machine: M,
    /// All it ever said.
    said: BTreeSet<M::Message>,
    print: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action<Message> {
    Hear {
        at: usize,
        from: Option<usize>,
        message: Message,
    },
    /// It is restarted when it has done what comes of this.
    HearAndRestart {
        at: usize,
        heard: Vec<(Option<usize>, Message)>,
    },
    Die(usize),
}

impl<M: Machine> Hash for State<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nodes.iter().for_each(|node| state.write_u64(node.print));
        self.dead.hash(state);
    }
}

impl<M: Machine> PartialEq for State<M> {
    fn eq(&self, other: &Self) -> bool {
        let prints = |state: &Self| state.nodes.iter().map(|node| node.print).collect::<Vec<_>>();
        prints(self) == prints(other) && self.dead == other.dead
    }
}

impl<M: Machine> Node<M> {
    fn new(machine: M, said: BTreeSet<M::Message>) -> Self {
        let mut hasher = DefaultHasher::new();
        (&machine, &said).hash(&mut hasher);
        Self { machine, said, print: hasher.finish() }
    }
}

impl<M: Machine> State<M> {
    fn all_decisions(&self) -> BTreeSet<(u64, Elected)> {
        let mut decided = M::decided(&self.nodes.iter().map(|node| &node.said).collect::<Vec<_>>());
        decided.extend(self.nodes.iter().flat_map(|node| node.machine.decisions()));
        decided
    }

    fn replace(&self, at: usize, machine: M, said: Vec<M::Message>) -> Option<Self> {
        let all_said = self.nodes[at].said.iter().cloned().chain(said).collect();
        let node = Node::new(machine, all_said);
        (node.print != self.nodes[at].print).then(|| {
            let mut next = self.clone();
            next.nodes[at] = Arc::new(node);
            next
        })
    }
}

impl<M: Machine> Model for Syncs<M> {
    type State = State<M>;
    type Action = Action<M::Message>;

    fn init_states(&self) -> Vec<Self::State> {
        let node = |(at, machine): (usize, &M)| {
            let said = self.said.iter().filter(|(by, _)| *by == at).map(|(_, said)| said.clone());
            Arc::new(Node::new(machine.clone(), said.collect()))
        };
        vec![State { nodes: self.start.iter().enumerate().map(node).collect(), dead: None }]
    }

    fn actions(&self, state: &Self::State, actions: &mut Vec<Self::Action>) {
        let runs = |at: &usize| state.dead != Some(*at);
        for (at, node) in state.nodes.iter().enumerate().filter(|(at, _)| runs(at)) {
            let storages = self.told.iter().filter(|(to, _)| *to == at).map(|(_, message)| (None, message));
            let others = state.nodes.iter().enumerate().filter(|(from, _)| *from != at);
            let syncs = others.flat_map(|(from, other)| other.said.iter().map(move |message| (Some(from), message)));
            let wanted = storages.chain(syncs).filter(|(_, message)| node.machine.wants(message, &self.bounds));
            if self.forgetful.contains(&at) {
                actions.extend(bursts::<M>(wanted).map(|heard| Action::HearAndRestart { at, heard }));
            } else {
                actions.extend(wanted.map(|(from, message)| Action::Hear { at, from, message: message.clone() }));
            }
        }
        actions.extend(self.deaths.iter().copied().filter(|_| state.dead.is_none()).map(Action::Die));
    }

    fn next_state(&self, state: &Self::State, action: Self::Action) -> Option<Self::State> {
        match action {
            Action::Hear { at, from, message } => {
                let mut machine = state.nodes[at].machine.clone();
                let message = (self.fault)(&machine, &message)?;
                let said = machine.hear(from, &message);
                state.replace(at, machine, said)
            }
            Action::HearAndRestart { at, heard } => {
                let mut machine = state.nodes[at].machine.clone();
                let mut said = Vec::new();
                for (from, message) in heard {
                    let Some(message) = (self.fault)(&machine, &message) else { continue };
                    said.extend(machine.hear(from, &message));
                }
                let others = state.nodes.iter().enumerate().filter(|(other, _)| *other != at);
                let others: Vec<_> = others.map(|(other, node)| (other, &node.machine)).collect();
                machine.restart(&others);
                state.replace(at, machine, said)
            }
            Action::Die(at) => Some(State { dead: Some(at), ..state.clone() }),
        }
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("agreement", |_, state: &State<M>| {
                let decisions = state.all_decisions();
                decisions.iter().zip(decisions.iter().skip(1)).all(|(one, next)| one.0 != next.0)
            }),
            Property::always("a segment has one position", |_, state: &State<M>| {
                let decisions = state.all_decisions();
                let segments = decisions.iter().filter_map(|(_, elected)| match elected {
                    Elected::Segment(draft) => Some(&draft.id),
                    _ => None,
                });
                segments.clone().collect::<BTreeSet<_>>().len() == segments.count()
            }),
            Property::always("validity", Self::is_valid),
            Property::always("progress", |model: &Self, state: &State<M>| {
                let runs = |(at, _): &(usize, _)| state.dead != Some(*at);
                let has_decided = |node: &Arc<Node<M>>| node.machine.position() >= model.progress;
                let mut running = state.nodes.iter().enumerate().filter(runs);
                running.all(|(_, node)| has_decided(node)) || !model.is_whole(state)
            }),
        ]
    }
}

impl<M: Machine> Syncs<M> {
    /// A sync hears this before the check begins. What it says then is heard in the check.
    pub fn pick(&mut self, at: usize, message: &M::Message) {
        for said in self.start[at].hear(None, message) {
            self.said.push((at, said));
        }
    }

    /// Only what was drafted is elected, each entry's segments in their order.
    fn is_valid(&self, state: &State<M>) -> bool {
        state.nodes.iter().all(|node| {
            let mut left: Vec<&Draft> = self.drafts.iter().collect();
            node.machine.decisions().iter().all(|(_, elected)| match elected {
                Elected::Segment(draft) => {
                    let first = left.iter().position(|left| left.id.entry == draft.id.entry);
                    first.is_some_and(|first| left.remove(first).id == draft.id)
                }
                // Taken apart.
                Elected::Command(_) | Elected::Run(_) => false,
                Elected::Nothing => true,
            })
        })
    }

    /// Everybody has heard everything, and may die no more.
    fn is_whole(&self, state: &State<M>) -> bool {
        let said = || state.nodes.iter().flat_map(|node| &node.said);
        if said().any(|message| M::is_beyond(message, &self.bounds)) {
            return false;
        }
        let mut actions = Vec::new();
        self.actions(state, &mut actions);
        let changes = |action: Action<M::Message>| match action {
            Action::Die(_) => false,
            action => self.next_state(state, action).is_some(),
        };
        !actions.into_iter().any(changes)
    }

    /// Looks at all states, and finds nothing wrong.
    #[track_caller]
    pub fn holds(self, least_states: usize) {
        let checker = self.checker().spawn_bfs().join();
        let states = checker.unique_state_count();
        if let Some((name, path)) = checker.discoveries().into_iter().next() {
            panic!("{name} is broken after {states} states:\n{}", told(path));
        }
        println!("{states} states, the longest way has {} steps", checker.max_depth());
        assert!(states >= least_states, "hardly anything happened: {states}");
    }

    /// Finds a way to break a property: a shortest.
    #[track_caller]
    pub fn breaks(self, property: &'static str) -> String {
        let found = (2..40).find_map(|depth| {
            let one = stateright::HasDiscoveries::AnyOf(BTreeSet::from([property]));
            self.clone().checker().target_max_depth(depth).finish_when(one).spawn_bfs().join().discovery(property)
        });
        told(found.unwrap_or_else(|| panic!("{property} holds")))
    }
}

/// All choices of what is heard until the next restart; what follows from other things first, for so it counts with them.
fn bursts<'a, M: Machine>(
    wanted: impl Iterator<Item = (Option<usize>, &'a M::Message)>,
) -> impl Iterator<Item = Vec<(Option<usize>, M::Message)>> {
    let mut wanted: Vec<_> = wanted.map(|(from, message)| (from, message.clone())).collect();
    wanted.sort_by_key(|(_, message)| std::cmp::Reverse(M::step(message)));
    (1..1_usize << wanted.len()).map(move |choice| {
        let chosen = wanted.iter().enumerate().filter(|(at, _)| choice >> at & 1 == 1);
        chosen.map(|(_, heard)| heard.clone()).collect()
    })
}

/// A path as a trace.
fn told<M: Machine>(path: Path<State<M>, Action<M::Message>>) -> String {
    let mut lines = Vec::new();
    let mut before: Option<State<M>> = None;
    for (state, action) in path.into_vec() {
        if let Some(before) = &before {
            lines.extend(news(before, &state));
        }
        lines.extend(action.map(|action| match action {
            Action::Hear { at, from: Some(from), message } => {
                format!("S{} hears from S{}: {message:?}", at + 1, from + 1)
            }
            Action::Hear { at, from: None, message } => format!("S{} hears from a storage: {message:?}", at + 1),
            Action::HearAndRestart { at, heard } => format!("S{} hears {heard:?} and is restarted", at + 1),
            Action::Die(at) => format!("S{} dies", at + 1),
        }));
        before = Some(state);
    }
    lines.join("\n")
}

/// What came of an action.
fn news<M: Machine>(before: &State<M>, after: &State<M>) -> Vec<String> {
    let mut lines = Vec::new();
    for (at, (before, after)) in before.nodes.iter().zip(&after.nodes).enumerate() {
        lines.extend(after.said.difference(&before.said).map(|said| format!("  S{} says {said:?}", at + 1)));
        let known = before.machine.decisions();
        let decisions = after.machine.decisions();
        let new = decisions.iter().filter(|decision| !known.contains(decision));
        lines.extend(new.map(|(position, elected)| format!("  S{} knows {position}: {}", at + 1, name(elected))));
    }
    lines
}

/// A segment by its number, which is unique in a check.
pub fn name(elected: &Elected) -> String {
    match elected {
        Elected::Segment(draft) => format!("segment {}", draft.id.segment),
        Elected::Command(command) => format!("{command:?}"),
        Elected::Nothing => "nothing".to_owned(),
        Elected::Run(drafts) => {
            let segments: Vec<_> = drafts.iter().map(|draft| draft.id.segment.to_string()).collect();
            format!("segments {}", segments.join(", "))
        }
    }
}
