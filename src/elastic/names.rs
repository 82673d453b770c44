//! The names of indices and aliases. Users search `PREFIX-meetings`. An account writes to the alias `PREFIX-meetings-ACCOUNT`, which leads to
//! `PREFIX-meetings-ACCOUNT-000001`, or to a later number after a rebuild. With one index per year, these are `PREFIX-meetings-ACCOUNT-2026` and
//! `PREFIX-meetings-ACCOUNT-2026-000001`.

use super::Elastic;
use crate::model::{AccountId, Checksum, IndexKind, IndexYear};

/// The longest account id in a name. Longer ones are shortened: the whole name has to stay below the 255 bytes that an index name may have.
const LONGEST: usize = 32;

/// The account as a part of a name. An id of lower-case letters and digits that begins with a letter is used unchanged. Any other id becomes its
/// letters and digits in lower case, an underscore, and a digest of the whole id. No two accounts have the same part. No part has a hyphen, because a
/// hyphen ends the part.
pub fn account_part(account: &AccountId) -> String {
    let id = account.as_str();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if id.len() <= LONGEST && id.starts_with(|c: char| c.is_ascii_lowercase()) && id.chars().all(plain) {
        return id.to_owned();
    }
    let lower = id.to_ascii_lowercase();
    let readable: String = lower.chars().filter(|c| plain(*c)).take(LONGEST).collect();
    let digest: String = Checksum::of_bytes(id.as_bytes())
        .as_str()
        .chars()
        .take(16)
        .collect();
    format!("{readable}_{digest}")
}

/// The number at the end of the name of an index; `None` if the index is not named after this alias.
pub(super) fn generation(alias: &str, index: &str) -> Option<u64> {
    let digits = index.strip_prefix(alias)?.strip_prefix('-')?;
    let all_digits = digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().ok()).flatten()
}

/// The year in the name of an account's index; `None` for any other name. `account_alias` is the alias of the account's index for all years.
pub(super) fn year_of(account_alias: &str, index: &str) -> Option<IndexYear> {
    if generation(account_alias, index).is_some() {
        return Some(IndexYear::ALL);
    }
    let (year, _) = index
        .strip_prefix(account_alias)?
        .strip_prefix('-')?
        .split_once('-')?;
    let year = IndexYear::new(year.parse().ok().filter(|year| *year > 0)?);
    generation(&format!("{account_alias}{}", year.suffix()), index).map(|_| year)
}

impl Elastic {
    /// The alias that users search. It leads to the indices of every account.
    pub fn alias(&self, kind: IndexKind) -> String {
        format!("{}-{}", self.settings.prefix, kind.as_str())
    }

    /// The alias that this account's documents of a year are written to. It leads to one index, which holds no other account's documents.
    pub fn write_alias(&self, kind: IndexKind, year: IndexYear) -> String {
        let account = account_part(&self.settings.account);
        format!("{}-{account}{}", self.alias(kind), year.suffix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_account_gets_a_valid_and_unique_index_name() {
        let part = |id: &str| account_part(&AccountId::new(id));
        assert_eq!(part("abc123"), "abc123");
        let awkward = [
            "AbC-1_dEfGhIjKlMnOpQrS",
            "abc-1_defghijklmnopqrs",
            "ABC",
            "Abc",
            "000001",
            "",
            "_",
            "..",
            "ä*/?\"<>| ,#:",
            "a_b",
            "a-b",
            "a-2026",
        ];
        let long = "x".repeat(500);
        let mut all: Vec<String> = awkward.iter().copied().chain([long.as_str()]).map(part).collect();
        // An id that looks like the part made from another id.
        all.push(part(&all[2].clone()));
        all.extend([part("abc"), part("ab"), part("a2026")]);
        for name in &all {
            assert!(name.len() <= 49, "{name}");
            assert!(
                name.chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'),
                "{name}"
            );
        }
        let different: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!(different.len(), all.len(), "{all:?}");
        // A fixed example: another name would be another index.
        assert_eq!(
            part("AbC-1_dEfGhIjKlMnOpQrS"),
            "abc1defghijklmnopqrs_2dfcc6d5d7e37265"
        );
    }

    #[test]
    fn an_index_generation_has_six_digits() {
        assert_eq!(generation("z-meetings", "z-meetings-000012"), Some(12));
        for other in [
            "z-meetings",
            "z-meetings-12",
            "z-meetings-00001x",
            "z-meetings-+00001",
            "z-meetings-a-000001",
        ] {
            assert_eq!(generation("z-meetings", other), None, "{other}");
        }
    }

    #[test]
    fn the_year_is_read_from_an_index_name() {
        let year = |index: &str| year_of("z-meetings-a", index).map(IndexYear::number);
        assert_eq!(year("z-meetings-a-000001"), Some(0));
        assert_eq!(year("z-meetings-a-2026-000012"), Some(2026));
        assert_eq!(year("z-meetings-a-0987-000012"), Some(987));
        for other in [
            "z-meetings-a-2026",
            "z-meetings-a-0000-000001",
            "z-meetings-a-26-000001",
            "z-meetings-ab-2026-000001",
            "z-meetings-a-2026-archive",
            "z-meetings-a-99999-000001",
        ] {
            assert_eq!(year(other), None, "{other}");
        }
    }
}
