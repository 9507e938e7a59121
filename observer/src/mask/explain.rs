//! What would be masked, and by which rule: for whoever tunes rules. It shows places, no tokens.

use super::{Masker, span};

/// A stretch of a text that would be masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where it begins, in bytes.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// Its sort, as a token would name it.
    pub sort: &'static str,
    /// What found it: a rule, or the layer and the way.
    pub rules: Vec<&'static str>,
}

impl Masker {
    /// Says what of a text would be masked, in order.
    pub fn explain(&mut self, text: &[u8]) -> Vec<Finding> {
        let clusters = span::merge(self.spans(text, vec![]));
        let finding = |cluster: &span::Cluster| {
            let mut rules: Vec<_> = cluster.spans.iter().map(|span| span.rule).collect();
            rules.sort_unstable();
            rules.dedup();
            let sort = cluster.tokens(text).first().map_or("secret", |(sort, _)| *sort);
            Finding { start: cluster.start, end: cluster.end, sort, rules }
        };
        clusters.iter().map(finding).collect()
    }
}
