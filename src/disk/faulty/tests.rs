//! The model, piece by piece. Files here are whole sectors of one letter each (`0` for zeros), so that a disk is told in
//! a line: `d/f=AB g=` is a file of two sectors and an empty one.

mod cuts;
mod images;
mod orders;

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use super::image::SECTOR_BYTES;
use super::{FaultyDisk, OpenMode};
use crate::disk::{Disk, DiskFile};

const SEEDS: u64 = 2000;

/// The bytes that `letters` stand for.
fn sectors(letters: &str) -> Vec<u8> {
    let byte = |letter| if letter == b'0' { 0 } else { letter };
    letters.bytes().flat_map(|letter| [byte(letter); SECTOR_BYTES]).collect()
}

/// Every file of the disk with its sectors' letters; `?` for a sector of several bytes, small for a last one
/// that is not whole.
fn describe(disk: &FaultyDisk) -> String {
    let mut files = Vec::new();
    for path in disk.paths() {
        let bytes = disk.read_all(&path).unwrap();
        let letter = |sector: &[u8]| match sector[0] {
            first if sector.iter().any(|byte| *byte != first) => '?',
            0 => '0',
            first if sector.len() < SECTOR_BYTES => char::from(first.to_ascii_lowercase()),
            first => char::from(first),
        };
        let letters: String = bytes.chunks(SECTOR_BYTES).map(letter).collect();
        files.push(format!("{}={letters}", path.strip_prefix("/").unwrap().display()));
    }
    files.join(" ")
}

/// Everything that a power cut now may leave.
fn outcomes(disk: &FaultyDisk) -> BTreeSet<String> {
    let disk = disk.fork();
    (0..SEEDS).map(|seed| describe(&disk.power_cut(seed))).collect()
}

fn set(lines: &[&str]) -> BTreeSet<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

fn open(disk: &FaultyDisk, path: &str, mode: OpenMode) -> Arc<dyn DiskFile> {
    disk.open(Path::new(path), mode).unwrap()
}

/// Writes sectors from the given one on.
fn write(file: &Arc<dyn DiskFile>, sector: usize, letters: &str) -> io::Result<()> {
    file.write_at(&[IoSlice::new(&sectors(letters))], (sector * SECTOR_BYTES) as u64)
}

/// A disk with these files, durable: `f=AB d/g=C`.
fn disk_of(files: &str) -> FaultyDisk {
    let disk = FaultyDisk::new();
    for file in files.split_whitespace() {
        let (path, letters) = file.split_once('=').unwrap();
        disk.write_all(path, &sectors(letters)).unwrap();
    }
    disk
}

/// Carries out a script, one step a word, on files opened as they are first used:
/// `w:f:1:AB` writes sectors, `s:f` syncs, `l:f:3` sets the length in sectors, `h:f:3` in half sectors, `a:f:3` allocates, `c:f` creates,
/// `m:f:g` renames, `r:f` removes, `R:d` removes a directory, `D:d` creates one, `S:d` syncs one. A `!` at the end: the
/// step must fail.
fn run(disk: &FaultyDisk, script: &str) {
    for word in script.split_whitespace() {
        let (step, must_fail) = word.strip_suffix('!').map_or((word, false), |step| (step, true));
        let outcome = run_step(disk, &step.split(':').collect::<Vec<_>>());
        assert_eq!(outcome.is_err(), must_fail, "{word} of {script}: {outcome:?}");
    }
}

fn run_step(disk: &FaultyDisk, step: &[&str]) -> io::Result<()> {
    let path = Path::new(step[1]);
    let file = || disk.open(path, OpenMode::ReadWrite);
    let number = |at: usize| step[at].parse::<usize>().unwrap();
    match step[0] {
        "w" => write(&file()?, number(2), step[3]),
        "s" => file()?.sync_data(),
        "l" => file()?.set_len((number(2) * SECTOR_BYTES) as u64),
        "h" => file()?.set_len((number(2) * SECTOR_BYTES / 2) as u64),
        "a" => file()?.allocate((number(2) * SECTOR_BYTES) as u64),
        "c" => disk.open(path, OpenMode::CreateOrEmpty).map(drop),
        "m" => disk.rename(path, Path::new(step[2])),
        "r" => disk.remove_file(path),
        "R" => disk.remove_dir_all(path),
        "D" => disk.create_dir_all(path),
        "S" => disk.sync_dir(path),
        other => panic!("no such step: {other}"),
    }
}
