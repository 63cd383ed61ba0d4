//! Faults on command, capacity, the stall hook and the counts.

use std::io::ErrorKind;
use std::sync::mpsc;

use super::*;
use crate::disk::faulty::{Counts, Fault, OpKind, Rule};

#[test]
fn every_kind_of_call_fails_on_command_and_does_nothing() {
    let cases = [
        (OpKind::Create, "c:n!"),
        (OpKind::CreateDir, "D:n!"),
        (OpKind::Remove, "r:f!"),
        (OpKind::Remove, "R:d!"),
        (OpKind::Rename, "m:f:g!"),
        (OpKind::SetLen, "l:f:0!"),
        (OpKind::Allocate, "a:f:9!"),
        (OpKind::Sync, "s:f!"),
        (OpKind::SyncDir, "S:d!"),
        (OpKind::Write, "w:f:0:B!"),
    ];
    for (kind, step) in cases {
        let disk = disk_of("d/e=D f=A");
        disk.inject(Rule::failing(kind));
        run(&disk, step);
        assert_eq!(describe(&disk), "d/e=D f=A", "{step}");
        assert_eq!(disk.points(), 1, "{step}");
        run(&disk, step.trim_end_matches('!'));
    }
}

#[test]
fn rules_strike_the_calls_they_name() {
    let fail = || Rule::failing(OpKind::Write);
    let cases = [
        (fail(), "w:f:0:B! w:f:0:B"),
        (fail().nth(2), "w:f:0:B w:g:0:B! w:f:0:B"),
        (fail().on("g").nth(2), "w:g:0:B w:f:0:B w:g:0:B! w:g:0:B"),
        (fail().times(2), "w:f:0:B! w:g:0:B! w:f:0:B"),
        (fail().on("f").forever(), "w:f:0:B! w:g:0:B w:f:0:B! w:f:0:B!"),
        (fail().on("f").times(0), "w:f:0:B"),
    ];
    for (rule, script) in cases {
        let disk = disk_of("f=A g=A");
        disk.inject(rule);
        run(&disk, script);
        disk.inject(fail().forever());
        disk.clear_faults();
        run(&disk, "w:f:0:B");
    }
}

#[test]
fn a_torn_write_stores_its_first_bytes() {
    for (bytes, expected) in [(0, "f=A"), (1, "f=?"), (512, "f=B"), (600, "f=Bb"), (1024, "f=BB"), (9999, "f=BB")] {
        let disk = disk_of("f=A");
        disk.inject(Rule::new(Fault::TornWrite(bytes, ErrorKind::Other)));
        let (first, second) = (sectors("B"), sectors("B"));
        let slices = [IoSlice::new(&first), IoSlice::new(&second)];
        open(&disk, "f", OpenMode::ReadWrite).write_at(&slices, 0).unwrap_err();
        assert_eq!(describe(&disk), expected);
    }
}

#[test]
fn reads_err_on_command() {
    let elsewhere = |path: Option<&str>| Fault::MisdirectedRead { path: path.map(Into::into), position: 512 };
    let cases = [
        (Fault::ReadFlip { position: 3, bit: 1 }, Ok(*b"AAAC")),
        (Fault::ReadFlip { position: 4, bit: 9 }, Ok(*b"CAAA")),
        (elsewhere(None), Ok(*b"BBBB")),
        (elsewhere(Some("g")), Ok(*b"DDDD")),
        (Fault::Fail(OpKind::Read, ErrorKind::TimedOut), Err(ErrorKind::TimedOut)),
    ];
    for (fault, expected) in cases {
        let disk = disk_of("f=AB g=CD");
        disk.inject(Rule::new(fault).on("f"));
        let file = open(&disk, "f", OpenMode::Read);
        let mut buf = [0; 4];
        let found = file.read_at(&mut buf, 0).map(|_| buf).map_err(|error| error.kind());
        assert_eq!(found, expected);
        assert_eq!(file.read_at(&mut buf, 0).map(|_| buf).unwrap(), *b"AAAA", "the next read is right again");
    }
}

#[test]
fn a_flipped_bit_stays() {
    for script in ["", "w:f:0:A", "w:f:0:A s:f"] {
        let disk = disk_of("f=A");
        run(&disk, script);
        disk.flip_bit("f", 511, 0).unwrap();
        assert_eq!(disk.flip_bit("f", 512, 0).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        for found in [disk.kill(), disk.power_cut(3), disk.power_cut(4)] {
            assert_eq!(found.read_all("f").unwrap()[510..], *b"A@");
        }
    }
}

#[test]
fn capacity_bounds_the_sum_of_lengths() {
    let cases = [
        ("w:f:1:BB", "f=ABB g=C"),
        ("w:f:1:BBB!", "f=ABB g=C"),
        ("w:f:4:B!", "f=A g=C"),
        ("w:f:0:B w:g:0:D", "f=B g=D"),
        ("a:f:3 w:f:0:BBB", "f=BBB g=C"),
        ("a:f:4!", "f=A g=C"),
        ("l:f:4!", "f=A g=C"),
        ("c:h w:h:0:AA c:i!", "f=A g=C h=AA"),
        ("w:f:1:BB D:d! D:/", "f=ABB g=C"),
        ("w:f:1:BB r:g w:f:3:B", "f=ABBB"),
        ("w:f:1:BB m:f:g w:g:3:B", "g=ABBB"),
    ];
    for (script, expected) in cases {
        let disk = disk_of("f=A g=C");
        disk.set_capacity(Some(4 * 512));
        run(&disk, script);
        assert_eq!(describe(&disk), expected, "{script}");
    }
    let disk = disk_of("f=A");
    disk.set_capacity(Some(512));
    let file = open(&disk, "f", OpenMode::ReadWrite);
    assert_eq!(write(&file, 1, "B").unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(disk.used_bytes(), 512);
    disk.set_capacity(None);
    write(&file, 1, "B").unwrap();
}

/// What is written while a sync is under way is not covered by it.
#[test]
fn a_sync_covers_what_was_there_when_it_began() {
    let disk = disk_of("f=A");
    let writer = disk.clone();
    disk.set_stall(Box::new(move |op| {
        if op.kind == OpKind::Sync {
            writer.clear_stall();
            run(&writer, "w:f:0:C w:f:1:D w:f:0:E w:f:0:F w:f:0:G");
        }
    }));
    run(&disk, "w:f:0:B s:f");
    assert_eq!(describe(&disk), "f=GD");
    let found = outcomes(&disk);
    assert!(found.contains("f=B") && !found.iter().any(|line| line.starts_with("f=A")), "{found:?}");
    run(&disk, "s:f");
    assert_eq!(outcomes(&disk), set(&["f=GD"]));
}

#[test]
fn a_sync_covers_the_length_that_was_there_when_it_began() {
    let disk = disk_of("f=A");
    let writer = disk.clone();
    disk.set_stall(Box::new(move |_| run(&writer, "l:f:3")));
    run(&disk, "l:f:2 s:f");
    assert_eq!(outcomes(&disk), set(&["f=A0", "f=A00"]));
}

#[test]
fn a_stall_holds_one_file_and_no_other() {
    let disk = disk_of("f=A g=A");
    let (release, held) = mpsc::channel::<()>();
    let held = parking_lot::Mutex::new(held);
    disk.set_stall(Box::new(move |op| {
        if op.path == Path::new("/f") {
            held.lock().recv().unwrap();
        }
    }));
    std::thread::scope(|scope| {
        let writer = disk.clone();
        let held_write = scope.spawn(move || run(&writer, "w:f:0:B"));
        run(&disk, "w:g:0:B s:g");
        assert_eq!(describe(&disk), "f=A g=B");
        release.send(()).unwrap();
        held_write.join().unwrap();
        assert_eq!(describe(&disk), "f=B g=B");
    });
}

#[test]
fn a_held_call_fails_where_the_power_went_meanwhile() {
    let disk = disk_of("f=A");
    let cutter = disk.clone();
    disk.set_stall(Box::new(move |_| drop(cutter.power_cut(1))));
    run(&disk, "w:f:0:B!");
    assert_eq!(describe(&disk), "f=A");
}

#[test]
fn calls_are_counted_by_prefix() {
    let disk = disk_of("a/f=A a/g=A b/f=A");
    run(&disk, "w:a/f:0:BB s:a/f w:a/g:0:B w:b/f:0:B s:b/f S:a S:a");
    open(&disk, "b/f", OpenMode::Read).read_at(&mut [0; 9], 0).unwrap();
    let a = Counts { reads: 0, writes: 2, bytes_written: 1536, syncs: 1, dir_syncs: 2 };
    let b = Counts { reads: 1, writes: 1, bytes_written: 512, syncs: 1, dir_syncs: 0 };
    let cases = [
        ("a", a),
        ("/a/", a),
        ("b", b),
        ("c", Counts::default()),
        ("a/g", Counts { writes: 1, bytes_written: 512, ..Counts::default() }),
    ];
    for (prefix, expected) in cases {
        assert_eq!(disk.counts(prefix), expected, "{prefix}");
    }
    assert_eq!(disk.counts("/").writes, 3);
    assert_eq!(disk.points(), 7);
}
