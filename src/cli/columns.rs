//! Tables for people.

/// A line for each row, in which the columns begin below each other. What could move the cursor is shown as `?`: some of it was
/// said by strangers.
pub(super) fn columns<R: AsRef<[String]>>(rows: &[R]) -> Vec<String> {
    let mut widths = Vec::new();
    for row in rows.iter().map(AsRef::as_ref) {
        widths.resize(row.len().max(widths.len()), 0);
        row.iter().zip(&mut widths).for_each(|(cell, width)| *width = cell.chars().count().max(*width));
    }
    let line = |row: &R| {
        let cells = row.as_ref().iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        line.trim_end().chars().map(|c| if c.is_control() { '?' } else { c }).collect()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_begin_below_each_other_and_nothing_moves_the_cursor() {
        let rows = [["A", "B", "C"], ["1", "äöü", "x\u{1b}[2J"], ["12", "-", ""]];
        let lines = columns(&rows.map(|row| row.map(str::to_owned)));
        assert_eq!(lines, ["A   B    C", "1   äöü  x?[2J", "12  -"]);
        assert!(columns::<[String; 3]>(&[]).is_empty());
    }
}
