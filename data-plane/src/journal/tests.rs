use std::{collections::BTreeSet, fs::OpenOptions, os::unix::fs::FileExt, path::PathBuf};

use proptest::prelude::*;

use super::*;

const ENOUGH: usize = 64 * SEGMENT;

/// A directory of this test's own, gone with it.
struct Root(PathBuf);

impl Root {
    fn new() -> Self {
        let root = std::env::temp_dir().join(format!("journal-{}", RequestId::generate()));
        fs::create_dir_all(&root).unwrap();
        Self(root)
    }

    fn journal(&self) -> Journal {
        Journal::create(&self.0, Epoch(7), ENOUGH).unwrap()
    }

    fn left_behind(&self) -> Journal {
        let mut left = Journal::left_behind(&self.0, ENOUGH).unwrap();
        assert_eq!(left.len(), 1);
        left.pop().unwrap()
    }

    fn segments(&self) -> Vec<PathBuf> {
        let directory = self.0.join(Epoch(7).to_string());
        let entries = fs::read_dir(directory).unwrap().map(|it| it.unwrap().path());
        let mut paths: Vec<_> =
            entries.filter(|it| it.extension().is_some_and(|it| it == "journal")).collect();
        paths.sort();
        paths
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn shard(number: u8) -> Shard {
    Shard::from(number)
}

fn text(number: u64) -> Vec<u8> {
    format!("settlement {number}").into_bytes()
}

fn settle(journal: &Journal, call: RequestId, of: u8, body: fn(u64) -> Vec<u8>) -> u64 {
    journal.settle((call, shard(of)), true, body).unwrap()
}

fn bodies(journal: &Journal, of: u8, after: u64) -> Vec<(u64, Vec<u8>)> {
    journal.since(shard(of), after, 1_000).unwrap()
}

#[test]
fn what_is_settled_is_numbered_by_shard_and_kept_until_it_is_in_the_database() {
    let root = Root::new();
    let journal = root.journal();
    for (of, expected) in [(1, 1), (1, 2), (9, 1), (1, 3)] {
        assert_eq!(settle(&journal, RequestId::generate(), of, text), expected);
    }
    assert_eq!(bodies(&journal, 1, 0).len(), 3);
    assert_eq!(bodies(&journal, 1, 1), [(2, text(2)), (3, text(3))]);
    journal.forget(shard(1), 2).unwrap();
    assert_eq!(bodies(&journal, 1, 0), [(3, text(3))]);
    assert_eq!((journal.last(shard(1)), journal.shards().len()), (3, 2));
    // Told again, or of what was never settled: nothing happens.
    journal.forget(shard(1), 1).unwrap();
    journal.forget(shard(2), 5).unwrap();
    journal.forget(shard(1), 3).unwrap();
    journal.forget(shard(9), 1).unwrap();
    assert!(journal.is_done());
}

#[test]
fn who_comes_after_a_killed_process_finds_what_was_under_way() {
    let root = Root::new();
    let (sent, streaming, settled) =
        (RequestId::generate(), RequestId::generate(), RequestId::generate());
    let journal = root.journal();
    for call in [sent, streaming, settled] {
        journal.intend(call, shard(3), call.to_string().as_bytes()).unwrap();
    }
    journal.progress(streaming, 40);
    journal.progress(streaming, 70);
    settle(&journal, settled, 3, text);
    assert!(Journal::left_behind(&root.0, ENOUGH).unwrap().is_empty(), "it is in use");
    drop(journal);

    let journal = root.left_behind();
    assert_eq!(journal.epoch, Epoch(7));
    let left = journal.unsettled();
    let told: Vec<_> =
        left.iter().map(|(call, it)| (*call, it.intent.clone(), it.delivered)).collect();
    let intent = |call: RequestId| call.to_string().into_bytes();
    assert_eq!(told, [(sent, intent(sent), 0), (streaming, intent(streaming), 70)]);
    assert_eq!(bodies(&journal, 3, 0), [(1, text(1))]);
    assert_eq!(settle(&journal, sent, 3, text), 2);
    settle(&journal, streaming, 4, text);
    drop(journal);

    // And again, if that one was killed as well.
    let journal = root.left_behind();
    assert!(journal.unsettled().is_empty());
    assert_eq!(bodies(&journal, 3, 0), [(1, text(1)), (2, text(2))]);
    journal.forget(shard(3), 2).unwrap();
    journal.forget(shard(4), 1).unwrap();
    assert!(journal.is_done());
    journal.remove().unwrap();
    assert!(Journal::left_behind(&root.0, ENOUGH).unwrap().is_empty());
}

/// As before each attempt that follows another.
#[test]
fn a_call_that_is_written_down_again_is_what_was_written_last() {
    let root = Root::new();
    let (journal, call) = (root.journal(), RequestId::generate());
    journal.intend(call, shard(3), b"first").unwrap();
    journal.progress(call, 70);
    journal.intend(call, shard(3), b"second").unwrap();
    // Nothing is needed any more of what was written before.
    assert_eq!(journal.kept().needed.values().sum::<usize>(), 1);
    drop(journal);

    let journal = root.left_behind();
    let left = journal.unsettled();
    let told: Vec<_> = left.iter().map(|(_, it)| (&it.intent[..], it.delivered)).collect();
    assert_eq!(told, [(&b"second"[..], 0)]);
    settle(&journal, call, 3, text);
    journal.forget(shard(3), 1).unwrap();
    assert!(journal.is_done() && journal.kept().needed.is_empty());
}

#[test]
fn a_settlement_that_was_damaged_is_made_again_under_its_number() {
    let root = Root::new();
    let journal = root.journal();
    // One that is older, and was not settled: the number is not its own.
    let older = RequestId::generate();
    let calls = [(); 3].map(|()| RequestId::generate());
    for call in [[older].as_slice(), &calls].concat() {
        journal.intend(call, shard(1), b"intent").unwrap();
    }
    for call in calls {
        settle(&journal, call, 1, text);
    }
    drop(journal);
    let path = root.segments().remove(0);
    let bytes = fs::read(&path).unwrap();
    let at = memchr::memmem::find(&bytes, b"settlement 2").unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"X", at as u64).unwrap();

    let journal = root.left_behind();
    let left: Vec<_> = journal.unsettled().into_iter().map(|it| it.0).collect();
    assert_eq!(left, [older, calls[1]]);
    assert_eq!(bodies(&journal, 1, 0), [(1, text(1))]);
    assert_eq!(settle(&journal, older, 1, text), 4);
    assert_eq!(settle(&journal, calls[1], 1, text), 2);
    assert_eq!(bodies(&journal, 1, 0).len(), 4);
    assert_eq!(settle(&journal, RequestId::generate(), 1, text), 5);
}

/// Redis may have counted it before it was damaged, under the number that it had.
#[test]
fn the_last_settlement_that_was_damaged_keeps_its_number_too() {
    let root = Root::new();
    let journal = root.journal();
    let (older, call) = (RequestId::generate(), RequestId::generate());
    for it in [older, call] {
        journal.intend(it, shard(1), b"intent").unwrap();
    }
    settle(&journal, call, 1, text);
    drop(journal);
    let path = root.segments().remove(0);
    let bytes = fs::read(&path).unwrap();
    let at = memchr::memmem::find(&bytes, b"settlement 1").unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"X", at as u64).unwrap();
    let journal = root.left_behind();
    assert_eq!(settle(&journal, older, 1, text), 2);
    assert_eq!(settle(&journal, call, 1, text), 1);
}

/// Also one in a record's length, which says where the next one stands.
#[test]
fn whichever_bit_flips_one_record_is_lost_and_that_is_known() {
    let root = Root::new();
    let journal = root.journal();
    let calls = [(); 3].map(|()| RequestId::generate());
    for call in calls {
        journal.intend(call, shard(1), b"intent").unwrap();
    }
    settle(&journal, calls[0], 1, text);
    settle(&journal, calls[2], 1, text);
    drop(journal);
    assert!(root.left_behind().is_whole);
    let path = root.segments().remove(0);
    let bytes = fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|it| *it != 0).unwrap() + 1;
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    for at in (0..end).step_by(11) {
        let flipped = bytes[at] ^ 1 << (at % 8);
        file.write_all_at(&[flipped], at as u64).unwrap();
        let journal = root.left_behind();
        assert!(!journal.is_whole, "byte {at}");
        let (open, settled) = (journal.unsettled().len(), bodies(&journal, 1, 0).len());
        let known = [(1, 2), (0, 2), (2, 1), (2, 0)];
        assert!(known.contains(&(open, settled)), "byte {at}: {open} open, {settled} settled");
        file.write_all_at(&bytes[at..=at], at as u64).unwrap();
        // Each who takes it over writes into a segment of their own.
        root.segments().iter().skip(1).for_each(|it| fs::remove_file(it).unwrap());
    }
}

/// A body so long that a segment holds only some.
fn long(_: u64) -> Vec<u8> {
    vec![b'x'; 500_000]
}

#[test]
fn segments_go_when_nothing_in_them_is_needed_and_never_before_older_ones() {
    let root = Root::new();
    let journal = root.journal();
    let lasting = RequestId::generate();
    journal.intend(lasting, shard(1), b"lasting").unwrap();
    for number in 1..=100 {
        settle(&journal, RequestId::generate(), 1, long);
        journal.tend().unwrap();
        journal.forget(shard(1), number).unwrap();
    }
    // The call that lasts kept its segment and those since; then it was written again.
    assert!(root.segments().len() <= MOST_PINNED + 3, "{:?}", root.segments());
    settle(&journal, lasting, 1, text);
    drop(journal);
    let journal = root.left_behind();
    assert!(journal.unsettled().is_empty());
    // What was forgotten may be there again, until it is said again that it need not.
    journal.forget(shard(1), 100).unwrap();
    assert_eq!(bodies(&journal, 1, 0), [(101, text(101))]);
}

#[test]
fn where_there_is_no_room_no_call_begins_and_none_is_lost() {
    let root = Root::new();
    let journal = Journal::create(&root.0, Epoch(7), 2 * SEGMENT).unwrap();
    journal.tend().unwrap();
    let mut open = vec![];
    let refused = loop {
        let call = RequestId::generate();
        match journal.intend(call, shard(1), &[b'i'; 100_000]) {
            Ok(()) => open.push(call),
            Err(why) => break why,
        }
    };
    assert!(matches!(refused, NotWritten::NoRoom), "{refused}");
    assert!(journal.is_full());
    // What holds nothing and was not sent is not kept; what holds something waits, without a
    // number, and is not in anybody's way.
    let place = (RequestId::generate(), shard(1));
    assert_eq!(journal.settle(place, false, |_| vec![b'r'; 220_000]), None);
    assert_eq!(journal.waiting(), 0);
    assert_eq!(journal.settle(place, true, |_| vec![b'h'; 220_000]), None);
    assert_eq!(journal.waiting(), 1);
    // Those under way are settled, even by more than was kept free for them.
    let mut settled = 0;
    for call in &open {
        settled +=
            u64::from(journal.settle((*call, shard(1)), true, |_| vec![b'f'; 300_000]).is_some());
    }
    assert_eq!(settled + journal.waiting(), open.len() as u64 + 1);
    // Once the database has some, the others find room.
    while journal.waiting() > 0 {
        let last = journal.last(shard(1));
        journal.forget(shard(1), last).unwrap();
        journal.tend().unwrap();
        assert!(journal.last(shard(1)) > last || journal.waiting() == 0);
    }
    let last = journal.last(shard(1));
    assert_eq!(last, open.len() as u64 + 1);
    journal.forget(shard(1), last.saturating_sub(1)).unwrap();
    journal.tend().unwrap();
    assert!(!journal.is_full(), "calls go on by themselves");
    drop(journal);
    let journal = root.left_behind();
    let open: BTreeSet<_> = open.into_iter().collect();
    assert!(journal.unsettled().iter().all(|(call, _)| !open.contains(call)));
    journal.forget(shard(1), last - 1).unwrap();
    assert_eq!(bodies(&journal, 1, 0).len(), 1);
}

/// A number that Redis has counted would be another call's afterwards.
/// A segment takes longer to make than a thousand calls to come.
#[test]
fn room_is_made_before_those_who_come_at_once_need_it() {
    let root = Root::new();
    let journal = root.journal();
    for _ in 0..10 {
        for _ in 0..1_000 {
            journal.intend(RequestId::generate(), shard(3), b"a call").unwrap();
        }
        journal.tend().unwrap();
    }
}

#[test]
fn nobody_is_told_of_what_a_power_failure_could_take_away() {
    let root = Root::new();
    let journal = root.journal();
    let told = |journal: &Journal| journal.safe_since(shard(1), 0, 100).unwrap().len();
    settle(&journal, RequestId::generate(), 1, text);
    assert_eq!(told(&journal), 0);
    let unsynced = journal.unsynced().unwrap();
    settle(&journal, RequestId::generate(), 1, text);
    journal.is_synced(unsynced.sync().unwrap());
    assert_eq!(told(&journal), 1, "what was written meanwhile is not safe");
    journal.tend().unwrap();
    assert_eq!(told(&journal), 2);
    assert!(journal.unsynced().is_none());
    settle(&journal, RequestId::generate(), 1, text);
    drop(journal);
    // Nor what another process finds.
    let journal = root.left_behind();
    assert_eq!((bodies(&journal, 1, 0).len(), told(&journal)), (3, 0));
    journal.tend().unwrap();
    assert_eq!(told(&journal), 3);
}

#[test]
fn a_journal_that_lacks_something_knows() {
    let check = |spoil: fn(&File, u64), is_whole| {
        let root = Root::new();
        let journal = root.journal();
        settle(&journal, RequestId::generate(), 1, text);
        drop(journal);
        let path = root.segments().remove(0);
        let end = fs::read(&path).unwrap().iter().rposition(|it| *it != 0).unwrap() as u64 + 1;
        spoil(&OpenOptions::new().write(true).open(path).unwrap(), end);
        let journal = root.left_behind();
        assert_eq!(journal.is_whole, is_whole);
        drop(journal);
        // Nor is it forgotten by whoever takes it over next.
        assert_eq!(root.left_behind().is_whole, is_whole);
    };
    check(|_, _| (), true);
    check(|file, end| file.set_len(end - 3).unwrap(), false);
    // Between two records: it is smaller than it was made.
    check(|file, end| file.set_len(end).unwrap(), false);
    check(|file, end| file.write_all_at(b"?", end - 2).unwrap(), false);
    // Behind the last one stands what is no record.
    check(|file, end| file.write_all_at(b"????", end).unwrap(), false);
}

#[test]
fn what_was_counted_and_is_gone_keeps_its_number() {
    let root = Root::new();
    let journal = root.journal();
    let calls = [(); 3].map(|()| RequestId::generate());
    for call in calls {
        journal.intend(call, shard(1), b"intent").unwrap();
    }
    settle(&journal, calls[0], 1, text);
    settle(&journal, calls[1], 1, text);
    drop(journal);
    let path = root.segments().remove(0);
    let bytes = fs::read(&path).unwrap();
    for lost in [&b"settlement 1"[..], b"settlement 2"] {
        let at = memchr::memmem::find(&bytes, lost).unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"X", at as u64).unwrap();
    }

    let journal = root.left_behind();
    assert_eq!(journal.notes_counted(shard(1), 2), 2);
    // However often it is asked.
    assert_eq!(journal.notes_counted(shard(1), 2), 2);
    journal.was_settled(calls[0]);
    journal.was_settled(calls[1]);
    assert_eq!(journal.settle((calls[2], shard(1)), true, text), Some(3));
    assert_eq!(bodies(&journal, 1, 2), [(3, text(3))]);
    journal.forget(shard(1), 3).unwrap();
    assert!(journal.is_done());
}

/// Else the store would take what it came to for something it has counted already.
#[test]
fn a_call_that_outlasts_all_settlements_of_its_shard_gets_the_next_number() {
    let root = Root::new();
    let journal = root.journal();
    settle(&journal, RequestId::generate(), 1, long);
    let call = RequestId::generate();
    journal.intend(call, shard(1), b"intent").unwrap();
    for number in 2..=100 {
        settle(&journal, RequestId::generate(), 1, long);
        journal.forget(shard(1), number).unwrap();
        journal.tend().unwrap();
    }
    drop(journal);
    let journal = root.left_behind();
    assert_eq!(settle(&journal, call, 1, text), 101);
}

#[derive(Clone, Debug)]
enum Step {
    Intend,
    Progress(prop::sample::Index, u64),
    Settle(prop::sample::Index, u8),
    Refuse(u8),
    Forget(u8, u64),
    Tend,
    Die,
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Intend),
        2 => (any::<prop::sample::Index>(), 1..1_000u64).prop_map(|(it, told)| Step::Progress(it, told)),
        4 => (any::<prop::sample::Index>(), 0..3u8).prop_map(|(it, shard)| Step::Settle(it, shard)),
        1 => (0..3u8).prop_map(Step::Refuse),
        2 => (0..3u8, 0..12u64).prop_map(|(shard, number)| Step::Forget(shard, number)),
        1 => Just(Step::Tend),
        1 => Just(Step::Die),
    ]
}

/// Which costs nothing, and is told of nobody before it is written.
#[test]
fn what_was_refused_is_written_with_what_comes_next_or_gone_with_its_process() {
    let root = Root::new();
    let journal = root.journal();
    let refused = || (RequestId::generate(), shard(1));
    assert_eq!(journal.settle(refused(), false, text), Some(1));
    drop(journal);
    let left = root.left_behind();
    assert_eq!(bodies(&left, 1, 0), []);
    drop(left);

    let root = Root::new();
    let journal = root.journal();
    journal.settle(refused(), false, text);
    journal.settle(refused(), false, text);
    let call = RequestId::generate();
    journal.intend(call, shard(1), b"intent").unwrap();
    journal.settle(refused(), false, text);
    drop(journal);
    let left = root.left_behind();
    assert_eq!(bodies(&left, 1, 0), [(1, text(1)), (2, text(2))]);
    assert_eq!(left.unsettled().len(), 1);
    assert_eq!(left.last(shard(1)), 2);
    drop(left);

    let root = Root::new();
    let journal = root.journal();
    journal.settle(refused(), false, text);
    assert!(journal.safe_since(shard(1), 0, 9).unwrap().is_empty());
    journal.settle(refused(), false, text);
    journal.tend().unwrap();
    assert_eq!(journal.safe_since(shard(1), 0, 9).unwrap().len(), 2);
    drop(journal);
    assert_eq!(bodies(&root.left_behind(), 1, 0), [(1, text(1)), (2, text(2))]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever happens and however often the process dies: what was intended is under way
    /// or settled, what is settled is there until it is forgotten, and numbers have no gaps.
    #[test]
    fn nothing_is_lost_and_nothing_is_there_twice(steps in prop::collection::vec(steps(), 1..60)) {
        let root = Root::new();
        let mut journal = root.journal();
        let mut open: BTreeMap<RequestId, u64> = BTreeMap::new();
        let mut settled: BTreeMap<u8, (u64, Vec<u64>)> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Intend => {
                    let call = RequestId::generate();
                    journal.intend(call, shard(1), b"intent").unwrap();
                    open.insert(call, 0);
                }
                Step::Progress(which, told) if !open.is_empty() => {
                    let call = *which.get(&open.keys().copied().collect::<Vec<_>>());
                    let told = told.max(open[&call]);
                    journal.progress(call, told);
                    open.insert(call, told);
                }
                Step::Settle(which, of) if !open.is_empty() => {
                    let call = *which.get(&open.keys().copied().collect::<Vec<_>>());
                    let number = settle(&journal, call, of, text);
                    open.remove(&call);
                    let (last, kept) = settled.entry(of).or_default();
                    *last += 1;
                    prop_assert_eq!(number, *last);
                    kept.push(number);
                }
                Step::Refuse(of) => {
                    let refused = (RequestId::generate(), shard(of));
                    let (last, kept) = settled.entry(of).or_default();
                    *last += 1;
                    prop_assert_eq!(journal.settle(refused, false, text), Some(*last));
                    kept.push(*last);
                }
                Step::Forget(of, number) => {
                    journal.forget(shard(of), number).unwrap();
                    if let Some((_, kept)) = settled.get_mut(&of) {
                        kept.retain(|it| *it > number);
                    }
                }
                Step::Tend => journal.tend().unwrap(),
                // Numbers go on where something of a shard is kept. Where nothing is, another
                // process has another epoch and begins anew.
                Step::Die if settled.values().all(|(_, kept)| !kept.is_empty()) => {
                    drop(journal);
                    journal = root.left_behind();
                    for (of, (_, kept)) in &settled {
                        journal.forget(shard(*of), kept[0] - 1).unwrap();
                    }
                }
                Step::Progress(..) | Step::Settle(..) | Step::Die => (),
            }
            for (of, (_, kept)) in &settled {
                let found: Vec<_> = bodies(&journal, *of, 0);
                prop_assert_eq!(found, kept.iter().map(|it| (*it, text(*it))).collect::<Vec<_>>());
            }
            let found: Vec<_> =
                journal.unsettled().into_iter().map(|(call, it)| (call, it.delivered)).collect();
            prop_assert_eq!(found, open.clone().into_iter().collect::<Vec<_>>());
        }
    }
}
