//! Topics of a request, each with a name and an array of items, walked where they lie. Produce and Fetch are made of them.
//!
//! A request is walked whole once, which proves it, and then again by iterators, which hold nothing either.

use super::wire::{Malformed, Reader};

/// Reads one item of a topic's array.
pub(super) type ReadItem<P> = fn(&mut Reader<'_>, i16) -> Result<P, Malformed>;

/// Topics one after another.
#[derive(Debug, Clone)]
pub(super) struct Topics<'a, P> {
    reader: Reader<'a>,
    version: i16,
    read: ReadItem<P>,
    left: usize,
}

/// One topic.
#[derive(Debug, Clone)]
pub(super) struct TopicItems<'a, P> {
    pub(super) name: &'a str,
    pub(super) items: Items<'a, P>,
}

/// The items of a topic.
#[derive(Debug, Clone)]
pub(super) struct Items<'a, P> {
    reader: Reader<'a>,
    version: i16,
    read: ReadItem<P>,
    left: usize,
}

/// What walking all topics found.
#[derive(Debug)]
pub(super) struct Walked<'a> {
    pub(super) topics: usize,
    pub(super) items: usize,
    /// Stands behind them.
    pub(super) rest: Reader<'a>,
}

impl<'a, P> Topics<'a, P> {
    /// Begins where the array of topics does.
    pub(super) fn begin(mut reader: Reader<'a>, version: i16, read: ReadItem<P>) -> Result<Topics<'a, P>, Malformed> {
        let left = reader.count()?;
        Ok(Topics { reader, version, read, left })
    }

    /// Walks them all.
    pub(super) fn walk(mut self) -> Result<Walked<'a>, Malformed> {
        let (mut topics, mut items) = (0, 0);
        while let Some(topic) = self.step()? {
            topics += 1;
            items += topic.items.left;
        }
        Ok(Walked { topics, items, rest: self.reader })
    }

    fn step(&mut self) -> Result<Option<TopicItems<'a, P>>, Malformed> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let name = self.reader.text()?;
        let left = self.reader.count()?;
        let items = Items { reader: self.reader.clone(), version: self.version, read: self.read, left };
        for _ in 0..left {
            (self.read)(&mut self.reader, self.version)?;
        }
        self.reader.end_of_structure()?;
        Ok(Some(TopicItems { name, items }))
    }
}

impl<'a, P> Iterator for Topics<'a, P> {
    type Item = TopicItems<'a, P>;

    fn next(&mut self) -> Option<TopicItems<'a, P>> {
        self.step().ok().flatten()
    }
}

impl<P> Items<'_, P> {
    /// How many are still to come.
    pub(super) fn left(&self) -> usize {
        self.left
    }
}

impl<P> Iterator for Items<'_, P> {
    type Item = P;

    fn next(&mut self) -> Option<P> {
        self.left = self.left.checked_sub(1)?;
        (self.read)(&mut self.reader, self.version).ok()
    }
}
