//! A user's rules: a file in the TOML form of gitleaks, checked whole before any of it is used.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use aho_corasick::AhoCorasick;
use regex::bytes::{Regex, RegexBuilder};
use ring::digest;
use serde::Deserialize;
use thiserror::Error;

use super::user::{Allowed, UserRule};
use super::{Inner, RULES_VERSION, Rules, all};

/// A file with more rules than this is a mistake.
const RULES: usize = 2000;
/// A compiled expression's bound, in bytes.
const SIZE: usize = 4 << 20;

/// Why a file of rules is not used.
#[derive(Debug, Error)]
pub enum RulesError {
    /// It is no TOML, or not of this form.
    #[error("not a rules file: {0}")]
    Form(String),
    /// A rule does not hold.
    #[error("rule {rule:?}: {why}")]
    Rule {
        /// Its id, or its place in the file where it has none.
        rule: String,
        /// What is wrong, and what to do.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[expect(dead_code, reason = "gitleaks' files have one; it decides nothing")]
    title: Option<String>,
    #[expect(dead_code, reason = "gitleaks' files have one; it decides nothing")]
    description: Option<String>,
    #[serde(rename = "minVersion")]
    #[expect(dead_code, reason = "gitleaks' own version, not ours")]
    min_version: Option<String>,
    extend: Option<Extend>,
    allowlist: Option<Allowlist>,
    #[serde(default)]
    allowlists: Vec<Allowlist>,
    #[serde(default)]
    rules: Vec<RuleText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Extend {
    #[serde(default)]
    use_default: Option<bool>,
    #[serde(default)]
    disabled_rules: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RuleText {
    id: Option<String>,
    #[expect(dead_code, reason = "for people who read the file")]
    description: Option<String>,
    regex: Option<String>,
    #[serde(default)]
    secret_group: usize,
    #[serde(default)]
    entropy: f64,
    #[serde(default)]
    keywords: Vec<String>,
    #[expect(dead_code, reason = "for people who read the file")]
    tags: Option<Vec<String>>,
    path: Option<String>,
    allowlist: Option<Allowlist>,
    #[serde(default)]
    allowlists: Vec<Allowlist>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Allowlist {
    #[expect(dead_code, reason = "for people who read the file")]
    description: Option<String>,
    #[serde(default)]
    regexes: Vec<String>,
    #[serde(default)]
    regex_target: Option<String>,
    #[serde(default)]
    stopwords: Vec<String>,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    commits: Vec<String>,
    #[serde(default)]
    condition: Option<String>,
    #[serde(default)]
    target_rules: Vec<String>,
}

impl Rules {
    /// The built-in rules and those of a file's text, in the TOML form of gitleaks.
    ///
    /// # Errors
    /// If the text has not that form or one of its rules does not hold; nothing of it is used then.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        let file: File =
            toml::from_str(text).map_err(|error| RulesError::Form(error.to_string()))?;
        if file.rules.len() > RULES {
            return Err(RulesError::Form(format!("more than {RULES} rules")));
        }
        let mut allowed = Allowed::default();
        for list in file.allowlist.iter().chain(&file.allowlists) {
            add(&mut allowed, list, "the file's allowlist")?;
        }
        let off = switched_off(file.extend.as_ref())?;
        let (mut users, mut seen) = (vec![], HashSet::new());
        for (index, rule) in file.rules.iter().enumerate() {
            let id = rule.id.clone().unwrap_or_else(|| format!("#{}", index + 1));
            let user = compile(rule, &id)?;
            if !seen.insert(id.clone()) {
                return Err(wrong(&id, "this id is there twice: give each rule its own"));
            }
            users.push(user);
        }
        let (words, owners): (Vec<_>, Vec<_>) = users
            .iter()
            .enumerate()
            .flat_map(|(index, rule)| rule.keywords.iter().map(move |word| (word.clone(), index)))
            .unzip();
        let keywords = (!words.is_empty())
            .then(|| AhoCorasick::builder().ascii_case_insensitive(true).build(&words))
            .transpose()
            .map_err(|error| RulesError::Form(format!("keywords: {error}")))?;
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        let hash = data_encoding::HEXLOWER.encode(hash.as_ref().get(..6).unwrap_or_default());
        let version = format!("{RULES_VERSION}+{hash}").into();
        Ok(Self(Arc::new(Inner { version, off, email: false, users, keywords, owners, allowed })))
    }
}

fn wrong(rule: &str, why: impl Into<String>) -> RulesError {
    RulesError::Rule { rule: rule.to_owned(), why: why.into() }
}

fn switched_off(extend: Option<&Extend>) -> Result<Vec<bool>, RulesError> {
    let mut off = vec![false; all().count()];
    let Some(extend) = extend else { return Ok(off) };
    if extend.use_default == Some(false) {
        let why = "the built-in rules stay: name single ones in disabledRules";
        return Err(RulesError::Form(format!("extend.useDefault = false: {why}")));
    }
    for name in &extend.disabled_rules {
        let mut known = false;
        for (rule, off) in all().zip(&mut off) {
            if rule.sort == name {
                known = true;
                *off = true;
            }
        }
        if !known {
            return Err(wrong(name, "disabledRules names no built-in rule (see docs/MASKING.md)"));
        }
    }
    Ok(off)
}

fn compile(rule: &RuleText, id: &str) -> Result<UserRule, RulesError> {
    let sort = id.as_bytes();
    let named =
        sort.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(b));
    if rule.id.is_none() {
        return Err(wrong(id, "it has no id: records name the rule by it"));
    }
    if !named || sort.is_empty() || sort.len() > 48 {
        return Err(wrong(id, "an id is 1 to 48 of a-z, 0-9, '-', '_' and '.'"));
    }
    if rule.path.is_some() && rule.regex.is_none() {
        return Err(wrong(
            id,
            "it has a path and no regex: an agent's texts have no path; leave it out",
        ));
    }
    let regex = rule.regex.as_deref().ok_or_else(|| wrong(id, "it has no regex"))?;
    let regex = build(regex).map_err(|why| wrong(id, format!("regex: {why}")))?;
    if regex.is_match(b"") {
        return Err(wrong(id, "its regex matches nothing at all: every text would be masked"));
    }
    if rule.secret_group >= regex.captures_len() {
        let groups = regex.captures_len() - 1;
        return Err(wrong(
            id,
            format!("secretGroup = {}: the regex has {groups} groups", rule.secret_group),
        ));
    }
    if !(0.0..=8.0).contains(&rule.entropy) {
        return Err(wrong(id, format!("entropy = {}: bits a byte are 0 to 8", rule.entropy)));
    }
    if let Some(empty) = rule.keywords.iter().position(String::is_empty) {
        return Err(wrong(id, format!("keyword {} is empty", empty + 1)));
    }
    let mut allowed = Allowed::default();
    for list in rule.allowlist.iter().chain(&rule.allowlists) {
        add(&mut allowed, list, id)?;
    }
    Ok(UserRule {
        sort: interned(id),
        keywords: rule.keywords.clone(),
        regex,
        group: rule.secret_group,
        entropy: rule.entropy,
        allowed,
    })
}

fn add(allowed: &mut Allowed, list: &Allowlist, of: &str) -> Result<(), RulesError> {
    if !list.target_rules.is_empty() {
        return Err(wrong(of, "targetRules: write the allowlist in the rule itself"));
    }
    if list.condition.as_deref().is_some_and(|word| !word.eq_ignore_ascii_case("or")) {
        return Err(wrong(of, "allowlist condition: only \"OR\" is known"));
    }
    if !list.commits.is_empty() || !list.paths.is_empty() {
        return Err(wrong(
            of,
            "allowlist paths and commits: an agent's texts have neither; leave them out",
        ));
    }
    let whole = match list.regex_target.as_deref() {
        None | Some("secret" | "") => false,
        Some("match") => true,
        Some(other) => {
            return Err(wrong(of, format!("regexTarget = {other:?}: \"secret\" or \"match\"")));
        }
    };
    for text in &list.regexes {
        let regex = build(text).map_err(|why| wrong(of, format!("allowlist regex: {why}")))?;
        allowed.regexes.push((regex, whole));
    }
    for word in &list.stopwords {
        if word.is_empty() {
            return Err(wrong(of, "allowlist: an empty stopword would let everything through"));
        }
        allowed.stopwords.push(word.to_ascii_lowercase().into_bytes());
    }
    Ok(())
}

fn build(text: &str) -> Result<Regex, String> {
    // Bytes of an agent need not be UTF-8, and no class should turn away what isn't.
    RegexBuilder::new(text).size_limit(SIZE).build().map_err(|error| error.to_string())
}

/// A sort's name that lives as long as the program: each name is kept once, however often a file
/// is loaded again.
fn interned(name: &str) -> &'static str {
    static NAMES: Mutex<Vec<&'static str>> = Mutex::new(vec![]);
    let mut names = NAMES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(known) = names.iter().find(|known| **known == name) {
        return known;
    }
    let kept: &'static str = Box::leak(name.to_owned().into_boxed_str());
    names.push(kept);
    kept
}
