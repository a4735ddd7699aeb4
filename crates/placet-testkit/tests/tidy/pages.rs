//! The pages say what the code says.

use crate::tree::{generated, none, root};
use std::{collections::HashMap, fs};

/// Every path in backticks in these pages exists.
#[test]
fn paths_in_pages_exist() {
    let root = root();
    let mut found = Vec::new();
    for (page, least) in
        [("ARCHITECTURE.md", 40), ("CONTRIBUTING.md", 8), ("docs/threats.md", 20), ("README.md", 8)]
    {
        let text = fs::read_to_string(root.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        let paths: Vec<&str> = in_backticks(&text).filter(|text| is_path(text)).collect();
        assert!(paths.len() >= least, "{page} names only {} paths", paths.len());
        found.extend(
            paths.iter().filter(|path| !root.join(path).exists()).map(|path| format!("{page}: `{path}`")),
        );
    }
    none("these paths do not exist", &found);
}

/// Every page is in the list of its folder, so that whoever looks for one finds it.
#[test]
fn every_page_is_listed() {
    let mut missing = Vec::new();
    for (folder, least) in [("docs", 25), ("docs/decisions", 18)] {
        let folder = root().join(folder);
        let list = fs::read_to_string(folder.join("README.md")).unwrap();
        let names =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let pages: Vec<String> = names.filter(|name| name.ends_with(".md") && name != "README.md").collect();
        assert!(pages.len() >= least, "only {} pages in {}", pages.len(), folder.display());
        missing.extend(pages.into_iter().filter(|page| !list.contains(&format!("({page})"))));
    }
    none("name these pages in the README.md beside them", &missing);
}

/// Every test that the page on threats names exists.
#[test]
fn tests_named_for_threats_exist() {
    let page = fs::read_to_string(root().join("docs/threats.md")).unwrap();
    let files = crate::tree::rust_files();
    let missing: Vec<String> = in_backticks(&page)
        .filter(|name| {
            name.matches('_').count() >= 2
                && name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
        })
        .filter(|name| !files.iter().any(|file| file.lexed.code.contains(&format!("fn {name}("))))
        .map(str::to_owned)
        .collect();
    none("docs/threats.md names tests that do not exist", &missing);
}

/// Each row of the table on that page has tests that are named after it, or says why not; and each such test is in its row.
#[test]
fn every_threat_has_a_test_named_after_it() {
    let page = fs::read_to_string(root().join("docs/threats.md")).unwrap();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect()))
        .filter(|cells: &Vec<&str>| cells.first().is_some_and(|cell| cell.parse::<usize>().is_ok()))
        .collect();
    assert_eq!(rows.len(), 25, "the table has a row for each threat");
    let mut wrong = Vec::new();
    let mut listed: Vec<String> = Vec::new();
    for (index, cells) in rows.iter().enumerate() {
        let (number, last) = (cells[0], cells[cells.len() - 1].trim());
        assert_eq!(number, (index + 1).to_string());
        let prefix = format!("threat_{:02}_", index + 1);
        let named: Vec<String> =
            in_backticks(last).filter(|name| name.starts_with("threat_")).map(str::to_owned).collect();
        let excused =
            ["does not apply: ", "open: "].iter().any(|why| last.trim_start_matches("| ").starts_with(why));
        if named.is_empty() && !excused {
            wrong.push(format!("row {number} names no test"));
        }
        wrong.extend(
            named
                .iter()
                .filter(|name| !name.starts_with(&prefix))
                .map(|name| format!("row {number}: {name}")),
        );
        listed.extend(named);
    }
    for file in crate::tree::rust_files() {
        for behind in file.lexed.code.split("fn threat_").skip(1) {
            let rest: String = behind.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let name = format!("threat_{rest}");
            if !listed.contains(&name) {
                wrong.push(format!("{name} is in no row"));
            }
        }
    }
    none("docs/threats.md and the tests of threats differ", &wrong);
}

/// The short texts between single backticks, code blocks left out.
fn in_backticks(page: &str) -> impl Iterator<Item = &str> {
    page.split("```").step_by(2).flat_map(|text| text.split('`').skip(1).step_by(2))
}

fn is_path(text: &str) -> bool {
    let plain =
        text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c)) && !text.starts_with('/');
    let top = ["crates/", "docs/", "scripts/", "examples/", ".ci/", ".cargo/"]
        .iter()
        .any(|top| text.starts_with(top));
    plain
        && (top
            || (!text.contains('/')
                && [".md", ".toml", ".lock"].iter().any(|end| text.ends_with(end) && text != *end)))
}

#[test]
fn paths_are_recognised() {
    assert!(["crates/placet-core/src/id.rs", "deny.toml", ".ci/run"].into_iter().all(is_path));
    assert!(
        !["/v1/actions", "POST /v1/x", "act", "crates/*/src", "a::b", "admin.token"].into_iter().any(is_path)
    );
    let page = "one `a` two\n```\n`b`\n```\nthree `c`";
    assert_eq!(in_backticks(page).collect::<Vec<_>>(), ["a", "c"]);
}

const REFUSALS: &str = "docs/refusals.md";

const REFUSALS_HEAD: &str = "# Refusals\n\n\
    Every refusal that Placet can give. The code is the same on every door: in a problem document (RFC 9457) it is\n\
    `code`, inside OAuth the third column is `error` (RFC 6749 §5.2, RFC 6750 §3.1).\n\n\
    The first four columns are written by a test from `crates/placet-core/src/refusal.rs`\n\
    (`UPDATE_DOCS=1 cargo test -p placet-testkit --test tidy`); the last one is kept and written by people.\n\n\
    | code | HTTP | OAuth | meaning | what to do |\n|---|---|---|---|---|\n";

/// One row of the table in `refusal.rs`.
struct Row {
    code: String,
    status: String,
    oauth: String,
    meaning: String,
}

/// Reads the table out of the source: a doc comment and a line `Name = "code", status, "oauth", "title";` each.
fn refusals() -> Vec<Row> {
    let source = fs::read_to_string(root().join("crates/placet-core/src/refusal.rs")).unwrap();
    let (_, table) = source.split_once("\ncodes! {\n").expect("the table of refusals");
    let (table, _) = table.split_once("\n}\n").expect("the end of the table of refusals");
    let mut rows = Vec::new();
    let mut doc: Vec<&str> = Vec::new();
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(comment) = line.strip_prefix("///") {
            doc.push(comment.trim());
            continue;
        }
        let parts: Vec<&str> = line.split('"').collect();
        let (Some(code), Some(status), Some(oauth)) = (parts.get(1), parts.get(2), parts.get(3)) else {
            panic!("a row of the table of refusals that is not one: {line}");
        };
        assert!(!doc.is_empty(), "{code} has no doc comment");
        rows.push(Row {
            code: (*code).to_owned(),
            status: status.trim_matches([',', ' ']).to_owned(),
            oauth: (*oauth).to_owned(),
            meaning: std::mem::take(&mut doc).join(" "),
        });
    }
    assert!(rows.len() > 20, "only {} refusals found", rows.len());
    rows
}

#[test]
fn every_refusal_is_documented() {
    let page = fs::read_to_string(root().join(REFUSALS)).unwrap_or_default();
    let advice: HashMap<&str, &str> = page
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            Some((cells.first()?.trim_matches('`'), *cells.get(4)?))
        })
        .collect();
    let mut wanted = REFUSALS_HEAD.to_owned();
    let mut without = Vec::new();
    for Row { code, status, oauth, meaning } in refusals() {
        let advice = advice.get(code.as_str()).copied().unwrap_or_default();
        if advice.is_empty() {
            without.push(code.clone());
        }
        wanted.push_str(&format!("| `{code}` | {status} | `{oauth}` | {meaning} | {advice} |\n"));
    }
    generated(REFUSALS, &wanted);
    none("say in docs/refusals.md what to do about these", &without);
}
