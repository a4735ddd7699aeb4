//! Whether one set of policies is wider than another, without a server.

use crate::process::{run, stdout};
use serde_json::Value;
use std::{fs, path::Path};

fn write(home: &Path, name: &str, rules: &str) {
    let file = home.join(name);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let policy = file.file_stem().unwrap().to_str().unwrap().to_owned();
    fs::write(file, format!("policy: {policy}\nrules:\n{rules}")).unwrap();
}

#[test]
fn exit_codes_say_what_is_certain() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    write(home, "old/desk.yaml", "- {name: a, allow: [refunds.create], when: params.amount <= 500}\n");
    write(home, "new/desk.yaml", "- {name: a, allow: [refunds.create], when: params.amount <= 750}\n");
    write(home, "odd/desk.yaml", "- {name: a, allow: [refunds.create], when: params.amount * 2 <= 900}\n");
    write(home, "old/no-bulk.yaml", "- {name: d, deny: [refunds.create_bulk]}\n");
    write(home, "bad/desk.yaml", "- {name: a, alow: [refunds.create]}\n");

    let narrower = run(home, &["policy", "compare", "new/desk.yaml", "old"]);
    assert_eq!(narrower.status.code(), Some(0), "{}", stdout(&narrower));
    assert!(stdout(&narrower).starts_with("not wider"));

    let wider = run(home, &["policy", "compare", "old/desk.yaml,old/no-bulk.yaml", "new"]);
    assert_eq!(wider.status.code(), Some(1));
    let shown = stdout(&wider);
    assert!(shown.contains("refunds.create") && shown.contains("allowed by desk@1, a"), "{shown}");

    let json = run(home, &["policy", "compare", "old", "new", "--json"]);
    assert_eq!(json.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&found["result"], &found["witness"]["action"]), (&"wider".into(), &"refunds.create".into()));
    assert_eq!(found["denied_for"][0]["expression"], "params.amount <= 500", "{found:#}");

    let odd = run(home, &["policy", "compare", "old", "odd"]);
    assert_eq!(odd.status.code(), Some(2));
    assert!(stdout(&odd).contains("`params.amount * 2 <= 900`"), "{}", stdout(&odd));

    for wrong in [["old", "bad"], ["old", "none"], ["old", "old/desk.yaml,new/desk.yaml"]] {
        assert_eq!(run(home, &["policy", "compare", wrong[0], wrong[1]]).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn services_say_which_requests_there_are() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    write(home, "old/desk.yaml", "- {name: a, allow: [pay.out], when: params.amount <= 1000}\n");
    write(home, "new/desk.yaml", "- {name: a, allow: [pay.out], when: params.amount <= 2000}\n");
    let service = |most: &str| {
        format!(
            "service: bank\nbase_url: https://bank.example\nauth: {{type: bearer}}\nactions:\n  pay.out:\n    method: POST\n    \
             path: /pay/{{account}}\n    resource: account://{{account}}\n    effect: money\n    params:\n      type: object\n      \
             properties: {{account: {{type: string}}, amount: {{type: number{most}}}}}\n"
        )
    };
    fs::create_dir(home.join("services")).unwrap();
    fs::write(home.join("services/bank.yaml"), service(", maximum: 1000")).unwrap();
    fs::write(home.join("open.yaml"), service("")).unwrap();
    let compare = |services: &[&str]| run(home, &[&["policy", "compare", "old", "new"], services].concat());
    for (services, code) in [
        (&[][..], 1),
        (&["--services", "services"], 0),
        (&["--services", "services/bank.yaml"], 0),
        (&["--services", "open.yaml"], 1),
        (&["--services", "none.yaml"], 2),
        (&["--services", "old"], 2),
    ] {
        let found = compare(services);
        assert_eq!(found.status.code(), Some(code), "{services:?}: {}", stdout(&found));
    }
}
