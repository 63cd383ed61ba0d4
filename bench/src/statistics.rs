//! Median and spread of what several runs gave.

use serde::Serialize;

/// Several values of one thing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Summary {
    /// Nothing where there are no values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
        Some(Self { median, min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        for (values, expected) in [
            (vec![], None),
            (vec![3.0], Some((3.0, 3.0, 3.0))),
            (vec![5.0, 1.0, 2.0], Some((2.0, 1.0, 5.0))),
            (vec![4.0, 1.0, 2.0, 100.0], Some((3.0, 1.0, 100.0))),
            (vec![f64::NAN, 2.0], Some((2.0, 2.0, 2.0))),
        ] {
            let summary = Summary::of(values).map(|summary| (summary.median, summary.min, summary.max));
            assert_eq!(summary, expected);
        }
    }
}
