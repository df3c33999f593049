//! Recordings past their time go, live and younger ones stay.

use std::time::Duration;

use portcullis_core::{Clock, EndReason};
use portcullis_record::{Error, Recording};

use crate::support::Lab;

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn what_ended_before_is_deleted_and_nothing_else() {
    let lab = Lab::new();
    let ended = |_: &str| {
        let (mut recorder, session) = lab.begin();
        recorder.finish(&EndReason::ClientQuit);
        lab.get().settle();
        session
    };
    let old = ended("old");
    let (mut long, began_long_ago) = lab.begin();
    let (_live, live) = lab.begin();
    lab.clock.forward(10 * DAY);
    long.finish(&EndReason::ClientQuit);
    let young = ended("young");
    let before = lab.clock.now().minus(5 * DAY);
    let past = lab.get().past(before).unwrap();
    assert_eq!(past.iter().map(|past| past.session).collect::<Vec<_>>(), [old]);
    assert_eq!(past[0].segments, 1);
    assert!(lab.recording(old).segments().len() == 1, "found is not deleted");
    assert_eq!(lab.get().forget(&past), 1);
    assert!(matches!(Recording::open(lab.dir.path(), old), Err(Error::NotFound(_))));
    for kept in [began_long_ago, live, young] {
        assert!(Recording::open(lab.dir.path(), kept).is_ok());
    }
    assert!(lab.get().past(before).unwrap().is_empty());
    let all = lab.get().past(lab.clock.now().plus(DAY)).unwrap();
    assert_eq!(all.len(), 2, "never a live one");
    assert_eq!(lab.get().forget(&all), 2);
    let left: Vec<_> =
        std::fs::read_dir(lab.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["open"], "days without recordings go");
}
