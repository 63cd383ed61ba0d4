//! What somebody who misspelled a name probably meant.

/// The candidate nearest to a name, where it is near enough to be meant.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let reach = (name.chars().count() / 3).clamp(1, 3);
    let near = candidates.into_iter().map(|candidate| (distance(name, candidate), candidate));
    near.filter(|(distance, _)| *distance <= reach).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// Insertions, deletions, replacements and swaps of neighbours that make one word of the other, whatever their case;
/// `-` counts as `_`.
fn distance(left: &str, right: &str) -> usize {
    let letters = |word: &str| word.to_lowercase().replace('-', "_").chars().collect::<Vec<_>>();
    let (left, right) = (letters(left), letters(right));
    let mut rows = vec![vec![0_usize; right.len() + 1]; left.len() + 1];
    for i in 0..=left.len() {
        for j in 0..=right.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i.max(j)
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
                let moved = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(replaced);
                let is_swap = i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1];
                if is_swap { moved.min(rows[i - 2][j - 2] + 1) } else { moved }
            };
        }
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn the_nearest_name_is_found_and_a_strange_one_is_not() {
        let names = ["host", "port", "max_connections", "connection_timeout"];
        for (name, expected) in [
            ("prot", Some("port")),
            ("Port", Some("port")),
            ("ports", Some("port")),
            ("hots", Some("host")),
            ("max-connections", Some("max_connections")),
            ("max_conections", Some("max_connections")),
            ("maxconnections", Some("max_connections")),
            ("timeout", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, names), expected, "{name}");
        }
    }
}
