//! What is deployed says what the documents promise, and every command line in it can be run by the programs
//! as they are: docker-compose.yml, the units for systemd, and their configuration files.

mod util;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_yaml_ng::Value as Yaml;
use util::{Done, World, callee, caller};

fn at_root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(at_root(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Runs a command line of a document, whose first word is a program of ours.
fn run(world: &World, words: &[String], more: &[&str]) -> Done {
    let program: Command = match words[0].rsplit('/').next().unwrap() {
        "callee" => callee(),
        "caller" => caller(),
        "bspan" => util::bspan(),
        other => panic!("{other} is none of our programs"),
    };
    let args: Vec<&str> = words[1..]
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    world.run(program, &args)
}

/// The services of docker-compose.yml.
fn services() -> HashMap<String, Yaml> {
    let mut yaml: Yaml = serde_yaml_ng::from_str(&text("docker-compose.yml")).unwrap();
    yaml.apply_merge().unwrap();
    let services = yaml["services"].as_mapping().unwrap().clone();
    let named = services.into_iter();
    named
        .map(|(name, service)| (name.as_str().unwrap().to_owned(), service))
        .collect()
}

fn words(list: &Yaml) -> Vec<String> {
    let words = list.as_sequence().unwrap_or_else(|| panic!("{list:?}"));
    words
        .iter()
        .map(|word| word.as_str().unwrap().to_owned())
        .collect()
}

fn is_ours(service: &Yaml) -> bool {
    service["image"]
        .as_str()
        .is_some_and(|image| image.starts_with("binding-span:"))
}

#[test]
fn every_container_is_locked_down_and_its_image_pinned() {
    let services = services();
    assert_eq!(
        services.values().filter(|service| is_ours(service)).count(),
        3
    );
    for (name, service) in &services {
        assert_eq!(service["read_only"].as_bool(), Some(true), "{name}");
        assert_eq!(service["user"].as_str(), Some("10001:10001"), "{name}");
        assert_eq!(words(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(
            words(&service["security_opt"]),
            ["no-new-privileges:true"],
            "{name}"
        );
        assert!(service["mem_limit"].is_string(), "{name}");
        let image = service["image"].as_str().unwrap();
        let (_, tag) = image
            .rsplit_once(':')
            .unwrap_or_else(|| panic!("{name}: {image}"));
        assert!(
            tag.split('.').count() >= 3 && tag.starts_with(|c: char| c.is_ascii_digit()),
            "{image}"
        );
        assert!(
            service["privileged"].is_null() && service["network_mode"].is_null(),
            "{name}"
        );
        for port in service["ports"].as_sequence().into_iter().flatten() {
            assert!(
                port.as_str().unwrap().starts_with("127.0.0.1:"),
                "{name}: {port:?}"
            );
        }
    }
}

#[test]
fn our_containers_talk_over_unix_sockets_and_are_asked_for_their_health() {
    let world = World::new();
    for (name, service) in services().iter().filter(|(_, service)| is_ours(service)) {
        let command = words(&service["command"]);
        let said = format!("{command:?} {:?}", service["environment"]).to_lowercase();
        assert!(!said.contains("insecure"), "{name}: {said}");
        for word in command
            .iter()
            .filter(|word| word.starts_with("--listen=") || word.starts_with("--admin="))
        {
            assert!(word.contains("=unix:/run/"), "{name}: {word}");
        }
        assert!(service["ports"].is_null(), "{name}");
        let done = run(&world, &command, &["--check-config"]);
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{name}");

        let test = words(&service["healthcheck"]["test"]);
        assert_eq!(test[..3], ["CMD", "caller", "health"], "{name}");
        let asked = test[3].strip_prefix("--connect=").unwrap();
        assert!(
            command.contains(&format!("--admin={asked}")),
            "{name} listens there"
        );
        let done = run(&world, &test[1..], &[]);
        assert_eq!(
            done.code,
            Some(1),
            "it is understood, and nobody listens here: {done:?}"
        );
    }
}

#[test]
fn a_container_is_given_longer_than_its_drain_to_stop() {
    for (name, service) in services().iter().filter(|(_, service)| is_ours(service)) {
        let grace = service["stop_grace_period"].as_str().unwrap();
        let grace = humantime::parse_duration(grace).unwrap();
        assert!(
            grace >= Duration::from_secs(10) + daemons::signals::GRACE,
            "{name}"
        );
    }
}

#[test]
fn the_collector_takes_what_our_containers_send_and_gives_it_to_jaeger() {
    let collector: Yaml = serde_yaml_ng::from_str(&text("packaging/otel/collector.yaml")).unwrap();
    let services = services();
    let http = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"].as_str();
    let (_, port) = http.unwrap().rsplit_once(':').unwrap();
    for (name, service) in services.iter().filter(|(_, service)| is_ours(service)) {
        let to = service["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
            .as_str()
            .unwrap();
        assert_eq!(to, format!("http://collector:{port}"), "{name}");
        assert_eq!(
            service["environment"]["OTEL_SERVICE_NAME"].as_str(),
            Some(name.as_str())
        );
    }
    assert_eq!(
        collector["exporters"]["otlp"]["endpoint"].as_str(),
        Some("jaeger:4317")
    );
    assert!(services.contains_key("collector") && services.contains_key("jaeger"));
    let pipeline = &collector["service"]["pipelines"]["traces"];
    for (kind, sections) in [
        ("receivers", "receivers"),
        ("processors", "processors"),
        ("exporters", "exporters"),
    ] {
        for name in words(&pipeline[kind]) {
            assert!(
                collector[sections]
                    .as_mapping()
                    .unwrap()
                    .contains_key(name.as_str()),
                "{kind}: {name}"
            );
        }
    }
}

/// A unit's settings, in order; a key may come several times.
fn unit(name: &str) -> Vec<(String, String)> {
    let text = text(&format!("packaging/systemd/{name}"));
    let lines = text.lines().filter(|line| !line.starts_with(['#', '[']));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn values<'a>(unit: &'a [(String, String)], key: &str) -> Vec<&'a str> {
    let found = unit.iter().filter(|(has, _)| has == key);
    found.map(|(_, value)| value.as_str()).collect()
}

#[test]
fn units_run_the_programs_as_they_are_with_the_files_that_come_with_them() {
    let world = World::new();
    for daemon in ["callee", "caller"] {
        let unit = unit(&format!("binding-span-{daemon}.service"));
        let file = at_root(&format!("packaging/etc/{daemon}.toml"));
        let installed = format!("/etc/binding-span/{daemon}.toml");
        let starts = values(&unit, "ExecStart");
        assert_eq!(starts.len(), 1);
        let reloads = values(&unit, "ExecReload");
        assert_eq!(
            reloads,
            [
                &*format!("{} --check-config", starts[0]),
                // By what every system has.
                "/bin/sh -c 'kill -HUP \"$$1\"' sh $MAINPID"
            ]
        );
        let here = starts[0].replace(&installed, file.to_str().unwrap());
        assert_ne!(here, starts[0], "it reads {installed}");
        let words: Vec<String> = here.split(' ').map(str::to_owned).collect();
        let done = run(&world, &words, &["--check-config"]);
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{daemon}");
    }
}

#[test]
fn units_are_hardened_and_leave_room_for_what_the_files_say() {
    for daemon in ["callee", "caller"] {
        let unit = unit(&format!("binding-span-{daemon}.service"));
        for (key, value) in [
            ("Type", "notify"),
            ("User", "binding-span"),
            ("NoNewPrivileges", "yes"),
            ("ProtectSystem", "strict"),
            ("ProtectHome", "yes"),
            ("PrivateTmp", "yes"),
            ("CapabilityBoundingSet", ""),
            ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6"),
            ("MemoryDenyWriteExecute", "yes"),
            ("RestartPreventExitStatus", "2 78"),
        ] {
            assert_eq!(values(&unit, key), [value], "{daemon}: {key}");
        }
        for key in [
            "StateDirectory",
            "RuntimeDirectory",
            "MemoryMax",
            "WatchdogSec",
        ] {
            assert_eq!(values(&unit, key).len(), 1, "{daemon}: {key}");
        }
        // Peers are known by their users, which this would hide.
        assert!(values(&unit, "PrivateUsers").is_empty(), "{daemon}");

        let file = text(&format!("packaging/etc/{daemon}.toml"));
        let said = |key: &str| {
            let line = file
                .lines()
                .find_map(|line| line.strip_prefix(&format!("{key} = ")));
            line.unwrap_or_else(|| panic!("{daemon}: {key}"))
                .trim_matches('"')
                .to_owned()
        };
        let connections: usize = said("connections").parse().unwrap();
        let descriptors: usize = values(&unit, "LimitNOFILE")[0].parse().unwrap();
        assert!(descriptors >= connections + 256, "{daemon}");
        let stop = humantime::parse_duration(values(&unit, "TimeoutStopSec")[0]).unwrap();
        let drain = humantime::parse_duration(&said("drain")).unwrap();
        assert!(stop >= drain + daemons::signals::GRACE, "{daemon}");
        assert_eq!(said("listen"), "[\"systemd\"]");
    }
}

#[test]
fn sockets_are_their_owners_and_lead_to_each_other() {
    for daemon in ["callee", "caller"] {
        let unit = unit(&format!("binding-span-{daemon}.socket"));
        assert_eq!(values(&unit, "SocketUser"), ["binding-span"]);
        assert_eq!(values(&unit, "SocketMode"), ["0600"]);
        assert_eq!(
            values(&unit, "ListenStream"),
            [format!("/run/binding-span/{daemon}.sock")]
        );
    }
    let caller = text("packaging/etc/caller.toml");
    assert!(caller.contains("to = \"unix:/run/binding-span/callee.sock\""));
}

/// The programs' own words: string literals of the sources, as one text, with continued lines joined.
fn sources(folder: &Path, all: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut lines = text.lines().peekable();
            while let Some(line) = lines.next() {
                match line.strip_suffix('\\') {
                    Some(begun) => {
                        all.push_str(begun);
                        let rest = lines.peek_mut().map(|next| *next = next.trim_start());
                        assert!(rest.is_some(), "{path:?} ends within a text");
                    }
                    None => {
                        all.push_str(line);
                        all.push('\n');
                    }
                }
            }
        }
    }
}

#[test]
fn the_guide_knows_the_programs_messages() {
    let mut said = String::new();
    for krate in ["daemons", "host", "js-rpc", "bindings", "tail"] {
        sources(&at_root("crates").join(krate).join("src"), &mut said);
    }
    let guide = text("docs/operating.md");
    let (_, table) = guide.split_once("## Troubleshooting").unwrap();
    let messages = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let mut known = 0;
    for (message, _) in messages {
        for part in message
            .split('…')
            .map(|part| part.trim_matches([' ', ':', ';']))
        {
            assert!(said.contains(part), "nobody says {part:?} (of {message:?})");
        }
        known += 1;
    }
    assert!(known > 20, "{known}");
}

#[test]
fn the_files_that_the_guide_names_are_there() {
    let guide = text("docs/operating.md");
    let is_path = |word: &&str| {
        let kinds = [".toml", ".rs", ".py", ".yml", ".conf"];
        word.contains('/')
            && !word.starts_with('/')
            && kinds.iter().any(|kind| word.ends_with(kind))
    };
    let words = guide.split(|c: char| c.is_whitespace() || "`()[],;".contains(c));
    let mut found = 0;
    for path in words.filter(is_path).filter(|path| !path.contains('*')) {
        let path = path.strip_prefix("../").unwrap_or(path);
        assert!(at_root(path).exists(), "{path}");
        found += 1;
    }
    assert!(found >= 5, "{found}");
}

#[test]
fn documents_link_to_files_that_are_there() {
    let listed = Command::new("git")
        .current_dir(at_root(""))
        .args(["ls-files", "*.md"])
        .output();
    let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
    let mut links = 0;
    for document in listed.lines() {
        let folder = Path::new(document).parent().unwrap();
        let text = text(document);
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let path = link.split('#').next().unwrap();
            let elsewhere = path.starts_with("http") || path.contains("::");
            // Nothing of ours is published there yet.
            let ours =
                path.contains("docs.rs/binding-span") || path.contains("github.com/binding-span");
            assert!(!ours, "{document}: {link}");
            if !elsewhere && !path.is_empty() && !path.contains(char::is_whitespace) {
                links += 1;
                let there = at_root("").join(folder).join(path).exists();
                assert!(there, "{document} links to {link}, which is not there");
            }
        }
    }
    // Without a repository, as in a package, there is nothing to list.
    println!("{links} links");
}

/// The metrics that there are, by the names that series have.
fn series() -> BTreeSet<String> {
    // The programs' own, and those that kinds of bindings register, each in its folder.
    let mut all = String::new();
    for folder in ["crates/daemons/src/metrics", "crates/bindings/src"] {
        sources(&at_root(folder), &mut all);
    }
    let mut names = BTreeSet::new();
    for line in all.lines() {
        let mut words = line
            .trim()
            .split([' ', '"', ','])
            .filter(|word| !word.is_empty());
        let (Some(_), Some("="), Some(kind), Some(name)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        match kind {
            "Counter" => names.extend([format!("{name}_total")]),
            "Gauge" => names.extend([name.to_owned()]),
            "Histogram" => {
                names.extend(["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")))
            }
            "Info" => names.extend([format!("{name}_info")]),
            _ => {}
        }
    }
    assert!(names.len() > 30, "{names:?}");
    names
}

/// The metrics that an expression reads.
fn read_by(expression: &str) -> Vec<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = |word: &&str| word.starts_with("binding_span_") || word.starts_with("process_");
    words.filter(ours).map(str::to_owned).collect()
}

#[test]
fn alerts_and_dashboard_read_metrics_that_there_are() {
    let known = series();
    let rules: Yaml = serde_yaml_ng::from_str(&text("packaging/prometheus/alerts.yml")).unwrap();
    let rules = rules["groups"][0]["rules"].as_sequence().unwrap();
    let mut expressions: Vec<String> = Vec::new();
    for rule in rules {
        assert!(rule["annotations"]["summary"].is_string(), "{rule:?}");
        expressions.push(rule["expr"].as_str().unwrap().to_owned());
    }
    let dashboard = text("packaging/grafana/binding-span.json");
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            expressions.push(target["expr"].as_str().unwrap().to_owned());
        }
    }
    assert!(expressions.len() > 20, "{expressions:?}");
    let mut read = BTreeSet::new();
    for expression in &expressions {
        let open = |c| expression.matches(c).count();
        assert_eq!(open('('), open(')'), "{expression}");
        assert_eq!(open('{'), open('}'), "{expression}");
        read.extend(read_by(expression));
    }
    let unknown: Vec<_> = read.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(read.contains("binding_span_binding_failing"), "{read:?}");
}

#[test]
fn what_is_shipped_can_be_scraped() {
    let scrape: Yaml = serde_yaml_ng::from_str(&text("packaging/prometheus/scrape.yml")).unwrap();
    let jobs = scrape["scrape_configs"].as_sequence().unwrap();
    for (job, daemon) in jobs.iter().zip(["callee", "caller"]) {
        assert_eq!(
            job["job_name"].as_str(),
            Some(&*format!("binding-span-{daemon}"))
        );
        let target = job["static_configs"][0]["targets"][0].as_str().unwrap();
        let file = text(&format!("packaging/etc/{daemon}.toml"));
        let admin = file
            .lines()
            .find(|line| line.starts_with("admin = "))
            .unwrap();
        assert!(admin.contains(&format!("\"{target},metrics\"")), "{admin}");
    }
}
