//! Generations grow, whatever happens: random lives of members, deaths of the broker at any moment.

use super::*;

/// A small generator of chance, from a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

struct Lives {
    rig: Rig,
    chance: Chance,
    /// The highest generation anybody was told.
    told: Generation,
    joins: Vec<Slip<Joined>>,
    cuts: u64,
}

impl Lives {
    /// Members see what was told; what is told of a new partition is above all that was told to a broker before.
    fn look(&mut self, floor: Generation) {
        let told = &mut self.told;
        self.joins.retain(|joined| match joined.lock().take() {
            Some(Ok(Joined { assignment, .. })) => {
                assert!(assignment.generation > floor, "{assignment:?} after {floor} was told before the restart");
                *told = (*told).max(assignment.generation);
                false
            }
            Some(Err(error)) => panic!("{error}"),
            None => true,
        });
    }

    fn run(&mut self) {
        let mut floor = Generation(0);
        for _ in 0..400 {
            let member = ["a", "b", "c"][usize::try_from(self.chance.below(3)).unwrap()];
            match self.chance.below(16) {
                0..=3 => self.joins.push(self.rig.begin_join("g", member)),
                4..=6 => drop(self.rig.broker.leave_group(&"g".into(), &MemberId::new(member), at(0))),
                7 => {
                    self.rig.broker.step(at(0));
                }
                8 => {
                    self.cuts += 1;
                    self.rig = open(&self.rig.disk.power_cut(self.cuts));
                    self.joins.clear();
                    floor = self.told;
                }
                _ => {
                    self.rig.work_once();
                }
            }
            self.look(floor);
        }
    }
}

/// What the log says of a group is written by joins that begin it, by members that leave it and by those whose sessions are
/// longer, some of it on its way when the power goes. A generation given twice would let a member of one life commit as the
/// owner of another.
#[test]
fn generations_grow_over_power_cuts_at_any_moment() {
    for seed in 1..60_u64 {
        let chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut lives = Lives { rig: started(), chance, told: Generation(0), joins: Vec::new(), cuts: 0 };
        lives.run();
    }
}
