use super::*;

fn at(partition: i32) -> TopicPartition {
    TopicPartition {
        topic: "t".into(),
        partition,
    }
}

fn records(partition: i32, offsets: std::ops::Range<i64>) -> Vec<Record> {
    offsets
        .map(|offset| Record {
            topic: "t".into(),
            partition,
            offset,
            key: None,
            headers: vec![],
            value: vec![0; 10],
            time: DateTime::default(),
        })
        .collect()
}

/// Tells every partition that waits for its start that it begins at `offset`.
fn start_all(holdings: &Holdings, offset: i64) {
    let Found::Starts(starts) = holdings.take(1) else {
        panic!("nothing waits for its start");
    };
    for (topic, runs) in starts {
        let next = runs
            .iter()
            .map(|(partition, _)| (*partition, offset))
            .collect();
        holdings.start(&topic, &runs, &next);
    }
}

/// Follows the plan of the holdings, as a poller does.
fn follow(holdings: &Holdings, reading: &mut BTreeMap<TopicPartition, Run>) {
    let plan = holdings.plan(reading);
    for partition in plan.stop {
        reading.remove(&partition);
    }
    for (partition, run, _) in plan.start {
        reading.insert(partition, run);
    }
}

fn places(found: Found) -> Vec<(i32, i64)> {
    match found {
        Found::Records(records) => records
            .iter()
            .map(|record| (record.partition, record.offset))
            .collect(),
        _ => vec![],
    }
}

#[test]
fn nothing_is_read_before_the_positions_were_asked() {
    let (holdings, mut reading) = (Holdings::default(), BTreeMap::new());
    holdings.assigned(vec![at(0)]);
    assert_eq!(holdings.plan(&reading), Plan::default());
    start_all(&holdings, 7);
    let plan = holdings.plan(&reading);
    assert_eq!(plan.start, [(at(0), 1, Start::At(7))]);
    follow(&holdings, &mut reading);
    holdings.fetched(records(0, 7..9), &reading);
    assert_eq!(places(holdings.take(5)), [(0, 7), (0, 8)]);
}

#[test]
fn a_revoked_partition_is_not_handed_out_and_the_others_are() {
    let (holdings, mut reading) = (Holdings::default(), BTreeMap::new());
    holdings.assigned(vec![at(0), at(1)]);
    start_all(&holdings, 0);
    follow(&holdings, &mut reading);
    holdings.fetched(records(0, 0..3), &reading);
    holdings.fetched(records(1, 0..3), &reading);
    assert_eq!(places(holdings.take(1)), [(0, 0)]);
    holdings.revoke(&[at(0)]);
    assert!(!holdings.is_done_with(&[at(0)]), "a record is in hand");
    assert!(holdings.is_done_with(&[at(1)]));
    assert_eq!(places(holdings.take(9)), [(1, 0), (1, 1), (1, 2)]);
    holdings.done();
    assert!(holdings.is_done_with(&[at(0)]));
    // Records under way come too late.
    holdings.fetched(records(0, 3..5), &reading);
    assert!(matches!(holdings.take(9), Found::Nothing));
    assert_eq!(holdings.plan(&reading).stop, [at(0)]);
}

#[test]
fn what_happened_first_comes_first_and_each_partition_in_its_order() {
    let (holdings, mut reading) = (Holdings::default(), BTreeMap::new());
    holdings.assigned(vec![at(0), at(1)]);
    start_all(&holdings, 0);
    follow(&holdings, &mut reading);
    let happened = |partition, times: &[i64]| {
        let mut records = records(partition, 0..i64::try_from(times.len()).unwrap());
        for (record, time) in records.iter_mut().zip(times) {
            record.time = DateTime::from_timestamp_millis(*time).unwrap();
        }
        records
    };
    // The clocks of the first one's writers differ.
    holdings.fetched(happened(0, &[10, 40, 20]), &reading);
    holdings.fetched(happened(1, &[5, 30, 50]), &reading);
    assert_eq!(places(holdings.take(2)), [(1, 0), (0, 0)]);
    let rest = [(1, 1), (0, 1), (0, 2), (1, 2)];
    assert_eq!(places(holdings.take(9)), rest);
    assert!(matches!(holdings.take(9), Found::Nothing));
}

#[test]
fn a_rewind_drops_what_was_fetched_and_what_is_on_its_way() {
    let (holdings, mut reading) = (Holdings::default(), BTreeMap::new());
    holdings.assigned(vec![at(0)]);
    start_all(&holdings, 5);
    follow(&holdings, &mut reading);
    holdings.fetched(records(0, 5..8), &reading);
    holdings.rewind();
    holdings.fetched(records(0, 8..9), &reading);
    assert_eq!(holdings.plan(&reading).stop, [at(0)]);
    start_all(&holdings, 2);
    let plan = holdings.plan(&reading);
    assert_eq!(plan.stop, [at(0)]);
    assert_eq!(plan.start, [(at(0), 2, Start::At(2))]);
    follow(&holdings, &mut reading);
    holdings.fetched(records(0, 2..4), &reading);
    assert_eq!(places(holdings.take(9)), [(0, 2), (0, 3)]);
}

#[test]
fn a_start_that_was_asked_for_before_a_rewind_does_not_count() {
    let holdings = Holdings::default();
    holdings.assigned(vec![at(0)]);
    let Found::Starts(before) = holdings.take(1) else {
        panic!("a partition waits for its start");
    };
    holdings.rewind();
    holdings.start("t", &before["t"], &BTreeMap::from([(0, 9)]));
    assert_eq!(holdings.plan(&BTreeMap::new()), Plan::default());
}

#[test]
fn fetching_stops_at_the_limit_and_goes_on_when_records_were_taken() {
    let (holdings, mut reading) = (Holdings::default(), BTreeMap::new());
    holdings.assigned(vec![at(0)]);
    start_all(&holdings, 0);
    follow(&holdings, &mut reading);
    let most = i64::try_from(MOST_RECORDS).unwrap();
    holdings.fetched(records(0, 0..most), &reading);
    assert!(!holdings.has_room());
    assert_eq!(places(holdings.take(500)).len(), 500);
    assert!(holdings.has_room());
}

#[test]
fn what_went_wrong_is_said_once_and_records_come_before_an_absence() {
    let (holdings, mut reading) = (Holdings::default(), BTreeMap::new());
    holdings.assigned(vec![at(0)]);
    start_all(&holdings, 0);
    follow(&holdings, &mut reading);
    holdings.fetched(records(0, 0..1), &reading);
    holdings.failed(BusError::UnknownTopic("t".into()));
    holdings.unavailable();
    assert!(matches!(holdings.take(1), Found::Failure(_)));
    assert_eq!(places(holdings.take(1)), [(0, 0)]);
    assert!(matches!(holdings.take(1), Found::Away));
    holdings.is_back();
    assert!(matches!(holdings.take(1), Found::Nothing));
}
