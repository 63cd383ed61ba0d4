//! Random lives of a classic group: clients join, assign, live, die and come back. Each request is answered once, a generation
//! has one leader and one protocol, and everybody gets what the leader of its generation gave it.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const CLIENTS: usize = 4;

#[derive(Debug, Clone)]
enum Act {
    Join(usize, bool),
    Sync(usize),
    Beat(usize),
    Leave(usize),
    Forget(usize),
    Pass(i64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let client = 0..CLIENTS;
    let act = prop_oneof![
        8 => (client.clone(), any::<bool>()).prop_map(|(client, is_other)| Act::Join(client, is_other)),
        8 => client.clone().prop_map(Act::Sync),
        3 => client.clone().prop_map(Act::Beat),
        1 => client.clone().prop_map(Act::Leave),
        1 => client.prop_map(Act::Forget),
        4 => (0..8_000_i64).prop_map(Act::Pass),
    ];
    proptest::collection::vec(act, 0..150)
}

/// What a client believes.
#[derive(Debug, Clone, Default)]
struct Client {
    id: Option<MemberId>,
    generation: u64,
    /// Whom to assign to, where it leads.
    members: Vec<MemberId>,
}

struct World {
    rig: Rig,
    clients: Vec<Client>,
    /// Who asked with which ticket, in which generation.
    asked: BTreeMap<Ticket, (usize, u64)>,
    /// The first leader and the protocol of each generation.
    generations: BTreeMap<u64, (MemberId, Arc<str>)>,
    fresh: u32,
    newest: u64,
}

impl World {
    fn new() -> World {
        World {
            rig: Rig::new(),
            clients: vec![Client::default(); CLIENTS],
            asked: BTreeMap::new(),
            generations: BTreeMap::new(),
            fresh: 0,
            newest: 0,
        }
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Join(client, is_other) => {
                self.fresh += 1;
                let mut request = join(None, &format!("m{}", self.fresh));
                request.member.clone_from(&self.clients[client].id);
                // One of them has an instance, one needs no id first.
                if client == 0 {
                    request.instance = Some(Arc::from("instance"));
                }
                request.takes_id_first = client != 1;
                if is_other {
                    request.protocols.reverse();
                }
                let ticket = self.rig.join(&request);
                self.asked.insert(ticket, (client, self.clients[client].generation));
            }
            Act::Sync(client) => {
                let Client { id: Some(id), generation, members } = self.clients[client].clone() else { return };
                let given = |member: &MemberId| assignment(member, &format!("{generation} {member}"));
                let assignments: Vec<_> = members.iter().map(given).collect();
                let ticket = self.rig.ticket();
                let fence = ClassicFence { member: &id, instance: None, generation: Generation(generation) };
                let (now, answers) = (self.rig.now, &mut self.rig.answers);
                self.rig.group.sync(fence, (Some("consumer"), None), assignments, ticket, now, answers);
                self.asked.insert(ticket, (client, generation));
            }
            Act::Beat(client) => {
                let Client { id: Some(id), generation, .. } = self.clients[client].clone() else { return };
                if self.rig.beat(id.as_str(), generation) == Err(ClassicError::UnknownMember) {
                    self.clients[client].id = None;
                }
            }
            Act::Leave(client) => {
                let Some(id) = self.clients[client].id.take() else { return };
                let _ = self.rig.leave(Some(id.as_str()), None);
            }
            Act::Forget(client) => self.clients[client] = Client::default(),
            Act::Pass(millis) => {
                self.rig.now = self.rig.now.plus_millis(millis);
                self.rig.group.step(self.rig.now, &mut self.rig.answers);
            }
        }
        self.hear();
    }

    /// Clients hear their answers.
    fn hear(&mut self) {
        for answer in std::mem::take(&mut self.rig.answers) {
            let ticket = match &answer {
                ClassicAnswer::Join { ticket, .. } | ClassicAnswer::Sync { ticket, .. } => *ticket,
            };
            let (client, generation) = self.asked.remove(&ticket).expect("an answer to a question, and the only one");
            match answer {
                ClassicAnswer::Join { result: Ok(joined), .. } => self.joined(client, *joined),
                ClassicAnswer::Sync { result: Ok(synced), .. } => {
                    // Whoever joined after the assignment was made, under an instance, has what that instance was given.
                    let text = String::from_utf8(synced.assignment.to_vec()).expect("text");
                    assert!(text.is_empty() || text.starts_with(&format!("{generation} ")), "{text} in {generation}");
                }
                ClassicAnswer::Join { result: Err(ClassicError::MemberIdRequired { member }), .. } => {
                    self.clients[client].id = Some(member);
                }
                ClassicAnswer::Join { result: Err(error), .. } | ClassicAnswer::Sync { result: Err(error), .. } => {
                    if matches!(error, ClassicError::UnknownMember | ClassicError::FencedInstance) {
                        self.clients[client].id = None;
                    }
                }
            }
        }
    }

    fn joined(&mut self, client: usize, joined: Joined) {
        let generation = joined.generation.0;
        assert!(generation >= self.newest, "generation {generation} after {}", self.newest);
        self.newest = generation;
        let known = self.generations.entry(generation).or_insert((joined.leader.clone(), joined.protocol.clone()));
        assert_eq!(known.1, joined.protocol, "generation {generation}");
        if joined.leader != known.0 {
            // Only an instance that came back may lead in place of the one it was.
            assert!(joined.members.is_empty() || client == 0, "{joined:?}, {known:?}");
        }
        let ids: BTreeSet<_> = joined.members.iter().map(|member| &member.member).collect();
        assert_eq!(ids.len(), joined.members.len());
        assert!(joined.members.is_empty() || ids.contains(&joined.member));
        let members = joined.members.into_iter().map(|member| member.member).collect();
        self.clients[client] = Client { id: Some(joined.member), generation, members };
    }
}

proptest! {
    #[test]
    fn whatever_happens(acts in acts()) {
        let mut world = World::new();
        for act in &acts {
            world.act(act);
            prop_assert!(world.rig.group.members().count() <= 2 * CLIENTS + acts.len());
        }
        // In the end nobody waits, and silence empties the group.
        for _ in 0..100 {
            world.act(&Act::Pass(30_000));
        }
        prop_assert!(world.asked.is_empty(), "{:?} were never answered", world.asked);
        prop_assert_eq!(world.rig.group.state(), ClassicState::Empty);
        prop_assert_eq!((world.rig.group.next_due(), world.rig.group.bytes()), (None, 0));
    }
}
