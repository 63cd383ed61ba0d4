//! What a power cut or a kill leaves of a history: for each history, exactly the outcomes that the model allows.

use super::*;
use crate::disk::faulty::{Fault, OpKind, Random, Rule};

/// Runs `script` on a disk of `files` and compares everything that a power cut may leave.
#[track_caller]
fn check(files: &str, script: &str, expected: &[&str]) {
    let disk = disk_of(files);
    run(&disk, script);
    let as_read = describe(&disk);
    assert_eq!(outcomes(&disk), set(expected), "{files} then {script}");
    assert_eq!(describe(&disk.kill()), as_read, "a kill loses nothing: {files} then {script}");
}

#[test]
fn bytes() {
    check("f=A", "", &["f=A"]);
    check("f=A", "w:f:0:B", &["f=A", "f=B"]);
    check("f=A", "w:f:0:B s:f", &["f=B"]);
    check("f=A", "w:f:0:B w:f:0:C", &["f=A", "f=B", "f=C"]);
    check("f=A", "w:f:0:B w:f:0:C s:f w:f:0:D", &["f=C", "f=D"]);
    // Of many versions the last four.
    check("f=A", "w:f:0:B w:f:0:C w:f:0:D w:f:0:E w:f:0:F", &["f=A", "f=C", "f=D", "f=E", "f=F"]);
    check("f=AB", "w:f:0:CD", &["f=AB", "f=AD", "f=CB", "f=CD"]);
    // A file grows to cover what survived; its length alone may survive too.
    check("f=", "w:f:0:AB", &["f=", "f=A", "f=0B", "f=AB", "f=A0", "f=00"]);
    check("f=", "w:f:0:AB s:f", &["f=AB"]);
    check("f=A", "w:f:2:C", &["f=A", "f=A0C", "f=A00"]);
}

#[test]
fn lengths() {
    check("f=AB", "l:f:1", &["f=AB", "f=A"]);
    check("f=AB", "l:f:1 s:f", &["f=A"]);
    check("f=AB", "l:f:1 l:f:2", &["f=AB", "f=A", "f=A0"]);
    check("f=AB", "l:f:1 l:f:2 s:f", &["f=A0"]);
    check("f=AB", "l:f:1 s:f w:f:1:C", &["f=A", "f=AC", "f=A0"]);
    check("f=AB", "l:f:1 w:f:1:C", &["f=AB", "f=A", "f=A0", "f=AC"]);
    check("f=AB", "l:f:1 w:f:2:C s:f", &["f=A0C"]);
    check("f=A", "a:f:3", &["f=A", "f=A00"]);
    check("f=A", "a:f:3 s:f w:f:1:B", &["f=A00", "f=AB0"]);
    check("f=A", "a:f:1", &["f=A"]);
    check("f=A", "w:f:1:B l:f:1", &["f=A", "f=AB", "f=A0"]);
    check("f=A", "w:f:1:B l:f:1 s:f", &["f=A"]);
    check("f=A", "w:f:1:B l:f:1 l:f:3", &["f=A", "f=AB", "f=A0", "f=A00"]);
    check("f=ABC", "h:f:3", &["f=ABC", "f=A?C", "f=Ab"]);
    check("f=ABC", "w:f:1:D h:f:3", &["f=ABC", "f=ADC", "f=A?C", "f=Ab", "f=Ad"]);
    check("f=A", "c:f", &["f=A", "f="]);
    check("f=A", "c:f w:f:0:B", &["f=A", "f=", "f=B", "f=0"]);
    check("f=A", "c:f w:f:0:B s:f", &["f=B"]);
}

#[test]
fn names() {
    check("", "c:f w:f:0:A s:f", &["", "f=A"]);
    check("", "c:f w:f:0:A s:f S:/", &["f=A"]);
    check("", "c:f S:/", &["f="]);
    check("f=A", "r:f", &["f=A", ""]);
    check("f=A", "r:f S:/", &[""]);
    // One name's changes in their order: never the second file without the first one's removal.
    check("f=A", "r:f c:f w:f:0:B s:f", &["f=A", "", "f=B"]);
    check("", "c:f c:g", &["", "f=", "g=", "f= g="]);
    check("", "D:d c:d/f S:d", &["", "d/f="]);
    check("", "D:d c:d/f S:/", &["", "d/f="]);
    check("", "D:d/e c:d/e/f S:d/e S:d S:/", &["d/e/f="]);
    check("d/f=A d/g=B", "R:d", &["d/f=A d/g=B", "d/f=A", "d/g=B", ""]);
    check("d/f=A d/g=B", "R:d S:/", &[""]);
}

#[test]
fn renames() {
    check("f=A t=B", "m:t:f", &["f=A t=B", "f=B"]);
    check("f=A t=B", "m:t:f S:/", &["f=B"]);
    check("f=A", "c:t w:t:0:B m:t:f S:/", &["f=", "f=B", "f=0"]);
    check("f=A", "c:t w:t:0:B s:t m:t:f", &["f=A", "f=A t=B", "f=B"]);
    check("d/f=A e/g=B", "m:d/f:e/f", &["d/f=A e/g=B", "e/g=B", "d/f=A e/f=A e/g=B", "e/f=A e/g=B"]);
    check("d/f=A e/g=B", "m:d/f:e/f S:e", &["d/f=A e/f=A e/g=B", "e/f=A e/g=B"]);
    check("d/f=A e/g=B", "m:d/f:e/f S:e S:d", &["e/f=A e/g=B"]);
    check("d/f=A", "m:d:e", &["d/f=A", "e/f=A"]);
    check("d/f=A", "m:d:e S:/", &["e/f=A"]);
    check("f=A", "m:f:g m:g:h", &["f=A", "g=A", "h=A"]);
}

#[test]
fn failed_and_lying_syncs() {
    let fails = || Rule::failing(OpKind::Sync);
    let lies = || Rule::new(Fault::LyingSync);
    let cases: [(Rule, &str, &str, &[&str]); 16] = [
        (fails(), "f=A", "w:f:0:B s:f!", &["f=A", "f=B"]),
        (fails(), "f=A", "w:f:0:B s:f! s:f", &["f=A", "f=B"]),
        (fails(), "f=A", "w:f:0:B s:f! w:f:0:C s:f", &["f=C"]),
        (fails(), "f=A", "w:f:1:B s:f! s:f", &["f=A", "f=AB", "f=A0"]),
        (fails(), "f=A", "w:f:1:B s:f! w:f:2:C s:f", &["f=ABC", "f=A0C"]),
        (fails().nth(2), "f=A", "w:f:0:B s:f w:f:0:C s:f!", &["f=B", "f=C"]),
        (fails().times(2), "f=A", "w:f:0:B s:f! s:f! s:f", &["f=A", "f=B"]),
        (fails().on("g"), "f=A g=A", "w:f:0:B w:g:0:B s:f s:g!", &["f=B g=A", "f=B g=B"]),
        (lies(), "f=A", "w:f:0:B s:f", &["f=A", "f=B"]),
        (lies(), "f=A", "w:f:0:B s:f s:f", &["f=B"]),
        (Rule::failing(OpKind::SyncDir), "", "c:f S:/! S:/", &["", "f="]),
        (Rule::failing(OpKind::SyncDir), "", "c:f S:/! c:g S:/", &["g=", "f= g="]),
        (fails(), "f=A", "w:f:1:B s:f! w:f:1:C s:f", &["f=AC"]),
        (Rule::failing(OpKind::SyncDir), "", "c:f S:/! r:f S:/", &[""]),
        (Rule::new(Fault::LyingSyncDir), "", "c:f S:/", &["", "f="]),
        (Rule::new(Fault::LyingSyncDir), "", "c:f S:/ S:/", &["f="]),
    ];
    for (rule, files, script, expected) in cases {
        let disk = disk_of(files);
        disk.inject(rule);
        run(&disk, script);
        assert_eq!(outcomes(&disk), set(expected), "{script}");
    }
}

#[test]
fn a_kill_keeps_what_is_unsynced_unsynced() {
    let disk = disk_of("f=A g=A");
    disk.inject(Rule::failing(OpKind::Sync));
    run(&disk, "w:f:0:B s:f! w:g:0:B c:h");
    let next = disk.kill();
    assert_eq!(describe(&next), "f=B g=B h=");
    run(&next, "s:f s:g S:/");
    assert_eq!(outcomes(&next), set(&["f=A g=B h=", "f=B g=B h="]));
}

#[test]
fn a_cut_is_the_same_for_the_same_seed() {
    let disk = disk_of("f=ABCDEFGH");
    run(&disk, "w:f:0:abcdefgh c:g m:g:h");
    let first: Vec<String> = (0..50).map(|seed| describe(&disk.power_cut(seed))).collect();
    let second: Vec<String> = (0..50).map(|seed| describe(&disk.power_cut(seed))).collect();
    assert_eq!(first, second);
    let kept = |line: &&String| !line.starts_with("f=ABCDEFGH") && !line.starts_with("f=abcdefgh");
    assert!(first.iter().filter(kept).count() > 10, "few cuts were mixed: {first:?}");
}

#[test]
fn a_fork_goes_its_own_way() {
    let disk = disk_of("f=A");
    run(&disk, "w:f:0:B");
    let fork = disk.fork();
    run(&fork, "s:f w:f:0:C");
    assert_eq!((describe(&disk), describe(&fork)), ("f=B".to_owned(), "f=C".to_owned()));
    assert_eq!(outcomes(&fork), set(&["f=B", "f=C"]));
    run(&disk, "w:f:0:D s:f");
    assert_eq!(outcomes(&disk), set(&["f=D"]));
}

/// A rename between directories may have made its new name and not unmade the old one.
#[test]
fn a_file_of_two_names_is_one_file() {
    let disk = disk_of("d/f=A e/g=B");
    run(&disk, "m:d/f:e/f S:e");
    let both = (0..SEEDS).map(|seed| disk.power_cut(seed)).find(|found| found.paths().len() == 3).unwrap();
    run(&both, "w:d/f:0:C m:d/f:e/f");
    assert_eq!(describe(&both), "d/f=C e/f=C e/g=B");
    assert_eq!(both.used_bytes(), 1024);
    run(&both, "r:d/f S:d s:e/f");
    assert_eq!(outcomes(&both), set(&["e/f=C e/g=B"]));
}

#[test]
fn what_a_test_puts_there_is_durable() {
    let disk = disk_of("f=A");
    run(&disk, "r:f c:f w:f:0:B D:d");
    for path in ["f", "d/g"] {
        disk.write_all(path, &sectors("C")).unwrap();
    }
    assert_eq!(outcomes(&disk), set(&["d/g=C f=C"]));
}

#[test]
fn old_handles_and_disks_are_dead() {
    let ends: [fn(&FaultyDisk) -> FaultyDisk; 2] = [|disk| disk.power_cut(1), FaultyDisk::kill];
    for end in ends {
        let disk = disk_of("f=A");
        let file = open(&disk, "f", OpenMode::ReadWrite);
        let lock = disk.lock_dir(Path::new("/")).unwrap();
        let next = end(&disk);
        write(&file, 0, "B").unwrap_err();
        file.sync_data().unwrap_err();
        file.len().unwrap_err();
        file.read_at(&mut [0], 0).unwrap_err();
        disk.exists(Path::new("f")).unwrap_err();
        disk.open(Path::new("f"), OpenMode::Read).unwrap_err();
        let _lock_of_next = next.lock_dir(Path::new("/")).unwrap();
        drop(lock);
        assert_eq!(next.lock_dir(Path::new("/")).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(describe(&next).starts_with("f=A"));
        let _lock_of_fork = next.fork().lock_dir(Path::new("/")).unwrap();
    }
}

#[test]
fn cut_at_every_point() {
    let script = "c:f w:f:0:A s:f S:/ w:f:0:B c:g m:g:h r:h";
    let seen = ["", "f=", "f=A", "f=A", "f=A", "f=B", "f=B g=", "f=B h=", "f=B"];
    let whole = FaultyDisk::new();
    run(&whole, script);
    assert_eq!(whole.points(), 8);
    for (point, expected) in (0..).zip(seen) {
        let disk = FaultyDisk::new();
        disk.cut_at(point);
        let steps = script.split_whitespace();
        let done = steps.take_while(|step| run_step(&disk, &step.split(':').collect::<Vec<_>>()).is_ok()).count();
        assert_eq!((done as u64, disk.is_off()), (point, point < 8));
        assert_eq!(describe(&disk), expected, "before point {point}");
        assert_eq!(describe(&disk.kill()), expected);
    }
}

#[test]
fn cut_within_a_call() {
    let cases: [(&str, &str, &[&str]); 5] = [
        ("f=A", "w:f:0:B!", &["f=A", "f=B"]),
        ("f=AAA", "w:f:0:BCD!", &["f=AAA", "f=AAD", "f=ACA", "f=ACD", "f=BAA", "f=BAD", "f=BCA", "f=BCD"]),
        ("f=A", "r:f!", &["f=A", ""]),
        ("f=A", "m:f:g!", &["f=A", "g=A"]),
        ("f=AB", "l:f:1!", &["f=AB", "f=A"]),
    ];
    for (files, script, expected) in cases {
        let mut cached = BTreeSet::new();
        for seed in 0..200 {
            let disk = disk_of(files);
            disk.cut_within(0, seed);
            run(&disk, script);
            assert!(disk.is_off());
            cached.insert(describe(&disk));
        }
        assert_eq!(cached, set(expected), "{script}");
    }
    let mut found = BTreeSet::new();
    for seed in 0..SEEDS {
        let disk = disk_of("f=A");
        run(&disk, "w:f:0:B");
        disk.cut_within(1, seed);
        run(&disk, "s:f!");
        found.insert(describe(&disk.power_cut(seed)));
    }
    assert_eq!(found, set(&["f=A", "f=B"]));
}

/// A random history on few files against the one promise: what a sync covered and nothing touched since is there.
#[test]
fn synced_bytes_survive_every_cut() {
    for seed in 0..1000 {
        let mut random = Random::new(seed);
        let disk = disk_of("f=........");
        let mut touched = [false; 8];
        let mut content = *b"........";
        for _ in 0..30 {
            let sector = usize::try_from(random.below(8)).unwrap();
            let letter = b'A' + u8::try_from(random.below(26)).unwrap();
            if random.chance(25) {
                run(&disk, "s:f");
                touched = [false; 8];
            } else {
                run(&disk, &format!("w:f:{sector}:{}", char::from(letter)));
                (content[sector], touched[sector]) = (letter, true);
            }
        }
        let found = describe(&disk.power_cut(seed));
        for (sector, letter) in found["f=".len()..].bytes().enumerate() {
            assert!(touched[sector] || letter == content[sector], "seed {seed}, sector {sector}: {found}");
        }
    }
}
