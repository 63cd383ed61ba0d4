//! The names: directories and files of the in-memory file system, with what of them is durable and the unsynced changes
//! in between. Errors are those that Linux gives.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::image::{Image, Moment};
use super::power::Survival;
use super::random::Random;
use crate::disk::DirEntry;

/// A file or directory under all its names; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(usize);

/// The root directory.
pub(super) const ROOT: NodeId = NodeId(0);

/// What a [`NodeId`] stands for. Shared between copies of a tree until one changes it.
#[derive(Debug, Clone)]
pub(super) enum Node {
    File(Arc<Image>),
    Dir(Arc<Directory>),
    /// No name led to it after a power cut.
    Gone,
}

/// A change of one directory's names, which survives as a whole or not at all.
#[derive(Debug, Clone)]
struct Change {
    moment: Moment,
    /// A sync that covered it failed; no later sync makes it durable.
    lost: bool,
    /// Each name with what it refers to afterwards.
    effects: Vec<(String, Option<NodeId>)>,
}

/// A directory's names, durable and current.
#[derive(Debug, Clone, Default)]
pub(super) struct Directory {
    durable: BTreeMap<String, NodeId>,
    current: BTreeMap<String, NodeId>,
    /// Unsynced changes, oldest first.
    changes: Vec<Change>,
}

impl Directory {
    fn change(&mut self, moment: Moment, effects: Vec<(String, Option<NodeId>)>) {
        set_all(&mut self.current, &effects);
        self.changes.push(Change { moment, lost: false, effects });
    }

    fn finish_sync(&mut self, ceiling: Moment) {
        let mut lost: Vec<Change> = Vec::new();
        let settled = self.changes.partition_point(|change| change.moment <= ceiling);
        for change in self.changes.drain(..settled) {
            if change.lost {
                lost.push(change);
                continue;
            }
            set_all(&mut self.durable, &change.effects);
            for (name, _) in &change.effects {
                for earlier in &mut lost {
                    earlier.effects.retain(|(lost_name, _)| lost_name != name);
                }
            }
        }
        self.changes.splice(..0, lost);
    }

    fn lose(&mut self, ceiling: Moment) {
        for change in self.changes.iter_mut().filter(|change| change.moment <= ceiling) {
            change.lost = true;
        }
    }

    /// The directory as found after a power cut: of each name's changes the first few.
    fn survivor(&self, survival: Survival, random: &mut Random) -> Self {
        let mut names = self.durable.clone();
        let mut lost_names = BTreeSet::new();
        for change in &self.changes {
            let in_order = !change.effects.iter().any(|(name, _)| lost_names.contains(name));
            if in_order && survival.change_kept(change.moment, random) {
                set_all(&mut names, &change.effects);
            } else {
                lost_names.extend(change.effects.iter().map(|(name, _)| name));
            }
        }
        Self { current: names.clone(), durable: names, changes: Vec::new() }
    }
}

fn set_all(names: &mut BTreeMap<String, NodeId>, effects: &[(String, Option<NodeId>)]) {
    for (name, node) in effects {
        match node {
            Some(node) => names.insert(name.clone(), *node),
            None => names.remove(name),
        };
    }
}

/// The whole file system.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    /// A file system with nothing but its root.
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node::Dir(Arc::default())] }
    }

    /// The node a path leads to.
    pub(super) fn find(&self, path: &Path) -> io::Result<NodeId> {
        let mut node = ROOT;
        for name in names_of(path)? {
            node = *self.dir(node)?.current.get(&name).ok_or(ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    /// A file's bytes.
    pub(super) fn file(&self, node: NodeId) -> io::Result<&Image> {
        match &self.nodes[node.0] {
            Node::File(image) => Ok(image),
            Node::Dir(_) => Err(ErrorKind::IsADirectory.into()),
            Node::Gone => Err(ErrorKind::NotFound.into()),
        }
    }

    /// A file's bytes, to change.
    pub(super) fn file_mut(&mut self, node: NodeId) -> io::Result<&mut Image> {
        match &mut self.nodes[node.0] {
            Node::File(image) => Ok(Arc::make_mut(image)),
            Node::Dir(_) => Err(ErrorKind::IsADirectory.into()),
            Node::Gone => Err(ErrorKind::NotFound.into()),
        }
    }

    /// Makes a new empty file of a name that is not there.
    pub(super) fn create_file(&mut self, moment: Moment, path: &Path) -> io::Result<NodeId> {
        let (dir, name) = self.place(path)?;
        let node = self.add(Node::File(Arc::default()));
        self.dir_mut(dir)?.change(moment, vec![(name, Some(node))]);
        Ok(node)
    }

    pub(super) fn create_dir_all(&mut self, moment: Moment, path: &Path) -> io::Result<()> {
        let mut node = ROOT;
        for name in names_of(path)? {
            if let Some(next) = self.dir(node)?.current.get(&name).copied() {
                node = next;
                continue;
            }
            let next = self.add(Node::Dir(Arc::default()));
            self.dir_mut(node)?.change(moment, vec![(name, Some(next))]);
            node = next;
        }
        // Like mkdir, say of a file in the last place that it exists.
        if self.is_dir(node) { Ok(()) } else { Err(ErrorKind::AlreadyExists.into()) }
    }

    pub(super) fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let names = &self.dir(self.find(path)?)?.current;
        let entry = |(name, &node): (&String, &NodeId)| DirEntry { name: name.clone(), is_dir: self.is_dir(node) };
        Ok(names.iter().map(entry).collect())
    }

    pub(super) fn rename(&mut self, moment: Moment, from: &Path, to: &Path) -> io::Result<()> {
        let (from_dir, from_name) = self.place(from)?;
        let (to_dir, to_name) = self.place(to)?;
        let node = *self.dir(from_dir)?.current.get(&from_name).ok_or(ErrorKind::NotFound)?;
        let is_dir = self.is_dir(node);
        if is_dir && names_of(to)?.starts_with(&names_of(from)?) && names_of(to)? != names_of(from)? {
            return Err(ErrorKind::InvalidInput.into());
        }
        if let Some(&replaced) = self.dir(to_dir)?.current.get(&to_name) {
            if replaced == node {
                return Ok(());
            }
            match (is_dir, self.dir(replaced)) {
                (false, Ok(_)) => return Err(ErrorKind::IsADirectory.into()),
                (true, Err(_)) => return Err(ErrorKind::NotADirectory.into()),
                (true, Ok(dir)) if !dir.current.is_empty() => {
                    return Err(ErrorKind::DirectoryNotEmpty.into());
                }
                (true, Ok(_)) | (false, Err(_)) => {}
            }
        }
        if from_dir == to_dir {
            self.dir_mut(from_dir)?.change(moment, vec![(from_name, None), (to_name, Some(node))]);
        } else {
            self.dir_mut(from_dir)?.change(moment, vec![(from_name, None)]);
            self.dir_mut(to_dir)?.change(moment, vec![(to_name, Some(node))]);
        }
        Ok(())
    }

    pub(super) fn remove_file(&mut self, moment: Moment, path: &Path) -> io::Result<()> {
        let (dir, name) = self.place(path)?;
        self.file(*self.dir(dir)?.current.get(&name).ok_or(ErrorKind::NotFound)?)?;
        self.dir_mut(dir)?.change(moment, vec![(name, None)]);
        Ok(())
    }

    pub(super) fn remove_dir_all(&mut self, moment: Moment, path: &Path) -> io::Result<()> {
        let (dir, name) = self.place(path)?;
        let node = *self.dir(dir)?.current.get(&name).ok_or(ErrorKind::NotFound)?;
        self.empty(moment, node)?;
        self.dir_mut(dir)?.change(moment, vec![(name, None)]);
        Ok(())
    }

    /// Removes everything in a directory, name by name as the operating system must.
    fn empty(&mut self, moment: Moment, node: NodeId) -> io::Result<()> {
        for (name, child) in self.dir(node)?.current.clone() {
            if self.is_dir(child) {
                self.empty(moment, child)?;
            }
            self.dir_mut(node)?.change(moment, vec![(name, None)]);
        }
        Ok(())
    }

    /// Makes a directory's names up to `ceiling` durable.
    pub(super) fn finish_sync_dir(&mut self, node: NodeId, ceiling: Moment) -> io::Result<()> {
        self.dir_mut(node).map(|dir| dir.finish_sync(ceiling))
    }

    /// A directory's sync failed: its changes up to `ceiling` are uncertain for ever.
    pub(super) fn lose_dir(&mut self, node: NodeId, ceiling: Moment) -> io::Result<()> {
        self.dir_mut(node).map(|dir| dir.lose(ceiling))
    }

    /// Every file that a name leads to, by path.
    pub(super) fn files(&self) -> BTreeMap<PathBuf, NodeId> {
        let mut files = BTreeMap::new();
        let mut rest = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, node)) = rest.pop() {
            match &self.nodes[node.0] {
                Node::File(_) => _ = files.insert(path, node),
                Node::Dir(dir) => rest.extend(dir.current.iter().map(|(name, &node)| (path.join(name), node))),
                Node::Gone => {}
            }
        }
        files
    }

    /// The bytes of all files that a name leads to, each counted once.
    pub(super) fn used_bytes(&self) -> u64 {
        let nodes: BTreeSet<NodeId> = self.files().into_values().collect();
        nodes.into_iter().filter_map(|node| self.file(node).ok()).map(|image| image.len() as u64).sum()
    }

    /// Puts a file there as if it had always been, with its directories.
    pub(super) fn place_durably(&mut self, path: &Path, bytes: Vec<u8>) -> io::Result<()> {
        let mut names = names_of(path)?;
        let last = names.pop().ok_or(ErrorKind::InvalidInput)?;
        let mut node = ROOT;
        for name in names {
            let next = self.dir(node)?.current.get(&name).copied();
            let next = next.unwrap_or_else(|| self.add(Node::Dir(Arc::default())));
            self.settle(node, name, next)?;
            node = next;
        }
        let file = Node::File(Arc::new(Image::durable(Arc::new(bytes))));
        let existing = self.dir(node)?.current.get(&last).copied();
        let id = match existing {
            Some(id) => {
                self.file(id)?;
                self.nodes[id.0] = file;
                id
            }
            None => self.add(file),
        };
        self.settle(node, last, id)
    }

    /// Makes one name durable and drops its unsynced changes.
    fn settle(&mut self, dir: NodeId, name: String, node: NodeId) -> io::Result<()> {
        let dir = self.dir_mut(dir)?;
        for change in &mut dir.changes {
            change.effects.retain(|(changed, _)| *changed != name);
        }
        dir.current.insert(name.clone(), node);
        dir.durable.insert(name, node);
        Ok(())
    }

    /// The file system as found after a power cut; `draw` chooses what survives of one file or directory.
    pub(super) fn survivor(&self, random: &mut Random, draw: impl Fn(&mut Random) -> Survival) -> Self {
        let mut tree = Self { nodes: vec![Node::Gone; self.nodes.len()] };
        let mut rest = vec![ROOT];
        while let Some(node) = rest.pop() {
            if !matches!(tree.nodes[node.0], Node::Gone) {
                continue;
            }
            let survival = draw(random);
            tree.nodes[node.0] = match &self.nodes[node.0] {
                Node::File(image) => Node::File(Arc::new(image.survivor(survival, random))),
                Node::Dir(dir) => {
                    let dir = dir.survivor(survival, random);
                    rest.extend(dir.current.values());
                    Node::Dir(Arc::new(dir))
                }
                Node::Gone => Node::Gone,
            };
        }
        tree
    }

    fn dir(&self, node: NodeId) -> io::Result<&Directory> {
        match &self.nodes[node.0] {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(ErrorKind::NotADirectory.into()),
            Node::Gone => Err(ErrorKind::NotFound.into()),
        }
    }

    fn dir_mut(&mut self, node: NodeId) -> io::Result<&mut Directory> {
        match &mut self.nodes[node.0] {
            Node::Dir(dir) => Ok(Arc::make_mut(dir)),
            Node::File(_) => Err(ErrorKind::NotADirectory.into()),
            Node::Gone => Err(ErrorKind::NotFound.into()),
        }
    }

    fn is_dir(&self, node: NodeId) -> bool {
        matches!(self.nodes[node.0], Node::Dir(_))
    }

    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }

    /// The directory that a path's last name stands in, and that name.
    fn place(&self, path: &Path) -> io::Result<(NodeId, String)> {
        let mut names = names_of(path)?;
        let last = names.pop().ok_or(ErrorKind::InvalidInput)?;
        let mut node = ROOT;
        for name in names {
            node = *self.dir(node)?.current.get(&name).ok_or(ErrorKind::NotFound)?;
        }
        self.dir(node)?;
        Ok((node, last))
    }
}

/// The one form of a path under which rules and counts know it: from the root, whether or not it was given so.
pub(super) fn normal(path: &Path) -> PathBuf {
    let names = path.components().filter(|component| matches!(component, Component::Normal(_)));
    Path::new("/").join(names.collect::<PathBuf>())
}

fn names_of(path: &Path) -> io::Result<Vec<String>> {
    if path.as_os_str().is_empty() {
        return Err(ErrorKind::NotFound.into());
    }
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_str().ok_or(ErrorKind::InvalidInput)?.to_owned()),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(ErrorKind::InvalidInput.into());
            }
        }
    }
    Ok(names)
}
