//! One file's image against a naive model: with every choice fixed, what survives of a random history is known to the
//! byte.

use super::super::image::{Image, Moment};
use super::super::power::Survival;
use super::*;
use crate::disk::faulty::Random;

const FILE_BYTES_MAX: u64 = 3000;

fn below(random: &mut Random, bound: u64) -> usize {
    usize::try_from(random.below(bound)).unwrap()
}

fn survivor(image: &Image, survival: Survival, seed: u64) -> Vec<u8> {
    image.survivor(survival, &mut Random::new(seed)).current().to_vec()
}

/// Writes or sets the length, of the image and of the model alike.
fn change(image: &mut Image, model: &mut Vec<u8>, moment: Moment, random: &mut Random) {
    let position = below(random, FILE_BYTES_MAX);
    if random.chance(40) {
        image.set_len(moment, position);
        model.resize(position, 0);
        return;
    }
    let byte = u8::try_from(random.below(255)).unwrap() + 1;
    let bytes = vec![byte; below(random, 1200)];
    let limit = bytes.len();
    image.write(moment, &[IoSlice::new(&bytes)], position, limit);
    if limit > 0 {
        model.resize(model.len().max(position + limit), 0);
        model[position..position + limit].copy_from_slice(&bytes);
    }
}

#[test]
fn fixed_choices_leave_what_they_say() {
    for seed in 0..2000 {
        let mut random = Random::new(seed);
        let (mut image, mut model) = (Image::default(), Vec::new());
        let mut now = 0;
        for _ in 0..10 {
            let synced_at = now;
            // As many changes as a sector keeps versions: with more, the oldest choices are no longer open. A sector
            // that is cut off and covered again takes two versions at once.
            let mut states = vec![model.clone()];
            for _ in 0..1 + random.below(2) {
                now += 1;
                change(&mut image, &mut model, Moment(now), &mut random);
                states.push(model.clone());
            }
            assert_eq!(image.current(), model, "seed {seed}");
            assert_eq!(survivor(&image, Survival::All, seed), model, "seed {seed}");
            assert_eq!(survivor(&image, Survival::None, seed), states[0], "seed {seed}");
            for (state, moment) in states.iter().zip(synced_at..) {
                assert_eq!(&survivor(&image, Survival::Until(Moment(moment)), seed), state, "seed {seed}");
            }
            let began = below(&mut random, states.len() as u64);
            let ceiling = Moment(synced_at + began as u64);
            image.finish_sync(ceiling);
            assert_eq!(survivor(&image, Survival::None, seed), states[began], "seed {seed}, partial sync");
            image.finish_sync(Moment(now));
            assert!(image.is_clean());
            assert_eq!(survivor(&image, Survival::None, seed), model, "seed {seed}, sync");
        }
    }
}
