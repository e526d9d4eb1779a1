//! AI bindings in the configuration file: every key, what is refused and where, and that no key shows anywhere.

mod util;

use util::{Done, World, callee, caller};

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
    // Both a reload that fails and one that succeeds are logged.
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
