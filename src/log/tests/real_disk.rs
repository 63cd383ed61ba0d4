//! The same on a real file system.

use super::*;
use crate::disk::RealDisk;

fn context() -> LogContext {
    LogContext { disk: Arc::new(RealDisk), handles: Arc::new(HandleCache::new(2)) }
}

#[test]
fn append_roll_retain_truncate_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let files = PartitionFiles::new(dir.path().join("data").join("events_p0"));
    let options = Bench::new(700).options;
    let log = create_on(context(), files.clone(), options);
    let mut model = Model::default();
    model.append(&log, &[1, 3, 2, 1, 1, 5, 1, 2], 1);
    model.append(&log, &[2, 1, 1, 4, 1, 1, 3, 1], 3);
    model.check_all(&log);
    let start = bases(&log)[1];
    log.advance_log_start(start).unwrap();
    assert!(!files.log(Offset::ZERO).exists());
    log.truncate_to(offset(20), at(0)).unwrap();
    model = model.up_to(20);
    model.append(&log, &[1, 1, 7], 4);
    model.check_all(&log);
    let end = log.state().end;
    drop(log);
    let opened =
        PartitionLog::open(context(), files.clone(), options, Some(end), at(0), &mut Visits::default()).unwrap();
    assert!(opened.checkpoint_used && opened.damage.is_none() && opened.batches_walked == 0);
    model.check_all(&opened.log);
    assert_eq!(opened.log.log_start(), start);
}

#[test]
fn a_torn_tail_is_kept_and_damage_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let files = PartitionFiles::new(dir.path().join("events_p0"));
    let options = Bench::new(1 << 20).options;
    let log = create_on(context(), files.clone(), options);
    let mut model = Model::default();
    model.append(&log, &[1, 2, 1, 1], 1);
    drop(log);
    let path = files.log(Offset::ZERO);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&whole[..], &[9; 200]].concat()).unwrap();
    let open = || PartitionLog::open(context(), files.clone(), options, None, at(0), &mut Visits::default()).unwrap();
    let opened = open();
    assert_eq!(std::fs::read(opened.cut.unwrap().kept_at.unwrap()).unwrap(), [9; 200]);
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    let mut damaged = whole;
    damaged[100] ^= 4;
    std::fs::write(&path, damaged).unwrap();
    assert!(open().damage.is_some());
}
