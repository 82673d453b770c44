//! Zoom's rate-limit labels.

use std::fmt;

/// Zoom's rate-limit labels; each has its own limits. Source: Zoom's rate-limits page, 2026-02.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Label {
    /// `GET /past_meetings/{uuid}`.
    Light,
    /// `GET /users/{host_id}/meetings`.
    Medium,
    /// `GET /report/users` and a meeting's participants; counts against the daily quota.
    Heavy,
    /// `GET /metrics/meetings`: limited per minute; counts against the daily quota.
    ResourceIntensive,
}

impl Label {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Light, Self::Medium, Self::Heavy, Self::ResourceIntensive];

    /// As the catalog, the summary and Zoom's `X-RateLimit-Category` write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Light => "Light",
            Self::Medium => "Medium",
            Self::Heavy => "Heavy",
            Self::ResourceIntensive => "Resource-intensive",
        }
    }

    /// The label of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|label| label.as_str().eq_ignore_ascii_case(text))
    }

    /// Whether it counts against the combined daily quota of Heavy and Resource-intensive requests.
    pub fn has_daily_quota(self) -> bool {
        matches!(self, Self::Heavy | Self::ResourceIntensive)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
