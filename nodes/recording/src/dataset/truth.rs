//! Whether the real times and flags that this recorder adds to each row agree with each other, and with the contract.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use super::check::numbers;
use super::reader::ColumnData;
use super::{DatasetError, at};
use crate::contract::{Align, Contract};
use crate::report::Report;

/// Seconds within which two times are one: f64 holds nanoseconds since 1970 to 256.
const SAME: f64 = 1e-6;

/// The contracts of the episodes whose provenance names one. Of two lines for one episode the later holds.
pub(super) fn contracts(root: &Path, report: &mut Report) -> Result<BTreeMap<u64, Contract>, DatasetError> {
    let place = "meta/pixio/episodes.jsonl";
    let path = root.join(place);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            report.broken(place, "expected text, got other bytes");
            return Ok(BTreeMap::new());
        }
        Err(error) => return Err(at(&path)(error)),
    };
    let mut contracts = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let value = serde_json::from_str::<serde_json::Value>(line).unwrap_or_default();
        let Some(episode) = value["episode_index"].as_u64() else {
            report.broken(place, format!("line {number}: expected an object with episode_index"));
            continue;
        };
        let contract = value["provenance"]["contract"].as_str().and_then(|text| Contract::parse(text).ok());
        match contract {
            Some(contract) => drop(contracts.insert(episode, contract)),
            None => drop(contracts.remove(&episode)),
        }
    }
    Ok(contracts)
}

/// The columns of an episode, frame after frame; of streams one number per stream.
struct Truth<'c> {
    time: &'c [f64],
    stamps: &'c [f64],
    ages: &'c [f64],
    skews: &'c [f64],
    repeated: &'c [f64],
    stale: &'c [f64],
    streams: usize,
}

/// Holds stamps, ages, skews and flags against each other. Rows of other recorders have none of them.
pub(super) fn check_truth(
    place: &str,
    columns: &BTreeMap<String, ColumnData>,
    contract: Option<&Contract>,
    report: &mut Report,
) {
    let of = |key| numbers(columns, key);
    let (time, stamps) = (of("rec.time"), of("sync.stamp"));
    if let Some(frame) = time.windows(2).position(|pair| pair[1] < pair[0]) {
        report.remark(place, format!("rec.time: frame {}: the clock went back", frame + 1));
    }
    let streams = stamps.len().checked_div(time.len()).unwrap_or(0);
    if streams == 0 {
        return;
    }
    let (ages, skews) = (of("sync.age"), of("sync.skew"));
    let (repeated, stale) = (of("rec.repeated"), of("rec.stale"));
    for (key, column) in
        [("sync.age", ages), ("sync.skew", skews), ("rec.repeated", repeated), ("rec.stale", stale)]
    {
        if column.len() != stamps.len() {
            let problem =
                format!("{key}: expected {} numbers as in sync.stamp, got {}", stamps.len(), column.len());
            report.broken(place, problem);
            return;
        }
    }
    let truth = Truth { time, stamps, ages, skews, repeated, stale, streams };
    let problems = [truth.times(), truth.flags(), truth.staleness(contract)];
    problems.into_iter().flatten().for_each(|problem| report.broken(place, problem));
}

impl Truth<'_> {
    fn place(&self, index: usize) -> String {
        format!("frame {}, stream {}", index / self.streams, index % self.streams)
    }

    /// The first age or skew that does not follow from the stamps.
    fn times(&self) -> Option<String> {
        for (index, stamp) in self.stamps.iter().enumerate() {
            let frame = index / self.streams;
            let pairs = [
                ("sync.age", (self.time[frame] - stamp) * 1e-9, self.ages[index]),
                ("sync.skew", (stamp - self.stamps[frame * self.streams]) * 1e-9, self.skews[index]),
            ];
            for (key, expected, got) in pairs {
                // float32 holds them to 7 digits.
                if (expected - got).abs() > SAME + 1e-6 * expected.abs() {
                    return Some(format!("{key}: {}: expected {expected}, got {got}", self.place(index)));
                }
            }
        }
        None
    }

    /// The first message that counts as the one of the row before and is not, or the other way round.
    fn flags(&self) -> Option<String> {
        for (index, stamp) in self.stamps.iter().enumerate().skip(self.streams) {
            let same = self.stamps[index - self.streams] == *stamp;
            match (self.repeated[index] == 1.0, same) {
                (true, false) => {
                    return Some(format!(
                        "rec.repeated: {}: repeated, but with a new stamp",
                        self.place(index)
                    ));
                }
                // Nanoseconds that differ may be one number in f64.
                (false, true) if self.ages[index] - self.ages[index - self.streams] > SAME => {
                    return Some(format!(
                        "rec.repeated: {}: not repeated, but with the same stamp",
                        self.place(index)
                    ));
                }
                _ => {}
            }
        }
        None
    }

    /// The first message that is called too old and is not, or the other way round: by the contract where it is known; without it
    /// none may be called too old beside an older one that is not.
    fn staleness(&self, contract: Option<&Contract>) -> Option<String> {
        let aligned = |contract: &Contract| -> Vec<(Align, f64)> {
            let streams =
                contract.streams.iter().filter_map(|stream| Some((stream.align?, stream.tolerance_ms)));
            streams.map(|(align, tolerance)| (align, f64::from(tolerance) * 1e-3)).collect()
        };
        let aligned = contract.map(aligned).filter(|aligned| aligned.len() == self.streams);
        (0..self.streams).find_map(|stream| match &aligned {
            Some(aligned) => self.stale_by(stream, aligned[stream]),
            None => self.stale_by_others(stream),
        })
    }

    /// Places, ages and flags of one stream.
    fn of(&self, stream: usize) -> impl Iterator<Item = (usize, f64, bool)> + '_ {
        let indexes = (stream..self.stamps.len()).step_by(self.streams);
        indexes.map(|index| (index, self.ages[index], self.stale[index] == 1.0))
    }

    fn stale_by(&self, stream: usize, (align, tolerance): (Align, f64)) -> Option<String> {
        let wrong = |(_, age, stale): &(usize, f64, bool)| {
            let edges: &[f64] = if align == Align::Next { &[-tolerance, 0.0] } else { &[tolerance] };
            // On an edge rounding decides.
            if edges.iter().any(|edge| (age - edge).abs() <= SAME + 1e-6 * edge.abs()) {
                return false;
            }
            let fits =
                if align == Align::Next { (-tolerance..=0.0).contains(age) } else { *age <= tolerance };
            fits == *stale || (*stale && align == Align::Drop)
        };
        let (index, age, stale) = self.of(stream).find(wrong)?;
        let said = if stale { "too old" } else { "not too old" };
        Some(format!(
            "rec.stale: {}: {said}, with an age of {age} s at align {align:?} and {tolerance} s",
            self.place(index)
        ))
    }

    fn stale_by_others(&self, stream: usize) -> Option<String> {
        let fresh = self.of(stream).filter(|(_, _, stale)| !stale);
        let (oldest, oldest_age, _) = fresh.max_by(|a, b| a.1.total_cmp(&b.1))?;
        let younger = |(_, age, stale): &(usize, f64, bool)| *stale && *age < oldest_age - SAME;
        let (index, age, _) = self.of(stream).find(younger)?;
        Some(format!(
            "rec.stale: {}: too old with {age} s, but {} with {oldest_age} s is not",
            self.place(index),
            self.place(oldest)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: f64 = 1.7e18;
    const CONTRACT: &str = "
version: 1
robot_type: arm
fps: 10
streams:
  - {name: eye, topic: /eye, type: t/msg/A, role: observation, align: as_of, rate_hz: 10, tolerance_ms: 50, fields: [x]}
  - {name: hand, topic: /hand, type: t/msg/A, role: action, align: next, rate_hz: 10, tolerance_ms: 80, fields: [x]}
  - {name: rest, topic: /rest, type: t/msg/A, role: other, rate_hz: 0, tolerance_ms: 80}
";

    /// Three frames of two streams: ages in milliseconds, and which are repeated and stale.
    fn columns() -> BTreeMap<String, ColumnData> {
        let ages = [[12.0, -32.0], [20.0, 68.0], [120.0, -12.0]];
        let time: Vec<f64> = (0..3).map(|frame| T0 + f64::from(frame) * 1e8).collect();
        let stamps: Vec<f64> =
            time.iter().zip(ages).flat_map(|(time, ages)| ages.map(|age| time - age * 1e6)).collect();
        let skews = stamps.chunks(2).flat_map(|pair| [0.0, (pair[1] - pair[0]) * 1e-9]).collect();
        let ages = ages.as_flattened().iter().map(|age| age * 1e-3).collect();
        let column = |length, values| ColumnData::Numbers { length, values };
        BTreeMap::from([
            ("rec.time".to_owned(), column(1, time)),
            ("sync.stamp".to_owned(), column(2, stamps)),
            ("sync.age".to_owned(), column(2, ages)),
            ("sync.skew".to_owned(), column(2, skews)),
            ("rec.repeated".to_owned(), column(2, vec![0.0, 0.0, 0.0, 1.0, 1.0, 0.0])),
            ("rec.stale".to_owned(), column(2, vec![0.0, 0.0, 0.0, 1.0, 1.0, 0.0])),
        ])
    }

    fn said(columns: &BTreeMap<String, ColumnData>, contract: Option<&Contract>) -> Vec<String> {
        let mut report = Report::default();
        check_truth("episode 0", columns, contract, &mut report);
        report.findings.into_iter().map(|finding| finding.problem).collect()
    }

    fn change(key: &str, index: usize, to: f64) -> BTreeMap<String, ColumnData> {
        let mut columns = columns();
        let Some(ColumnData::Numbers { values, .. }) = columns.get_mut(key) else { panic!("{key}") };
        values[index] = to;
        columns
    }

    #[test]
    fn each_number_is_held_against_the_others() {
        let contract = Contract::parse(CONTRACT).unwrap();
        for contract in [None, Some(&contract)] {
            assert_eq!(said(&columns(), contract), Vec::<String>::new());
            let cases = [
                ("sync.age", 3, 0.071, "sync.age: frame 1, stream 1: expected 0.068, got 0.071"),
                ("sync.skew", 2, 0.001, "sync.skew: frame 1, stream 0: expected 0, got 0.001"),
                ("sync.skew", 5, -0.132, "sync.skew: frame 2, stream 1: expected 0.132, got -0.132"),
                ("rec.repeated", 5, 1.0, "rec.repeated: frame 2, stream 1: repeated, but with a new stamp"),
                (
                    "rec.repeated",
                    4,
                    0.0,
                    "rec.repeated: frame 2, stream 0: not repeated, but with the same stamp",
                ),
            ];
            for (key, index, to, expected) in cases {
                assert_eq!(said(&change(key, index, to), contract), [expected], "{key}");
            }
        }
        let mut short = columns();
        short.remove("sync.skew");
        assert_eq!(said(&short, None), ["sync.skew: expected 6 numbers as in sync.stamp, got 0"]);
        assert_eq!(said(&BTreeMap::new(), None), Vec::<String>::new(), "of another recorder");
    }

    #[test]
    fn what_is_too_old_follows_from_the_contract_or_from_the_others() {
        let contract = Contract::parse(CONTRACT).unwrap();
        let by_contract = |columns: &_| said(columns, Some(&contract));
        assert_eq!(
            by_contract(&change("rec.stale", 4, 0.0)),
            ["rec.stale: frame 2, stream 0: not too old, with an age of 0.12 s at align AsOf and 0.05 s"]
        );
        assert_eq!(
            by_contract(&change("rec.stale", 5, 1.0)),
            ["rec.stale: frame 2, stream 1: too old, with an age of -0.012 s at align Next and 0.08 s"]
        );
        let mut all_fresh = change("rec.stale", 4, 0.0);
        let Some(ColumnData::Numbers { values, .. }) = all_fresh.get_mut("rec.stale") else { panic!() };
        values[3] = 0.0;
        assert!(said(&all_fresh, None).is_empty(), "nothing tells without a contract");
        assert_eq!(by_contract(&all_fresh).len(), 1);
        assert_eq!(
            said(&change("rec.stale", 0, 1.0), None),
            ["rec.stale: frame 0, stream 0: too old with 0.012 s, but frame 1, stream 0 with 0.02 s is not"]
        );
    }
}
