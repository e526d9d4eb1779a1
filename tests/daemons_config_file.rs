//! `caller serve --config` and `callee --config`: what a file says, what wins over it, and what is said of a
//! bad one.

mod util;

use std::path::Path;

use serde_json::{Value as Json, json};
use util::{Done, World, attribute, attributes, callee, caller, request};

/// Checks a file with this text.
fn check(world: &World, text: &str, more: &[&str]) -> Done {
    std::fs::write(world.path("caller.toml"), text).unwrap();
    let args = ["serve", "--config", "caller.toml", "--check-config"];
    world.run(caller(), &[&args, more].concat())
}

#[test]
fn the_example_can_be_used() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/caller.toml");
    let text = std::fs::read_to_string(example).unwrap();
    let world = World::new();
    // As it is, and with everything that it only mentions.
    let mentioned = text
        .replace("\n# http", "\nhttp")
        .replace("\n# tail-to", "\ntail-to");
    assert_ne!(text, mentioned);
    for text in [text, mentioned] {
        let done = check(&world, &text, &[]);
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    }
    assert_eq!(world.files(), ["caller.toml"], "nothing was opened");
}

#[test]
fn a_bad_file_is_said_with_its_place_and_what_to_write() {
    let bind = "[bind.DB]\nto = \"unix:a.sock\"\n";
    let all = |text: &str| format!("listen = \"unix:b.sock\"\n{text}\n{bind}");
    let own = |text: &str| format!("listen = \"unix:b.sock\"\n{bind}{text}\n");
    let cases = [
        (
            all("taill = 'x'"),
            "2:1: taill: there is no such key; did you mean tail?",
        ),
        (
            all("tail_to = 'x'"),
            "2:1: tail_to: there is no such key; did you mean tail-to?",
        ),
        (
            all("bnd = 1"),
            "2:1: bnd: there is no such key; did you mean bind?",
        ),
        (
            all("zebra = 1"),
            "2:1: zebra: there is no such key; there is: listen, http, http-host, tail, ",
        ),
        (
            own("\"max_names\" = 3"),
            "4:1: bind.DB.max_names: there is no such key; did you mean max-names?",
        ),
        (
            own("tail = 'x'"),
            "4:1: bind.DB.tail: there is no such key; there is: to, connect-name, rename, max-names, attributes, \
             deny, forward, deadline",
        ),
        (
            own("deadline = 5"),
            "4:12: bind.DB.deadline: write a time such as \"30s\", not 5",
        ),
        (
            own("deadline = '5'"),
            "4:12: bind.DB.deadline: time unit needed, for example 5sec or 5ms; write a time such as 500ms, 5s or 2m",
        ),
        (
            own("deadline = '0s'"),
            "4:12: bind.DB.deadline: nothing is done in no time; write a time such as 5s",
        ),
        (
            own("  rename = true"),
            "4:12: bind.DB.rename: write any|off|PATTERN,...; this is true or false",
        ),
        (
            own("rename = ['d1.*', 3]"),
            "4:19: bind.DB.rename: write any|off|PATTERN,..., not 3",
        ),
        (
            own("rename = ['d1.*', '']"),
            "4:19: bind.DB.rename: this is empty; leave the key out",
        ),
        (
            own("rename = ['off', 'a']"),
            "4:10: bind.DB.rename: any and off stand alone; write any, off or patterns",
        ),
        (
            own("attributes = 'yes'"),
            "4:14: bind.DB.attributes: write on or off",
        ),
        (
            own("deny = ['']"),
            "4:9: bind.DB.deny: this is empty; leave the key out",
        ),
        (
            own("max-names = -1"),
            "4:13: bind.DB.max-names: write a whole number that is not negative, not -1",
        ),
        (
            own("max-names = 'many'"),
            "4:13: bind.DB.max-names: write a whole number that is not negative, not many",
        ),
        (
            own("forward = 'all'"),
            "4:11: bind.DB.forward: write accepted or none",
        ),
        (own("to = 'unix:b'"), "4:1: this is not TOML: duplicate key"),
        (own("# ä\nä ="), "5:1: this is not TOML: "),
        (
            own("rename = ['ä', 3]"),
            "4:16: bind.DB.rename: write any|off|PATTERN,..., not 3",
        ),
        (
            own("[bind.X]\nto = 'nowhere'"),
            "5:6: bind.X.to: \"nowhere\" is not an address: there is no port; write unix:/path, ",
        ),
        (
            own("[bind.X]\nto = 'unix:a#'"),
            "5:6: bind.X.to: behind # there is no name; write ADDR#REMOTE or ADDR",
        ),
        (
            own("[bind.X]\nrename = 'off'"),
            "4:7: bind.X: there is no `to`; write to = \"ADDR\" or \"ADDR#REMOTE\"",
        ),
        (
            own("[bind.X]\nto = 'unix:a#Y'\nconnect-name = 'Z'"),
            "6:16: bind.X.connect-name: it names the binding there, and so does what stands behind # in `to`; \
             leave one of them out",
        ),
        (
            "listen = 'unix:b'\nbind = ['DB=unix:a']".into(),
            "2:8: bind: write a table for each name: [bind.NAME]; this is a list",
        ),
        (
            "bind.DB = 'unix:a'".into(),
            "1:11: bind.DB: write a table: [bind.DB]; this is a text",
        ),
        (
            own("rename = []"),
            "4:10: bind.DB.rename: an empty list says nothing; leave the key out",
        ),
        (
            all("insecure = 'yes'"),
            "2:12: insecure: write true or false, not \"yes\"",
        ),
        (
            all("limit-frame-bytes = '3 apples'"),
            "2:21: limit-frame-bytes: write a size such as 65536, 64KiB or 33MiB, not 3 apples",
        ),
        (
            all("limit-in-flight = 0"),
            "2:19: limit-in-flight: with none of them nothing works; write 1 or more",
        ),
        (
            all("rename = ['off', 'a']"),
            "2:10: rename: any and off stand alone; write any, off or patterns",
        ),
        (
            all("config = 'other.toml'"),
            "2:1: config: there is no such key; ",
        ),
        (
            all("http = '7480'"),
            "2:8: http: \"7480\" is not an address: there is no port; write unix:/path, ",
        ),
        (
            all("http-host = ['http://a']"),
            "2:14: http-host: \"http://a\" is not a host; write a name or an address, without a scheme",
        ),
        (
            all("tail-to = 'unix:x'"),
            "2:11: tail-to: write ADDR#SERVICE, for instance unix:/run/workerd.sock#tail",
        ),
        (
            all("tail-to = ['unix:x#a', 'unix:x#b']"),
            "2:11: tail-to: there can be one only",
        ),
        (
            all("drain = 1979-05-27"),
            "2:9: drain: write a time such as \"30s\"; this is a date",
        ),
        (
            format!("listen = [{{}}]\n{bind}"),
            "1:11: listen: write ADDR[,binding=NAME]; this is a table",
        ),
    ];
    let world = World::new();
    for (text, says) in cases {
        let done = check(&world, &text, &[]);
        assert_eq!(done.code, Some(78), "{text}\n{done:?}");
        let line = done
            .stderr
            .strip_prefix("caller: caller.toml:")
            .unwrap_or(&done.stderr);
        let exact = !says.ends_with(' ');
        let same = if exact {
            line.trim_end() == says
        } else {
            line.starts_with(says)
        };
        assert!(same, "{text}\nis    {line}should {says}");
        assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    }
}

#[test]
fn a_file_that_says_too_little_or_what_is_not_allowed_is_said_as_well() {
    let bind = "[bind.DB]\nto = \"unix:a.sock\"\n";
    let cases = [
        (bind.to_owned(), "there is nowhere to listen"),
        ("listen = 'unix:b'".into(), "there is no binding to pass on"),
        (String::new(), "there is no binding to pass on"),
        (bind.to_owned(), "caller.toml: there is nowhere"),
        (format!("listen = '*:0'\n{bind}"), "or say --insecure"),
        (format!("http = '*:0'\n{bind}"), "or say --insecure"),
        (
            format!("listen = 'unix:b,binding=X'\n{bind}"),
            "there is: DB",
        ),
    ];
    let world = World::new();
    for (text, says) in cases {
        let done = check(&world, &text, &[]);
        assert_eq!(done.code, Some(78), "{text}\n{done:?}");
        assert!(done.stderr.contains(says), "{text}\n{done:?}");
    }
    let text = format!("listen = '*:0'\ninsecure = true\n{bind}");
    assert_eq!(check(&world, &text, &[]).code, Some(0));
    let mut off = caller();
    off.env("BINDING_SPAN_INSECURE", "0");
    let args = ["serve", "--config", "caller.toml", "--check-config"];
    assert_eq!(world.run(off, &args).code, Some(78), "the variable wins");
    let done = world.run(caller(), &["serve", "--config", "nowhere.toml"]);
    assert_eq!(done.code, Some(78), "{done:?}");
    assert!(
        done.stderr
            .contains("cannot read the configuration nowhere.toml")
    );
}

#[test]
fn what_shows_only_when_all_is_put_together_is_said_with_its_place() {
    let bind = "[bind.DB]\nto = \"unix:a.sock\"\n";
    let all = |text: &str| format!("listen = 'unix:b'\n{text}\n{bind}");
    let cases = [
        (
            format!("drain = '1s'\nlisten = ['unix:b', '10.0.0.1:7400']\n{bind}"),
            "2:21: listen: refusing to listen on 10.0.0.1:7400: ",
        ),
        (
            format!("listen = 'tls:*:7400'\n{bind}"),
            "1:10: listen: refusing to listen on tls:",
        ),
        (
            format!("listen = 'unix:b,binding=X'\n{bind}"),
            "1:10: listen: --listen unix:b names the binding \"X\", which is not served",
        ),
        (all("log = 'a=b=c'"), "2:7: log: --log \"a=b=c\": "),
        (
            all("admin = '*:9464'"),
            "2:9: admin: refusing to listen on 0.0.0.0:9464: ",
        ),
        (all("http = '*:1'"), "2:8: http: refusing to listen on "),
        (
            all("tls-client-ca = 'no.pem'"),
            "2:17: tls-client-ca: cannot read no.pem: ",
        ),
        (
            all("tls-ca = 'no.pem'"),
            "2:10: tls-ca: cannot read no.pem: ",
        ),
        (
            all("tail-rotate = '1MiB'"),
            "2:15: tail-rotate: --tail-rotate says when a file is full, ",
        ),
        (
            all("allow-uid = ['12345']"),
            "2:14: allow-uid: --allow-uid admits uid 12345, ",
        ),
        (all("tail-from = 'DB'"), "2:13: tail-from: "),
        (
            "listen = 'unix:b'\n[bind.DB]\nto = 'tls:db.example:7400'".into(),
            "3:6: bind.DB.to: whom to trust at tls:db.example:7400 is not said; ",
        ),
        // The right one of two, even where both have the same value, or one's is a part of the other's.
        (
            all("tls-cert = 'cert.pem'\ntls-key = 'cert.pem'"),
            "3:11: tls-key: cert.pem has no private key in it",
        ),
        (
            all("tls-client-ca = 'key.pem'\ntls-cert = 'key.pem'\ntls-key = 'key.pem'"),
            "3:12: tls-cert: key.pem has no certificate in it",
        ),
        (
            all("tls-cert = 'cert.pem'\ntls-key = 'key.pem'\ntls-ca = 'key.pem'"),
            "4:10: tls-ca: key.pem has no certificate in it",
        ),
        (
            format!("listen = ['unix:b', '*:7400']\n{bind}"),
            "1:21: listen: refusing to listen on 0.0.0.0:7400: ",
        ),
        (
            format!("listen = ['127.0.0.1:74', 'unix:b,binding=DB', '10.0.0.1:740']\n{bind}"),
            "1:48: listen: refusing to listen on 10.0.0.1:740: ",
        ),
        (
            "listen = 'unix:b'\n[bind.A]\nto = 'unix:a'\n[bind.B]\nto = 'tls:db:74#X'".into(),
            "5:6: bind.B.to: whom to trust at tls:db:74 is not said; ",
        ),
        (all("connections = 0"), "2:15: connections: "),
        (all("limit-queued = 0"), "2:16: limit-queued: "),
        (
            all("limit-value-depth = 257"),
            "2:21: limit-value-depth: write 256 or less",
        ),
    ];
    let world = World::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(world.path("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(world.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    for (text, says) in cases {
        let done = check(&world, &text, &[]);
        assert_eq!(done.code, Some(78), "{text}\n{done:?}");
        let says = format!("caller: caller.toml:{says}");
        assert!(done.stderr.starts_with(&says), "{text}\n{done:?}");
        assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    }
    // What an option says is not the file's to answer for.
    let done = check(&world, &all("log = 'info'"), &["--log", "a=b=c"]);
    assert_eq!(done.code, Some(78), "{done:?}");
    assert!(done.stderr.starts_with("caller: --log"), "{done:?}");
    std::fs::write(world.path("caller.toml"), b"drain = '1s'\ntail = '\xff'").unwrap();
    let args = ["serve", "--config", "caller.toml", "--check-config"];
    let done = world.run(caller(), &args);
    let says = "caller: caller.toml:2:9: this is not TOML: it is not UTF-8 text";
    assert_eq!((done.code, done.stderr.trim_end()), (Some(78), says));
}

/// Variables, options, and which of the files that are named is written.
type Precedence<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], &'a str);

#[test]
fn an_option_wins_over_its_variable_and_both_over_the_file() {
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    let callee = world.unix("callee.sock");
    let text = format!(
        "listen = 'unix:file.sock'\ntail = 'file.jsonl'\n\
         [bind.DB]\nto = '{callee}'\nrename = 'off'\nattributes = false\n\
         [bind.OTHER]\nto = 'unix:nowhere.sock'\nrename = 'off'\n"
    );
    std::fs::write(world.path("caller.toml"), text).unwrap();
    let serve = ["serve", "--config", "caller.toml"];
    let variables = [
        ("BINDING_SPAN_TAIL", "variable.jsonl"),
        ("BINDING_SPAN_LISTEN", "unix:variable.sock"),
    ];
    let cases: [Precedence; 3] = [
        (&[], &[], "file"),
        (&variables, &[], "variable"),
        (
            &variables,
            &["--tail", "option.jsonl", "--listen", "unix:option.sock"],
            "option",
        ),
    ];
    for (variables, options, wins) in cases {
        let mut program = caller();
        program.envs(variables.iter().copied());
        let daemon = world.start(program, &[&serve, options].concat()).ready();
        let done = world.query(&world.unix(&format!("{wins}.sock")), "select 1", &[]);
        assert_eq!(done.rows(), json!([[1]]));
        assert!(daemon.stop().success());
        let events = world.tail(&format!("{wins}.jsonl"));
        assert_eq!(attribute(&events, "span.name"), None, "as the file says");
    }
    // Also over what the file says of one binding; and a binding of the file goes where an option says.
    let other = format!("OTHER={callee}#DB");
    let options = ["--rename", "any", "--bind", &other, "--tail", "last.jsonl"];
    let daemon = world
        .start(caller(), &[&serve[..], &options].concat())
        .ready();
    for target in ["DB.query", "OTHER.query"] {
        let done = world.call(&world.unix("file.sock"), &[target, &request("select 1")]);
        assert_eq!(done.rows(), json!([[1]]));
    }
    assert!(daemon.stop().success());
    let events = world.tail("last.jsonl");
    for (binding, tagged) in [("DB", false), ("OTHER", true)] {
        let events = of_binding(&events, binding);
        assert_eq!(attribute(&events, "span.name"), Some(json!("d1.query")));
        assert_eq!(attribute(&events, "db.query.text").is_some(), tagged);
    }
}

/// The events of the call of a binding.
fn of_binding(events: &[Json], binding: &str) -> Vec<Json> {
    let invocations: Vec<&Json> = events
        .iter()
        .filter(|event| {
            let own = attributes(std::slice::from_ref(event));
            own.contains(&("jsrpc.binding".into(), json!(binding)))
        })
        .map(|event| &event["invocationId"])
        .collect();
    assert_eq!(invocations.len(), 1, "one call of {binding}");
    events
        .iter()
        .filter(|event| event["invocationId"] == *invocations[0])
        .cloned()
        .collect()
}

#[test]
fn each_binding_has_a_policy_of_its_own() {
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    let to = format!("to = '{}#DB'\n", world.unix("callee.sock"));
    let text = format!(
        "listen = 'unix:caller.sock'\ntail = 'tail.jsonl'\nrename = 'off'\ndeny = 'db.system'\n\
         [bind.DEFAULT]\n{to}\
         [bind.ANY]\n{to}rename = 'any'\ndeny = ['db.query.', 'db.operation']\n\
         [bind.PATTERN]\n{to}rename = ['ai.*', 'd1.*']\nattributes = false\n\
         [bind.OTHER]\n{to}rename = 'ai.*'\n\
         [bind.NONE]\n{to}rename = 'any'\nmax-names = 0\n\
         [bind.QUIET]\n{to}rename = 'any'\nforward = 'none'\n\
         [bind.CONNECTED]\nto = '{}'\nconnect-name = 'DB'\nrename = 'any'\n",
        world.unix("callee.sock")
    );
    std::fs::write(world.path("caller.toml"), text).unwrap();
    let args = ["serve", "--config", "caller.toml"];
    let daemon = world.start(caller(), &args).ready();
    let cases = [
        // binding, renamed, its text, its operation, and whether the caller of the caller is told
        ("DEFAULT", false, true, true, true),
        ("ANY", true, false, false, true),
        ("PATTERN", true, false, false, true),
        ("OTHER", false, true, true, true),
        ("NONE", false, true, true, true),
        ("QUIET", true, true, true, false),
        ("CONNECTED", true, true, true, true),
    ];
    for (binding, renamed, text, _, told) in cases {
        let (own, target) = (format!("{binding}.jsonl"), format!("{binding}.query"));
        let more = [&target, &request("select 1"), "--tail", &own].map(|s: &str| s.to_owned());
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let done = world.call(&world.unix("caller.sock"), &more);
        assert_eq!(done.rows(), json!([[1]]), "{binding}");
        let heard = world.tail(&own);
        let name = attribute(&heard, "span.name").is_some();
        assert_eq!(name, renamed && told, "{binding}");
        let tagged = attribute(&heard, "db.query.text").is_some();
        assert_eq!(tagged, text && told, "{binding}");
    }
    assert!(daemon.stop().success());
    let events = world.tail("tail.jsonl");
    for (binding, renamed, text, operation, _) in cases {
        let events = of_binding(&events, binding);
        let has = |key| attribute(&events, key).is_some();
        assert_eq!(has("span.name"), renamed, "{binding}");
        assert_eq!(has("db.query.text"), text, "{binding}");
        assert_eq!(has("db.operation.name"), operation, "{binding}");
        assert!(!has("db.system.name"), "{binding}: denied for all");
    }
}

#[test]
fn a_callee_serves_the_databases_of_its_file_and_those_of_its_options() {
    let world = World::new();
    world.database();
    let text = "listen = 'unix:callee.sock'\n[d1.DB]\npath = 'shop.sqlite'\n[d1.NEW]\npath = 'new.sqlite'\n\
                create = true\n[d1.MOVED]\npath = 'nowhere.sqlite'\n";
    std::fs::write(world.path("callee.toml"), text).unwrap();
    let args = ["--config", "callee.toml", "--check-config"];
    let done = world.run(callee(), &args);
    assert_eq!(done.code, Some(78), "{done:?}");
    let says = "the database MOVED is not there: nowhere.sqlite is no file";
    assert!(done.stderr.contains(says), "{done:?}");
    let args = ["--config", "callee.toml", "--d1", "MOVED=shop.sqlite"];
    let checked = world.run(callee(), &[&args[..], &["--check-config"]].concat());
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""));
    assert!(!world.path("new.sqlite").exists(), "nothing was made");
    let more = ["--d1", "MORE=shop.sqlite"];
    let daemon = world.start(callee(), &[&args[..], &more].concat()).ready();
    let at = world.unix("callee.sock");
    for (binding, sql) in [
        ("DB", "select 1"),
        ("MOVED", "select 1"),
        ("MORE", "select 1"),
        ("NEW", "select 1"),
    ] {
        let done = world.call(&at, &[&format!("{binding}.query"), &request(sql)]);
        assert_eq!(done.rows(), json!([[1]]), "{binding}");
    }
    assert!(daemon.stop().success());
}

#[test]
fn a_bad_file_of_a_callee_is_said_with_its_place() {
    let world = World::new();
    world.database();
    let cases = [
        (
            "[d1.DB]\n",
            "1:5: d1.DB: there is no `path`; write path = \"FILE\"",
        ),
        (
            "[d1.DB]\npath = 'a'\ncreate = 'yes'",
            "3:10: d1.DB.create: write on or off",
        ),
        (
            "[d1.DB]\nfile = 'a'",
            "2:1: d1.DB.file: there is no such key; there is: path, create",
        ),
        (
            "d1 = 'DB=a'",
            "1:6: d1: write a table for each name: [d1.NAME]; this is a text",
        ),
        (
            "[bind.DB]\nto = 'x'",
            "1:2: bind: there is no such key; there is: listen, ",
        ),
        ("[d1.DB]\npath = 'a'", "there is nowhere to listen; "),
        ("listen = 'unix:b'", "there is nothing to serve; "),
        ("tls-cert = 'a.pem'\nlisten = 'unix:b'", "--tls-key <FILE>"),
        ("drain = '-1s'", "1:9: drain: "),
        (
            "\"a\\u001b[31m\\n\" = 1",
            "1:1: a\\u{1b}[31m\\n: there is no such key; ",
        ),
    ];
    for (text, says) in cases {
        std::fs::write(world.path("callee.toml"), text).unwrap();
        let done = world.run(callee(), &["--config", "callee.toml"]);
        assert_eq!(done.code, Some(78), "{text}\n{done:?}");
        assert!(done.stderr.contains(says), "{text}\n{done:?}");
        assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    }
    let text = "listen = 'unix:b'\n[d1.DB]\npath = 'none'";
    std::fs::write(world.path("callee.toml"), text).unwrap();
    let done = world.run(callee(), &["--config", "callee.toml", "--check-config"]);
    let says = "callee: callee.toml:3:8: d1.DB.path: the database DB is not there";
    assert!(done.stderr.starts_with(says), "{done:?}");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/callee.toml");
    let example = example.to_str().unwrap();
    let done = world.run(callee(), &["--config", example, "--check-config"]);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_limit_counts_from_an_option_a_variable_or_the_file() {
    let world = World::new();
    world.database();
    let text =
        "listen = 'unix:callee.sock'\nlimit-frame-bytes = '1KiB'\n[d1.DB]\npath = 'shop.sqlite'\n";
    std::fs::write(world.path("callee.toml"), text).unwrap();
    let large = format!("select '{}'", "x".repeat(2000));
    let said = |program: std::process::Command, options: &[&str]| {
        let daemon = world
            .start(program, &[&["--config", "callee.toml"], options].concat())
            .ready();
        let done = world.call(&world.unix("callee.sock"), &["DB.query", &request(&large)]);
        assert!(daemon.stop().success());
        done.code
    };
    assert_eq!(said(callee(), &[]), Some(69), "the file's");
    let mut variable = callee();
    variable.env("BINDING_SPAN_LIMIT_FRAME_BYTES", "1MiB");
    assert_eq!(said(variable, &[]), Some(0), "the variable's");
    let mut variable = callee();
    variable.env("BINDING_SPAN_LIMIT_FRAME_BYTES", "1KiB");
    let option = ["--limit-frame-bytes", "65536"];
    assert_eq!(said(variable, &option), Some(0), "the option's");
}

#[test]
fn everything_that_is_wrong_is_said_at_once_and_that_nothing_is() {
    let world = World::new();
    let text = "listen = ['unix:b', '*:7400', '*:7401']\nlog = 'a=b=c'\ndrain = 'soon'\nzebra = 1\n\
                tls-client-ca = 'no.pem'\nhttp = '*:1'\nadmin = '*:2'\n\
                [bind.A]\nto = 'nowhere'\nmax-names = 'x'\ndeny = [1]\n[bind.B]\nrename = ''\n";
    let done = check(&world, text, &[]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (Some(78), ""),
        "{done:?}"
    );
    let places: Vec<&str> = done
        .stderr
        .lines()
        .map(|line| line.strip_prefix("caller: caller.toml:").expect(line))
        .collect();
    let says = [
        "3:9: drain: ",
        "4:1: zebra: there is no such key",
        "5:17: tls-client-ca: cannot read no.pem: ",
        "10:13: bind.A.max-names: ",
        "11:9: bind.A.deny: ",
        "13:10: bind.B.rename: ",
        "2:7: log: ",
        "6:8: http: refusing to listen on ",
    ];
    assert_eq!(places.len(), says.len(), "{places:#?}");
    for (line, says) in places.iter().zip(says) {
        assert!(line.starts_with(says), "{line}\n{says}");
    }
    // What depends on others is looked at when those are right.
    let text = "listen = ['unix:b', '*:7400', '*:7401,binding=X']\n[bind.A]\nto = 'unix:a'\n";
    let done = check(&world, text, &[]);
    let begins =
        ["1:21: ", "1:31: ", "1:31: "].map(|at| format!("caller: caller.toml:{at}listen: "));
    assert_eq!(done.stderr.lines().count(), 3, "{done:?}");
    for (line, begin) in done.stderr.lines().zip(begins) {
        assert!(line.starts_with(&begin), "{line}\n{begin}");
    }
    let text = "listen = 'unix:b'\n[bind.A]\nto = 'unix:a'\n";
    let done = check(&world, text, &[]);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    assert_eq!(
        done.stdout,
        "the configuration can be used: passing on A to unix:a\n"
    );
    // At a start they are said as well, and on a reload in one line.
    std::fs::write(
        world.path("callee.toml"),
        "a = 1\nlisten = 'x'\n[d1.A]\npaht = 'x'\n",
    )
    .unwrap();
    let done = world.run(callee(), &["--config", "callee.toml"]);
    assert_eq!(done.code, Some(78), "{done:?}");
    let lines: Vec<&str> = done.stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(
        lines[2].starts_with("callee: callee.toml:4:1: d1.A.paht: "),
        "{lines:#?}"
    );
}

#[test]
fn what_is_no_file_freezes_nothing() {
    let world = World::new();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, world.path("pipe"), kind, mode, 0).unwrap();
    std::fs::create_dir(world.path("folder")).unwrap();
    std::fs::write(world.path("long"), "#".repeat(4 * 1024 * 1024 + 1)).unwrap();
    for (path, says) in [
        ("pipe", "it is a pipe"),
        ("folder", "it is a directory"),
        ("/dev/zero", "it is no regular file"),
        ("/dev/null", "it is no regular file"),
        ("long", "it has more than 4194304 bytes"),
    ] {
        for program in [callee as fn() -> _, caller] {
            let serve: &[&str] = if program()
                .get_program()
                .to_string_lossy()
                .ends_with("callee")
            {
                &[]
            } else {
                &["serve"]
            };
            let done = world.run(program(), &[serve, &["--config", path]].concat());
            assert_eq!(done.code, Some(78), "{path}: {done:?}");
            let says = format!("cannot read the configuration {path}: {says}");
            assert!(done.stderr.contains(&says), "{done:?}");
        }
        // Certificates are read in the same way.
        let text = "listen = 'unix:b'\n[bind.A]\nto = 'unix:a'\n";
        let done = check(&world, &format!("tls-client-ca = '{path}'\n{text}"), &[]);
        let says = format!("1:17: tls-client-ca: cannot read {path}: {says}");
        assert!(done.stderr.contains(&says), "{done:?}");
    }
}

#[test]
fn thousands_of_tables_are_read_in_time_that_grows_with_them() {
    let world = World::new();
    let time = |tables: usize, wrong: &str| {
        let each = |i| format!("[bind.B{i}]\nto = 'unix:a{i}'\n");
        let text: String = (0..tables).map(each).collect();
        let began = std::time::Instant::now();
        let done = check(&world, &format!("listen = 'unix:b'\n{wrong}{text}"), &[]);
        assert_eq!(done.code, Some(if wrong.is_empty() { 0 } else { 78 }));
        began.elapsed()
    };
    // Reading alone, and saying what is wrong where.
    for wrong in ["", "log = 'a=b=c'\n", "zebra = 1\n"] {
        let (few, many) = (time(1_000, wrong), time(16_000, wrong));
        println!("{wrong:?}: 1,000 tables {few:?}, 16,000 tables {many:?}");
        assert!(many < few * 64, "{few:?} {many:?}");
    }
}
