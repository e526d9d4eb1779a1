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

/// Checks a callee's file with this text, in an environment with these variables.
fn check_callee(world: &World, text: &str, variables: &[(&str, &str)], more: &[&str]) -> Done {
    std::fs::write(world.path("callee.toml"), text).unwrap();
    let mut program = callee();
    program.env_remove("CREDENTIALS_DIRECTORY");
    program.envs(variables.iter().copied());
    let args = ["--config", "callee.toml", "--check-config"];
    world.run(program, &[&args, more].concat())
}

/// Stands where a key belongs, or where one was written by mistake.
const SECRET: &str = "sk-geheim";

#[test]
fn what_is_wrong_with_an_ai_binding_is_said_with_its_place_and_without_keys() {
    let world = World::new();
    std::fs::write(world.path("empty"), "\n").unwrap();
    std::fs::write(world.path("lines"), "sk-geheim\nsk-geheim\n").unwrap();
    std::fs::write(world.path("headers"), "x-one: 1\nsk-geheim\n").unwrap();
    std::fs::create_dir(world.path("folder")).unwrap();
    let p = "[ai.AI.provider.p]\nurl = 'http://localhost:1/v1'\n";
    let after = |text: &str| format!("{p}{text}");
    let cases = [
        // One level deep, and two.
        (
            "[ai.AI]\nurll = 'x'".into(),
            "2:1: ai.AI.urll: there is no such key; did you mean url?",
        ),
        (
            "[ai.AI]\nprovidre = 'x'".into(),
            "2:1: ai.AI.providre: there is no such key; did you mean provider?",
        ),
        (
            after("key_fil = 'sk-geheim'"),
            "3:1: ai.AI.provider.p.key_fil: there is no such key; did you mean key-file?",
        ),
        (
            "[ai.AI.gateway.g]\ncache-tll = '5m'".into(),
            "2:1: ai.AI.gateway.g.cache-tll: there is no such key; did you mean cache-ttl?",
        ),
        (
            "[ai.AI.model.'@cf/*']\nprices = 1".into(),
            "2:1: ai.AI.model.@cf/*.prices: there is no such key; there is: provider, model, input-price, ",
        ),
        // What a table is, and what not.
        (
            "ai = 'AI=sk-geheim'".into(),
            "1:6: ai: write a table for each name: [ai.NAME]; this is a text",
        ),
        (
            "[ai]\nAI = 'sk-geheim'".into(),
            "2:6: ai.AI: write a table: [ai.AI]; this is a text",
        ),
        (
            "[ai.AI]\nprovider = 'sk-geheim'".into(),
            "2:12: ai.AI.provider: write a table for each name: [ai.AI.provider.NAME]; this is a text",
        ),
        (
            "[ai.AI.provider]\np = ['sk-geheim']".into(),
            "2:5: ai.AI.provider.p: write a table: [ai.AI.provider.p]; this is a list",
        ),
        // Keys that are written into the file, in their own setting or in another's.
        (
            after("key = 'sk-geheim'"),
            "3:7: ai.AI.provider.p.key: keys do not belong into this file; write key-env = \"VARIABLE\", key-file",
        ),
        (
            "[ai.AI]\nurl = 'http://h/v1'\napi-key = 'sk-geheim'".into(),
            "3:11: ai.AI.api-key: keys do not belong into this file; ",
        ),
        (
            after("key-env = 'sk-geheim'"),
            "3:11: ai.AI.provider.p.key-env: this is not the name of a variable; ",
        ),
        (
            after("key-env = 'skgeheim'"),
            "3:11: ai.AI.provider.p.key-env: the variable that it names is not set; ",
        ),
        (
            after("key-env = 'EMPTY'"),
            "3:11: ai.AI.provider.p.key-env: the variable that it names is empty; ",
        ),
        (
            after("key-env = 'LINES'"),
            "3:11: ai.AI.provider.p.key-env: the variable that it names holds no key: ",
        ),
        (
            after("key-env = 4711"),
            "3:11: ai.AI.provider.p.key-env: write VARIABLE\n",
        ),
        (
            after("key-file = 'sk-geheim'"),
            "3:12: ai.AI.provider.p.key-file: the file that it names cannot be read: No such file",
        ),
        (
            after("key-file = 'folder'"),
            "3:12: ai.AI.provider.p.key-file: the file that it names cannot be read: it is a directory",
        ),
        (
            after("key-file = 'empty'"),
            "3:12: ai.AI.provider.p.key-file: the file is empty; ",
        ),
        (
            after("key-file = 'lines'"),
            "3:12: ai.AI.provider.p.key-file: the file holds no key: it has several lines",
        ),
        (
            after("credential = '../sk-geheim'"),
            "3:14: ai.AI.provider.p.credential: this is not the name of a credential; ",
        ),
        (
            after("key-env = 'KEY'\nkey-file = 'lines'"),
            "4:12: ai.AI.provider.p.key-file: there is a key by key-env already; leave one of them out",
        ),
        (
            after("key-header = 'x-api-key'"),
            "3:14: ai.AI.provider.p.key-header: there is no key for it; ",
        ),
        (
            after("headers = ['sk-geheim']"),
            "3:12: ai.AI.provider.p.headers: this is not a header; write \"NAME: VALUE\"",
        ),
        (
            after("headers = ['x: y', 'host: sk-geheim']"),
            "3:20: ai.AI.provider.p.headers: each request has this header already; ",
        ),
        (
            after("key-env = 'KEY'\nheaders = ['authorization: sk-geheim']"),
            "ai.AI.provider.p.headers: the key is in the header of that name; ",
        ),
        (
            after("header-file = 'headers'"),
            "3:15: ai.AI.provider.p.header-file: line 2 of the file: this is not a header; ",
        ),
        (
            after("ca = 'lines'"),
            "3:6: ai.AI.provider.p.ca: the file that it names has no certificate in it; ",
        ),
        // Where providers are.
        (
            "[ai.AI]\nurl = 'https://me:sk-geheim@h/v1'".into(),
            "2:7: ai.AI.url: a URL with a user or a password in it shows in logs; ",
        ),
        (
            "[ai.AI]\nurl = 'https://h/v1?key=sk-geheim'".into(),
            "2:7: ai.AI.url: paths are put behind this URL, so it ends before ? and #; ",
        ),
        (
            "[ai.AI]\nurl = 'sk-geheim'".into(),
            "2:7: ai.AI.url: this is no URL of http or https; ",
        ),
        (
            "[ai.AI]\nurl = 'http://h/v1'\nbuiltin = true".into(),
            "3:11: ai.AI.builtin: there is a `url` as well; ",
        ),
        (
            "[ai.AI.provider.p]\ntimeout = '1s'".into(),
            "1:17: ai.AI.provider.p: there is no `url`; write url = \"URL\", or builtin = true",
        ),
        (
            "[ai.AI]\ntimeout = '1s'".into(),
            "1:5: ai.AI: there is no `url`; write url = \"URL\", or builtin = true",
        ),
        (
            format!("[ai.AI]\ntimeout = '1s'\n{p}"),
            "2:11: ai.AI.timeout: this binding has tables for its providers; write this in one of them",
        ),
        (
            "[ai.AI.provider.'a/b']\nbuiltin = true".into(),
            "1:17: ai.AI.provider.a/b: a provider has a name of letters, digits, ",
        ),
        // Models.
        (
            after("[ai.AI.model.m]\nprovider = 'q'"),
            "4:12: ai.AI.model.m.provider: there is no provider \"q\"; there is: p",
        ),
        (
            after("[ai.AI.model.m]\ninput-price = 1"),
            "3:14: ai.AI.model.m: a price has input-price and output-price; ",
        ),
        (
            after("[ai.AI.model.m]\ninput-price = -1\noutput-price = 1"),
            "4:15: ai.AI.model.m.input-price: write US dollars for a million tokens, such as 0.15, not -1",
        ),
        // Gateways, and the rest.
        (
            "[ai.AI.gateway.'a b']".into(),
            "1:16: ai.AI.gateway.a b: a gateway has a name of letters, digits, ",
        ),
        (
            "[ai.AI.gateway.g]\nmax-attempts = 6".into(),
            "2:16: ai.AI.gateway.g.max-attempts: there are 5 attempts at most; ",
        ),
        (
            "[ai.AI.gateway.g]\nbackoff = 'cubic'".into(),
            "2:11: ai.AI.gateway.g.backoff: write constant, linear or exponential",
        ),
        (
            "[ai.AI.gateway.g]\nrate-window = '0s'".into(),
            "2:15: ai.AI.gateway.g.rate-window: nothing is done in no time; ",
        ),
        (
            "[ai.AI]\nlog = 'nowhere/ai.sqlite'".into(),
            "2:7: ai.AI.log: the directory nowhere does not exist; create it first",
        ),
        (
            "ai-log = 'folder'\n[ai.AI]\nbuiltin = true".into(),
            "1:10: ai-log: folder is a directory; name a file",
        ),
        (
            "ai-log = 'a'\n[ai.AI]\nbuiltin = true\n[ai.B]\nbuiltin = true".into(),
            "several AI bindings have the log a; give each its own",
        ),
        (
            "[ai.AI]\npublic-url = 'http://h/path'".into(),
            "2:14: ai.AI.public-url: write a scheme, a host and a port alone: ",
        ),
        (
            "listen = 'unix:b'\n[ai.DB]\nbuiltin = true\n[d1.DB]\npath = 'x'\ncreate = true".into(),
            "a database and an AI binding are both called \"DB\"; ",
        ),
    ];
    let variables = [("EMPTY", " "), ("LINES", "sk-geheim\nx"), ("KEY", SECRET)];
    for (text, says) in cases {
        let done = check_callee(&world, &text, &variables, &[]);
        assert_eq!(
            (done.code, done.stdout.as_str()),
            (Some(78), ""),
            "{text}\n{done:?}"
        );
        assert!(done.stderr.contains(says), "{text}\n{}", done.stderr);
        assert!(!done.stderr.contains("geheim"), "{text}\n{}", done.stderr);
        assert!(!done.stderr.contains("4711"), "{text}\n{}", done.stderr);
        assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    }
}

#[test]
fn an_ai_option_with_a_password_is_refused_without_it() {
    let world = World::new();
    for (option, says) in [
        (
            "AI=http://me:geheim@h/v1",
            "--ai: AI: a URL with a user or a password in it shows in logs; ",
        ),
        (
            "http://me:geheim@h/v1",
            "--ai: write NAME=URL, NAME=builtin or NAME, ",
        ),
        ("AI=geheim", "--ai: AI: this is no URL of http or https; "),
        ("=builtin", "--ai: write NAME=URL, "),
        (
            "A=builtin;A=builtin",
            "--ai names the binding \"A\" twice; ",
        ),
    ] {
        // As an option, and as a variable.
        let listen = ["--listen", "unix:b"];
        let mut by_variable = callee();
        by_variable.env("BINDING_SPAN_AI", option);
        let by_option = [&listen[..], &["--ai", option]].concat();
        for done in [
            world.run(callee(), &by_option),
            world.run(by_variable, &listen),
        ] {
            assert_eq!(done.code, Some(2), "{option}: {done:?}");
            assert!(done.stderr.contains(says), "{option}: {done:?}");
            assert!(!done.stderr.contains("geheim"), "{option}: {done:?}");
        }
    }
    // Nothing but AI bindings is enough; nothing at all is not.
    let args = ["--listen", "unix:b", "--check-config"];
    let done = world.run(callee(), &[&args[..], &["--ai", "AI"]].concat());
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    let done = world.run(callee(), &args);
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(
        done.stderr.contains("--ai <NAME[=URL|=builtin]>"),
        "{done:?}"
    );
}

#[test]
fn every_setting_of_an_ai_binding_is_taken_and_no_key_shows_anywhere() {
    let world = World::new();
    std::fs::write(world.path("key"), "sk-geheim-file\n").unwrap();
    std::fs::write(
        world.path("headers"),
        "# who we are\nx-team: sk-geheim-header-file\n\n",
    )
    .unwrap();
    std::fs::create_dir(world.path("credentials")).unwrap();
    std::fs::write(world.path("credentials/openai"), "sk-geheim-credential").unwrap();
    let issuer = rcgen::generate_simple_self_signed(vec!["h".to_owned()]).unwrap();
    std::fs::write(world.path("ca.pem"), issuer.cert.pem()).unwrap();
    let provider = "connect-timeout = '1s'\ntimeout = '2m'\nidle-timeout = '10s'\nmax-in-flight = 3\nmax-waiting = 0\n\
                    break-after = 0\nbreak-for = '1s'\nstream-usage = false\nsemantic-name = 'openai'\nca = 'ca.pem'\n";
    let text = format!(
        "listen = 'unix:callee.sock'\nadmin = 'unix:admin.sock'\nlog = 'trace'\n\
         [ai.AI]\nlog = 'ai.sqlite'\npublic-url = 'http://h:1/'\ncontent-on-spans = false\nmax-request = '1MiB'\n\
         max-answer = '1MiB'\n\
         [ai.AI.provider.one]\nurl = 'http://h.example/v1'\nkey-env = 'THE_KEY'\nkey-header = 'x-api-key'\n{provider}\
         [ai.AI.provider.two]\nurl = 'https://h/v1'\nkey-file = 'key'\nheaders = ['x-one: sk-geheim-header', 'x-two: b']\n\
         header-file = 'headers'\n\
         [ai.AI.provider.three]\nurl = 'https://h/v1'\ncredential = 'openai'\n\
         [ai.AI.provider.words]\nbuiltin = true\n\
         [ai.AI.model.'@cf/meta/*']\nprovider = 'two'\nmodel = 'llama'\ninput-price = 1\noutput-price = 0.5\n\
         cached-input-price = 0\n\
         [ai.AI.gateway.g]\ncache-ttl = '5m'\nmax-cache = '1MiB'\nmax-attempts = 5\nretry-delay = '1s'\n\
         backoff = 'linear'\nrequest-timeout = '9s'\nrate-limit = 7\nrate-window = '1m'\ncollect-log = true\n\
         log-content = false\nlog-retention = '1day'\nmax-log = '1MiB'\n\
         [ai.SHORT]\nurl = 'http://h.example/v1'\nkey-env = 'THE_KEY'\n"
    );
    let credentials = world.text("credentials");
    let variables = [
        ("THE_KEY", "sk-geheim-variable"),
        ("CREDENTIALS_DIRECTORY", &credentials),
    ];
    let done = check_callee(&world, &text, &variables, &[]);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    assert_eq!(
        done.stdout,
        "the configuration can be used: serving AI, SHORT\n"
    );
    assert!(!world.path("ai.sqlite").exists(), "nothing was opened");
    // An option replaces where the only provider is; where there are several, it cannot.
    let moved = check_callee(
        &world,
        &text,
        &variables,
        &["--ai", "SHORT=http://there/v1"],
    );
    assert_eq!(moved.code, Some(0), "{moved:?}");
    let several = check_callee(&world, &text, &variables, &["--ai", "AI=http://there/v1"]);
    assert_eq!(several.code, Some(78), "{several:?}");
    assert!(
        several
            .stderr
            .contains("callee.toml:4:5: ai.AI: this binding has tables for its providers; "),
        "{several:?}"
    );

    // Nor while it serves, with everything logged.
    let mut program = callee();
    program.envs(variables);
    let mut daemon = world.start(program, &["--config", "callee.toml"]);
    let warned = daemon.line("is not encrypted, its key included");
    assert!(warned.contains("the provider one at h.example"), "{warned}");
    let ready = daemon.line("listening on");
    assert!(
        ready.ends_with(
            "serving AI (http://h.example/v1, https://h/v1, https://h/v1, the built-in word counter), \
             SHORT (http://h.example/v1)"
        ),
        "{ready}"
    );
    let at = world.unix("callee.sock");
    let called = world.call(&at, &["AI.no_such_method", "1"]);
    let admin = world.unix("admin.sock");
    let health = world.run(caller(), &["health", "--connect", &admin]);
    assert_eq!(health.code, Some(0), "{health:?}");
    let metrics = util::metrics(&world, "admin.sock");
    // A reload that fails says so; one that does not, as well.
    std::fs::write(
        world.path("callee.toml"),
        format!("{text}key = 'sk-geheim-reload'\n"),
    )
    .unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    daemon.line("the configuration stays as it was: ");
    std::fs::write(world.path("key"), "sk-geheim-other\n").unwrap();
    std::fs::write(world.path("callee.toml"), text).unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    daemon.line("read the configuration again: nothing changed");
    daemon.signal(rustix::process::Signal::TERM);
    let said = daemon.rest();
    for text in [said, metrics, format!("{called:?}{health:?}{several:?}")] {
        assert!(!text.contains("geheim"), "{text}");
    }
}

#[test]
fn a_credential_is_there_at_the_start_and_need_not_be_in_a_check() {
    let world = World::new();
    let text = "listen = 'unix:b'\n[ai.AI]\nurl = 'https://h/v1'\ncredential = 'openai'\n";
    // As systemd runs ExecReload=: without credentials.
    let done = check_callee(&world, text, &[], &[]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let says = "callee: ai.AI.credential is not checked: CREDENTIALS_DIRECTORY is not set\n";
    assert_eq!(done.stderr, says);
    let mut program = callee();
    program.env_remove("CREDENTIALS_DIRECTORY");
    let done = world.run(program, &["--config", "callee.toml"]);
    assert_eq!(done.code, Some(78), "{done:?}");
    let says = "callee: callee.toml:4:14: ai.AI.credential: there are no credentials: CREDENTIALS_DIRECTORY is not set; ";
    assert!(done.stderr.starts_with(says), "{done:?}");
    // Where there are some, it is among them.
    let nowhere = world.text("nowhere");
    let done = check_callee(&world, text, &[("CREDENTIALS_DIRECTORY", &nowhere)], &[]);
    let says =
        "callee: callee.toml:4:14: ai.AI.credential: the file that it names cannot be read: ";
    assert!(
        done.code == Some(78) && done.stderr.starts_with(says),
        "{done:?}"
    );
}
