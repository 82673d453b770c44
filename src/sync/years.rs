//! Old years whose index is no longer there.

use std::collections::BTreeSet;

use crate::model::IndexYear;

/// Returns the dropped years. A year is dropped if its index acknowledged documents once and is gone, while the index of another such year still
/// exists. Dropped years are left alone. If every index is gone, the cluster was lost or is another one, and no year counts as dropped. The present
/// year is never dropped, because its index is always needed.
pub(super) fn dropped(
    met: &BTreeSet<IndexYear>,
    found: &BTreeSet<IndexYear>,
    present: IndexYear,
) -> BTreeSet<IndexYear> {
    if met.is_disjoint(found) {
        return BTreeSet::new();
    }
    let gone = met.difference(found).copied();
    gone.filter(|year| *year != present).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_counts_as_dropped_only_if_another_index_exists() {
        let years = |numbers: &[u16]| -> BTreeSet<IndexYear> {
            numbers.iter().copied().map(IndexYear::new).collect()
        };
        let present = IndexYear::new(2026);
        let dropped = |met: &[u16], found: &[u16]| dropped(&years(met), &years(found), present);
        assert_eq!(dropped(&[2024, 2025, 2026], &[2025, 2026]), years(&[2024]));
        assert_eq!(dropped(&[2024, 2025, 2026], &[2025]), years(&[2024]));
        assert_eq!(dropped(&[2024, 2025, 2026], &[]), years(&[]));
        // An index that this catalog did not fill does not count.
        assert_eq!(dropped(&[2024, 2025], &[2026]), years(&[]));
        assert_eq!(dropped(&[2025, 2026], &[2025, 2026]), years(&[]));
        assert_eq!(dropped(&[], &[2026]), years(&[]));
    }
}
