//! What a check of a bag or dataset found.

/// One rule that is broken, or something worth a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether a reader would fail or be misled; otherwise it is a remark.
    pub broken: bool,
    /// File, topic, episode or feature.
    pub place: String,
    /// What was expected, and what is there.
    pub problem: String,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Everything that was found; empty when all is well.
    pub findings: Vec<Finding>,
    /// Episodes that were looked at.
    pub episodes: u64,
    /// Frames or messages that were looked at.
    pub items: u64,
}

impl Report {
    /// Whether no rule is broken.
    pub fn is_sound(&self) -> bool {
        !self.findings.iter().any(|finding| finding.broken)
    }

    pub(crate) fn broken(&mut self, place: impl Into<String>, problem: impl Into<String>) {
        self.findings.push(Finding { broken: true, place: place.into(), problem: problem.into() });
    }

    pub(crate) fn remark(&mut self, place: impl Into<String>, problem: impl Into<String>) {
        self.findings.push(Finding { broken: false, place: place.into(), problem: problem.into() });
    }
}
