//! A group as a broker keeps it, of one topic: who owns which partition, and who is to.

use std::collections::BTreeMap;

use serde_json::json;

/// A group of members.
#[derive(Debug, Default)]
pub(crate) struct Group {
    generation: u64,
    joined: usize,
    /// The members in the order of their coming, and whether they read the topic.
    members: Vec<(String, bool)>,
    owners: BTreeMap<usize, (String, u64)>,
    partitions: usize,
}

impl Group {
    /// Takes a member: a new one, or one that comes back or reads something else.
    pub(super) fn join(
        &mut self,
        member: Option<&str>,
        reads: bool,
        partitions: usize,
    ) -> Result<String, &'static str> {
        self.partitions = partitions;
        let member = match member {
            Some(member) => {
                self.members.iter_mut().find(|(known, _)| known == member).ok_or("unknown_member")?.1 = reads;
                member.to_owned()
            }
            None => {
                self.joined += 1;
                let member = format!("member-{}", self.joined);
                self.members.push((member.clone(), reads));
                member
            }
        };
        self.give();
        Ok(member)
    }

    /// A sign of life; what is owned, is to go and is not read any more changes hands.
    pub(super) fn heartbeat(&mut self, member: &str, owned: Option<Vec<usize>>) -> Result<String, &'static str> {
        if !self.members.iter().any(|(known, _)| known == member) {
            return Err("unknown_member");
        }
        let Some(owned) = owned else { return Ok(String::new()) };
        for partition in 0..self.partitions {
            let is_owner = self.owners.get(&partition).is_some_and(|(owner, _)| owner == member);
            if is_owner && self.target(partition).as_deref() != Some(member) && !owned.contains(&partition) {
                self.owners.remove(&partition);
            }
        }
        self.give();
        Ok(self.view(member))
    }

    /// Ends a membership, whether the member knows or not.
    pub(crate) fn leave(&mut self, member: &str) {
        self.members.retain(|(known, _)| known != member);
        self.owners.retain(|_, (owner, _)| owner != member);
        self.give();
    }

    /// The members that read.
    pub(crate) fn members(&self) -> Vec<String> {
        self.members.iter().map(|(member, _)| member.clone()).collect()
    }

    fn target(&self, partition: usize) -> Option<String> {
        let readers: Vec<&String> = self.members.iter().filter(|(_, reads)| *reads).map(|(member, _)| member).collect();
        let at = partition % readers.len().max(1);
        readers.get(at).map(|member| (*member).clone())
    }

    fn give(&mut self) {
        for partition in 0..self.partitions {
            if let (false, Some(target)) = (self.owners.contains_key(&partition), self.target(partition)) {
                self.generation += 1;
                self.owners.insert(partition, (target, self.generation));
            }
        }
    }

    /// What a member may read.
    pub(super) fn view(&self, member: &str) -> String {
        let own = |(partition, (owner, since)): (&usize, &(String, u64))| {
            let is_its_own = owner == member && self.target(*partition).as_deref() == Some(member);
            is_its_own.then(|| json!({ "topic": "t", "partition": partition, "generation": since }))
        };
        let assigned: Vec<_> = self.owners.iter().filter_map(own).collect();
        json!({ "generation": self.generation, "assigned": assigned }).to_string()
    }

    pub(super) fn owns(&self, member: &str, partition: usize, since: u64) -> Result<(), &'static str> {
        if !self.members.iter().any(|(known, _)| known == member) {
            return Err("unknown_member");
        }
        let (owner, given) = self.owners.get(&partition).ok_or("fenced_member")?;
        if owner == member && *given <= since { Ok(()) } else { Err("fenced_member") }
    }
}
