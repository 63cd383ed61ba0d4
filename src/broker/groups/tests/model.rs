//! Random lives of a group: members join, obey late or never, pause, die, come back; topics grow and go; the broker is
//! restarted. One owner per partition and generation, generations only grow, and what need not move stays.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Act {
    Join(usize),
    Leave(usize),
    /// It says what it reads now: what it was last told, as far as it still has it.
    Obey(usize),
    /// It hears its newest assignment and begins to read what is new, but does not say so.
    Hear(usize),
    Pass(i64),
    Topics(u32, u32),
    Restart,
}

const MEMBERS: usize = 5;

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let member = 0..MEMBERS;
    let act = prop_oneof![
        5 => member.clone().prop_map(Act::Join),
        1 => member.clone().prop_map(Act::Leave),
        8 => member.clone().prop_map(Act::Obey),
        4 => member.prop_map(Act::Hear),
        3 => (0..4_000_i64).prop_map(Act::Pass),
        1 => (0..8_u32, 0..3_u32).prop_map(|(one, other)| Act::Topics(one, other)),
        1 => Just(Act::Restart),
    ];
    proptest::collection::vec(act, 0..120)
}

/// What a client believes.
#[derive(Debug, Clone, Default)]
struct Client {
    is_member: bool,
    reads: BTreeMap<TopicPartition, Generation>,
}

struct World {
    rig: Rig,
    clients: Vec<Client>,
    topics: TopicsView,
    /// Who has owned what in which generation.
    owners: BTreeMap<(TopicPartition, Generation), MemberId>,
    generation: Generation,
}

fn name(number: usize) -> String {
    format!("m{number}")
}

impl World {
    fn new() -> World {
        let rig = Rig::new(&[("t", 5), ("u", 2)]);
        let topics = view(&[("t", 5), ("u", 2)]);
        World {
            rig,
            clients: vec![Client::default(); MEMBERS],
            topics,
            owners: BTreeMap::new(),
            generation: Generation(0),
        }
    }

    fn asks_for(number: usize) -> &'static [&'static str] {
        if number == 0 { &["t"] } else { &["*"] }
    }

    fn act(&mut self, act: &Act) {
        let now = at(self.rig.now);
        match *act {
            Act::Join(number) => self.join(number),
            Act::Leave(number) => {
                let left = self.rig.group.leave(&id(&name(number)), now);
                assert!(left.is_ok() || !self.knows(number));
                self.clients[number] = Client::default();
            }
            Act::Obey(number) => {
                let assignment = self.rig.group.assignment(&id(&name(number)));
                let client = &mut self.clients[number];
                client.reads.retain(|read, since| {
                    assignment.assigned.contains(&Assigned { partition: read.clone(), since: *since })
                });
                let reads = client.reads.keys().cloned().collect();
                match self.rig.group.heartbeat(&id(&name(number)), Some(&reads), now) {
                    Ok(told) => self.take(number, &told.expect("it said what it reads")),
                    Err(error) => {
                        assert!(matches!(error, GroupError::UnknownMember { .. }), "{error}");
                        self.clients[number] = Client::default();
                    }
                }
            }
            Act::Hear(number) => {
                let assignment = self.rig.group.assignment(&id(&name(number)));
                if self.knows(number) {
                    self.take(number, &assignment);
                }
            }
            Act::Pass(millis) => {
                self.rig.now += millis;
                self.rig.group.step(at(self.rig.now));
            }
            Act::Topics(one, other) => {
                self.topics = view(&[("t", one), ("u", other)]);
                self.rig.group.set_topics(&self.topics, now);
            }
            Act::Restart => {
                let until = Some(at(self.rig.now + SESSION_MS));
                let above = Generation(self.generation.0 + 1_000);
                self.rig.group = Group::new(above, Arc::clone(&self.topics), until);
            }
        }
    }

    fn knows(&self, number: usize) -> bool {
        self.rig.group.members().contains_key(&id(&name(number)))
    }

    fn join(&mut self, number: usize) {
        let claim = |(partition, since): (&TopicPartition, &Generation)| Assigned {
            partition: partition.clone(),
            since: *since,
        };
        let claims = self.clients[number].reads.iter().map(claim).collect();
        let assignment = self.rig.join(&name(number), World::asks_for(number), claims);
        let client = &mut self.clients[number];
        client.is_member = true;
        client
            .reads
            .retain(|read, since| assignment.assigned.contains(&Assigned { partition: read.clone(), since: *since }));
        self.take(number, &assignment);
    }

    /// Begins to read what is new; what is to go it reads on until it says that it has released it.
    fn take(&mut self, number: usize, assignment: &Assignment) {
        for Assigned { partition, since } in &assignment.assigned {
            self.clients[number].reads.insert(partition.clone(), *since);
        }
    }

    fn check(&mut self) {
        let generation = self.rig.group.generation();
        assert!(generation >= self.generation, "generations went back");
        self.generation = generation;
        for (partition, owner) in self.rig.group.owners() {
            let Some(owner) = owner else { continue };
            let before = self.owners.insert((partition.clone(), generation), owner.clone());
            assert!(before.is_none_or(|before| before == *owner), "{partition} had two owners in {generation}");
        }
        // Whoever is allowed to commit is the one owner.
        for (partition, owner) in self.rig.group.owners() {
            for (number, client) in self.clients.iter().enumerate() {
                if let Some(since) = client.reads.get(partition)
                    && self.rig.group.check_owner(&id(&name(number)), *since, partition).is_ok()
                {
                    assert_eq!(owner, Some(&id(&name(number))));
                }
            }
        }
    }

    /// Everybody obeys until nothing changes any more: then all is read, in equal shares.
    fn settle(&mut self) {
        self.rig.now += SESSION_MS * 2;
        for number in 0..MEMBERS {
            if self.knows(number) {
                self.rig.group.heartbeat(&id(&name(number)), None, at(self.rig.now)).unwrap();
            }
        }
        self.rig.group.step(at(self.rig.now));
        for _ in 0..3 {
            (0..MEMBERS)
                .filter(|number| self.rig.group.members().contains_key(&id(&name(*number))))
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|number| self.act(&Act::Obey(number)));
            self.check();
        }
        assert!(!self.rig.group.is_rebalancing());
        let members: Vec<_> = (0..MEMBERS).filter(|number| self.knows(*number)).collect();
        for (topic, seen) in &*self.topics {
            let is_wanted = members.iter().any(|number| *number != 0 || topic.as_str() == "t");
            for index in (0..seen.partitions).filter(|_| is_wanted) {
                let readers = members
                    .iter()
                    .filter(|number| self.clients[**number].reads.contains_key(&of(topic.as_str(), index)));
                assert_eq!(readers.count(), 1, "{topic}:{index}");
            }
        }
    }
}

proptest! {
    #[test]
    fn one_reads_and_what_need_not_move_stays(acts in acts()) {
        let mut world = World::new();
        for act in &acts {
            world.act(act);
            world.check();
        }
        world.settle();
        // One more joins: it gets its share, and nothing else moves.
        let loads: Vec<usize> = (0..MEMBERS).filter(|n| world.knows(*n)).map(|n| world.clients[n].reads.len()).collect();
        let before: BTreeMap<_, _> = world.rig.group.owners().map(|(of, owner)| (of.clone(), owner.cloned())).collect();
        world.rig.join("z", &["*"], Vec::new());
        for _ in 0..2 {
            for number in (0..MEMBERS).filter(|number| world.knows(*number)).collect::<Vec<_>>() {
                world.act(&Act::Obey(number));
            }
        }
        let after: BTreeMap<_, _> = world.rig.group.owners().map(|(of, owner)| (of.clone(), owner.cloned())).collect();
        let moved = before.iter().filter(|(of, owner)| owner.is_some() && after[*of] != **owner);
        for (partition, _) in moved.clone() {
            prop_assert_eq!(after[partition].clone(), Some(id("z")), "{} moved to one that was there", partition);
        }
        let total: usize = loads.iter().sum();
        prop_assert!(moved.count() <= total.div_ceil(loads.len() + 1).max(1));
    }
}
