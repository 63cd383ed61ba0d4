//! One conformance test for both disks, so that the faulty twin and the real disk agree where neither fails; and the
//! whole-file helpers on top.

use std::io::{self, ErrorKind, IoSlice};
use std::path::Path;

use super::faulty::{FaultyDisk, OpKind, Rule};
use super::{Disk, DiskFile, OpenMode, RealDisk, create_dir_durably, read_file, replace_file};

/// Runs `check` on a fresh directory of each disk.
fn on_both(check: impl Fn(&dyn Disk, &Path)) {
    let directory = tempfile::tempdir().unwrap();
    check(&RealDisk, directory.path());
    let faulty = FaultyDisk::new();
    faulty.create_dir_all(Path::new("/tmp/root")).unwrap();
    check(&faulty, Path::new("/tmp/root"));
}

fn kind<T>(outcome: io::Result<T>) -> Result<T, ErrorKind> {
    outcome.map_err(|error| error.kind())
}

fn write(file: &dyn DiskFile, bytes: &[u8], position: u64) {
    file.write_at(&[IoSlice::new(bytes)], position).unwrap();
}

fn content(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    read_file(disk, path, 1 << 20).unwrap()
}

/// The names in a directory, those of directories with a `/` after them.
fn list(disk: &dyn Disk, path: &Path) -> String {
    let entries = disk.read_dir(path).unwrap();
    let names = entries.into_iter().map(|entry| if entry.is_dir { entry.name + "/" } else { entry.name });
    names.collect::<Vec<_>>().join(" ")
}

#[test]
fn files_open_as_the_mode_says() {
    use OpenMode::{CreateNew, CreateOrEmpty, Read, ReadWrite};
    on_both(|disk, root| {
        let cases = [
            (Read, "absent", Err(ErrorKind::NotFound)),
            (ReadWrite, "absent", Err(ErrorKind::NotFound)),
            (CreateNew, "absent", Ok(0)),
            (CreateOrEmpty, "absent", Ok(0)),
            (Read, "there", Ok(5)),
            (ReadWrite, "there", Ok(5)),
            (CreateNew, "there", Err(ErrorKind::AlreadyExists)),
            (CreateOrEmpty, "there", Ok(0)),
            (CreateNew, "no/dir", Err(ErrorKind::NotFound)),
            (CreateNew, "there/below", Err(ErrorKind::NotADirectory)),
            (ReadWrite, "dir", Err(ErrorKind::IsADirectory)),
            (CreateNew, "dir", Err(ErrorKind::AlreadyExists)),
            (CreateOrEmpty, "dir", Err(ErrorKind::IsADirectory)),
        ];
        for (mode, name, expected) in cases {
            disk.create_dir_all(&root.join("dir")).unwrap();
            write(&*disk.open(&root.join("there"), CreateOrEmpty).unwrap(), b"bytes", 0);
            let found = disk.open(&root.join(name), mode).and_then(|file| file.len());
            assert_eq!(kind(found), expected, "{mode:?} {name} on {disk:?}");
            let _ = disk.remove_file(&root.join("absent"));
        }
        let file = disk.open(&root.join("there"), Read).unwrap();
        let refused = file.write_at(&[IoSlice::new(b"x")], 0).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(rustix::io::Errno::BADF.raw_os_error()));
    });
}

#[test]
fn files_read_back_what_was_written() {
    on_both(|disk, root| {
        let file = disk.open(&root.join("f"), OpenMode::CreateNew).unwrap();
        assert!(file.is_empty().unwrap());
        file.write_at(&[], 7).unwrap();
        file.write_at(&[IoSlice::new(b"")], 7).unwrap();
        assert!(file.is_empty().unwrap(), "no bytes, no growth");
        file.write_at(&[IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cd")], 3).unwrap();
        assert_eq!(content(disk, &root.join("f")), b"\0\0\0abcd");
        let cases: [(u64, usize, &[u8]); 5] =
            [(0, 4, b"\0\0\0a"), (4, 99, b"bcd"), (7, 5, b""), (99, 5, b""), (1, 0, b"")];
        for (position, bytes, expected) in cases {
            let mut buf = vec![b'.'; bytes];
            let count = file.read_at(&mut buf, position).unwrap();
            assert_eq!(&buf[..count], expected);
        }
        for (len, expected) in [(5, &b"\0\0\0ab"[..]), (7, b"\0\0\0ab\0\0"), (7, b"\0\0\0ab\0\0")] {
            file.set_len(len).unwrap();
            assert_eq!(content(disk, &root.join("f")), expected);
        }
        for (len, expected) in [(0, 7), (3, 7), (9, 9)] {
            file.allocate(len).unwrap();
            assert_eq!(file.len().unwrap(), expected, "allocating {len} bytes");
        }
        file.sync_data().unwrap();
        assert_eq!(content(disk, &root.join("f")), b"\0\0\0ab\0\0\0\0");
    });
}

/// What is read without waiting is what would be read; and where that cannot be told, it says so.
#[test]
fn what_is_in_memory_is_read_without_waiting() {
    on_both(|disk, directory| {
        let file = disk.open(&directory.join("f"), OpenMode::CreateNew).unwrap();
        write(&*file, b"0123456789", 0);
        for (position, length) in [(0, 10), (3, 4), (9, 1), (5, 10), (20, 1)] {
            let mut bytes = vec![0; length];
            match file.read_cached_at(&mut bytes, position) {
                Ok(count) => {
                    let begin = usize::try_from(position).unwrap();
                    assert_eq!((count, &bytes[..]), (length, &b"0123456789"[begin..begin + length]));
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    });
}

#[test]
fn a_write_may_have_more_slices_than_one_call_takes() {
    on_both(|disk, root| {
        let file = disk.open(&root.join("f"), OpenMode::CreateNew).unwrap();
        let bytes: Vec<u8> = (0..5000_u32).flat_map(u32::to_le_bytes).collect();
        let slices: Vec<IoSlice<'_>> = bytes.chunks(5).map(IoSlice::new).collect();
        assert!(slices.len() > 3 * 1024);
        file.write_at(&slices, 11).unwrap();
        assert_eq!(content(disk, &root.join("f"))[11..], bytes);
    });
}

#[test]
fn names_change_as_told() {
    on_both(|disk, root| {
        let at = |name: &str| root.join(name);
        let create = |name: &str| write(&*disk.open(&at(name), OpenMode::CreateNew).unwrap(), name.as_bytes(), 0);
        disk.create_dir_all(&at("d/e")).unwrap();
        disk.create_dir_all(&at("d/e")).unwrap();
        for name in ["b", "a", "d/g", "d/e/h"] {
            create(name);
        }
        assert_eq!((list(disk, root), list(disk, &at("d"))), ("a b d/".to_owned(), "e/ g".to_owned()));
        let renames = [
            ("a", "b", Ok(())),
            ("b", "b", Ok(())),
            ("a", "c", Err(ErrorKind::NotFound)),
            ("b", "no/dir", Err(ErrorKind::NotFound)),
            ("b", "d", Err(ErrorKind::IsADirectory)),
            ("d", "b", Err(ErrorKind::NotADirectory)),
            ("d", "d/e/f", Err(ErrorKind::InvalidInput)),
            ("d/e", "x", Ok(())),
            ("x", "d", Err(ErrorKind::DirectoryNotEmpty)),
            ("b", "d/b", Ok(())),
        ];
        for (from, to, expected) in renames {
            assert_eq!(kind(disk.rename(&at(from), &at(to))), expected, "{from} to {to} on {disk:?}");
        }
        assert_eq!(content(disk, &at("d/b")), b"a");
        assert_eq!(
            (list(disk, root), list(disk, &at("d")), list(disk, &at("x"))),
            ("d/ x/".to_owned(), "b g".to_owned(), "h".to_owned())
        );
    });
}

#[test]
fn names_that_are_not_there_or_of_another_kind() {
    on_both(|disk, root| {
        let at = |name: &str| root.join(name);
        disk.create_dir_all(&at("d")).unwrap();
        disk.create_dir_all(&at("x")).unwrap();
        for name in ["d/b", "d/g", "x/h"] {
            disk.open(&at(name), OpenMode::CreateNew).unwrap();
        }
        let exist = [("d/b", Ok(true)), ("b", Ok(false)), ("x/h", Ok(true)), ("x/h/i", Err(ErrorKind::NotADirectory))];
        for (name, expected) in exist {
            assert_eq!(kind(disk.exists(&at(name))), expected, "{name}");
        }
        assert_eq!(kind(disk.create_dir_all(&at("d/b"))), Err(ErrorKind::AlreadyExists));
        assert_eq!(kind(disk.create_dir_all(&at("d/b/c"))), Err(ErrorKind::NotADirectory));
        assert_eq!(kind(disk.remove_file(&at("x"))), Err(ErrorKind::IsADirectory));
        assert_eq!(kind(disk.remove_file(&at("gone"))), Err(ErrorKind::NotFound));
        assert_eq!(kind(disk.remove_dir_all(&at("gone"))), Err(ErrorKind::NotFound));
        assert_eq!(kind(disk.remove_dir_all(&at("d/b"))), Err(ErrorKind::NotADirectory));
        assert_eq!(kind(disk.read_dir(&at("gone"))), Err(ErrorKind::NotFound));
        assert_eq!(kind(disk.read_dir(&at("d/b"))), Err(ErrorKind::NotADirectory));
        assert_eq!(kind(disk.sync_dir(&at("gone"))), Err(ErrorKind::NotFound));
        disk.remove_file(&at("d/b")).unwrap();
        disk.remove_dir_all(&at("x")).unwrap();
        disk.sync_dir(root).unwrap();
        assert_eq!((list(disk, root), list(disk, &at("d"))), ("d/".to_owned(), "g".to_owned()));
    });
}

#[test]
fn an_open_file_outlives_its_name() {
    on_both(|disk, root| {
        let file = disk.open(&root.join("f"), OpenMode::CreateNew).unwrap();
        disk.rename(&root.join("f"), &root.join("g")).unwrap();
        write(&*file, b"1", 0);
        assert_eq!(content(disk, &root.join("g")), b"1");
        disk.remove_file(&root.join("g")).unwrap();
        write(&*file, b"2", 1);
        file.sync_data().unwrap();
        assert_eq!(file.len().unwrap(), 2);
        let other = disk.open(&root.join("g"), OpenMode::CreateNew).unwrap();
        assert!(other.is_empty().unwrap());
    });
}

#[test]
fn a_directory_is_locked_once() {
    on_both(|disk, root| {
        let lock = disk.lock_dir(root).unwrap();
        assert_eq!(kind(disk.lock_dir(root)).map(drop), Err(ErrorKind::WouldBlock));
        assert_eq!(list(disk, root), "lock");
        disk.create_dir_all(&root.join("d")).unwrap();
        let _other = disk.lock_dir(&root.join("d")).unwrap();
        drop(lock);
        let _again = disk.lock_dir(root).unwrap();
        assert_eq!(kind(disk.lock_dir(&root.join("gone"))).map(drop), Err(ErrorKind::NotFound));
    });
}

#[test]
fn whole_files() {
    on_both(|disk, root| {
        let path = root.join("f.json");
        for bytes in [&b"first"[..], b"", b"the second"] {
            replace_file(disk, &path, bytes).unwrap();
            assert_eq!(content(disk, &path), bytes);
            assert_eq!(list(disk, root), "f.json");
        }
        assert_eq!(kind(read_file(disk, &path, 9)), Err(ErrorKind::InvalidData));
        assert_eq!(kind(read_file(disk, &path, 10)), Ok(b"the second".to_vec()));
        assert_eq!(kind(read_file(disk, &root.join("gone"), 10)), Err(ErrorKind::NotFound));
        create_dir_durably(disk, &root.join("a/b/c")).unwrap();
        create_dir_durably(disk, &root.join("a/b/c")).unwrap();
        assert_eq!(list(disk, &root.join("a/b")), "c/");
        assert_eq!(kind(create_dir_durably(disk, &path)), Err(ErrorKind::AlreadyExists));
        assert_eq!(kind(create_dir_durably(disk, Path::new(""))), Err(ErrorKind::NotFound));
    });
}

#[test]
fn a_file_is_replaced_as_one_durable_step() {
    let path = Path::new("d/f");
    let whole = FaultyDisk::new();
    whole.write_all(path, b"old").unwrap();
    replace_file(&whole, path, b"the new").unwrap();
    for point in 0..=whole.points() {
        for seed in 0..200 {
            let disk = FaultyDisk::new();
            disk.write_all(path, b"old").unwrap();
            disk.cut_within(point, seed);
            let replaced = replace_file(&disk, path, b"the new").is_ok();
            assert_eq!(replaced, point == whole.points());
            let found = disk.power_cut(seed).read_all(path).unwrap();
            assert!(found == b"the new" || (found == b"old" && !replaced), "point {point}, seed {seed}: {found:?}");
        }
    }
}

#[test]
fn a_replacement_that_fails_leaves_the_old_file_alone() {
    for kind in [OpKind::Create, OpKind::Write, OpKind::Sync, OpKind::Rename] {
        let disk = FaultyDisk::new();
        disk.write_all("d/f", b"old").unwrap();
        disk.inject(Rule::failing(kind));
        replace_file(&disk, Path::new("d/f"), b"new").unwrap_err();
        assert_eq!(disk.paths(), [Path::new("/d/f")]);
        assert_eq!(disk.read_all("d/f").unwrap(), b"old");
    }
}

#[test]
fn directories_are_durable_level_by_level() {
    let path = Path::new("a/b/c");
    // What a predecessor had made durable, and what it had just made when it was killed.
    let cases = [("", ""), ("", "a"), ("a", "a/b"), ("a/b", "a/b/c"), ("a/b/c", "")];
    for (durable, made) in cases {
        for seed in 0..200 {
            let disk = FaultyDisk::new();
            if !durable.is_empty() {
                create_dir_durably(&disk, Path::new(durable)).unwrap();
            }
            if !made.is_empty() {
                disk.create_dir_all(Path::new(made)).unwrap();
            }
            let disk = disk.kill();
            create_dir_durably(&disk, path).unwrap();
            assert!(disk.power_cut(seed).exists(path).unwrap(), "after {durable:?} and {made:?}, seed {seed}");
        }
    }
}
