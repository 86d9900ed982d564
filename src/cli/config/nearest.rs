//! "Did you mean": the known name nearest to one that is not known.

/// The name most like `typed`, if any is alike enough to be meant: at most a third of its letters wrong, or the one begins
/// with the other.
pub(super) fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    let likeness = |name: &'a str| {
        let distance = distance(&typed, &name.to_lowercase());
        let begins = typed.len() >= 3 && name.len() >= 3 && (name.starts_with(&typed) || typed.starts_with(name));
        let near = distance <= (typed.chars().count().max(3)) / 3;
        (near || begins).then_some((!near, distance, name))
    };
    names.into_iter().filter_map(likeness).min().map(|(_, _, name)| name)
}

/// `unknown …; did you mean "…"?`, the last only if something is near.
pub(super) fn unknown<'a>(what: &str, typed: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(typed, names) {
        Some(name) => format!("unknown {what}; did you mean {name:?}?"),
        None => format!("unknown {what}"),
    }
}

/// How many letters must be changed, added, removed or swapped with their neighbour to make one of the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before_last[j - 2] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger_are_understood_and_other_words_are_not() {
        let names = ["mqtt", "mqtts", "http", "https", "sessions_max", "password_hash"];
        let cases = [
            ("mqt", Some("mqtt")),
            ("mqttt", Some("mqtt")),
            ("MQTT", Some("mqtt")),
            ("htpt", Some("http")),
            ("sesions_max", Some("sessions_max")),
            ("session_max", Some("sessions_max")),
            ("password", Some("password_hash")),
            ("amqp", None),
            ("x", None),
            ("", None),
        ];
        for (typed, expected) in cases {
            assert_eq!(nearest(typed, names), expected, "{typed:?}");
        }
    }
}
