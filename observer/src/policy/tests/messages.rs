//! Each thing that can be wrong: one message, with the rule, the place and the way out.

use crate::policy::{MAX_GROUP_RULES, Policy, Problem};

fn problems(text: &str) -> Vec<Problem> {
    Policy::parse(text).err().unwrap_or_else(|| panic!("parsed:\n{text}"))
}

/// The only problem of a policy of one rule, whose scope is given.
fn problem(scope: &str) -> Problem {
    let text = format!("version = 1\ndefault = \"allow\"\n[[deny]]\nid = \"x\"\n{scope}\n");
    let mut found = problems(&text);
    assert_eq!(found.len(), 1, "{found:#?}");
    let found = found.remove(0);
    assert_eq!(found.rule.as_deref(), Some("x"), "{found}");
    assert!(!found.help.is_empty());
    found
}

#[test]
fn every_bad_value_has_one_message_with_its_place() {
    let long = "a".repeat(300);
    for (scope, line, column, part) in [
        ("net = { to = [\"10.0.0.0/33\"] }", 5, 15, "bad prefix length"),
        ("net = { to = [\"10.0.0.0/+8\"] }", 5, 15, "bad prefix length"),
        ("net = { to = [\"example.com\"] }", 5, 15, "no IP address"),
        ("net = { to = [\"::ffff:10.0.0.0/8\"] }", 5, 15, "length below 96"),
        ("net = { to = [] }", 5, 14, "`to` is empty"),
        ("net = { to = [1] }", 5, 15, "holds integer"),
        ("net = { port = [] }", 5, 16, "`port` is empty"),
        ("net = { port = [0] }", 5, 17, "holds 0"),
        ("net = { port = [65536] }", 5, 17, "holds 65536"),
        ("net = { port = [-1] }", 5, 17, "holds -1"),
        ("net = { port = [\"9-8\"] }", 5, 17, "holds \"9-8\""),
        ("net = { port = [\"443\"] }", 5, 17, "holds \"443\""),
        ("net = { port = [1.5] }", 5, 17, "holds float"),
        ("net = { protocol = \"tpc\" }", 5, 20, "not known"),
        ("net = { protocol = \"raw\", port = 1 }", 5, 20, "raw socket"),
        ("net = { protocol = [\"sctp\"] }", 5, 21, "can't be enforced by destination"),
        ("net = { host = [] }", 5, 16, "`host` is empty"),
        ("net = { host = \"\" }", 5, 16, "a label is missing"),
        ("net = { host = [\"a..example\"] }", 5, 17, "a label is missing"),
        ("net = { host = [\"bücher.example\"] }", 5, 17, "not ASCII"),
        ("net = { host = [\"192.0.2.1\"] }", 5, 17, "is an address"),
        ("net = { host = [\"::1\"] }", 5, 17, "is an address"),
        ("net = { host = [\"a.*.example\"] }", 5, 17, "stands for something else"),
        ("net = { host = [\"*\"] }", 5, 17, "stands for something else"),
        ("net = { host = [\"https://a.example\"] }", 5, 17, "more than a name"),
        ("net = { host = [\"a.example:443\"] }", 5, 17, "more than a name"),
        ("net = { host = [\"a b.example\"] }", 5, 17, "something else than letters"),
        (&format!("net = {{ host = [\"{}.example\"] }}", "a".repeat(64)), 5, 17, "63 bytes"),
        (&format!("net = {{ host = [\"{}a.example\"] }}", "a.".repeat(123)), 5, 17, "253 bytes"),
        ("net = { host = \"a.example\", to = \"::1\" }", 5, 16, "both `to` and `host`"),
        ("net = { host = \"a.example\", protocol = \"raw\" }", 5, 40, "raw socket"),
        ("net = { hots = \"a\", to = \"::1\" }", 5, 9, "unknown key \"hots\""),
        ("net = {}", 5, 7, "says nothing"),
        ("net = 1", 5, 7, "must be a table"),
        ("exec = {}", 5, 8, "names no `program` and no `sha256`"),
        ("exec = { sha256 = [] }", 5, 19, "`sha256` is empty"),
        ("exec = { sha256 = \"12ab\" }", 5, 19, "no SHA-256"),
        (&format!("exec = {{ sha256 = [\"{}g\"] }}", "a".repeat(63)), 5, 20, "no SHA-256"),
        (&format!("exec = {{ sha256 = \"{}\" }}", "ab".repeat(33)), 5, 19, "no SHA-256"),
        (
            &format!("exec = {{ sha256 = \"{}\", args = [\"x\"] }}", "ab".repeat(32)),
            5,
            94,
            "whatever the arguments",
        ),
        (
            &format!("exec = {{ sha256 = \"{}\", program = \"x\" }}", "ab".repeat(32)),
            5,
            19,
            "both `program` and `sha256`",
        ),
        ("exec = { program = [] }", 5, 20, "`program` is empty"),
        ("exec = { program = \"bin/git\" }", 5, 20, "relative path"),
        ("exec = { program = \"/usr/../git\" }", 5, 20, "not a resolved path"),
        ("exec = { program = \"/usr/bin/\" }", 5, 20, "not a resolved path"),
        ("exec = { program = \"\" }", 5, 20, "can't be a program's name"),
        (&format!("exec = {{ program = \"{long}\" }}"), 5, 20, "300 bytes, more than 240"),
        (&format!("exec = {{ program = \"/{long}\" }}"), 5, 20, "301 bytes, more than 240"),
        ("exec = { program = \"x\", args = [] }", 5, 32, "`args` is empty"),
        ("exec = { program = \"x\", args = \"a b\" }", 5, 32, "must be a list"),
        ("exec = { program = \"x\", args = [\"\"] }", 5, 33, "can't be held"),
        (&format!("exec = {{ program = \"x\", args = [\"{long}\"] }}"), 5, 33, "more than 126"),
        ("exec = { program = \"x\" }\nnet = { to = \"::1\" }", 5, 8, "both `net` and `exec`"),
        ("why = \"nothing\"", 3, 1, "neither `net` nor `exec`"),
        ("why = 1\nexec = { program = \"x\" }", 5, 7, "`why` must be a string"),
        ("enforce = 1\nexec = { program = \"x\" }", 5, 11, "`enforce` must be true or false"),
        ("verdict = 1\nexec = { program = \"x\" }", 5, 1, "unknown key \"verdict\" in a rule"),
    ] {
        let found = problem(scope);
        assert!(found.message.contains(part), "{scope}\n{found}");
        assert_eq!((found.line, found.column), (line, column), "{scope}\n{found}");
    }
}

#[test]
fn a_policy_says_everything_that_is_wrong_at_once_in_the_texts_order() {
    let found = problems(
        "version = 2\ndefault = \"maybe\"\nextra = 1\n[[allow]]\nid = \"a\"\n[[deny]]\nid = \"a\"\n\
         exec = { program = \"x\" }\n[[deny]]\nnet = { to = \"::1\" }\n[[deny]]\nid = \"A b\"\n\
         net = { port = 0 }\n",
    );
    let lines: Vec<u32> = found.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [1, 2, 3, 4, 7, 9, 12, 13], "{found:#?}");
    assert!(found[4].message.contains("taken by the rule at line 4"), "{}", found[4]);
}

#[test]
fn what_is_missing_at_the_top_is_said() {
    let found = problems("");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found.iter().all(|problem| (problem.line, problem.column) == (1, 1)));
}

#[test]
fn broken_toml_is_reported_where_it_breaks() {
    let found = problems("version = 1\ndefault = allow\n");
    assert_eq!(found[0].line, 2, "{found:#?}");
    assert!(found[0].message.starts_with("not TOML: "), "{}", found[0]);
}

#[test]
fn a_table_where_a_list_belongs_is_explained() {
    let found = problems("version = 1\ndefault = \"deny\"\n[deny]\nid = \"a\"\n");
    assert!(found[0].help.contains("`[[deny]]`"), "{}", found[0]);
}

#[test]
fn a_problem_reads_as_one_block() {
    assert_eq!(
        problem("net = { port = 0 }").to_string(),
        "line 5, column 16: rule \"x\": `port` holds 0, which is no port or range of ports\n  \
         help: write 443 without quotes, or \"8000-8010\" with them; ports are 1 to 65535, the \
         lower first"
    );
}

#[test]
fn bounds_name_the_rule_that_goes_past_them() {
    let rule = |id: usize, scope: String| format!("[[deny]]\nid = \"r{id}\"\n{scope}\n");
    let head = "version = 1\ndefault = \"allow\"\n";
    let many = |count: usize, args: fn(usize) -> String| {
        let rules = (0..count)
            .map(|n| rule(n, format!("exec = {{ program = \"x\", args = [{}] }}", args(n))));
        format!("{head}{}", rules.collect::<String>())
    };
    let found = problems(&many(MAX_GROUP_RULES + 1, |n| format!("\"{n}\"")));
    assert_eq!(found[0].rule.as_deref(), Some("r16"), "{found:#?}");
    let five = |n: usize| (0..5).map(|k| format!("\"{n}.{k}\"")).collect::<Vec<_>>().join(",");
    let found = problems(&many(16, five));
    assert!(found[0].message.contains("80 different arguments"), "{found:#?}");
    let ports = (0..8)
        .map(|n| rule(n, format!("net = {{ to = \"10.0.0.{n}\", port = \"1-30000\" }}")))
        .collect::<String>();
    let found = problems(&format!("{head}{ports}"));
    assert!(found[0].message.contains("more than 200000 entries"), "{found:#?}");
    assert_eq!(found[0].rule.as_deref(), Some("r6"));
}

fn warnings(text: &str) -> Vec<(Option<String>, String)> {
    let policy = Policy::parse(text).unwrap_or_else(|found| panic!("{found:#?}"));
    policy.warnings().into_iter().map(|found| (found.rule, found.message)).collect()
}

#[test]
fn host_bits_are_normalised_with_a_note() {
    let found =
        warnings("version=1\ndefault=\"allow\"\n[[deny]]\nid=\"a\"\nnet={to=\"10.1.2.3/8\"}");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].1.contains("read as 10.0.0.0/8"), "{found:?}");
}

#[test]
fn rules_that_change_nothing_are_named_with_what_shadows_them() {
    let found = warnings(
        "version = 1\ndefault = \"deny\"\n\
         [[allow]]\nid = \"lost\"\nnet = { to = \"10.1.0.0/16\", port = 443 }\n\
         [[deny]]\nid = \"wide\"\nnet = { to = \"10.0.0.0/8\" }\n\
         [[deny]]\nid = \"git\"\nexec = { program = \"git\" }\n\
         [[allow]]\nid = \"path\"\nexec = { program = \"/usr/bin/git\" }\n\
         [[allow]]\nid = \"live\"\nnet = { to = \"192.0.2.1\" }\n",
    );
    let ids: Vec<_> = found.iter().map(|(id, _)| id.as_deref().unwrap_or("")).collect();
    assert_eq!(ids, ["lost", "path"], "{found:?}");
    assert!(found[0].1.contains("rule \"wide\" at line 6"), "{found:?}");
    assert!(found[1].1.contains("rule \"git\" at line 9"), "{found:?}");
}

#[test]
fn an_allow_under_default_allow_is_called_what_it_is() {
    let found =
        warnings("version=1\ndefault=\"allow\"\n[[allow]]\nid=\"a\"\nexec={program=\"git\"}");
    assert!(found[0].1.contains("changes nothing"), "{found:?}");
}

#[test]
fn a_policy_under_which_nothing_can_run_is_warned_of() {
    let found = warnings("version = 1\ndefault = \"deny\"");
    assert!(found[0].1.contains("nothing can be run"), "{found:?}");
}

#[test]
fn every_example_of_the_documentation_does_what_it_says() {
    let page = include_str!("../../../../docs/POLICY.md");
    let mut seen = [0, 0];
    for block in page.split("```").skip(1).step_by(2) {
        let Some((kind, text)) = block.split_once('\n') else { continue };
        match kind {
            "toml" => {
                assert_eq!(warnings(text), [], "{text}");
                seen[0] += 1;
            }
            "toml,refused" => {
                problems(text);
                seen[1] += 1;
            }
            _ => {}
        }
    }
    assert!(seen[0] >= 4 && seen[1] >= 1, "{seen:?}");
}

#[test]
fn problems_beyond_counting_are_counted() {
    let list = vec!["0"; 1000].join(", ");
    let found = problems(&format!(
        "version = 1\ndefault = \"allow\"\n[[deny]]\nid = \"x\"\nnet = {{ port = [{list}] }}"
    ));
    assert_eq!(found.len(), 201);
    assert!(found[200].message.contains("800 more"), "{}", found[200]);
}

#[test]
fn a_rule_that_decides_raw_sockets_alone_is_not_called_dead() {
    let found = warnings(
        "version = 1\ndefault = \"allow\"\n\
         [[deny]]\nid = \"all\"\nnet = { to = [\"0.0.0.0/0\", \"::/0\"] }\n\
         [[deny]]\nid = \"raw\"\nnet = { protocol = \"raw\" }\n",
    );
    assert_eq!(found, []);
}

#[test]
fn ranges_that_touch_shadow_as_one() {
    let found = warnings(
        "version = 1\ndefault = \"allow\"\n\
         [[deny]]\nid = \"a\"\nnet = { port = [\"1-5\", \"6-10\"] }\n\
         [[deny]]\nid = \"b\"\nnet = { port = \"4-8\" }\n",
    );
    assert!(found[0].1.contains("rule \"a\" at line 3"), "{found:?}");
}

#[test]
fn nesting_without_end_is_an_error_and_no_overflow() {
    for open in ["[", "{a=", "[[", "[{a="] {
        problems(&format!("deny = {}", open.repeat(200_000)));
    }
    problems(&format!("{} = 1", "a.".repeat(200_000)));
}

#[test]
fn an_allow_has_nothing_to_enforce() {
    let found = problems(
        "version = 1\ndefault = \"deny\"\n[[allow]]\nid = \"a\"\nenforce = false\n\
         exec = { program = \"x\" }\n",
    );
    assert_eq!((found.len(), found[0].line, found[0].column), (1, 5, 11), "{found:?}");
    assert!(found[0].message.contains("nothing to hold"), "{}", found[0]);
}
