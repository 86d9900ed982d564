use crate::latency::*;

#[test]
fn percentiles_are_values_that_occurred() {
    let values: Vec<u64> = (1..=200).collect();
    assert_eq!(percentile(&values, 0.5), Some(100));
    assert_eq!(percentile(&values, 0.99), Some(198));
    assert_eq!(percentile(&values, 1.0), Some(200));
    assert_eq!(percentile(&[7], 0.5), Some(7));
    assert_eq!(percentile(&[], 0.5), None);
}
